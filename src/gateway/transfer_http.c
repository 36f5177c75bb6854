/* What clients get by GET and HEAD from memory or a flight; see transfer_http.h. */
#include "gateway/transfer_http.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gateway/outdate.h"
#include "gateway/range.h"
#include "gateway/tier.h"
#include "gateway/validator.h"

/* Bodies of markers that are none of Vary's. */
#define PASS     PS_STR("pass")   /* its answers are not for others */
#define GONE     PS_STR("gone")   /* what was here is not what it is any more */
#define PASS_FOR (10 * PS_MINUTE) /* or until there is one that is */
#define GONE_FOR PS_MINUTE

#define GUESS_MAX (24 * PS_HOUR) /* a lifetime that nobody gave */
#define KEEP      (24 * PS_HOUR) /* of what is stale, to be validated; L1's max_age bounds it too */

/* --- may it be asked? ------------------------------------------------------------------------- */

bool ps_http_is_about(const struct ps_transfer *transfer)
{
    const struct ps_h1_head *head = transfer->head;
    bool get = head->method_id == PS_H1_METHOD_GET || head->method_id == PS_H1_METHOD_HEAD;
    bool body = head->chunked || (head->has_content_length && head->content_length > 0);
    return get && !body && !transfer->parsed && !transfer->upgrade && transfer->job == NULL;
}

struct ps_freshness_policy ps_http_policy(const struct ps_transfer *transfer)
{
    return (struct ps_freshness_policy){
        .guess_max = GUESS_MAX,
        .keep = KEEP,
        .while_revalidate = transfer->route->cache.stale,
        .if_error = transfer->route->cache.stale_on_error,
        .own_authorization = transfer->tenant != NULL,
    };
}

static bool wants(const struct ps_transfer *transfer, struct ps_str what)
{
    const struct ps_h1_header *header =
        ps_h1_head_find_name(transfer->head, PS_STR("X-Penstock-Cache"));
    return header != NULL && ps_str_ieq(header->value, what);
}

/* --- keys ------------------------------------------------------------------------------------- */

/* What else the upstream hears of where it was asked: forward.c writes it. */
static int write_origin(const struct ps_transfer *transfer, struct ps_buf *out)
{
    static const struct ps_str names[] = {PS_STR_INIT("X-Forwarded-Proto"),
                                          PS_STR_INIT("X-Forwarded-Host")};
    const char *revision = transfer->backend->revision;
    bool trusted = ps_gateway_trusts(transfer->gateway, ps_transfer_peer(transfer));
    int err = ps_buf_printf(out, "%s\n%s\n", revision == NULL ? "" : revision,
                            ps_transfer_is_tls(transfer) ? "https" : "http");
    struct ps_str host = transfer->head->host;
    if (err == PS_OK && transfer->edits != NULL) { /* the path names another model upstream */
        err = ps_buf_append_str(out, transfer->edits->path.insert);
        err = err != PS_OK ? err : ps_buf_append(out, "\n", 1);
    }
    for (size_t i = 0; i < host.len && err == PS_OK; i++) {
        char c = host.ptr[i] >= 'A' && host.ptr[i] <= 'Z' ? (char)(host.ptr[i] + 32) : host.ptr[i];
        err = ps_buf_append(out, &c, 1);
    }
    for (size_t i = 0; trusted && i < 2 && err == PS_OK; i++) {
        const struct ps_h1_header *header = ps_h1_head_find_name(transfer->head, names[i]);
        err = ps_buf_append(out, "\n", 1);
        err = err != PS_OK || header == NULL ? err : ps_buf_append_str(out, header->value);
    }
    return err;
}

