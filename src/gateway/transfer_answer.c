#include <stdio.h>

#include "gateway/traffic.h"
#include "gateway/transfer.h"
#include "gateway/transfer_http.h"
#include "gateway/tunnel.h"
#include "http/h1_write.h"

/* --- the head --------------------------------------------------------------------------------- */

static bool wants_trailers(const struct ps_transfer *transfer)
{
    const struct ps_h1_header *te = ps_h1_head_find(transfer->head, PS_H1_TE);
    return te != NULL && ps_str_contains(te->value, PS_STR("trailers"));
}

/* Everything that can fail did not: from here on the client gets this answer or a broken one. */
static int start_answer(struct ps_transfer *transfer)
{
    int err = transfer->pilot != NULL ? ps_pilot_begin(transfer)
                                      : ps_transfer_write_extra(transfer, &transfer->headers);
    if (err == PS_OK && transfer->pilot == NULL && transfer->fwd != PS_CACHE_FWD_NONE) {
        struct ps_cache_status status = {.fwd = (enum ps_cache_fwd)transfer->fwd,
                                         .fwd_status = transfer->status};
        err = ps_cache_status_write(&transfer->headers, &status);
    }
    if (err == PS_OK && transfer->pilot == NULL) {
        err = ps_exchange_start(transfer->exchange, transfer->status, PS_STR(""),
                                ps_buf_str(&transfer->headers), transfer->length);
    }
    transfer->started = err == PS_OK;
    ps_buf_fini(&transfer->headers);
    if (transfer->body_given) {
        ps_chunks_fini(&transfer->body); /* no retry is possible any more */
    }
    return err;
}

/* The answer can't go on: the client sees a broken connection, never a complete-looking one; an error, if
 * nothing was sent yet. */
static void break_off(struct ps_transfer *transfer, const char *why, enum ps_outcome outcome)
{
    struct ps_exchange *exchange = transfer->exchange;
    transfer->error = why;
    if (!transfer->started) {
        bool theirs = outcome == PS_OUTCOME_FAILED;
        struct ps_answer answer = {.status = theirs ? 502 : 503,
                                   .type = "server_error",
                                   .code = theirs ? "upstream_failed" : "no_memory",
                                   .retry_after = theirs ? 0 : PS_SECOND};
        ps_transfer_unbook(transfer, outcome);
        transfer->status = 0;
        ps_transfer_fail(transfer, &answer, "upstream %s failed in phase head: %s", transfer->backend->name, why);
        return;
    }
    if (transfer->pilot != NULL) {
        ps_transfer_finish(transfer, transfer->status, false, outcome);
        return;
    }
    ps_exchange_handle(exchange, NULL, NULL);
    ps_transfer_finish(transfer, transfer->status, false, outcome);
    ps_exchange_reset(exchange);
}

static void on_tunnel_end(void *ctx, uint64_t from_client, uint64_t from_upstream)
{
    struct ps_transfer *transfer = ctx;
    transfer->bytes_in += from_client;
    transfer->bytes_out += from_upstream;
    ps_server_gone(transfer->memo->server, &transfer->memo->peer);
    ps_transfer_finish(transfer, 101, true, PS_OUTCOME_OK);
}

