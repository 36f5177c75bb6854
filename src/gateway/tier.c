#include "gateway/tier.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/list.h"
#include "gateway/entry_wire.h"
#include "gateway/tier_shared.h"
#include "io/loop.h"

enum { KEEP_BYTES = 1024 * 1024 /* of the buffer for an entry on its way out */ };

#define AHEAD (5 * PS_SECOND) /* what the clocks of two gateways may differ by */

/* clang-format off */
const struct ps_option ps_cache_options[] = {
    PS_OPTION_ROW(ps_cache_opts, l1, SECTION, NULL,
     "answers in memory", .table = ps_l1_options),
    PS_OPTION_ROW(ps_cache_opts, redis, SECTION, NULL,
     "answers in Redis or Valkey, shared by several gateways; without `nodes` there is none of it", .table = ps_redis_options),
    {0},
};
/* clang-format on */

struct ps_tier {
    struct ps_tiers *tiers;
    struct ps_loop *loop;
    struct ps_redis *redis; /* or NULL */
    struct ps_list ops;     /* under way */
    struct ps_buf wire;
};

struct ps_tier_op {
    struct ps_list link;
    struct ps_tier *tier;
    struct ps_redis_op *get;
    struct ps_key key;
    ps_tier_entry_fn *on_entry;
    void *ctx;
};

/* --- what all threads share ------------------------------------------------------------------- */

static int open_hub(struct ps_tiers *tiers, const struct ps_tiers_opts *opts, char *reason,
                    size_t size)
{
    const struct ps_redis_opts *redis = opts->redis;
    if (redis == NULL || redis->nodes.count == 0) {
        return PS_OK;
    }
    tiers->l2_age = redis->purge_keep < tiers->max_age ? redis->purge_keep : tiers->max_age;
    tiers->max_value = (size_t)redis->max_value;
    tiers->purge_max = redis->purge_max;
    return ps_redis_hub_new(&tiers->hub, redis, &opts->observer, reason, size);
}

int ps_tiers_new(struct ps_tiers **out, const struct ps_tiers_opts *opts, char *reason, size_t size)
{
    struct ps_tiers *tiers = calloc(1, sizeof *tiers);
    if (tiers == NULL) {
        return PS_ENOMEM;
    }
    tiers->max_age = opts->l1->max_age;
    int err = ps_l1_new(&tiers->l1, opts->l1);
    if (err == PS_EINVAL) {
        snprintf(reason, size, "cache.l1: %llu bytes in so many shards have no room for an entry",
                 (unsigned long long)opts->l1->size);
    }
    err = err != PS_OK ? err : open_hub(tiers, opts, reason, size);
    if (err != PS_OK) {
        ps_tiers_free(tiers);
        return err;
    }
    *out = tiers;
    return PS_OK;
}

void ps_tiers_free(struct ps_tiers *tiers)
{
    if (tiers != NULL) {
        ps_redis_hub_unref(tiers->hub);
        ps_l1_free(tiers->l1);
        free(tiers);
    }
}

struct ps_l1 *ps_tiers_l1(const struct ps_tiers *tiers)
{
    return tiers->l1;
}

struct ps_redis_hub *ps_tiers_hub(const struct ps_tiers *tiers)
{
    return tiers->hub;
}

bool ps_tiers_is_reading(const struct ps_tiers *tiers)
{
    return atomic_load_explicit(&tiers->reading, memory_order_acquire);
}

bool ps_tiers_is_ready(const struct ps_tiers *tiers)
{
    return !ps_tiers_is_reading(tiers) &&
           atomic_load_explicit(&tiers->has_read, memory_order_acquire);
}

enum ps_l1_answer ps_tiers_get(struct ps_tiers *tiers, const struct ps_key *key, ps_time now,
                               struct ps_entry **out)
{
    return ps_tiers_is_reading(tiers) ? PS_L1_MISS : ps_l1_get(tiers->l1, key, now, out);
}