int ps_http_key(const struct ps_transfer *transfer, const struct ps_route *route,
                struct ps_str target, struct ps_key *out)
{
    struct ps_buf origin = ps_buf_make(64 * 1024);
    struct ps_key_job *job = NULL;
    int err = write_origin(transfer, &origin);
    struct ps_key_scope scope = {
        .tenant = ps_str_from(transfer->tenant == NULL ? "" : transfer->tenant->name),
        .any_tenant = route->cache.shared,
        .route = ps_str_from(route->name),
        .upstream = ps_str_from(transfer->gateway->backends[route->upstream]->name),
        .revision = ps_buf_str(&origin),
        .method = PS_STR("GET"),
        .path = target,
    };
    if (err == PS_OK) {
        err =
            ps_key_job_new(&job, transfer->lane->keyer, &scope, PS_KEY_RAW, transfer->body.budget);
    }
    err = err != PS_OK ? err : ps_key_job_end(job, out);
    ps_key_job_free(job);
    ps_buf_fini(&origin);
    return err;
}

/* --- memory ----------------------------------------------------------------------------------- */

static void read_marker(struct ps_transfer *transfer, struct ps_http *http,
                        const struct ps_entry *marker, struct ps_key *key)
{
    struct ps_vary vary;
    if (ps_vary_read_marker(ps_entry_body(marker), &vary, &http->mark) == PS_OK) {
        http->marked = ps_vary_key(&vary, http->mark, &http->primary, transfer->head, key) == PS_OK;
    }
}

enum ps_http_found ps_http_find(struct ps_transfer *transfer, struct ps_http *http, bool counts,
                                struct ps_key *key, struct ps_entry **out)
{
    struct ps_tiers *tiers = transfer->gateway->tiers;
    ps_time now = ps_cached_now(transfer);
    struct ps_entry *entry = NULL;
    bool pass = false;
    *key = http->primary;
    http->marked = false;
    (void)ps_tiers_peek(tiers, &http->primary, now, &entry);
    if (entry != NULL && entry->kind == PS_ENTRY_VARY) {
        pass = ps_str_eq(ps_entry_body(entry), PASS);
        read_marker(transfer, http, entry, key);
    }
    ps_entry_unref(entry);
    entry = NULL;
    if (pass) {
        return PS_HTTP_PASS;
    }
    (void)(counts ? ps_tiers_get(tiers, key, now, &entry) : ps_tiers_peek(tiers, key, now, &entry));
    if (entry != NULL && entry->kind != PS_ENTRY_VARY) {
        *out = entry;
        return PS_HTTP_ENTRY;
    }
    ps_entry_unref(entry);
    return PS_HTTP_NOTHING;
}

static struct ps_entry *make_word(const struct ps_transfer *transfer, struct ps_str body,
                                  ps_span fresh)
{
    struct ps_entry *entry = NULL;
    struct ps_entry_spec spec = {
        .status = 200,
        .kind = PS_ENTRY_VARY,
        .body = body,
        .route = ps_str_from(transfer->route->name),
        .tenant = ps_str_from(transfer->tenant == NULL ? "" : transfer->tenant->name),
        .born = ps_cached_now(transfer),
        .stored = ps_cached_now(transfer),
        .fresh = fresh,
    };
    return ps_entry_new(&entry, &spec) == PS_OK ? entry : NULL;
}

/* Waited for what was not for others. */
static void leave_word(struct ps_transfer *transfer)
{
    const struct ps_key *primary = &transfer->cached->http->primary;
    struct ps_tiers *tiers = transfer->gateway->tiers;
    struct ps_entry *entry = NULL;
    (void)ps_tiers_peek(tiers, primary, ps_cached_now(transfer), &entry);
    if (entry == NULL) {
        entry = make_word(transfer, PASS, PASS_FOR);
        if (entry != NULL) {
            PS_IGNORE(ps_l1_put(ps_tiers_l1(tiers), primary, entry));
        }
    }
    ps_entry_unref(entry);
}

/* --- sending ---------------------------------------------------------------------------------- */

/* What of an entry a request means. */
struct shape {
    int status;
    struct ps_str body;
    struct ps_range range; /* 206 */
};