static void switch_protocols(struct ps_transfer *transfer, const struct ps_h1_head *head)
{
    struct ps_buf out = ps_buf_make(PS_TRANSFER_HEAD_LIMIT);
    int err = ps_h1_write_status_line(&out, 101, PS_STR(""));
    err = err != PS_OK ? err : ps_h1_copy_end_to_end(&out, head, PS_H1_BIT(PS_H1_CONTENT_LENGTH), PS_H1_COPY_UPGRADE);
    err = err != PS_OK ? err : ps_h1_write_header(&out, PS_STR("X-Request-Id"), ps_str_from(transfer->request_id));
    err = err != PS_OK ? err : ps_buf_append_str(&out, PS_STR("Connection: Upgrade\r\n"));
    err = err != PS_OK ? err : ps_h1_write_head_end(&out);
    err = err != PS_OK ? err : ps_transfer_remember(transfer);
    if (err != PS_OK) {
        ps_buf_fini(&out);
        break_off(transfer, "out of memory", PS_OUTCOME_NONE);
        return;
    }
    struct ps_stream *upstream = ps_call_upgrade(transfer->call);
    transfer->call = NULL;
    struct ps_exchange *exchange = transfer->exchange;
    ps_span idle = transfer->route->idle_timeout > 0 ? transfer->route->idle_timeout
                                                     : transfer->backend->timeouts.idle;
    transfer->started = true;
    struct ps_lane *lane = transfer->lane;
    transfer->status = 101;
    transfer->exchange = NULL;
    struct ps_stream *client = ps_exchange_upgrade(exchange, ps_buf_str(&out));
    ps_buf_fini(&out);
    if (client == NULL) {
        ps_stream_free(upstream);
        ps_transfer_finish(transfer, 499, false, PS_OUTCOME_NONE);
    } else if (ps_tunnel_new(lane->loop, client, upstream, idle, &lane->tunnels, on_tunnel_end, transfer) !=
               PS_OK) {
        ps_server_gone(transfer->memo->server, &transfer->memo->peer);
        ps_transfer_finish(transfer, 101, false, PS_OUTCOME_NONE);
    }
}

static bool is_overload(int status)
{
    return status == 502 || status == 503 || status == 504;
}

/* What the server said of its jobs, for the calls that follow. */
static void learn(struct ps_transfer *transfer)
{
    if (transfer->job == NULL || transfer->endpoint < 0) {
        return;
    }
    if (transfer->status == 101) {
        ps_job_begin(transfer->job, 101);
    }
    struct ps_backend *backend = transfer->backend;
    ps_job_learn(transfer->job, transfer->request, backend, backend->endpoints[transfer->endpoint],
                 transfer->weight, ps_loop_now(transfer->lane->loop));
}

void ps_transfer_end_scan(struct ps_transfer *transfer)
{
    switch ((enum ps_transfer_form)transfer->form) {
    case PS_FORM_BYTES:
        break;
    case PS_FORM_JSON:
        ps_usage_reader_fini(&transfer->scan.reader);
        break;
    case PS_FORM_EVENTS:
        ps_sse_fini(&transfer->scan.sse);
        break;
    case PS_FORM_LINES:
        ps_ndjson_fini(&transfer->scan.lines);
        break;
    }
    transfer->form = PS_FORM_BYTES;
}

/* How to look at the body: by its type, when the request was read. */
static void begin_scan(struct ps_transfer *transfer, const struct ps_h1_head *head)
{
    if (!transfer->parsed) {
        return;
    }
    const struct ps_h1_header *header = ps_h1_head_find(head, PS_H1_CONTENT_TYPE);
    struct ps_str type = header == NULL ? PS_STR("") : header->value;
    enum ps_dialect dialect = transfer->operation->dialect;
    if (ps_str_istarts_with(type, PS_STR("text/event-stream"))) {
        transfer->form = PS_FORM_EVENTS;
        transfer->length = transfer->hide_usage ? PS_LENGTH_UNKNOWN : transfer->length;
        ps_sse_init(&transfer->scan.sse, PS_TRANSFER_EVENT_LIMIT);
    } else if (ps_str_istarts_with(type, PS_STR("application/x-ndjson"))) {
        transfer->form = PS_FORM_LINES;
        ps_ndjson_init(&transfer->scan.lines, PS_TRANSFER_LINE_LIMIT);
    } else {
        transfer->form = PS_FORM_JSON;
        ps_usage_reader_init(&transfer->scan.reader, dialect, &transfer->usage);
    }
    ps_usage_read_head(&transfer->usage, dialect, head);
}

/* Asks another server when this one has not got what was asked for. */
static bool go_elsewhere(struct ps_transfer *transfer)
{
    struct ps_call *call = transfer->call;
    bool elsewhere = ps_job_is_elsewhere(transfer->job, transfer->status, transfer->length) &&
                     ps_transfer_elsewhere(transfer);
    if (elsewhere) {
        ps_call_cancel(call);
    }
    return elsewhere;
}