enum ps_l1_answer ps_tiers_peek(struct ps_tiers *tiers, const struct ps_key *key, ps_time now,
                                struct ps_entry **out)
{
    return ps_tiers_is_reading(tiers) ? PS_L1_MISS : ps_l1_peek(tiers->l1, key, now, out);
}

void ps_tiers_read(const struct ps_tiers *tiers, struct ps_tiers_stats *out)
{
    *out = (struct ps_tiers_stats){
        .fetches = atomic_load_explicit(&tiers->fetches, memory_order_relaxed),
        .hits = atomic_load_explicit(&tiers->hits, memory_order_relaxed),
        .refused = atomic_load_explicit(&tiers->refused, memory_order_relaxed),
        .purged = atomic_load_explicit(&tiers->purged, memory_order_relaxed),
        .rejected = atomic_load_explicit(&tiers->rejected, memory_order_relaxed),
        .stores = atomic_load_explicit(&tiers->stores, memory_order_relaxed),
        .records = atomic_load_explicit(&tiers->records, memory_order_relaxed),
        .log_reads = atomic_load_explicit(&tiers->log_reads, memory_order_relaxed),
        .gpu_seconds_saved =
            (double)atomic_load_explicit(&tiers->saved, memory_order_relaxed) / 1e9,
    };
}

/* --- a worker --------------------------------------------------------------------------------- */

int ps_tier_new(struct ps_tier **out, struct ps_tiers *tiers, struct ps_loop *loop)
{
    struct ps_tier *tier = calloc(1, sizeof *tier);
    if (tier == NULL) {
        return PS_ENOMEM;
    }
    tier->tiers = tiers;
    tier->loop = loop;
    tier->wire = ps_buf_make(tiers->max_value);
    ps_list_init(&tier->ops);
    int err = tiers->hub == NULL ? PS_OK : ps_redis_new(&tier->redis, loop, tiers->hub);
    if (err != PS_OK) {
        ps_tier_free(tier);
        return err;
    }
    *out = tier;
    return PS_OK;
}

static void op_free(struct ps_tier_op *op)
{
    ps_list_remove(&op->link);
    free(op);
}

void ps_tier_free(struct ps_tier *tier)
{
    if (tier == NULL) {
        return;
    }
    ps_redis_free(tier->redis);
    while (!ps_list_is_empty(&tier->ops)) {
        op_free(PS_LIST_FIRST(&tier->ops, struct ps_tier_op, link));
    }
    ps_buf_fini(&tier->wire);
    free(tier);
}

static ps_time wall_now(const struct ps_tier *tier)
{
    return ps_clock_wall(ps_loop_clock(tier->loop));
}

/* --- fetching --------------------------------------------------------------------------------- */

