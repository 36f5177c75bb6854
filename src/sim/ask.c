#include "sim/ask.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/server.h"
#include "sim/json.h"

/* A request while its body arrives. */
struct arrival {
    struct ps_sim_desk *desk;
    struct ps_exchange *exchange;
    struct ps_buf body;
};

static const struct ps_sim_refusal no_memory = {
    .status = 503,
    .type = "ServiceUnavailableError",
    .text = "The simulation itself is out of memory.",
};

/* --- answers ---------------------------------------------------------------------------------- */

void ps_sim_ask_respond(const struct ps_sim_ask *ask, int status, struct ps_str type,
                        struct ps_str body)
{
    ps_exchange_respond(ask->exchange, status, PS_STR(PS_SIM_HEADERS), type, body);
}

void ps_sim_ask_json(const struct ps_sim_ask *ask, struct ps_str body)
{
    ps_sim_ask_respond(ask, 200, PS_STR("application/json"), body);
}

void ps_sim_ask_tree(const struct ps_sim_ask *ask, int status, json_t *tree)
{
    struct ps_buf *out = &ask->desk->scratch;
    ps_buf_clear(out);
    if (ps_sim_json_dump(out, tree) == PS_OK) {
        ps_sim_ask_respond(ask, status, PS_STR("application/json"), ps_buf_str(out));
    } else {
        ps_sim_ask_refuse(ask, &no_memory);
    }
}

void ps_sim_ask_scratch(const struct ps_sim_ask *ask, int err, struct ps_str type)
{
    if (err == PS_OK) {
        ps_sim_ask_respond(ask, 200, type, ps_buf_str(&ask->desk->scratch));
    } else {
        ps_sim_ask_refuse(ask, &no_memory);
    }
}

void ps_sim_ask_metrics(const struct ps_sim_ask *ask)
{
    ps_buf_clear(&ask->desk->scratch);
    int err = ps_sim_desk_metrics(ask->desk, &ask->desk->scratch);
    ps_sim_ask_scratch(ask, err, PS_STR("text/plain; version=0.0.4; charset=utf-8"));
}

/* Engines that speak OpenAI's language beside their own have two kinds of errors. */
static int put_refusal(struct ps_sim_desk *desk, const struct ps_exchange *exchange,
                       const struct ps_sim_refusal *refusal)
{
    const struct ps_sim_personality *personality = desk->personality;
    bool v1 = ps_str_starts_with(ps_exchange_path(exchange), PS_STR("/v1/"));
    return v1 && personality->refusal_v1 != NULL ? personality->refusal_v1(&desk->scratch, refusal)
                                                 : personality->refusal(&desk->scratch, refusal);
}

/* A sentence may repeat bytes of the client's, and may have been cut: what is not UTF-8 becomes
 * '?'. */
static void repair(char *text)
{
    struct ps_str rest = ps_str_from(text);
    while (rest.len > 0) {
        size_t len = ps_str_utf8_length(rest);
        if (len == 0) {
            text[strlen(text) - rest.len] = '?';
            len = 1;
        }
        rest = ps_str_skip(rest, len);
    }
}

void ps_sim_ask_refuse_exchange(struct ps_sim_desk *desk, struct ps_exchange *exchange,
                                const struct ps_sim_refusal *refusal)
{
    uint64_t *counter = refusal->status < 500 ? &desk->metrics.refused : &desk->metrics.failed;
    struct ps_sim_refusal sound = *refusal;
    ++*counter;
    repair(sound.text);
    ps_buf_clear(&desk->scratch);
    if (put_refusal(desk, exchange, &sound) != PS_OK) {
        ps_exchange_reset(exchange);
        return;
    }
    ps_exchange_respond(exchange, refusal->status, PS_STR(PS_SIM_HEADERS),
                        PS_STR("application/json"), ps_buf_str(&desk->scratch));
}

void ps_sim_ask_refuse(const struct ps_sim_ask *ask, const struct ps_sim_refusal *refusal)
{
    ps_sim_ask_refuse_exchange(ask->desk, ask->exchange, refusal);
}

void ps_sim_ask_refuse_with(const struct ps_sim_ask *ask, int status, const char *type,
                            const char *format, ...)
{
    struct ps_sim_refusal refusal = {.status = status, .type = type};
    va_list args;
    va_start(args, format);
    (void)vsnprintf(refusal.text, sizeof refusal.text, format, args);
    va_end(args);
    ps_sim_ask_refuse(ask, &refusal);
}

/* --- questions -------------------------------------------------------------------------------- */

