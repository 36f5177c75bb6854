/* metric_exponential - histograms that choose their buckets themselves.
 *
 * A bucket reaches from 2^(i/2^scale) to 2^((i+1)/2^scale), upper bound included: what Prometheus
 * calls a native histogram (schema) and OpenTelemetry an exponential one (scale). It begins at
 * scale 8, 0.27 % wide; when values lie too far apart for the cells that there are, neighbours are
 * merged and the scale falls by one. 160 buckets hold a factor of a million at scale 3 (9 %).
 *
 * One shard's part of a series, all zero when fresh:
 *
 *      sum | zeros | turn | loss | range+ | range- | 160 buckets above zero | 80 below
 *
 * Bucket i stands at i mod 160 (80), so that a range may grow at both ends without moving anything.
 * Only a merge moves counts; `turn` is odd meanwhile, and whoever reads tries again.
 *
 * Thread: a shard's part has one writer; reading never holds it up.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OBSERVE_METRIC_EXPONENTIAL_H
#define PS_OBSERVE_METRIC_EXPONENTIAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "observe/metric.h"

enum { PS_EXPONENTIAL_HEAD = 6 }; /* cells before the buckets */
#define PS_EXPONENTIAL_CELLS (PS_EXPONENTIAL_HEAD + PS_EXPONENTIAL_ABOVE + PS_EXPONENTIAL_BELOW)

/* Makes the table of bucket bounds; once is enough, again does no harm. Any thread. */
void ps_exponential_init(void);

/* Index of the bucket at scale 8 of a finite value above PS_EXPONENTIAL_ZERO. */
int32_t ps_exponential_index(double value);

/* Counts a finite value n times; the calling thread is the only writer of these cells. */
void ps_exponential_observe_many(_Atomic uint64_t *cells, double value, uint64_t n);

static inline void ps_exponential_observe(_Atomic uint64_t *cells, double value)
{
    ps_exponential_observe_many(cells, value, 1);
}

/* Adds what somebody else has counted: n values of a bucket of a scale between the two below, whose
 * magnitude lies in (2^(index/2^scale), 2^((index+1)/2^scale)]; side 0 is above zero. The result is
 * no finer than that. False, and nothing is added, for another scale or what no double reaches. */
#define PS_EXPONENTIAL_SCALE_LEAST (-4)
#define PS_EXPONENTIAL_SCALE_MOST  20
PS_MUST_CHECK bool ps_exponential_add(_Atomic uint64_t *cells, int scale, unsigned side,
                                      int32_t index, uint64_t n);

/* What belongs to it beside the buckets. */
void ps_exponential_add_rest(_Atomic uint64_t *cells, uint64_t zeros, double sum);

/* Forgets everything; by the writer. */
void ps_exponential_clear(_Atomic uint64_t *cells);

/* Adds one shard's part to `into`, which starts as {.scale = PS_EXPONENTIAL_SCALE}. The result has
 * the coarser scale of the two, or a coarser one still where both don't fit otherwise. */
void ps_exponential_read(_Atomic uint64_t *cells, struct ps_exponential *into);

/* The same as counts between the fixed bounds that text formats show (ps_metric_bounds()): buckets
 * has PS_EXPONENTIAL_BOUNDS + 1 places. Exact while the scale is -1 or finer. */
void ps_exponential_spread(const struct ps_exponential *from, uint64_t *buckets);

/* What was counted since `before`, which was read earlier from the same series: taken away from
 * `now`. False: it is no earlier state of it, and `now` is spoilt. */
bool ps_exponential_subtract(struct ps_exponential *now, const struct ps_exponential *before);

/* The value that a share (0 to 1) of all values does not exceed: the geometric middle of its bucket,
 * so that it is off by half a bucket at most. NAN when empty. */
double ps_exponential_quantile(const struct ps_exponential *of, double share);

#endif
