#include "daemon/engines.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/list.h"
#include "base/log.h"
#include "daemon/config.h"
#include "daemon/detect.h"
#include "gateway/gateway.h"

enum { FAMILY_INFO, FAMILY_CHANGES };

enum { YAML_LIMIT = 1024 * 1024 };

/* clang-format off */
const struct ps_metric_family ps_engines_metric_families[] = {
    {.name = "penstock_endpoint_engine", .type = PS_METRIC_GAUGE,
     .labels = {"upstream", "endpoint", "engine", "version", "simulated"},
     .help = "1 for the engine and version that the endpoint was found to be; simulated is true when it says so"},
    {.name = "penstock_endpoint_engine_changes_total", .type = PS_METRIC_COUNTER, .labels = {"upstream", "endpoint"},
     .help = "How often another engine or version answered at the endpoint than before"},
    {0},
};
/* clang-format on */

/* An endpoint that was looked at. */
struct row {
    struct ps_list link;
    struct ps_engines *engines;
    struct ps_endpoint *endpoint; /* reference */
    struct ps_detect *detect;     /* under way */
    struct ps_metric_handle *info;
    bool told; /* that nothing is recognised */
};

struct ps_engines {
    struct ps_loop *loop;
    struct ps_metrics *metrics;
    struct ps_gateway *gateway; /* reference */
    struct ps_list rows;
    size_t running;
    ps_engines_fn *on_settled;
    void *ctx;
};

/* --- rows ------------------------------------------------------------------------------------- */

static void cancel(struct row *row)
{
    row->engines->running -= row->detect != NULL ? 1 : 0;
    ps_detect_cancel(row->detect);
    row->detect = NULL;
}

static void hide(struct row *row)
{
    if (row->info != NULL) {
        ps_metric_unwatch(row->engines->metrics, row->info, row);
        row->info = NULL;
    }
}

static void row_free(struct row *row)
{
    ps_list_remove(&row->link);
    cancel(row);
    hide(row);
    ps_endpoint_unref(row->endpoint);
    free(row);
}

/* The row of an endpoint, made when it is first asked for; NULL when out of memory. */
static struct row *row_of(struct ps_engines *engines, struct ps_endpoint *endpoint)
{
    PS_LIST_FOREACH (node, &engines->rows) {
        struct row *row = PS_CONTAINER_OF(node, struct row, link);
        if (row->endpoint == endpoint) {
            return row;
        }
    }
    struct row *row = calloc(1, sizeof *row);
    if (row != NULL) {
        row->engines = engines;
        row->endpoint = ps_endpoint_ref(endpoint);
        ps_list_push(&engines->rows, &row->link);
    }
    return row;
}

/* --- what was found --------------------------------------------------------------------------- */

static double read_one(void *context)
{
    (void)context;
    return 1;
}

static void show(struct row *row, const struct ps_backend *backend)
{
    const struct ps_identity *identity = &row->endpoint->identity;
    hide(row);
    if (identity->engine != PS_ENGINE_AUTO) {
        PS_IGNORE(ps_metric_watch(
            row->engines->metrics, &ps_engines_metric_families[FAMILY_INFO],
            PS_LABELS(ps_str_from(backend->name), row->endpoint->url.authority,
                      ps_str_from(ps_engine_names[identity->engine]),
                      ps_str_from(identity->version),
                      identity->simulated ? PS_STR("true") : PS_STR("false")),
            read_one, row, &row->info)); /* too many series: this one is not shown */
    }
}

static void count_change(struct ps_engines *engines, const struct ps_backend *backend,
                         const struct ps_endpoint *endpoint)
{
    struct ps_counter *counter = NULL;
    if (ps_metric_counter(engines->metrics, &ps_engines_metric_families[FAMILY_CHANGES],
                          PS_LABELS(ps_str_from(backend->name), endpoint->url.authority),
                          &counter) == PS_OK) {
        ps_counter_add_shared(counter, 1);
        ps_metric_put(engines->metrics, &counter->handle);
    }
}

