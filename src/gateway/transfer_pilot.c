/* Transfers that fly: they call the upstream for everybody who asked the same; see transfer.h. */
#include <stdlib.h>
#include <string.h>

#include "gateway/json_view.h"
#include "gateway/cache_control.h"
#include "gateway/render.h"
#include "gateway/tier.h"
#include "gateway/transfer.h"
#include "gateway/transfer_cached.h"
#include "gateway/transfer_http.h"
#include "gateway/transfer_items.h"

/* --- the start -------------------------------------------------------------------------------- */

static void on_deserted(void *ctx)
{
    struct ps_transfer *transfer = ctx;
    transfer->error = "the client left";
    transfer->left = true;
    ps_transfer_finish(transfer, 499, false, PS_OUTCOME_NONE);
}

static void on_room(void *ctx)
{
    struct ps_transfer *transfer = ctx;
    if (transfer->call != NULL) {
        ps_call_resume(transfer->call);
    }
}

static struct ps_pilot *pilot_new(const struct ps_transfer *asker, const struct ps_flying *flying)
{
    struct ps_pilot *pilot = calloc(1, sizeof *pilot + ps_h1_head_copy_size(asker->head));
    if (pilot != NULL) {
        pilot->flight = flying->flight;
        pilot->key = *flying->key;
        pilot->ttl = flying->ttl;
        if (asker->request != NULL) {
            pilot->request = *asker->request;
        }
        pilot->peer = *ps_transfer_peer(asker);
        pilot->tls = ps_transfer_is_tls(asker);
        ps_h1_head_copy(&pilot->head, asker->head, pilot->memory);
        if (ps_http_pilot_new(pilot, asker) != PS_OK) {
            free(pilot);
            return NULL;
        }
        pilot->items = ps_pilot_items_new(flying->items, asker->body.budget);
    }
    return pilot;
}

/* Everything that the call needs goes over. */
static void move(struct ps_transfer *transfer, struct ps_transfer *asker)
{
    transfer->head = &transfer->pilot->head;
    transfer->route = asker->route;
    transfer->operation = asker->operation;
    transfer->tenant = asker->tenant;
    transfer->backend = asker->backend;
    transfer->price = asker->price;
    transfer->request = asker->request == NULL ? NULL : &transfer->pilot->request;
    transfer->edits = asker->edits;
    asker->edits = NULL;
    transfer->body = asker->body;
    asker->body = ps_chunks_make(transfer->body.budget);
    transfer->estimate = asker->estimate;
    transfer->weight = asker->weight;
    transfer->prompt = asker->prompt;
    transfer->parsed = asker->parsed;
    transfer->request_done = true;
    memcpy(transfer->request_id, asker->request_id, sizeof transfer->request_id);
}

/* Can whoever asked first be served with it? Its question has gone over to here. */
static bool suits(const struct ps_transfer *transfer, const struct ps_entry *entry)
{
    struct ps_buf other = ps_buf_make(PS_TRANSFER_RENDERED_MAX);
    int err = PS_OK;
    if (entry->kind == PS_ENTRY_EVENTS && !transfer->request->stream) {
        err = ps_render_json(ps_entry_body(entry), &other);
    } else if (entry->kind == PS_ENTRY_JSON && transfer->request->stream) {
        err = ps_render_events(ps_entry_body(entry), false, &other);
    }
    ps_buf_fini(&other);
    return err == PS_OK;
}

/* Redis has answered. */
static void on_fetched(void *ctx, struct ps_entry *entry)
{
    struct ps_transfer *transfer = ctx;
    struct ps_pilot *pilot = transfer->pilot;
    pilot->fetch = NULL;
    if (pilot->http != NULL) {
        ps_http_on_fetched(transfer, entry);
        return;
    }
    ps_time now = ps_clock_wall(ps_loop_clock(transfer->lane->loop));
    if (entry == NULL || ps_entry_freshness(entry, now) != PS_FRESH || !suits(transfer, entry)) {
        ps_entry_unref(entry);
        ps_transfer_enter_gate(transfer);
        return;
    }
    struct ps_flight_facts facts = {.endpoint = -1, .waited = -1};
    ps_flight_land(pilot->flight, entry, true, &facts);
    pilot->flight = NULL;
    pilot->served = true;
    ps_transfer_finish(transfer, 200, true, PS_OUTCOME_NONE);
}

int ps_pilot_fetch(struct ps_transfer *transfer)
{
    struct ps_pilot *pilot = transfer->pilot;
    return ps_tier_fetch(&pilot->fetch, transfer->lane->tier, &pilot->key, on_fetched, transfer);
}

