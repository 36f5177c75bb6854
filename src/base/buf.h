/* buf - growable bytes with a hard cap.
 *
 * "How big can it get?" has an answer at creation. Reaching the cap is PS_ELIMIT and leaves the
 * content as it was. A buffer that holds nothing owns no memory.
 *
 * Thread: owned by one thread at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_BUF_H
#define PS_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct ps_buf {
    char *data;
    size_t len;
    size_t cap;   /* allocated */
    size_t limit; /* most bytes it may ever hold */
};

/* An empty buffer that may grow to `limit` bytes; no allocation. */
static inline struct ps_buf ps_buf_make(size_t limit)
{
    return (struct ps_buf){NULL, 0, 0, limit};
}

/* Frees the bytes; the buffer is empty and usable again. */
void ps_buf_fini(struct ps_buf *buf);

/* Forgets the content and keeps the memory. */
static inline void ps_buf_clear(struct ps_buf *buf)
{
    buf->len = 0;
}

static inline struct ps_str ps_buf_str(const struct ps_buf *buf)
{
    return (struct ps_str){buf->data, buf->len};
}

/* Makes room for `more` bytes behind the content. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_buf_reserve(struct ps_buf *buf, size_t more);

/* Appends a copy. PS_OK, PS_ELIMIT or PS_ENOMEM; on failure nothing was appended. */
PS_MUST_CHECK int ps_buf_append(struct ps_buf *buf, const void *bytes, size_t len);
PS_MUST_CHECK int ps_buf_append_str(struct ps_buf *buf, struct ps_str text);
PS_MUST_CHECK int ps_buf_append_u64(struct ps_buf *buf, uint64_t number);

/* Appends a number as JSON writes it, with at most nine significant digits (a whole number below
 * 2^53 has all of its own) and none that say nothing; `null` for NAN and the infinities. */
PS_MUST_CHECK int ps_buf_append_double(struct ps_buf *buf, double number);

/* Appends formatted text, without a terminator. */
PS_MUST_CHECK int ps_buf_printf(struct ps_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
PS_MUST_CHECK int ps_buf_vprintf(struct ps_buf *buf, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

/* Removes the first `n` bytes (n <= len) and moves the rest to the front. */
void ps_buf_drop(struct ps_buf *buf, size_t n);

/* Replaces `len` bytes at `at` by `with` (a splice). PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_buf_splice(struct ps_buf *buf, size_t at, size_t len, struct ps_str with);

/* Appends text as the inside of a JSON string (no quotes): escapes as RFC 8259 asks; bytes that
 * are not UTF-8 become U+FFFD, so that the result is always valid JSON. */
PS_MUST_CHECK int ps_buf_append_json(struct ps_buf *buf, struct ps_str text);

#endif
