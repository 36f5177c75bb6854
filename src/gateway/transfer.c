#include "gateway/transfer.h"
#include "gateway/transfer_items.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/traffic.h"
#include "http/h1_write.h"

enum { EXTRA_LIMIT = 8 * 1024 };

static const struct ps_exchange_ops exchange_ops;

/* --- the end ---------------------------------------------------------------------------------- */

static void release(struct ps_transfer *transfer)
{
    ps_list_remove(&transfer->link);
    transfer->lane->active--;
    ps_gateway_unref(transfer->gateway);
    ps_pilot_free(transfer->pilot);
    free(transfer->memo);
    free(transfer);
}

/* Out of the gate, whatever the state. */
static void leave_gate(struct ps_transfer *transfer, ps_time now)
{
    if (transfer->in_gate) {
        transfer->in_gate = false;
        ps_gate_leave(transfer->backend->gate, &transfer->ticket, now);
    } else if (transfer->queued) {
        transfer->queued = false;
        ps_timer_clear(transfer->lane->loop, &transfer->deadline);
        /* Just handed over by another thread: its letter still points here. */
        transfer->zombie = !ps_gate_cancel(transfer->backend->gate, &transfer->ticket, now);
    }
}

/* What it took in the end replaces what was reserved. */
static void settle(struct ps_transfer *transfer, ps_time now)
{
    const struct ps_request *request = transfer->request;
    struct ps_usage *usage = &transfer->usage;
    bool reached = transfer->attempts > 0 && transfer->status != 0;
    if (reached && request != NULL) {
        double bytes_per_token = ps_backend_bytes_per_token(transfer->backend);
        if (usage->has_prompt && transfer->status == 200) {
            ps_backend_learn(transfer->backend, request->input_bytes, usage->prompt_tokens);
        }
        /* Only what is written token by token has an output; and what only describes has no input. */
        usage->has_completion = usage->has_completion || !ps_request_generates(request->kind);
        if (transfer->status < 400 && request->kind != PS_REQUEST_META) {
            uint64_t written = ps_request_generates(request->kind) ? transfer->bytes_out : 0;
            ps_usage_estimate(usage, ps_request_estimate_input(request, bytes_per_token), written, bytes_per_token);
        }
    }
    if (transfer->left && transfer->body_given && transfer->status == 0 && request != NULL) {
        /* The prompt was read for nobody; leaving early must not make it free. */
        double bytes_per_token = ps_backend_bytes_per_token(transfer->backend);
        ps_usage_estimate(usage, ps_request_estimate_input(request, bytes_per_token), 0, bytes_per_token);
    }
    if (!transfer->grant.held) {
        return;
    }
    if (ps_transfer_is_served(transfer)) { /* a request like others, but it took nothing */
        ps_tenant_settle(transfer->tenant, &transfer->grant, 0, 0, now);
        return;
    }
    if (transfer->attempts == 0) {
        ps_tenant_return(transfer->tenant, &transfer->grant, now);
        return;
    }
    uint64_t tokens = usage->prompt_tokens + usage->completion_tokens;
    ps_tenant_settle(transfer->tenant, &transfer->grant, tokens, ps_price_usage(&transfer->price, usage), now);
}

/* What a flight took is counted with the request that began it. */
static void add_facts(const struct ps_transfer *transfer, struct ps_record *record)
{
    const struct ps_flight_facts *facts = ps_transfer_flight_facts(transfer);
    record->cache = ps_transfer_cache_text(transfer);
    if (facts != NULL) {
        record->attempts = facts->attempts;
        record->queued = facts->waited;
        record->error = record->error != NULL ? record->error : facts->error;
        record->endpoint =
            facts->endpoint < 0 ? NULL : transfer->backend->endpoints[facts->endpoint]->text;
        record->usage = facts->usage;
    }
    record->has_usage = ps_usage_is_known(&record->usage) || record->usage.estimated;
}

/* What the cache did, and what the tokens that it saved would have cost. */
static void tally(const struct ps_transfer *transfer)
{
    struct ps_cache_tally *sums = transfer->gateway->tally;
    if (sums == NULL || transfer->cache == PS_CACHE_NONE) {
        return;
    }
    if (transfer->items != NULL) {
        ps_transfer_items_tally(transfer, sums);
        return;
    }
    atomic_fetch_add_explicit(&sums->parts[transfer->cache], 1, memory_order_relaxed);
    if (transfer->cache > PS_CACHE_MISS && ps_transfer_is_served(transfer)) {
        int64_t cost = ps_price_usage(&transfer->price, &transfer->usage);
        atomic_fetch_add_explicit(&sums->cost_saved, cost, memory_order_relaxed);
    }
}

