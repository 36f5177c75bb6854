#include "gateway/traffic.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/gateway.h"
#include "http/client.h"

enum {
    FAMILY_REQUESTS,
    FAMILY_SECONDS,
    FAMILY_FIRST_BYTE,
    FAMILY_LATENCY,
    FAMILY_FIRST_TOKEN,
    FAMILY_QUEUE,
    FAMILY_TOKENS,
    FAMILY_BYTES,
    FAMILY_FAILURES,
    FAMILY_RETRIES,
    FAMILY_GATE_IN_FLIGHT,
    FAMILY_GATE_QUEUED,
    FAMILY_GATE_REFUSED,
    FAMILY_ENDPOINT_UP,
    FAMILY_ENDPOINT_IN_FLIGHT,
    FAMILY_ENDPOINT_TOKENS,
    FAMILY_ENDPOINT_REQUESTS
};

enum { STATUSES = 600, PHASES = 4 };

/* clang-format off */
const struct ps_metric_family ps_traffic_metric_families[] = {
    {.name = "penstock_traffic_requests_total", .type = PS_METRIC_COUNTER, .labels = {"route", "code"},
     .help = "Requests answered, by route and status; 499 is a client that left"},
    {.name = "penstock_traffic_request_seconds", .type = PS_METRIC_HISTOGRAM, .unit = "seconds", .labels = {"route"},
     .bounds = ps_metric_seconds, .bounds_count = PS_METRIC_SECONDS_COUNT, .exemplars = true,
     .help = "Time from the first byte of a request to the last byte of its answer"},
    {.name = "penstock_traffic_first_byte_seconds", .type = PS_METRIC_HISTOGRAM, .unit = "seconds", .labels = {"route"},
     .bounds = ps_metric_seconds, .bounds_count = PS_METRIC_SECONDS_COUNT, .exemplars = true,
     .help = "Time from the first byte of a request to the first byte of the answer's body: the time to first token of a stream"},
    {.name = "penstock_traffic_latency_seconds", .type = PS_METRIC_EXPONENTIAL, .unit = "seconds", .labels = {"route"},
     .native = true, .help = "What request_seconds counts, as a native histogram, for finer quantiles; in protobuf alone"},
    {.name = "penstock_traffic_first_token_seconds", .type = PS_METRIC_EXPONENTIAL, .unit = "seconds",
     .labels = {"route"}, .native = true,
     .help = "What first_byte_seconds counts of answers that are streams, likewise: the time to first token"},
    {.name = "penstock_traffic_queue_seconds", .type = PS_METRIC_HISTOGRAM, .unit = "seconds", .labels = {"upstream"},
     .bounds = ps_metric_seconds, .bounds_count = PS_METRIC_SECONDS_COUNT,
     .help = "Time that requests waited at the admission gate"},
    {.name = "penstock_traffic_tokens_total", .type = PS_METRIC_COUNTER, .labels = {"route", "kind"},
     .help = "Tokens by kind, input or output, as the upstream counted them or else estimated"},
    {.name = "penstock_traffic_bytes_total", .type = PS_METRIC_COUNTER, .labels = {"route", "direction"},
     .help = "Bytes of bodies received from clients (in) and sent to them (out)"},
    {.name = "penstock_traffic_upstream_failures_total", .type = PS_METRIC_COUNTER, .labels = {"upstream", "phase"},
     .help = "Tries at an upstream that failed, by phase: connect, send, head, body"},
    {.name = "penstock_traffic_retries_total", .type = PS_METRIC_COUNTER, .labels = {"upstream"},
     .help = "Requests sent again after a failed try"},
    {.name = "penstock_admit_in_flight", .type = PS_METRIC_GAUGE, .labels = {"upstream"},
     .help = "Requests inside the admission gate"},
    {.name = "penstock_admit_queued", .type = PS_METRIC_GAUGE, .labels = {"upstream"},
     .help = "Requests waiting at the admission gate"},
    {.name = "penstock_admit_refused_total", .type = PS_METRIC_COUNTER, .labels = {"upstream"},
     .help = "Requests that the admission gate refused"},
    {.name = "penstock_backend_up", .type = PS_METRIC_GAUGE, .labels = {"upstream", "endpoint"},
     .help = "1 when requests may be sent to the endpoint, 0 when it is out"},
    {.name = "penstock_backend_in_flight", .type = PS_METRIC_GAUGE, .labels = {"upstream", "endpoint"},
     .help = "Requests in flight at the endpoint"},
    {.name = "penstock_backend_tokens_in_flight", .type = PS_METRIC_GAUGE, .labels = {"upstream", "endpoint"},
     .help = "Tokens reserved by the requests in flight at the endpoint"},
    {.name = "penstock_backend_requests_total", .type = PS_METRIC_COUNTER, .labels = {"upstream", "endpoint"},
     .help = "Requests sent to the endpoint, retries included"},
    {0},
};
/* clang-format on */

