/* ndjson - incremental splitter of application/x-ndjson into lines, for looking at them.
 *
 * For a proxy that forwards a stream of JSON lines unchanged and reads some of them on the way. The
 * bytes are not handed through here: forward the input as it is. A line whose bytes are in one
 * input is a view into it; one that is cut is carried over in a buffer with a bound. A line that is
 * longer than the bound is left out, however long it is, and costs no memory.
 *
 *      {"response":"a"}\n {"respon | se":"b"}\n          two inputs, two lines
 *
 * Lines end with LF; a CR before it and empty lines are left out.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_NDJSON_H
#define PS_HTTP_NDJSON_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/str.h"

/* One stream. The fields are private. */
struct ps_ndjson {
    struct ps_buf held; /* the bytes of a cut line */
    bool held_given;    /* held was given out by the last call */
    bool skipping;      /* the current line is longer than the bound */
};

/* Prepares for a stream. max_line bounds what is carried over. Allocates nothing. */
void ps_ndjson_init(struct ps_ndjson *lines, size_t max_line);

/* Frees the buffer. A zeroed splitter is fine. */
void ps_ndjson_fini(struct ps_ndjson *lines);

/* Takes the next line out of *input and moves *input behind it. False: the input is used up, call
 * again with more. *out is valid until the next call and not longer than the input. A line that
 * memory was too short for is left out. */
bool ps_ndjson_next(struct ps_ndjson *lines, struct ps_str *input, struct ps_str *out);

/* The stream has ended: a line without an end, or empty. Valid until ps_ndjson_fini(). */
struct ps_str ps_ndjson_rest(const struct ps_ndjson *lines);

#endif