/* The client's own trace, where it has one. */
static struct ps_str traceparent_of(const struct ps_exchange *exchange)
{
    const struct ps_h1_header *trace =
        exchange == NULL ? NULL : ps_h1_head_find(ps_exchange_head(exchange), PS_H1_TRACEPARENT);
    bool sound = trace != NULL && ps_forward_is_traceparent(trace->value);
    return sound ? trace->value : (struct ps_str){NULL, 0};
}

static void count(const struct ps_transfer *transfer, const struct ps_exchange *exchange,
                  const struct ps_record *record)
{
    struct ps_traffic_sample sample = {
        .route = transfer->route == NULL ? SIZE_MAX : transfer->route->index,
        .upstream = transfer->backend == NULL ? SIZE_MAX : transfer->backend->index,
        .status = record->status,
        .seconds = ps_span_seconds(record->duration),
        .first_byte_seconds = record->first_byte < 0 ? NAN : ps_span_seconds(record->first_byte),
        .queue_seconds = record->queued < 0 ? NAN : ps_span_seconds(record->queued),
        .is_stream = transfer->request != NULL && transfer->request->stream && record->status == 200,
        .bytes_in = record->bytes_in,
        .bytes_out = record->bytes_out,
        .traceparent = traceparent_of(exchange),
        .wall = record->wall + record->duration,
    };
    ps_traffic_request(transfer->gateway->metrics, transfer->lane->shard, &sample);
    tally(transfer);
}

int ps_transfer_remember(struct ps_transfer *transfer)
{
    struct ps_str method = transfer->head->method;
    struct ps_str path = ps_exchange_path(transfer->exchange);
    struct ps_transfer_memo *memo = malloc(sizeof *memo + method.len + path.len);
    if (memo == NULL) {
        return PS_ENOMEM;
    }
    memo->server = ps_exchange_server(transfer->exchange);
    memo->peer = *ps_exchange_peer(transfer->exchange);
    memo->began = ps_exchange_started(transfer->exchange);
    memo->method_len = method.len;
    memo->path_len = path.len;
    memcpy(memo->text, method.ptr, method.len);
    memcpy(memo->text + method.len, path.ptr, path.len);
    transfer->memo = memo;
    return PS_OK;
}

/* Tells the log and the metrics; `exchange` is still there, or NULL after a tunnel. */
static void tell(struct ps_transfer *transfer, struct ps_exchange *exchange, int status, bool complete)
{
    const struct ps_transfer_memo *memo = transfer->memo;
    const struct ps_request *request = transfer->request;
    ps_time began = exchange != NULL ? ps_exchange_started(exchange) : memo->began;
    /* Not the loop's instant: what is answered from memory begins and ends in one turn. */
    ps_time now = ps_clock_now(ps_loop_clock(transfer->lane->loop));
    struct ps_record record = {
        .wall = ps_clock_wall(ps_loop_clock(transfer->lane->loop)) - (now - began),
        .duration = now - began,
        .first_byte = transfer->first_byte == 0 ? -1 : transfer->first_byte - began,
        .queued = transfer->waited,
        .status = status,
        .complete = complete,
        .method = exchange != NULL ? ps_exchange_head(exchange)->method
                                   : (struct ps_str){memo->text, memo->method_len},
        .path = exchange != NULL ? ps_exchange_path(exchange)
                                 : (struct ps_str){memo->text + memo->method_len, memo->path_len},
        .request_id = ps_str_from(transfer->request_id),
        .model = request == NULL ? PS_STR("") : (struct ps_str){request->model, request->model_len},
        .route = transfer->route == NULL ? NULL : transfer->route->name,
        .upstream = transfer->backend == NULL ? NULL : transfer->backend->name,
        .endpoint = transfer->endpoint < 0 ? NULL : transfer->backend->endpoints[transfer->endpoint]->text,
        .tenant = transfer->tenant == NULL ? NULL : transfer->tenant->name,
        .error = transfer->error,
        .peer = exchange != NULL ? ps_exchange_peer(exchange) : &memo->peer,
        .bytes_in = transfer->bytes_in,
        .bytes_out = transfer->bytes_out,
        .attempts = transfer->attempts,
        .usage = transfer->usage,
    };
    add_facts(transfer, &record);
    count(transfer, exchange, &record);
    if (transfer->lane->on_done != NULL) {
        transfer->lane->on_done(transfer->lane->ctx, &record);
    }
}

