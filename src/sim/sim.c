#include "sim/sim.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "http/server.h"
#include "sim/call.h"
#include "sim/metrics.h"
#include "version.h"

#define MOST_CONNECTIONS 16384u
#define MOST_BUFFERED    ((int64_t)2 << 30)
#define LARGEST_ANSWER   ((size_t)512 << 20)
#define KEPT_SCRATCH     ((size_t)1 << 20)

struct ps_sim {
    struct ps_sim_desk desk;
    struct ps_server *server;
};

struct route {
    struct ps_str path;
    enum ps_h1_method method;
    void (*answer)(struct ps_sim *sim, struct ps_exchange *exchange);
};

/* --- routes ----------------------------------------------------------------------------------- */

static void respond(struct ps_exchange *exchange, struct ps_str type, struct ps_str body)
{
    ps_exchange_respond(exchange, 200, PS_STR(PS_SIM_HEADERS), type, body);
}

static void respond_json(struct ps_exchange *exchange, struct ps_str body)
{
    respond(exchange, PS_STR("application/json"), body);
}

static void answer_chat(struct ps_sim *sim, struct ps_exchange *exchange)
{
    ps_sim_call_start(&sim->desk, exchange, PS_SIM_CHAT);
}

static void answer_completion(struct ps_sim *sim, struct ps_exchange *exchange)
{
    ps_sim_call_start(&sim->desk, exchange, PS_SIM_COMPLETION);
}

static void answer_embedding(struct ps_sim *sim, struct ps_exchange *exchange)
{
    ps_sim_call_start(&sim->desk, exchange, PS_SIM_EMBEDDING);
}

static void answer_image(struct ps_sim *sim, struct ps_exchange *exchange)
{
    ps_sim_call_start(&sim->desk, exchange, PS_SIM_IMAGE);
}

static void answer_health(struct ps_sim *sim, struct ps_exchange *exchange)
{
    (void)sim;
    respond_json(exchange, PS_STR("{\"status\":\"ok\",\"simulated\":true}"));
}

static void answer_version(struct ps_sim *sim, struct ps_exchange *exchange)
{
    (void)sim;
    respond_json(exchange,
                 PS_STR("{\"version\":\"" PS_VERSION "+simulated\",\"engine\":\"penstock sim\","
                        "\"simulated\":true}"));
}

static int append_models(struct ps_sim *sim, struct ps_buf *out)
{
    const struct ps_sim_opts *opts = sim->desk.opts;
    int64_t created = ps_clock_wall(ps_loop_clock(sim->desk.loop)) / PS_SECOND;
    int err = ps_buf_append_str(out, PS_STR("{\"object\":\"list\",\"simulated\":true,\"data\":["));
    for (size_t i = 0; i < opts->model_count && err == PS_OK; i++) {
        err = ps_buf_printf(
            out,
            "%s{\"id\":\"%s\",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"vllm\","
            "\"root\":\"%s\",\"parent\":null,\"max_model_len\":%llu,\"simulated\":true}",
            i == 0 ? "" : ",", opts->models[i], (long long)created, opts->models[i],
            (unsigned long long)ps_sim_engine_max_model_len(sim->desk.engine));
    }
    return err == PS_OK ? ps_buf_append_str(out, PS_STR("]}")) : err;
}

/* Sends the scratch, or an error when it could not be filled. */
static void respond_scratch(struct ps_sim *sim, struct ps_exchange *exchange, int err,
                            struct ps_str type)
{
    if (err != PS_OK) {
        struct ps_sim_refusal refusal = {.status = 503,
                                         .type = "ServiceUnavailableError",
                                         .text = "The simulation is out of memory."};
        ps_sim_call_refuse(&sim->desk, exchange, &refusal);
        return;
    }
    respond(exchange, type, ps_buf_str(&sim->desk.scratch));
}

static void answer_models(struct ps_sim *sim, struct ps_exchange *exchange)
{
    ps_buf_clear(&sim->desk.scratch);
    int err = append_models(sim, &sim->desk.scratch);
    respond_scratch(sim, exchange, err, PS_STR("application/json"));
}

static void answer_metrics(struct ps_sim *sim, struct ps_exchange *exchange)
{
    struct ps_sim_desk *desk = &sim->desk;
    ps_buf_clear(&desk->scratch);
    int err = ps_sim_metrics_write(&desk->scratch, &desk->metrics, desk->engine, desk->opts,
                                   desk->opts->models[0]);
    respond_scratch(sim, exchange, err, PS_STR("text/plain; version=0.0.4; charset=utf-8"));
}

static void answer_state(struct ps_sim *sim, struct ps_exchange *exchange)
{
    struct ps_sim_desk *desk = &sim->desk;
    ps_buf_clear(&desk->scratch);
    int err = ps_sim_metrics_state(&desk->scratch, &desk->metrics, desk->engine, desk->opts,
                                   desk->opts->models[0]);
    respond_scratch(sim, exchange, err, PS_STR("application/json"));
}

static void answer_reset(struct ps_sim *sim, struct ps_exchange *exchange)
{
    bool done = ps_sim_engine_reset_prefix_cache(sim->desk.engine);
    respond_json(exchange, done ? PS_STR("{\"success\":true,\"simulated\":true}")
                                : PS_STR("{\"success\":false,\"simulated\":true}"));
}

