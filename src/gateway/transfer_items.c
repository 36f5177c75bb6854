/* The client's side of requests for several things; see transfer_items.h. */
#include "gateway/transfer_items.h"

#include <stdio.h>
#include <stdlib.h>

#include "gateway/tier.h"

/* One of the things. Of twins only the first is looked up. */
struct item {
    struct ps_transfer *transfer;
    struct ps_tier_op *fetch; /* from Redis, under way */
    struct ps_entry *entry;   /* its piece; NULL = missing */
    struct ps_entry *old;     /* one that is stale, for the case that the upstream fails */
    struct ps_buf own;        /* its piece, when no entry has it */
    uint32_t first;           /* the twin that is looked up, or itself */
    bool hit;                 /* it was known before anybody was asked */
};

struct ps_transfer_items {
    struct ps_cached_wish wish;
    struct ps_items_ask *ask; /* the body as it came */
    struct ps_budget *budget;
    size_t taken;         /* of the budget, for this */
    struct ps_key *keys;  /* of each item, in their order */
    uint32_t *wanted;     /* the items that are asked for */
    struct ps_key *asked; /* their keys */
    uint32_t *weights;    /* and weights */
    size_t wanted_count;
    struct ps_flying_items flying;
    size_t fetching;
    size_t unique;
    size_t hits;
    size_t olds;
    bool whole;                   /* the request is asked as it came, and its answer passed on */
    struct ps_items_split *split; /* of the answer to what was asked, when it is not */
    struct ps_items_join *join;   /* the answer that is sent */
    struct ps_buf stage;          /* of it, what is sent at once */
    bool ended;                   /* all of it is staged */
    struct ps_usage saved;        /* what hits would have taken */
    size_t count;
    struct item items[];
};

/* --- life ------------------------------------------------------------------------------------- */

static void items_free(struct ps_transfer_items *items)
{
    for (size_t i = 0; i < items->count; i++) {
        ps_tier_cancel(items->items[i].fetch);
        ps_entry_unref(items->items[i].entry);
        ps_entry_unref(items->items[i].old);
        ps_buf_fini(&items->items[i].own);
    }
    ps_items_join_free(items->join);
    ps_items_split_free(items->split);
    ps_items_ask_free(items->ask);
    ps_buf_fini(&items->stage);
    ps_budget_give(items->budget, items->taken);
    free(items->keys);
    free(items->wanted);
    free(items->asked);
    free(items->weights);
    free(items);
}

void ps_transfer_items_leave(struct ps_transfer *transfer)
{
    if (transfer->items != NULL) {
        items_free(transfer->items);
        transfer->items = NULL;
    }
}

/* The body, to be cut, and to be asked as it came when that is of no use. */
static int read_body(struct ps_transfer *transfer, struct ps_transfer_items *items)
{
    struct ps_str view;
    int err = ps_items_ask_new(&items->ask, ps_items_form_of(transfer->operation), items->budget);
    for (size_t at = 0; err == PS_OK && ps_chunks_peek(&transfer->body, at, &view, 1) == 1;
         at += view.len) {
        err = ps_items_ask_feed(items->ask, view);
    }
    err = err != PS_OK ? err : ps_items_ask_end(items->ask);
    return err == PS_OK && ps_items_ask_count(items->ask) != items->count ? PS_EPARSE : err;
}

static int find_twins(struct ps_transfer_items *items)
{
    int err = ps_items_find_twins(items->keys, items->count, items->wanted);
    for (size_t i = 0; err == PS_OK && i < items->count; i++) {
        items->items[i].first = items->wanted[i];
        items->unique += items->wanted[i] == i;
    }
    return err;
}