/* A part that there is not is the upstream's to refuse: PS_EINVAL. */
static int choose_part(const struct ps_transfer *transfer, const struct ps_kept *kept,
                       struct shape *shape)
{
    struct ps_str asked = ps_transfer_header(transfer, PS_H1_RANGE);
    if (transfer->head->method_id != PS_H1_METHOD_GET || asked.len == 0 ||
        !ps_range_is_allowed(transfer->head, &kept->head)) {
        return PS_OK;
    }
    int err = ps_range_parse(asked, shape->body.len, &shape->range);
    if (err == PS_OK) {
        shape->status = 206;
        shape->body = ps_str_skip(shape->body, shape->range.first);
        shape->body = ps_str_first(shape->body, shape->range.last - shape->range.first + 1);
    }
    return err == PS_EINVAL ? PS_EINVAL : PS_OK;
}

static int choose_shape(const struct ps_transfer *transfer, const struct ps_entry *entry,
                        struct ps_kept *kept, struct shape *shape)
{
    const struct ps_freshness_request *asked = &transfer->cached->http->asked;
    *shape = (struct shape){.status = entry->status, .body = ps_entry_body(entry)};
    if (entry->status != 200 || (!asked->conditional && !asked->range) ||
        ps_kept_read(kept, ps_entry_head(entry), 200) != PS_OK) {
        return PS_OK;
    }
    if (asked->conditional &&
        ps_validator_is_unmodified(transfer->head, &kept->head, entry->stored)) {
        shape->status = 304;
        shape->body = PS_STR("");
        return PS_OK;
    }
    return choose_part(transfer, kept, shape);
}

static int write_lines(const struct ps_transfer *transfer, const struct ps_entry *entry,
                       const struct ps_kept *kept, const struct shape *shape, struct ps_buf *out)
{
    if (shape->status != 304) {
        int err = ps_cached_write_lines(transfer, ps_entry_head(entry), false, out);
        bool part = err == PS_OK && shape->status == 206;
        return part ? ps_range_write(out, &shape->range, ps_entry_body(entry).len) : err;
    }
    struct ps_buf lines = ps_buf_make(PS_TRANSFER_HEAD_LIMIT);
    int err = ps_kept_write_not_modified(&lines, kept);
    err = err != PS_OK ? err : ps_cached_write_lines(transfer, ps_buf_str(&lines), false, out);
    ps_buf_fini(&lines);
    return err;
}

static bool has_part(const struct ps_transfer *transfer)
{
    struct ps_kept kept;
    struct shape shape;
    return choose_shape(transfer, transfer->cached->entry, &kept, &shape) == PS_OK;
}

/* Sends cached->entry. False: the part that is asked for is not in it. */
static bool serve(struct ps_transfer *transfer, enum ps_cache_part part,
                  struct ps_cache_status *status)
{
    struct ps_cached *cached = transfer->cached;
    struct ps_kept kept;
    struct shape shape;
    if (choose_shape(transfer, cached->entry, &kept, &shape) != PS_OK) {
        return false;
    }
    struct ps_buf lines = ps_buf_make(PS_TRANSFER_HEAD_LIMIT);
    ps_span age = ps_entry_age(cached->entry, ps_cached_now(transfer));
    cached->body = shape.body;
    status->has_ttl = cached->entry->fresh != PS_NEVER;
    status->ttl = status->has_ttl ? cached->entry->fresh - age : 0;
    transfer->cache = (uint8_t)part;
    int err = write_lines(transfer, cached->entry, &kept, &shape, &lines);
    err = err != PS_OK ? err : ps_cache_status_write_age(&lines, age);
    err = err != PS_OK ? err
                       : ps_cached_start(transfer, status, shape.status, &lines, shape.body.len);
    ps_buf_fini(&lines);
    if (err != PS_OK) {
        ps_cached_fail_memory(transfer);
    } else {
        ps_cached_send(transfer);
    }
    return true;
}

static bool serve_hit(struct ps_transfer *transfer, enum ps_cache_part part, struct ps_str where)
{
    struct ps_cache_status status = {.hit = true, .detail = where};
    return serve(transfer, part, &status);
}

/* --- a flight --------------------------------------------------------------------------------- */