static void on_head(void *ctx, const struct ps_h1_head *head)
{
    struct ps_transfer *transfer = ctx;
    transfer->status = head->status;
    if (head->status == 101) {
        if (transfer->upgrade) {
            learn(transfer);
            switch_protocols(transfer, head);
        } else {
            break_off(transfer, "101 without being asked", PS_OUTCOME_FAILED);
        }
        return;
    }
    if (is_overload(head->status)) {
        struct ps_call *call = transfer->call;
        if (ps_transfer_retry(transfer, PS_CALL_HEAD, false)) {
            ps_call_cancel(call);
            return;
        }
    }
    transfer->length = head->has_content_length ? head->content_length : PS_LENGTH_UNKNOWN;
    if (transfer->job != NULL) {
        if (go_elsewhere(transfer)) {
            return;
        }
        ps_job_begin(transfer->job, head->status);
    }
    begin_scan(transfer, head);
    struct ps_str id = ps_str_from(transfer->request_id);
    if (transfer->pilot != NULL) {
        ps_pilot_judge(transfer, head);
        id = PS_STR(""); /* each client's own */
    } else if (transfer->passes) {
        ps_http_reconsider(transfer, head);
    } else {
        ps_http_outdate(transfer, head);
    }
    if (ps_forward_response(&transfer->headers, head, id, transfer->cors) != PS_OK) {
        break_off(transfer, "out of memory", PS_OUTCOME_NONE);
    }
}

/* Who is still waiting for the answer that is being fetched: of a flight the first one. */
static struct ps_transfer *find_waiting(struct ps_transfer *transfer)
{
    struct ps_transfer *waiting = transfer->pilot != NULL ? transfer->pilot->leader : transfer;
    return waiting != NULL && waiting->exchange != NULL && !waiting->started ? waiting : NULL;
}

static void on_interim(void *ctx, const struct ps_h1_head *head)
{
    struct ps_transfer *waiting = find_waiting(ctx);
    struct ps_buf lines = ps_buf_make(PS_TRANSFER_HEAD_LIMIT);
    int err = PS_OK;
    /* 100 is between us and the upstream; others (103) concern the client, if it reads them. */
    bool wanted = waiting != NULL && head->status != 100 &&
                  ps_exchange_queued(waiting->exchange) <= PS_TRANSFER_HIGH_WATER;
    if (wanted && ps_h1_copy_end_to_end(&lines, head, 0, 0) == PS_OK) {
        err = ps_exchange_interim(waiting->exchange, head->status, ps_buf_str(&lines));
    }
    ps_buf_fini(&lines);
    if (err != PS_OK) {
        struct ps_exchange *exchange = waiting->exchange;
        waiting->error = "the client reads too slowly for the memory there is";
        ps_exchange_handle(exchange, NULL, NULL);
        ps_transfer_finish(waiting, 503, false, PS_OUTCOME_NONE);
        ps_exchange_reset(exchange);
    }
}

/* --- the body --------------------------------------------------------------------------------- */

static int put(struct ps_transfer *transfer, struct ps_str bytes)
{
    transfer->bytes_out += bytes.len;
    return transfer->pilot != NULL ? ps_pilot_record(transfer, bytes)
                                   : ps_exchange_write(transfer->exchange, bytes);
}

static void cork(struct ps_transfer *transfer)
{
    if (transfer->pilot == NULL) {
        ps_exchange_cork(transfer->exchange);
    }
}

/* Bytes of the splitter's own buffer don't live as long as a cork. */
static int put_now(struct ps_transfer *transfer, struct ps_str bytes)
{
    int err = put(transfer, bytes);
    if (transfer->pilot == NULL) {
        err = err != PS_OK ? err : ps_exchange_uncork(transfer->exchange);
        cork(transfer);
    }
    return err;
}

/* Usage that nobody asked for, or not everybody who reads the flight. */
static int put_hidden(struct ps_transfer *transfer, struct ps_str event)
{
    return transfer->pilot != NULL ? ps_flight_record(transfer->pilot->flight, event, true) : PS_OK;
}

static bool is_inside(struct ps_str part, struct ps_str whole)
{
    return part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len;
}

