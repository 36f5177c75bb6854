/* What clients get from memory, from Redis, or from the flight of another request; see transfer.h.
 *
 *      key -> memory -> fresh: send it                          nobody waits
 *                  |--> stale: send it, and fly for the next one
 *                  '--> nothing: take a seat in a flight, fly it if there is none
 *                            head -> same form: pass on what comes
 *                                    other form: wait for the end, render the entry
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/render.h"
#include "gateway/tier.h"
#include "gateway/transfer_cached.h"
#include "gateway/transfer_http.h"
#include "gateway/transfer_items.h"
#include "http/h1_write.h"

ps_time ps_cached_now(const struct ps_transfer *transfer)
{
    return ps_clock_wall(ps_loop_clock(transfer->lane->loop));
}

/* --- the head of an answer -------------------------------------------------------------------- */

/* Lines that are not for this client: the browser's, when we answer those ourselves, and the type,
 * when the form is another one. */
static bool is_left_out(const struct ps_transfer *transfer, struct ps_str line, bool other_form)
{
    bool cors = ps_str_istarts_with(line, PS_STR("access-control-")) ||
                ps_str_istarts_with(line, PS_STR("vary:"));
    return (transfer->cors && cors) ||
           (other_form && ps_str_istarts_with(line, PS_STR("content-type:")));
}

int ps_cached_write_lines(const struct ps_transfer *transfer, struct ps_str lines, bool other_form,
                       struct ps_buf *out)
{
    if (!transfer->cors && !other_form) {
        return ps_buf_append_str(out, lines);
    }
    int err = PS_OK;
    while (err == PS_OK && lines.len > 0) {
        struct ps_str line = ps_str_first(lines, ps_str_find(lines, '\n') + 1);
        lines = ps_str_skip(lines, line.len);
        err = is_left_out(transfer, line, other_form) ? PS_OK : ps_buf_append_str(out, line);
    }
    return err;
}

/* The rest, which is each client's own. */
int ps_cached_start(struct ps_transfer *transfer, const struct ps_cache_status *status,
                        int code, struct ps_buf *lines, uint64_t length)
{
    int err = ps_cache_status_write(lines, status);
    err = err != PS_OK ? err
                       : ps_h1_write_header(lines, PS_STR("X-Request-Id"),
                                            ps_str_from(transfer->request_id));
    err = err != PS_OK ? err : ps_transfer_write_extra(transfer, lines);
    if (err == PS_OK) {
        err = ps_exchange_start(transfer->exchange, code, PS_STR(""), ps_buf_str(lines), length);
    }
    transfer->started = err == PS_OK;
    transfer->status = code;
    transfer->first_byte = ps_loop_now(transfer->lane->loop);
    return err;
}

/* --- the end ---------------------------------------------------------------------------------- */

void ps_cached_cut(struct ps_transfer *transfer, const char *why)
{
    struct ps_exchange *exchange = transfer->exchange;
    transfer->error = why;
    ps_exchange_handle(exchange, NULL, NULL);
    ps_transfer_finish(transfer, transfer->status, false, PS_OUTCOME_NONE);
    ps_exchange_reset(exchange);
}

void ps_cached_finish(struct ps_transfer *transfer)
{
    struct ps_exchange *exchange = transfer->exchange;
    struct ps_buf trailers = transfer->cached->trailers;
    transfer->cached->trailers = ps_buf_make(0);
    ps_exchange_handle(exchange, NULL, NULL);
    ps_transfer_finish(transfer, transfer->status, true, PS_OUTCOME_NONE);
    ps_exchange_end(exchange, ps_buf_str(&trailers));
    ps_buf_fini(&trailers);
}

void ps_cached_fail_memory(struct ps_transfer *transfer)
{
    struct ps_answer answer = {.status = 503, .code = "no_memory", .retry_after = PS_SECOND};
    ps_transfer_fail(transfer, &answer, "too much is buffered at present");
}

/* --- an entry --------------------------------------------------------------------------------- */