struct by_route {
    _Atomic(struct ps_counter *) codes[STATUSES]; /* made when a status first shows */
    struct ps_histogram *seconds;
    struct ps_histogram *first_byte;
    struct ps_histogram *latency;
    struct ps_histogram *first_token;
    struct ps_counter *input_tokens;
    struct ps_counter *output_tokens;
    struct ps_counter *bytes_in;
    struct ps_counter *bytes_out;
};

struct by_upstream {
    struct ps_counter *failures[PHASES];
    struct ps_counter *retries;
    struct ps_histogram *queue;
};

struct watched {
    struct ps_metric_handle *handle;
    void *context;
};

struct ps_traffic {
    struct ps_metrics *registry;
    struct ps_gateway *gateway; /* borrowed: the gateway owns this struct */
    struct by_route *routes;    /* one more than routes: the last is for requests without a route */
    size_t route_count;
    struct by_upstream *upstreams;
    size_t upstream_count;
    struct watched *watched;
    size_t watched_count;
};

static const struct ps_metric_family *family(unsigned n)
{
    return &ps_traffic_metric_families[n];
}

/* --- gauges that are read when somebody looks ------------------------------------------------- */

static struct ps_gate_stats gate_stats(void *context)
{
    struct ps_gate_stats stats;
    ps_gate_read(((struct ps_backend *)context)->gate, &stats);
    return stats;
}

static double read_in_flight(void *context)
{
    return (double)gate_stats(context).in_flight;
}

static double read_queued(void *context)
{
    struct ps_gate_stats stats = gate_stats(context);
    uint64_t sum = 0;
    for (size_t i = 0; i < PS_PRIORITY_COUNT; i++) {
        sum += stats.queued[i];
    }
    return (double)sum;
}

static double read_refused(void *context)
{
    return (double)gate_stats(context).refused_total;
}

static double read_up(void *context)
{
    enum ps_endpoint_state state = ps_endpoint_state_of(context);
    return state == PS_ENDPOINT_HEALTHY || state == PS_ENDPOINT_PROBING ? 1 : 0;
}

static double read_endpoint_in_flight(void *context)
{
    return (double)atomic_load(&((struct ps_endpoint *)context)->requests);
}

static double read_endpoint_tokens(void *context)
{
    return (double)atomic_load(&((struct ps_endpoint *)context)->tokens);
}

static double read_endpoint_requests(void *context)
{
    return (double)atomic_load(&((struct ps_endpoint *)context)->requests_total);
}

static int watch(struct ps_traffic *metrics, unsigned which, const struct ps_metric_labels *labels,
                 ps_metric_read *read, void *context)
{
    struct watched *slot = &metrics->watched[metrics->watched_count];
    int err = ps_metric_watch(metrics->registry, family(which), labels, read, context, &slot->handle);
    if (err == PS_OK) {
        slot->context = context;
        metrics->watched_count++;
    }
    return err == PS_ELIMIT ? PS_OK : err; /* too many series: this one is not shown */
}