static void refuse_start(struct ps_flight *flight)
{
    struct ps_flight_facts facts = {.endpoint = -1, .waited = -1};
    struct ps_flight_refusal refusal = {.status = 503,
                                        .code = "no_memory",
                                        .error = "out of memory",
                                        .retry_after = PS_SECOND,
                                        .text = "out of memory"};
    ps_flight_refuse(flight, &refusal, &facts);
}

void ps_transfer_fly(struct ps_transfer *asker, const struct ps_flying *flying)
{
    struct ps_transfer *transfer = ps_transfer_new(asker->lane, asker->gateway);
    struct ps_pilot *pilot = transfer == NULL ? NULL : pilot_new(asker, flying);
    if (pilot == NULL) {
        refuse_start(flying->flight);
        if (transfer != NULL) {
            ps_transfer_finish(transfer, 503, false, PS_OUTCOME_NONE);
        }
        return;
    }
    transfer->pilot = pilot;
    move(transfer, asker);
    if (flying->takes_limits) {
        transfer->grant = asker->grant;
        asker->grant.held = false;
        pilot->leader = asker;
        asker->cached->pilot = transfer;
    }
    struct ps_flight_pilot hears = {on_deserted, on_room, transfer};
    ps_flight_take_off(pilot->flight, &hears);
    if (!flying->ask_redis || ps_pilot_fetch(transfer) != PS_OK) {
        ps_transfer_enter_gate(transfer);
    }
}

/* --- the answer ------------------------------------------------------------------------------- */

/* Is the answer for the one who asked, or for nobody's memory? */
static bool forbids(const struct ps_h1_head *head)
{
    struct ps_cache_control cc;
    ps_cache_control_read(&cc, head);
    return ps_cc_has(&cc, PS_CC_NO_STORE) || ps_cc_has(&cc, PS_CC_PRIVATE) || cc.fields ||
           ps_h1_head_find_name(head, PS_STR("set-cookie")) != NULL;
}

void ps_pilot_judge(struct ps_transfer *transfer, const struct ps_h1_head *head)
{
    struct ps_pilot *pilot = transfer->pilot;
    const struct ps_h1_header *type = ps_h1_head_find(head, PS_H1_CONTENT_TYPE);
    if (pilot->http != NULL) {
        ps_http_judge(transfer, head);
        return;
    }
    pilot->personal = forbids(head);
    pilot->storable = head->status == 200 && !pilot->personal;
    pilot->framed = head->has_content_length || head->chunked;
    pilot->json = type != NULL && ps_str_contains(type->value, PS_STR("json"));
}

static enum ps_entry_kind kind_of(const struct ps_transfer *transfer)
{
    return transfer->form == PS_FORM_EVENTS ? PS_ENTRY_EVENTS
           : transfer->form == PS_FORM_JSON ? PS_ENTRY_JSON
                                            : PS_ENTRY_BYTES;
}

int ps_pilot_begin(struct ps_transfer *transfer)
{
    struct ps_flight_head head = {
        .status = transfer->status,
        .kind = kind_of(transfer),
        .lines = ps_buf_str(&transfer->headers),
        .length = transfer->length == PS_LENGTH_UNKNOWN ? PS_FLIGHT_LENGTH_UNKNOWN : transfer->length,
        .personal = transfer->pilot->personal,
    };
    if (transfer->pilot->http != NULL && !ps_http_begin(transfer, &head)) {
        return PS_OK;
    }
    return ps_flight_begin(transfer->pilot->flight, &head);
}

/* A member at the top of a JSON object, as it stands; empty when there is none. */
static struct ps_str member(struct ps_str json, struct ps_str wanted)
{
    struct ps_str name, value;
    if (ps_json_view_type(json) != '{' || ps_json_view_is_valid(json) != PS_OK) {
        return PS_STR("");
    }
    struct ps_str rest = ps_json_view_inside(json);
    while (ps_json_view_next_member(&rest, &name, &value)) {
        if (ps_str_eq(name, wanted)) {
            return value;
        }
    }
    return PS_STR("");
}

/* Does it say that something went wrong? */
static bool is_error(struct ps_str json)
{
    if (!ps_str_contains(json, PS_STR("\"error\""))) {
        return false;
    }
    struct ps_str error = member(json, PS_STR("error"));
    return (error.len > 0 && !ps_str_eq(error, PS_STR("null"))) ||
           ps_str_eq(member(json, PS_STR("object")), PS_STR("\"error\"")) ||
           ps_str_eq(member(json, PS_STR("type")), PS_STR("\"error\""));
}

