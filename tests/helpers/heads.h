/* heads - message heads for tests, from a few lines of text.
 *
 * Lines are written with \n; a request begins with "METHOD /path", an answer with its status.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_TESTS_HEADS_H
#define PS_TESTS_HEADS_H

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "http/h1.h"

struct heads {
    struct ps_h1_scratch scratch;
    struct ps_h1 h1;
    struct ps_buf text;
};

static inline void heads_add_lines(struct heads *heads, const char *lines)
{
    for (const char *p = lines; *p != '\0'; p++) {
        const char *bytes = *p == '\n' ? "\r\n" : p;
        PS_CHECK(ps_buf_append(&heads->text, bytes, *p == '\n' ? 2 : 1) == PS_OK);
    }
}

static inline const struct ps_h1_head *heads_read(struct heads *heads, enum ps_h1_kind kind,
                                                  const char *first, const char *lines)
{
    *heads = (struct heads){.text = ps_buf_make(1u << 20)};
    PS_CHECK(ps_h1_scratch_init(&heads->scratch, 0) == PS_OK);
    ps_h1_init(&heads->h1, kind, NULL, &heads->scratch);
    PS_CHECK(ps_buf_printf(&heads->text, "%s", first) == PS_OK);
    heads_add_lines(heads, lines);
    PS_CHECK(ps_buf_append(&heads->text, "\r\n", 2) == PS_OK);
    struct ps_str rest = ps_buf_str(&heads->text);
    PS_CHECK(ps_h1_next(&heads->h1, &rest) == PS_H1_HEAD);
    return ps_h1_head(&heads->h1);
}

/* "GET /x" and further lines, each with its \n. Undone by heads_fini(). */
static inline const struct ps_h1_head *heads_request(struct heads *heads, const char *method,
                                                     const char *lines)
{
    char first[256];
    snprintf(first, sizeof first, "%s HTTP/1.1\r\nHost: a.example\r\n", method);
    return heads_read(heads, PS_H1_REQUEST, first, lines);
}

static inline const struct ps_h1_head *heads_answer(struct heads *heads, int status,
                                                    const char *lines)
{
    char first[64];
    snprintf(first, sizeof first, "HTTP/1.1 %d \r\n", status);
    return heads_read(heads, PS_H1_RESPONSE, first, lines);
}

static inline void heads_fini(struct heads *heads)
{
    ps_h1_fini(&heads->h1);
    ps_h1_scratch_fini(&heads->scratch);
    ps_buf_fini(&heads->text);
}

#endif
