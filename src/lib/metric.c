/* The metrics of penstock.h. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/list.h"
#include "export/prometheus.h"
#include "lib/instance.h"
#include "lib/process.h"
#include "observe/custom.h"
#include "observe/metric_label.h"
#include "observe/metric_memo.h"

enum { METRICS_MOST = 10000, MEMO_SERIES = 256 };

#define PAGE_MOST ((size_t)1 << 30)

/* What a thread has of a page; it goes with the thread, or with the page. */
struct seat {
    struct ps_list node;
    struct ps_metric_page *page;
    unsigned shard;              /* 0: all are taken, the shared one is used */
    struct ps_metric_memo *memo; /* made when it is wanted */
    struct ps_metric_bound *found;
};

struct ps_metric {
    struct ps_metric_page *page;
    const struct ps_metric_family *family;
    size_t order[PS_METRIC_LABELS_MAX]; /* of a label of the family, its place among the caller's */
    struct ps_metric *next;
};

struct ps_metric_bound {
    struct ps_metric_page *page;
    struct ps_metric_handle *handle;
    struct ps_metric_bound *next;
};

struct ps_metric_page {
    struct ps_metrics *metrics;
    struct ps_custom *custom;
    pthread_key_t key; /* a thread's seat */
    bool has_key;
    unsigned generation;

    pthread_mutex_t lock; /* around what follows */
    struct ps_list seats;
    struct ps_metric *all;
    struct ps_metric_bound *bound;
};

static int check(const struct ps_metric_page *page)
{
    return ps_process_is(page->generation)
               ? PS_OK
               : ps_process_fail(PS_ECLOSED, "the page was made before fork()");
}

/* --- threads ---------------------------------------------------------------------------------- */

/* Under the page's lock. */
static void free_seat(struct seat *seat)
{
    ps_list_remove(&seat->node);
    ps_metric_memo_free(seat->memo);
    free(seat->found);
    if (seat->shard != 0) {
        ps_metrics_shard_put(seat->page->metrics, seat->shard);
    }
    free(seat);
}

/* A thread that ends. In a child of fork() locks may be held by nobody who lives. */
static void on_thread_end(void *context)
{
    struct seat *seat = context;
    struct ps_metric_page *page = seat->page;
    if (ps_process_is(page->generation)) {
        pthread_mutex_lock(&page->lock);
        free_seat(seat);
        pthread_mutex_unlock(&page->lock);
    }
}

/* The calling thread's; NULL: no memory for one. */
static struct seat *seat_of(struct ps_metric_page *page)
{
    struct seat *seat = pthread_getspecific(page->key);
    if (seat != NULL) {
        return seat;
    }
    seat = calloc(1, sizeof *seat);
    if (seat == NULL || pthread_setspecific(page->key, seat) != 0) {
        free(seat);
        return NULL;
    }
    seat->page = page;
    if (ps_metrics_shard_get(page->metrics, &seat->shard) != PS_OK) {
        seat->shard = 0;
    }
    pthread_mutex_lock(&page->lock);
    ps_list_push(&page->seats, &seat->node);
    pthread_mutex_unlock(&page->lock);
    return seat;
}

static unsigned shard_of(struct ps_metric_page *page)
{
    const struct seat *seat = seat_of(page);
    return seat == NULL ? 0 : seat->shard;
}

/* --- life ------------------------------------------------------------------------------------- */

static int open_page(struct ps_metric_page *page)
{
    struct ps_metrics_opts opts = {.shards = PS_METRIC_SHARDS_MAX, .clock = &ps_clock_real};
    int err = ps_metrics_new(&page->metrics, &opts);
    err = err != PS_OK ? err : ps_custom_new(&page->custom, page->metrics, METRICS_MOST);
    if (err == PS_OK) {
        page->has_key = pthread_key_create(&page->key, on_thread_end) == 0;
        err = page->has_key ? PS_OK : PS_ENOMEM;
    }
    return err;
}

int ps_metric_page_new(struct ps_metric_page **out)
{
    struct ps_metric_page *page = calloc(1, sizeof *page);
    if (page == NULL) {
        return ps_process_no_memory();
    }
    page->generation = ps_process_generation();
    pthread_mutex_init(&page->lock, NULL);
    ps_list_init(&page->seats);
    int err = open_page(page);
    if (err != PS_OK) {
        ps_metric_page_free(page);
        return ps_process_fail(err, "the page can't be made: %s", ps_err_text(err));
    }
    *out = page;
    return PS_OK;
}

static void free_all(struct ps_metric_page *page)
{
    while (!ps_list_is_empty(&page->seats)) {
        free_seat(PS_CONTAINER_OF(page->seats.next, struct seat, node));
    }
    while (page->all != NULL) {
        struct ps_metric *metric = page->all;
        page->all = metric->next;
        free(metric);
    }
    while (page->bound != NULL) {
        struct ps_metric_bound *bound = page->bound;
        page->bound = bound->next;
        free(bound);
    }
}

