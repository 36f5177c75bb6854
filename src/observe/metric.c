#include "observe/metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "observe/metric_exponential.h"
#include "observe/metric_label.h"
#include "observe/metric_registry.h"
#include "observe/metric_sketch.h"

const double ps_metric_seconds[PS_METRIC_SECONDS_COUNT] = {
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2,
    0.5,    1,      2,     5,     10,    20,   60,   120,  300, 600,
};

enum { ROW_SERIES, ROW_FOLDED, ROW_DISTINCT };

const struct ps_metric_family ps_metric_metrics[] = {
    [ROW_SERIES] = {.name = "penstock_metric_series",
                    .type = PS_METRIC_GAUGE,
                    .help = "Series that the registry holds"},
    [ROW_FOLDED] = {.name = "penstock_metric_folded_lookups_total",
                    .type = PS_METRIC_COUNTER,
                    .help = "Look-ups answered by a metric's overflow series because it was full",
                    .labels = {"metric"},
                    .max_series = SIZE_MAX},
    [ROW_DISTINCT] = {.name = "penstock_metric_folded_series",
                      .type = PS_METRIC_GAUGE,
                      .help =
                          "Different label sets that a full metric's overflow series stands for, "
                          "estimated to about 3 %",
                      .labels = {"metric"},
                      .max_series = SIZE_MAX},
    {0},
};

/* ---- families */

const double *ps_metric_bounds(const struct ps_metric_family *family, size_t *count)
{
    static const double fourfold[PS_EXPONENTIAL_BOUNDS] = {
        0x1p-20, 0x1p-18, 0x1p-16, 0x1p-14, 0x1p-12, 0x1p-10, 0x1p-8, 0x1p-6,
        0x1p-4,  0x1p-2,  1,       0x1p2,   0x1p4,   0x1p6,   0x1p8,  0x1p10,
        0x1p12,  0x1p14,  0x1p16,  0x1p18,  0x1p20,  0x1p22,  0x1p24, 0x1p26,
        0x1p28,  0x1p30,  0x1p32,  0x1p34,  0x1p36,  0x1p38,  0x1p40,
    };
    bool exponential = family->type == PS_METRIC_EXPONENTIAL;
    *count = exponential ? PS_EXPONENTIAL_BOUNDS : family->bounds_count;
    return exponential ? fourfold : family->bounds;
}

const char *ps_metric_type_name(enum ps_metric_type type)
{
    static const char *const names[] = {
        [PS_METRIC_COUNTER] = "counter",
        [PS_METRIC_GAUGE] = "gauge",
        [PS_METRIC_UPDOWN] = "gauge",
        [PS_METRIC_HISTOGRAM] = "histogram",
        [PS_METRIC_EXPONENTIAL] = "exponential",
        [PS_METRIC_INFO] = "info",
        [PS_METRIC_STATESET] = "stateset",
    };
    return names[type];
}

bool ps_metrics_is_taken(struct ps_metrics *metrics, const struct ps_metric_family *row)
{
    pthread_mutex_lock(&metrics->lock);
    bool taken = ps_metric_set_is_taken(metrics, row);
    pthread_mutex_unlock(&metrics->lock);
    return taken;
}

int ps_metrics_declare(struct ps_metrics *metrics, const struct ps_metric_family *table,
                       const char **bad)
{
    int err = PS_OK;
    pthread_mutex_lock(&metrics->lock);
    for (const struct ps_metric_family *row = table; row->name != NULL && err == PS_OK; row++) {
        err = ps_metric_set_declare(metrics, row);
        if (err == PS_EINVAL && bad != NULL) {
            *bad = row->name;
        }
    }
    pthread_mutex_unlock(&metrics->lock);
    return err;
}

/* ---- look-up */

/* A series of one of our own rows that is about another metric. The set keeps its reference: it
 * outlives every drop. */
static int add_about(struct ps_metrics *metrics, const struct ps_metric_family *row,
                     const char *metric, struct ps_metric_handle **out)
{
    char packed[PS_METRIC_PACKED_MAX];
    struct ps_str name = ps_str_from(metric);
    struct ps_str key = {packed, ps_metric_labels_pack(&name, 1, packed)};
    struct ps_metric_series *series;
    int err = ps_metric_set_add(metrics, ps_metric_set_of(metrics, row), key,
                                ps_str_hash(key, metrics->seed), &series);
    if (err == PS_OK) {
        series->refs++;
        *out = &series->handle;
    }
    return err;
}

/* What a set needs from its first fold on. May be half done after a failure; the next try goes on.
 */
