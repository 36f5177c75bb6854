#include "gateway/l1.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* Evictions while a lock is held; then others have their turn. */
enum { EVICT_AT_ONCE = 8, SWEEP_AT_ONCE = 16, SHARDS_DEFAULT = 16 };

/* clang-format off */
const struct ps_option ps_l1_options[] = {
    PS_OPTION_ROW(ps_l1_opts, size, BYTES, "256MiB", "memory for answers, everything counted", .min = 65536, .max = 1e15),
    PS_OPTION_ROW(ps_l1_opts, max_entry, BYTES, "4MiB", "a larger answer is not stored", .min = 1024, .max = 1e9),
    PS_OPTION_ROW(ps_l1_opts, shards, U64, "0", "parts with a lock each, a power of two; 0 = by size", .max = PS_L1_SHARDS_MAX, .no_reload = true),
    PS_OPTION_ROW(ps_l1_opts, mean_entry, BYTES, "4KiB", "usual size of an answer; the memory for frequencies is laid out by it", .min = 64, .max = 1e9, .no_reload = true),
    PS_OPTION_ROW(ps_l1_opts, max_purges, U64, "4096", "invalidations that are remembered; beyond that the oldest one invalidates everything before it", .min = 1, .max = 1e6, .no_reload = true),
    PS_OPTION_ROW(ps_l1_opts, max_age, SPAN, "1d", "no answer is used longer than this, whatever its lifetime", .min = 1e9, .max = 3e16, .no_reload = true),
    {"policy", PS_OPTION_ENUM, offsetof(struct ps_l1_opts, policy), "gdsf", "who leaves when memory is used up", .names = ps_policy_names, .no_reload = true},
    {0},
};

/* clang-format on */

/* shared: everything under the lock; whole lines of the processor's cache, so that neighbours do
 * not disturb each other */
struct shard {
    _Alignas(64) pthread_mutex_t lock;
    struct ps_slots slots;
    struct ps_policy *policy;
    uint64_t limit; /* bytes of all entries and slots */
    uint64_t fixed; /* bytes of everything else */
    uint64_t bytes; /* in use by entries and slots */
    uint64_t saved; /* nanoseconds */
    uint32_t sweep; /* the last slot that was looked at */
    uint64_t hits, stale_hits, misses, stored, evictions, expired, purged, refused;
};

struct ps_l1 {
    struct ps_purge_log *purges;
    ps_span max_age;
    uint64_t max_entry;
    size_t count; /* of shards; a power of two */
    _Atomic size_t next_sweep;
    struct shard *shards;
};

/* ---------------------------------------------------------------- life */

static size_t choose_shards(const struct ps_l1_opts *opts)
{
    size_t shards = opts->shards == 0 ? SHARDS_DEFAULT : (size_t)opts->shards;
    /* One large entry must not empty a whole shard. */
    while (opts->shards == 0 && shards > 1 && opts->size / shards < opts->max_entry * 4) {
        shards /= 2;
    }
    return shards;
}

static uint32_t most_slots(uint64_t bytes)
{
    uint64_t most = bytes / (PS_SLOT_BYTES + sizeof(struct ps_entry)) + 1;
    return most < UINT32_MAX / 2 ? (uint32_t)most : UINT32_MAX / 2;
}

static int make_shard(struct shard *shard, const struct ps_l1_opts *opts, uint64_t size)
{
    struct ps_policy_opts policy = {
        .slots = &shard->slots,
        .bytes = size,
        .entries = size / opts->mean_entry + 1,
    };
    int err = ps_slots_init(&shard->slots, most_slots(size));
    if (err == PS_OK) {
        err = ps_policy_new(&shard->policy, (enum ps_policy_kind)opts->policy, &policy);
    }
    if (err != PS_OK) {
        return err;
    }
    shard->fixed = ps_slots_fixed_bytes(&shard->slots) + shard->policy->bytes + sizeof *shard;
    shard->limit = size > shard->fixed ? size - shard->fixed : 0;
    return shard->limit > PS_SLOT_BYTES + sizeof(struct ps_entry) ? PS_OK : PS_EINVAL;
}

