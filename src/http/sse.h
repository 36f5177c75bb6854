/* sse - incremental splitter of text/event-stream into whole events.
 *
 * For a proxy that forwards events as they arrive and may hold back or drop one of them (the usage
 * chunk of an inference server). An event is given as its raw bytes, blank line included, so that
 * what is forwarded is what was received; and as its data, so that it can be looked at. The bytes
 * of all events in order are the bytes of the input.
 *
 *   input   : id: 7\n data: {"a":1}\n \n data: ...
 *             |<------- raw --------->|
 *                      |<--->| data
 *
 * Line ends are LF, CR LF or CR, and a byte order mark may stand first (WHATWG HTML, 9.2). An event
 * whose bytes are in one input is a view into it. One that is cut is carried over in a buffer with
 * a bound; when an event is larger than the bound, its bytes are given as they come (PS_SSE_PASS)
 * until its end, and it can't be looked at.
 *
 * A CR at the very end of the input ends its line at once; if a LF follows as the first byte of the
 * next input, that LF is the first byte of the next raw range.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_SSE_H
#define PS_HTTP_SSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum ps_sse_result {
    PS_SSE_MORE,  /* all input is used up; call again with more */
    PS_SSE_EVENT, /* a whole event */
    PS_SSE_PASS,  /* a part of an event that is larger than the bound: forward it */
};

struct ps_sse_event {
    struct ps_str raw;   /* bytes to forward */
    struct ps_str data;  /* the data lines, joined with LF; of PS_SSE_EVENT only */
    struct ps_str event; /* value of the last event line ("" when there is none) */
    bool has_data;       /* there was a data line (comments and keep-alives have none) */
    bool last;           /* PS_SSE_PASS: these bytes end the event */
};

/* One stream. The fields are private. */
struct ps_sse {
    struct ps_buf held;   /* the bytes of a cut event */
    struct ps_buf joined; /* data of several lines */
    bool line_has_bytes;  /* the current line is not empty so far */
    bool after_cr;        /* the last byte was a CR: a LF that follows belongs to it */
    bool held_given;      /* held was given out by the last call */
    bool passing;         /* the current event is larger than the bound */
    bool started;         /* the first event (with a byte order mark, perhaps) is over */
};

/* Prepares for a stream. max_event_bytes bounds what is carried over. Allocates nothing. */
void ps_sse_init(struct ps_sse *sse, size_t max_event_bytes);

/* Frees the buffers. A zeroed splitter is fine. */
void ps_sse_fini(struct ps_sse *sse);

/* Takes the next event out of *input and moves *input behind it. The views in *out are valid until
 * the next call and not longer than the input. Memory that runs out turns into PS_SSE_PASS: the
 * stream goes on. */
enum ps_sse_result ps_sse_next(struct ps_sse *sse, struct ps_str *input, struct ps_sse_event *out);

/* The stream has ended: gives the bytes of an event that has no end (empty when there are none), to
 * be forwarded as they are. Valid until ps_sse_fini() or the next ps_sse_next(). */
struct ps_str ps_sse_rest(const struct ps_sse *sse);

#endif
