/* The control side of the tiers; see tier.h. */
#include <stdlib.h>

#include "base/check.h"
#include "base/list.h"
#include "gateway/purge_wire.h"
#include "gateway/redis_feed.h"
#include "gateway/tier_own.h"
#include "gateway/tier_shared.h"
#include "io/loop.h"

enum {
    CALLS_MAX = 256,    /* invalidations on their way */
    SWEEP_SLOTS = 4096, /* a tick: some tenths of a millisecond */
    SEEN_SLOTS = 16384,
    AGAIN_MAX = 50 /* tries to write a record again; then the next reconnection does */
};

#define TICK       (500 * PS_MILLISECOND) /* of the sweep */
#define POLL       PS_SECOND              /* of the log, while the feed is lost */
#define OVERLAP    (10 * PS_SECOND)       /* a record may be written later than it says */
#define CATCH_UP   (2 * PS_SECOND)        /* L1 misses no longer than this */
#define READ_GAP   (10 * PS_MILLISECOND)  /* between two readings, however often it is woken */
#define READ_AGAIN (20 * PS_MILLISECOND)
#define AGAIN      (100 * PS_MILLISECOND)

/* An invalidation on its way to the servers, or to its on_done. */
struct call {
    struct ps_list link;
    struct ps_tier_keeper *keeper;
    struct ps_redis_op *op;
    struct ps_task task; /* without servers */
    uint64_t number;     /* of the record */
    ps_tier_invalidated_fn *on_done;
    void *ctx;
};

struct ps_tier_keeper {
    struct ps_tiers *tiers;
    struct ps_loop *loop;
    struct ps_redis *redis; /* or NULL: everything below is idle */
    struct ps_redis_feed *feed;
    size_t listening; /* nodes that are heard */
    struct ps_timer tick;

    /* reading the log */
    struct ps_redis_op *read; /* under way, or NULL */
    ps_time read_since;       /* what it reads */
    ps_time read_began;       /* on the wall */
    size_t read_count;
    ps_time read_oldest;
    bool read_failed; /* a record could not be taken in */
    bool wants_read;
    ps_time wanted_since;
    ps_time read_not_before;
    ps_time good_since; /* what was written until then is known; on the wall */
    bool owes;          /* the feed was lost: all of it has to be read */
    ps_time owes_since; /* ... from here */
    ps_time serve_at;   /* L1 serves from then on, read or not ... */
    ps_time hold_after; /* ... and is not held back again until then, unless all went well */
    struct ps_timer read_timer;
    uint64_t seed;
    uint64_t *seen; /* hashes of records that were taken in */

    /* our own invalidations */
    struct ps_list calls;
    size_t call_count;
    struct ps_tier_own own;
    bool repeats;           /* they are written again, one after the other */
    uint64_t repeat_number; /* the next */
    bool repeat_floor;
    unsigned repeat_tries;
    struct ps_redis_op *repeat;
    struct ps_timer repeat_timer;
};

static ps_time wall_now(const struct ps_tier_keeper *keeper)
{
    return ps_clock_wall(ps_loop_clock(keeper->loop));
}

/* What is older concerns no answer any more. */
static ps_time horizon(const struct ps_tier_keeper *keeper)
{
    ps_time now = wall_now(keeper);
    return now > keeper->tiers->max_age ? now - keeper->tiers->max_age : 0;
}

/* Did as many nodes answer as there are heard? Those that are not will be read, and written to,
 * when they are back. */
static bool is_enough(const struct ps_tier_keeper *keeper, size_t done, size_t failed)
{
    return done > 0 && (failed == 0 || done >= keeper->listening);
}

/* --- records that come through the log -------------------------------------------------------- */

/* A record's fingerprint; 0 is an empty slot. */
static uint64_t hash_of(const struct ps_tier_keeper *keeper, struct ps_str record)
{
    return ps_str_hash(record, keeper->seed) | 1;
}

static uint64_t *slot_of(struct ps_tier_keeper *keeper, uint64_t hash)
{
    return &keeper->seen[(hash >> 1) % SEEN_SLOTS];
}

static void mark_seen(struct ps_tier_keeper *keeper, struct ps_str record)
{
    uint64_t hash = hash_of(keeper, record);
    *slot_of(keeper, hash) = hash;
}

/* Was it taken in already? The slot may have gone to another meanwhile: then it is again, which
 * changes nothing. */
static bool is_seen(struct ps_tier_keeper *keeper, struct ps_str record)
{
    uint64_t hash = hash_of(keeper, record);
    return *slot_of(keeper, hash) == hash;
}