static int make_shards(struct ps_l1 *l1, const struct ps_l1_opts *opts, size_t count)
{
    l1->shards = aligned_alloc(_Alignof(struct shard), count * sizeof(struct shard));
    if (l1->shards == NULL) {
        return PS_ENOMEM;
    }
    memset(l1->shards, 0, count * sizeof(struct shard));
    int err = PS_OK;
    for (size_t i = 0; i < count && err == PS_OK; i++) {
        if (pthread_mutex_init(&l1->shards[i].lock, NULL) != 0) {
            return PS_ENOMEM;
        }
        l1->count = i + 1;
        err = make_shard(&l1->shards[i], opts, opts->size / count);
    }
    return err;
}

int ps_l1_new(struct ps_l1 **out, const struct ps_l1_opts *opts)
{
    size_t shards = choose_shards(opts);
    if (shards > PS_L1_SHARDS_MAX || (shards & (shards - 1)) != 0) {
        return PS_EINVAL;
    }
    struct ps_l1 *l1 = calloc(1, sizeof *l1);
    if (l1 == NULL) {
        return PS_ENOMEM;
    }
    l1->max_age = opts->max_age;
    l1->max_entry = opts->max_entry;
    int err = ps_purge_log_new(&l1->purges, (size_t)opts->max_purges, opts->max_age);
    if (err == PS_OK) {
        err = make_shards(l1, opts, shards);
    }
    if (err != PS_OK) {
        ps_l1_free(l1);
        return err;
    }
    *out = l1;
    return PS_OK;
}

void ps_l1_free(struct ps_l1 *l1)
{
    if (l1 == NULL) {
        return;
    }
    for (size_t i = 0; i < l1->count; i++) {
        ps_policy_free(l1->shards[i].policy);
        ps_slots_fini(&l1->shards[i].slots);
        pthread_mutex_destroy(&l1->shards[i].lock);
    }
    free(l1->shards);
    ps_purge_log_free(l1->purges);
    free(l1);
}

/* ---------------------------------------------------------------- inside a shard, locked */

/* The last bytes of the key: the slots use the first, the sketch those between. */
static struct shard *shard_of(const struct ps_l1 *l1, const struct ps_key *key)
{
    return &l1->shards[key->bytes[PS_KEY_BYTES - 1] & (l1->count - 1)];
}

static uint64_t charge_of(const struct ps_entry *entry)
{
    return ps_entry_bytes(entry) + PS_SLOT_BYTES;
}

/* The slot's entry leaves; the reference is the caller's, to be given back outside the lock. */
static struct ps_entry *take_out(struct shard *shard, uint32_t id, bool known_to_policy)
{
    if (known_to_policy) {
        ps_policy_on_remove(shard->policy, id);
    }
    struct ps_entry *entry = ps_slots_remove(&shard->slots, id);
    shard->bytes -= charge_of(entry);
    return entry;
}

static enum ps_freshness freshness(const struct ps_l1 *l1, const struct ps_entry *entry,
                                   ps_time now)
{
    bool too_old = now > entry->born && now - entry->born > l1->max_age;
    return too_old ? PS_STALE_GONE : ps_entry_freshness(entry, now);
}

static void unref_all(struct ps_entry **entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ps_entry_unref(entries[i]);
    }
}

/* ---------------------------------------------------------------- get */

/* Takes the entry out if it is still the one of the key. */
static void remove_entry(struct shard *shard, const struct ps_key *key,
                         const struct ps_entry *entry, bool purged)
{
    struct ps_entry *gone = NULL;
    pthread_mutex_lock(&shard->lock);
    uint32_t id = ps_slots_find(&shard->slots, key);
    if (id != PS_SLOT_NONE && ps_slots_at(&shard->slots, id)->entry == entry) {
        gone = take_out(shard, id, true);
        shard->purged += purged;
        shard->expired += !purged;
    }
    pthread_mutex_unlock(&shard->lock);
    ps_entry_unref(gone);
}