void ps_cached_send(struct ps_transfer *transfer)
{
    struct ps_cached *cached = transfer->cached;
    while (cached->sent < cached->body.len &&
           ps_exchange_queued(transfer->exchange) <= PS_TRANSFER_HIGH_WATER) {
        struct ps_str piece = ps_str_first(ps_str_skip(cached->body, cached->sent), PS_TRANSFER_HIGH_WATER);
        if (ps_exchange_write(transfer->exchange, piece) != PS_OK) {
            ps_cached_cut(transfer, "the client reads too slowly for the memory there is");
            return;
        }
        cached->sent += piece.len;
        transfer->bytes_out += piece.len;
    }
    if (cached->sent == cached->body.len) {
        ps_cached_finish(transfer);
    }
}

/* The entry's body in the form that was asked for. PS_OK, or PS_EPARSE: it can't be had of this one. */
static int render(struct ps_transfer *transfer)
{
    struct ps_cached *cached = transfer->cached;
    const struct ps_entry *entry = cached->entry;
    const struct ps_request *request = transfer->request;
    bool events = entry->kind == PS_ENTRY_EVENTS;
    int err = PS_OK;
    cached->body = ps_entry_body(entry);
    cached->other_form = false;
    if (entry->status != 200 || entry->kind == PS_ENTRY_BYTES || !ps_cached_is_renderable(transfer)) {
        return PS_OK;
    }
    cached->other_form = events != request->stream;
    ps_buf_fini(&cached->rendered);
    cached->rendered = ps_buf_make(PS_TRANSFER_RENDERED_MAX);
    if (events && !request->stream) {
        err = ps_render_json(cached->body, &cached->rendered);
    } else if (!events && request->stream) {
        err = ps_render_events(cached->body, request->include_usage, &cached->rendered);
    } else if (events && !request->include_usage) {
        err = ps_render_without_usage(cached->body, &cached->rendered);
    } else {
        return PS_OK;
    }
    cached->body = ps_buf_str(&cached->rendered);
    return err;
}

static int start_entry(struct ps_transfer *transfer, const struct ps_cache_status *status)
{
    struct ps_cached *cached = transfer->cached;
    bool other_form = cached->other_form;
    const struct ps_entry *entry = cached->entry;
    struct ps_buf lines = ps_buf_make(PS_TRANSFER_HEAD_LIMIT);
    int err = ps_buf_reserve(&lines, ps_entry_head(entry).len + 512);
    err = err != PS_OK ? err : ps_cached_write_lines(transfer, ps_entry_head(entry), other_form, &lines);
    if (err == PS_OK && other_form) {
        err = ps_h1_write_header(&lines, PS_STR("Content-Type"),
                                 transfer->request->stream ? PS_STR("text/event-stream")
                                                           : PS_STR("application/json"));
    }
    if (err == PS_OK && status->fwd == PS_CACHE_FWD_NONE) {
        err = ps_cache_status_write_age(&lines, ps_entry_age(entry, ps_cached_now(transfer)));
    }
    err = err != PS_OK ? err : ps_cached_start(transfer, status, entry->status, &lines, cached->body.len);
    ps_buf_fini(&lines);
    return err;
}

/* Nothing of the cache is of use: the request goes its own way, if it still can. */
void ps_cached_go_alone(struct ps_transfer *transfer)
{
    if (transfer->cached->bare) {
        struct ps_answer answer = {.status = 502, .type = "server_error", .code = "upstream_failed"};
        ps_transfer_fail(transfer, &answer, "the answer can't be had in the form that was asked for");
        return;
    }
    ps_transfer_cache_leave(transfer);
    transfer->cache = PS_CACHE_MISS;
    ps_transfer_enter_gate(transfer);
}

/* Sends the entry, which is rendered. */
static void serve(struct ps_transfer *transfer, enum ps_cache_part part, const struct ps_cache_status *status)
{
    transfer->cache = (uint8_t)part;
    const struct ps_entry *entry = transfer->cached->entry;
    transfer->usage.prompt_tokens = entry->prompt_tokens;
    transfer->usage.completion_tokens = entry->completion_tokens;
    transfer->usage.has_prompt = entry->prompt_tokens > 0;
    transfer->usage.has_completion = entry->completion_tokens > 0;
    if (start_entry(transfer, status) != PS_OK) {
        ps_cached_fail_memory(transfer);
        return;
    }
    ps_cached_send(transfer);
}