static const struct route routes[] = {
    {PS_STR_INIT("/v1/chat/completions"), PS_H1_METHOD_POST, answer_chat},
    {PS_STR_INIT("/v1/completions"), PS_H1_METHOD_POST, answer_completion},
    {PS_STR_INIT("/v1/embeddings"), PS_H1_METHOD_POST, answer_embedding},
    {PS_STR_INIT("/v1/images/generations"), PS_H1_METHOD_POST, answer_image},
    {PS_STR_INIT("/v1/models"), PS_H1_METHOD_GET, answer_models},
    {PS_STR_INIT("/health"), PS_H1_METHOD_GET, answer_health},
    {PS_STR_INIT("/ping"), PS_H1_METHOD_GET, answer_health},
    {PS_STR_INIT("/version"), PS_H1_METHOD_GET, answer_version},
    {PS_STR_INIT("/metrics"), PS_H1_METHOD_GET, answer_metrics},
    {PS_STR_INIT("/reset_prefix_cache"), PS_H1_METHOD_POST, answer_reset},
    {PS_STR_INIT("/sim/state"), PS_H1_METHOD_GET, answer_state},
};

static void refuse_route(struct ps_sim *sim, struct ps_exchange *exchange, bool known)
{
    struct ps_sim_refusal refusal = {
        .status = known ? 405 : 404,
        .type = known ? "MethodNotAllowedError" : "NotFoundError",
    };
    strcpy(refusal.text, known ? "Method Not Allowed" : "Not Found");
    ps_sim_call_refuse(&sim->desk, exchange, &refusal);
}

static void on_request(void *ctx, struct ps_exchange *exchange)
{
    struct ps_sim *sim = ctx;
    struct ps_str path = ps_exchange_path(exchange);
    enum ps_h1_method method = ps_exchange_head(exchange)->method_id;
    method = method == PS_H1_METHOD_HEAD ? PS_H1_METHOD_GET : method;
    bool known = false;
    for (size_t i = 0; i < PS_ARRAY_LEN(routes); i++) {
        if (ps_str_eq(path, routes[i].path)) {
            if (method == routes[i].method) {
                routes[i].answer(sim, exchange);
                return;
            }
            known = true;
        }
    }
    refuse_route(sim, exchange, known);
}

static void on_refused(void *ctx, int status, const struct ps_address *peer)
{
    (void)status;
    (void)peer;
    struct ps_sim *sim = ctx;
    sim->desk.metrics.refused++;
}

/* --- life ------------------------------------------------------------------------------------- */

/* One huge answer must not be kept for ever. */
static void on_time(struct ps_timer *timer, ps_time now)
{
    struct ps_sim_desk *desk = PS_CONTAINER_OF(timer, struct ps_sim_desk, timer);
    ps_sim_desk_tick(desk, now);
    if (desk->scratch.cap > KEPT_SCRATCH) {
        ps_buf_fini(&desk->scratch);
    }
}

/* Names stand in JSON, in labels and in messages as they are. */
static bool is_name(const char *name)
{
    return name[0] != '\0' && strlen(name) <= 200 &&
           name[strspn(name,
                       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:")] ==
               '\0';
}

static int check_names(const struct ps_sim_opts *opts)
{
    for (size_t i = 0; i < opts->model_count; i++) {
        if (!is_name(opts->models[i])) {
            return PS_EINVAL;
        }
    }
    return opts->model_count > 0 ? PS_OK : PS_EINVAL;
}

static int new_server(struct ps_sim *sim)
{
    struct ps_server_opts opts;
    ps_server_opts_init(&opts);
    opts.on_request = on_request;
    opts.on_refused = on_refused;
    opts.ctx = sim;
    opts.max_body = sim->desk.opts->max_body;
    opts.max_connections = MOST_CONNECTIONS;
    opts.budget = &sim->desk.budget;
    opts.refusal_headers = PS_STR(PS_SIM_HEADERS);
    return ps_server_new(&sim->server, sim->desk.loop, &opts);
}

int ps_sim_new(struct ps_sim **out, struct ps_loop *loop, const struct ps_sim_opts *opts)
{
    int err = check_names(opts);
    if (err != PS_OK) {
        return err;
    }
    struct ps_sim *sim = calloc(1, sizeof *sim);
    if (sim == NULL) {
        return PS_ENOMEM;
    }
    struct ps_sim_desk *desk = &sim->desk;
    desk->loop = loop;
    desk->opts = opts;
    desk->timer.on_time = on_time;
    desk->faults = ps_rng_make(opts->seed);
    desk->budget.limit = MOST_BUFFERED;
    desk->scratch = ps_buf_make(LARGEST_ANSWER);
    ps_list_init(&desk->calls);
    ps_sim_metrics_init(&desk->metrics);
    err = ps_sim_engine_new(&desk->engine, opts);
    err = err == PS_OK ? new_server(sim) : err;
    if (err != PS_OK) {
        ps_sim_free(sim);
        return err;
    }
    *out = sim;
    return PS_OK;
}

int ps_sim_listen(struct ps_sim *sim, const struct ps_address *at)
{
    return ps_server_listen(sim->server, at, NULL);
}

const struct ps_address *ps_sim_address(const struct ps_sim *sim)
{
    return ps_server_address(sim->server, 0);
}

void ps_sim_free(struct ps_sim *sim)
{
    if (sim == NULL) {
        return;
    }
    ps_server_free(sim->server); /* every call hears on_abort */
    ps_timer_clear(sim->desk.loop, &sim->desk.timer);
    ps_sim_engine_free(sim->desk.engine);
    ps_buf_fini(&sim->desk.scratch);
    free(sim);
}