static enum ps_l1_answer answer_of(const struct ps_l1 *l1, const struct ps_entry *entry,
                                   ps_time now)
{
    switch (freshness(l1, entry, now)) {
    case PS_FRESH:
        return PS_L1_HIT;
    case PS_STALE_USABLE:
        return PS_L1_STALE;
    case PS_STALE_ON_ERROR:
        return PS_L1_FALLBACK;
    case PS_STALE_GONE:
        break;
    }
    return PS_L1_MISS;
}

static void count(struct shard *shard, enum ps_l1_answer answer, const struct ps_entry *entry)
{
    bool hit = answer == PS_L1_HIT || answer == PS_L1_STALE;
    shard->hits += hit;
    shard->stale_hits += answer == PS_L1_STALE;
    shard->misses += !hit;
    shard->saved += hit ? (uint64_t)((double)entry->seconds * 1e9) : 0;
}

/* One look-up, locked. */
struct look {
    struct ps_entry *entry; /* a reference, or NULL */
    enum ps_l1_answer answer;
    bool sure; /* no purge is newer than what the entry has seen */
};

static struct look look_up(struct ps_l1 *l1, const struct ps_key *key, ps_time now, bool counts)
{
    struct shard *shard = shard_of(l1, key);
    struct look look = {NULL, PS_L1_MISS, true};
    pthread_mutex_lock(&shard->lock);
    uint32_t id = ps_slots_find(&shard->slots, key);
    if (id != PS_SLOT_NONE) {
        look.entry = ps_entry_ref(ps_slots_at(&shard->slots, id)->entry);
        look.answer = answer_of(l1, look.entry, now);
        look.sure = !ps_purge_log_is_ahead(l1->purges, look.entry);
    }
    if (counts) {
        ps_policy_on_lookup(shard->policy, key);
    }
    if (counts && id != PS_SLOT_NONE) {
        ps_policy_on_hit(shard->policy, id);
    }
    if (counts && look.sure) {
        count(shard, look.answer, look.entry);
    }
    pthread_mutex_unlock(&shard->lock);
    return look;
}

/* Matches the entry against purges that it has not seen; not under the shard's lock. */
static bool is_purged(struct ps_l1 *l1, const struct ps_key *key, struct look *look, bool counts)
{
    bool purged = ps_purge_log_hits(l1->purges, look->entry, key);
    look->answer = purged ? PS_L1_MISS : look->answer;
    if (counts) {
        struct shard *shard = shard_of(l1, key);
        pthread_mutex_lock(&shard->lock);
        count(shard, look->answer, look->entry);
        pthread_mutex_unlock(&shard->lock);
    }
    return purged;
}

static enum ps_l1_answer get(struct ps_l1 *l1, const struct ps_key *key, ps_time now, bool counts,
                             struct ps_entry **out)
{
    struct look look = look_up(l1, key, now, counts);
    bool purged = !look.sure && is_purged(l1, key, &look, counts);
    if (look.answer != PS_L1_MISS) {
        *out = look.entry;
        return look.answer;
    }
    if (look.entry != NULL) {
        remove_entry(shard_of(l1, key), key, look.entry, purged);
        ps_entry_unref(look.entry);
    }
    return PS_L1_MISS;
}

enum ps_l1_answer ps_l1_get(struct ps_l1 *l1, const struct ps_key *key, ps_time now,
                            struct ps_entry **out)
{
    return get(l1, key, now, true, out);
}

enum ps_l1_answer ps_l1_peek(struct ps_l1 *l1, const struct ps_key *key, ps_time now,
                             struct ps_entry **out)
{
    return get(l1, key, now, false, out);
}

/* ---------------------------------------------------------------- put */

/* Evicts until `need` more bytes fit, a handful at most. Returns how many left; they go to out[].
 */