static void log_first(const struct ps_backend *backend, const struct ps_endpoint *endpoint,
                      const struct ps_detected *found)
{
    const struct ps_identity *identity = &found->identity;
    ps_log(PS_LOG_INFO, "engine detected", "upstream", backend->name, "endpoint", endpoint->text,
           "engine", ps_engine_names[identity->engine], "version", identity->version, "simulated",
           identity->simulated ? "yes" : "no", "model",
           found->model_count > 0 ? found->models[0] : "", NULL);
}

static void log_change(const struct ps_backend *backend, const struct ps_endpoint *endpoint,
                       const struct ps_identity *before, const struct ps_identity *after)
{
    char from[PS_IDENTITY_TEXT];
    char to[PS_IDENTITY_TEXT];
    ps_log(PS_LOG_WARN, "another engine answers now", "upstream", backend->name, "endpoint",
           endpoint->text, "before", ps_identity_text(before, from), "now",
           ps_identity_text(after, to), NULL);
}

static void log_mismatch(const struct ps_backend *backend, const struct ps_endpoint *endpoint)
{
    char text[PS_IDENTITY_TEXT];
    if (!ps_engine_fits(backend->engine, endpoint->identity.engine)) {
        ps_log(PS_LOG_WARN, "the endpoint is not what the configuration says", "upstream",
               backend->name, "endpoint", endpoint->text, "configured",
               ps_engine_names[backend->engine], "found",
               ps_identity_text(&endpoint->identity, text), NULL);
    }
}

/* Once, and again only after something was recognised in between. */
static void log_unknown(struct row *row, const struct ps_backend *backend)
{
    if (!row->told) {
        ps_log(PS_LOG_WARN, "the engine was not recognised", "upstream", backend->name, "endpoint",
               row->endpoint->text, NULL);
    }
    row->told = true;
}

static void take(struct row *row, const struct ps_backend *backend, const struct ps_detected *found)
{
    struct ps_endpoint *endpoint = row->endpoint;
    struct ps_identity before = endpoint->identity;
    if (found->err != PS_OK) {
        return; /* nobody answered: no news */
    }
    ps_endpoint_set_identity(endpoint, &found->identity);
    bool known = found->identity.engine != PS_ENGINE_AUTO;
    if (before.engine != PS_ENGINE_AUTO && !ps_identity_eq(&before, &found->identity)) {
        log_change(backend, endpoint, &before, &found->identity);
        count_change(row->engines, backend, endpoint);
    } else if (before.engine == PS_ENGINE_AUTO && known) {
        log_first(backend, endpoint, found);
    } else if (!known) {
        log_unknown(row, backend);
    } else {
        return;
    }
    row->told = row->told && !known;
    log_mismatch(backend, endpoint);
    show(row, backend);
}

static void on_detected(void *ctx, struct ps_backend *backend, struct ps_endpoint *endpoint,
                        const struct ps_detected *found)
{
    struct row *row = ctx;
    struct ps_engines *engines = row->engines;
    PS_CHECK(row->endpoint == endpoint);
    row->detect = NULL;
    engines->running--;
    take(row, backend, found);
    if (engines->running == 0) {
        engines->on_settled(engines->ctx);
    }
}

/* --- looking ---------------------------------------------------------------------------------- */

void ps_engines_look(struct ps_engines *engines, struct ps_backend *backend,
                     struct ps_endpoint *endpoint)
{
    if (backend->engine != PS_ENGINE_AUTO && backend->health.interval <= 0) {
        return;
    }
    struct row *row = row_of(engines, endpoint);
    if (row == NULL || row->detect != NULL) {
        return;
    }
    if (row->info == NULL) {
        show(row, backend); /* it was found before a reload */
    }
    if (ps_detect_start(&row->detect, engines->loop, engines->gateway->tls[backend->index], backend,
                        endpoint, on_detected, row) == PS_OK) {
        engines->running++;
    }
}

static bool has_endpoint(const struct ps_gateway *gateway, const struct ps_endpoint *endpoint)
{
    for (size_t i = 0; i < gateway->backend_count; i++) {
        for (size_t j = 0; j < gateway->backends[i]->count; j++) {
            if (gateway->backends[i]->endpoints[j] == endpoint) {
                return true;
            }
        }
    }
    return false;
}

