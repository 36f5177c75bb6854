/* Reading: the walk over everything, and single sums. */
#include <math.h>
#include <string.h>

#include "observe/metric_exemplar.h"
#include "observe/metric_exponential.h"
#include "observe/metric_label.h"
#include "observe/metric_registry.h"
#include "observe/metric_sketch.h"

enum { BATCH = 64 }; /* series looked at under one lock */

struct walk {
    struct ps_metrics *metrics;
    struct ps_metric_set *set;
    struct ps_metric_series *batch[BATCH]; /* one reference each */
    double values[BATCH];                  /* of all but histograms */
    size_t count;
    bool opened; /* the visitor knows of the family */
};

/* ---- one series */

static double in_unit(const struct ps_metric_family *family, double steps)
{
    return family->per_unit == 0 ? steps : steps / family->per_unit;
}

static double read_gauge(_Atomic uint64_t *cell)
{
    uint64_t bits = atomic_load_explicit(cell, memory_order_relaxed);
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static double read_value(const struct ps_metrics *metrics, const struct ps_metric_series *series)
{
    const struct ps_metric_family *family = series->handle.family;
    if (series->watch != NULL) {
        return series->watch->read(series->watch->context);
    }
    if (family->type == PS_METRIC_GAUGE) {
        return read_gauge(series->handle.cells);
    }
    if (family->type == PS_METRIC_INFO) {
        return 1;
    }
    if (family->fractional) {
        return ps_metric_cells_sum_double(&metrics->cells, series->handle.cells);
    }
    uint64_t sum = ps_metric_cells_sum(&metrics->cells, series->handle.cells);
    return in_unit(family, family->type == PS_METRIC_UPDOWN ? (double)(int64_t)sum : (double)sum);
}

/* A sample with the room that it needs for the call. */
struct shown {
    struct ps_metric_sample sample;
    struct ps_str labels[PS_METRIC_LABELS_MAX];
    uint64_t buckets[PS_METRIC_BOUNDS_MAX + 1];
    struct ps_exponential exponential;
    struct ps_exemplar exemplars[PS_METRIC_BOUNDS_MAX + 1];
};

static void read_histogram(const struct ps_metrics *metrics, const struct ps_metric_handle *handle,
                           struct shown *shown)
{
    for (size_t i = 0; i <= handle->family->bounds_count; i++) {
        shown->buckets[i] = ps_metric_cells_sum(&metrics->cells, handle->cells + 1 + i);
        shown->sample.count += shown->buckets[i];
    }
    shown->sample.buckets = shown->buckets;
    shown->sample.sum = ps_metric_cells_sum_double(&metrics->cells, handle->cells);
}

static void read_exponential(const struct ps_metrics *metrics,
                             const struct ps_metric_handle *handle, struct shown *shown)
{
    struct ps_exponential *exponential = &shown->exponential;
    *exponential = (struct ps_exponential){.scale = PS_EXPONENTIAL_SCALE};
    unsigned used = atomic_load_explicit(&metrics->cells.used, memory_order_acquire);
    for (unsigned shard = 0; shard < used; shard++) {
        ps_exponential_read(ps_metric_cell(handle, shard), exponential);
    }
    ps_exponential_spread(exponential, shown->buckets);
    shown->sample.exponential = exponential;
    shown->sample.buckets = shown->buckets;
    shown->sample.count = exponential->count;
    shown->sample.sum = exponential->sum;
}

static void read_exemplars(const struct ps_metric_handle *handle, struct shown *shown)
{
    if (handle->exemplars == NULL) {
        return;
    }
    size_t count;
    (void)ps_metric_bounds(handle->family, &count);
    for (size_t i = 0; i <= count; i++) {
        if (!ps_exemplar_get(&handle->exemplars[i], &shown->exemplars[i])) {
            shown->exemplars[i] = (struct ps_exemplar){0};
        }
    }
    shown->sample.exemplars = shown->exemplars;
}

/* Fills a sample in; false where the value is unknown. */
static bool read_sample(struct walk *walk, size_t at, struct shown *shown)
{
    const struct ps_metric_series *series = walk->batch[at];
    const struct ps_metric_family *family = walk->set->family;
    shown->sample = (struct ps_metric_sample){
        .family = family, .labels = shown->labels, .created = series->created, .id = series->id,
        .watched = series->watch != NULL};
    if (family->type == PS_METRIC_STATESET) {
        uint64_t bits = atomic_load_explicit(series->handle.cells, memory_order_relaxed);
        shown->sample.states = bits & ~(UINT64_C(1) << 63);
        return bits != 0;
    }
    if (family->type == PS_METRIC_HISTOGRAM) {
        read_histogram(walk->metrics, &series->handle, shown);
    } else if (family->type == PS_METRIC_EXPONENTIAL) {
        read_exponential(walk->metrics, &series->handle, shown);
    } else {
        shown->sample.value = walk->values[at];
    }
    read_exemplars(&series->handle, shown);
    return !isnan(shown->sample.value);
}

/* Shows a series, its family before it when it is the first. An unknown value is not shown. */
static int visit(struct walk *walk, size_t at, const struct ps_metric_visitor *visitor)
{
    struct shown shown;
    int err = PS_OK;
    if (!read_sample(walk, at, &shown)) {
        return PS_OK;
    }
    if (!walk->opened) {
        walk->opened = true;
        err = visitor->on_family(visitor->context, walk->set->family);
    }
    ps_metric_labels_unpack(walk->batch[at]->packed, walk->set->labels, shown.labels);
    return err == PS_OK ? visitor->on_sample(visitor->context, &shown.sample) : err;
}

/* ---- batches */

/* The first series behind `last`, which may have been dropped meanwhile; from the start for NULL.
 */
static struct ps_list *resume(struct walk *walk, const struct ps_metric_series *last)
{
    struct ps_list *head = &walk->set->series;
    if (last == NULL) {
        return head->next;
    }
    if (last->shown) {
        return last->node.next;
    }
    struct ps_list *node = head->next;
    while (node != head && ps_metric_series_of(node)->id < last->id) {
        node = node->next;
    }
    return node;
}

static void release(struct walk *walk)
{
    for (size_t i = 0; i < walk->count; i++) {
        ps_metric_series_unref(walk->metrics, walk->batch[i]);
    }
    walk->count = 0;
}

static bool has_value(enum ps_metric_type type)
{
    return type <= PS_METRIC_UPDOWN || type == PS_METRIC_INFO;
}

static void take(struct walk *walk, struct ps_metric_series *series)
{
    series->refs++;
    walk->batch[walk->count] = series;
    walk->values[walk->count] =
        has_value(series->handle.family->type) ? read_value(walk->metrics, series) : 0;
    walk->count++;
}

/* Trades the batch for the next one and reads single values. False at the end. */
static bool next_batch(struct walk *walk)
{
    struct walk old = *walk;
    walk->count = 0;
    pthread_mutex_lock(&walk->metrics->lock);
    struct ps_list *node = resume(walk, old.count == 0 ? NULL : old.batch[old.count - 1]);
    for (; node != &walk->set->series && walk->count < BATCH; node = node->next) {
        take(walk, ps_metric_series_of(node));
    }
    release(&old);
    pthread_mutex_unlock(&walk->metrics->lock);
    return walk->count > 0;
}

static int visit_batch(struct walk *walk, const struct ps_metric_visitor *visitor)
{
    int err = PS_OK;
    for (size_t i = 0; i < walk->count && err == PS_OK; i++) {
        err = visit(walk, i, visitor);
    }
    return err;
}

/* Keeps the last of the batch in the cursor, or none, and lets the others go. */
static void leave(struct walk *walk, struct ps_metric_cursor *cursor, bool keep)
{
    pthread_mutex_lock(&walk->metrics->lock);
    cursor->last = keep ? walk->batch[--walk->count] : NULL;
    cursor->opened = keep && walk->opened;
    release(walk);
    pthread_mutex_unlock(&walk->metrics->lock);
}

static int walk_set(struct walk *walk, const struct ps_metric_visitor *visitor,
                    struct ps_metric_cursor *cursor, size_t *left)
{
    int err = PS_OK;
    while (err == PS_OK && next_batch(walk)) {
        err = visit_batch(walk, visitor);
        if (err == PS_OK && walk->count >= *left) {
            leave(walk, cursor, true);
            return PS_EBUSY;
        }
        *left -= err == PS_OK ? walk->count : 0;
    }
    leave(walk, cursor, false);
    if (err == PS_OK && visitor->all && !walk->opened) {
        err = visitor->on_family(visitor->context, walk->set->family);
    }
    return err;
}

static struct ps_metric_set *set_at(struct ps_metrics *metrics, size_t at)
{
    pthread_mutex_lock(&metrics->lock);
    struct ps_metric_set *set = at < metrics->sets_count ? metrics->sets[at] : NULL;
    pthread_mutex_unlock(&metrics->lock);
    return set;
}

/* What the sketches of full families say by now. */
static void tell_distinct(struct ps_metrics *metrics)
{
    pthread_mutex_lock(&metrics->lock);
    for (size_t i = 0; i < metrics->sets_count; i++) {
        struct ps_metric_set *set = metrics->sets[i];
        if (set->distinct != NULL) {
            ps_gauge_set(set->distinct, round(ps_metric_sketch_count(set->sketch)));
        }
    }
    pthread_mutex_unlock(&metrics->lock);
}

int ps_metrics_collect_some(struct ps_metrics *metrics, const struct ps_metric_visitor *visitor,
                            struct ps_metric_cursor *cursor, size_t most)
{
    struct ps_metric_set *set;
    int err = PS_OK;
    if (cursor->set == 0 && cursor->last == NULL) {
        tell_distinct(metrics);
    }
    while ((set = set_at(metrics, cursor->set)) != NULL) {
        struct walk walk = {.metrics = metrics, .set = set, .opened = cursor->opened};
        walk.batch[0] = cursor->last;
        walk.count = cursor->last == NULL ? 0 : 1;
        err = walk_set(&walk, visitor, cursor, &most);
        if (err != PS_OK) {
            break;
        }
        cursor->set++;
    }
    cursor->set = err == PS_EBUSY ? cursor->set : 0;
    return err;
}

int ps_metrics_collect_family(struct ps_metrics *metrics, const struct ps_metric_family *family,
                              const struct ps_metric_visitor *visitor)
{
    struct ps_metric_cursor cursor = {0};
    struct walk walk = {.metrics = metrics};
    size_t most = SIZE_MAX;
    pthread_mutex_lock(&metrics->lock);
    walk.set = ps_metric_set_of(metrics, family);
    pthread_mutex_unlock(&metrics->lock);
    return walk.set == NULL ? PS_EINVAL : walk_set(&walk, visitor, &cursor, &most);
}

const struct ps_metric_family *ps_metrics_find(struct ps_metrics *metrics, struct ps_str name)
{
    const struct ps_metric_family *found = NULL;
    pthread_mutex_lock(&metrics->lock);
    for (size_t i = 0; i < metrics->sets_count && found == NULL; i++) {
        bool same = ps_str_eq(ps_str_from(metrics->sets[i]->family->name), name);
        found = same ? metrics->sets[i]->family : NULL;
    }
    pthread_mutex_unlock(&metrics->lock);
    return found;
}

void ps_metric_cursor_fini(struct ps_metrics *metrics, struct ps_metric_cursor *cursor)
{
    pthread_mutex_lock(&metrics->lock);
    if (cursor->last != NULL) {
        ps_metric_series_unref(metrics, cursor->last);
    }
    pthread_mutex_unlock(&metrics->lock);
    *cursor = (struct ps_metric_cursor){0};
}

int ps_metrics_collect(struct ps_metrics *metrics, const struct ps_metric_visitor *visitor)
{
    struct ps_metric_cursor cursor = {0};
    return ps_metrics_collect_some(metrics, visitor, &cursor, SIZE_MAX);
}

/* ---- single sums */

uint64_t ps_counter_read(struct ps_metrics *metrics, const struct ps_counter *counter)
{
    return ps_metric_cells_sum(&metrics->cells, counter->handle.cells);
}

int64_t ps_updown_read(struct ps_metrics *metrics, const struct ps_updown *updown)
{
    return (int64_t)ps_metric_cells_sum(&metrics->cells, updown->handle.cells);
}

double ps_counter_read_double(struct ps_metrics *metrics, const struct ps_counter *counter)
{
    return ps_metric_cells_sum_double(&metrics->cells, counter->handle.cells);
}