static size_t make_room(struct shard *shard, uint64_t need, struct ps_entry *out[EVICT_AT_ONCE])
{
    size_t count = 0;
    while (count < EVICT_AT_ONCE && shard->bytes + need > shard->limit) {
        uint32_t id = ps_policy_victim(shard->policy);
        PS_CHECK(id != PS_SLOT_NONE); /* need is at most the limit */
        out[count++] = take_out(shard, id, false);
        shard->evictions++;
    }
    return count;
}

static int replace(struct shard *shard, uint32_t id, struct ps_entry *entry, struct ps_entry **old)
{
    struct ps_slot *slot = ps_slots_at(&shard->slots, id);
    ps_policy_on_remove(shard->policy, id);
    *old = slot->entry;
    slot->entry = entry;
    shard->bytes -= charge_of(*old);
    return PS_OK;
}

/* Locked, and there is room. */
static int insert(struct shard *shard, const struct ps_key *key, struct ps_entry *entry,
                  struct ps_entry **old)
{
    uint32_t id = ps_slots_find(&shard->slots, key);
    int err = id != PS_SLOT_NONE ? replace(shard, id, entry, old)
                                 : ps_slots_add(&shard->slots, key, entry, &id);
    if (err != PS_OK) {
        shard->refused++;
        return err;
    }
    ps_entry_ref(entry);
    shard->bytes += charge_of(entry);
    shard->stored++;
    ps_policy_on_insert(shard->policy, id);
    return PS_OK;
}

static int refuse(struct shard *shard, int err)
{
    pthread_mutex_lock(&shard->lock);
    shard->refused++;
    pthread_mutex_unlock(&shard->lock);
    return err;
}

int ps_l1_put(struct ps_l1 *l1, const struct ps_key *key, struct ps_entry *entry)
{
    struct shard *shard = shard_of(l1, key);
    uint64_t need = charge_of(entry);
    if (ps_entry_bytes(entry) > l1->max_entry || need > shard->limit) {
        return refuse(shard, PS_ELIMIT);
    }
    if (ps_purge_log_hits(l1->purges, entry, key)) {
        return refuse(shard, PS_ECANCELED);
    }
    for (;;) {
        struct ps_entry *leaving[EVICT_AT_ONCE];
        struct ps_entry *old = NULL;
        int err = PS_OK;
        pthread_mutex_lock(&shard->lock);
        size_t count = make_room(shard, need, leaving);
        bool fits = shard->bytes + need <= shard->limit;
        if (fits) {
            err = insert(shard, key, entry, &old);
        }
        pthread_mutex_unlock(&shard->lock);
        unref_all(leaving, count);
        ps_entry_unref(old);
        if (fits) {
            return err;
        }
    }
}

bool ps_l1_is_purged(struct ps_l1 *l1, const struct ps_key *key, struct ps_entry *entry)
{
    return ps_purge_log_hits(l1->purges, entry, key);
}

/* ---------------------------------------------------------------- taking out */

bool ps_l1_drop(struct ps_l1 *l1, const struct ps_key *key)
{
    struct shard *shard = shard_of(l1, key);
    struct ps_entry *gone = NULL;
    pthread_mutex_lock(&shard->lock);
    uint32_t id = ps_slots_find(&shard->slots, key);
    if (id != PS_SLOT_NONE) {
        gone = take_out(shard, id, true);
    }
    pthread_mutex_unlock(&shard->lock);
    ps_entry_unref(gone);
    return gone != NULL;
}

int ps_l1_invalidate(struct ps_l1 *l1, const struct ps_purge *purge, ps_time now)
{
    return ps_purge_log_add(l1->purges, purge, now);
}

/* What a sweep found in a shard: references, with their keys. */
struct found {
    struct ps_key keys[SWEEP_AT_ONCE];
    struct ps_entry *entries[SWEEP_AT_ONCE];
    size_t count;
};