static void on_record(void *ctx, struct ps_str record, ps_time when)
{
    struct ps_tier_keeper *keeper = ctx;
    struct ps_purge purge;
    keeper->read_count++;
    keeper->read_oldest = when < keeper->read_oldest ? when : keeper->read_oldest;
    if (is_seen(keeper, record) || ps_purge_wire_read(record, &purge) != PS_OK ||
        purge.at / PS_MILLISECOND != when / PS_MILLISECOND) {
        return;
    }
    if (ps_l1_invalidate(keeper->tiers->l1, &purge, wall_now(keeper)) == PS_OK) {
        mark_seen(keeper, record);
        ps_tiers_count(&keeper->tiers->records, 1);
    } else {
        keeper->read_failed = true;
    }
}

/* The servers keep so many and no more: what was before the oldest of them, nobody knows. */
static void forget_what_was_trimmed(struct ps_tier_keeper *keeper)
{
    if (keeper->read_count < keeper->tiers->purge_max ||
        keeper->read_oldest <= keeper->read_since) {
        return;
    }
    const struct ps_purge all = {
        .kind = PS_PURGE_PATTERN,
        .at = keeper->read_oldest + PS_MILLISECOND - 1,
        .text = PS_STR("*"),
    };
    if (ps_l1_invalidate(keeper->tiers->l1, &all, wall_now(keeper)) != PS_OK) {
        keeper->read_failed = true;
    }
}

/* --- reading the log -------------------------------------------------------------------------- */

static void on_read(void *ctx, size_t done, size_t failed);

static void want_read(struct ps_tier_keeper *keeper, ps_time since)
{
    if (!keeper->wants_read || since < keeper->wanted_since) {
        keeper->wanted_since = since;
    }
    keeper->wants_read = true;
}

static int start_read(struct ps_tier_keeper *keeper)
{
    keeper->read_since = keeper->wanted_since;
    keeper->read_began = wall_now(keeper);
    keeper->read_count = 0;
    keeper->read_oldest = INT64_MAX;
    keeper->read_failed = false;
    return ps_redis_log_read(&keeper->read, keeper->redis, keeper->read_since, on_record, on_read,
                             keeper);
}

/* Reads when it is wanted and time; the tick asks again should a timer fail. */
static void read_if_due(struct ps_tier_keeper *keeper)
{
    ps_time now = ps_loop_now(keeper->loop);
    if (keeper->read != NULL || !keeper->wants_read) {
        return;
    }
    if (now >= keeper->read_not_before) {
        keeper->read_not_before = now + READ_GAP;
        keeper->wants_read = start_read(keeper) != PS_OK;
    }
    if (keeper->wants_read) {
        PS_IGNORE(ps_timer_set(keeper->loop, &keeper->read_timer, keeper->read_not_before));
    }
}

static void stop_reading(struct ps_tier_keeper *keeper, bool has_read)
{
    atomic_store_explicit(&keeper->tiers->has_read, has_read, memory_order_release);
    atomic_store_explicit(&keeper->tiers->reading, false, memory_order_release);
}

/* L1 does not miss for ever because a server is ill. */
static void serve_in_time(struct ps_tier_keeper *keeper)
{
    if (ps_tiers_is_reading(keeper->tiers) && ps_loop_now(keeper->loop) >= keeper->serve_at) {
        stop_reading(keeper, false);
    }
}

static void on_good_read(struct ps_tier_keeper *keeper)
{
    keeper->good_since = keeper->read_began;
    if (keeper->owes && keeper->read_since <= keeper->owes_since) {
        keeper->owes = false;
        keeper->hold_after = 0;
        stop_reading(keeper, true);
    }
}

static void on_read(void *ctx, size_t done, size_t failed)
{
    struct ps_tier_keeper *keeper = ctx;
    keeper->read = NULL;
    ps_tiers_count(&keeper->tiers->log_reads, 1);
    forget_what_was_trimmed(keeper);
    if (is_enough(keeper, done, failed) && !keeper->read_failed) {
        on_good_read(keeper);
    } else {
        want_read(keeper, keeper->read_since);
        serve_in_time(keeper);
        ps_span wait = ps_tiers_is_reading(keeper->tiers) ? READ_AGAIN : POLL;
        keeper->read_not_before = ps_loop_now(keeper->loop) + wait;
    }
    read_if_due(keeper);
}

static void on_read_time(struct ps_timer *timer, ps_time now)
{
    (void)now;
    read_if_due(PS_CONTAINER_OF(timer, struct ps_tier_keeper, read_timer));
}

