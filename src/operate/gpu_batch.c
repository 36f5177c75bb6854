#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gateway/finished.h"
#include "gateway/gateway.h"
#include "observe/metric.h"
#include "operate/gpu_batch_private.h"
#include "operate/scrape.h"

#define RING         2048
#define FIRST_COUNTS 8.0 /* Triton's counts since its start: so many calls of each size at most */
#define NEARLY_ALL   0.8
#define SLOWLY       0.05
#define STREAMED     0.9 /* the first byte came before this part of the time: it was a stream */

/* --- shelves ---------------------------------------------------------------------------------- */

static struct ps_gpu_shelf *shelf_of(struct ps_gpu_batch *batch, const char *name)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (strncmp(batch->shelves[i]->name, name, sizeof batch->shelves[i]->name - 1) == 0) {
            return batch->shelves[i];
        }
    }
    struct ps_gpu_shelf *shelf =
        batch->count == PS_GPU_BATCH_SHELVES ? NULL : calloc(1, sizeof *shelf);
    if (shelf != NULL) {
        (void)snprintf(shelf->name, sizeof shelf->name, "%.63s", name);
        ps_batch_book_init(&shelf->book);
        batch->shelves[batch->count++] = shelf;
    }
    return shelf;
}

struct ps_batch_goal ps_gpu_batch_goal(const struct ps_gpu_batch *batch,
                                       const struct ps_gpu_shelf *shelf,
                                       const struct ps_batch_entry *entry)
{
    return (struct ps_batch_goal){
        .p95 = batch->opts.p95 > 0 ? ps_span_seconds(batch->opts.p95) : INFINITY,
        .turns = entry->turns,
        .memory = shelf->in_bytes ? INFINITY : batch->target_percent,
        .most = (size_t)batch->opts.most,
    };
}

/* --- calls that ended ------------------------------------------------------------------------- */

/* As long as it would have taken for an answer of the shape's usual length. */
static double usual_seconds(const struct ps_finished *finished)
{
    double took = ps_span_seconds(finished->took);
    double first = finished->first < 0 ? 0 : ps_span_seconds(finished->first);
    if (finished->answer < 2) {
        return took;
    }
    first = first < STREAMED * took ? first : 0;
    double usual = (double)ps_batch_shape_answer(finished->answer);
    return first + (took - first) * usual / (double)finished->answer;
}

static void learn_call(struct ps_gpu_shelf *shelf, struct ps_str model,
                       const struct ps_finished *finished, ps_time now)
{
    char shape[PS_BATCH_BOOK_SHAPE];
    size_t beside = ((size_t)finished->at_begin + finished->at_end + 1) / 2;
    ps_batch_shape_write(shape, finished->prompt, finished->answer);
    struct ps_batch_entry *any = ps_batch_book_at(&shelf->book, model, ps_batch_shape_any, now);
    struct ps_batch_entry *own = ps_batch_book_at(&shelf->book, model, ps_str_from(shape), now);
    if (any == NULL || own == NULL || own == any) {
        return;
    }
    ps_batch_model_learn(&any->batch, now, beside, ps_span_seconds(finished->took), 1);
    ps_batch_model_learn(&own->batch, now, beside, usual_seconds(finished), 1);
    shelf->recent[shelf->calls++ % PS_GPU_BATCH_RECENT] = own;
    double away = (double)beside - shelf->in_flight;
    shelf->in_flight += shelf->calls == 1 ? away : SLOWLY * away;
}

static const struct ps_scrape_view *find_view(const struct ps_scrape *scrape, uint32_t id,
                                              ps_time now, struct ps_scrape_view *view)
{
    for (size_t i = 0; i < ps_scrape_count(scrape); i++) {
        ps_scrape_read(scrape, i, now, view);
        if (view->id == id) {
            return view;
        }
    }
    return NULL;
}

/* The upstream of an endpoint: also of one that nobody scrapes. */
static const char *upstream_of(const struct ps_gateway *gateway, uint32_t endpoint)
{
    for (size_t i = 0; gateway != NULL && i < gateway->backend_count; i++) {
        const struct ps_backend *backend = gateway->backends[i];
        for (size_t j = 0; j < backend->count; j++) {
            if (backend->endpoints[j]->id == endpoint) {
                return backend->name;
            }
        }
    }
    return NULL;
}