/* a + b for numbers that are not negative, without overflow. */
static int64_t add(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

/* A time to come would be older than no invalidation. */
static bool is_of_this_time(const struct ps_tiers *tiers, const struct ps_entry *entry, ps_time now)
{
    return entry->born <= now + AHEAD && entry->stored <= now + AHEAD &&
           now <= add(entry->born, tiers->max_age) &&
           ps_entry_freshness(entry, now) != PS_STALE_GONE;
}

/* Into L1. False: it was purged. One that does not fit is good all the same. */
static bool keep(struct ps_tiers *tiers, const struct ps_key *key, struct ps_entry *entry)
{
    int err = ps_l1_put(tiers->l1, key, entry);
    return err == PS_OK || (err != PS_ECANCELED && !ps_l1_is_purged(tiers->l1, key, entry));
}

/* The entry that a value holds and that may be used, with a reference, or NULL. */
static struct ps_entry *accept(const struct ps_tier_op *op, const struct ps_envelope *value)
{
    struct ps_tiers *tiers = op->tier->tiers;
    struct ps_entry *entry = NULL;
    int err = ps_entry_wire_read(value->body, &entry);
    if (err != PS_OK || !is_of_this_time(tiers, entry, wall_now(op->tier))) {
        ps_tiers_count(&tiers->rejected, 1);
    } else if (!keep(tiers, &op->key, entry)) {
        ps_tiers_count(&tiers->purged, 1);
    } else {
        ps_tiers_count(&tiers->hits, 1);
        ps_tiers_count(&tiers->saved, (uint64_t)((double)entry->seconds * 1e9));
        return entry;
    }
    ps_entry_unref(entry);
    return NULL;
}

static void on_value(void *ctx, enum ps_redis_outcome outcome, const struct ps_envelope *value)
{
    struct ps_tier_op *op = ctx;
    ps_tier_entry_fn *on_entry = op->on_entry;
    void *on_entry_ctx = op->ctx;
    bool usable = outcome == PS_REDIS_HIT && ps_tiers_is_ready(op->tier->tiers);
    struct ps_entry *entry = usable ? accept(op, value) : NULL;
    op_free(op);
    on_entry(on_entry_ctx, entry);
}

static int begin_fetch(struct ps_tier_op **out, struct ps_tier *tier, const struct ps_key *key)
{
    if (tier->redis == NULL || !ps_tiers_is_ready(tier->tiers)) {
        return PS_EBUSY;
    }
    struct ps_tier_op *op = calloc(1, sizeof *op);
    if (op == NULL) {
        return PS_ENOMEM;
    }
    op->tier = tier;
    op->key = *key;
    ps_list_push(&tier->ops, &op->link);
    int err = ps_redis_get(&op->get, tier->redis, key->bytes, on_value, op);
    if (err != PS_OK) {
        op_free(op);
        return err;
    }
    *out = op;
    return PS_OK;
}

int ps_tier_fetch(struct ps_tier_op **out, struct ps_tier *tier, const struct ps_key *key,
                  ps_tier_entry_fn *on_entry, void *ctx)
{
    struct ps_tier_op *op = NULL;
    int err = begin_fetch(&op, tier, key);
    ps_tiers_count(&tier->tiers->fetches, tier->redis != NULL);
    if (err != PS_OK) {
        ps_tiers_count(&tier->tiers->refused, tier->redis != NULL);
        return err;
    }
    op->on_entry = on_entry;
    op->ctx = ctx;
    *out = op;
    return PS_OK;
}

void ps_tier_cancel(struct ps_tier_op *op)
{
    if (op != NULL) {
        ps_redis_cancel(op->get);
        op_free(op);
    }
}

/* --- storing ---------------------------------------------------------------------------------- */

/* From entry->stored on, so long may it be used by anybody; not positive = it is over. */
static ps_span life_of(const struct ps_tiers *tiers, const struct ps_entry *entry)
{
    ps_span stale =
        entry->while_revalidate > entry->if_error ? entry->while_revalidate : entry->if_error;
    ps_span life = add(entry->fresh, stale);
    ps_span most = add(entry->born, tiers->l2_age) - entry->stored;
    return life < most ? life : most;
}

/* What can't be sent is not there, which is what a cache is for. */
static void write_value(struct ps_tier *tier, const struct ps_key *key,
                        const struct ps_entry *entry)
{
    struct ps_envelope value = {.stored = entry->stored, .ttl = life_of(tier->tiers, entry)};
    if (value.ttl <= 0) {
        return;
    }
    if (tier->wire.cap > KEEP_BYTES) {
        ps_buf_fini(&tier->wire);
    }
    ps_buf_clear(&tier->wire);
    int err = ps_entry_wire_write(entry, &tier->wire);
    if (err == PS_OK) {
        value.body = ps_buf_str(&tier->wire);
        err = ps_redis_set(tier->redis, key->bytes, &value);
    }
    ps_tiers_count(&tier->tiers->stores, err == PS_OK);
}

void ps_tier_send(struct ps_tier *tier, const struct ps_key *key, struct ps_entry *entry)
{
    if (tier->redis != NULL && !ps_l1_is_purged(tier->tiers->l1, key, entry)) {
        write_value(tier, key, entry);
    }
}

int ps_tier_store(struct ps_tier *tier, const struct ps_key *key, struct ps_entry *entry)
{
    int err = ps_l1_put(tier->tiers->l1, key, entry);
    if (err != PS_ECANCELED) {
        ps_tier_send(tier, key, entry);
    }
    return err;
}
