/* Transfers that fly for those who asked by GET; see transfer_http.h. */
#include <stdlib.h>
#include <string.h>

#include "gateway/tier.h"
#include "gateway/transfer_http.h"
#include "gateway/validator.h"
#include "http/h1_write.h"

#define HEAD_LIMIT ((size_t)256 << 10)

struct ps_http_pilot {
    struct ps_freshness_request asked; /* by who leads */
    struct ps_key primary;
    uint64_t mark; /* of the marker that was there when it began */
    bool marked;
    struct ps_entry *base; /* whose validators go with the request; or NULL */

    /* the request: as it was asked, but for the whole answer, with our conditions for the client's */
    const struct ps_h1_head *original;
    struct ps_h1_head copy;
    struct ps_buf text;
    struct ps_kept lines;

    /* the answer */
    struct ps_freshness_life life;
    struct ps_flight_variant variant;
    struct ps_vary vary;
    struct ps_buf kept;    /* its lines */
    struct ps_entry *made; /* by a 304 */
};

/* --- the request ------------------------------------------------------------------------------ */

/* Who asks for a part, or whether there is another, gets that out of the whole. */
static bool is_clients_own(const struct ps_h1_header *header)
{
    return header->id == PS_H1_IF_NONE_MATCH || header->id == PS_H1_RANGE ||
           ps_str_ieq(header->name, PS_STR("If-Modified-Since")) ||
           ps_str_ieq(header->name, PS_STR("If-Range"));
}

static int write_request(struct ps_http_pilot *http)
{
    const struct ps_h1_head *head = http->original;
    struct ps_kept kept;
    int err = PS_OK;
    ps_buf_clear(&http->text);
    for (size_t i = 0; i < head->header_count && err == PS_OK; i++) {
        const struct ps_h1_header *header = &head->headers[i];
        err = is_clients_own(header) ? PS_OK
                                     : ps_h1_write_header(&http->text, header->name, header->value);
    }
    if (err == PS_OK && http->base != NULL &&
        ps_kept_read(&kept, ps_entry_head(http->base), http->base->status) == PS_OK) {
        err = ps_validator_write(&http->text, &kept.head);
    }
    return err != PS_OK ? err : ps_buf_append_str(&http->text, PS_STR("\r\n"));
}

/* The pilot's head with the lines of ours. */
static int put_request(struct ps_pilot *pilot)
{
    struct ps_http_pilot *http = pilot->http;
    int err = write_request(http);
    struct ps_str text = ps_buf_str(&http->text);
    err = err != PS_OK ? err : ps_kept_read(&http->lines, ps_str_first(text, text.len - 2), 200);
    if (err == PS_OK) {
        pilot->head.raw = text;
        pilot->head.headers = http->lines.headers;
        pilot->head.header_count = http->lines.head.header_count;
        pilot->head.seen = http->lines.head.seen;
    }
    return err;
}

int ps_http_pilot_new(struct ps_pilot *pilot, const struct ps_transfer *asker)
{
    if (asker->cached == NULL || asker->cached->http == NULL) {
        return PS_OK;
    }
    const struct ps_http *from = asker->cached->http;
    struct ps_http_pilot *http = calloc(1, sizeof *http);
    if (http == NULL) {
        return PS_ENOMEM;
    }
    http->asked = from->asked;
    http->asked.is_head = false;
    http->asked.range = false;
    http->primary = from->primary;
    http->mark = from->mark;
    http->marked = from->marked;
    pilot->head.method = PS_STR("GET"); /* a HEAD that got a stale answer brings no new one */
    pilot->head.method_id = PS_H1_METHOD_GET;
    http->text = ps_buf_make(HEAD_LIMIT);
    http->kept = ps_buf_make(HEAD_LIMIT);
    http->copy = pilot->head;
    http->original = &http->copy;
    http->base = asker->cached->entry == NULL ? NULL : ps_entry_ref(asker->cached->entry);
    pilot->http = http;
    int err = put_request(pilot);
    if (err != PS_OK) {
        ps_http_pilot_free(http);
        pilot->http = NULL;
    }
    return err;
}

void ps_http_pilot_free(struct ps_http_pilot *http)
{
    if (http != NULL) {
        ps_entry_unref(http->base);
        ps_entry_unref(http->made);
        ps_buf_fini(&http->text);
        ps_buf_fini(&http->kept);
        free(http);
    }
}

/* --- Redis ------------------------------------------------------------------------------------ */

