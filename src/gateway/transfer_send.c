#include "gateway/finished.h"
#include "gateway/traffic.h"
#include "gateway/transfer.h"

/* --- the body, with its edits ----------------------------------------------------------------- */

static uint64_t sent_length(const struct ps_transfer *transfer)
{
    int64_t growth = transfer->edits == NULL ? 0 : transfer->edits->growth;
    return (uint64_t)((int64_t)transfer->body.len + growth);
}

static const struct ps_request_edit *next_edit(const struct ps_transfer *transfer)
{
    const struct ps_request_edits *edits = transfer->edits;
    return edits == NULL || transfer->edit >= edits->count ? NULL : &edits->items[transfer->edit];
}

/* Gives the next pieces of the edited body and moves on behind them. Returns their number; fewer than max
 * means that the body is at its end. */
static size_t next_pieces(struct ps_transfer *transfer, struct ps_str *pieces, size_t max)
{
    size_t count = 0;
    while (count < max) {
        const struct ps_request_edit *edit = next_edit(transfer);
        if (edit != NULL && edit->offset == transfer->sent) {
            pieces[count++] = edit->insert;
            transfer->sent += edit->remove;
            transfer->edit++;
            continue;
        }
        uint64_t until = edit != NULL ? edit->offset : transfer->body.len;
        if (until <= transfer->sent) {
            break;
        }
        size_t views = ps_chunks_peek(&transfer->body, transfer->sent, pieces + count, max - count);
        for (size_t end = count + views; count < end && transfer->sent < until; count++) {
            pieces[count] = ps_str_first(pieces[count], until - transfer->sent);
            transfer->sent += pieces[count].len;
        }
    }
    return count;
}

static bool is_all_given(const struct ps_transfer *transfer)
{
    return transfer->sent >= transfer->body.len && next_edit(transfer) == NULL;
}

void ps_transfer_pump(struct ps_transfer *transfer)
{
    if (transfer->call == NULL || transfer->body_given) {
        return;
    }
    if (transfer->streaming) {
        if (transfer->request_done) { /* an empty body, and this is another try */
            transfer->body_given = true;
            ps_call_end(transfer->call);
        } else if (ps_call_queued(transfer->call) == 0) {
            ps_exchange_resume(transfer->exchange);
        }
        return;
    }
    while (!is_all_given(transfer) && ps_call_queued(transfer->call) <= PS_TRANSFER_HIGH_WATER) {
        struct ps_str pieces[PS_CALL_PIECES_MAX];
        size_t count = next_pieces(transfer, pieces, PS_CALL_PIECES_MAX);
        for (size_t i = 0; i < count; i++) {
            if (ps_call_write(transfer->call, pieces[i]) != PS_OK) {
                struct ps_answer answer = {.status = 503, .code = "no_memory", .retry_after = PS_SECOND};
                ps_transfer_fail(transfer, &answer, "too much is buffered at present");
                return;
            }
        }
    }
    if (is_all_given(transfer)) {
        transfer->body_given = true;
        ps_call_end(transfer->call);
    }
}

/* --- the call --------------------------------------------------------------------------------- */

static struct ps_census *census_of(const struct ps_transfer *transfer)
{
    return &transfer->backend->endpoints[transfer->endpoint]->census;
}

/* It is counted there from now on, if it is one that holds memory. */
static void be_counted(struct ps_transfer *transfer)
{
    if (transfer->prompt > 0) {
        ps_census_enter(census_of(transfer), &transfer->place, transfer->prompt,
                        !transfer->request->stream);
    }
}

static void leave_count(struct ps_transfer *transfer, enum ps_outcome outcome)
{
    const struct ps_usage *usage = &transfer->usage;
    bool whole = transfer->status == 200 && outcome == PS_OUTCOME_OK;
    ps_census_leave(census_of(transfer), &transfer->place,
                    usage->has_completion ? usage->completion_tokens : usage->events, whole);
}

static uint32_t in_flight_at(const struct ps_endpoint *endpoint)
{
    int64_t requests = atomic_load_explicit(&endpoint->requests, memory_order_relaxed);
    return requests < 1 ? 1 : requests > UINT32_MAX ? UINT32_MAX : (uint32_t)requests;
}

void ps_transfer_tell_finished(const struct ps_transfer *transfer)
{
    const struct ps_endpoint *endpoint = transfer->backend->endpoints[transfer->endpoint];
    const struct ps_request *request = transfer->request;
    struct ps_finished finished = {
        .endpoint = endpoint->id,
        .at_begin = transfer->beside,
        .at_end = in_flight_at(endpoint),
        .prompt = transfer->usage.prompt_tokens,
        .answer = transfer->usage.completion_tokens,
        .took = ps_loop_now(transfer->lane->loop) - transfer->called,
        .first = transfer->first_byte < transfer->called ? -1 : transfer->first_byte - transfer->called,
    };
    if (request != NULL) {
        size_t len = request->model_len < sizeof finished.model - 1 ? request->model_len : sizeof finished.model - 1;
        memcpy(finished.model, request->model, len);
    }
    ps_finished_tell(transfer->lane->finished, &finished);
}