/* Everything that the items take, at once. */
static struct ps_transfer_items *items_new(struct ps_budget *budget, size_t count)
{
    struct ps_transfer_items *items = NULL;
    size_t each = sizeof items->items[0] + 2 * sizeof *items->keys + 2 * sizeof *items->wanted;
    if (ps_budget_take(budget, count * each) != PS_OK) {
        return NULL;
    }
    items = calloc(1, sizeof *items + count * sizeof items->items[0]);
    if (items == NULL) {
        ps_budget_give(budget, count * each);
        return NULL;
    }
    items->budget = budget;
    items->taken = count * each;
    items->count = count;
    items->keys = calloc(count, sizeof *items->keys);
    items->asked = calloc(count, sizeof *items->asked);
    items->wanted = calloc(count, sizeof *items->wanted);
    items->weights = calloc(count, sizeof *items->weights);
    items->stage = ps_buf_make(SIZE_MAX);
    if (items->keys == NULL || items->asked == NULL || items->wanted == NULL ||
        items->weights == NULL) {
        items_free(items);
        return NULL;
    }
    return items;
}

int ps_transfer_items_new(struct ps_transfer *transfer, struct ps_key_job *job,
                          const struct ps_cached_wish *wish)
{
    size_t count = ps_key_job_items(job);
    if (count < 2 || count > PS_ITEMS_MAX) {
        return PS_EINVAL;
    }
    struct ps_transfer_items *items = items_new(transfer->body.budget, count);
    if (items == NULL) {
        return PS_ENOMEM;
    }
    items->wish = *wish;
    for (size_t i = 0; i < count; i++) {
        items->items[i].transfer = transfer;
        ps_key_job_item(job, i, &items->keys[i]);
    }
    int err = read_body(transfer, items);
    err = err != PS_OK ? err : find_twins(items);
    if (err != PS_OK) {
        items_free(items);
        return err;
    }
    transfer->items = items;
    return PS_OK;
}

/* --- what is known ---------------------------------------------------------------------------- */

static bool is_first(const struct ps_transfer_items *items, size_t i)
{
    return items->items[i].first == i;
}

/* The old one stays at hand, the fresh one is a hit. */
static void take_entry(struct item *item, struct ps_entry *entry, enum ps_freshness freshness)
{
    if (freshness == PS_FRESH) {
        item->entry = entry;
        item->hit = true;
        item->transfer->items->hits++;
    } else if (freshness == PS_STALE_GONE || item->old != NULL) {
        ps_entry_unref(entry);
    } else {
        item->old = entry;
        item->transfer->items->olds++;
    }
}

static void look_into_memory(struct ps_transfer *transfer)
{
    struct ps_transfer_items *items = transfer->items;
    ps_time now = ps_cached_now(transfer);
    for (size_t i = 0; i < items->count; i++) {
        struct ps_entry *entry = NULL;
        if (is_first(items, i) &&
            ps_tiers_get(transfer->gateway->tiers, &items->keys[i], now, &entry) != PS_L1_MISS) {
            take_entry(&items->items[i], entry, ps_entry_freshness(entry, now));
        }
    }
}

static void depart(struct ps_transfer *transfer);

static void on_fetched(void *ctx, struct ps_entry *entry)
{
    struct item *item = ctx;
    struct ps_transfer *transfer = item->transfer;
    item->fetch = NULL;
    if (entry != NULL) {
        take_entry(item, entry, ps_entry_freshness(entry, ps_cached_now(transfer)));
    }
    transfer->items->fetching--;
    if (transfer->items->fetching == 0) {
        depart(transfer);
    }
}

/* Asks Redis for all that is missing, at once. */
static void fetch_missing(struct ps_transfer *transfer)
{
    struct ps_transfer_items *items = transfer->items;
    for (size_t i = 0; i < items->count; i++) {
        struct item *item = &items->items[i];
        if (is_first(items, i) && item->entry == NULL &&
            ps_tier_fetch(&item->fetch, transfer->lane->tier, &items->keys[i], on_fetched, item) ==
                PS_OK) {
            items->fetching++;
        }
    }
}

/* --- sending ---------------------------------------------------------------------------------- */

static void ask_whole(struct ps_transfer *transfer);

static struct ps_str piece_of(const struct ps_transfer_items *items, size_t i)
{
    const struct item *item = &items->items[items->items[i].first];
    return item->entry != NULL ? ps_entry_body(item->entry) : ps_buf_str(&item->own);
}