/* --- our own records, again ------------------------------------------------------------------- */

static void repeat_next(struct ps_tier_keeper *keeper);

static void repeat_later(struct ps_tier_keeper *keeper, ps_span wait)
{
    ps_time when = ps_loop_now(keeper->loop) + wait;
    keeper->repeats = ps_timer_set(keeper->loop, &keeper->repeat_timer, when) == PS_OK;
}

static void on_repeat_time(struct ps_timer *timer, ps_time now)
{
    (void)now;
    repeat_next(PS_CONTAINER_OF(timer, struct ps_tier_keeper, repeat_timer));
}

static void repeat_done(struct ps_tier_keeper *keeper, bool everywhere)
{
    struct ps_tier_own_record *record = ps_tier_own_at(&keeper->own, keeper->repeat_number);
    keeper->repeat_tries = 0;
    if (keeper->repeat_floor) {
        keeper->repeat_floor = false;
        return;
    }
    if (record != NULL) {
        record->everywhere = record->everywhere || everywhere;
    }
    keeper->repeat_number++;
}

static void on_repeated(void *ctx, size_t done, size_t failed)
{
    struct ps_tier_keeper *keeper = ctx;
    keeper->repeat = NULL;
    if (is_enough(keeper, done, failed)) {
        repeat_done(keeper, failed == 0);
        repeat_next(keeper);
    } else if (keeper->repeat_tries++ < AGAIN_MAX) {
        repeat_later(keeper, AGAIN);
    } else {
        keeper->repeats = false;
    }
}

static int append(struct ps_tier_keeper *keeper, struct ps_str record, ps_time at)
{
    return ps_redis_log_append(&keeper->repeat, keeper->redis, record, at, on_repeated, keeper);
}

static int repeat_floor(struct ps_tier_keeper *keeper)
{
    char bytes[PS_PURGE_WIRE_MAX];
    struct ps_str record = {bytes, 0};
    const struct ps_purge all = {
        .kind = PS_PURGE_PATTERN, .at = keeper->own.floor, .text = PS_STR("*")};
    int err = ps_purge_wire_write(&all, bytes, &record.len);
    return err != PS_OK ? err : append(keeper, record, all.at);
}

static void repeat_next(struct ps_tier_keeper *keeper)
{
    if (!keeper->repeats || keeper->repeat != NULL) {
        return;
    }
    uint64_t first = keeper->own.first;
    keeper->repeat_number = keeper->repeat_number < first ? first : keeper->repeat_number;
    keeper->repeat_floor = keeper->repeat_floor && keeper->own.floor > 0;
    const struct ps_tier_own_record *record = ps_tier_own_at(&keeper->own, keeper->repeat_number);
    int err = PS_OK;
    if (keeper->repeat_floor) {
        err = repeat_floor(keeper);
    } else if (record != NULL) {
        err = append(keeper, (struct ps_str){record->bytes, record->len}, record->at);
    } else {
        keeper->repeats = false;
    }
    if (err != PS_OK) {
        repeat_later(keeper, AGAIN);
    }
}

/* From this one on, if it is not still to come. */
static void repeat_from(struct ps_tier_keeper *keeper, uint64_t number)
{
    if (!keeper->repeats || number <= keeper->repeat_number) {
        ps_redis_cancel(keeper->repeat);
        keeper->repeat = NULL;
        keeper->repeat_number = number;
        keeper->repeat_tries = 0;
        keeper->repeats = true;
    }
}

static void repeat_from_later(struct ps_tier_keeper *keeper, uint64_t number)
{
    repeat_from(keeper, number);
    if (keeper->repeat == NULL) {
        repeat_later(keeper, AGAIN);
    }
}

/* --- the feed --------------------------------------------------------------------------------- */

static void on_wake(void *ctx, const char *node, ps_time when)
{
    struct ps_tier_keeper *keeper = ctx;
    (void)node;
    ps_time oldest = horizon(keeper);
    want_read(keeper, when > oldest ? when : oldest);
    read_if_due(keeper);
}

/* A node that comes and goes must not keep L1 from serving. */
static void hold_back_l1(struct ps_tier_keeper *keeper)
{
    ps_time now = ps_loop_now(keeper->loop);
    if (now >= keeper->hold_after) {
        keeper->serve_at = now + CATCH_UP;
        keeper->hold_after = now + 5 * CATCH_UP;
    }
    atomic_store_explicit(&keeper->tiers->has_read, false, memory_order_release);
    atomic_store_explicit(&keeper->tiers->reading, now < keeper->serve_at, memory_order_release);
}