/* Triton's own counts say more of its batches than what is in flight here. */
static void learn_calls(struct ps_gpu_batch *batch, const struct ps_scrape *scrape, ps_time now)
{
    struct ps_finished finished;
    for (size_t i = 0; i < RING && ps_finished_take(batch->ring, &finished); i++) {
        struct ps_scrape_view view;
        bool known = find_view(scrape, finished.endpoint, now, &view) != NULL;
        const char *upstream = upstream_of(batch->gateway, finished.endpoint);
        struct ps_gpu_shelf *shelf = upstream == NULL ? NULL : shelf_of(batch, upstream);
        if (shelf != NULL && !(known && view.adapter == PS_ADAPTER_TRITON)) {
            shelf->simulated = shelf->simulated || (known && view.simulated);
            struct ps_str model = ps_str_from(finished.model);
            learn_call(shelf, model.len > 0 ? model : ps_str_from(upstream), &finished, now);
        }
    }
}

/* --- Triton's counts -------------------------------------------------------------------------- */

static const struct ps_vitals_batch *count_before(const struct ps_gpu_shelf *shelf,
                                                  const struct ps_vitals_batch *batch)
{
    for (size_t i = 0; i < shelf->before_count; i++) {
        const struct ps_vitals_batch *before = &shelf->before[i];
        if (before->model == batch->model && before->size == batch->size &&
            before->count <= batch->count && before->seconds <= batch->seconds) {
            return before;
        }
    }
    return NULL;
}

/* What came since the last time; a server that is new tells of all its life, which counts as a few
 * calls. Returns how many rows. */
static double learn_size(struct ps_gpu_shelf *shelf, const struct ps_vitals *vitals,
                         const struct ps_vitals_batch *batch, ps_time now, double *batches)
{
    const struct ps_vitals_batch *before = count_before(shelf, batch);
    double count = batch->count - (before == NULL ? 0 : before->count);
    double seconds = batch->seconds - (before == NULL ? 0 : before->seconds);
    if (count < 1 || batch->size < 1 || batch->size > PS_BATCH_MODEL_MOST) {
        return 0;
    }
    struct ps_batch_entry *entry = ps_batch_book_at(
        &shelf->book, ps_str_from(vitals->models[batch->model].name), ps_batch_shape_any, now);
    if (entry == NULL) {
        return 0;
    }
    entry->turns = 2;
    double calls = before == NULL && count > FIRST_COUNTS ? FIRST_COUNTS : count;
    ps_batch_model_learn(&entry->batch, now, (size_t)batch->size, seconds / count, calls);
    *batches += count;
    shelf->recent[shelf->calls++ % PS_GPU_BATCH_RECENT] = entry;
    return count * batch->size;
}

/* Returns the mean rows of the batches that were new; 0: there were none. */
static double learn_counts(struct ps_gpu_shelf *shelf, uint32_t id, const struct ps_vitals *vitals,
                           ps_time now)
{
    double rows = 0;
    double batches = 0;
    if (shelf->before_id != id) { /* one server of an upstream is asked: the first that tells */
        if (shelf->before_id != 0) {
            return 0;
        }
        shelf->before_id = id;
    }
    for (size_t i = 0; i < vitals->batch_count; i++) {
        rows += learn_size(shelf, vitals, &vitals->batches[i], now, &batches);
    }
    memcpy(shelf->before, vitals->batches, sizeof shelf->before);
    shelf->before_count = vitals->batch_count;
    if (batches > 0) {
        double mean = rows / batches;
        shelf->in_flight += shelf->in_flight == 0 ? mean : 0.2 * (mean - shelf->in_flight);
        return mean;
    }
    return 0;
}

/* --- memory ----------------------------------------------------------------------------------- */

/* The entry of nearly all recent calls; NULL: they were of several kinds. With `model`, whatever
 * their shape. */
static struct ps_batch_entry *usual_entry(const struct ps_gpu_shelf *shelf, bool model)
{
    size_t calls = shelf->calls < PS_GPU_BATCH_RECENT ? shelf->calls : PS_GPU_BATCH_RECENT;
    struct ps_batch_entry *last =
        calls == 0 ? NULL : shelf->recent[(shelf->calls - 1) % PS_GPU_BATCH_RECENT];
    size_t alike = 0;
    for (size_t i = 0; i < calls; i++) {
        const struct ps_batch_entry *entry = shelf->recent[i];
        alike += entry == last || (model && strcmp(entry->model, last->model) == 0) ? 1 : 0;
    }
    return (double)alike >= NEARLY_ALL * (double)calls ? last : NULL;
}