static int prepare_fold(struct ps_metrics *metrics, struct ps_metric_set *set)
{
    struct ps_metric_handle *handle;
    int err = set->overflow == NULL ? ps_metric_set_add_overflow(metrics, set) : PS_OK;
    if (err == PS_OK && set->sketch == NULL) {
        set->sketch = calloc(1, PS_METRIC_SKETCH);
        err = set->sketch == NULL ? PS_ENOMEM : PS_OK;
    }
    if (err == PS_OK && set->folded == NULL) {
        err = add_about(metrics, &ps_metric_metrics[ROW_FOLDED], set->family->name, &handle);
        set->folded = err == PS_OK ? PS_CONTAINER_OF(handle, struct ps_counter, handle) : NULL;
    }
    if (err == PS_OK && set->distinct == NULL) {
        err = add_about(metrics, &ps_metric_metrics[ROW_DISTINCT], set->family->name, &handle);
        set->distinct = err == PS_OK ? PS_CONTAINER_OF(handle, struct ps_gauge, handle) : NULL;
    }
    return err;
}

/* The series that takes what the set has no room for; counts that it did. */
static int fold(struct ps_metrics *metrics, struct ps_metric_set *set, uint64_t hash,
                struct ps_metric_series **out)
{
    int err = prepare_fold(metrics, set);
    if (err == PS_OK) {
        ps_counter_add_shared(set->folded, 1);
        ps_metric_sketch_add(set->sketch, hash);
        *out = set->overflow;
    }
    return err;
}

/* Finds or makes a series and counts the caller's reference. Locked by the caller. */
static int bind_locked(struct ps_metrics *metrics, struct ps_metric_set *set, struct ps_str packed,
                       uint64_t hash, struct ps_metric_series **out)
{
    struct ps_metric_series *series = ps_metric_set_find(set, packed, hash);
    int err = PS_OK;
    if (series == NULL) {
        err = set->count < set->limit ? ps_metric_set_add(metrics, set, packed, hash, &series)
                                      : fold(metrics, set, hash, &series);
    }
    if (err == PS_OK) {
        series->refs++;
        *out = series;
    }
    return err;
}

static int bind(struct ps_metrics *metrics, const struct ps_metric_family *row,
                const struct ps_metric_labels *labels, struct ps_metric_series **out)
{
    static const struct ps_metric_labels none;
    char packed[PS_METRIC_PACKED_MAX];
    size_t len = ps_metric_labels_pack(labels == NULL ? none.values : labels->values,
                                       ps_metric_label_count(row), packed);
    struct ps_str key = {packed, len};
    uint64_t hash = ps_str_hash(key, metrics->seed);
    pthread_mutex_lock(&metrics->lock);
    struct ps_metric_set *set = ps_metric_set_of(metrics, row);
    int err = set == NULL ? PS_EINVAL : bind_locked(metrics, set, key, hash, out);
    pthread_mutex_unlock(&metrics->lock);
    return err;
}

int ps_metric_any(struct ps_metrics *metrics, const struct ps_metric_family *family,
                  const struct ps_metric_labels *labels, struct ps_metric_handle **out)
{
    struct ps_metric_series *series;
    int err = bind(metrics, family, labels, &series);
    if (err == PS_OK) {
        *out = &series->handle;
    }
    return err;
}

static int bind_as(struct ps_metrics *metrics, const struct ps_metric_family *row,
                   enum ps_metric_type type, const struct ps_metric_labels *labels,
                   struct ps_metric_handle **out)
{
    return row->type == type ? ps_metric_any(metrics, row, labels, out) : PS_EINVAL;
}

int ps_metric_counter(struct ps_metrics *metrics, const struct ps_metric_family *family,
                      const struct ps_metric_labels *labels, struct ps_counter **out)
{
    struct ps_metric_handle *handle;
    int err = bind_as(metrics, family, PS_METRIC_COUNTER, labels, &handle);
    if (err == PS_OK) {
        *out = PS_CONTAINER_OF(handle, struct ps_counter, handle);
    }
    return err;
}

int ps_metric_gauge(struct ps_metrics *metrics, const struct ps_metric_family *family,
                    const struct ps_metric_labels *labels, struct ps_gauge **out)
{
    struct ps_metric_handle *handle;
    int err = bind_as(metrics, family, PS_METRIC_GAUGE, labels, &handle);
    if (err == PS_OK) {
        *out = PS_CONTAINER_OF(handle, struct ps_gauge, handle);
    }
    return err;
}

int ps_metric_updown(struct ps_metrics *metrics, const struct ps_metric_family *family,
                     const struct ps_metric_labels *labels, struct ps_updown **out)
{
    struct ps_metric_handle *handle;
    int err = bind_as(metrics, family, PS_METRIC_UPDOWN, labels, &handle);
    if (err == PS_OK) {
        *out = PS_CONTAINER_OF(handle, struct ps_updown, handle);
    }
    return err;
}

