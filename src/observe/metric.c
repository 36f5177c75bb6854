#include "observe/metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "observe/metric_label.h"
#include "observe/metric_registry.h"

enum { FIRST_BUCKETS = 4, FIRST_INDEX = 64 };

const double ps_metric_seconds[PS_METRIC_SECONDS_COUNT] = {
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2,
    0.5,    1,      2,     5,     10,    20,   60,   120,  300, 600,
};

enum { ROW_SERIES, ROW_FOLDED };

const struct ps_metric_family ps_metric_metrics[] = {
    [ROW_SERIES] = {.name = "penstock_metric_series",
                    .type = PS_METRIC_GAUGE,
                    .help = "Series that the registry holds"},
    [ROW_FOLDED] = {.name = "penstock_metric_folded_lookups_total",
                    .type = PS_METRIC_COUNTER,
                    .help = "Look-ups answered by a metric's overflow series because it was full",
                    .labels = {"metric"},
                    .max_series = SIZE_MAX},
    {0},
};

/* ---- series */

static size_t cells_of(const struct ps_metric_family *family)
{
    return family->type == PS_METRIC_HISTOGRAM ? family->bounds_count + 2 : 1;
}

static void free_series(struct ps_metrics *metrics, struct ps_metric_series *series)
{
    ps_metric_cells_put(&metrics->cells, series->handle.cells, cells_of(series->handle.family));
    ps_list_remove(&series->node);
    free(series->watch);
    free(series);
}

void ps_metric_series_unref(struct ps_metrics *metrics, struct ps_metric_series *series)
{
    PS_CHECK(series->refs > 0);
    series->refs--;
    if (series->refs == 0 && !series->shown) {
        free_series(metrics, series);
    }
}

static struct ps_metric_series *find_series(const struct ps_metric_set *set, struct ps_str packed,
                                            uint64_t hash)
{
    struct ps_metric_series *series = set->buckets[hash & set->bucket_mask];
    while (series != NULL &&
           !(series->hash == hash &&
             ps_str_eq((struct ps_str){series->packed, series->packed_len}, packed))) {
        series = series->next;
    }
    return series;
}

/* Doubles the buckets when there are more series than buckets. Failing to is only slow. */
static void grow_buckets(struct ps_metric_set *set)
{
    size_t count = (set->bucket_mask + 1) * 2;
    struct ps_metric_series **buckets =
        set->count > set->bucket_mask ? calloc(count, sizeof(struct ps_metric_series *)) : NULL;
    if (buckets == NULL) {
        return;
    }
    for (size_t i = 0; i <= set->bucket_mask; i++) {
        for (struct ps_metric_series *series = set->buckets[i], *next; series != NULL;
             series = next) {
            next = series->next;
            series->next = buckets[series->hash & (count - 1)];
            buckets[series->hash & (count - 1)] = series;
        }
    }
    free(set->buckets);
    set->buckets = buckets;
    set->bucket_mask = count - 1;
}

/* A series at the end of the set's list, in no bucket yet. A gauge is unknown until it is set. */
static int new_series(struct ps_metrics *metrics, struct ps_metric_set *set, struct ps_str packed,
                      struct ps_metric_series **out)
{
    struct ps_metric_series *series = calloc(1, sizeof(*series) + packed.len);
    if (series == NULL) {
        return PS_ENOMEM;
    }
    int err = ps_metric_cells_get(&metrics->cells, set->cells, &series->handle.cells);
    if (err != PS_OK) {
        free(series);
        return err;
    }
    series->handle.family = set->family;
    series->id = ++metrics->last_id;
    series->packed_len = (uint16_t)packed.len;
    memcpy(series->packed, packed.ptr, packed.len);
    series->shown = true;
    if (set->family->type == PS_METRIC_GAUGE) {
        ps_gauge_set(PS_CONTAINER_OF(&series->handle, struct ps_gauge, handle), NAN);
    }
    ps_list_push(&set->series, &series->node);
    metrics->series_count++;
    *out = series;
    return PS_OK;
}

static int add_series(struct ps_metrics *metrics, struct ps_metric_set *set, struct ps_str packed,
                      uint64_t hash, struct ps_metric_series **out)
{
    struct ps_metric_series *series;
    int err = new_series(metrics, set, packed, &series);
    if (err != PS_OK) {
        return err;
    }
    series->hash = hash;
    series->next = set->buckets[hash & set->bucket_mask];
    set->buckets[hash & set->bucket_mask] = series;
    set->count++;
    grow_buckets(set);
    *out = series;
    return PS_OK;
}