/* Tokens count with who asked the upstream: nobody may be left who waits for what a pilot took. */
static void count_tokens(const struct ps_transfer *transfer)
{
    size_t route = transfer->route == NULL ? SIZE_MAX : transfer->route->index;
    if (transfer->attempts > 0) {
        ps_traffic_tokens(transfer->gateway->metrics, transfer->lane->shard, route,
                          transfer->usage.prompt_tokens, transfer->usage.completion_tokens);
    }
}

/* Gives everything back; the exchange may be answered after this. */
static void let_go(struct ps_transfer *transfer, enum ps_outcome outcome, ps_time now)
{
    ps_call_cancel(transfer->call);
    transfer->call = NULL;
    settle(transfer, now);
    count_tokens(transfer);
    if (outcome == PS_OUTCOME_OK && transfer->status == 200 && transfer->endpoint >= 0) {
        ps_transfer_tell_finished(transfer);
    }
    leave_gate(transfer, now); /* before a client hears of the end: its next request finds room */
    ps_pilot_end(transfer);
    ps_transfer_unbook(transfer, outcome);
    ps_chunks_fini(&transfer->body);
    ps_buf_fini(&transfer->headers);
    ps_transfer_end_scan(transfer);
}

static void bury(struct ps_transfer *transfer)
{
    ps_transfer_cache_leave(transfer);
    ps_request_parser_free(transfer->parser);
    ps_request_known_unref(transfer->known);
    ps_job_free(transfer->job);
    free(transfer->edits);
    transfer->job = NULL;
    transfer->parser = NULL;
    transfer->known = NULL;
    transfer->request = NULL;
    transfer->edits = NULL;
    if (!transfer->zombie) {
        release(transfer);
    }
}

void ps_transfer_finish(struct ps_transfer *transfer, int status, bool complete, enum ps_outcome outcome)
{
    ps_time now = ps_loop_now(transfer->lane->loop);
    struct ps_exchange *exchange = transfer->exchange;
    int endpoint = transfer->endpoint;
    let_go(transfer, outcome, now);
    transfer->endpoint = endpoint;
    transfer->exchange = NULL;
    if (exchange != NULL || transfer->memo != NULL) {
        tell(transfer, exchange, status, complete);
    }
    bury(transfer);
}

/* Fails after the answer has begun, e.g. when the rest of an upload is too long: it can only be broken off. */
static void cut(struct ps_transfer *transfer, const char *why)
{
    struct ps_exchange *exchange = transfer->exchange;
    transfer->error = why;
    ps_exchange_handle(exchange, NULL, NULL);
    ps_transfer_finish(transfer, transfer->status, false, PS_OUTCOME_NONE);
    ps_exchange_reset(exchange);
}