/* Is it what the dialect's streams end with? */
static bool is_last(enum ps_dialect dialect, const struct ps_usage_event *event, struct ps_str data)
{
    switch (dialect) {
    case PS_DIALECT_ANTHROPIC:
        return ps_str_contains(data, PS_STR("\"message_stop\""));
    case PS_DIALECT_OLLAMA:
        return ps_str_eq(member(data, PS_STR("done")), PS_STR("true"));
    case PS_DIALECT_LLAMACPP:
        return ps_str_eq(member(data, PS_STR("stop")), PS_STR("true"));
    case PS_DIALECT_GENERATE: /* TGI's; SGLang says [DONE] */
        return event->done || ps_json_view_type(member(data, PS_STR("generated_text"))) == '"';
    default:
        return event->done;
    }
}

int ps_pilot_record(struct ps_transfer *transfer, struct ps_str bytes)
{
    ps_pilot_items_feed(transfer->pilot->items, bytes);
    return ps_flight_record(transfer->pilot->flight, bytes, false);
}

void ps_pilot_see(struct ps_transfer *transfer, const struct ps_usage_event *event,
                  struct ps_str data)
{
    struct ps_pilot *pilot = transfer->pilot;
    data = ps_json_view_trim(data);
    pilot->done = pilot->done || is_last(transfer->operation->dialect, event, data);
    pilot->storable = pilot->storable && !is_error(data);
}

bool ps_pilot_tell(struct ps_transfer *transfer)
{
    struct ps_flight *flight = transfer->pilot->flight;
    ps_flight_tell(flight);
    return ps_flight_must_wait(flight);
}

/* --- the end ---------------------------------------------------------------------------------- */

size_t ps_pilot_read_tags(const struct ps_transfer *transfer, struct ps_str tags[PS_ENTRY_TAGS_MAX])
{
    size_t count = 0;
    const struct ps_option_strings *of_route = &transfer->route->cache.tags;
    for (; count < of_route->count; count++) {
        tags[count] = ps_str_from(of_route->items[count]);
    }
    const struct ps_h1_header *header =
        ps_h1_head_find_name(transfer->head, PS_STR("x-penstock-cache-tags"));
    struct ps_str list = header == NULL ? PS_STR("") : header->value;
    struct ps_str tag;
    while (count < PS_ENTRY_TAGS_MAX && ps_str_split(&list, ',', &tag)) {
        tag = ps_str_trim(tag);
        if (tag.len > 0 && tag.len <= PS_ENTRY_NAME_MAX) {
            tags[count++] = tag;
        }
    }
    return count;
}

/* Is the answer what its status says, to its end? Triton's streams alone don't say that they end. */
static bool is_proper(const struct ps_transfer *transfer, struct ps_str body)
{
    const struct ps_pilot *pilot = transfer->pilot;
    body = ps_json_view_trim(body);
    switch ((enum ps_transfer_form)transfer->form) {
    case PS_FORM_EVENTS:
    case PS_FORM_LINES:
        return pilot->done ||
               (pilot->framed && transfer->operation->dialect == PS_DIALECT_KSERVE);
    case PS_FORM_JSON:
        if (pilot->json) {
            return ps_json_view_is_valid(body) == PS_OK && !is_error(body);
        }
        return pilot->framed;
    case PS_FORM_BYTES:
        return pilot->framed;
    }
    return false;
}

void ps_pilot_describe(const struct ps_transfer *transfer, struct ps_str tags[PS_ENTRY_TAGS_MAX],
                       struct ps_entry_spec *spec)
{
    const struct ps_pilot *pilot = transfer->pilot;
    const struct ps_route_cache_opts *how = &transfer->route->cache;
    struct ps_loop *loop = transfer->lane->loop;
    *spec = (struct ps_entry_spec){
        .status = transfer->status,
        .kind = kind_of(transfer),
        .head = ps_flight_head(pilot->flight)->lines,
        .route = ps_str_from(transfer->route->name),
        .model = {pilot->request.model, pilot->request.model_len},
        .tenant = ps_str_from(transfer->tenant == NULL ? "" : transfer->tenant->name),
        .tags = tags,
        .tags_count = ps_pilot_read_tags(transfer, tags),
        .born = ps_flight_born(pilot->flight),
        .stored = ps_clock_wall(ps_loop_clock(loop)),
        .fresh = pilot->ttl,
        .while_revalidate = how->stale,
        .if_error = how->stale_on_error,
        .seconds = ps_span_seconds(ps_loop_now(loop) - transfer->gate_since - transfer->waited),
        .prompt_tokens = transfer->usage.prompt_tokens,
        .completion_tokens = transfer->usage.completion_tokens,
    };
}