void ps_transfer_unbook(struct ps_transfer *transfer, enum ps_outcome outcome)
{
    if (transfer->endpoint >= 0) {
        ps_time now = ps_loop_now(transfer->lane->loop);
        leave_count(transfer, outcome);
        ps_backend_done(transfer->backend, transfer->endpoint, transfer->weight, outcome, now);
        transfer->endpoint = -1;
    }
}

/* The model's other name, or the id of a client that has none. */
static void change_path(const struct ps_transfer *transfer, struct ps_forward *forward)
{
    if (transfer->edits != NULL && transfer->edits->path.insert.len > 0) {
        forward->path_at = (size_t)transfer->edits->path.offset;
        forward->path_cut = (size_t)transfer->edits->path.remove;
        forward->path_insert = transfer->edits->path.insert;
    } else if (transfer->job != NULL) {
        forward->path_insert = ps_job_insert(transfer->job, &forward->path_at);
    }
}

static int write_head(struct ps_transfer *transfer, const struct ps_endpoint *endpoint, struct ps_buf *out)
{
    char peer[PS_ADDRESS_TEXT];
    const struct ps_h1_head *head = transfer->head;
    const struct ps_address *from = ps_transfer_peer(transfer);
    const char *key = transfer->backend->api_key;
    bool has_body = head->has_content_length || head->chunked;
    bool kept = has_body && !transfer->streaming;
    struct ps_str base = endpoint->url.path;
    while (base.len > 0 && base.ptr[base.len - 1] == '/') {
        base.len--;
    }
    struct ps_forward forward = {
        .head = head,
        .authority = endpoint->url.authority,
        .base_path = base,
        .api_key = key == NULL ? PS_STR("") : ps_str_from(key),
        .request_id = ps_str_from(transfer->request_id),
        .peer = ps_str_from(ps_address_host_text(from, peer)),
        .peer_trusted = ps_gateway_trusts(transfer->gateway, from),
        .client_tls = ps_transfer_is_tls(transfer),
        .upgrade = transfer->upgrade,
        .identity = transfer->parsed || transfer->job != NULL || transfer->route->kind == PS_ROUTE_OPENAI,
        .has_length = kept || (transfer->streaming && head->has_content_length),
        .length = kept ? sent_length(transfer) : head->content_length,
        .chunked = transfer->streaming && head->chunked,
    };
    change_path(transfer, &forward);
    return ps_forward_request(out, &forward);
}

static int start_call(struct ps_transfer *transfer, struct ps_client_pool *pool,
                      const struct ps_endpoint *endpoint)
{
    struct ps_str pieces[PS_CALL_PIECES_MAX];
    struct ps_buf head = ps_buf_make(PS_TRANSFER_HEAD_LIMIT);
    const struct ps_h1_head *asked = transfer->head;
    int err = write_head(transfer, endpoint, &head);
    transfer->sent = 0;
    transfer->edit = 0;
    size_t count = transfer->streaming ? 0 : next_pieces(transfer, pieces, PS_CALL_PIECES_MAX);
    transfer->body_given = transfer->streaming ? transfer->request_done : is_all_given(transfer);
    struct ps_call_request request = {
        .head = ps_buf_str(&head),
        .pieces = pieces,
        .piece_count = count,
        .body_follows = !transfer->body_given,
        .chunked = transfer->streaming && asked->chunked,
        .is_head = asked->method_id == PS_H1_METHOD_HEAD,
        .fresh = transfer->fresh || transfer->upgrade,
        .head_timeout = transfer->route->first_byte_timeout,
        .idle_timeout = transfer->route->idle_timeout,
    };
    if (err == PS_OK) {
        err = ps_call_start(&transfer->call, pool, &request, &ps_transfer_call_ops, transfer);
    }
    ps_buf_fini(&head);
    return err;
}

static void no_endpoint(struct ps_transfer *transfer)
{
    ps_time now = ps_loop_now(transfer->lane->loop);
    struct ps_answer answer = {.status = 503,
                               .code = "no_endpoint",
                               .retry_after = ps_backend_retry_after(transfer->backend, now)};
    transfer->error = "no endpoint is usable";
    ps_transfer_fail(transfer, &answer, "no endpoint of upstream %s is available", transfer->backend->name);
}