/* The next slots of a shard. False when its end was reached; the next sweep begins anew. */
static bool collect(struct shard *shard, struct found *found)
{
    pthread_mutex_lock(&shard->lock);
    for (unsigned i = 0; i < SWEEP_AT_ONCE && shard->sweep < shard->slots.used; i++) {
        const struct ps_slot *slot = ps_slots_at(&shard->slots, ++shard->sweep);
        if (slot->entry != NULL) {
            found->keys[found->count] = slot->key;
            found->entries[found->count++] = ps_entry_ref(slot->entry);
        }
    }
    bool more = shard->sweep < shard->slots.used;
    shard->sweep = more ? shard->sweep : 0;
    pthread_mutex_unlock(&shard->lock);
    return more;
}

static size_t clear(struct ps_l1 *l1, struct shard *shard, struct found *found, ps_time now)
{
    size_t removed = 0;
    for (size_t i = 0; i < found->count; i++) {
        struct ps_entry *entry = found->entries[i];
        bool purged = ps_purge_log_hits(l1->purges, entry, &found->keys[i]);
        if (purged || freshness(l1, entry, now) == PS_STALE_GONE) {
            remove_entry(shard, &found->keys[i], entry, purged);
            removed++;
        }
        ps_entry_unref(entry);
    }
    return removed;
}

size_t ps_l1_sweep(struct ps_l1 *l1, ps_time now, size_t max)
{
    size_t removed = 0;
    size_t ends = 0; /* of shards that were reached: once round is enough */
    for (size_t looked = 0; looked < max && ends < l1->count; looked += SWEEP_AT_ONCE) {
        size_t at = atomic_load_explicit(&l1->next_sweep, memory_order_relaxed);
        struct shard *shard = &l1->shards[at & (l1->count - 1)];
        struct found found = {.count = 0};
        if (!collect(shard, &found)) {
            atomic_store_explicit(&l1->next_sweep, at + 1, memory_order_relaxed);
            ends++;
        }
        removed += clear(l1, shard, &found, now);
    }
    return removed;
}

/* ---------------------------------------------------------------- figures */

static void add_shard(struct shard *shard, struct ps_l1_stats *out)
{
    pthread_mutex_lock(&shard->lock);
    out->hits += shard->hits;
    out->stale_hits += shard->stale_hits;
    out->misses += shard->misses;
    out->entries += shard->slots.count;
    out->bytes += shard->bytes + shard->fixed;
    out->fixed_bytes += shard->fixed;
    out->size += shard->limit + shard->fixed;
    out->stored += shard->stored;
    out->evictions += shard->evictions;
    out->expired += shard->expired;
    out->purged += shard->purged;
    out->refused += shard->refused;
    out->gpu_seconds_saved += (double)shard->saved / 1e9;
    pthread_mutex_unlock(&shard->lock);
}

void ps_l1_read(struct ps_l1 *l1, struct ps_l1_stats *out)
{
    *out = (struct ps_l1_stats){0};
    for (size_t i = 0; i < l1->count; i++) {
        add_shard(&l1->shards[i], out);
    }
}

size_t ps_l1_shards(const struct ps_l1 *l1)
{
    return l1->count;
}

void ps_l1_read_shard(struct ps_l1 *l1, size_t shard, struct ps_l1_stats *out)
{
    PS_CHECK(shard < l1->count);
    *out = (struct ps_l1_stats){0};
    add_shard(&l1->shards[shard], out);
}

static bool shard_is_sane(struct shard *shard)
{
    uint64_t bytes = 0;
    uint32_t count = 0;
    bool found = true;
    pthread_mutex_lock(&shard->lock);
    for (uint32_t id = 1; id <= shard->slots.used; id++) {
        const struct ps_slot *slot = ps_slots_at(&shard->slots, id);
        if (slot->entry != NULL) {
            bytes += charge_of(slot->entry);
            count++;
            found = found && ps_slots_find(&shard->slots, &slot->key) == id;
        }
    }
    bool sane =
        found && bytes == shard->bytes && count == shard->slots.count && bytes <= shard->limit;
    pthread_mutex_unlock(&shard->lock);
    return sane;
}

bool ps_l1_is_sane(struct ps_l1 *l1)
{
    bool sane = true;
    for (size_t i = 0; i < l1->count; i++) {
        sane = shard_is_sane(&l1->shards[i]) && sane;
    }
    return sane;
}
