/* metric - named numbers that every thread may move and one thread may read.
 *
 * A module says what it counts in a static table beside itself; the same rows name the metric on
 * the wire, make its help line and print the manual. Looking a series up by its label values takes
 * a lock; that is done once, at start or when a connection is made, and gives a bound handle.
 * Through a handle a thread writes only cells of its own shard: no lock, no contended line, about a
 * nanosecond. Reading adds the shards up and holds nobody back.
 *
 *      family  penstock_traffic_requests_total{route,code}
 *        series {chat,200} ---- handle --> cells     shard 0 | shard 1 | shard 2 |
 *        series {chat,503} ---- handle --> cells     4 KiB   | 4 KiB   | 4 KiB   |   one page per
 *        series {_overflow,_overflow}                shared  | worker  | worker  |   shard and
 * group
 *
 * A family keeps at most `max_series` series; what comes after lands in its overflow series, so
 * that totals stay exact while memory stays bounded. Where label values are known only as requests
 * come, a thread looks its series up through a memo of its own (metric_memo.h), again without a
 * lock.
 *
 * Thread: handles: each shard by the one thread that took it. All else: any thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OBSERVE_METRIC_H
#define PS_OBSERVE_METRIC_H

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

#define PS_METRIC_LABELS_MAX     8    /* label names of one family */
#define PS_METRIC_BOUNDS_MAX     64   /* explicit bounds of one histogram, +Inf not counted */
#define PS_METRIC_VALUE_MAX      256  /* bytes of one label value; longer ones are cut */
#define PS_METRIC_SHARDS_MAX     128  /* threads that count at the same time, shard 0 included */
#define PS_METRIC_SERIES_DEFAULT 2000 /* series of one family, overflow not counted */
#define PS_METRIC_OVERFLOW       "_overflow" /* every label value of an overflow series */
#define PS_METRIC_STRIDE         512         /* cells from one shard to the next: 4 KiB */

/* type of the row         moved by              one series is         on the wire               */
enum ps_metric_type {
    PS_METRIC_COUNTER,   /* ps_counter_add        uint64, never falls   counter, name ends _total */
    PS_METRIC_GAUGE,     /* ps_gauge_set          double, last wins     gauge                     */
    PS_METRIC_UPDOWN,    /* ps_updown_add         int64, sum of moves   gauge (things in flight)  */
    PS_METRIC_HISTOGRAM, /* ps_histogram_observe  counts and a sum      histogram                 */
    PS_METRIC_EXPONENTIAL, /* the same            metric_exponential.h  native histogram          */
    PS_METRIC_INFO,     /* its labels            1                     info, name ends _info     */
    PS_METRIC_STATESET, /* ps_stateset_set       a bit for each state  stateset                  */
};

/* One row of a module's table. Static: the registry keeps pointers to it. A table ends with {0}.
 * The name follows penstock_<module>_<what>[_<unit>][_total]. */
struct ps_metric_family {
    const char *name;
    enum ps_metric_type type;
    const char *help; /* one sentence, no full stop needed */
    const char *unit; /* "seconds", "bytes", "ratio"..., part of the name; NULL = none */
    const char *labels[PS_METRIC_LABELS_MAX + 1]; /* names, NULL-terminated */
    double per_unit; /* counter, updown: steps in one unit (1e9 for ns); 0 = 1 */
    bool fractional; /* counter: moved by ps_counter_add_double() alone; no per_unit */
    bool exemplars;  /* counter, histograms: may remember traces (48 bytes for each bucket) */
    bool native;     /* exponential: text formats leave it out, another row says the same in them */
    const char *const *states; /* stateset: names, NULL-terminated, 1..PS_METRIC_STATES_MAX */
    const double *bounds;      /* histogram: upper bounds, ascending, finite, in the unit */
    size_t bounds_count;       /* histogram: 1..PS_METRIC_BOUNDS_MAX */
    size_t max_series;         /* 0 = the registry's default */
};

/* Bounds in seconds for anything that a person waits for: 0.2 ms to 10 min, three per decade. */
extern const double ps_metric_seconds[];
#define PS_METRIC_SECONDS_COUNT 20

/* Bounds of an exponential histogram in the formats that need some: 4^-10 (about a millionth) to
 * 4^20 (about 10^12), so that seconds, bytes and counts all have their place. */