/* Books an endpoint that has a known address. */
static struct ps_client_pool *choose(struct ps_transfer *transfer)
{
    for (;;) {
        ps_time now = ps_loop_now(transfer->lane->loop);
        struct ps_pick pick = {
            .tokens = transfer->weight,
            .prefix_hash = transfer->request == NULL ? 0 : transfer->request->prefix_hash,
            .tried = transfer->tried,
        };
        if (transfer->job != NULL) {
            ps_job_place(transfer->job, transfer->request, transfer->backend, now, &pick);
        }
        int index = ps_backend_pick(transfer->backend, &pick, now);
        if (index < 0) {
            return NULL;
        }
        transfer->endpoint = index;
        transfer->tried |= (uint64_t)1 << index;
        be_counted(transfer);
        struct ps_endpoint *endpoint = transfer->backend->endpoints[index];
        struct ps_client_pool *pool = ps_pools_get(&transfer->lane->pools, transfer->gateway, transfer->backend, endpoint);
        if (pool != NULL) {
            return pool;
        }
        ps_transfer_unbook(transfer, PS_OUTCOME_FAILED);
    }
}

/* Sends to the endpoint that is booked. */
static void send_to(struct ps_transfer *transfer, struct ps_client_pool *pool)
{
    struct ps_endpoint *endpoint = transfer->backend->endpoints[transfer->endpoint];
    int err = start_call(transfer, pool, endpoint);
    if (err != PS_OK) {
        struct ps_answer answer = {.status = 503, .code = "no_memory", .retry_after = PS_SECOND};
        ps_transfer_fail(transfer, &answer, "the request can't be sent: %s", ps_err_text(err));
        return;
    }
    transfer->attempts++;
    transfer->called = ps_loop_now(transfer->lane->loop);
    transfer->beside = in_flight_at(endpoint);
    if (!transfer->body_given) {
        ps_transfer_pump(transfer);
    }
}

void ps_transfer_call(struct ps_transfer *transfer)
{
    struct ps_client_pool *pool = choose(transfer);
    if (pool == NULL) {
        no_endpoint(transfer);
        return;
    }
    send_to(transfer, pool);
}

/* --- again ------------------------------------------------------------------------------------ */

/* A kept connection that the server had closed says nothing about the server: the same endpoint gets the
 * request on a new connection, and the retry budget is not touched. */
static bool retry_fresh(struct ps_transfer *transfer)
{
    struct ps_endpoint *endpoint = transfer->backend->endpoints[transfer->endpoint];
    struct ps_client_pool *pool = ps_pools_get(&transfer->lane->pools, transfer->gateway, transfer->backend, endpoint);
    if (pool == NULL) {
        return false;
    }
    transfer->fresh = true;
    transfer->call = NULL;
    send_to(transfer, pool);
    return true;
}

/* Forgets the answer that was begun, and sends to the endpoint that is booked. */
static void send_again(struct ps_transfer *transfer, struct ps_client_pool *pool)
{
    transfer->status = 0;
    transfer->call = NULL;
    ps_buf_clear(&transfer->headers);
    ps_transfer_end_scan(transfer);
    send_to(transfer, pool);
}

bool ps_transfer_retry(struct ps_transfer *transfer, enum ps_call_phase phase, bool stale)
{
    struct ps_backend *backend = transfer->backend;
    ps_time now = ps_loop_now(transfer->lane->loop);
    bool fully_sent = phase == PS_CALL_HEAD || phase == PS_CALL_BODY;
    struct ps_str method = transfer->head->method;
    if (transfer->started || transfer->retry_spoilt ||
        (fully_sent && !ps_route_is_idempotent(transfer->route, transfer->operation, method))) {
        return false;
    }
    if (stale && !transfer->fresh && phase != PS_CALL_BODY) {
        return retry_fresh(transfer);
    }
    if (transfer->attempts >= backend->retry.attempts + (transfer->fresh ? 1 : 0) ||
        !ps_backend_may_retry(backend, now)) {
        return false;
    }
    int before = transfer->endpoint;
    ps_transfer_unbook(transfer, PS_OUTCOME_FAILED);
    struct ps_client_pool *pool = choose(transfer);
    if (pool == NULL) {
        transfer->endpoint = -1;
        transfer->error = before >= 0 ? transfer->error : "no endpoint is usable";
        return false;
    }
    ps_traffic_retry(transfer->gateway->metrics, transfer->lane->shard, backend->index);
    send_again(transfer, pool);
    return true;
}

bool ps_transfer_elsewhere(struct ps_transfer *transfer)
{
    ps_time now = ps_loop_now(transfer->lane->loop);
    int before = transfer->endpoint;
    if (transfer->started || transfer->retry_spoilt) {
        return false;
    }
    transfer->endpoint = -1;
    struct ps_client_pool *pool = choose(transfer);
    if (pool == NULL) {
        transfer->endpoint = before;
        return false;
    }
    (void)ps_backend_done(transfer->backend, before, transfer->weight, PS_OUTCOME_OK, now);
    send_again(transfer, pool);
    return true;
}