static int watch_endpoint(struct ps_traffic *metrics, struct ps_str upstream,
                          struct ps_endpoint *endpoint)
{
    static const struct {
        unsigned family;
        ps_metric_read *read;
    } rows[] = {
        {FAMILY_ENDPOINT_UP, read_up},
        {FAMILY_ENDPOINT_IN_FLIGHT, read_endpoint_in_flight},
        {FAMILY_ENDPOINT_TOKENS, read_endpoint_tokens},
        {FAMILY_ENDPOINT_REQUESTS, read_endpoint_requests},
    };
    const struct ps_metric_labels *labels = PS_LABELS(upstream, endpoint->url.authority);
    int err = PS_OK;
    for (size_t i = 0; i < 4 && err == PS_OK; i++) {
        err = watch(metrics, rows[i].family, labels, rows[i].read, endpoint);
    }
    return err;
}

static int watch_backend(struct ps_traffic *metrics, struct ps_backend *backend)
{
    struct ps_str name = ps_str_from(backend->name);
    const struct ps_metric_labels *labels = PS_LABELS(name);
    int err = watch(metrics, FAMILY_GATE_IN_FLIGHT, labels, read_in_flight, backend);
    err = err != PS_OK ? err : watch(metrics, FAMILY_GATE_QUEUED, labels, read_queued, backend);
    err = err != PS_OK ? err : watch(metrics, FAMILY_GATE_REFUSED, labels, read_refused, backend);
    for (size_t i = 0; i < backend->count && err == PS_OK; i++) {
        err = watch_endpoint(metrics, name, backend->endpoints[i]);
    }
    return err;
}

/* --- bound counters --------------------------------------------------------------------------- */

static int counter(struct ps_traffic *metrics, unsigned which, struct ps_str first, const char *second,
                   struct ps_counter **out)
{
    return ps_metric_counter(metrics->registry, family(which), PS_LABELS(first, ps_str_from(second)), out);
}

static int bind_route(struct ps_traffic *metrics, struct by_route *route, struct ps_str name)
{
    const struct ps_metric_labels *labels = PS_LABELS(name);
    struct ps_metrics *registry = metrics->registry;
    int err = ps_metric_histogram(registry, family(FAMILY_SECONDS), labels, &route->seconds);
    err = err != PS_OK ? err
                       : ps_metric_histogram(registry, family(FAMILY_FIRST_BYTE), labels, &route->first_byte);
    err = err != PS_OK ? err : ps_metric_histogram(registry, family(FAMILY_LATENCY), labels, &route->latency);
    err = err != PS_OK ? err
                       : ps_metric_histogram(registry, family(FAMILY_FIRST_TOKEN), labels, &route->first_token);
    err = err != PS_OK ? err : counter(metrics, FAMILY_TOKENS, name, "input", &route->input_tokens);
    err = err != PS_OK ? err : counter(metrics, FAMILY_TOKENS, name, "output", &route->output_tokens);
    err = err != PS_OK ? err : counter(metrics, FAMILY_BYTES, name, "in", &route->bytes_in);
    return err != PS_OK ? err : counter(metrics, FAMILY_BYTES, name, "out", &route->bytes_out);
}

static int bind_upstream(struct ps_traffic *metrics, struct by_upstream *upstream, struct ps_str name)
{
    int err = counter(metrics, FAMILY_RETRIES, name, NULL, &upstream->retries);
    err = err != PS_OK ? err
                       : ps_metric_histogram(metrics->registry, family(FAMILY_QUEUE), PS_LABELS(name),
                                             &upstream->queue);
    for (unsigned phase = 0; phase < PHASES && err == PS_OK; phase++) {
        err = counter(metrics, FAMILY_FAILURES, name, ps_call_phase_text((enum ps_call_phase)phase),
                      &upstream->failures[phase]);
    }
    return err;
}