static void on_reconnected(void *ctx, const char *node)
{
    struct ps_tier_keeper *keeper = ctx;
    (void)node;
    keeper->listening++;
    keeper->owes = true;
    keeper->owes_since = horizon(keeper);
    hold_back_l1(keeper);
    want_read(keeper, keeper->owes_since);
    keeper->read_not_before = ps_loop_now(keeper->loop);
    read_if_due(keeper);
    keeper->repeat_floor = true;
    repeat_from(keeper, keeper->own.first);
    repeat_next(keeper);
}

static void on_lost(void *ctx, const char *node)
{
    struct ps_tier_keeper *keeper = ctx;
    (void)node;
    keeper->listening--;
    if (keeper->listening == 0 && ps_tiers_is_reading(keeper->tiers)) {
        stop_reading(keeper, false);
    }
}

static const struct ps_redis_feed_ops feed_ops = {on_wake, on_reconnected, on_lost};

/* What is published while it is not heard is not told, so it is asked for. */
static void poll_log(struct ps_tier_keeper *keeper)
{
    bool idle = keeper->read == NULL && !keeper->wants_read;
    if (idle && keeper->good_since > 0 && !ps_redis_feed_is_listening(keeper->feed)) {
        want_read(keeper, keeper->good_since > OVERLAP ? keeper->good_since - OVERLAP : 0);
        keeper->read_not_before = ps_loop_now(keeper->loop) + POLL;
    }
}

static void on_tick(struct ps_timer *timer, ps_time now)
{
    struct ps_tier_keeper *keeper = PS_CONTAINER_OF(timer, struct ps_tier_keeper, tick);
    PS_IGNORE(ps_timer_set(keeper->loop, timer, now + TICK)); /* it just left its place there */
    ps_l1_sweep(keeper->tiers->l1, wall_now(keeper), SWEEP_SLOTS);
    if (keeper->redis != NULL) {
        serve_in_time(keeper);
        poll_log(keeper);
        read_if_due(keeper);
    }
}

bool ps_tier_keeper_is_listening(const struct ps_tier_keeper *keeper)
{
    return keeper->feed == NULL || ps_redis_feed_is_listening(keeper->feed);
}

/* --- invalidating ----------------------------------------------------------------------------- */

static void call_free(struct call *call)
{
    call->keeper->call_count--;
    ps_task_clear(&call->task);
    ps_list_remove(&call->link);
    free(call);
}

static struct call *call_new(struct ps_tier_keeper *keeper, ps_tier_invalidated_fn *on_done,
                             void *ctx)
{
    struct call *call = calloc(1, sizeof *call);
    if (call != NULL) {
        *call = (struct call){.keeper = keeper, .on_done = on_done, .ctx = ctx};
        ps_list_push(&keeper->calls, &call->link);
        keeper->call_count++;
    }
    return call;
}

static void tell(struct call *call, size_t done, size_t failed)
{
    ps_tier_invalidated_fn *on_done = call->on_done;
    void *ctx = call->ctx;
    call_free(call);
    if (on_done != NULL) {
        on_done(ctx, done, failed);
    }
}

static void on_appended(void *ctx, size_t done, size_t failed)
{
    struct call *call = ctx;
    struct ps_tier_keeper *keeper = call->keeper;
    struct ps_tier_own_record *record = ps_tier_own_at(&keeper->own, call->number);
    if (record != NULL) {
        record->everywhere = failed == 0 && done > 0;
    }
    if (!is_enough(keeper, done, failed) && keeper->listening > 0) {
        repeat_from_later(keeper, call->number); /* nobody will reconnect and ask for it */
    }
    tell(call, done, failed);
}

static void on_alone(struct ps_task *task)
{
    tell(PS_CONTAINER_OF(task, struct call, task), 0, 0);
}

/* Here, and remembered for the servers. */
static int invalidate_here(struct ps_tier_keeper *keeper, const struct ps_purge *purge, ps_time now)
{
    char bytes[PS_PURGE_WIRE_MAX];
    struct ps_str record = {bytes, 0};
    int err = ps_purge_wire_write(purge, bytes, &record.len);
    if (err != PS_OK || keeper->redis == NULL) {
        return err != PS_OK ? err : ps_l1_invalidate(keeper->tiers->l1, purge, now);
    }
    err = ps_tier_own_add(&keeper->own, record, purge->at, horizon(keeper));
    if (err != PS_OK) {
        return err;
    }
    err = ps_l1_invalidate(keeper->tiers->l1, purge, now);
    if (err != PS_OK) {
        ps_tier_own_drop_last(&keeper->own);
        return err;
    }
    mark_seen(keeper, record);
    return PS_OK;
}