/* What was just asked for comes first: the answer is named after it. */
static int join_pieces(struct ps_transfer *transfer, uint64_t *length)
{
    struct ps_transfer_items *items = transfer->items;
    enum ps_items_form form = ps_items_form_of(transfer->operation);
    int err = ps_items_join_new(&items->join, form, items->count);
    for (unsigned pass = 0; pass < 2; pass++) {
        for (size_t i = 0; err == PS_OK && i < items->count; i++) {
            if (items->items[items->items[i].first].hit == (pass == 1)) {
                err = ps_items_join_put(items->join, i, piece_of(items, i));
            }
        }
    }
    return err != PS_OK ? err : ps_items_join_end(items->join, length);
}

/* What the pieces that nobody had to be asked for took once. */
static void add_saved(struct ps_transfer_items *items)
{
    for (size_t i = 0; i < items->count; i++) {
        const struct item *item = &items->items[items->items[i].first];
        if (item->hit && item->entry != NULL) {
            items->saved.prompt_tokens += item->entry->prompt_tokens;
            items->saved.has_prompt = true;
        }
    }
}

static void send_joined(struct ps_transfer *transfer)
{
    struct ps_transfer_items *items = transfer->items;
    while (!items->ended && ps_exchange_queued(transfer->exchange) <= PS_TRANSFER_HIGH_WATER) {
        struct ps_str view;
        int err = PS_OK;
        ps_buf_clear(&items->stage);
        while (err == PS_OK && !items->ended && items->stage.len < PS_TRANSFER_HIGH_WATER) {
            items->ended = !ps_items_join_next(items->join, &view);
            err = items->ended ? PS_OK : ps_buf_append_str(&items->stage, view);
        }
        err = err != PS_OK ? err : ps_exchange_write(transfer->exchange, ps_buf_str(&items->stage));
        if (err != PS_OK) {
            ps_cached_cut(transfer, "the client reads too slowly for the memory there is");
            return;
        }
        transfer->bytes_out += items->stage.len;
    }
    if (items->ended) {
        ps_cached_finish(transfer);
    }
}

/* How long the first of them is still fresh, and how old the oldest is. */
static void read_times(const struct ps_transfer *transfer, struct ps_cache_status *status,
                       ps_span *age)
{
    const struct ps_transfer_items *items = transfer->items;
    ps_time now = ps_cached_now(transfer);
    for (size_t i = 0; i < items->count; i++) {
        const struct ps_entry *entry = items->items[items->items[i].first].entry;
        ps_span old = ps_entry_age(entry, now);
        *age = old > *age ? old : *age;
        if (entry->fresh != PS_NEVER && (!status->has_ttl || entry->fresh - old < status->ttl)) {
            status->ttl = entry->fresh - old;
            status->has_ttl = true;
        }
    }
}

/* Begins the joined answer with the head of one of its pieces, or of the flight. */
static int start(struct ps_transfer *transfer, struct ps_cache_status *status, struct ps_str lines,
                 uint64_t length)
{
    const struct ps_transfer_items *items = transfer->items;
    struct ps_buf out = ps_buf_make(PS_TRANSFER_HEAD_LIMIT);
    char detail[64];
    ps_span age = 0;
    int len = snprintf(detail, sizeof detail, "items=%zu hits=%zu", items->unique, items->hits);
    status->detail = (struct ps_str){detail, len > 0 ? (size_t)len : 0};
    int err = ps_cached_write_lines(transfer, lines, false, &out);
    if (err == PS_OK && status->fwd == PS_CACHE_FWD_NONE) {
        read_times(transfer, status, &age);
        err = ps_cache_status_write_age(&out, age);
    }
    err = err != PS_OK ? err : ps_cached_start(transfer, status, 200, &out, length);
    ps_buf_fini(&out);
    return err;
}