static struct ps_str route_name(const struct ps_traffic *metrics, size_t route)
{
    /* Without a match there is no name: a client must not be able to invent series. */
    if (route >= metrics->route_count) {
        return PS_STR("none");
    }
    for (size_t i = 0; i < metrics->route_count; i++) {
        const struct ps_route *at = ps_route_table_at(metrics->gateway->routes, i);
        if (at->index == route) {
            return ps_str_from(at->name);
        }
    }
    return PS_STR("none");
}

static int bind_all(struct ps_traffic *metrics)
{
    struct ps_gateway *gateway = metrics->gateway;
    int err = PS_OK;
    for (size_t i = 0; i <= metrics->route_count && err == PS_OK; i++) {
        err = bind_route(metrics, &metrics->routes[i], route_name(metrics, i));
    }
    for (size_t i = 0; i < gateway->backend_count && err == PS_OK; i++) {
        struct ps_backend *backend = gateway->backends[i];
        err = bind_upstream(metrics, &metrics->upstreams[i], ps_str_from(backend->name));
        err = err != PS_OK ? err : watch_backend(metrics, backend);
    }
    return err;
}

static void free_metrics(struct ps_traffic *metrics);

int ps_traffic_bind(struct ps_gateway *gateway, struct ps_metrics *registry)
{
    struct ps_traffic *metrics = calloc(1, sizeof *metrics);
    if (metrics == NULL) {
        return PS_ENOMEM;
    }
    size_t watches = 0;
    for (size_t i = 0; i < gateway->backend_count; i++) {
        watches += 3 + 4 * gateway->backends[i]->count;
    }
    metrics->registry = registry;
    metrics->gateway = gateway;
    metrics->route_count = gateway->routes == NULL ? 0 : ps_route_table_count(gateway->routes);
    metrics->upstream_count = gateway->backend_count;
    metrics->routes = calloc(metrics->route_count + 1, sizeof *metrics->routes);
    metrics->upstreams = calloc(metrics->upstream_count + 1, sizeof *metrics->upstreams);
    metrics->watched = calloc(watches + 1, sizeof *metrics->watched);
    int err = metrics->routes == NULL || metrics->upstreams == NULL || metrics->watched == NULL
                  ? PS_ENOMEM
                  : bind_all(metrics);
    if (err != PS_OK) {
        free_metrics(metrics);
        return err;
    }
    gateway->metrics = metrics;
    gateway->free_metrics = free_metrics;
    return PS_OK;
}

static void put(struct ps_traffic *metrics, void *handle)
{
    ps_metric_put(metrics->registry, handle); /* a handle is the first member of each kind */
}

static void free_route(struct ps_traffic *metrics, struct by_route *route)
{
    for (size_t i = 0; i < STATUSES; i++) {
        put(metrics, atomic_load(&route->codes[i]));
    }
    put(metrics, route->seconds);
    put(metrics, route->first_byte);
    put(metrics, route->latency);
    put(metrics, route->first_token);
    put(metrics, route->input_tokens);
    put(metrics, route->output_tokens);
    put(metrics, route->bytes_in);
    put(metrics, route->bytes_out);
}

static void free_upstream(struct ps_traffic *metrics, struct by_upstream *upstream)
{
    for (size_t i = 0; i < PHASES; i++) {
        put(metrics, upstream->failures[i]);
    }
    put(metrics, upstream->retries);
    put(metrics, upstream->queue);
}

static void free_metrics(struct ps_traffic *metrics)
{
    for (size_t i = 0; i < metrics->watched_count; i++) {
        ps_metric_unwatch(metrics->registry, metrics->watched[i].handle, metrics->watched[i].context);
    }
    for (size_t i = 0; metrics->routes != NULL && i <= metrics->route_count; i++) {
        free_route(metrics, &metrics->routes[i]);
    }
    for (size_t i = 0; metrics->upstreams != NULL && i < metrics->upstream_count; i++) {
        free_upstream(metrics, &metrics->upstreams[i]);
    }
    free(metrics->routes);
    free(metrics->upstreams);
    free(metrics->watched);
    free(metrics);
}

