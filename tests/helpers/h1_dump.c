/* h1_dump - prints what the HTTP/1.1 codec reads, as JSON.
 *
 * Usage: h1_dump request|response [METHOD] < bytes       one connection, one line of JSON
 *        h1_dump --lines < lines                         "request - HEX" or "response METHOD HEX"
 *                                                        per line, one line of JSON for each
 *
 * METHOD is the method that a response answers. Bytes are printed as the characters U+0000 to
 * U+00FF, so that every byte survives. All bytes are fed at once, then the peer closes.
 *
 *      {"messages":[{"method":...,"headers":[["Host","a"]],"body":"",...}],"error":"HOST_TWICE"}
 *
 * error is null or the name of our error; "open" tells that a message was not complete.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "http/h1.h"

static struct ps_h1_scratch scratch;

static void put_string(struct ps_str text)
{
    putchar('"');
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\') {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
    putchar('"');
}

static void put_member(const char *name, struct ps_str text)
{
    printf("\"%s\":", name);
    put_string(text);
    putchar(',');
}

static void put_headers(const char *name, const struct ps_h1_header *headers, size_t count)
{
    printf("\"%s\":[", name);
    for (size_t i = 0; i < count; i++) {
        printf(i > 0 ? ",[" : "[");
        put_string(headers[i].name);
        putchar(',');
        put_string(headers[i].value);
        putchar(']');
    }
    printf("],");
}

static void put_head(const struct ps_h1_head *head)
{
    put_member("method", head->method);
    put_member("target", head->target);
    put_member("host", head->host);
    put_member("reason", head->reason);
    printf("\"status\":%d,\"minor\":%d,", head->status, head->minor);
    printf("\"keepAlive\":%s,", head->keep_alive ? "true" : "false");
    put_headers("headers", head->headers, head->header_count);
}

static const char *error_name(enum ps_h1_error_code code)
{
    static const char *const names[] = {
#define NAME(name, status, text) #name,
        PS_H1_ERROR_TABLE(NAME)
#undef NAME
    };
    return names[code];
}

/* One message from the input. Returns its last event: END, ERROR or MORE. */
static enum ps_h1_event put_message(struct ps_h1 *h1, struct ps_str *input, struct ps_buf *body,
                                    bool *upgrade)
{
    enum ps_h1_event event;
    bool closed = false;
    ps_buf_clear(body);
    putchar('{');
    for (;;) {
        event = ps_h1_next(h1, input);
        if (event == PS_H1_MORE && !closed && ps_h1_body_until_close(h1)) {
            closed = ps_h1_eof(h1) == PS_OK;
        } else if (event == PS_H1_HEAD) {
            put_head(ps_h1_head(h1));
            *upgrade = ps_h1_head(h1)->upgrade;
        } else if (event == PS_H1_DATA) {
            PS_CHECK(ps_buf_append_str(body, ps_h1_data(h1)) == PS_OK);
        } else if (event == PS_H1_TRAILERS) {
            size_t count = 0;
            const struct ps_h1_header *trailers = ps_h1_trailers(h1, &count);
            put_headers("trailers", trailers, count);
        } else {
            break;
        }
    }
    put_member("body", ps_buf_str(body));
    printf("\"complete\":%s,", event == PS_H1_END ? "true" : "false");
    printf("\"tunnel\":%s}", ps_h1_is_tunnel(h1) ? "true" : "false");
    return event;
}

/* May a message come after a complete one on the same connection? Not behind a request that asks
 * for an upgrade: the answer decides what follows. */
static bool next_message(struct ps_h1 *h1, enum ps_h1_method method, bool upgrade)
{
    bool interim = h1->status >= 100 && h1->status < 200;
    bool asked = upgrade && h1->kind == PS_H1_REQUEST;
    if (ps_h1_is_tunnel(h1) || asked || !(ps_h1_keep_alive(h1) || interim)) {
        return false;
    }
    ps_h1_reset(h1);
    if (h1->kind == PS_H1_RESPONSE) {
        ps_h1_expect(h1, method);
    }
    return true;
}

static void dump(bool response, const char *method_name, struct ps_str input)
{
    struct ps_h1 h1;
    struct ps_buf body = ps_buf_make(1u << 26);
    enum ps_h1_method method = ps_h1_method_find(ps_str_from(method_name));
    enum ps_h1_event event = PS_H1_END;
    const char *comma = "";
    ps_h1_init(&h1, response ? PS_H1_RESPONSE : PS_H1_REQUEST, NULL, &scratch);
    if (response) {
        ps_h1_expect(&h1, method);
    }
    printf("{\"messages\":[");
    while (event == PS_H1_END && input.len > 0) {
        printf("%s", comma);
        comma = ",";
        bool upgrade = false;
        event = put_message(&h1, &input, &body, &upgrade);
        if (event == PS_H1_END && !next_message(&h1, method, upgrade)) {
            break;
        }
    }
    bool failed = event == PS_H1_ERROR;
    bool open = event == PS_H1_MORE && !ps_h1_is_idle(&h1);
    printf("],\"error\":%s%s%s,\"open\":%s}\n", failed ? "\"" : "",
           failed ? error_name(ps_h1_error(&h1).code) : "null", failed ? "\"" : "",
           open ? "true" : "false");
    ps_h1_fini(&h1);
    ps_buf_fini(&body);
}

static int hex(char c)
{
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* "KIND METHOD HEX" */
static void dump_line(char *line)
{
    char *method = strchr(line, ' ');
    PS_CHECK(method != NULL);
    *method++ = '\0';
    char *bytes = strchr(method, ' ');
    PS_CHECK(bytes != NULL);
    *bytes++ = '\0';
    size_t len = strcspn(bytes, "\n") / 2;
    char *decoded = malloc(len > 0 ? len : 1); /* of its exact size, for the sanitizers */
    PS_CHECK(decoded != NULL);
    for (size_t i = 0; i < len; i++) {
        decoded[i] = (char)(hex(bytes[2 * i]) << 4 | hex(bytes[2 * i + 1]));
    }
    dump(strcmp(line, "response") == 0, method, (struct ps_str){decoded, len});
    free(decoded);
}

static void dump_lines(void)
{
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        dump_line(line);
    }
    free(line);
}

static void dump_all(bool response, const char *method)
{
    struct ps_buf input = ps_buf_make(1u << 26);
    char piece[4096];
    size_t len;
    while ((len = fread(piece, 1, sizeof piece, stdin)) > 0) {
        PS_CHECK(ps_buf_append(&input, piece, len) == PS_OK);
    }
    dump(response, method, ps_buf_str(&input));
    ps_buf_fini(&input);
}

int main(int argc, char **argv)
{
    if (argc < 2 || ps_h1_scratch_init(&scratch, 0) != PS_OK) {
        fprintf(stderr, "usage: h1_dump request | response [METHOD] | --lines\n");
        return 2;
    }
    if (strcmp(argv[1], "--lines") == 0) {
        dump_lines();
    } else {
        dump_all(strcmp(argv[1], "response") == 0, argc > 2 ? argv[2] : "GET");
    }
    ps_h1_scratch_fini(&scratch);
    return 0;
}