#define PS_EXPONENTIAL_BOUNDS       31
#define PS_EXPONENTIAL_BOUNDS_FIRST (-10)

#define PS_EXPONENTIAL_SCALE 8           /* the finest, at which every series begins */
#define PS_EXPONENTIAL_ABOVE 160         /* buckets for values above zero... */
#define PS_EXPONENTIAL_BELOW 80          /* ... and below */
#define PS_EXPONENTIAL_ZERO  0x1p-128    /* what is not larger, on either side, counts as zero */
#define PS_METRIC_STATES_MAX 62          /* states of one stateset */
#define PS_EXEMPLAR_REST     (PS_SECOND) /* an exemplar stays at least so long */

/* The bounds by which a family's values are counted on a page: its own, those of exponential
 * histograms, or none. */
const double *ps_metric_bounds(const struct ps_metric_family *family, size_t *count);

struct ps_metrics; /* registry; opaque */
struct ps_exemplar_slot;

/* What every handle points at; the fields are for the inline functions below. */
struct ps_metric_handle {
    _Atomic uint64_t *cells; /* of shard 0; shard n is PS_METRIC_STRIDE * n further */
    const struct ps_metric_family *family;
    struct ps_exemplar_slot *exemplars; /* one per bucket, or NULL */
};
struct ps_counter {
    struct ps_metric_handle handle;
};
struct ps_gauge {
    struct ps_metric_handle handle;
};
struct ps_updown {
    struct ps_metric_handle handle;
};
struct ps_histogram { /* explicit or exponential */
    struct ps_metric_handle handle;
};
struct ps_stateset {
    struct ps_metric_handle handle;
};

/* A trace that a value came from. */
struct ps_exemplar {
    unsigned char trace_id[16]; /* W3C Trace Context; all zero is not an id */
    unsigned char span_id[8];   /* all zero = unknown */
    double value;
    ps_time wall; /* nanoseconds since 1970 */
};

static inline bool ps_exemplar_is_none(const struct ps_exemplar *exemplar)
{
    static const unsigned char zero[sizeof exemplar->trace_id];
    return memcmp(exemplar->trace_id, zero, sizeof zero) == 0;
}

static inline bool ps_exemplar_has_span(const struct ps_exemplar *exemplar)
{
    static const unsigned char zero[sizeof exemplar->span_id];
    return memcmp(exemplar->span_id, zero, sizeof zero) != 0;
}

/* ---- life */

struct ps_metrics_opts {
    unsigned shards;   /* most shards at the same time, shard 0 included; 1..PS_METRIC_SHARDS_MAX */
    size_t max_series; /* default bound per family; 0 = PS_METRIC_SERIES_DEFAULT */
    const struct ps_clock *clock; /* says when a series was made; NULL = nobody asks */
};

/* Creates a registry that knows only its own families (penstock_metric_*). Returns PS_OK, PS_EINVAL
 * (shards), PS_ENOMEM, or PS_EIO when the system has no random bytes. Free with ps_metrics_free()
 * when no handle is used any more; NULL is fine. */
PS_MUST_CHECK int ps_metrics_new(struct ps_metrics **out, const struct ps_metrics_opts *opts);
void ps_metrics_free(struct ps_metrics *metrics);

/* How OpenMetrics calls a sane family: without the ends that stand at its samples only. Borrowed. */
struct ps_str ps_metric_family_stem(const struct ps_metric_family *row);

/* Would this sane row be refused because a declared one has its name? */
bool ps_metrics_is_taken(struct ps_metrics *metrics, const struct ps_metric_family *row);

/* Makes the rows of a table known, in this order on every page. A family without labels shows its
 * zero at once, but for gauges, whose value nobody knows yet. Declaring the same row again does
 * nothing. Returns PS_OK, PS_ENOMEM, or PS_EINVAL for a name, unit, label or bound that the
 * exposition formats forbid and for a name that another row has: a mistake in the table (then *bad,
 * when not NULL, is the row's name). */
PS_MUST_CHECK int ps_metrics_declare(struct ps_metrics *metrics,
                                     const struct ps_metric_family *table, const char **bad);

/* Takes a shard for the calling thread; give it back when the thread ends (its counts stay).
 * Returns PS_OK or PS_ELIMIT. Shard 0 is nobody's: see ps_counter_add_shared(). */
PS_MUST_CHECK int ps_metrics_shard_get(struct ps_metrics *metrics, unsigned *out);
void ps_metrics_shard_put(struct ps_metrics *metrics, unsigned shard);