/* A marker leads on to the answer that is meant, once. */
static bool follow(struct ps_transfer *transfer, const struct ps_entry *marker)
{
    struct ps_pilot *pilot = transfer->pilot;
    struct ps_http_pilot *http = pilot->http;
    struct ps_vary vary;
    if (http->marked || ps_vary_read_marker(ps_entry_body(marker), &vary, &http->mark) != PS_OK ||
        ps_vary_key(&vary, http->mark, &http->primary, http->original, &pilot->key) != PS_OK) {
        return false;
    }
    http->marked = true;
    return ps_pilot_fetch(transfer) == PS_OK;
}

/* It may be sent: everybody gets it. */
static bool land_found(struct ps_transfer *transfer, struct ps_entry *entry)
{
    struct ps_pilot *pilot = transfer->pilot;
    struct ps_http_pilot *http = pilot->http;
    struct ps_flight_facts facts = {.endpoint = -1, .waited = -1};
    struct ps_kept kept;
    if (ps_kept_read(&kept, ps_entry_head(entry), entry->status) != PS_OK ||
        ps_http_variant(http->original, &http->primary, &kept.head, &facts.variant) != PS_OK) {
        return false;
    }
    ps_flight_land(pilot->flight, entry, true, &facts);
    pilot->flight = NULL;
    ps_transfer_finish(transfer, 200, true, PS_OUTCOME_NONE);
    return true;
}

/* It has to be asked for, with its validators when it is newer than what memory had. */
static void take_base(struct ps_pilot *pilot, struct ps_entry *entry)
{
    struct ps_http_pilot *http = pilot->http;
    if (http->base != NULL && http->base->stored >= entry->stored) {
        ps_entry_unref(entry);
        return;
    }
    struct ps_entry *before = http->base;
    http->base = entry;
    if (put_request(pilot) != PS_OK) {
        http->base = before;
        ps_entry_unref(entry);
        PS_IGNORE(put_request(pilot));
    } else {
        ps_entry_unref(before);
    }
}

void ps_http_on_fetched(struct ps_transfer *transfer, struct ps_entry *entry)
{
    struct ps_pilot *pilot = transfer->pilot;
    struct ps_freshness_life life;
    struct ps_freshness_policy policy = ps_http_policy(transfer);
    ps_time now = ps_cached_now(transfer);
    if (entry != NULL && entry->kind == PS_ENTRY_VARY) {
        bool led_on = follow(transfer, entry);
        ps_entry_unref(entry);
        if (!led_on) {
            ps_transfer_enter_gate(transfer);
        }
        return;
    }
    if (entry != NULL) {
        ps_freshness_of_entry(&life, entry, now, &policy);
        struct ps_freshness_use use =
            ps_freshness_use(&pilot->http->asked, &life, ps_entry_age(entry, now));
        if (use.verdict == PS_FRESHNESS_SEND && land_found(transfer, entry)) {
            return;
        }
        take_base(pilot, entry);
    }
    ps_transfer_enter_gate(transfer);
}

/* --- the head of the answer ------------------------------------------------------------------- */

static struct ps_freshness_answer answer_of(const struct ps_transfer *transfer,
                                            const struct ps_h1_head *head)
{
    ps_time now = ps_cached_now(transfer);
    ps_span took = ps_loop_now(transfer->lane->loop) - transfer->gate_since - transfer->waited;
    return (struct ps_freshness_answer){.head = head, .asked = now - took, .came = now};
}

static void judge_life(struct ps_transfer *transfer, const struct ps_freshness_answer *answer)
{
    struct ps_http_pilot *http = transfer->pilot->http;
    struct ps_freshness_policy policy = ps_http_policy(transfer);
    ps_freshness_of(&http->life, &http->asked, answer, &policy);
    http->vary = (struct ps_vary){.count = 0};
    transfer->pilot->storable =
        http->life.keep && ps_vary_add(&http->vary, answer->head) == PS_OK &&
        ps_http_variant(http->original, &http->primary, answer->head, &http->variant) == PS_OK;
}

static void give_base_body(void *base)
{
    ps_entry_unref(base);
}

/* The entry that has the body itself: a body that was confirmed a thousand times must not hang on a
 * thousand entries. */
static struct ps_entry *root_of(struct ps_entry *base)
{
    return base->release == give_base_body ? base->release_ctx : base;
}