/* All pieces are there. */
static void serve(struct ps_transfer *transfer, enum ps_cache_part part,
                  struct ps_cache_status *status, struct ps_str lines)
{
    struct ps_transfer_items *items = transfer->items;
    uint64_t length = 0;
    int err = join_pieces(transfer, &length);
    if (err == PS_EPARSE) {
        ask_whole(transfer);
        return;
    }
    transfer->cache = (uint8_t)part;
    add_saved(items);
    if (status->fwd == PS_CACHE_FWD_NONE) {
        transfer->usage = items->saved;
    }
    err = err != PS_OK ? err : start(transfer, status, lines, length);
    if (err != PS_OK) {
        ps_cached_fail_memory(transfer);
        return;
    }
    ps_chunks_fini(&transfer->body);
    ps_flight_leave(&transfer->cached->seat);
    send_joined(transfer);
}

static void serve_hits(struct ps_transfer *transfer)
{
    struct ps_cache_status status = {.hit = true};
    serve(transfer, PS_CACHE_HIT, &status, ps_entry_head(transfer->items->items[0].entry));
}

bool ps_transfer_items_drain(struct ps_transfer *transfer)
{
    if (transfer->items == NULL || transfer->items->join == NULL) {
        return false;
    }
    send_joined(transfer);
    return true;
}

/* --- asking ----------------------------------------------------------------------------------- */

static void want(struct ps_transfer_items *items, size_t i)
{
    size_t k = items->wanted_count++;
    items->wanted[k] = (uint32_t)i;
    items->asked[k] = items->keys[i];
    items->weights[k] = ps_items_ask_weight(items->ask, i);
}

static void name_flight(struct ps_transfer *transfer)
{
    struct ps_transfer_items *items = transfer->items;
    items->flying = (struct ps_flying_items){.form = ps_items_form_of(transfer->operation),
                                             .keys = items->asked,
                                             .weights = items->weights,
                                             .count = items->wanted_count};
    ps_keyer_list(transfer->lane->keyer, items->asked, items->wanted_count, &transfer->cached->key);
}

static void take_off(struct ps_transfer *transfer)
{
    struct ps_transfer_items *items = transfer->items;
    struct ps_cached *cached = transfer->cached;
    name_flight(transfer);
    if (!ps_cached_take_off(transfer, &items->wish, &cached->seat)) {
        ps_cached_fail_memory(transfer);
        return;
    }
    transfer->cache = cached->leads ? PS_CACHE_MISS : PS_CACHE_COLLAPSED;
}

/* The body becomes one that asks for what is wanted. False: the request was answered. */
static bool cut_body(struct ps_transfer *transfer)
{
    struct ps_transfer_items *items = transfer->items;
    ps_chunks_fini(&transfer->body);
    if (ps_items_ask_write(items->ask, items->wanted, items->wanted_count, &transfer->body) !=
        PS_OK) {
        ps_cached_fail_memory(transfer);
        return false;
    }
    return ps_transfer_reread(transfer);
}

/* Pieces don't fit, or an answer can't be taken apart: the request is asked as it came. */
static void ask_whole(struct ps_transfer *transfer)
{
    struct ps_transfer_items *items = transfer->items;
    struct ps_cached *cached = transfer->cached;
    void (*on_news)(struct ps_flight_seat * seat) = cached->seat.on_news;
    ps_flight_leave(&cached->seat);
    cached->seat = (struct ps_flight_seat){.on_news = on_news};
    cached->leads = false;
    cached->bare = false;
    ps_items_join_free(items->join);
    ps_items_split_free(items->split);
    items->join = NULL;
    items->split = NULL;
    items->whole = true;
    items->hits = 0;
    items->wanted_count = 0;
    for (size_t i = 0; i < items->count; i++) {
        want(items, i);
    }
    ps_chunks_fini(&transfer->body);
    if (ps_chunks_append(&transfer->body, ps_items_ask_body(items->ask)) != PS_OK) {
        ps_cached_fail_memory(transfer);
    } else if (ps_transfer_reread(transfer)) {
        take_off(transfer);
    }
}