/* ---- series: look-up, which makes them */

struct ps_metric_labels {
    struct ps_str values[PS_METRIC_LABELS_MAX];
};

/* Label values as views, in the order of the family's names: PS_LABELS(PS_STR("chat"), code).
 * Missing ones are empty. Valid until the end of the block. */
#define PS_LABELS(...) (&(const struct ps_metric_labels){{__VA_ARGS__}})

/* Finds the series with these label values or makes it: one value per label name of the family,
 * NULL when it has none; an empty value is like an absent label. Bytes that are not UTF-8 become
 * U+FFFD. When the family is full the handle is its overflow series. Takes a short lock: keep the
 * handle. Each handle counts as one reference; see ps_metric_put().
 * Returns PS_OK, PS_ENOMEM, or PS_EINVAL when the row is not declared or is of another type. */
PS_MUST_CHECK int ps_metric_counter(struct ps_metrics *metrics,
                                    const struct ps_metric_family *family,
                                    const struct ps_metric_labels *labels, struct ps_counter **out);
PS_MUST_CHECK int ps_metric_gauge(struct ps_metrics *metrics, const struct ps_metric_family *family,
                                  const struct ps_metric_labels *labels, struct ps_gauge **out);
PS_MUST_CHECK int ps_metric_updown(struct ps_metrics *metrics,
                                   const struct ps_metric_family *family,
                                   const struct ps_metric_labels *labels, struct ps_updown **out);
PS_MUST_CHECK int ps_metric_histogram(struct ps_metrics *metrics,
                                      const struct ps_metric_family *family,
                                      const struct ps_metric_labels *labels,
                                      struct ps_histogram **out); /* of either type */
PS_MUST_CHECK int ps_metric_stateset(struct ps_metrics *metrics,
                                     const struct ps_metric_family *family,
                                     const struct ps_metric_labels *labels,
                                     struct ps_stateset **out);

/* Makes the series of an info: it says its labels from now on. Errors as above. */
PS_MUST_CHECK int ps_metric_info(struct ps_metrics *metrics, const struct ps_metric_family *family,
                                 const struct ps_metric_labels *labels,
                                 struct ps_metric_handle **out);

/* Any type. The handle is the first member of what the functions above give. */
PS_MUST_CHECK int ps_metric_any(struct ps_metrics *metrics, const struct ps_metric_family *family,
                                const struct ps_metric_labels *labels,
                                struct ps_metric_handle **out);

/* Reads a value when somebody collects, in the unit of the family. Runs on the collecting thread
 * with the registry locked: quick, thread-safe, no call back into the registry. */
typedef double ps_metric_read(void *context);

/* Makes a counter, gauge or updown whose value is asked for at collection (a counter's must never
 * fall; NAN means unknown and is not shown). It replaces what the series held, also an earlier
 * watch. ps_metric_unwatch() takes the series away unless somebody else watches it since, and after
 * it the callback never runs again with this context. An overflow series can't be watched:
 * PS_ELIMIT. Other errors as above. */
PS_MUST_CHECK int ps_metric_watch(struct ps_metrics *metrics, const struct ps_metric_family *family,
                                  const struct ps_metric_labels *labels, ps_metric_read *read,
                                  void *context, struct ps_metric_handle **out);
void ps_metric_unwatch(struct ps_metrics *metrics, struct ps_metric_handle *handle, void *context);

/* Gives a handle back (NULL is fine). The series stays on the page with its value until dropped. */
void ps_metric_put(struct ps_metrics *metrics, struct ps_metric_handle *handle);

/* Takes every series off the page whose label `name` has this value, in all families: an upstream
 * left the configuration. Handles stay usable and lead nowhere; memory goes with the last of them.
 * Watched series stay. Returns the number of series dropped. */
size_t ps_metrics_drop(struct ps_metrics *metrics, const char *name, struct ps_str value);

/* ---- moving: the hot path. `shard` must be the calling thread's own. */

static inline _Atomic uint64_t *ps_metric_cell(const struct ps_metric_handle *handle,
                                               unsigned shard)
{
    return handle->cells + (size_t)shard * PS_METRIC_STRIDE;
}