/* `release` belongs to the body, and is called when no entry comes of it. */
static int make_entry(const struct ps_transfer *transfer, int status, struct ps_str body,
                      void (*release)(void *ctx), void *ctx, struct ps_entry **out)
{
    const struct ps_pilot *pilot = transfer->pilot;
    const struct ps_http_pilot *http = pilot->http;
    ps_span took = ps_loop_now(transfer->lane->loop) - transfer->gate_since - transfer->waited;
    struct ps_str tags[PS_ENTRY_TAGS_MAX];
    struct ps_entry_spec spec = {
        .status = status,
        .kind = PS_ENTRY_BYTES,
        .head = ps_buf_str(&http->kept),
        .body = body,
        .release = release,
        .release_ctx = ctx,
        .route = ps_str_from(transfer->route->name),
        .tenant = ps_str_from(transfer->tenant == NULL ? "" : transfer->tenant->name),
        .tags = tags,
        .tags_count = ps_pilot_read_tags(transfer, tags),
        .born = ps_flight_born(pilot->flight),
        .stored = http->life.stored,
        .fresh = http->life.fresh,
        .while_revalidate = http->life.while_revalidate,
        .if_error = http->life.stays,
        .seconds = ps_span_seconds(took),
    };
    return ps_entry_new(out, &spec);
}

/* What the lines of the base are by a 304, with its Age for the judgement. */
static int read_update(struct ps_http_pilot *http, const struct ps_h1_head *head, ps_time now,
                       struct ps_buf *text, struct ps_kept *updated)
{
    struct ps_kept kept;
    const struct ps_h1_header *age = ps_h1_head_find(head, PS_H1_AGE);
    int err = ps_kept_read(&kept, ps_entry_head(http->base), http->base->status);
    if (err == PS_OK && !ps_validator_confirms(head, &kept.head)) {
        return PS_ENOTFOUND;
    }
    err = err != PS_OK ? err : ps_kept_update(&http->kept, &kept, head, now);
    err = err != PS_OK ? err : ps_buf_append_str(text, ps_buf_str(&http->kept));
    err = err != PS_OK || age == NULL ? err : ps_h1_write_header(text, PS_STR("Age"), age->value);
    return err != PS_OK ? err : ps_kept_read(updated, ps_buf_str(text), http->base->status);
}

/* A 304: the entry is the answer again. One that speaks of another answer (RFC 9111, 4.3.4) changes
 * nothing of it. */
static void confirm(struct ps_transfer *transfer, const struct ps_h1_head *head)
{
    struct ps_http_pilot *http = transfer->pilot->http;
    struct ps_buf text = ps_buf_make(HEAD_LIMIT);
    struct ps_kept updated;
    struct ps_freshness_answer answer = answer_of(transfer, &updated.head);
    transfer->pilot->storable = false;
    if (read_update(http, head, answer.came, &text, &updated) == PS_OK) {
        judge_life(transfer, &answer);
        if (make_entry(transfer, http->base->status, ps_entry_body(http->base), give_base_body,
                       ps_entry_ref(root_of(http->base)), &http->made) != PS_OK) {
            http->made = NULL;
        }
    }
    if (http->made == NULL) {
        transfer->pilot->storable = false;
        http->made = ps_entry_ref(http->base);
    }
    ps_buf_fini(&text);
}

static int write_kept(struct ps_http_pilot *http, const struct ps_h1_head *head, ps_time now)
{
    int err = ps_kept_write(&http->kept, head, now);
    return err != PS_OK ? err : ps_buf_append_str(&http->kept, PS_STR("Via: 1.1 penstock\r\n"));
}

void ps_http_judge(struct ps_transfer *transfer, const struct ps_h1_head *head)
{
    struct ps_http_pilot *http = transfer->pilot->http;
    struct ps_freshness_answer answer = answer_of(transfer, head);
    ps_entry_unref(http->made); /* of a try before */
    http->made = NULL;
    ps_buf_clear(&http->kept);
    if (head->status == 304 && http->base != NULL) {
        confirm(transfer, head);
        return;
    }
    judge_life(transfer, &answer);
    if (write_kept(http, head, answer.came) != PS_OK) {
        transfer->pilot->storable = false;
    }
}

bool ps_http_begin(struct ps_transfer *transfer, struct ps_flight_head *head)
{
    const struct ps_http_pilot *http = transfer->pilot->http;
    head->keeps = transfer->pilot->storable;
    head->variant = http->variant;
    return http->made == NULL;
}

/* --- the end ---------------------------------------------------------------------------------- */

