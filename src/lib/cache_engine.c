#include "lib/cache_engine.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/list.h"
#include "lib/thread.h"

#define SENDS_MAX      1024               /* values on their way to the thread ... */
#define SEND_BYTES_MAX ((size_t)64 << 20) /* ... and what they may hold */

struct ps_cache_engine {
    struct ps_tiers *tiers;
    struct ps_thread *thread;
    struct ps_tier *tier;
    struct ps_tier_keeper *keeper;
    struct ps_list purges; /* of the thread: handed to the keeper, and not yet told */

    /* shared, atomic */
    _Atomic size_t sends;
    _Atomic size_t send_bytes;
};

/* --- fetching --------------------------------------------------------------------------------- */

struct fetch {
    struct ps_letter letter;
    struct ps_key key;
    struct ps_entry *entry;
    struct ps_wait wait;
};

static void on_entry(void *ctx, struct ps_entry *entry)
{
    struct fetch *fetch = ctx;
    fetch->entry = entry;
    ps_wait_wake(&fetch->wait);
}

static void on_fetch(struct ps_letter *letter, void *receiver)
{
    struct fetch *fetch = PS_CONTAINER_OF(letter, struct fetch, letter);
    struct ps_cache_engine *engine = receiver;
    struct ps_tier_op *op = NULL;
    if (ps_tier_fetch(&op, engine->tier, &fetch->key, on_entry, fetch) != PS_OK) {
        ps_wait_wake(&fetch->wait);
    }
}

struct ps_entry *ps_cache_engine_fetch(struct ps_cache_engine *engine, const struct ps_key *key)
{
    struct fetch fetch = {.letter = {.on_delivery = on_fetch}, .key = *key};
    if (!ps_tiers_is_ready(engine->tiers)) {
        return NULL;
    }
    ps_wait_init(&fetch.wait);
    ps_thread_post(engine->thread, &fetch.letter);
    ps_wait_for(&fetch.wait);
    return fetch.entry;
}

/* --- sending ---------------------------------------------------------------------------------- */

struct sending {
    struct ps_letter letter;
    struct ps_key key;
    struct ps_entry *entry;
    size_t bytes;
};

static void sending_free(struct ps_cache_engine *engine, struct sending *sending)
{
    atomic_fetch_sub_explicit(&engine->sends, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&engine->send_bytes, sending->bytes, memory_order_relaxed);
    ps_entry_unref(sending->entry);
    free(sending);
}

static void on_send(struct ps_letter *letter, void *receiver)
{
    struct sending *sending = PS_CONTAINER_OF(letter, struct sending, letter);
    struct ps_cache_engine *engine = receiver;
    ps_tier_send(engine->tier, &sending->key, sending->entry);
    sending_free(engine, sending);
}

void ps_cache_engine_send(struct ps_cache_engine *engine, const struct ps_key *key,
                          struct ps_entry *entry)
{
    struct sending *sending = calloc(1, sizeof *sending);
    if (sending == NULL) {
        return;
    }
    *sending = (struct sending){.letter = {.on_delivery = on_send},
                                .key = *key,
                                .entry = ps_entry_ref(entry),
                                .bytes = ps_entry_bytes(entry)};
    size_t sends = atomic_fetch_add_explicit(&engine->sends, 1, memory_order_relaxed);
    size_t bytes =
        atomic_fetch_add_explicit(&engine->send_bytes, sending->bytes, memory_order_relaxed);
    if (sends < SENDS_MAX && bytes < SEND_BYTES_MAX) {
        ps_thread_post(engine->thread, &sending->letter);
    } else {
        sending_free(engine, sending);
    }
}

/* --- invalidating ----------------------------------------------------------------------------- */

struct ps_cache_engine_purge {
    struct ps_letter letter;
    struct ps_list link;
    struct ps_cache_engine *engine;
    struct ps_purge purge; /* its views point into text */
    bool waited;
    struct ps_wait wait; /* when it is waited for */
    struct ps_cache_engine_told told;
    int err;
    char text[];
};