/* From memory or Redis. */
static void serve_hit(struct ps_transfer *transfer, enum ps_cache_part part, struct ps_str where)
{
    const struct ps_entry *entry = transfer->cached->entry;
    struct ps_cache_status status = {.hit = true, .detail = where};
    status.has_ttl = entry->fresh != PS_NEVER;
    status.ttl = status.has_ttl ? entry->fresh - ps_entry_age(entry, ps_cached_now(transfer)) : 0;
    serve(transfer, part, &status);
}

/* --- a flight --------------------------------------------------------------------------------- */

void ps_cached_take_facts(struct ps_cached *cached)
{
    enum ps_flight_state state = ps_flight_state(cached->seat.flight);
    if (cached->leads && state > PS_FLIGHT_OPEN) {
        cached->facts = *ps_flight_facts(cached->seat.flight);
        cached->has_facts = true;
    } else if (state == PS_FLIGHT_LANDED) { /* what it would have taken */
        cached->transfer->usage = ps_flight_facts(cached->seat.flight)->usage;
    }
}

static struct ps_cache_status flight_status(const struct ps_transfer *transfer)
{
    const struct ps_cached *cached = transfer->cached;
    return (struct ps_cache_status){
        .fwd = cached->entry != NULL ? PS_CACHE_FWD_STALE : PS_CACHE_FWD_URI_MISS,
        .collapsed = !cached->leads,
        .fwd_status = ps_flight_head(cached->seat.flight)->status,
    };
}

void ps_cached_pass_on(struct ps_transfer *transfer)
{
    struct ps_cached *cached = transfer->cached;
    struct ps_flight_seat *seat = &cached->seat;
    if (ps_flight_is_behind(seat)) {
        ps_cached_cut(transfer, "the client reads too slowly for the others who get this answer");
        return;
    }
    while (ps_exchange_queued(transfer->exchange) <= PS_TRANSFER_HIGH_WATER) {
        enum ps_flight_state state = ps_flight_state(seat->flight);
        struct ps_str piece = ps_flight_peek(seat, cached->hide);
        if (piece.len > 0) {
            if (ps_exchange_write(transfer->exchange, piece) != PS_OK) {
                ps_cached_cut(transfer, "the client reads too slowly for the memory there is");
                return;
            }
            transfer->bytes_out += piece.len;
            ps_flight_read_on(seat, piece.len);
        } else if (state == PS_FLIGHT_LANDED) {
            ps_cached_take_facts(cached);
            ps_cached_finish(transfer);
            return;
        } else if (state == PS_FLIGHT_CRASHED) {
            ps_cached_take_facts(cached);
            const char *error = ps_flight_facts(seat->flight)->error;
            ps_cached_cut(transfer, error != NULL ? error : "the answer broke off");
            return;
        } else {
            return;
        }
    }
}

static void start_live(struct ps_transfer *transfer)
{
    struct ps_cached *cached = transfer->cached;
    const struct ps_flight_head *head = ps_flight_head(cached->seat.flight);
    struct ps_cache_status status = flight_status(transfer);
    struct ps_buf lines = ps_buf_make(PS_TRANSFER_HEAD_LIMIT);
    cached->live = true;
    cached->hide = head->kind == PS_ENTRY_EVENTS && ps_request_adds_usage(transfer->request);
    int err = ps_cached_write_lines(transfer, head->lines, false, &lines);
    err = err != PS_OK ? err
                       : ps_cached_start(transfer, &status, head->status, &lines,
                                      head->length == PS_FLIGHT_LENGTH_UNKNOWN || cached->hide
                                          ? PS_LENGTH_UNKNOWN
                                          : head->length);
    ps_buf_fini(&lines);
    if (err != PS_OK) {
        ps_cached_fail_memory(transfer);
        return;
    }
    ps_chunks_fini(&transfer->body); /* it will not have to ask by itself */
    ps_cached_pass_on(transfer);
}

