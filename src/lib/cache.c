/* The cache of penstock.h. */
#include <inttypes.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hist.h"
#include "base/le.h"
#include "gateway/tier.h"
#include "lib/cache_engine.h"
#include "lib/instance.h"
#include "lib/process.h"
#include "lib/settings.h"

enum { SWEEP_SLOTS = 32 /* with each set, when no thread does it */ };

#define TTL_MAX_MS INT64_C(1000000000000) /* thirty years: no overflow in nanoseconds */

struct ps_cache {
    /* constant */
    struct ps_tiers *tiers;
    struct ps_l1 *l1;
    struct ps_redis_hub *hub;       /* or NULL */
    struct ps_cache_engine *engine; /* when there is a hub */
    unsigned generation;            /* of the process that made it */

    /* shared, atomic */
    _Atomic uint64_t lookups;
    _Atomic uint64_t l1_hits;
    _Atomic uint64_t l2_hits;
};

static ps_time now(void)
{
    return ps_clock_wall(&ps_clock_real);
}

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* Is it this process's? */
static int check(const struct ps_cache *cache)
{
    return ps_process_is(cache->generation)
               ? PS_OK
               : ps_process_fail(PS_ECLOSED, "the cache was made before fork()");
}

/* --- life ------------------------------------------------------------------------------------- */

static int open_tiers(struct ps_cache *cache, const struct ps_cache_opts *opts)
{
    char reason[256] = "";
    const struct ps_tiers_opts tiers = {.l1 = &opts->l1, .redis = &opts->redis};
    int err = ps_tiers_new(&cache->tiers, &tiers, reason, sizeof reason);
    if (err != PS_OK) {
        return ps_process_fail(err, "%s", reason[0] != '\0' ? reason : ps_err_text(err));
    }
    cache->l1 = ps_tiers_l1(cache->tiers);
    cache->hub = ps_tiers_hub(cache->tiers);
    if (cache->hub != NULL) {
        err = ps_cache_engine_new(&cache->engine, cache->tiers);
    }
    return err == PS_OK ? PS_OK : ps_process_fail(err, "the cache's thread can't be started");
}

/* What the library reads of a configuration. */
struct settings {
    struct ps_cache_opts cache;
};

/* clang-format off */
static const struct ps_option settings_options[] = {
    PS_OPTION_ROW(settings, cache, SECTION, NULL, "answers that are remembered", .table = ps_cache_options),
    {0},
};
/* clang-format on */

/* Takes the settings over, which were read or not. */
static int make(struct ps_cache **out, struct settings *settings, int err)
{
    struct ps_cache *cache = err == PS_OK ? calloc(1, sizeof *cache) : NULL;
    if (err != PS_OK) {
        return err;
    }
    err = cache == NULL ? ps_process_no_memory() : PS_OK;
    if (err == PS_OK) {
        cache->generation = ps_process_generation();
        err = open_tiers(cache, &settings->cache);
    }
    ps_option_fini(settings_options, settings);
    if (err != PS_OK) {
        ps_cache_free(cache);
        return err;
    }
    *out = cache;
    return PS_OK;
}

int ps_cache_new(struct ps_cache **out, const char *file)
{
    struct settings settings;
    return make(out, &settings, ps_settings_load(settings_options, &settings, file, NULL));
}

int ps_cache_new_text(struct ps_cache **out, const char *text, size_t len)
{
    struct settings settings;
    struct ps_str all = {text, len};
    return make(out, &settings, ps_settings_parse(settings_options, &settings, all, NULL));
}

void ps_cache_free(struct ps_cache *cache)
{
    if (cache != NULL && ps_process_is(cache->generation)) {
        ps_cache_engine_free(cache->engine);
        ps_tiers_free(cache->tiers);
        free(cache);
    }
}

/* --- the default ------------------------------------------------------------------------------ */