int ps_cache_engine_purge_new(struct ps_cache_engine_purge **out, struct ps_cache_engine *engine,
                              const struct ps_purge *purge)
{
    struct ps_cache_engine_purge *made =
        calloc(1, sizeof *made + purge->text.len + purge->tenant.len);
    if (made == NULL) {
        return PS_ENOMEM;
    }
    made->engine = engine;
    ps_list_init(&made->link);
    made->purge = *purge;
    made->purge.text.ptr = made->text;
    made->purge.tenant.ptr = made->text + purge->text.len;
    if (purge->text.len > 0) {
        memcpy(made->text, purge->text.ptr, purge->text.len);
    }
    if (purge->tenant.len > 0) {
        memcpy(made->text + purge->text.len, purge->tenant.ptr, purge->tenant.len);
    }
    *out = made;
    return PS_OK;
}

void ps_cache_engine_purge_free(struct ps_cache_engine_purge *purge)
{
    free(purge);
}

static void conclude(struct ps_cache_engine_purge *purge)
{
    ps_list_remove(&purge->link);
    if (purge->waited) {
        ps_wait_wake(&purge->wait);
    } else {
        free(purge);
    }
}

static void on_done(void *ctx, size_t done, size_t failed)
{
    struct ps_cache_engine_purge *purge = ctx;
    purge->told = (struct ps_cache_engine_told){done, failed};
    conclude(purge);
}

static void on_invalidate(struct ps_letter *letter, void *receiver)
{
    struct ps_cache_engine_purge *purge =
        PS_CONTAINER_OF(letter, struct ps_cache_engine_purge, letter);
    struct ps_cache_engine *engine = receiver;
    ps_list_push(&engine->purges, &purge->link);
    purge->err = ps_tier_keeper_invalidate(engine->keeper, &purge->purge, on_done, purge);
    if (purge->err != PS_OK) {
        conclude(purge);
    }
}

int ps_cache_engine_invalidate_take(struct ps_cache_engine_purge *purge,
                                    struct ps_cache_engine_told *told)
{
    purge->letter.on_delivery = on_invalidate;
    purge->waited = told != NULL;
    if (!purge->waited) {
        ps_thread_post(purge->engine->thread, &purge->letter);
        return PS_OK;
    }
    ps_wait_init(&purge->wait);
    ps_thread_post(purge->engine->thread, &purge->letter);
    ps_wait_for(&purge->wait);
    int err = purge->err;
    *told = purge->told;
    free(purge);
    return err;
}

/* --- the thread ------------------------------------------------------------------------------- */

int ps_cache_engine_new(struct ps_cache_engine **out, struct ps_tiers *tiers)
{
    struct ps_cache_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        return PS_ENOMEM;
    }
    engine->tiers = tiers;
    ps_list_init(&engine->purges);
    int err = ps_thread_new(&engine->thread, engine);
    struct ps_loop *loop = err == PS_OK ? ps_thread_loop(engine->thread) : NULL;
    err = err != PS_OK ? err : ps_tier_new(&engine->tier, tiers, loop);
    err = err != PS_OK ? err : ps_tier_keeper_new(&engine->keeper, tiers, loop);
    err = err != PS_OK ? err : ps_thread_start(engine->thread);
    if (err != PS_OK) {
        ps_cache_engine_free(engine);
        return err;
    }
    *out = engine;
    return PS_OK;
}

void ps_cache_engine_free(struct ps_cache_engine *engine)
{
    if (engine == NULL) {
        return;
    }
    if (engine->thread != NULL) {
        ps_thread_stop(engine->thread); /* delivers what is left of sets: before the tier goes */
    }
    ps_tier_keeper_free(engine->keeper);
    while (!ps_list_is_empty(&engine->purges)) {
        conclude(PS_LIST_FIRST(&engine->purges, struct ps_cache_engine_purge, link));
    }
    ps_tier_free(engine->tier);
    ps_thread_free(engine->thread);
    free(engine);
}