static void learn_memory_of(struct ps_gpu_shelf *shelf, size_t size, double percent)
{
    struct ps_batch_entry *own = usual_entry(shelf, false);
    struct ps_batch_entry *one = usual_entry(shelf, true);
    struct ps_batch_entry *any =
        one == NULL ? NULL
                    : ps_batch_book_find(&shelf->book, ps_str_from(one->model), ps_batch_shape_any);
    if (any != NULL) {
        ps_memory_model_learn(&any->batch.memory, size, percent);
    }
    if (own != NULL && own != any) {
        ps_memory_model_learn(&own->batch.memory, size, percent);
    }
}

/* Once when it has become idle: the same for hours would be all that is remembered. */
static void learn_memory(struct ps_gpu_shelf *shelf, const struct ps_optimizer_target *target,
                         double size, bool was_idle)
{
    if (target->effective.known && size <= PS_BATCH_MODEL_MOST && !(size < 0.5 && was_idle)) {
        learn_memory_of(shelf, (size_t)lround(size), target->effective.value);
    }
    bool device = target->used.known && target->utilization.known &&
                  target->utilization.value > 0 && target->effective.known &&
                  target->effective.value == target->utilization.value;
    shelf->device_bytes = device ? 100 * target->used.value / target->utilization.value : 0;
}

static void learn_target(struct ps_gpu_batch *batch, const struct ps_scrape_view *view,
                         const struct ps_optimizer_target *target, ps_time now)
{
    struct ps_device_reading running = target->vitals->readings[PS_VITALS_RUNNING];
    struct ps_gpu_shelf *shelf = shelf_of(batch, view->name);
    if (shelf == NULL) {
        return;
    }
    size_t place = view->id % PS_GPU_BATCH_ROUNDS;
    bool same = shelf->rounds[place].id == view->id;
    if (same && shelf->rounds[place].taken == target->taken) {
        return;
    }
    shelf->simulated = shelf->simulated || view->simulated;
    double size = running.known ? running.value : (double)view->in_flight;
    if (target->adapter == PS_ADAPTER_TRITON) {
        shelf->merges = true;
        size = learn_counts(shelf, view->id, target->vitals, now);
    }
    learn_memory(shelf, target, size, same && shelf->rounds[place].idle);
    shelf->rounds[place].id = view->id;
    shelf->rounds[place].taken = target->taken;
    shelf->rounds[place].idle = size < 0.5;
}

/* --- what a program observes itself ----------------------------------------------------------- */

static const char library[] = "library";

static struct ps_batch_entry *observed(struct ps_gpu_batch *batch, struct ps_str model,
                                       struct ps_str shape, ps_time now)
{
    struct ps_gpu_shelf *shelf = shelf_of(batch, library);
    if (shelf == NULL) {
        return NULL;
    }
    shelf->in_bytes = true;
    shelf->merges = true;
    return ps_batch_book_at(&shelf->book, model, shape.len > 0 ? shape : ps_batch_shape_any, now);
}

int ps_gpu_batch_observe(struct ps_gpu_batch *batch, struct ps_str model, struct ps_str shape,
                         ps_time now, size_t size, double seconds, double bytes, double count)
{
    struct ps_batch_entry *entry = observed(batch, model, shape, now);
    if (entry == NULL) {
        return PS_ENOMEM;
    }
    ps_batch_model_learn(&entry->batch, now, size, seconds, count);
    ps_memory_model_learn(&entry->batch.memory, size, bytes);
    return PS_OK;
}

int ps_gpu_batch_fail(struct ps_gpu_batch *batch, struct ps_str model, struct ps_str shape,
                      ps_time now, size_t size, double bytes)
{
    struct ps_batch_entry *entry = observed(batch, model, shape, now);
    if (entry == NULL) {
        return PS_ENOMEM;
    }
    ps_memory_model_fail(&entry->batch.memory, size, bytes);
    return PS_OK;
}