static void serve_fallback(struct ps_transfer *transfer, int fwd_status)
{
    struct ps_cache_status status = {.fwd = PS_CACHE_FWD_STALE, .fwd_status = fwd_status};
    ps_cached_take_facts(transfer->cached);
    ps_flight_leave(&transfer->cached->seat);
    serve(transfer, PS_CACHE_STALE, &status);
}

/* Is there an old answer that may be sent when the upstream fails? */
static bool has_fallback(struct ps_transfer *transfer)
{
    return transfer->cached->entry != NULL && render(transfer) == PS_OK;
}

void ps_cached_refuse(struct ps_transfer *transfer)
{
    struct ps_flight_refusal refusal = *ps_flight_refusal(transfer->cached->seat.flight);
    struct ps_answer answer = {.status = refusal.status,
                               .type = refusal.type,
                               .code = refusal.code,
                               .retry_after = refusal.retry_after};
    ps_cached_take_facts(transfer->cached);
    transfer->error = refusal.error;
    ps_transfer_fail(transfer, &answer, "%s", refusal.text);
}

static void refused(struct ps_transfer *transfer)
{
    struct ps_cached *cached = transfer->cached;
    if (ps_flight_refusal(cached->seat.flight)->status >= 500 && has_fallback(transfer)) {
        serve_fallback(transfer, 0);
    } else {
        ps_cached_refuse(transfer);
    }
}

/* The flight ended with an entry: one from a cache, or the whole of what was recorded. */
static void serve_landed(struct ps_transfer *transfer)
{
    struct ps_cached *cached = transfer->cached;
    struct ps_flight *flight = cached->seat.flight;
    bool known = ps_flight_is_cached(flight);
    struct ps_cache_status status = {0};
    ps_cached_take_facts(cached);
    if (!known) {
        status = flight_status(transfer);
        status.stored = ps_flight_facts(flight)->stored;
    }
    ps_entry_unref(cached->entry);
    cached->entry = ps_entry_ref(ps_flight_entry(flight));
    ps_flight_leave(&cached->seat);
    if (render(transfer) != PS_OK) {
        ps_cached_go_alone(transfer);
    } else if (known) {
        serve_hit(transfer, PS_CACHE_HIT, PS_STR("L2"));
    } else {
        serve(transfer, cached->leads ? PS_CACHE_MISS : PS_CACHE_COLLAPSED, &status);
    }
}

/* Is the stream asked for as a whole, or the other way round? */
static bool is_other_form(const struct ps_transfer *transfer, const struct ps_flight_head *head)
{
    return head->status == 200 && head->kind != PS_ENTRY_BYTES && ps_cached_is_renderable(transfer) &&
           (head->kind == PS_ENTRY_EVENTS) != transfer->request->stream;
}

static void has_head(struct ps_transfer *transfer, enum ps_flight_state state)
{
    struct ps_cached *cached = transfer->cached;
    struct ps_flight *flight = cached->seat.flight;
    const struct ps_flight_head *head = ps_flight_head(flight);
    if (head->status >= 500 && has_fallback(transfer)) {
        serve_fallback(transfer, head->status);
    } else if (head->personal && !cached->leads) {
        ps_cached_go_alone(transfer);
    } else if (cached->leads || !is_other_form(transfer, head)) {
        start_live(transfer);
    } else if (state == PS_FLIGHT_LANDED && ps_flight_entry(flight) != NULL) {
        serve_landed(transfer);
    } else if (state != PS_FLIGHT_OPEN || !ps_flight_is_whole(flight)) {
        ps_cached_go_alone(transfer);
    }
}