static int make_entry(const struct ps_transfer *transfer, struct ps_entry **out)
{
    const struct ps_pilot *pilot = transfer->pilot;
    struct ps_str tags[PS_ENTRY_TAGS_MAX];
    struct ps_entry_spec spec;
    size_t size = ps_flight_recorded(pilot->flight);
    char *body = malloc(size + 1);
    int err = body == NULL ? PS_ENOMEM : ps_flight_copy_body(pilot->flight, body, size);
    if (err == PS_OK && !is_proper(transfer, (struct ps_str){body, size})) {
        err = PS_EPARSE;
    }
    if (err != PS_OK) {
        free(body);
        return err;
    }
    ps_pilot_describe(transfer, tags, &spec);
    spec.body = (struct ps_str){body, size};
    spec.release = free;
    spec.release_ctx = body;
    return ps_entry_new(out, &spec);
}

/* The answer as an entry: remembered when it may be; else for those who need it in another form. */
static struct ps_entry *keep(const struct ps_transfer *transfer, bool *stored)
{
    const struct ps_pilot *pilot = transfer->pilot;
    struct ps_entry *entry = NULL;
    if (transfer->status != 200 || !ps_flight_is_whole(pilot->flight) ||
        make_entry(transfer, &entry) != PS_OK) {
        return NULL;
    }
    *stored = pilot->storable && ps_tier_store(transfer->lane->tier, &pilot->key, entry) == PS_OK;
    return entry;
}

static void land(struct ps_transfer *transfer, struct ps_flight_facts *facts)
{
    if (transfer->pilot->http != NULL) {
        ps_http_land(transfer, facts);
        return;
    }
    struct ps_entry *entry = NULL;
    if (transfer->pilot->items == NULL) {
        entry = keep(transfer, &facts->stored);
    } else if (transfer->status == 200 && transfer->pilot->storable) {
        facts->stored = ps_pilot_items_store(transfer);
    }
    ps_flight_land(transfer->pilot->flight, entry, false, facts);
}

void ps_pilot_end(struct ps_transfer *transfer)
{
    struct ps_pilot *pilot = transfer->pilot;
    if (pilot == NULL) {
        return;
    }
    if (pilot->leader != NULL) {
        pilot->leader->cached->pilot = NULL;
        pilot->leader = NULL;
    }
    ps_tier_cancel(pilot->fetch);
    pilot->fetch = NULL;
    struct ps_flight *flight = pilot->flight;
    if (flight == NULL) {
        return;
    }
    struct ps_flight_facts facts = {
        .attempts = transfer->attempts,
        .endpoint = transfer->endpoint,
        .waited = transfer->waited,
        .error = transfer->error,
        .usage = transfer->usage,
    };
    if (pilot->landed) {
        land(transfer, &facts);
    } else if (transfer->started) {
        ps_flight_crash(flight, &facts);
    } else {
        if (!pilot->refused) {
            pilot->refusal = (struct ps_flight_refusal){
                .status = 503, .code = "shut_down", .text = "the request was given up"};
        }
        ps_flight_refuse(flight, &pilot->refusal, &facts);
    }
    pilot->flight = NULL;
}

void ps_pilot_trail(struct ps_transfer *transfer, struct ps_str trailers)
{
    struct ps_transfer *leader = transfer->pilot->leader;
    if (leader != NULL && trailers.len > 0) {
        ps_buf_fini(&leader->cached->trailers);
        leader->cached->trailers = ps_buf_make(PS_TRANSFER_HEAD_LIMIT);
        PS_IGNORE(ps_buf_append_str(&leader->cached->trailers, trailers));
    }
}

void ps_pilot_free(struct ps_pilot *pilot)
{
    if (pilot != NULL) {
        ps_http_pilot_free(pilot->http);
        ps_pilot_items_free(pilot->items);
        free(pilot);
    }
}

void ps_pilot_land(struct ps_transfer *transfer, enum ps_outcome outcome)
{
    transfer->pilot->landed = true;
    ps_transfer_finish(transfer, transfer->status, true, outcome);
}

void ps_pilot_refuse(struct ps_transfer *transfer, const struct ps_answer *answer,
                     struct ps_str text)
{
    struct ps_pilot *pilot = transfer->pilot;
    struct ps_flight_refusal *refusal = &pilot->refusal;
    *refusal = (struct ps_flight_refusal){.status = answer->status,
                                          .type = answer->type,
                                          .code = answer->code,
                                          .error = transfer->error,
                                          .retry_after = answer->retry_after};
    size_t len = text.len < sizeof refusal->text ? text.len : sizeof refusal->text - 1;
    memcpy(refusal->text, text.ptr, len);
    pilot->refused = true;
    ps_transfer_finish(transfer, answer->status, false, PS_OUTCOME_NONE);
}