int ps_gpu_batch_ask(struct ps_gpu_batch *batch, struct ps_str model, struct ps_str shape,
                     const struct ps_batch_goal *goal, struct ps_batch_advice *advice, size_t *next)
{
    struct ps_batch_entry *found = NULL;
    bool in_bytes = false;
    for (size_t i = 0; i < batch->count; i++) {
        struct ps_batch_entry *entry = ps_batch_book_find(&batch->shelves[i]->book, model, shape);
        if (entry != NULL && (found == NULL || batch->shelves[i]->in_bytes)) {
            found = entry;
            in_bytes = batch->shelves[i]->in_bytes;
        }
    }
    if (found == NULL) {
        return PS_ENOTFOUND;
    }
    struct ps_batch_goal wanted = *goal;
    wanted.memory = in_bytes ? goal->memory : batch->target_percent;
    *advice = ps_batch_model_advise(&found->batch, &wanted);
    advice->memory = in_bytes ? advice->memory : NAN; /* it is in percent */
    *next = ps_batch_model_next(&found->batch, &wanted);
    return PS_OK;
}

/* --- figures ---------------------------------------------------------------------------------- */

/* clang-format off */
#define ENTRY_LABELS .labels = {"upstream", "model"}

enum family { RECOMMENDED, P95, RATE, CALLS, FAMILIES };

const struct ps_metric_family ps_gpu_batch_metric_families[] = {
    [RECOMMENDED] = {.name = "penstock_gpu_batch_recommended", .type = PS_METRIC_GAUGE, ENTRY_LABELS,
     .help = "Batch size, or requests in flight at a server, that does best within the objective and memory, all shapes together"},
    [P95] = {.name = "penstock_gpu_batch_expected_p95_seconds", .type = PS_METRIC_GAUGE, .unit = "seconds", ENTRY_LABELS,
     .help = "95th percentile of a request's time that is expected with it, an upper bound"},
    [RATE] = {.name = "penstock_gpu_batch_expected_rate", .type = PS_METRIC_GAUGE, ENTRY_LABELS,
     .help = "Requests (or rows) a second that are expected with it, a lower bound"},
    [CALLS] = {.name = "penstock_gpu_batch_samples", .type = PS_METRIC_GAUGE, ENTRY_LABELS,
     .help = "Calls that the recommendation rests on; old ones count less"},
    [FAMILIES] = {.name = "penstock_gpu_batch_dropped_total", .type = PS_METRIC_COUNTER,
     .help = "Calls that ended and were not learned from, because there were too many at once"},
    {0},
};
/* clang-format on */

enum { SLOTS = 32 };

struct slot {
    char upstream[64];
    char model[PS_BATCH_BOOK_NAME];
    struct ps_gauge *gauge[FAMILIES];
};

struct ps_gpu_batch_gauges {
    struct slot slots[SLOTS];
    size_t count;
    struct ps_metric_handle *dropped;
};

static double read_dropped(void *context)
{
    const struct ps_gpu_batch *batch = context;
    return (double)ps_finished_dropped(batch->ring);
}

static int open_gauges(struct ps_gpu_batch *batch)
{
    if (batch->metrics == NULL) {
        return PS_OK;
    }
    batch->gauges = calloc(1, sizeof *batch->gauges);
    if (batch->gauges == NULL) {
        return PS_ENOMEM;
    }
    int err = ps_metrics_declare(batch->metrics, ps_gpu_batch_metric_families, NULL);
    return err != PS_OK ? err
                        : ps_metric_watch(batch->metrics, &ps_gpu_batch_metric_families[FAMILIES],
                                          NULL, read_dropped, batch, &batch->gauges->dropped);
}

static void close_gauges(struct ps_gpu_batch *batch)
{
    struct ps_gpu_batch_gauges *gauges = batch->gauges;
    if (gauges == NULL) {
        return;
    }
    if (gauges->dropped != NULL) {
        ps_metric_unwatch(batch->metrics, gauges->dropped, batch);
    }
    for (size_t i = 0; i < gauges->count; i++) {
        for (size_t j = 0; j < FAMILIES; j++) {
            ps_metric_put(batch->metrics, (struct ps_metric_handle *)gauges->slots[i].gauge[j]);
        }
    }
    free(gauges);
}