static void on_news(struct ps_flight_seat *seat)
{
    struct ps_cached *cached = PS_CONTAINER_OF(seat, struct ps_cached, seat);
    struct ps_transfer *transfer = cached->transfer;
    enum ps_flight_state state = ps_flight_state(seat->flight);
    if (cached->live) {
        ps_cached_pass_on(transfer);
    } else if (transfer->items != NULL && ps_transfer_items_hear(transfer)) {
        return;
    } else if (state == PS_FLIGHT_REFUSED) {
        refused(transfer);
    } else if (state == PS_FLIGHT_LANDED && ps_flight_is_cached(seat->flight)) {
        serve_landed(transfer);
    } else if (state != PS_FLIGHT_WAITING) {
        has_head(transfer, state);
    }
}

/* --- asking ----------------------------------------------------------------------------------- */

/* For struct ps_flight_spec, with the transfer as ctx. */
static bool is_purged(void *ctx, struct ps_entry *probe, const struct ps_key *key)
{
    const struct ps_transfer *transfer = ctx;
    (void)key; /* the flight's, which is not always the answer's */
    return ps_l1_is_purged(ps_tiers_l1(transfer->gateway->tiers), &transfer->cached->key, probe);
}

/* Takes a seat, or for somebody who is not here any more none. False: it has to go alone. */
enum ps_flight_role ps_cached_join(struct ps_transfer *transfer, bool refresh,
                                   struct ps_flight_seat *seat, struct ps_flight **out)
{
    const struct ps_request *request = transfer->request;
    struct ps_key key = transfer->cached->key;
    struct ps_str tags[PS_ENTRY_TAGS_MAX];
    /* Who wants it anew must not get what is only being fetched from Redis. */
    key.bytes[PS_KEY_BYTES - 1] ^= refresh ? 1 : 0;
    struct ps_flight_spec spec = {
        .key = &key,
        .route = ps_str_from(transfer->route->name),
        .tenant = ps_str_from(transfer->tenant == NULL ? "" : transfer->tenant->name),
        .tags = tags,
        .tags_count = ps_pilot_read_tags(transfer, tags),
        .born = ps_cached_now(transfer),
        .budget = transfer->gateway->budget,
        .is_purged = is_purged,
        .ctx = transfer,
    };
    if (request != NULL) {
        spec.model = (struct ps_str){request->model, request->model_len};
    }
    return ps_flights_join(transfer->gateway->flights, &spec, &transfer->lane->desk, seat, out);
}

bool ps_cached_take_off(struct ps_transfer *transfer, const struct ps_cached_wish *wish, struct ps_flight_seat *seat)
{
    struct ps_cached *cached = transfer->cached;
    struct ps_flight *flight = NULL;
    struct ps_entry *entry = NULL;
    enum ps_flight_role role = ps_cached_join(transfer, wish->refresh, seat, &flight);
    if (role != PS_FLIGHT_LEADS) {
        return role == PS_FLIGHT_JOINED;
    }
    cached->leads = seat != NULL;
    /* Another flight may have landed between the look into memory and this one's start. */
    if (!wish->refresh && seat != NULL &&
        ps_tiers_peek(transfer->gateway->tiers, &cached->key, ps_cached_now(transfer), &entry) == PS_L1_HIT) {
        struct ps_flight_facts facts = {.endpoint = -1, .waited = -1};
        ps_flight_land(flight, entry, true, &facts);
        return true;
    }
    ps_entry_unref(entry);
    struct ps_flying flying = {
        .flight = flight,
        .key = &cached->key,
        .ttl = wish->ttl > 0 ? wish->ttl : transfer->route->cache.ttl,
        .items = ps_transfer_items_flying(transfer),
        .ask_redis = !wish->refresh && seat != NULL && transfer->items == NULL,
        .takes_limits = seat != NULL,
    };
    cached->bare = true;
    ps_transfer_fly(transfer, &flying);
    return true;
}