json_t *ps_sim_ask_object(const struct ps_sim_ask *ask, bool optional)
{
    struct ps_sim_json_error error;
    json_t *root = NULL;
    struct ps_str body = optional && ask->body.len == 0 ? PS_STR("{}") : ask->body;
    int err = ps_sim_json_parse(body, &root, &error);
    if (err == PS_OK && json_is_object(root)) {
        return root;
    }
    json_decref(root);
    if (err == PS_ENOMEM) {
        ps_sim_ask_refuse(ask, &no_memory);
    } else if (err == PS_OK) {
        ps_sim_ask_refuse_with(ask, 400, "BadRequestError", "The body must be a JSON object.");
    } else {
        ps_sim_ask_refuse_with(ask, 400, "BadRequestError", "JSON decode error at byte %zu: %s.",
                               error.offset, error.text);
    }
    return NULL;
}

bool ps_sim_ask_query(const struct ps_sim_ask *ask, struct ps_str name, size_t *at,
                      struct ps_str *value)
{
    struct ps_str rest = ps_str_skip(ask->query, *at);
    struct ps_str member;
    while (rest.len > 0 && ps_str_split(&rest, '&', &member)) {
        struct ps_str key;
        struct ps_str tail = member;
        *at = rest.ptr == NULL ? ask->query.len : (size_t)(rest.ptr - ask->query.ptr);
        if (ps_str_split(&tail, '=', &key) && ps_str_eq(key, name)) {
            *value = tail.ptr == NULL ? PS_STR("") : tail;
            return true;
        }
    }
    return false;
}

/* --- the body arrives ------------------------------------------------------------------------- */

static void free_arrival(struct arrival *arrival)
{
    ps_budget_give(&arrival->desk->budget, arrival->body.len);
    ps_buf_fini(&arrival->body);
    free(arrival);
}

static void refuse_arrival(struct arrival *arrival)
{
    struct ps_exchange *exchange = arrival->exchange;
    struct ps_sim_desk *desk = arrival->desk;
    free_arrival(arrival);
    ps_sim_ask_refuse_exchange(desk, exchange, &no_memory);
}

static void on_body(void *ctx, struct ps_str data)
{
    struct arrival *arrival = ctx;
    if (ps_budget_take(&arrival->desk->budget, data.len) != PS_OK) {
        refuse_arrival(arrival);
        return;
    }
    if (ps_buf_append_str(&arrival->body, data) != PS_OK) {
        ps_budget_give(&arrival->desk->budget, data.len);
        refuse_arrival(arrival);
    }
}

static void on_abort(void *ctx)
{
    free_arrival(ctx);
}

static void answer(const struct ps_sim_ask *ask, const struct ps_sim_route *route, bool known)
{
    struct ps_sim_desk *desk = ask->desk;
    if (route == NULL) {
        ps_sim_ask_refuse_with(ask, known ? 405 : 404,
                               known ? "MethodNotAllowedError" : "NotFoundError",
                               known ? "Method Not Allowed" : "Not Found");
    } else if (route->inference && ps_rng_unit(&desk->faults) < desk->opts->fail_rate) {
        ps_sim_ask_refuse_with(ask, 500, "InternalServerError",
                               "An error on purpose (simulated, --fail-rate).");
    } else {
        route->answer(ask);
    }
}

static void on_body_end(void *ctx)
{
    struct arrival *arrival = ctx;
    struct ps_exchange *exchange = arrival->exchange;
    struct ps_sim_desk *desk = arrival->desk;
    struct ps_sim_ask ask = {
        .desk = desk,
        .exchange = exchange,
        .query = ps_exchange_query(exchange),
        .body = ps_buf_str(&arrival->body),
    };
    bool known = false;
    const struct ps_sim_route *route = ps_sim_route_find(
        &desk->personality->routes, desk->opts, ps_exchange_head(exchange)->method_id,
        ps_exchange_path(exchange), ask.names, &known);
    desk->count++;
    answer(&ask, route, known); /* the exchange may be gone, or belong to a call */
    free_arrival(arrival);
}

static const struct ps_exchange_ops exchange_ops = {
    .on_body = on_body, .on_body_end = on_body_end, .on_abort = on_abort};

void ps_sim_ask_start(struct ps_sim_desk *desk, struct ps_exchange *exchange)
{
    struct arrival *arrival = calloc(1, sizeof *arrival);
    if (arrival == NULL) {
        ps_sim_ask_refuse_exchange(desk, exchange, &no_memory);
        return;
    }
    arrival->desk = desk;
    arrival->exchange = exchange;
    arrival->body = ps_buf_make(desk->opts->max_body);
    ps_exchange_handle(exchange, &exchange_ops, arrival);
}