void ps_engines_set_gateway(struct ps_engines *engines, struct ps_gateway *gateway)
{
    struct ps_gateway *before = engines->gateway;
    engines->gateway = ps_gateway_ref(gateway);
    struct ps_list *node = engines->rows.next;
    while (node != &engines->rows) {
        struct row *row = PS_CONTAINER_OF(node, struct row, link);
        node = node->next;
        cancel(row);
        if (!has_endpoint(gateway, row->endpoint)) {
            row_free(row);
        }
    }
    ps_gateway_unref(before);
}

int ps_engines_new(struct ps_engines **out, struct ps_loop *loop, struct ps_metrics *metrics,
                   ps_engines_fn *on_settled, void *ctx)
{
    struct ps_engines *engines = calloc(1, sizeof *engines);
    if (engines == NULL) {
        return PS_ENOMEM;
    }
    engines->loop = loop;
    engines->metrics = metrics;
    engines->on_settled = on_settled;
    engines->ctx = ctx;
    ps_list_init(&engines->rows);
    *out = engines;
    return PS_OK;
}

void ps_engines_free(struct ps_engines *engines)
{
    if (engines == NULL) {
        return;
    }
    while (!ps_list_is_empty(&engines->rows)) {
        row_free(PS_LIST_FIRST(&engines->rows, struct row, link));
    }
    ps_gateway_unref(engines->gateway);
    free(engines);
}

/* --- as a configuration ----------------------------------------------------------------------- */

/* What all endpoints of an upstream are, or auto where they differ; *simulated: any of them. */
static enum ps_engine common_engine(const struct ps_backend *backend, bool *simulated)
{
    enum ps_engine engine = PS_ENGINE_AUTO;
    bool mixed = false;
    *simulated = false;
    for (size_t i = 0; i < backend->count; i++) {
        const struct ps_identity *identity = &backend->endpoints[i]->identity;
        bool known = identity->engine != PS_ENGINE_AUTO;
        mixed = mixed || (known && engine != PS_ENGINE_AUTO && engine != identity->engine);
        engine = known ? identity->engine : engine;
        *simulated = *simulated || identity->simulated;
    }
    return mixed ? PS_ENGINE_AUTO : engine;
}

/* Copies the lines and marks what is simulated: the n-th line `engine:` is that of the n-th
 * upstream whose engine is not the default. */
static int mark_engines(struct ps_str yaml, const bool *marks, size_t count, struct ps_buf *out)
{
    struct ps_str line;
    size_t n = 0;
    int err = PS_OK;
    while (err == PS_OK && yaml.len > 0 && ps_str_split(&yaml, '\n', &line)) {
        bool engine = ps_str_starts_with(line, PS_STR("    engine: "));
        bool mark = engine && n < count && marks[n];
        n += engine ? 1 : 0;
        err = ps_buf_append_str(out, line);
        err = err != PS_OK
                  ? err
                  : ps_buf_append_str(out, mark ? PS_STR("  # simulated\n") : PS_STR("\n"));
    }
    return err;
}

int ps_engines_yaml(const struct ps_gateway *gateway, struct ps_config *config, struct ps_buf *out)
{
    struct ps_upstream_opts *upstreams = config->upstreams.items;
    size_t upstream_count = config->upstreams.count;
    bool *marks = calloc(upstream_count + 1, sizeof *marks);
    int *before = calloc(upstream_count + 1, sizeof *before);
    struct ps_buf yaml = ps_buf_make(YAML_LIMIT);
    size_t count = 0;
    int err = marks == NULL || before == NULL ? PS_ENOMEM : PS_OK;
    for (size_t i = 0; err == PS_OK && i < upstream_count; i++) {
        bool simulated = false;
        before[i] = upstreams[i].engine;
        if (upstreams[i].engine == PS_ENGINE_AUTO && i < gateway->backend_count) {
            upstreams[i].engine = (int)common_engine(gateway->backends[i], &simulated);
        }
        if (upstreams[i].engine != PS_ENGINE_AUTO) {
            marks[count++] = simulated;
        }
    }
    err = err != PS_OK ? err : ps_config_yaml(config, false, &yaml);
    err = err != PS_OK ? err : mark_engines(ps_buf_str(&yaml), marks, count, out);
    for (size_t i = 0; before != NULL && i < upstream_count; i++) {
        upstreams[i].engine = before[i];
    }
    ps_buf_fini(&yaml);
    free(marks);
    free(before);
    return err;
}