static enum ps_cache_fwd why_asked(const struct ps_cached *cached)
{
    return cached->entry != NULL   ? cached->http->use.fwd
           : cached->http->refresh ? PS_CACHE_FWD_REQUEST
           : cached->http->marked  ? PS_CACHE_FWD_VARY_MISS
                                   : PS_CACHE_FWD_URI_MISS;
}

static void go_alone(struct ps_transfer *transfer)
{
    transfer->fwd = (uint8_t)why_asked(transfer->cached);
    ps_cached_go_alone(transfer);
}

/* The upstream failed, and the entry may be sent instead. */
static bool serve_fallback(struct ps_transfer *transfer, int fwd_status)
{
    struct ps_cached *cached = transfer->cached;
    struct ps_cache_status status = {.fwd = PS_CACHE_FWD_STALE, .fwd_status = fwd_status};
    if (cached->entry == NULL || !cached->http->use.fallback) {
        return false;
    }
    ps_cached_take_facts(cached);
    ps_flight_leave(&cached->seat);
    return serve(transfer, PS_CACHE_STALE, &status);
}

static void on_refused(struct ps_transfer *transfer)
{
    int status = ps_flight_refusal(transfer->cached->seat.flight)->status;
    if (status < 500 || !serve_fallback(transfer, 0)) {
        ps_cached_refuse(transfer);
    }
}

int ps_http_variant(const struct ps_h1_head *request, const struct ps_key *primary,
                    const struct ps_h1_head *answer, struct ps_flight_variant *out)
{
    struct ps_vary vary = {.count = 0};
    int err = ps_vary_add(&vary, answer);
    out->varies = vary.count > 0;
    return err != PS_OK || !out->varies ? err : ps_vary_key(&vary, 0, primary, request, &out->key);
}

/* Do the fields that the answer varies by say the same in this request? */
static bool is_for(const struct ps_transfer *transfer, const struct ps_flight_variant *variant,
                   struct ps_str lines)
{
    struct ps_kept kept;
    struct ps_flight_variant own;
    return !variant->varies || (ps_kept_read(&kept, lines, 200) == PS_OK &&
                                ps_http_variant(transfer->head, &transfer->cached->http->primary,
                                                &kept.head, &own) == PS_OK &&
                                ps_key_eq(&own.key, &variant->key));
}

static void start_live(struct ps_transfer *transfer, const struct ps_flight_head *head)
{
    struct ps_cached *cached = transfer->cached;
    struct ps_cache_status status = {
        .fwd = why_asked(cached),
        .fwd_status = head->status,
        .stored = head->keeps,
        .collapsed = !cached->leads,
    };
    struct ps_buf lines = ps_buf_make(PS_TRANSFER_HEAD_LIMIT);
    uint64_t length = head->length == PS_FLIGHT_LENGTH_UNKNOWN ? PS_LENGTH_UNKNOWN : head->length;
    cached->live = true;
    int err = ps_cached_write_lines(transfer, head->lines, false, &lines);
    err = err != PS_OK ? err : ps_cached_start(transfer, &status, head->status, &lines, length);
    ps_buf_fini(&lines);
    if (err != PS_OK) {
        ps_cached_fail_memory(transfer);
    } else {
        ps_cached_pass_on(transfer);
    }
}

static void on_head(struct ps_transfer *transfer)
{
    struct ps_cached *cached = transfer->cached;
    const struct ps_flight_head *head = ps_flight_head(cached->seat.flight);
    if (ps_freshness_is_error(head->status) && serve_fallback(transfer, head->status)) {
        return;
    }
    if (!cached->leads && !head->keeps) {
        leave_word(transfer);
        go_alone(transfer);
    } else if (!cached->leads && !is_for(transfer, &head->variant, head->lines)) {
        go_alone(transfer);
    } else {
        start_live(transfer, head);
    }
}

/* May an entry that was found, and not asked for, answer this request? */
static bool is_welcome(const struct ps_transfer *transfer, const struct ps_entry *entry)
{
    struct ps_freshness_life life;
    struct ps_freshness_policy policy = ps_http_policy(transfer);
    ps_time now = ps_cached_now(transfer);
    ps_freshness_of_entry(&life, entry, now, &policy);
    struct ps_freshness_use use =
        ps_freshness_use(&transfer->cached->http->asked, &life, ps_entry_age(entry, now));
    return use.verdict == PS_FRESHNESS_SEND;
}