static void remove_from_bucket(struct ps_metric_set *set, struct ps_metric_series *series)
{
    struct ps_metric_series **link = &set->buckets[series->hash & set->bucket_mask];
    while (*link != series) {
        link = &(*link)->next;
    }
    *link = series->next;
    set->count--;
}

/* Takes a series off the page; it lives on among the orphans while somebody holds it. */
static void drop_series(struct ps_metrics *metrics, struct ps_metric_set *set,
                        struct ps_metric_series *series)
{
    remove_from_bucket(set, series);
    metrics->series_count--;
    series->shown = false;
    free(series->watch);
    series->watch = NULL;
    ps_list_remove(&series->node);
    ps_list_push(&metrics->orphans, &series->node);
    if (series->refs == 0) {
        free_series(metrics, series);
    }
}

/* ---- sets */

static size_t index_slot(const struct ps_metric_family *row, size_t mask)
{
    return (size_t)(((uint64_t)(uintptr_t)row * 0x9e3779b97f4a7c15u) >> 32) & mask;
}

static struct ps_metric_set *find_set(const struct ps_metrics *metrics,
                                      const struct ps_metric_family *row)
{
    size_t slot = index_slot(row, metrics->index_mask);
    while (metrics->index[slot] != NULL && metrics->index[slot]->family != row) {
        slot = (slot + 1) & metrics->index_mask;
    }
    return metrics->index[slot];
}

static void enter_index(struct ps_metric_set **index, size_t mask, struct ps_metric_set *set)
{
    size_t slot = index_slot(set->family, mask);
    while (index[slot] != NULL) {
        slot = (slot + 1) & mask;
    }
    index[slot] = set;
}

/* Room for one more set in the list and, at most half full, in the index. */
static int reserve_set(struct ps_metrics *metrics)
{
    if (metrics->sets_count < metrics->sets_cap) {
        return PS_OK;
    }
    size_t cap = metrics->sets_cap == 0 ? FIRST_INDEX / 2 : metrics->sets_cap * 2;
    struct ps_metric_set **sets = realloc(metrics->sets, cap * sizeof(struct ps_metric_set *));
    if (sets == NULL) {
        return PS_ENOMEM;
    }
    metrics->sets = sets;
    struct ps_metric_set **index = calloc(cap * 2, sizeof(struct ps_metric_set *));
    if (index == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < metrics->sets_count; i++) {
        enter_index(index, cap * 2 - 1, sets[i]);
    }
    free(metrics->index);
    metrics->index = index;
    metrics->index_mask = cap * 2 - 1;
    metrics->sets_cap = cap;
    return PS_OK;
}

static void free_set(struct ps_metrics *metrics, struct ps_metric_set *set)
{
    while (!ps_list_is_empty(&set->series)) {
        free_series(metrics, ps_metric_series_of(set->series.next));
    }
    free(set->buckets);
    free(set);
}

static int new_set(struct ps_metrics *metrics, const struct ps_metric_family *row,
                   struct ps_metric_set **out)
{
    struct ps_metric_set *set = calloc(1, sizeof(*set));
    if (set == NULL) {
        return PS_ENOMEM;
    }
    ps_list_init(&set->series);
    set->family = row;
    set->labels = ps_metric_label_count(row);
    set->cells = cells_of(row);
    set->limit = row->max_series == 0 ? metrics->max_series : row->max_series;
    set->bucket_mask = FIRST_BUCKETS - 1;
    set->buckets = calloc(FIRST_BUCKETS, sizeof(struct ps_metric_series *));
    int err = set->buckets == NULL ? PS_ENOMEM : PS_OK;
    if (err == PS_OK && set->labels == 0 && row->type != PS_METRIC_GAUGE) {
        struct ps_metric_series *series;
        struct ps_str none = PS_STR("");
        err = add_series(metrics, set, none, ps_str_hash(none, metrics->seed), &series);
    }
    if (err != PS_OK) {
        free_set(metrics, set);
        return err;
    }
    *out = set;
    return PS_OK;
}

