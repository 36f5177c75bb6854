/* metric_registry - what the registry is made of, for the files that share it.
 *
 *      ps_metrics --> sets, in order of declaration
 *                       set --> series, in order of creation (for the walk)
 *                           --> buckets: hash of packed label values (for the look-up)
 *
 * Thread: every field behind `lock`, but for the cells.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OBSERVE_METRIC_REGISTRY_H
#define PS_OBSERVE_METRIC_REGISTRY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/list.h"
#include "observe/metric.h"
#include "observe/metric_cell.h"

struct ps_metric_watch {
    ps_metric_read *read;
    void *context;
};

struct ps_metric_series {
    struct ps_metric_handle handle; /* what callers hold points here */
    struct ps_list node;            /* in its set, or among the orphans once it is dropped */
    struct ps_metric_series *next;  /* in its bucket */
    struct ps_metric_watch *watch;  /* or NULL */
    ps_time created;                /* 0 = unknown */
    uint64_t hash;
    uint64_t id;   /* ascending in a set's list, so that a walk finds its place again */
    uint64_t refs; /* wide enough for callers who never give back */
    uint16_t packed_len;
    bool shown;    /* in its set; false = dropped, waiting for its last handle */
    bool overflow; /* outside buckets and bound */
    char packed[]; /* label values */
};

/* The series of one family. */
struct ps_metric_set {
    const struct ps_metric_family *family;
    size_t labels; /* names of the family */
    size_t cells;  /* per series */
    struct ps_list series;
    size_t count; /* without overflow */
    size_t limit;
    struct ps_metric_series **buckets;
    size_t bucket_mask; /* buckets - 1; they are a power of two */
    struct ps_metric_series *overflow;
    struct ps_counter *folded; /* look-ups that the overflow series answered */
    struct ps_gauge *distinct; /* about how many label sets those had */
    uint8_t *sketch;           /* of their hashes; NULL = the family was never full */
};

struct ps_metrics {
    pthread_mutex_t lock;
    struct ps_metric_cells cells;
    size_t max_series;
    uint64_t seed;
    uint64_t last_id;
    size_t series_count; /* all sets, overflow series too */
    struct ps_metric_set **sets;
    size_t sets_count;
    size_t sets_cap;
    struct ps_metric_set **index; /* by address of the row, open addressing */
    size_t index_mask;
    struct ps_list orphans;
    const struct ps_clock *clock; /* or NULL */
    _Atomic uint64_t generation;  /* moves on when series are dropped: memos forget */
};

/* metric_set.c; all of it is locked by the caller. */

/* Room for the first sets, and none of them left; the list of orphans is there before. PS_OK or
 * PS_ENOMEM. */
PS_MUST_CHECK int ps_metric_sets_init(struct ps_metrics *metrics);
void ps_metric_sets_fini(struct ps_metrics *metrics);

/* Makes the set of a row, once. PS_OK, PS_EINVAL (the row is not sane, or its name is taken) or
 * PS_ENOMEM. */
PS_MUST_CHECK int ps_metric_set_declare(struct ps_metrics *metrics,
                                        const struct ps_metric_family *row);

/* The set of a declared row, or NULL. */
struct ps_metric_set *ps_metric_set_of(const struct ps_metrics *metrics,
                                       const struct ps_metric_family *row);

/* Whether a family has the row's name, or one that only differs by what its type appends. */
bool ps_metric_set_is_taken(const struct ps_metrics *metrics, const struct ps_metric_family *row);

/* The series with these packed label values and their hash, or NULL. */
struct ps_metric_series *ps_metric_set_find(const struct ps_metric_set *set, struct ps_str packed,
                                            uint64_t hash);

/* Makes it; nobody holds it yet. A gauge is unknown until it is set. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_metric_set_add(struct ps_metrics *metrics, struct ps_metric_set *set,
                                    struct ps_str packed, uint64_t hash,
                                    struct ps_metric_series **out);

/* Makes set->overflow. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_metric_set_add_overflow(struct ps_metrics *metrics, struct ps_metric_set *set);

/* Takes a series off the page; it lives on among the orphans while somebody holds it. */
void ps_metric_set_drop(struct ps_metrics *metrics, struct ps_metric_set *set,
                        struct ps_metric_series *series);

/* Gives one reference back; frees a dropped series with the last one. */
void ps_metric_series_unref(struct ps_metrics *metrics, struct ps_metric_series *series);

static inline struct ps_metric_series *ps_metric_series_of(struct ps_list *node)
{
    return PS_CONTAINER_OF(node, struct ps_metric_series, node);
}

#endif
