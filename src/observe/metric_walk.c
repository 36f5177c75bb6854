/* Reading: the walk over everything, and single sums. */
#include <math.h>
#include <string.h>

#include "observe/metric_label.h"
#include "observe/metric_registry.h"

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
    uint64_t sum = ps_metric_cells_sum(&metrics->cells, series->handle.cells);
    return in_unit(family, family->type == PS_METRIC_UPDOWN ? (double)(int64_t)sum : (double)sum);
}

static void read_histogram(const struct ps_metrics *metrics, const struct ps_metric_handle *handle,
                           uint64_t *buckets, struct ps_metric_sample *sample)
{
    for (size_t i = 0; i <= handle->family->bounds_count; i++) {
        buckets[i] = ps_metric_cells_sum(&metrics->cells, handle->cells + 1 + i);
        sample->count += buckets[i];
    }
    sample->buckets = buckets;
    sample->sum = ps_metric_cells_sum_double(&metrics->cells, handle->cells);
}

/* Shows a series, its family before it when it is the first. An unknown value is not shown. */
static int visit(struct walk *walk, size_t at, const struct ps_metric_visitor *visitor)
{
    const struct ps_metric_series *series = walk->batch[at];
    struct ps_str labels[PS_METRIC_LABELS_MAX];
    uint64_t buckets[PS_METRIC_BOUNDS_MAX + 1];
    struct ps_metric_sample sample = {.family = walk->set->family, .labels = labels};
    int err = PS_OK;
    if (sample.family->type == PS_METRIC_HISTOGRAM) {
        read_histogram(walk->metrics, &series->handle, buckets, &sample);
    } else {
        sample.value = walk->values[at];
    }
    if (isnan(sample.value)) {
        return PS_OK;
    }
    if (!walk->opened) {
        walk->opened = true;
        err = visitor->on_family(visitor->context, sample.family);
    }
    ps_metric_labels_unpack(series->packed, walk->set->labels, labels);
    return err == PS_OK ? visitor->on_sample(visitor->context, &sample) : err;
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

static void take(struct walk *walk, struct ps_metric_series *series)
{
    series->refs++;
    walk->batch[walk->count] = series;
    walk->values[walk->count] =
        series->handle.family->type == PS_METRIC_HISTOGRAM ? 0 : read_value(walk->metrics, series);
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

static int walk_set(struct walk *walk, const struct ps_metric_visitor *visitor)
{
    int err = PS_OK;
    while (err == PS_OK && next_batch(walk)) {
        for (size_t i = 0; i < walk->count && err == PS_OK; i++) {
            err = visit(walk, i, visitor);
        }
    }
    pthread_mutex_lock(&walk->metrics->lock);
    release(walk);
    pthread_mutex_unlock(&walk->metrics->lock);
    return err;
}

static struct ps_metric_set *set_at(struct ps_metrics *metrics, size_t at)
{
    pthread_mutex_lock(&metrics->lock);
    struct ps_metric_set *set = at < metrics->sets_count ? metrics->sets[at] : NULL;
    pthread_mutex_unlock(&metrics->lock);
    return set;
}

int ps_metrics_collect(struct ps_metrics *metrics, const struct ps_metric_visitor *visitor)
{
    struct ps_metric_set *set;
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && (set = set_at(metrics, i)) != NULL; i++) {
        struct walk walk = {.metrics = metrics, .set = set};
        err = walk_set(&walk, visitor);
    }
    return err;
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