static bool look(struct ps_transfer *transfer, const struct ps_cached_wish *wish)
{
    struct ps_cached *cached = transfer->cached;
    enum ps_l1_answer answer =
        ps_tiers_get(transfer->gateway->tiers, &cached->key, ps_cached_now(transfer), &cached->entry);
    if ((answer == PS_L1_HIT || answer == PS_L1_STALE) && render(transfer) != PS_OK) {
        ps_entry_unref(cached->entry);
        cached->entry = NULL;
        return false;
    }
    switch (answer) {
    case PS_L1_HIT:
        serve_hit(transfer, PS_CACHE_HIT, PS_STR("L1"));
        return true;
    case PS_L1_STALE:
        if (!wish->only_cached) {
            (void)ps_cached_take_off(transfer, wish, NULL);
        }
        serve_hit(transfer, PS_CACHE_STALE, PS_STR("L1"));
        return true;
    case PS_L1_MISS:
    case PS_L1_FALLBACK:
        return false;
    }
    return false;
}

void ps_cached_fail_uncached(struct ps_transfer *transfer)
{
    struct ps_answer answer = {.status = 504, .code = "not_cached"};
    ps_transfer_fail(transfer, &answer, "the answer is not in memory, and the request wants no other");
}

bool ps_transfer_ask_cache(struct ps_transfer *transfer)
{
    struct ps_key key;
    struct ps_key_job *job = NULL;
    if (transfer->lane->tier == NULL || transfer->route->cache.use == PS_NO) {
        return false;
    }
    if (ps_http_is_about(transfer)) {
        return ps_http_ask(transfer);
    }
    if (transfer->route->cache.use != PS_YES) {
        return false;
    }
    struct ps_cached_wish wish = ps_cached_read_wish(transfer->head);
    transfer->cache = PS_CACHE_BYPASS;
    if (wish.no_store || !ps_cached_is_cacheable(transfer) || ps_cached_make_key(transfer, &job, &key) != PS_OK) {
        return false;
    }
    struct ps_cached *cached = calloc(1, sizeof *cached);
    if (cached == NULL) {
        ps_key_job_free(job);
        return false;
    }
    cached->transfer = transfer;
    cached->key = key;
    cached->seat.on_news = on_news;
    transfer->cached = cached;
    transfer->cache = PS_CACHE_MISS;
    bool several = ps_transfer_items_new(transfer, job, &wish) == PS_OK;
    ps_key_job_free(job);
    if (several) {
        ps_transfer_items_start(transfer);
        return true;
    }
    if (!wish.refresh && look(transfer, &wish)) {
        return true;
    }
    if (wish.only_cached) {
        ps_cached_fail_uncached(transfer);
        return true;
    }
    if (!ps_cached_take_off(transfer, &wish, &cached->seat)) {
        ps_transfer_cache_leave(transfer);
        return false;
    }
    transfer->cache = cached->leads ? PS_CACHE_MISS : PS_CACHE_COLLAPSED;
    return true;
}

void ps_transfer_cache_drain(struct ps_transfer *transfer)
{
    struct ps_cached *cached = transfer->cached;
    if (cached->live) {
        ps_cached_pass_on(transfer);
    } else if (transfer->started && !ps_transfer_items_drain(transfer)) {
        ps_cached_send(transfer);
    }
}

void ps_transfer_cache_leave(struct ps_transfer *transfer)
{
    struct ps_cached *cached = transfer->cached;
    ps_transfer_items_leave(transfer);
    if (cached != NULL) {
        if (cached->pilot != NULL) {
            cached->pilot->pilot->leader = NULL;
        }
        ps_buf_fini(&cached->trailers);
        ps_flight_leave(&cached->seat);
        ps_entry_unref(cached->entry);
        ps_buf_fini(&cached->rendered);
        free(cached->http);
        free(cached);
        transfer->cached = NULL;
    }
}

bool ps_transfer_is_served(const struct ps_transfer *transfer)
{
    return transfer->pilot != NULL ? transfer->pilot->served
                                   : transfer->cached != NULL && transfer->started;
}

const char *ps_transfer_cache_text(const struct ps_transfer *transfer)
{
    static const char *const texts[PS_CACHE_PARTS] = {NULL, "bypass", "miss", "collapsed", "stale", "hit"};
    return texts[transfer->cache];
}

const struct ps_flight_facts *ps_transfer_flight_facts(const struct ps_transfer *transfer)
{
    const struct ps_cached *cached = transfer->cached;
    return cached != NULL && cached->has_facts ? &cached->facts : NULL;
}