static ps_span life_of(const struct ps_entry *entry)
{
    return entry->fresh > PS_NEVER - entry->if_error ? PS_NEVER : entry->fresh + entry->if_error;
}

/* Writes the marker when it is new, names more, or would be gone before the answer. */
static void store_marker(const struct ps_transfer *transfer, const struct ps_vary *vary,
                         uint64_t mark, const struct ps_entry *answer)
{
    char text[PS_VARY_MARKER_MAX];
    struct ps_entry *marker = NULL;
    struct ps_entry_spec spec = {
        .status = 200,
        .kind = PS_ENTRY_VARY,
        .body = {text, ps_vary_write_marker(vary, mark, text)},
        .route = ps_entry_route(answer),
        .tenant = ps_entry_tenant(answer),
        .born = answer->born,
        .stored = ps_cached_now(transfer),
        .fresh = life_of(answer),
        .seconds = (double)answer->seconds,
    };
    if (ps_entry_new(&marker, &spec) == PS_OK) {
        PS_IGNORE(ps_tier_store(transfer->lane->tier, &transfer->pilot->http->primary, marker));
        ps_entry_unref(marker);
    }
}

/* The key of an answer with Vary, and its marker. PS_ENOTFOUND: the marker that there was when it
 * was asked for is there no more, so that the answer may be of yesterday. */
static int mark_variant(const struct ps_transfer *transfer, const struct ps_entry *answer,
                        struct ps_key *key)
{
    struct ps_http_pilot *http = transfer->pilot->http;
    struct ps_tiers *tiers = transfer->gateway->tiers;
    struct ps_vary known = {.count = 0};
    struct ps_entry *entry = NULL;
    uint64_t mark = 0;
    (void)ps_tiers_peek(tiers, &http->primary, ps_cached_now(transfer), &entry);
    bool marked = entry != NULL && entry->kind == PS_ENTRY_VARY &&
                  ps_vary_read_marker(ps_entry_body(entry), &known, &mark) == PS_OK;
    bool lasts =
        marked && entry->stored + life_of(entry) / 2 > answer->stored + life_of(answer) / 2;
    ps_entry_unref(entry);
    if (http->marked && (!marked || mark != http->mark)) {
        return PS_ENOTFOUND;
    }
    struct ps_vary all = http->vary;
    mark = marked ? mark : ps_rng_next(&transfer->lane->rng);
    int err = ps_vary_join(&all, &known);
    if (err == PS_OK && !(lasts && ps_vary_equal(&all, &known))) {
        store_marker(transfer, &all, mark, answer);
    }
    return err != PS_OK ? err : ps_vary_key(&all, mark, &http->primary, http->original, key);
}

static bool store(const struct ps_transfer *transfer, struct ps_entry *entry)
{
    struct ps_pilot *pilot = transfer->pilot;
    struct ps_key key = pilot->http->primary;
    if (!pilot->storable || ps_flight_is_outdated(pilot->flight)) {
        return false;
    }
    if (pilot->http->vary.count > 0 && mark_variant(transfer, entry, &key) != PS_OK) {
        return false;
    }
    return ps_tier_store(transfer->lane->tier, &key, entry) == PS_OK;
}

/* What was recorded, as an entry; NULL when it is not kept. */
static struct ps_entry *keep(const struct ps_transfer *transfer, bool *stored)
{
    const struct ps_pilot *pilot = transfer->pilot;
    struct ps_entry *entry = NULL;
    size_t size = ps_flight_recorded(pilot->flight);
    if (!pilot->storable || !ps_flight_is_whole(pilot->flight)) {
        return NULL;
    }
    char *body = malloc(size + 1);
    if (body == NULL || ps_flight_copy_body(pilot->flight, body, size) != PS_OK) {
        free(body);
        return NULL;
    }
    if (make_entry(transfer, transfer->status, (struct ps_str){body, size}, free, body, &entry) !=
        PS_OK) {
        return NULL;
    }
    *stored = store(transfer, entry);
    return entry;
}

void ps_http_land(struct ps_transfer *transfer, struct ps_flight_facts *facts)
{
    struct ps_http_pilot *http = transfer->pilot->http;
    struct ps_entry *entry = http->made;
    bool confirmed = entry != NULL;
    if (confirmed) {
        facts->variant = http->variant;
        facts->stored = store(transfer, entry);
        http->made = NULL;
    } else {
        entry = keep(transfer, &facts->stored);
    }
    ps_flight_land(transfer->pilot->flight, entry, confirmed, facts);
}