/* Everybody who can be asked for nothing has answered. */
static void depart(struct ps_transfer *transfer)
{
    struct ps_transfer_items *items = transfer->items;
    items->wanted_count = 0;
    for (size_t i = 0; i < items->count; i++) {
        if (is_first(items, i) && items->items[i].entry == NULL) {
            want(items, i);
        }
    }
    if (items->wanted_count == 0) {
        serve_hits(transfer);
        return;
    }
    if (items->wish.only_cached) {
        ps_cached_fail_uncached(transfer);
        return;
    }
    items->whole = items->wanted_count == items->count;
    if (items->whole && items->olds == 0) { /* what comes is passed on, whatever it is */
        ps_items_ask_free(items->ask);
        items->ask = NULL;
    }
    if (items->whole || cut_body(transfer)) {
        take_off(transfer);
    }
}

void ps_transfer_items_start(struct ps_transfer *transfer)
{
    struct ps_transfer_items *items = transfer->items;
    if (!items->wish.refresh) {
        look_into_memory(transfer);
        fetch_missing(transfer);
    }
    if (items->fetching == 0) {
        depart(transfer);
    }
}

const struct ps_flying_items *ps_transfer_items_flying(const struct ps_transfer *transfer)
{
    const struct ps_transfer_items *items = transfer->items;
    return items == NULL || items->wanted_count < 2 ? NULL : &items->flying;
}

/* --- a flight --------------------------------------------------------------------------------- */

static struct ps_cache_status flight_status(const struct ps_transfer *transfer)
{
    const struct ps_cached *cached = transfer->cached;
    return (struct ps_cache_status){
        .fwd = PS_CACHE_FWD_MISS,
        .collapsed = !cached->leads,
        .stored = cached->has_facts && cached->facts.stored,
    };
}

/* The upstream fails, and for everything that is missing there is an old piece: these are sent. */
static bool fall_back(struct ps_transfer *transfer, int fwd_status)
{
    struct ps_transfer_items *items = transfer->items;
    struct ps_cache_status status = {.fwd = PS_CACHE_FWD_STALE, .fwd_status = fwd_status};
    for (size_t k = 0; k < items->wanted_count; k++) {
        if (items->items[items->items[items->wanted[k]].first].old == NULL) {
            return false;
        }
    }
    for (size_t i = 0; i < items->count; i++) {
        struct item *item = &items->items[i];
        if (is_first(items, i) && item->entry == NULL) {
            item->entry = item->old;
            item->old = NULL;
        }
    }
    ps_cached_take_facts(transfer->cached);
    ps_flight_leave(&transfer->cached->seat);
    serve(transfer, PS_CACHE_STALE, &status, ps_entry_head(items->items[0].entry));
    return true;
}

/* The pilot has remembered the pieces, unless it could not. False: some are not there. */
static bool find_pieces(struct ps_transfer *transfer)
{
    struct ps_transfer_items *items = transfer->items;
    ps_time now = ps_cached_now(transfer);
    bool all = !items->wish.refresh; /* an older one may be there */
    for (size_t k = 0; all && k < items->wanted_count; k++) {
        struct item *item = &items->items[items->wanted[k]];
        struct ps_entry *entry = NULL;
        all = ps_tiers_peek(transfer->gateway->tiers, &items->asked[k], now, &entry) == PS_L1_HIT;
        if (all) {
            item->entry = entry;
        } else {
            ps_entry_unref(entry);
        }
    }
    return all;
}

static int split_pieces(struct ps_transfer_items *items)
{
    int err = ps_items_split_end(items->split);
    for (size_t k = 0; err == PS_OK && k < items->wanted_count; k++) {
        struct item *item = &items->items[items->wanted[k]];
        if (item->entry == NULL) {
            item->own = ps_buf_make(SIZE_MAX);
            err = ps_items_split_piece(items->split, k, &item->own);
        }
    }
    return err;
}