/* The flight ended with an entry: from a cache, or one that the upstream said is the answer. */
static void on_landed(struct ps_transfer *transfer)
{
    struct ps_cached *cached = transfer->cached;
    struct ps_entry *entry = ps_flight_entry(cached->seat.flight);
    const struct ps_flight_facts *facts = ps_flight_facts(cached->seat.flight);
    bool asked = facts->attempts > 0; /* an entry was there to ask about, here or in Redis */
    struct ps_cache_status status = {.fwd = cached->http->refresh ? PS_CACHE_FWD_REQUEST
                                                                  : PS_CACHE_FWD_STALE,
                                     .fwd_status = 304,
                                     .stored = facts->stored,
                                     .collapsed = !cached->leads};
    bool fits = cached->leads || (is_for(transfer, &facts->variant, ps_entry_head(entry)) &&
                                  (asked || is_welcome(transfer, entry)));
    ps_cached_take_facts(cached);
    if (!fits) {
        go_alone(transfer);
        return;
    }
    ps_entry_unref(cached->entry);
    cached->entry = ps_entry_ref(entry);
    ps_flight_leave(&cached->seat);
    if (asked) {
        (void)serve(transfer, cached->leads ? PS_CACHE_MISS : PS_CACHE_COLLAPSED, &status);
    } else {
        (void)serve_hit(transfer, PS_CACHE_HIT, PS_STR("L2"));
    }
}

static void on_news(struct ps_flight_seat *seat)
{
    struct ps_cached *cached = PS_CONTAINER_OF(seat, struct ps_cached, seat);
    struct ps_transfer *transfer = cached->transfer;
    enum ps_flight_state state = ps_flight_state(seat->flight);
    if (cached->live) {
        ps_cached_pass_on(transfer);
    } else if (state == PS_FLIGHT_REFUSED) {
        on_refused(transfer);
    } else if (state == PS_FLIGHT_LANDED && ps_flight_is_cached(seat->flight)) {
        on_landed(transfer);
    } else if (state != PS_FLIGHT_WAITING) {
        on_head(transfer);
    }
}

/* Another flight may have landed between the look into memory and this one's start. */
static bool has_landed(struct ps_transfer *transfer, struct ps_flight *flight)
{
    struct ps_key key;
    struct ps_entry *entry = NULL;
    if (transfer->cached->http->refresh ||
        ps_http_find(transfer, transfer->cached->http, false, &key, &entry) != PS_HTTP_ENTRY) {
        return false;
    }
    struct ps_kept kept;
    struct ps_flight_facts facts = {.endpoint = -1, .waited = -1};
    if (!is_welcome(transfer, entry) || ps_kept_read(&kept, ps_entry_head(entry), 200) != PS_OK ||
        ps_http_variant(transfer->head, &transfer->cached->http->primary, &kept.head,
                        &facts.variant) != PS_OK) {
        ps_entry_unref(entry);
        return false;
    }
    ps_flight_land(flight, entry, true, &facts);
    return true;
}

/* Takes a seat, or flies for nobody. False: it has to go alone. */
static bool take_off(struct ps_transfer *transfer, struct ps_flight_seat *seat)
{
    struct ps_cached *cached = transfer->cached;
    struct ps_flight *flight = NULL;
    enum ps_flight_role role = ps_cached_join(transfer, cached->http->refresh, seat, &flight);
    if (role != PS_FLIGHT_LEADS) {
        return role == PS_FLIGHT_JOINED;
    }
    cached->leads = seat != NULL;
    if (seat != NULL && has_landed(transfer, flight)) {
        return true;
    }
    struct ps_flying flying = {
        .flight = flight,
        .key = &cached->key,
        .ask_redis = !cached->http->refresh && seat != NULL,
        .takes_limits = seat != NULL,
    };
    ps_transfer_fly(transfer, &flying);
    return true;
}