/* --- counting --------------------------------------------------------------------------------- */

/* The counter of a status, made by whoever needs it first. */
static struct ps_counter *code_counter(struct ps_traffic *metrics, size_t route, int status)
{
    size_t slot = status >= 0 && status < STATUSES ? (size_t)status : 0;
    struct by_route *by = &metrics->routes[route];
    struct ps_counter *known = atomic_load_explicit(&by->codes[slot], memory_order_acquire);
    if (known != NULL) {
        return known;
    }
    char code[8];
    snprintf(code, sizeof code, "%zu", slot);
    struct ps_counter *made = NULL;
    if (counter(metrics, FAMILY_REQUESTS, route_name(metrics, route), code, &made) != PS_OK) {
        return NULL;
    }
    if (!atomic_compare_exchange_strong(&by->codes[slot], &known, made)) {
        put(metrics, made);
        return known;
    }
    return made;
}

static int hex_of(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

static void read_hex(const char *digits, unsigned char *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = (unsigned char)(hex_of(digits[2 * i]) * 16 + hex_of(digits[2 * i + 1]));
    }
}

/* Leads from a slow bucket to a trace. "00-<32 digits>-<16 digits>-01" */
static void trace_request(const struct by_route *by, const struct ps_traffic_sample *sample)
{
    struct ps_exemplar exemplar = {.value = sample->seconds, .wall = sample->wall};
    if (sample->traceparent.len == 0) {
        return;
    }
    read_hex(sample->traceparent.ptr + 3, exemplar.trace_id, sizeof exemplar.trace_id);
    read_hex(sample->traceparent.ptr + 36, exemplar.span_id, sizeof exemplar.span_id);
    ps_metric_exemplar(&by->seconds->handle, &exemplar);
    if (!isnan(sample->first_byte_seconds)) {
        exemplar.value = sample->first_byte_seconds;
        ps_metric_exemplar(&by->first_byte->handle, &exemplar);
    }
}

void ps_traffic_request(struct ps_traffic *metrics, unsigned shard,
                              const struct ps_traffic_sample *sample)
{
    size_t route = sample->route < metrics->route_count ? sample->route : metrics->route_count;
    struct by_route *by = &metrics->routes[route];
    struct ps_counter *code = code_counter(metrics, route, sample->status);
    if (code != NULL) {
        ps_counter_add(code, shard, 1);
    }
    ps_histogram_observe(by->seconds, shard, sample->seconds);
    ps_histogram_observe(by->first_byte, shard, sample->first_byte_seconds);
    ps_histogram_observe(by->latency, shard, sample->seconds);
    if (sample->is_stream) {
        ps_histogram_observe(by->first_token, shard, sample->first_byte_seconds);
    }
    trace_request(by, sample);
    ps_counter_add(by->bytes_in, shard, sample->bytes_in);
    ps_counter_add(by->bytes_out, shard, sample->bytes_out);
    if (sample->upstream < metrics->upstream_count) {
        ps_histogram_observe(metrics->upstreams[sample->upstream].queue, shard, sample->queue_seconds);
    }
}

void ps_traffic_tokens(struct ps_traffic *metrics, unsigned shard, size_t route, uint64_t input,
                       uint64_t output)
{
    struct by_route *by =
        &metrics->routes[route < metrics->route_count ? route : metrics->route_count];
    ps_counter_add(by->input_tokens, shard, input);
    ps_counter_add(by->output_tokens, shard, output);
}

void ps_traffic_failure(struct ps_traffic *metrics, unsigned shard, size_t upstream,
                              unsigned phase)
{
    if (upstream < metrics->upstream_count && phase < PHASES) {
        ps_counter_add(metrics->upstreams[upstream].failures[phase], shard, 1);
    }
}

void ps_traffic_retry(struct ps_traffic *metrics, unsigned shard, size_t upstream)
{
    if (upstream < metrics->upstream_count) {
        ps_counter_add(metrics->upstreams[upstream].retries, shard, 1);
    }
}