static struct slot *slot_of(struct ps_gpu_batch *batch, const char *upstream, const char *model)
{
    struct ps_gpu_batch_gauges *gauges = batch->gauges;
    for (size_t i = 0; i < gauges->count; i++) {
        if (strcmp(gauges->slots[i].upstream, upstream) == 0 &&
            strcmp(gauges->slots[i].model, model) == 0) {
            return &gauges->slots[i];
        }
    }
    if (gauges->count == SLOTS) {
        return NULL;
    }
    struct slot *slot = &gauges->slots[gauges->count];
    const struct ps_metric_labels *labels = PS_LABELS(ps_str_from(upstream), ps_str_from(model));
    for (size_t i = 0; i < FAMILIES; i++) {
        if (ps_metric_gauge(batch->metrics, &ps_gpu_batch_metric_families[i], labels,
                            &slot->gauge[i]) != PS_OK) {
            slot->gauge[i] = NULL;
        }
    }
    (void)snprintf(slot->upstream, sizeof slot->upstream, "%s", upstream);
    (void)snprintf(slot->model, sizeof slot->model, "%s", model);
    gauges->count++;
    return slot;
}

static void set(struct slot *slot, enum family family, double value, bool known)
{
    if (slot->gauge[family] != NULL) {
        ps_gauge_set(slot->gauge[family], known ? value : NAN);
    }
}

static void show_entry(struct ps_gpu_batch *batch, const struct ps_gpu_shelf *shelf,
                       struct ps_batch_entry *entry)
{
    const struct ps_batch_goal goal = ps_gpu_batch_goal(batch, shelf, entry);
    struct slot *slot = slot_of(batch, shelf->name, entry->model);
    if (slot == NULL) {
        return;
    }
    struct ps_batch_advice advice = ps_batch_model_advise(&entry->batch, &goal);
    bool known = advice.size > 0;
    set(slot, RECOMMENDED, (double)advice.size, known);
    set(slot, P95, advice.p95, known);
    set(slot, RATE, advice.rate, known);
    set(slot, CALLS, advice.samples, true);
}

static void show_all(struct ps_gpu_batch *batch)
{
    for (size_t i = 0; batch->gauges != NULL && i < batch->count; i++) {
        struct ps_gpu_shelf *shelf = batch->shelves[i];
        for (size_t j = 0; j < shelf->book.count; j++) {
            if (ps_str_eq(ps_str_from(shelf->book.entries[j]->shape), ps_batch_shape_any)) {
                show_entry(batch, shelf, shelf->book.entries[j]);
            }
        }
    }
}

/* --- life ------------------------------------------------------------------------------------- */

int ps_gpu_batch_new(struct ps_gpu_batch **out, struct ps_metrics *metrics)
{
    struct ps_gpu_batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL) {
        return PS_ENOMEM;
    }
    batch->metrics = metrics;
    int err = ps_finished_new(&batch->ring, RING);
    err = err != PS_OK ? err : open_gauges(batch);
    if (err != PS_OK) {
        ps_gpu_batch_free(batch);
        return err;
    }
    *out = batch;
    return PS_OK;
}

void ps_gpu_batch_free(struct ps_gpu_batch *batch)
{
    if (batch == NULL) {
        return;
    }
    close_gauges(batch);
    for (size_t i = 0; i < batch->count; i++) {
        ps_batch_book_fini(&batch->shelves[i]->book);
        free(batch->shelves[i]);
    }
    ps_finished_free(batch->ring);
    free(batch);
}

void ps_gpu_batch_set(struct ps_gpu_batch *batch, const struct ps_gpu_batch_opts *opts,
                      double target_percent, struct ps_gateway *gateway)
{
    batch->opts = *opts;
    batch->target_percent = target_percent;
    batch->gateway = gateway;
}

struct ps_finished_ring *ps_gpu_batch_ring(struct ps_gpu_batch *batch)
{
    return batch->ring;
}

void ps_gpu_batch_learn(struct ps_gpu_batch *batch, const struct ps_scrape *scrape, ps_time now,
                        const struct ps_optimizer_target *targets, size_t count)
{
    learn_calls(batch, scrape, now);
    for (size_t i = 0; i < count; i++) {
        struct ps_scrape_view view;
        if (targets[i].fresh && find_view(scrape, targets[i].id, now, &view) != NULL) {
            learn_target(batch, &view, &targets[i], now);
        }
    }
    show_all(batch);
}
