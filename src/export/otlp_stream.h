/* otlp_stream - what each stream of OTLP said last, so that totals become steps.
 *
 * A cumulative point says what has come together since its start; a counter of ours wants what is
 * new. A stream that is seen for the first time, or begins anew (another start time, or a total
 * that fell), gives all of it. A point that is not later than the last of its stream has been here
 * before: somebody tried again because our answer was lost.
 *
 * Streams and memory are bounded. One that said nothing for an hour makes room where it is needed.
 *
 * Thread: one at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_OTLP_STREAM_H
#define PS_EXPORT_OTLP_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"

#define PS_OTLP_STREAMS      20000
#define PS_OTLP_STREAM_BYTES (32u << 20) /* of the buckets of all histograms */
#define PS_OTLP_STREAM_IDLE  (PS_HOUR)

struct ps_otlp_streams;
struct ps_otlp_stream;

/* 128 bits of all that tells a stream from another. */
struct ps_otlp_key {
    uint64_t hash[2];
};

/* Buckets of a histogram, explicit (scale 0, one side, offset 0) or exponential. */
struct ps_otlp_counts {
    int32_t scale;
    uint64_t zeros;
    double sum;
    struct ps_otlp_side {
        int32_t offset;
        uint32_t count;
        uint64_t *counts;
    } sides[2]; /* above and below zero */
};

/* PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_otlp_streams_new(struct ps_otlp_streams **out, size_t most);
void ps_otlp_streams_free(struct ps_otlp_streams *streams); /* NULL is fine */
size_t ps_otlp_streams_count(const struct ps_otlp_streams *streams);

/* The stream of a key, made when there is none. NULL: as many as may be, or out of memory. */
struct ps_otlp_stream *ps_otlp_streams_at(struct ps_otlp_streams *streams, struct ps_otlp_key key,
                                          ps_time now);

/* Moves on to a point with these times (nanoseconds since 1970, 0 = unknown). False: it is not
 * later than the last one. */
bool ps_otlp_stream_advance(struct ps_otlp_stream *stream, uint64_t start, uint64_t time);

/* What is new of a total. */
double ps_otlp_stream_step(struct ps_otlp_stream *stream, double total);

/* The same for buckets: `counts` holds what is new afterwards. PS_OK; PS_ELIMIT or PS_ENOMEM: the
 * total can't be remembered, and nothing is new. */
PS_MUST_CHECK int ps_otlp_stream_step_counts(struct ps_otlp_streams *streams,
                                             struct ps_otlp_stream *stream,
                                             struct ps_otlp_counts *counts);

#endif
