/* history_private - what the parts of history share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OBSERVE_HISTORY_PRIVATE_H
#define PS_OBSERVE_HISTORY_PRIVATE_H

#include <stdatomic.h>

#include "observe/history.h"

#define PS_HISTORY_NONE UINT32_MAX /* no place */

struct ps_history_source;

struct ps_history_place {
    struct ps_history_track track;
    char *text; /* of its key */
    uint64_t hash;
    uint32_t next;   /* in its bucket, or of the free ones */
    uint32_t serial; /* of its track; 0 = free */
    bool sketched;   /* its hour has values */
};

struct ps_history {
    size_t max;
    size_t points;
    /* rows: the second of each, and a value for each place */
    int64_t *stamps;
    double *rows;
    double *row; /* of the present second */
    double *scratch; /* `points` values */
    int64_t second;
    /* places */
    struct ps_history_place *places;
    uint32_t *buckets;
    size_t bucket_mask;
    uint64_t seed;
    size_t used; /* places that were ever taken: 0 to used - 1 */
    _Atomic size_t count; /* read by others, as are the next two */
    uint32_t free; /* given back */
    uint32_t last_serial;
    _Atomic uint64_t refused;
    _Atomic uint64_t gaps; /* seconds that were left out */
    bool told_full;
    void (*on_full)(void *ctx, struct ps_str key);
    void *full_ctx;
    /* rollups */
    _Atomic uint64_t *sketches; /* of each place's hour: PS_EXPONENTIAL_CELLS each */
    int64_t closed;             /* minutes that start before this are finished */
    int64_t untaken;            /* the minute that is taken now or next */
    size_t minute_cursor;
    int64_t hour; /* of the sketches */
    size_t hour_cursor;
    /* the registry's series; history_feed.c */
    struct ps_metrics *walked_metrics; /* of the cursor */
    struct ps_metric_cursor cursor;
    struct ps_history_source **sources;
    size_t source_mask;
    size_t source_count;
    uint32_t turn;
    int64_t walked;        /* the second of the present walk */
    int64_t walked_before; /* and of the one before; 0 = none */
    double walk_seconds;   /* between the two */
    /* own figures */
    struct ps_metrics *metrics;
    struct ps_metric_handle *handles[4];
};

/* The place of a key, made if need be; PS_HISTORY_NONE in *out when it can't. As ps_history_put(). */
PS_MUST_CHECK int ps_history_place_of(struct ps_history *history, struct ps_str key, uint32_t *out);

/* Sets the point of the present second. */
void ps_history_set(struct ps_history *history, uint32_t place, double value);

/* Of history_feed.c. */
PS_MUST_CHECK int ps_history_feed_init(struct ps_history *history);
void ps_history_feed_fini(struct ps_history *history);

static inline bool ps_history_is_full(const struct ps_history *history)
{
    return history->count == history->max;
}

static inline int64_t ps_history_floor(int64_t second, int64_t step)
{
    return second - second % step;
}

#endif