static bool name_is_taken(const struct ps_metrics *metrics, const char *name)
{
    for (size_t i = 0; i < metrics->sets_count; i++) {
        if (strcmp(metrics->sets[i]->family->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static int declare_row(struct ps_metrics *metrics, const struct ps_metric_family *row)
{
    if (find_set(metrics, row) != NULL) {
        return PS_OK;
    }
    if (!ps_metric_family_is_sane(row) || name_is_taken(metrics, row->name)) {
        return PS_EINVAL;
    }
    struct ps_metric_set *set;
    int err = reserve_set(metrics);
    if (err == PS_OK) {
        err = new_set(metrics, row, &set);
    }
    if (err == PS_OK) {
        metrics->sets[metrics->sets_count++] = set;
        enter_index(metrics->index, metrics->index_mask, set);
    }
    return err;
}

int ps_metrics_declare(struct ps_metrics *metrics, const struct ps_metric_family *table,
                       const char **bad)
{
    int err = PS_OK;
    pthread_mutex_lock(&metrics->lock);
    for (const struct ps_metric_family *row = table; row->name != NULL && err == PS_OK; row++) {
        err = declare_row(metrics, row);
        if (err == PS_EINVAL && bad != NULL) {
            *bad = row->name;
        }
    }
    pthread_mutex_unlock(&metrics->lock);
    return err;
}

/* ---- look-up */

/* The series that takes what the set has no room for; counts that it did. */
static int fold(struct ps_metrics *metrics, struct ps_metric_set *set,
                struct ps_metric_series **out)
{
    char packed[PS_METRIC_PACKED_MAX];
    int err = PS_OK;
    if (set->overflow == NULL) {
        struct ps_str values[PS_METRIC_LABELS_MAX];
        for (size_t i = 0; i < PS_METRIC_LABELS_MAX; i++) {
            values[i] = PS_STR(PS_METRIC_OVERFLOW);
        }
        size_t len = ps_metric_labels_pack(values, set->labels, packed);
        err = new_series(metrics, set, (struct ps_str){packed, len}, &set->overflow);
        if (err == PS_OK) {
            set->overflow->overflow = true;
        }
    }
    struct ps_metric_set *folded = find_set(metrics, &ps_metric_metrics[ROW_FOLDED]);
    if (err == PS_OK && set->folded == NULL) {
        struct ps_str name = ps_str_from(set->family->name);
        struct ps_str key = {packed, ps_metric_labels_pack(&name, 1, packed)};
        struct ps_metric_series *series;
        err = add_series(metrics, folded, key, ps_str_hash(key, metrics->seed), &series);
        if (err == PS_OK) {
            series->refs++; /* for the set, which outlives every drop */
            set->folded = PS_CONTAINER_OF(&series->handle, struct ps_counter, handle);
        }
    }
    if (err == PS_OK) {
        ps_counter_add_shared(set->folded, 1);
        *out = set->overflow;
    }
    return err;
}

/* Finds or makes a series and counts the caller's reference. Locked by the caller. */
static int bind_locked(struct ps_metrics *metrics, struct ps_metric_set *set, struct ps_str packed,
                       uint64_t hash, struct ps_metric_series **out)
{
    struct ps_metric_series *series = find_series(set, packed, hash);
    int err = PS_OK;
    if (series == NULL) {
        err = set->count < set->limit ? add_series(metrics, set, packed, hash, &series)
                                      : fold(metrics, set, &series);
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
    struct ps_metric_set *set = find_set(metrics, row);
    int err = set == NULL ? PS_EINVAL : bind_locked(metrics, set, key, hash, out);
    pthread_mutex_unlock(&metrics->lock);
    return err;
}

static int bind_as(struct ps_metrics *metrics, const struct ps_metric_family *row,
                   enum ps_metric_type type, const struct ps_metric_labels *labels,
                   struct ps_metric_handle **out)
{
    struct ps_metric_series *series;
    int err = row->type == type ? bind(metrics, row, labels, &series) : PS_EINVAL;
    if (err == PS_OK) {
        *out = &series->handle;
    }
    return err;
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
    int err = bind_as(metrics, family, PS_METRIC_HISTOGRAM, labels, &handle);
    if (err == PS_OK) {
        *out = PS_CONTAINER_OF(handle, struct ps_histogram, handle);
    }
    return err;
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
    int err =
        family->type == PS_METRIC_HISTOGRAM ? PS_EINVAL : bind(metrics, family, labels, &series);
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
        drop_series(metrics, find_set(metrics, handle->family), series);
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
            drop_series(metrics, set, series);
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
    metrics->max_series = opts->max_series == 0 ? PS_METRIC_SERIES_DEFAULT : opts->max_series;
    int err = getrandom(&metrics->seed, sizeof(metrics->seed), 0) == (ssize_t)sizeof(metrics->seed)
                  ? reserve_set(metrics)
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
    for (size_t i = 0; i < metrics->sets_count; i++) {
        free_set(metrics, metrics->sets[i]);
    }
    while (!ps_list_is_empty(&metrics->orphans)) {
        free_series(metrics, ps_metric_series_of(metrics->orphans.next));
    }
    free(metrics->sets);
    free(metrics->index);
    ps_metric_cells_fini(&metrics->cells);
    pthread_mutex_destroy(&metrics->lock);
    free(metrics);
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