/* One writer per cell: a plain load and store that readers may watch. */
static inline void ps_metric_bump(_Atomic uint64_t *cell, uint64_t n)
{
    atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline void ps_counter_add(struct ps_counter *counter, unsigned shard, uint64_t n)
{
    ps_metric_bump(ps_metric_cell(&counter->handle, shard), n);
}

/* One writer per cell, which holds the bits of a double. */
static inline void ps_metric_bump_double(_Atomic uint64_t *cell, double by)
{
    uint64_t bits = atomic_load_explicit(cell, memory_order_relaxed);
    double sum;
    memcpy(&sum, &bits, sizeof(sum));
    sum += by;
    memcpy(&bits, &sum, sizeof(bits));
    atomic_store_explicit(cell, bits, memory_order_relaxed);
}

/* For a fractional counter: finite and not below 0, else it is left out. */
static inline void ps_counter_add_double(struct ps_counter *counter, unsigned shard, double by)
{
    if (by >= 0 && by < (double)INFINITY) {
        ps_metric_bump_double(ps_metric_cell(&counter->handle, shard), by);
    }
}

/* For a thread without a shard; slower, correct from any number of threads. */
static inline void ps_counter_add_shared(struct ps_counter *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter->handle.cells, n, memory_order_relaxed);
}

static inline void ps_updown_add(struct ps_updown *updown, unsigned shard, int64_t n)
{
    ps_metric_bump(ps_metric_cell(&updown->handle, shard), (uint64_t)n);
}

/* Any thread. NAN means unknown: the series is not shown until a number is set. */
static inline void ps_gauge_set(struct ps_gauge *gauge, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    atomic_store_explicit(gauge->handle.cells, bits, memory_order_relaxed);
}

/* Any thread: moves a gauge by so much; one that is unknown counts as 0 until now. */
void ps_gauge_add(struct ps_gauge *gauge, double by);

/* Any thread: bit n says whether state n of the family is on. Unknown, and not shown, until set. */
static inline void ps_stateset_set(struct ps_stateset *stateset, uint64_t states)
{
    atomic_store_explicit(stateset->handle.cells, states | UINT64_C(1) << 63, memory_order_relaxed);
}

/* Index of the first bound that is >= value; count when none is. Without unforeseeable branches. */
static inline size_t ps_metric_bucket(const double *bounds, size_t count, double value)
{
    const double *base = bounds;
    while (count > 1) {
        size_t half = count / 2;
        base = base[half - 1] < value ? base + half : base;
        count -= half;
    }
    return (size_t)(base - bounds) + (*base < value);
}

void ps_exponential_observe_many(_Atomic uint64_t *cells, double value,
                                 uint64_t n); /* metric_exponential.h */

/* Counts a value in the family's unit, once or n times. A NaN is left out, it would spoil the sum for good; an
 * exponential histogram leaves infinities out too: no bucket holds them. */
static inline void ps_histogram_observe_many(struct ps_histogram *histogram, unsigned shard,
                                             double value, uint64_t n)
{
    const struct ps_metric_family *family = histogram->handle.family;
    _Atomic uint64_t *cells = ps_metric_cell(&histogram->handle, shard);
    if (value != value) {
        return;
    }
    if (family->type == PS_METRIC_EXPONENTIAL) {
        if (value - value == 0) {
            ps_exponential_observe_many(cells, value, n);
        }
        return;
    }
    ps_metric_bump(cells + 1 + ps_metric_bucket(family->bounds, family->bounds_count, value), n);
    ps_metric_bump_double(cells, value * (double)n);
}

static inline void ps_histogram_observe(struct ps_histogram *histogram, unsigned shard,
                                        double value)
{
    ps_histogram_observe_many(histogram, shard, value, 1);
}

/* Adds what somebody else has counted between the same explicit bounds: one count more than there
 * are bounds, and the sum of the values, which is finite. */
void ps_histogram_add_buckets(struct ps_histogram *histogram, unsigned shard,
                              const uint64_t *buckets, double sum);

/* For a thread without a shard: takes a lock, correct from any number of threads. */
void ps_histogram_observe_shared(struct ps_histogram *histogram, double value);

/* For a thread without a shard, a fractional counter. */
void ps_counter_add_double_shared(struct ps_counter *counter, double by);

/* Remembers the trace that a value came from, which was counted on its own: in the bucket of the
 * value, or as the counter's one exemplar. Does nothing where the family has no exemplars, or where
 * the one that is there is younger than PS_EXEMPLAR_REST. Any thread; never waits. */
