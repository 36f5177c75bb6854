/* h1_transcript - what the HTTP/1.1 codec read, as text that can be compared.
 *
 * Bytes are fed in pieces; each piece is copied into a heap block of exactly its size and freed
 * before the next one, so that a view that lives too long or reads too far is found by a sanitizer.
 * DATA events of one body are joined: where a body is cut says nothing about the message.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_TESTS_H1_TRANSCRIPT_H
#define PS_TESTS_H1_TRANSCRIPT_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "http/h1.h"

struct transcript {
    struct ps_h1 h1;
    struct ps_buf text;
    enum ps_h1_method expect; /* responses: the request's method */
    bool in_data;
    bool stopped; /* an error, a tunnel or a last message */
    bool stay;    /* go on after a message that says close */
    unsigned messages;
};

static void transcript_init(struct transcript *t, enum ps_h1_kind kind, enum ps_h1_method expect,
                            const struct ps_h1_limits *limits, struct ps_h1_scratch *scratch)
{
    *t = (struct transcript){.text = ps_buf_make(1u << 24), .expect = expect};
    ps_h1_init(&t->h1, kind, limits, scratch);
    if (kind == PS_H1_RESPONSE) {
        ps_h1_expect(&t->h1, expect);
    }
}

static void transcript_fini(struct transcript *t)
{
    ps_h1_fini(&t->h1);
    ps_buf_fini(&t->text);
}

static void transcript_add(struct transcript *t, struct ps_str text)
{
    PS_CHECK(ps_buf_append_str(&t->text, text) == PS_OK);
}

static void transcript_headers(struct transcript *t, const struct ps_h1_header *headers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        transcript_add(t, headers[i].name);
        transcript_add(t, PS_STR("="));
        transcript_add(t, headers[i].value);
        PS_CHECK(headers[i].id == ps_h1_field_find(headers[i].name));
        transcript_add(t, PS_STR("\n"));
    }
}

static void transcript_head(struct transcript *t)
{
    const struct ps_h1_head *head = ps_h1_head(&t->h1);
    const struct ps_str parts[] = {head->method, head->target, head->path,
                                   head->host,   head->reason, head->upgrade_protocol};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        transcript_add(t, parts[i]);
        transcript_add(t, PS_STR("|"));
    }
    PS_CHECK(ps_buf_printf(&t->text, "%d 1.%d raw=%zu keep=%d chunked=%d expect=%d upgrade=%d",
                           head->status, head->minor, head->raw.len, head->keep_alive,
                           head->chunked, head->expect_continue, head->upgrade) == PS_OK);
    PS_CHECK(ps_buf_printf(&t->text, " tunnel=%d body=%d close=%d names=%d length=%lld\n",
                           ps_h1_is_tunnel(&t->h1), ps_h1_has_body(&t->h1),
                           ps_h1_body_until_close(&t->h1), head->connection_names,
                           head->has_content_length ? (long long)head->content_length : -1) ==
             PS_OK);
    PS_CHECK(head->keep_alive == ps_h1_keep_alive(&t->h1));
    PS_CHECK(head->raw.ptr[head->raw.len - 1] == '\n');
    transcript_headers(t, head->headers, head->header_count);
}

static void transcript_end(struct transcript *t)
{
    t->messages++;
    transcript_add(t, PS_STR("END\n"));
    bool interim = t->h1.status >= 100 && t->h1.status < 200;
    if (ps_h1_is_tunnel(&t->h1) || !(ps_h1_keep_alive(&t->h1) || interim || t->stay)) {
        transcript_add(t, ps_h1_is_tunnel(&t->h1) ? PS_STR("TUNNEL\n") : PS_STR("CLOSE\n"));
        t->stopped = true;
        return;
    }
    ps_h1_reset(&t->h1);
    if (t->h1.kind == PS_H1_RESPONSE && !interim) {
        ps_h1_expect(&t->h1, t->expect);
    }
}

static void transcript_event(struct transcript *t, enum ps_h1_event event)
{
    if (event == PS_H1_DATA) {
        transcript_add(t, t->in_data ? PS_STR("") : PS_STR("DATA "));
        PS_CHECK(ps_h1_data(&t->h1).len > 0);
        transcript_add(t, ps_h1_data(&t->h1));
        t->in_data = true;
        return;
    }
    transcript_add(t, t->in_data ? PS_STR("\n") : PS_STR(""));
    t->in_data = false;
    switch (event) {
    case PS_H1_HEAD:
        transcript_head(t);
        break;
    case PS_H1_TRAILERS: {
        size_t count = 0;
        const struct ps_h1_header *trailers = ps_h1_trailers(&t->h1, &count);
        transcript_add(t, PS_STR("TRAILERS\n"));
        PS_CHECK(count > 0);
        transcript_headers(t, trailers, count);
        break;
    }
    case PS_H1_END:
        transcript_end(t);
        break;
    case PS_H1_ERROR: {
        struct ps_h1_error error = ps_h1_error(&t->h1);
        PS_CHECK(ps_buf_printf(&t->text, "ERROR %d %d %s at %llu\n", (int)error.code, error.status,
                               error.text, (unsigned long long)error.offset) == PS_OK);
        t->stopped = true;
        break;
    }
    case PS_H1_MORE:
    case PS_H1_DATA:
        break;
    }
}

/* All events of one piece. */
static void transcript_feed(struct transcript *t, const char *bytes, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    PS_CHECK(copy != NULL);
    memcpy(copy, bytes, len);
    struct ps_str input = {copy, len};
    while (!t->stopped) {
        enum ps_h1_event event = ps_h1_next(&t->h1, &input);
        if (event == PS_H1_MORE) {
            PS_CHECK(input.len == 0);
            break;
        }
        transcript_event(t, event);
    }
    free(copy);
}

/* The peer closes. */
static void transcript_eof(struct transcript *t)
{
    if (t->stopped) {
        return;
    }
    struct ps_str none = PS_STR("");
    bool idle = ps_h1_is_idle(&t->h1);
    bool in_time = ps_h1_eof(&t->h1) == PS_OK;
    if (idle) {
        PS_CHECK(in_time);
        transcript_add(t, PS_STR("IDLE\n"));
        return;
    }
    enum ps_h1_event event = ps_h1_next(&t->h1, &none);
    PS_CHECK(event == (in_time ? PS_H1_END : PS_H1_ERROR));
    transcript_event(t, event);
}

#endif