int ps_metric_histogram(struct ps_metrics *metrics, const struct ps_metric_family *family,
                        const struct ps_metric_labels *labels, struct ps_histogram **out)
{
    struct ps_metric_handle *handle;
    enum ps_metric_type type =
        family->type == PS_METRIC_EXPONENTIAL ? PS_METRIC_EXPONENTIAL : PS_METRIC_HISTOGRAM;
    int err = bind_as(metrics, family, type, labels, &handle);
    if (err == PS_OK) {
        *out = PS_CONTAINER_OF(handle, struct ps_histogram, handle);
    }
    return err;
}

int ps_metric_stateset(struct ps_metrics *metrics, const struct ps_metric_family *family,
                       const struct ps_metric_labels *labels, struct ps_stateset **out)
{
    struct ps_metric_handle *handle;
    int err = bind_as(metrics, family, PS_METRIC_STATESET, labels, &handle);
    if (err == PS_OK) {
        *out = PS_CONTAINER_OF(handle, struct ps_stateset, handle);
    }
    return err;
}

int ps_metric_info(struct ps_metrics *metrics, const struct ps_metric_family *family,
                   const struct ps_metric_labels *labels, struct ps_metric_handle **out)
{
    return bind_as(metrics, family, PS_METRIC_INFO, labels, out);
}

static struct ps_metric_series *series_of(struct ps_metric_handle *handle)
{
    return PS_CONTAINER_OF(handle, struct ps_metric_series, handle);
}

void ps_metric_put(struct ps_metrics *metrics, struct ps_metric_handle *handle)
{
    if (handle == NULL) {
        return;
    }
    pthread_mutex_lock(&metrics->lock);
    ps_metric_series_unref(metrics, series_of(handle));
    pthread_mutex_unlock(&metrics->lock);
}

/* ---- watches */

static int watch_series(struct ps_metric_series *series, ps_metric_read *read, void *context)
{
    if (series->overflow) {
        return PS_ELIMIT;
    }
    if (series->watch == NULL) {
        series->watch = malloc(sizeof(*series->watch));
    }
    if (series->watch == NULL) {
        return PS_ENOMEM;
    }
    *series->watch = (struct ps_metric_watch){read, context};
    return PS_OK;
}

int ps_metric_watch(struct ps_metrics *metrics, const struct ps_metric_family *family,
                    const struct ps_metric_labels *labels, ps_metric_read *read, void *context,
                    struct ps_metric_handle **out)
{
    struct ps_metric_series *series;
    bool single = family->type <= PS_METRIC_UPDOWN;
    int err = single ? bind(metrics, family, labels, &series) : PS_EINVAL;
    if (err != PS_OK) {
        return err;
    }
    pthread_mutex_lock(&metrics->lock);
    err = watch_series(series, read, context);
    if (err == PS_OK) {
        *out = &series->handle;
    } else {
        ps_metric_series_unref(metrics, series);
    }
    pthread_mutex_unlock(&metrics->lock);
    return err;
}

void ps_metric_unwatch(struct ps_metrics *metrics, struct ps_metric_handle *handle, void *context)
{
    if (handle == NULL) {
        return;
    }
    struct ps_metric_series *series = series_of(handle);
    pthread_mutex_lock(&metrics->lock);
    if (series->watch != NULL && series->watch->context == context) {
        ps_metric_set_drop(metrics, ps_metric_set_of(metrics, handle->family), series);
    }
    ps_metric_series_unref(metrics, series);
    pthread_mutex_unlock(&metrics->lock);
}

/* ---- dropping */

static size_t drop_from_set(struct ps_metrics *metrics, struct ps_metric_set *set, size_t label,
                            struct ps_str value)
{
    size_t dropped = 0;
    struct ps_list *next;
    for (struct ps_list *node = set->series.next; node != &set->series; node = next) {
        struct ps_metric_series *series = ps_metric_series_of(node);
        struct ps_str values[PS_METRIC_LABELS_MAX];
        next = node->next;
        ps_metric_labels_unpack(series->packed, set->labels, values);
        if (series->watch == NULL && !series->overflow && ps_str_eq(values[label], value)) {
            ps_metric_set_drop(metrics, set, series);
            dropped++;
        }
    }
    return dropped;
}

size_t ps_metrics_drop(struct ps_metrics *metrics, const char *name, struct ps_str value)
{
    char clean[PS_METRIC_VALUE_MAX];
    struct ps_str key = {clean, ps_metric_label_clean(value, clean)};
    size_t dropped = 0;
    pthread_mutex_lock(&metrics->lock);
    for (size_t i = 0; i < metrics->sets_count; i++) {
        struct ps_metric_set *set = metrics->sets[i];
        for (size_t label = 0; label < set->labels; label++) {
            if (strcmp(set->family->labels[label], name) == 0) {
                dropped += drop_from_set(metrics, set, label, key);
            }
        }
    }
    pthread_mutex_unlock(&metrics->lock);
    return dropped;
}