/* To the servers. */
static int invalidate_there(struct ps_tier_keeper *keeper, const struct ps_purge *purge,
                            struct call *call)
{
    uint64_t number = keeper->own.next - 1;
    const struct ps_tier_own_record *record = ps_tier_own_at(&keeper->own, number);
    if (purge->kind == PS_PURGE_KEY && !purge->has_tenant) {
        PS_IGNORE(ps_redis_delete(keeper->redis, purge->key.bytes)); /* the record says it too */
    }
    int err = call == NULL ? PS_ELIMIT
                           : ps_redis_log_append(&call->op, keeper->redis,
                                                 (struct ps_str){record->bytes, record->len},
                                                 record->at, on_appended, call);
    if (err == PS_OK) {
        call->number = number;
        return PS_OK;
    }
    repeat_from_later(keeper, number);
    return PS_ELIMIT;
}

int ps_tier_keeper_invalidate(struct ps_tier_keeper *keeper, const struct ps_purge *purge,
                              ps_tier_invalidated_fn *on_done, void *ctx)
{
    ps_time now = wall_now(keeper);
    struct ps_purge exact = *purge;
    exact.at = purge->at < now ? purge->at : now;
    bool full = keeper->call_count >= CALLS_MAX;
    struct call *call = full ? NULL : call_new(keeper, on_done, ctx);
    if (call == NULL && !full) {
        return PS_ENOMEM;
    }
    int err = invalidate_here(keeper, &exact, now);
    bool here = err == PS_OK;
    if (here && keeper->redis != NULL) {
        err = invalidate_there(keeper, &exact, call);
    } else if (here && call != NULL) {
        call->task.on_turn = on_alone;
        ps_loop_defer(keeper->loop, &call->task);
    }
    if (err != PS_OK && call != NULL) {
        call_free(call);
    }
    return here && call == NULL ? PS_ELIMIT : err;
}

/* --- life ------------------------------------------------------------------------------------- */

static int open_redis(struct ps_tier_keeper *keeper)
{
    struct ps_redis_hub *hub = keeper->tiers->hub;
    if (hub == NULL) {
        return PS_OK;
    }
    keeper->seed = (uint64_t)(uintptr_t)keeper ^ (uint64_t)wall_now(keeper);
    keeper->seen = calloc(SEEN_SLOTS, sizeof keeper->seen[0]);
    int err = keeper->seen == NULL ? PS_ENOMEM : ps_redis_new(&keeper->redis, keeper->loop, hub);
    return err != PS_OK ? err
                        : ps_redis_feed_new(&keeper->feed, keeper->loop, hub, &feed_ops, keeper);
}

int ps_tier_keeper_new(struct ps_tier_keeper **out, struct ps_tiers *tiers, struct ps_loop *loop)
{
    struct ps_tier_keeper *keeper = calloc(1, sizeof *keeper);
    if (keeper == NULL) {
        return PS_ENOMEM;
    }
    keeper->tiers = tiers;
    keeper->loop = loop;
    keeper->tick.on_time = on_tick;
    keeper->read_timer.on_time = on_read_time;
    keeper->repeat_timer.on_time = on_repeat_time;
    ps_list_init(&keeper->calls);
    int err = ps_timer_set(loop, &keeper->tick, ps_loop_now(loop) + TICK);
    err = err != PS_OK ? err : open_redis(keeper);
    if (err != PS_OK) {
        ps_tier_keeper_free(keeper);
        return err;
    }
    *out = keeper;
    return PS_OK;
}

void ps_tier_keeper_free(struct ps_tier_keeper *keeper)
{
    if (keeper == NULL) {
        return;
    }
    ps_redis_feed_free(keeper->feed);
    ps_redis_free(keeper->redis);
    ps_timer_clear(keeper->loop, &keeper->tick);
    ps_timer_clear(keeper->loop, &keeper->read_timer);
    ps_timer_clear(keeper->loop, &keeper->repeat_timer);
    while (!ps_list_is_empty(&keeper->calls)) {
        call_free(PS_LIST_FIRST(&keeper->calls, struct call, link));
    }
    if (keeper->tiers->hub != NULL) {
        stop_reading(keeper, false);
    }
    ps_tier_own_fini(&keeper->own);
    free(keeper->seen);
    free(keeper);
}