void ps_transfer_fail(struct ps_transfer *transfer, const struct ps_answer *answer, const char *format, ...)
{
    if (transfer->started && transfer->pilot == NULL) {
        cut(transfer, answer->code);
        return;
    }
    char text[512];
    struct ps_buf headers = ps_buf_make(EXTRA_LIMIT);
    struct ps_exchange *exchange = transfer->exchange;
    struct ps_answer full = *answer;
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t used = len < 0 ? 0 : (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
    if (transfer->pilot != NULL) {
        ps_pilot_refuse(transfer, answer, (struct ps_str){text, used});
        return;
    }
    int err = ps_buf_append_str(&headers, answer->headers);
    err = err != PS_OK ? err : ps_h1_write_header(&headers, PS_STR("X-Request-Id"), ps_str_from(transfer->request_id));
    err = err != PS_OK ? err : ps_transfer_write_extra(transfer, &headers);
    full.headers = ps_buf_str(&headers);
    full.shape = ps_dialect_errors(transfer->operation == NULL ? PS_DIALECT_NONE : transfer->operation->dialect);
    ps_time now = ps_loop_now(transfer->lane->loop);
    int endpoint = transfer->endpoint;
    let_go(transfer, PS_OUTCOME_NONE, now);
    transfer->endpoint = endpoint;
    tell(transfer, exchange, answer->status, true);
    transfer->exchange = NULL;
    bury(transfer);
    ps_exchange_handle(exchange, NULL, NULL);
    if (err == PS_OK) {
        ps_answer_error(exchange, &full, (struct ps_str){text, used});
    } else {
        ps_exchange_reset(exchange);
    }
    ps_buf_fini(&headers);
}

/* --- who and whence --------------------------------------------------------------------------- */

const struct ps_address *ps_transfer_peer(const struct ps_transfer *transfer)
{
    return transfer->pilot != NULL ? &transfer->pilot->peer : ps_exchange_peer(transfer->exchange);
}

bool ps_transfer_is_tls(const struct ps_transfer *transfer)
{
    return transfer->pilot != NULL ? transfer->pilot->tls : ps_exchange_is_tls(transfer->exchange);
}

struct ps_str ps_transfer_header(const struct ps_transfer *transfer, enum ps_h1_field id)
{
    const struct ps_h1_header *found = ps_h1_head_find(transfer->head, id);
    return found == NULL ? (struct ps_str){NULL, 0} : found->value;
}

static void set_request_id(struct ps_transfer *transfer)
{
    struct ps_str given = ps_forward_request_id(transfer->head);
    if (given.len > 0) {
        memcpy(transfer->request_id, given.ptr, given.len);
        transfer->request_id[given.len] = '\0';
        return;
    }
    uint64_t bits[2] = {ps_rng_next(&transfer->lane->rng), ps_rng_next(&transfer->lane->rng)};
    static const char digits[] = "0123456789abcdef";
    for (unsigned i = 0; i < 32; i++) {
        transfer->request_id[i] = digits[(bits[i / 16] >> (4 * (i % 16))) & 15];
    }
    transfer->request_id[32] = '\0';
}

static int write_cors(struct ps_transfer *transfer, struct ps_buf *out)
{
    struct ps_str origin = ps_transfer_header(transfer, PS_H1_ORIGIN);
    int err = ps_h1_write_header(out, PS_STR("Access-Control-Allow-Origin"), origin);
    return err != PS_OK ? err
                        : ps_buf_append_str(out, PS_STR("Vary: Origin\r\nAccess-Control-Expose-Headers: *\r\n"));
}

int ps_transfer_write_extra(struct ps_transfer *transfer, struct ps_buf *out)
{
    int err = transfer->cors ? write_cors(transfer, out) : PS_OK;
    if (err == PS_OK && transfer->tenant != NULL) {
        struct ps_loop *loop = transfer->lane->loop;
        err = ps_tenant_write_headers(transfer->tenant, ps_loop_now(loop),
                                      ps_clock_wall(ps_loop_clock(loop)), out);
    }
    return err;
}

/* Answers a browser's question whether it may ask (Fetch standard, CORS preflight). */
static void answer_preflight(struct ps_transfer *transfer)
{
    struct ps_buf headers = ps_buf_make(EXTRA_LIMIT);
    struct ps_exchange *exchange = transfer->exchange;
    struct ps_str asked = ps_transfer_header(transfer, PS_H1_ACCESS_CONTROL_REQUEST_HEADERS);
    int err = write_cors(transfer, &headers);
    err = err != PS_OK ? err
                       : ps_buf_append_str(&headers, PS_STR("Access-Control-Allow-Methods: GET, HEAD, POST, PUT, "
                                                            "PATCH, DELETE\r\nAccess-Control-Max-Age: 600\r\n"));
    if (err == PS_OK && asked.len > 0) {
        err = ps_h1_write_header(&headers, PS_STR("Access-Control-Allow-Headers"), asked);
    }
    ps_exchange_handle(exchange, NULL, NULL);
    ps_transfer_finish(transfer, 204, true, PS_OUTCOME_NONE);
    if (err == PS_OK) {
        ps_exchange_respond(exchange, 204, ps_buf_str(&headers), PS_STR(""), PS_STR(""));
    } else {
        ps_exchange_reset(exchange);
    }
    ps_buf_fini(&headers);
}

/* Without keys, only this machine's own pages and names are let in (DNS rebinding, CSRF). Returns false when
 * the request was answered. */
static bool check_origin(struct ps_transfer *transfer)
{
    const struct ps_h1_head *head = transfer->head;
    struct ps_str origin = ps_transfer_header(transfer, PS_H1_ORIGIN);
    transfer->cors = origin.len > 0 && ps_gateway_allows_origin(transfer->gateway, origin);
    if (!transfer->gateway->loopback_only) {
        return true;
    }
    /* A reload may have closed what is still listened on. */
    if (!ps_address_is_loopback(ps_exchange_peer(transfer->exchange))) {
        struct ps_answer answer = {.status = 403, .code = "loopback_only"};
        ps_transfer_fail(transfer, &answer, "without tenants only this machine is served");
        return false;
    }
    if (!ps_host_is_loopback(head->host)) {
        struct ps_answer answer = {.status = 403, .code = "host_not_allowed"};
        ps_transfer_fail(transfer, &answer, "without tenants only names of this machine are served");
        return false;
    }
    if (origin.len > 0 && !transfer->cors && !ps_host_is_loopback(ps_origin_host(origin))) {
        struct ps_answer answer = {.status = 403, .code = "origin_not_allowed"};
        ps_transfer_fail(transfer, &answer, "this origin is not in cors.origins");
        return false;
    }
    return true;
}

static bool find_tenant(struct ps_transfer *transfer)
{
    const struct ps_tenants *tenants = transfer->gateway->tenants;
    if (tenants == NULL) {
        return true;
    }
    struct ps_str key = ps_tenant_bearer(ps_transfer_header(transfer, PS_H1_AUTHORIZATION));
    key = key.len > 0 ? key : ps_transfer_header(transfer, PS_H1_X_API_KEY);
    key = key.len > 0 ? key : ps_transfer_header(transfer, PS_H1_API_KEY);
    transfer->tenant = key.len == 0 ? NULL : ps_tenants_find(tenants, key);
    if (transfer->tenant != NULL) {
        transfer->body.budget = ps_tenant_buffer(transfer->tenant);
        return true;
    }
    struct ps_answer answer = {
        .status = 401, .code = "invalid_api_key", .headers = PS_STR("WWW-Authenticate: Bearer\r\n")};
    ps_transfer_fail(transfer, &answer, key.len == 0 ? "no API key was given" : "the API key is not known");
    return false;
}

static bool find_route(struct ps_transfer *transfer)
{
    struct ps_exchange *exchange = transfer->exchange;
    const struct ps_h1_head *head = transfer->head;
    struct ps_route_match match = {.route = NULL};
    enum ps_route_result result = PS_ROUTE_NONE;
    if (transfer->gateway->routes != NULL) {
        result = ps_route_match(transfer->gateway->routes, head->method, head->host, ps_exchange_path(exchange),
                                &match);
    }
    transfer->route = match.route;
    transfer->operation = match.operation;
    switch (result) {
    case PS_ROUTE_FOUND:
        transfer->backend = transfer->gateway->backends[match.route->upstream];
        return true;
    case PS_ROUTE_NONE: {
        struct ps_answer answer = {.status = 404, .code = "no_route"};
        ps_transfer_fail(transfer, &answer, "no route matches this path");
        return false;
    }
    case PS_ROUTE_METHOD: {
        struct ps_buf allow = ps_buf_make(1024);
        PS_IGNORE(ps_buf_append_str(&allow, PS_STR("Allow: ")));
        PS_IGNORE(ps_route_write_allow(transfer->gateway->routes, head->host, ps_exchange_path(exchange), &allow));
        PS_IGNORE(ps_buf_append_str(&allow, PS_STR("\r\n")));
        struct ps_answer answer = {.status = 405, .code = "method_not_allowed", .headers = ps_buf_str(&allow)};
        ps_transfer_fail(transfer, &answer, "this path does not take the method %.*s", PS_STR_ARG(head->method));
        ps_buf_fini(&allow);
        return false;
    }
    case PS_ROUTE_ADMIN: {
        struct ps_answer answer = {.status = 403, .code = "engine_admin"};
        ps_transfer_fail(transfer, &answer,
                         "this call administers the engine: a route that names its path, or has engine_admin: yes, "
                         "would let it through");
        return false;
    }
    case PS_ROUTE_REFUSED: {
        struct ps_answer answer = {.status = 400, .code = "ambiguous_path"};
        ps_transfer_fail(transfer, &answer, "%s", match.reason);
        return false;
    }
    }
    return false;
}

/* A server that answers TRACE shows the whole head it got, the upstream's own key included. */
static bool refuse_trace(struct ps_transfer *transfer)
{
    if (transfer->head->method_id != PS_H1_METHOD_TRACE) {
        return false;
    }
    struct ps_answer answer = {.status = 405,
                               .code = "method_not_allowed",
                               .headers = PS_STR("Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n")};
    ps_transfer_fail(transfer, &answer, "TRACE is never passed on");
    return true;
}

/* --- limits and the gate ---------------------------------------------------------------------- */

static bool reserve(struct ps_transfer *transfer)
{
    struct ps_loop *loop = transfer->lane->loop;
    ps_time now = ps_loop_now(loop);
    if (transfer->tenant == NULL) {
        return true;
    }
    int64_t cost = 0;
    uint64_t tokens = 0;
    if (transfer->request != NULL) {
        double per_token = ps_backend_bytes_per_token(transfer->backend);
        uint64_t input = ps_request_estimate_input(transfer->request, per_token);
        tokens = transfer->estimate;
        cost = ps_price_cost(&transfer->price, input, tokens > input ? tokens - input : 0);
    }
    struct ps_tenant_decision decision = ps_tenant_reserve(
        transfer->tenant, tokens, cost, now, ps_clock_wall(ps_loop_clock(loop)), &transfer->grant);
    if (decision.limit == PS_LIMIT_NONE) {
        return true;
    }
    bool budget = decision.limit == PS_LIMIT_BUDGET;
    struct ps_answer answer = {
        .status = 429,
        .type = budget ? "insufficient_quota" : "rate_limit_error",
        .code = budget ? "insufficient_quota" : "rate_limit_exceeded",
        .retry_after = decision.never                     ? PS_MINUTE /* a limit may be raised meanwhile */
                       : decision.retry_after > PS_SECOND ? decision.retry_after
                                                          : PS_SECOND,
    };
    ps_transfer_fail(transfer, &answer,
                     decision.never ? "the request is larger than the whole limit on %s of tenant %s"
                                    : "the limit on %s of tenant %s is reached",
                     ps_tenant_limit_text(decision.limit), transfer->tenant->name);
    return false;
}

static void admitted(struct ps_transfer *transfer)
{
    ps_time now = ps_loop_now(transfer->lane->loop);
    transfer->in_gate = true;
    transfer->queued = false;
    transfer->waited = now - transfer->gate_since;
    ps_timer_clear(transfer->lane->loop, &transfer->deadline);
    ps_backend_count_request(transfer->backend);
    ps_transfer_call(transfer);
}

/* A slot was freed for us, perhaps on another thread. */
static void on_granted(struct ps_letter *letter, void *receiver)
{
    (void)receiver;
    struct ps_transfer *transfer = PS_CONTAINER_OF(letter, struct ps_transfer, granted);
    if (transfer->zombie) {
        release(transfer);
    } else {
        admitted(transfer);
    }
}

static void on_notify(struct ps_ticket *ticket)
{
    struct ps_transfer *transfer = PS_CONTAINER_OF(ticket, struct ps_transfer, ticket);
    ps_mailbox_post(transfer->lane->mailbox, &transfer->granted);
}

static void on_deadline(struct ps_timer *timer, ps_time now)
{
    struct ps_transfer *transfer = PS_CONTAINER_OF(timer, struct ps_transfer, deadline);
    struct ps_answer answer = {.status = 429,
                               .type = "server_error",
                               .code = "queue_timeout",
                               .retry_after = ps_gate_retry_after(transfer->backend->gate, now)};
    transfer->error = "waited too long at the gate";
    ps_transfer_fail(transfer, &answer, "no slot became free at upstream %s in time", transfer->backend->name);
}

static void refuse(struct ps_transfer *transfer, enum ps_admission admission, ps_time now)
{
    bool full = admission == PS_REFUSED_FULL;
    struct ps_answer answer = {.status = full ? 429 : 503,
                               .type = "server_error",
                               .code = full ? "queue_full" : "no_capacity",
                               .retry_after = ps_gate_retry_after(transfer->backend->gate, now)};
    ps_transfer_fail(transfer, &answer, full ? "the queue of upstream %s is full" : "upstream %s takes no requests",
                     transfer->backend->name);
}

void ps_transfer_enter_gate(struct ps_transfer *transfer)
{
    ps_time now = ps_loop_now(transfer->lane->loop);
    enum ps_priority best = transfer->tenant == NULL ? PS_PRIORITY_HIGH : transfer->tenant->priority;
    transfer->ticket.priority = transfer->route->priority > best ? transfer->route->priority : best;
    transfer->ticket.tokens = transfer->estimate;
    transfer->ticket.prompt = transfer->prompt;
    transfer->ticket.bytes = transfer->body.len;
    transfer->ticket.notify = on_notify;
    transfer->granted.on_delivery = on_granted;
    transfer->deadline.on_time = on_deadline;
    transfer->gate_since = now;
    enum ps_admission admission = ps_gate_enter(transfer->backend->gate, &transfer->ticket, now);
    switch (admission) {
    case PS_ADMITTED:
        admitted(transfer);
        return;
    case PS_QUEUED:
        transfer->queued = true;
        PS_IGNORE(ps_timer_set(transfer->lane->loop, &transfer->deadline,
                               now + transfer->backend->admission.max_wait));
        return;
    case PS_REFUSED_FULL:
    case PS_REFUSED_CLOSED:
        refuse(transfer, admission, now);
        return;
    }
}

void ps_transfer_admit(struct ps_transfer *transfer)
{
    if (reserve(transfer) && !ps_transfer_ask_cache(transfer)) {
        ps_transfer_enter_gate(transfer);
    }
}

/* --- the exchange ------------------------------------------------------------------------------ */

static void on_drain(void *ctx)
{
    struct ps_transfer *transfer = ctx;
    if (transfer->cached != NULL) {
        ps_transfer_cache_drain(transfer);
    } else {
        ps_transfer_on_drain(transfer);
    }
}

static void on_abort(void *ctx)
{
    struct ps_transfer *transfer = ctx;
    transfer->error = "the client left";
    transfer->left = true;
    ps_transfer_finish(transfer, transfer->started ? transfer->status : 499, false, PS_OUTCOME_NONE);
}

static const struct ps_exchange_ops exchange_ops = {ps_transfer_on_body, ps_transfer_on_body_end, on_drain,
                                                    on_abort};

/* --- the beginning ---------------------------------------------------------------------------- */

struct ps_transfer *ps_transfer_new(struct ps_lane *lane, struct ps_gateway *gateway)
{
    struct ps_transfer *transfer = calloc(1, sizeof *transfer);
    if (transfer != NULL) {
        transfer->lane = lane;
        transfer->gateway = ps_gateway_ref(gateway);
        transfer->body = ps_chunks_make(gateway->budget);
        transfer->headers = ps_buf_make(PS_TRANSFER_HEAD_LIMIT);
        transfer->endpoint = -1;
        transfer->estimate = 1;
        transfer->weight = 1;
        transfer->waited = -1;
        ps_list_push(&lane->transfers, &transfer->link);
        lane->active++;
    }
    return transfer;
}

void ps_transfer_begin(struct ps_lane *lane, struct ps_exchange *exchange)
{
    struct ps_transfer *transfer = ps_transfer_new(lane, lane->gateway);
    if (transfer == NULL) {
        struct ps_answer answer = {.status = 503, .code = "no_memory", .retry_after = PS_SECOND};
        ps_answer_errorf(exchange, &answer, "out of memory");
        return;
    }
    transfer->exchange = exchange;
    transfer->head = ps_exchange_head(exchange);
    set_request_id(transfer);
    ps_exchange_handle(exchange, &exchange_ops, transfer);
    if (!check_origin(transfer)) {
        return;
    }
    bool preflight = transfer->head->method_id == PS_H1_METHOD_OPTIONS && transfer->cors &&
                     ps_transfer_header(transfer, PS_H1_ACCESS_CONTROL_REQUEST_METHOD).len > 0;
    if (preflight) {
        answer_preflight(transfer);
        return;
    }
    if (!find_route(transfer) || refuse_trace(transfer) || !find_tenant(transfer) ||
        !ps_transfer_plan_body(transfer)) {
        return;
    }
    if (transfer->streaming) {
        ps_exchange_pause(exchange);
        ps_transfer_admit(transfer);
    }
}