/* ---- life */

static double read_series_count(void *context)
{
    return (double)((struct ps_metrics *)context)->series_count;
}

static int declare_own(struct ps_metrics *metrics)
{
    struct ps_metric_handle *handle;
    int err = ps_metrics_declare(metrics, ps_metric_metrics, NULL);
    if (err == PS_OK) {
        err = ps_metric_watch(metrics, &ps_metric_metrics[ROW_SERIES], NULL, read_series_count,
                              metrics, &handle);
    }
    return err;
}

int ps_metrics_new(struct ps_metrics **out, const struct ps_metrics_opts *opts)
{
    if (opts->shards < 1 || opts->shards > PS_METRIC_SHARDS_MAX) {
        return PS_EINVAL;
    }
    struct ps_metrics *metrics = calloc(1, sizeof(*metrics));
    if (metrics == NULL) {
        return PS_ENOMEM;
    }
    pthread_mutex_init(&metrics->lock, NULL);
    ps_metric_cells_init(&metrics->cells, opts->shards);
    ps_list_init(&metrics->orphans);
    ps_exponential_init();
    metrics->clock = opts->clock;
    metrics->max_series = opts->max_series == 0 ? PS_METRIC_SERIES_DEFAULT : opts->max_series;
    int err = getrandom(&metrics->seed, sizeof(metrics->seed), 0) == (ssize_t)sizeof(metrics->seed)
                  ? ps_metric_sets_init(metrics)
                  : PS_EIO;
    if (err == PS_OK) {
        err = declare_own(metrics);
    }
    if (err != PS_OK) {
        ps_metrics_free(metrics);
        return err;
    }
    *out = metrics;
    return PS_OK;
}

void ps_metrics_free(struct ps_metrics *metrics)
{
    if (metrics == NULL) {
        return;
    }
    ps_metric_sets_fini(metrics);
    ps_metric_cells_fini(&metrics->cells);
    pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

/* ---- moving without a shard. Atomic additions would do but for a histogram's sum and an
 * exponential histogram's ranges; a lock serves all of them, and who minds it takes a shard. */

static pthread_mutex_t *lock_of(const struct ps_metric_handle *handle)
{
    static pthread_mutex_t locks[] = {
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
    };
    return &locks[(uintptr_t)handle->cells / sizeof(uint64_t) % PS_ARRAY_LEN(locks)];
}

void ps_histogram_observe_shared(struct ps_histogram *histogram, double value)
{
    pthread_mutex_t *lock = lock_of(&histogram->handle);
    pthread_mutex_lock(lock);
    ps_histogram_observe(histogram, 0, value);
    pthread_mutex_unlock(lock);
}

void ps_histogram_add_buckets(struct ps_histogram *histogram, unsigned shard,
                              const uint64_t *buckets, double sum)
{
    _Atomic uint64_t *cells = ps_metric_cell(&histogram->handle, shard);
    for (size_t i = 0; i <= histogram->handle.family->bounds_count; i++) {
        ps_metric_bump(cells + 1 + i, buckets[i]);
    }
    ps_metric_bump_double(cells, sum);
}

void ps_gauge_add(struct ps_gauge *gauge, double by)
{
    uint64_t before = atomic_load_explicit(gauge->handle.cells, memory_order_relaxed);
    uint64_t after;
    do {
        double value;
        memcpy(&value, &before, sizeof value);
        value = (isnan(value) ? 0 : value) + by;
        memcpy(&after, &value, sizeof after);
    } while (!atomic_compare_exchange_weak_explicit(gauge->handle.cells, &before, after,
                                                    memory_order_relaxed, memory_order_relaxed));
}

void ps_counter_add_double_shared(struct ps_counter *counter, double by)
{
    pthread_mutex_t *lock = lock_of(&counter->handle);
    pthread_mutex_lock(lock);
    ps_counter_add_double(counter, 0, by);
    pthread_mutex_unlock(lock);
}

/* ---- shards */

int ps_metrics_shard_get(struct ps_metrics *metrics, unsigned *out)
{
    pthread_mutex_lock(&metrics->lock);
    int err = ps_metric_cells_shard_get(&metrics->cells, out);
    pthread_mutex_unlock(&metrics->lock);
    return err;
}

void ps_metrics_shard_put(struct ps_metrics *metrics, unsigned shard)
{
    pthread_mutex_lock(&metrics->lock);
    ps_metric_cells_shard_put(&metrics->cells, shard);
    pthread_mutex_unlock(&metrics->lock);
}