/* --- asking ----------------------------------------------------------------------------------- */

/* Goes past the cache, and Cache-Status says why. */
static bool pass_by(struct ps_transfer *transfer, enum ps_cache_fwd fwd)
{
    ps_transfer_cache_leave(transfer);
    transfer->fwd = (uint8_t)fwd;
    return false;
}

/* What can be said with the entry that there is. True: the answer is on its way. */
static bool use_entry(struct ps_transfer *transfer)
{
    struct ps_cached *cached = transfer->cached;
    struct ps_freshness_life life;
    struct ps_freshness_policy policy = ps_http_policy(transfer);
    ps_time now = ps_cached_now(transfer);
    ps_freshness_of_entry(&life, cached->entry, now, &policy);
    struct ps_freshness_use *use = &cached->http->use;
    *use = ps_freshness_use(&cached->http->asked, &life, ps_entry_age(cached->entry, now));
    switch (use->verdict) {
    case PS_FRESHNESS_SEND: {
        bool stale = ps_entry_age(cached->entry, now) >= life.fresh;
        use->fwd = PS_CACHE_FWD_REQUEST; /* should the part that is asked for not be in it */
        return serve_hit(transfer, stale ? PS_CACHE_STALE : PS_CACHE_HIT, PS_STR("L1"));
    }
    case PS_FRESHNESS_SEND_ANEW:
        use->fwd = PS_CACHE_FWD_STALE;
        if (!has_part(transfer)) {
            return false; /* what a flight would take along is needed for asking alone */
        }
        if (!ps_cc_has(&cached->http->asked.cc, PS_CC_ONLY_IF_CACHED)) {
            (void)take_off(transfer, NULL);
        }
        return serve_hit(transfer, PS_CACHE_STALE, PS_STR("L1"));
    case PS_FRESHNESS_REFUSE:
        ps_cached_fail_uncached(transfer);
        return true;
    case PS_FRESHNESS_ASK:
        cached->http->refresh = use->fwd == PS_CACHE_FWD_REQUEST;
        return false;
    }
    return false;
}

static bool begin(struct ps_transfer *transfer, const struct ps_freshness_request *asked)
{
    struct ps_cached *cached = calloc(1, sizeof *cached);
    struct ps_http *http = calloc(1, sizeof *http);
    struct ps_key primary;
    if (cached == NULL || http == NULL ||
        ps_http_key(transfer, transfer->route, transfer->head->path, &primary) != PS_OK) {
        free(cached);
        free(http);
        return false;
    }
    http->asked = *asked;
    http->primary = primary;
    cached->transfer = transfer;
    cached->http = http;
    cached->seat.on_news = on_news;
    transfer->cached = cached;
    transfer->cache = PS_CACHE_MISS;
    return true;
}

bool ps_http_ask(struct ps_transfer *transfer)
{
    struct ps_freshness_request asked;
    ps_freshness_read_request(&asked, transfer->head);
    transfer->cache = PS_CACHE_BYPASS;
    if (ps_cc_has(&asked.cc, PS_CC_NO_STORE) || wants(transfer, PS_STR("bypass")) ||
        asked.precondition || !begin(transfer, &asked)) {
        return pass_by(transfer, PS_CACHE_FWD_BYPASS);
    }
    struct ps_cached *cached = transfer->cached;
    struct ps_http *http = cached->http;
    if (wants(transfer, PS_STR("refresh"))) {
        http->asked.cc.set |= PS_CC_BIT(PS_CC_NO_CACHE);
    }
    enum ps_http_found found = ps_http_find(transfer, http, true, &cached->key, &cached->entry);
    if (found == PS_HTTP_ENTRY && use_entry(transfer)) {
        return true;
    }
    if (found != PS_HTTP_ENTRY && ps_cc_has(&asked.cc, PS_CC_ONLY_IF_CACHED)) {
        ps_cached_fail_uncached(transfer);
        return true;
    }
    http->refresh = http->refresh || ps_cc_has(&http->asked.cc, PS_CC_NO_CACHE);
    bool alone = found == PS_HTTP_PASS || asked.is_head || asked.range ||
                 (asked.conditional && found == PS_HTTP_NOTHING);
    transfer->passes = found == PS_HTTP_PASS;
    if (alone || !take_off(transfer, &cached->seat)) {
        return pass_by(transfer, why_asked(cached));
    }
    transfer->cache = cached->leads ? PS_CACHE_MISS : PS_CACHE_COLLAPSED;
    return true;
}