void ps_metric_page_free(struct ps_metric_page *page)
{
    if (page == NULL || !ps_process_is(page->generation)) {
        return;
    }
    if (page->has_key) {
        pthread_key_delete(page->key);
    }
    free_all(page);
    ps_metrics_free(page->metrics);
    ps_custom_free(page->custom);
    pthread_mutex_destroy(&page->lock);
    free(page);
}

static int make_default(void **out, const char *file)
{
    struct ps_metric_page *page = NULL;
    (void)file;
    int err = ps_metric_page_new(&page);
    if (err == PS_OK) {
        *out = page;
    }
    return err;
}

static void end_default(void *page)
{
    ps_metric_page_free(page);
}

struct ps_metric_page *ps_metric_default(void)
{
    static struct ps_instance instance = {.make = make_default, .end = end_default};
    return ps_instance_get(&instance);
}

/* --- metrics ---------------------------------------------------------------------------------- */

static const enum ps_metric_type types[] = {
    [PS_METRIC_KIND_COUNTER] = PS_METRIC_COUNTER,
    [PS_METRIC_KIND_GAUGE] = PS_METRIC_GAUGE,
    [PS_METRIC_KIND_HISTOGRAM] = PS_METRIC_HISTOGRAM,
    [PS_METRIC_KIND_EXPONENTIAL] = PS_METRIC_EXPONENTIAL,
    [PS_METRIC_KIND_INFO] = PS_METRIC_INFO,
    [PS_METRIC_KIND_STATESET] = PS_METRIC_STATESET,
};

static int describe(const struct ps_metric_about *about, struct ps_custom_definition *out)
{
    if ((unsigned)about->kind >= PS_ARRAY_LEN(types) || about->name == NULL) {
        return ps_process_fail(PS_EINVAL, "a metric needs a name and a kind");
    }
    *out = (struct ps_custom_definition){
        .name = ps_str_from(about->name),
        .type = types[about->kind],
        .help = about->help == NULL ? PS_STR("A metric of the program") : ps_str_from(about->help),
        .unit = ps_str_from(about->unit),
        .bounds = about->bounds,
        .bounds_count = about->bounds_count,
        .states = about->states,
    };
    for (size_t i = 0; about->labels != NULL && about->labels[i] != NULL; i++) {
        if (i == PS_METRIC_LABELS_MAX) {
            return ps_process_fail(PS_EINVAL, "%.200s: at most %d labels", about->name,
                                   PS_METRIC_LABELS_MAX);
        }
        out->labels[out->label_count++] = ps_str_from(about->labels[i]);
    }
    return PS_OK;
}

int ps_metric_register(struct ps_metric_page *page, const struct ps_metric_about *about,
                       struct ps_metric **out)
{
    struct ps_custom_definition definition;
    char reason[512];
    int err = check(page);
    err = err != PS_OK ? err : describe(about, &definition);
    if (err != PS_OK) {
        return err;
    }
    struct ps_metric *metric = calloc(1, sizeof *metric);
    if (metric == NULL) {
        return ps_process_no_memory();
    }
    metric->page = page;
    err = ps_custom_define(page->custom, &definition, &metric->family, metric->order, reason,
                           sizeof reason);
    if (err != PS_OK) {
        free(metric);
        return ps_process_fail(err, "%.200s: %s", about->name, reason);
    }
    pthread_mutex_lock(&page->lock);
    metric->next = page->all;
    page->all = metric;
    pthread_mutex_unlock(&page->lock);
    *out = metric;
    return PS_OK;
}

/* --- series ----------------------------------------------------------------------------------- */

static void sort_values(const struct ps_metric *metric, const char *const *values,
                        struct ps_metric_labels *out)
{
    *out = (struct ps_metric_labels){0};
    for (size_t i = 0; i < PS_METRIC_LABELS_MAX && metric->family->labels[i] != NULL; i++) {
        out->values[i] = values == NULL ? PS_STR("") : ps_str_from(values[metric->order[i]]);
    }
}

int ps_metric_bind(struct ps_metric *metric, const char *const *values,
                   struct ps_metric_bound **out)
{
    struct ps_metric_page *page = metric->page;
    struct ps_metric_labels labels;
    int err = check(page);
    if (err != PS_OK) {
        return err;
    }
    struct ps_metric_bound *bound = calloc(1, sizeof *bound);
    sort_values(metric, values, &labels);
    if (bound == NULL ||
        ps_metric_any(page->metrics, metric->family, &labels, &bound->handle) != PS_OK) {
        free(bound);
        return ps_process_no_memory();
    }
    bound->page = page;
    pthread_mutex_lock(&page->lock);
    bound->next = page->bound;
    page->bound = bound;
    pthread_mutex_unlock(&page->lock);
    *out = bound;
    return PS_OK;
}

/* The thread's memo, and the one bound series that it fills in. */
static struct seat *furnished_seat(struct ps_metric_page *page)
{
    struct seat *seat = seat_of(page);
    if (seat != NULL && seat->memo == NULL &&
        ps_metric_memo_new(&seat->memo, page->metrics, MEMO_SERIES) != PS_OK) {
        return NULL;
    }
    if (seat != NULL && seat->found == NULL) {
        seat->found = calloc(1, sizeof *seat->found);
    }
    return seat != NULL && seat->found != NULL ? seat : NULL;
}