void ps_metric_exemplar(const struct ps_metric_handle *handle, const struct ps_exemplar *exemplar);

/* ---- reading */

struct ps_exponential_side {
    int32_t low;    /* index of the first bucket: (2^(low/2^scale), 2^((low+1)/2^scale)] */
    uint32_t count; /* buckets, of which any but the outer two may be empty; 0 = no value */
    uint64_t buckets[PS_EXPONENTIAL_ABOVE];
};

struct ps_exponential {
    int scale;
    uint64_t zeros;
    uint64_t count;
    double sum;
    struct ps_exponential_side sides[2]; /* above zero, below zero (by magnitude) */
};

/* What a series shows at the moment of collection. Everything is borrowed for the call. */
struct ps_metric_sample {
    const struct ps_metric_family *family;
    const struct ps_str *labels; /* one value per label name; valid UTF-8 */
    double value;                /* counter, gauge, updown: in the unit; info: 1 */
    uint64_t states;             /* stateset: a bit for each state that is on */
    ps_time created;             /* nanoseconds since 1970; 0 = unknown */
    uint64_t id;                 /* of the series, never used again */
    bool watched;                /* it is read from elsewhere, and may be older than its series */
    const uint64_t *buckets; /* histograms: one count more than ps_metric_bounds() has; or NULL */
    const struct ps_exponential
        *exponential;                    /* exponential histogram: as it was counted; or NULL */
    const struct ps_exemplar *exemplars; /* as many as buckets, for a counter 1; trace_id zero = */
                                         /* none; NULL where the family has none */
    uint64_t count;                      /* histogram: sum of the buckets */
    double sum;                          /* histogram: sum of the values */
};

/* Anything but PS_OK from a callback ends the walk and is what ps_metrics_collect() returns. */
struct ps_metric_visitor {
    int (*on_family)(void *context, const struct ps_metric_family *family); /* before its samples */
    int (*on_sample)(void *context, const struct ps_metric_sample *sample);
    void *context;
    bool all; /* families without series too */
};

/* Walks families in order of declaration and series in order of creation; families without series
 * are left out unless the visitor wants all. Writers never wait, look-ups only for a few dozen
 * series at a time. Visitors run unlocked and may use the registry. */
PS_MUST_CHECK int ps_metrics_collect(struct ps_metrics *metrics,
                                     const struct ps_metric_visitor *visitor);

/* Likewise the series of one row. PS_EINVAL when it is not declared. */
PS_MUST_CHECK int ps_metrics_collect_family(struct ps_metrics *metrics,
                                            const struct ps_metric_family *family,
                                            const struct ps_metric_visitor *visitor);

/* The declared row of this name, or NULL. */
const struct ps_metric_family *ps_metrics_find(struct ps_metrics *metrics, struct ps_str name);

/* Where a walk in slices is: zero at its start. */
struct ps_metric_cursor {
    size_t set;
    struct ps_metric_series *last; /* seen already; a reference */
    bool opened;                   /* the visitor knows of its family */
};

/* The same in slices: about `most` series, rounded up to whole batches. PS_EBUSY: there are more, go on
 * with the same cursor; anything else is the end, and the cursor is at the start again. */
PS_MUST_CHECK int ps_metrics_collect_some(struct ps_metrics *metrics,
                                          const struct ps_metric_visitor *visitor,
                                          struct ps_metric_cursor *cursor, size_t most);

/* Gives up a walk in slices. */
void ps_metric_cursor_fini(struct ps_metrics *metrics, struct ps_metric_cursor *cursor);

/* The present sum over all shards, in steps (not scaled). */
uint64_t ps_counter_read(struct ps_metrics *metrics, const struct ps_counter *counter);
int64_t ps_updown_read(struct ps_metrics *metrics, const struct ps_updown *updown);

double ps_counter_read_double(struct ps_metrics *metrics, const struct ps_counter *counter);

/* How the manual and the API call a type: "counter", "gauge", "histogram"... Static text. */
const char *ps_metric_type_name(enum ps_metric_type type);

/* The registry's own rows: series per family, folded look-ups and series. */
extern const struct ps_metric_family ps_metric_metrics[];

/* ---- manual */

/* Appends docs/metrics.md: one section per table of the NULL-terminated list, one row per family.
 * PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_metric_manual(const struct ps_metric_family *const *tables,
                                   struct ps_buf *out);

#endif