static void has_landed(struct ps_transfer *transfer)
{
    struct ps_transfer_items *items = transfer->items;
    struct ps_flight *flight = transfer->cached->seat.flight;
    ps_cached_take_facts(transfer->cached);
    struct ps_cache_status status = flight_status(transfer);
    if (ps_flight_is_cached(flight)) { /* of one item, which another request asked for meanwhile */
        struct ps_entry *entry = ps_entry_ref(ps_flight_entry(flight));
        take_entry(&items->items[items->wanted[0]], entry, PS_FRESH);
        ps_flight_leave(&transfer->cached->seat);
        serve_hits(transfer);
        return;
    }
    if (!find_pieces(transfer) && split_pieces(items) != PS_OK) {
        ask_whole(transfer);
        return;
    }
    status.fwd_status = ps_flight_head(flight)->status;
    serve(transfer, transfer->cached->leads ? PS_CACHE_MISS : PS_CACHE_COLLAPSED, &status,
          ps_flight_head(flight)->lines);
}

static void has_crashed(struct ps_transfer *transfer)
{
    struct ps_cached *cached = transfer->cached;
    struct ps_answer answer = {.status = 502, .type = "server_error", .code = "upstream_failed"};
    const char *error = ps_flight_facts(cached->seat.flight)->error;
    ps_cached_take_facts(cached);
    transfer->error = error;
    if (!fall_back(transfer, 0)) {
        ps_transfer_fail(transfer, &answer, "upstream %s failed in phase body: %s",
                         transfer->backend->name, error != NULL ? error : "the answer broke off");
    }
}

static int make_split(struct ps_transfer_items *items)
{
    return items->split != NULL ? PS_OK
                                : ps_items_split_new(&items->split, items->flying.form,
                                                     items->weights, items->wanted_count,
                                                     PS_TRANSFER_ITEMS_ANSWER_MAX, items->budget);
}

/* Takes in what was recorded. */
static void collect(struct ps_transfer *transfer)
{
    struct ps_transfer_items *items = transfer->items;
    struct ps_flight_seat *seat = &transfer->cached->seat;
    int err = make_split(items);
    while (err == PS_OK) {
        enum ps_flight_state state = ps_flight_state(seat->flight);
        struct ps_str piece = ps_flight_peek(seat, false);
        if (piece.len > 0) {
            err = ps_items_split_feed(items->split, piece);
            ps_flight_read_on(seat, piece.len);
        } else if (state == PS_FLIGHT_LANDED) {
            has_landed(transfer);
            return;
        } else if (state == PS_FLIGHT_CRASHED) {
            has_crashed(transfer);
            return;
        } else {
            return;
        }
    }
    ps_cached_fail_memory(transfer);
}

bool ps_transfer_items_hear(struct ps_transfer *transfer)
{
    struct ps_flight *flight = transfer->cached->seat.flight;
    enum ps_flight_state state = ps_flight_state(flight);
    if (state == PS_FLIGHT_WAITING) {
        return true;
    }
    if (state == PS_FLIGHT_REFUSED) {
        return ps_flight_refusal(flight)->status >= 500 && fall_back(transfer, 0);
    }
    if (state == PS_FLIGHT_LANDED && ps_flight_is_cached(flight)) {
        has_landed(transfer);
        return true;
    }
    int status = ps_flight_head(flight)->status;
    if (status != 200 || transfer->items->whole) {
        return status >= 500 && fall_back(transfer, status); /* else it is passed on as it comes */
    }
    collect(transfer);
    return true;
}

/* --- what it was worth ------------------------------------------------------------------------ */

void ps_transfer_items_tally(const struct ps_transfer *transfer, struct ps_cache_tally *sums)
{
    const struct ps_transfer_items *items = transfer->items;
    uint64_t missed = items->unique - items->hits;
    atomic_fetch_add_explicit(&sums->parts[PS_CACHE_HIT], items->hits, memory_order_relaxed);
    atomic_fetch_add_explicit(&sums->parts[transfer->cache], missed, memory_order_relaxed);
    if (transfer->started && items->join != NULL) {
        int64_t cost = ps_price_usage(&transfer->price, &items->saved);
        atomic_fetch_add_explicit(&sums->cost_saved, cost, memory_order_relaxed);
    }
}
