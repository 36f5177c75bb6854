/* metric_set - the series of the registry and the sets that hold them, see metric_registry.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "observe/metric_exemplar.h"
#include "observe/metric_exponential.h"
#include "observe/metric_label.h"
#include "observe/metric_registry.h"

enum { FIRST_BUCKETS = 4, FIRST_INDEX = 64 };

/* ---- series */

static_assert(PS_EXPONENTIAL_CELLS <= PS_METRIC_CELLS_MAX, "the pool gives what a series needs");
static_assert(PS_METRIC_BOUNDS_MAX + 2 <= PS_METRIC_CELLS_MAX,
              "the pool gives what a series needs");

static size_t cells_of(const struct ps_metric_family *family)
{
    return family->type == PS_METRIC_HISTOGRAM     ? family->bounds_count + 2
           : family->type == PS_METRIC_EXPONENTIAL ? (size_t)PS_EXPONENTIAL_CELLS
                                                   : 1;
}

static void free_series(struct ps_metrics *metrics, struct ps_metric_series *series)
{
    ps_metric_cells_put(&metrics->cells, series->handle.cells, cells_of(series->handle.family));
    ps_list_remove(&series->node);
    free(series->watch);
    free(series->handle.exemplars);
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

struct ps_metric_series *ps_metric_set_find(const struct ps_metric_set *set, struct ps_str packed,
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

/* Room for the traces of a series, where its family wants any. */
static int add_exemplars(struct ps_metric_handle *handle)
{
    if (!handle->family->exemplars) {
        return PS_OK;
    }
    size_t count;
    (void)ps_metric_bounds(handle->family, &count);
    handle->exemplars = calloc(count + 1, sizeof *handle->exemplars);
    return handle->exemplars == NULL ? PS_ENOMEM : PS_OK;
}

/* A series at the end of the set's list, in no bucket yet. A gauge is unknown until it is set. */
static int new_series(struct ps_metrics *metrics, struct ps_metric_set *set, struct ps_str packed,
                      struct ps_metric_series **out)
{
    struct ps_metric_series *series = calloc(1, sizeof(*series) + packed.len);
    if (series == NULL) {
        return PS_ENOMEM;
    }
    series->handle.family = set->family;
    int err = add_exemplars(&series->handle);
    if (err == PS_OK) {
        err = ps_metric_cells_get(&metrics->cells, set->cells, &series->handle.cells);
    }
    if (err != PS_OK) {
        free(series->handle.exemplars);
        free(series);
        return err;
    }
    series->created = metrics->clock == NULL ? 0 : ps_clock_wall(metrics->clock);
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

int ps_metric_set_add(struct ps_metrics *metrics, struct ps_metric_set *set, struct ps_str packed,
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

void ps_metric_set_drop(struct ps_metrics *metrics, struct ps_metric_set *set,
                        struct ps_metric_series *series)
{
    remove_from_bucket(set, series);
    atomic_fetch_add_explicit(&metrics->generation, 1, memory_order_release);
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

int ps_metric_set_add_overflow(struct ps_metrics *metrics, struct ps_metric_set *set)
{
    char packed[PS_METRIC_PACKED_MAX];
    struct ps_str values[PS_METRIC_LABELS_MAX];
    for (size_t i = 0; i < PS_METRIC_LABELS_MAX; i++) {
        values[i] = PS_STR(PS_METRIC_OVERFLOW);
    }
    size_t len = ps_metric_labels_pack(values, set->labels, packed);
    int err = new_series(metrics, set, (struct ps_str){packed, len}, &set->overflow);
    if (err == PS_OK) {
        set->overflow->overflow = true;
    }
    return err;
}

/* ---- sets */

static size_t index_slot(const struct ps_metric_family *row, size_t mask)
{
    return (size_t)(((uint64_t)(uintptr_t)row * 0x9e3779b97f4a7c15u) >> 32) & mask;
}

struct ps_metric_set *ps_metric_set_of(const struct ps_metrics *metrics,
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
    free(set->sketch);
    free(set);
}

/* A gauge or a set of states is unknown until somebody sets it. */
static bool starts_at_zero(enum ps_metric_type type)
{
    return type != PS_METRIC_GAUGE && type != PS_METRIC_STATESET;
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
    if (err == PS_OK && set->labels == 0 && starts_at_zero(row->type)) {
        struct ps_metric_series *series;
        struct ps_str none = PS_STR("");
        err = ps_metric_set_add(metrics, set, none, ps_str_hash(none, metrics->seed), &series);
    }
    if (err != PS_OK) {
        free_set(metrics, set);
        return err;
    }
    *out = set;
    return PS_OK;
}

/* How OpenMetrics calls a family: without the ends that stand at its samples only. */
struct ps_str ps_metric_family_stem(const struct ps_metric_family *row)
{
    struct ps_str name = ps_str_from(row->name);
    size_t end = row->type == PS_METRIC_COUNTER ? PS_STR("_total").len
                 : row->type == PS_METRIC_INFO  ? PS_STR("_info").len
                                                : 0;
    return ps_str_first(name, name.len - end);
}

bool ps_metric_set_is_taken(const struct ps_metrics *metrics, const struct ps_metric_family *row)
{
    struct ps_str stem = ps_metric_family_stem(row);
    for (size_t i = 0; i < metrics->sets_count; i++) {
        if (ps_str_eq(ps_metric_family_stem(metrics->sets[i]->family), stem)) {
            return true;
        }
    }
    return false;
}

int ps_metric_set_declare(struct ps_metrics *metrics, const struct ps_metric_family *row)
{
    if (ps_metric_set_of(metrics, row) != NULL) {
        return PS_OK;
    }
    if (!ps_metric_family_is_sane(row) || ps_metric_set_is_taken(metrics, row)) {
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

int ps_metric_sets_init(struct ps_metrics *metrics)
{
    return reserve_set(metrics);
}

void ps_metric_sets_fini(struct ps_metrics *metrics)
{
    for (size_t i = 0; i < metrics->sets_count; i++) {
        free_set(metrics, metrics->sets[i]);
    }
    while (!ps_list_is_empty(&metrics->orphans)) {
        free_series(metrics, ps_metric_series_of(metrics->orphans.next));
    }
    free(metrics->sets);
    free(metrics->index);
}