/* Forwards whole events in runs as long as possible, and leaves out the usage that nobody asked for. */
static int put_events(struct ps_transfer *transfer, struct ps_str data)
{
    struct ps_str input = data;
    struct ps_str run = {data.ptr, 0};
    struct ps_sse_event event;
    int err = PS_OK;
    enum ps_sse_result result;
    while (err == PS_OK && (result = ps_sse_next(&transfer->scan.sse, &input, &event)) != PS_SSE_MORE) {
        bool hidden = false;
        if (result == PS_SSE_EVENT && event.has_data) {
            struct ps_usage_event seen = ps_usage_read_event(&transfer->usage, transfer->operation->dialect,
                                                             event.data);
            hidden = seen.only_usage && (transfer->hide_usage || transfer->pilot != NULL);
            if (transfer->pilot != NULL) {
                ps_pilot_see(transfer, &seen, event.data);
            }
        }
        bool in_run = is_inside(event.raw, data) && event.raw.ptr == run.ptr + run.len;
        if (!hidden && in_run) {
            run.len += event.raw.len;
            continue;
        }
        err = put(transfer, run);
        if (err == PS_OK && hidden) {
            err = put_hidden(transfer, event.raw);
        } else if (err == PS_OK) {
            if (is_inside(event.raw, data)) {
                run = event.raw;
                continue;
            }
            err = put_now(transfer, event.raw);
        }
        run = (struct ps_str){input.ptr, 0};
    }
    return err == PS_OK ? put(transfer, run) : err;
}

static void read_line(struct ps_transfer *transfer, struct ps_str line)
{
    struct ps_usage_event seen =
        ps_usage_read_event(&transfer->usage, transfer->operation->dialect, line);
    if (transfer->pilot != NULL) {
        ps_pilot_see(transfer, &seen, line);
    }
}

/* Lines of JSON are passed on as they come. */
static void read_lines(struct ps_transfer *transfer, struct ps_str data)
{
    struct ps_str line;
    while (ps_ndjson_next(&transfer->scan.lines, &data, &line)) {
        read_line(transfer, line);
    }
}

static int put_body(struct ps_transfer *transfer, struct ps_str data)
{
    switch ((enum ps_transfer_form)transfer->form) {
    case PS_FORM_EVENTS:
        return put_events(transfer, data);
    case PS_FORM_JSON:
        ps_usage_reader_feed(&transfer->scan.reader, data);
        break;
    case PS_FORM_LINES:
        read_lines(transfer, data);
        break;
    case PS_FORM_BYTES:
        break;
    }
    if (transfer->job != NULL) {
        ps_job_read(transfer->job, data);
    }
    return put(transfer, data);
}

static void on_body(void *ctx, struct ps_str data)
{
    struct ps_transfer *transfer = ctx;
    int err = PS_OK;
    if (!transfer->started) {
        transfer->first_byte = ps_loop_now(transfer->lane->loop);
        err = start_answer(transfer);
    }
    cork(transfer);
    err = err != PS_OK ? err : put_body(transfer, data);
    if (err != PS_OK) {
        break_off(transfer, ps_err_text(err), PS_OUTCOME_NONE);
    }
}

static void on_batch(void *ctx)
{
    struct ps_transfer *transfer = ctx;
    if (!transfer->started) {
        return;
    }
    if (transfer->place.inside) {
        ps_census_follow(&transfer->backend->endpoints[transfer->endpoint]->census,
                         &transfer->place, transfer->usage.events);
    }
    if (transfer->pilot != NULL) {
        if (ps_pilot_tell(transfer)) {
            ps_call_pause(transfer->call);
        }
        return;
    }
    if (ps_exchange_uncork(transfer->exchange) != PS_OK) {
        break_off(transfer, "the client reads too slowly for the memory there is", PS_OUTCOME_NONE);
    } else if (ps_exchange_queued(transfer->exchange) > PS_TRANSFER_HIGH_WATER) {
        ps_call_pause(transfer->call);
    }
}