int ps_metric_find(struct ps_metric *metric, const char *const *values,
                   struct ps_metric_bound **out)
{
    struct ps_metric_labels labels;
    int err = check(metric->page);
    if (err != PS_OK) {
        return err;
    }
    struct seat *seat = furnished_seat(metric->page);
    sort_values(metric, values, &labels);
    if (seat == NULL ||
        ps_metric_memo_find(seat->memo, metric->family, &labels, &seat->found->handle) != PS_OK) {
        return ps_process_no_memory();
    }
    seat->found->page = metric->page;
    *out = seat->found;
    return PS_OK;
}

/* --- moving ----------------------------------------------------------------------------------- */

static bool is_ours(const struct ps_metric_bound *bound, enum ps_metric_type type)
{
    return bound->handle->family->type == type && ps_process_is(bound->page->generation);
}

void ps_metric_add(struct ps_metric_bound *bound, double by)
{
    if (is_ours(bound, PS_METRIC_COUNTER)) {
        ps_custom_move(bound->handle, shard_of(bound->page), by);
    } else if (is_ours(bound, PS_METRIC_GAUGE) && by == by) {
        ps_gauge_add(PS_CONTAINER_OF(bound->handle, struct ps_gauge, handle), by);
    }
}

void ps_metric_set(struct ps_metric_bound *bound, double value)
{
    if (is_ours(bound, PS_METRIC_GAUGE)) {
        ps_gauge_set(PS_CONTAINER_OF(bound->handle, struct ps_gauge, handle), value);
    }
}

void ps_metric_observe(struct ps_metric_bound *bound, double value)
{
    if (is_ours(bound, PS_METRIC_HISTOGRAM) || is_ours(bound, PS_METRIC_EXPONENTIAL)) {
        ps_custom_move(bound->handle, shard_of(bound->page), value);
    }
}

void ps_metric_state(struct ps_metric_bound *bound, uint64_t states)
{
    if (is_ours(bound, PS_METRIC_STATESET)) {
        ps_stateset_set(PS_CONTAINER_OF(bound->handle, struct ps_stateset, handle), states);
    }
}

void ps_metric_trace(struct ps_metric_bound *bound, double value, const unsigned char trace_id[16],
                     const unsigned char span_id[8])
{
    struct ps_exemplar exemplar = {.value = value, .wall = ps_clock_wall(&ps_clock_real)};
    if (!ps_process_is(bound->page->generation)) {
        return;
    }
    memcpy(exemplar.trace_id, trace_id, sizeof exemplar.trace_id);
    if (span_id != NULL) {
        memcpy(exemplar.span_id, span_id, sizeof exemplar.span_id);
    }
    if (!ps_exemplar_is_none(&exemplar)) {
        ps_metric_exemplar(bound->handle, &exemplar);
    }
}

/* --- the page --------------------------------------------------------------------------------- */

static const enum ps_prometheus_format formats[] = {
    [PS_METRIC_FORMAT_TEXT] = PS_PROMETHEUS_TEXT,
    [PS_METRIC_FORMAT_OPENMETRICS] = PS_PROMETHEUS_OPENMETRICS,
    [PS_METRIC_FORMAT_PROTOBUF] = PS_PROMETHEUS_PROTOBUF,
};

enum ps_metric_format ps_metric_negotiate(const char *accept)
{
    enum ps_prometheus_format chosen = ps_prometheus_negotiate(ps_str_from(accept));
    return chosen == PS_PROMETHEUS_TEXT          ? PS_METRIC_FORMAT_TEXT
           : chosen == PS_PROMETHEUS_OPENMETRICS ? PS_METRIC_FORMAT_OPENMETRICS
                                                 : PS_METRIC_FORMAT_PROTOBUF;
}

static enum ps_prometheus_format format_of(enum ps_metric_format format)
{
    return (unsigned)format < PS_ARRAY_LEN(formats) ? formats[format] : PS_PROMETHEUS_TEXT;
}

const char *ps_metric_content_type(enum ps_metric_format format)
{
    return ps_prometheus_content_type(format_of(format));
}

int ps_metric_render(struct ps_metric_page *page, enum ps_metric_format format, void *buffer,
                     size_t size, size_t *len)
{
    struct ps_buf text = ps_buf_make(PAGE_MOST);
    int err = check(page);
    if (err != PS_OK) {
        return err;
    }
    err = ps_prometheus_write(page->metrics, format_of(format), &text);
    if (err == PS_OK) {
        *len = text.len;
        err = text.len > size ? ps_process_fail(PS_ELIMIT, "the page has %zu bytes", text.len)
                              : PS_OK;
    } else {
        err = ps_process_no_memory();
    }
    if (err == PS_OK && text.len > 0) {
        memcpy(buffer, text.data, text.len);
    }
    ps_buf_fini(&text);
    return err;
}