/* --- unsafe requests -------------------------------------------------------------------------- */

/* Out of memory here, and over what Redis has. Answers on their way are of yesterday. */
static void drop(struct ps_transfer *transfer, const struct ps_key *primary)
{
    struct ps_tiers *tiers = transfer->gateway->tiers;
    struct ps_key refreshed = *primary;
    refreshed.bytes[PS_KEY_BYTES - 1] ^= 1;
    ps_flights_outdate(transfer->gateway->flights, primary);
    ps_flights_outdate(transfer->gateway->flights, &refreshed);
    struct ps_entry *word =
        ps_tiers_hub(tiers) == NULL ? NULL : make_word(transfer, GONE, GONE_FOR);
    if (word != NULL) {
        PS_IGNORE(ps_tier_store(transfer->lane->tier, primary, word));
        ps_entry_unref(word);
    }
    (void)ps_l1_drop(ps_tiers_l1(tiers), primary);
}

static void outdate_target(struct ps_transfer *transfer, struct ps_str target)
{
    const struct ps_h1_head *head = transfer->head;
    struct ps_route_match match = {.route = NULL};
    struct ps_str path = ps_str_first(target, ps_str_find(target, '?'));
    struct ps_key key;
    bool found = ps_route_match(transfer->gateway->routes, PS_STR("GET"), head->host, path,
                                &match) == PS_ROUTE_FOUND;
    if (found && match.route->cache.use != PS_NO &&
        ps_http_key(transfer, match.route, target, &key) == PS_OK) {
        drop(transfer, &key);
    }
}

static void outdate_named(struct ps_transfer *transfer, const struct ps_h1_header *header)
{
    struct ps_buf target = ps_buf_make(64 * 1024);
    const struct ps_h1_head *asked = transfer->head;
    if (header != NULL &&
        ps_outdate_resolve(&target, asked->host, asked->path, header->value) == PS_OK) {
        outdate_target(transfer, ps_buf_str(&target));
    }
    ps_buf_fini(&target);
}

void ps_http_outdate(struct ps_transfer *transfer, const struct ps_h1_head *head)
{
    enum ps_h1_method method = transfer->head->method_id;
    bool safe =
        method == PS_H1_METHOD_GET || method == PS_H1_METHOD_HEAD || method == PS_H1_METHOD_OPTIONS;
    bool good = head->status >= 200 && head->status <= 399;
    if (safe || !good || transfer->lane->tier == NULL || transfer->parsed ||
        transfer->job != NULL) {
        return;
    }
    outdate_target(transfer, transfer->head->path);
    outdate_named(transfer, ps_h1_head_find(head, PS_H1_LOCATION));
    outdate_named(transfer, ps_h1_head_find_name(head, PS_STR("Content-Location")));
}

/* --- answers that were not for others --------------------------------------------------------- */

void ps_http_reconsider(struct ps_transfer *transfer, const struct ps_h1_head *head)
{
    struct ps_freshness_request asked;
    struct ps_freshness_life life;
    struct ps_freshness_policy policy = ps_http_policy(transfer);
    ps_time now = ps_cached_now(transfer);
    struct ps_freshness_answer answer = {.head = head, .asked = now, .came = now};
    struct ps_key key;
    ps_freshness_read_request(&asked, transfer->head);
    ps_freshness_of(&life, &asked, &answer, &policy);
    if (life.keep && ps_http_key(transfer, transfer->route, transfer->head->path, &key) == PS_OK) {
        (void)ps_l1_drop(ps_tiers_l1(transfer->gateway->tiers), &key);
    }
}