static void on_end(void *ctx, struct ps_str trailers)
{
    struct ps_transfer *transfer = ctx;
    struct ps_exchange *exchange = transfer->exchange;
    int err = PS_OK;
    transfer->call = NULL;
    if (!transfer->started) {
        err = start_answer(transfer);
    }
    if (err == PS_OK && transfer->form == PS_FORM_EVENTS) {
        struct ps_str rest = ps_sse_rest(&transfer->scan.sse);
        err = rest.len > 0 ? put_now(transfer, rest) : PS_OK;
    } else if (transfer->form == PS_FORM_LINES) {
        read_line(transfer, ps_ndjson_rest(&transfer->scan.lines));
    }
    if (err != PS_OK) {
        break_off(transfer, ps_err_text(err), PS_OUTCOME_NONE);
        return;
    }
    if (transfer->pilot != NULL) {
        struct ps_transfer *leader = transfer->pilot->leader;
        if (leader != NULL && wants_trailers(leader)) {
            ps_pilot_trail(transfer, trailers);
        }
        ps_pilot_land(transfer, is_overload(transfer->status) ? PS_OUTCOME_FAILED : PS_OUTCOME_OK);
        return;
    }
    learn(transfer);
    struct ps_str last = trailers.len > 0 && wants_trailers(transfer) ? trailers : PS_STR("");
    enum ps_outcome outcome = is_overload(transfer->status) ? PS_OUTCOME_FAILED : PS_OUTCOME_OK;
    ps_exchange_handle(exchange, NULL, NULL);
    ps_transfer_finish(transfer, transfer->status, true, outcome);
    ps_exchange_end(exchange, last);
}

static void on_drain(void *ctx)
{
    ps_transfer_pump(ctx);
}

/* Not even a connection could be tried: that is our own need and says nothing about the upstream. */
static bool is_shortage(const struct ps_call_error *error)
{
    return error->phase == PS_CALL_CONNECT && (error->err == PS_ELIMIT || error->err == PS_ENOMEM);
}

static void on_shortage(struct ps_transfer *transfer)
{
    struct ps_answer answer = {.status = 503, .type = "server_error", .code = "no_capacity", .retry_after = PS_SECOND};
    transfer->call = NULL;
    transfer->error = "out of descriptors or memory";
    ps_transfer_unbook(transfer, PS_OUTCOME_NONE);
    ps_transfer_fail(transfer, &answer, "no connection to upstream %s can be opened: %s", transfer->backend->name,
                     transfer->error);
}

static void on_error(void *ctx, const struct ps_call_error *error)
{
    struct ps_transfer *transfer = ctx;
    if (is_shortage(error)) {
        on_shortage(transfer);
        return;
    }
    struct ps_backend *backend = transfer->backend;
    const char *phase = ps_call_phase_text(error->phase);
    transfer->call = NULL;
    transfer->error = ps_err_text(error->err);
    ps_traffic_failure(transfer->gateway->metrics, transfer->lane->shard, backend->index,
                             error->phase);
    if (error->phase == PS_CALL_CONNECT && transfer->endpoint >= 0) {
        ps_pools_rotate(&transfer->lane->pools, backend->endpoints[transfer->endpoint]);
    }
    if (transfer->started) {
        break_off(transfer, ps_err_text(error->err), PS_OUTCOME_FAILED);
        return;
    }
    char detail[160];
    snprintf(detail, sizeof detail, "%s", error->detail);
    /* Only a close says that the connection was too old; a silent or talkative server is another matter. */
    bool stale = error->reused && (error->err == PS_ECLOSED || error->err == PS_ERESET);
    if (ps_transfer_retry(transfer, error->phase, stale)) {
        return;
    }
    bool late = error->err == PS_ETIMEOUT;
    struct ps_answer answer = {.status = late ? 504 : 502,
                               .type = "server_error",
                               .code = late ? "upstream_timeout" : "upstream_failed"};
    ps_transfer_unbook(transfer, PS_OUTCOME_FAILED);
    transfer->status = 0;
    ps_transfer_fail(transfer, &answer, "upstream %s failed in phase %s: %s", backend->name, phase, detail);
}

const struct ps_call_ops ps_transfer_call_ops = {on_interim, on_head, on_body, on_end,
                                                 on_error,   on_batch, on_drain};

void ps_transfer_on_drain(struct ps_transfer *transfer)
{
    if (transfer->call != NULL) {
        ps_call_resume(transfer->call);
    }
}
