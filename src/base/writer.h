/* writer - appends to a buffer until something fails.
 *
 * A document of many pieces has one check at its end, `writer.err`, instead of one behind each
 * piece.
 *
 *      struct ps_writer out = {&buf, PS_OK};
 *      ps_writer_text(&out, "{\"name\":");
 *      ps_writer_string(&out, name);
 *      ps_writer_text(&out, "}");
 *      return out.err;
 *
 * Thread: that of its buffer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_WRITER_H
#define PS_BASE_WRITER_H

#include <stdint.h>

#include "base/buf.h"

/* The same for functions that return an error: `err = PS_THEN(err, call)` calls only while all
 * before it succeeded. */
#define PS_THEN(err, call) ((err) == PS_OK ? (call) : (err))

struct ps_writer {
    struct ps_buf *buf; /* borrowed */
    int err;            /* the first failure, PS_ELIMIT or PS_ENOMEM; nothing is written after it */
};

void ps_writer_str(struct ps_writer *writer, struct ps_str text);

/* The same for text that ends with a zero byte. */
static inline void ps_writer_text(struct ps_writer *writer, const char *text)
{
    ps_writer_str(writer, ps_str_from(text));
}

/* A JSON string with its quotes, as ps_buf_append_json() writes what is inside. */
void ps_writer_string(struct ps_writer *writer, struct ps_str text);

void ps_writer_u64(struct ps_writer *writer, uint64_t number);
void ps_writer_printf(struct ps_writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