static int make_default(void **out, const char *file)
{
    struct ps_cache *cache = NULL;
    int err = ps_cache_new(&cache, file);
    if (err == PS_OK) {
        *out = cache;
    }
    return err;
}

static void end_default(void *cache)
{
    ps_cache_free(cache);
}

struct ps_cache *ps_cache_default(void)
{
    static struct ps_instance instance = {.make = make_default, .end = end_default};
    return ps_instance_get(&instance);
}

/* --- keys ------------------------------------------------------------------------------------- */

static bool digest(const struct ps_cache_key *key, struct ps_str tenant, struct ps_key *out)
{
    static const char version[] = "penstock library key 1"; /* with its zero byte */
    unsigned char tenant_len[4];
    unsigned char key_len[8];
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    ps_le_put(tenant_len, tenant.len, sizeof tenant_len);
    ps_le_put(key_len, key->len, sizeof key_len);
    bool fine = sha != NULL && EVP_DigestInit_ex(sha, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(sha, version, sizeof version) == 1 &&
                EVP_DigestUpdate(sha, tenant_len, sizeof tenant_len) == 1 &&
                EVP_DigestUpdate(sha, tenant.ptr, tenant.len) == 1 &&
                EVP_DigestUpdate(sha, key_len, sizeof key_len) == 1 &&
                EVP_DigestUpdate(sha, key->bytes, key->len) == 1 &&
                EVP_DigestFinal_ex(sha, out->bytes, NULL) == 1;
    EVP_MD_CTX_free(sha);
    return fine;
}

static int key_of(const struct ps_cache_key *key, struct ps_key *out)
{
    struct ps_str tenant = ps_str_from(key->tenant);
    if (tenant.len > PS_ENTRY_NAME_MAX) {
        return ps_process_fail(PS_EINVAL, "the tenant has more than %d bytes", PS_ENTRY_NAME_MAX);
    }
    return digest(key, tenant, out) ? PS_OK : ps_process_no_memory();
}

static int enter(const struct ps_cache *cache, const struct ps_cache_key *key, struct ps_key *out)
{
    int err = check(cache);
    return err != PS_OK ? err : key_of(key, out);
}

int ps_cache_key_hash(const struct ps_cache_key *key, char out[PS_CACHE_HEX])
{
    struct ps_key hash;
    int err = key_of(key, &hash);
    if (err == PS_OK) {
        ps_key_hex(&hash, out);
    }
    return err;
}

_Static_assert(PS_CACHE_HEX == 2 * PS_KEY_BYTES + 1, "the header promises it");

/* --- set -------------------------------------------------------------------------------------- */

static int check_about(const struct ps_cache_about *about)
{
    bool fine = about->ttl_ms >= 0 && about->stale_ms >= 0 && about->ttl_ms <= TTL_MAX_MS &&
                about->stale_ms <= TTL_MAX_MS && isfinite(about->seconds) && about->seconds >= 0 &&
                about->seconds <= 1e9;
    if (!fine) {
        return ps_process_fail(PS_EINVAL, "a time must be a number from 0 on, and no aeon");
    }
    return about->tags_count <= PS_ENTRY_TAGS_MAX
               ? PS_OK
               : ps_process_fail(PS_EINVAL, "more than %d tags", PS_ENTRY_TAGS_MAX);
}

static int make_entry(struct ps_entry **out, const char *tenant, struct ps_str value,
                      const struct ps_cache_about *about)
{
    struct ps_str tags[PS_ENTRY_TAGS_MAX];
    ps_time stored = now();
    for (size_t i = 0; i < about->tags_count; i++) {
        tags[i] = ps_str_from(about->tags[i]);
    }
    const struct ps_entry_spec spec = {
        .status = 200,
        .kind = PS_ENTRY_BYTES,
        .body = value,
        .route = ps_str_from(about->route),
        .model = ps_str_from(about->model),
        .tenant = ps_str_from(tenant),
        .tags = tags,
        .tags_count = about->tags_count,
        .born = stored - (ps_time)(about->seconds * 1e9),
        .stored = stored,
        .fresh = about->ttl_ms == 0 ? PS_NEVER : about->ttl_ms * PS_MILLISECOND,
        .while_revalidate = about->stale_ms * PS_MILLISECOND,
        .seconds = about->seconds,
    };
    int err = ps_entry_new(out, &spec);
    return err == PS_OK ? PS_OK
           : err == PS_EINVAL
               ? ps_process_fail(err, "a name has more than %d bytes", PS_ENTRY_NAME_MAX)
               : ps_process_fail(err, "%s", ps_err_text(err));
}

static int put(struct ps_cache *cache, const struct ps_key *key, struct ps_entry *entry)
{
    int err = ps_l1_put(cache->l1, key, entry);
    if (cache->engine == NULL) {
        ps_l1_sweep(cache->l1, now(), SWEEP_SLOTS);
    } else if (err != PS_ECANCELED) {
        ps_cache_engine_send(cache->engine, key, entry);
    }
    return err == PS_OK          ? PS_OK
           : err == PS_ECANCELED ? ps_process_fail(err, "it was invalidated while it was made")
           : err == PS_ELIMIT    ? ps_process_fail(err, "it is larger than cache.l1.max_entry")
                                 : ps_process_fail(err, "%s", ps_err_text(err));
}

int ps_cache_set(struct ps_cache *cache, const struct ps_cache_key *key, const void *value,
                 size_t len, const struct ps_cache_about *about)
{
    static const struct ps_cache_about nothing;
    struct ps_key hash;
    struct ps_entry *entry = NULL;
    about = about == NULL ? &nothing : about;
    int err = enter(cache, key, &hash);
    err = err != PS_OK ? err : check_about(about);
    err = err != PS_OK ? err : make_entry(&entry, key->tenant, (struct ps_str){value, len}, about);
    err = err != PS_OK ? err : put(cache, &hash, entry);
    ps_entry_unref(entry);
    return err;
}

/* --- get -------------------------------------------------------------------------------------- */

static void show(struct ps_entry *entry, bool l2, struct ps_cache_view *out)
{
    ps_time at = now();
    struct ps_str body = ps_entry_body(entry);
    *out = (struct ps_cache_view){
        .data = body.ptr,
        .len = body.len,
        .age = ps_span_seconds(ps_entry_age(entry, at)),
        .stale = ps_entry_freshness(entry, at) != PS_FRESH,
        .l2 = l2,
        .held = entry,
    };
}

static struct ps_entry *find_in_l1(struct ps_cache *cache, const struct ps_key *key)
{
    struct ps_entry *entry = NULL;
    switch (ps_tiers_get(cache->tiers, key, now(), &entry)) {
    case PS_L1_HIT:
    case PS_L1_STALE:
        count(&cache->l1_hits);
        return entry;
    case PS_L1_FALLBACK:
    case PS_L1_MISS:
        break;
    }
    ps_entry_unref(entry);
    return NULL;
}

static struct ps_entry *find_in_l2(struct ps_cache *cache, const struct ps_key *key)
{
    struct ps_entry *entry =
        cache->engine == NULL ? NULL : ps_cache_engine_fetch(cache->engine, key);
    if (entry != NULL) {
        count(&cache->l2_hits);
    }
    return entry;
}

int ps_cache_get(struct ps_cache *cache, const struct ps_cache_key *key, struct ps_cache_view *out)
{
    struct ps_key hash;
    int err = enter(cache, key, &hash);
    if (err != PS_OK) {
        return err;
    }
    count(&cache->lookups);
    struct ps_entry *entry = find_in_l1(cache, &hash);
    bool l2 = entry == NULL;
    entry = l2 ? find_in_l2(cache, &hash) : entry;
    if (entry == NULL) {
        return PS_ENOTFOUND;
    }
    show(entry, l2, out);
    return PS_OK;
}

void ps_cache_release(struct ps_cache_view *view)
{
    if (view != NULL) {
        ps_entry_unref(view->held);
        *view = (struct ps_cache_view){.data = NULL};
    }
}

/* --- invalidation ----------------------------------------------------------------------------- */

static int fail_purge(int err)
{
    return err == PS_EINVAL
               ? ps_process_fail(err, "a pattern has 1 to %d bytes, a tenant at most %d",
                                 PS_PURGE_TEXT_MAX, PS_ENTRY_NAME_MAX)
               : ps_process_fail(err, "%s", ps_err_text(err));
}

/* Here by the caller, so that it holds when the call returns; then everywhere. */
static int invalidate_everywhere(struct ps_cache *cache, const struct ps_purge *purge,
                                 struct ps_cache_told *told)
{
    struct ps_cache_engine_purge *sent = NULL;
    struct ps_cache_engine_told servers = {0, 0};
    int err = ps_cache_engine_purge_new(&sent, cache->engine, purge);
    if (err == PS_OK) {
        err = ps_l1_invalidate(cache->l1, purge, purge->at);
    }
    if (err != PS_OK) {
        ps_cache_engine_purge_free(sent);
        return fail_purge(err);
    }
    err = ps_cache_engine_invalidate_take(sent, told == NULL ? NULL : &servers);
    if (told != NULL) {
        *told = (struct ps_cache_told){servers.done, servers.failed};
    }
    return err == PS_OK ? PS_OK : ps_process_fail(err, "too many are under way; it is told later");
}

static int invalidate(struct ps_cache *cache, struct ps_purge *purge, struct ps_cache_told *told)
{
    int err = check(cache);
    if (err != PS_OK) {
        return err;
    }
    purge->at = now();
    if (cache->engine != NULL) {
        return invalidate_everywhere(cache, purge, told);
    }
    err = ps_l1_invalidate(cache->l1, purge, purge->at);
    if (err == PS_OK && told != NULL) {
        *told = (struct ps_cache_told){0, 0};
    }
    return err == PS_OK ? PS_OK : fail_purge(err);
}

int ps_cache_invalidate_pattern(struct ps_cache *cache, const char *pattern, const char *tenant,
                                struct ps_cache_told *told)
{
    struct ps_purge purge = {.kind = PS_PURGE_PATTERN,
                             .text = ps_str_from(pattern),
                             .tenant = ps_str_from(tenant),
                             .has_tenant = tenant != NULL};
    return invalidate(cache, &purge, told);
}

int ps_cache_invalidate(struct ps_cache *cache, const struct ps_cache_key *key,
                        struct ps_cache_told *told)
{
    struct ps_purge purge = {.kind = PS_PURGE_KEY};
    int err = key_of(key, &purge.key);
    return err != PS_OK ? err : invalidate(cache, &purge, told);
}

/* --- figures ---------------------------------------------------------------------------------- */

struct sums {
    struct ps_cache_stats *stats;
    struct ps_hist latency;
};

static void add_node(void *ctx, const struct ps_redis_node_stats *node)
{
    struct sums *sums = ctx;
    sums->stats->l2_nodes++;
    sums->stats->l2_lookups += node->gets;
    sums->stats->l2_errors += node->errors + node->rejected;
    sums->stats->l2_late += node->late;
    ps_hist_merge(&sums->latency, node->latency);
}

static double milliseconds(const struct ps_hist *hist, double share)
{
    return hist->count == 0 ? 0 : ps_hist_percentile(hist, share) / 1e6;
}

static int read_l2(struct ps_cache *cache, struct ps_cache_stats *out)
{
    struct sums *sums = calloc(1, sizeof *sums);
    struct ps_tiers_stats tiers;
    if (sums == NULL) {
        return ps_process_no_memory();
    }
    sums->stats = out;
    ps_redis_hub_stats(cache->hub, add_node, sums);
    ps_tiers_read(cache->tiers, &tiers);
    out->l2_ready = ps_tiers_is_ready(cache->tiers);
    out->l2_p50_ms = milliseconds(&sums->latency, 0.5);
    out->l2_p99_ms = milliseconds(&sums->latency, 0.99);
    out->imbalance_percent = ps_redis_hub_imbalance_percent(cache->hub);
    out->gpu_seconds_saved += tiers.gpu_seconds_saved;
    free(sums);
    return PS_OK;
}

static double rate_of(const struct ps_cache_stats *stats)
{
    double hits = (double)(stats->l1_hits + stats->l2_hits);
    return stats->lookups == 0 ? -1 : 100 * hits / (double)stats->lookups;
}

int ps_cache_stats(struct ps_cache *cache, struct ps_cache_stats *out)
{
    struct ps_l1_stats l1;
    int err = check(cache);
    if (err != PS_OK) {
        return err;
    }
    ps_l1_read(cache->l1, &l1);
    /* A look-up is counted before its hit, and read after it: never more than there were. */
    struct ps_cache_stats stats = {.l1_hits = atomic_load(&cache->l1_hits),
                                   .l2_hits = atomic_load(&cache->l2_hits)};
    stats.lookups = atomic_load(&cache->lookups);
    stats.hit_rate_percent = rate_of(&stats);
    stats.gpu_seconds_saved = l1.gpu_seconds_saved;
    stats.entries = l1.entries;
    stats.bytes = l1.bytes;
    stats.bytes_max = l1.size;
    stats.stored = l1.stored;
    stats.evicted = l1.evictions;
    stats.expired = l1.expired;
    stats.invalidated = l1.purged;
    stats.refused = l1.refused;
    err = cache->hub == NULL ? PS_OK : read_l2(cache, &stats);
    if (err == PS_OK) {
        *out = stats;
    }
    return err;
}

/* --- nodes ------------------------------------------------------------------------------------ */

int ps_cache_assigned_node(struct ps_cache *cache, const struct ps_cache_key *key, char *name,
                           size_t size)
{
    char found[PS_CACHE_NODE_NAME] = "";
    struct ps_key hash;
    int err = enter(cache, key, &hash);
    if (err != PS_OK) {
        return err;
    }
    if (cache->hub != NULL) {
        ps_redis_hub_assigned(cache->hub, hash.bytes, found, sizeof found);
    }
    if (found[0] == '\0') {
        return PS_ENOTFOUND;
    }
    snprintf(name, size, "%s", found);
    return PS_OK;
}

struct nodes {
    struct ps_cache_node *items;
    size_t max;
    size_t count;
};

static void take_node(void *ctx, const struct ps_redis_node_stats *node)
{
    struct nodes *nodes = ctx;
    if (nodes->count++ >= nodes->max) {
        return;
    }
    struct ps_cache_node *out = &nodes->items[nodes->count - 1];
    *out = (struct ps_cache_node){
        .up = node->state == PS_REDIS_CLOSED,
        .weight = node->weight,
        .slots = node->slots,
        .share_percent = node->share_percent,
        .keys = node->keys_known && node->keys <= INT64_MAX ? (int64_t)node->keys : -1,
        .operations = node->operations,
        .hits = node->hits,
        .bytes_in = node->bytes_in,
        .bytes_out = node->bytes_out,
    };
    snprintf(out->name, sizeof out->name, "%s", node->node);
}

int ps_cache_node_distribution(struct ps_cache *cache, struct ps_cache_node *nodes, size_t max,
                               size_t *count)
{
    struct nodes found = {.items = nodes, .max = max};
    int err = check(cache);
    if (err != PS_OK) {
        return err;
    }
    if (cache->hub != NULL) {
        ps_redis_hub_stats(cache->hub, take_node, &found);
    }
    *count = found.count;
    return PS_OK;
}
