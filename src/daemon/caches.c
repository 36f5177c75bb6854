#include "daemon/caches.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hist.h"
#include "base/log.h"
#include "daemon/config.h"
#include "gateway/flight.h"
#include "gateway/gateway.h"
#include "gateway/tier.h"
#include "io/loop.h"
#include "operate/json.h"

enum {
    SECONDS = 300, /* of hit_rate_percent_5m */
    NODES = 64,    /* cache servers whose figures are published */
    NODE_NAME = 256
};

enum {
    ROW_HITS,
    ROW_STALE,
    ROW_COLLAPSED,
    ROW_MISSES,
    ROW_BYPASSED,
    ROW_L2_HITS,
    ROW_L2_MISSES,
    ROW_L2_REFUSED,
    ROW_ENTRIES,
    ROW_BYTES,
    ROW_STORED,
    ROW_EVICTED,
    ROW_EXPIRED,
    ROW_PURGED,
    ROW_REFUSED,
    ROW_SAVED,
    ROW_FLIGHTS,
    ROW_L1_HITS,
    ROW_L1_MISSES,
    ROWS
};

enum { FAMILY_ANSWERS, FAMILY_L2, FAMILY_ENTRIES, FAMILY_BYTES, FAMILY_STORED, FAMILY_REMOVED, FAMILY_REFUSED,
       FAMILY_SAVED, FAMILY_FLIGHTS, FAMILY_L1, FAMILY_NODE_OPERATIONS, FAMILY_NODE_UP };

/* clang-format off */
const struct ps_metric_family ps_caches_metric_families[] = {
    [FAMILY_ANSWERS] = {.name = "penstock_cache_answers_total", .type = PS_METRIC_COUNTER, .labels = {"result"},
     .help = "Answers on routes with a cache by what it did: hit, stale, collapsed (joined a call under way), miss, bypass"},
    [FAMILY_L2] = {.name = "penstock_cache_l2_fetches_total", .type = PS_METRIC_COUNTER, .labels = {"result"},
     .help = "Look-ups in Redis by result: hit, miss, refused (a node is away or too busy to be asked)"},
    [FAMILY_ENTRIES] = {.name = "penstock_cache_entries", .type = PS_METRIC_GAUGE,
     .help = "Answers in memory"},
    [FAMILY_BYTES] = {.name = "penstock_cache_bytes", .type = PS_METRIC_GAUGE, .unit = "bytes",
     .help = "Memory that answers and their book-keeping take"},
    [FAMILY_STORED] = {.name = "penstock_cache_stored_total", .type = PS_METRIC_COUNTER,
     .help = "Answers stored in memory"},
    [FAMILY_REMOVED] = {.name = "penstock_cache_removed_total", .type = PS_METRIC_COUNTER, .labels = {"reason"},
     .help = "Answers that left memory by reason: evicted, expired, purged"},
    [FAMILY_REFUSED] = {.name = "penstock_cache_refused_total", .type = PS_METRIC_COUNTER,
     .help = "Answers that were not stored: too large, or purged before they were complete"},
    [FAMILY_SAVED] = {.name = "penstock_cache_gpu_seconds_saved_total", .type = PS_METRIC_COUNTER, .per_unit = 1e9,
     .help = "Upstream time of the answers that were served from memory or Redis instead, in seconds"},
    [FAMILY_FLIGHTS] = {.name = "penstock_cache_flights", .type = PS_METRIC_GAUGE,
     .help = "Upstream calls under way that others may join"},
    [FAMILY_L1] = {.name = "penstock_cache_l1_lookups_total", .type = PS_METRIC_COUNTER, .labels = {"result"},
     .help = "Look-ups in memory by result: hit, miss; the items of a list each by itself"},
    [FAMILY_NODE_OPERATIONS] = {.name = "penstock_cache_node_operations_total", .type = PS_METRIC_COUNTER,
     .labels = {"node"}, .help = "Commands sent to the cache server"},
    [FAMILY_NODE_UP] = {.name = "penstock_cache_node_up", .type = PS_METRIC_GAUGE, .labels = {"node"},
     .help = "1 while the cache server is asked, 0 while it is left alone"},
    {0},
};
/* clang-format on */

/* A row of the page: where it stands, and how it is read. */
static const struct {
    unsigned family;
    const char *label;
} rows[ROWS] = {
    [ROW_HITS] = {FAMILY_ANSWERS, "hit"},
    [ROW_STALE] = {FAMILY_ANSWERS, "stale"},
    [ROW_COLLAPSED] = {FAMILY_ANSWERS, "collapsed"},
    [ROW_MISSES] = {FAMILY_ANSWERS, "miss"},
    [ROW_BYPASSED] = {FAMILY_ANSWERS, "bypass"},
    [ROW_L2_HITS] = {FAMILY_L2, "hit"},
    [ROW_L2_MISSES] = {FAMILY_L2, "miss"},
    [ROW_L2_REFUSED] = {FAMILY_L2, "refused"},
    [ROW_ENTRIES] = {FAMILY_ENTRIES, NULL},
    [ROW_BYTES] = {FAMILY_BYTES, NULL},
    [ROW_STORED] = {FAMILY_STORED, NULL},
    [ROW_EVICTED] = {FAMILY_REMOVED, "evicted"},
    [ROW_EXPIRED] = {FAMILY_REMOVED, "expired"},
    [ROW_PURGED] = {FAMILY_REMOVED, "purged"},
    [ROW_REFUSED] = {FAMILY_REFUSED, NULL},
    [ROW_SAVED] = {FAMILY_SAVED, NULL},
    [ROW_FLIGHTS] = {FAMILY_FLIGHTS, NULL},
    [ROW_L1_HITS] = {FAMILY_L1, "hit"},
    [ROW_L1_MISSES] = {FAMILY_L1, "miss"},
};

/* Look-ups and hits up to a second. */
struct sample {
    uint64_t lookups;
    uint64_t hits;
};

struct watch {
    const struct ps_caches *caches;
    unsigned row;
};

/* A cache server's figures. */
struct node {
    char name[NODE_NAME];
    struct ps_counter *operations;
    struct ps_gauge *up;
    uint64_t told; /* operations */
    bool seen;
};

struct ps_caches {
    struct node nodes[NODES];
    size_t node_count;
    struct ps_tiers *tiers;
    struct ps_flights *flights;
    struct ps_tier_keeper *keeper;
    struct ps_cache_tally tally;
    struct ps_loop *loop;
    struct ps_timer timer;
    struct sample past[SECONDS]; /* a ring */
    size_t seconds;              /* since the start */
    struct ps_metrics *metrics;
    struct watch watches[ROWS];
    struct ps_metric_handle *handles[ROWS];
};

/* --- figures ---------------------------------------------------------------------------------- */

static uint64_t part(const struct ps_caches *caches, enum ps_cache_part which)
{
    return atomic_load_explicit(&caches->tally.parts[which], memory_order_relaxed);
}

static struct sample sample_now(const struct ps_caches *caches)
{
    uint64_t hits = part(caches, PS_CACHE_HIT) + part(caches, PS_CACHE_STALE);
    return (struct sample){hits + part(caches, PS_CACHE_MISS) + part(caches, PS_CACHE_COLLAPSED), hits};
}

static double read_tiers(const struct ps_tiers_stats *l2, const struct ps_l1_stats *l1, unsigned row)
{
    switch (row) {
    case ROW_L2_HITS:
        return (double)l2->hits;
    case ROW_L2_MISSES:
        return (double)(l2->fetches - l2->hits - l2->refused);
    case ROW_L2_REFUSED:
        return (double)l2->refused;
    case ROW_ENTRIES:
        return (double)l1->entries;
    case ROW_BYTES:
        return (double)l1->bytes;
    case ROW_STORED:
        return (double)l1->stored;
    case ROW_EVICTED:
        return (double)l1->evictions;
    case ROW_EXPIRED:
        return (double)l1->expired;
    case ROW_PURGED:
        return (double)l1->purged;
    case ROW_REFUSED:
        return (double)l1->refused;
    case ROW_L1_HITS:
        return (double)l1->hits;
    case ROW_L1_MISSES:
        return (double)l1->misses;
    default:
        return l1->gpu_seconds_saved + l2->gpu_seconds_saved;
    }
}

static double read_row(void *context)
{
    const struct watch *watch = context;
    const struct ps_caches *caches = watch->caches;
    static const enum ps_cache_part parts[] = {PS_CACHE_HIT, PS_CACHE_STALE, PS_CACHE_COLLAPSED, PS_CACHE_MISS,
                                               PS_CACHE_BYPASS};
    if (watch->row <= ROW_BYPASSED) {
        return (double)part(caches, parts[watch->row]);
    }
    if (watch->row == ROW_FLIGHTS) {
        return (double)ps_flights_count(caches->flights);
    }
    struct ps_l1_stats l1;
    struct ps_tiers_stats l2;
    ps_l1_read(ps_tiers_l1(caches->tiers), &l1);
    ps_tiers_read(caches->tiers, &l2);
    return read_tiers(&l2, &l1, watch->row);
}

static int publish(struct ps_caches *caches, struct ps_metrics *metrics)
{
    int err = ps_metrics_declare(metrics, ps_caches_metric_families, NULL);
    caches->metrics = metrics;
    for (unsigned i = 0; err == PS_OK && i < ROWS; i++) {
        const struct ps_metric_labels *labels =
            rows[i].label == NULL ? NULL : PS_LABELS(ps_str_from(rows[i].label));
        caches->watches[i] = (struct watch){caches, i};
        err = ps_metric_watch(metrics, &ps_caches_metric_families[rows[i].family], labels, read_row,
                              &caches->watches[i], &caches->handles[i]);
    }
    return err;
}

/* The servers of a cluster come and go: each has its series from when it is first seen. */
static struct node *node_of(struct ps_caches *caches, const char *name)
{
    for (size_t i = 0; i < caches->node_count; i++) {
        if (strcmp(caches->nodes[i].name, name) == 0) {
            return &caches->nodes[i];
        }
    }
    if (caches->node_count == NODES || strlen(name) >= NODE_NAME) {
        return NULL;
    }
    struct node *node = &caches->nodes[caches->node_count];
    const struct ps_metric_labels *labels = PS_LABELS(ps_str_from(name));
    *node = (struct node){.told = 0};
    snprintf(node->name, sizeof node->name, "%s", name);
    int err = ps_metric_counter(caches->metrics, &ps_caches_metric_families[FAMILY_NODE_OPERATIONS], labels,
                                &node->operations);
    err = err != PS_OK ? err
                       : ps_metric_gauge(caches->metrics, &ps_caches_metric_families[FAMILY_NODE_UP], labels,
                                         &node->up);
    caches->node_count += err == PS_OK ? 1 : 0;
    return err == PS_OK ? node : NULL;
}

static void show_node(void *ctx, const struct ps_redis_node_stats *stats)
{
    struct node *node = node_of(ctx, stats->node);
    if (node == NULL) {
        return;
    }
    uint64_t more = stats->operations > node->told ? stats->operations - node->told : 0;
    ps_counter_add_shared(node->operations, more);
    ps_gauge_set(node->up, stats->state == PS_REDIS_CLOSED ? 1 : 0);
    node->told = stats->operations;
    node->seen = true;
}

static void show_nodes(struct ps_caches *caches)
{
    struct ps_redis_hub *hub = ps_tiers_hub(caches->tiers);
    for (size_t i = 0; i < caches->node_count; i++) {
        caches->nodes[i].seen = false;
    }
    if (hub != NULL) {
        ps_redis_hub_stats(hub, show_node, caches);
    }
    for (size_t i = 0; i < caches->node_count; i++) {
        if (!caches->nodes[i].seen) {
            ps_gauge_set(caches->nodes[i].up, NAN);
        }
    }
}

static void on_second(struct ps_timer *timer, ps_time now)
{
    struct ps_caches *caches = PS_CONTAINER_OF(timer, struct ps_caches, timer);
    show_nodes(caches);
    caches->past[caches->seconds++ % SECONDS] = sample_now(caches);
    PS_IGNORE(ps_timer_set(caches->loop, timer, now + PS_SECOND));
}

/* --- life ------------------------------------------------------------------------------------- */

static void on_node(void *ctx, const char *node, bool up, const char *reason)
{
    (void)ctx;
    ps_log(up ? PS_LOG_INFO : PS_LOG_WARN, up ? "cache server is back" : "cache server is left alone", "node", node,
           "reason", reason, NULL);
}

static int open_all(struct ps_caches *caches, const struct ps_cache_opts *opts, char *reason, size_t size)
{
    struct ps_tiers_opts tiers = {.l1 = &opts->l1, .redis = &opts->redis, .observer = {on_node, NULL}};
    int err = ps_tiers_new(&caches->tiers, &tiers, reason, size);
    err = err != PS_OK ? err : ps_flights_new(&caches->flights, (size_t)opts->l1.max_entry);
    return err != PS_OK ? err : ps_tier_keeper_new(&caches->keeper, caches->tiers, caches->loop);
}

int ps_caches_new(struct ps_caches **out, const struct ps_cache_opts *opts, struct ps_loop *loop,
                  struct ps_metrics *metrics, char *reason, size_t size)
{
    struct ps_caches *caches = calloc(1, sizeof *caches);
    if (caches == NULL) {
        return PS_ENOMEM;
    }
    caches->loop = loop;
    caches->timer.on_time = on_second;
    int err = open_all(caches, opts, reason, size);
    err = err != PS_OK ? err : publish(caches, metrics);
    err = err != PS_OK ? err : ps_timer_set(loop, &caches->timer, ps_loop_now(loop) + PS_SECOND);
    if (err != PS_OK) {
        ps_caches_free(caches);
        return err;
    }
    *out = caches;
    return PS_OK;
}

void ps_caches_free(struct ps_caches *caches)
{
    if (caches == NULL) {
        return;
    }
    for (size_t i = 0; i < ROWS; i++) {
        if (caches->handles[i] != NULL) {
            ps_metric_unwatch(caches->metrics, caches->handles[i], &caches->watches[i]);
        }
    }
    for (size_t i = 0; i < caches->node_count; i++) {
        ps_metric_put(caches->metrics, &caches->nodes[i].operations->handle);
        ps_metric_put(caches->metrics, &caches->nodes[i].up->handle);
    }
    ps_timer_clear(caches->loop, &caches->timer);
    ps_tier_keeper_free(caches->keeper);
    ps_flights_free(caches->flights);
    ps_tiers_free(caches->tiers);
    free(caches);
}

void ps_caches_lend(struct ps_caches *caches, struct ps_gateway_opts *opts)
{
    opts->tiers = caches->tiers;
    opts->flights = caches->flights;
    opts->tally = &caches->tally;
}

/* --- GET /api/cache/stats --------------------------------------------------------------------- */

/* Share of hits from one sample to another; absent without a look-up. */
static void add_rate(json_t *object, const char *name, struct sample from, struct sample to)
{
    uint64_t lookups = to.lookups - from.lookups;
    if (lookups > 0) {
        double percent = 100.0 * (double)(to.hits - from.hits) / (double)lookups;
        json_object_set_new(object, name, json_real(percent));
    }
}

static json_t *l1_json(const struct ps_l1_stats *l1)
{
    return json_pack("{sI sI sI sI sI sI}", "hits", (json_int_t)l1->hits, "misses", (json_int_t)l1->misses, "entries",
                     (json_int_t)l1->entries, "bytes", (json_int_t)l1->bytes, "size", (json_int_t)l1->size,
                     "evictions", (json_int_t)l1->evictions);
}

/* What is summed up over the nodes. */
struct nodes {
    json_t *list;
    struct ps_hist latency;
    uint64_t errors;
};

static void on_node_stats(void *ctx, const struct ps_redis_node_stats *stats)
{
    struct nodes *nodes = ctx;
    json_t *node = json_pack("{ss ss sI sf sI sI}", "node", stats->node, "state",
                             ps_redis_state_text(stats->state), "slots", (json_int_t)stats->slots, "share_percent",
                             stats->share_percent, "operations", (json_int_t)stats->operations, "bytes",
                             (json_int_t)(stats->bytes_in + stats->bytes_out));
    if (node != NULL && stats->keys_known) {
        json_object_set_new(node, "keys", json_integer((json_int_t)stats->keys));
    }
    json_array_append_new(nodes->list, node);
    ps_hist_merge(&nodes->latency, stats->latency);
    nodes->errors += stats->errors + stats->late + stats->rejected + stats->set_failures;
}

static void add_l2(struct ps_caches *caches, json_t *root, const struct ps_tiers_stats *l2)
{
    struct ps_redis_hub *hub = ps_tiers_hub(caches->tiers);
    struct nodes *nodes = hub == NULL ? NULL : calloc(1, sizeof *nodes);
    if (nodes == NULL) {
        return;
    }
    nodes->list = json_array();
    ps_hist_clear(&nodes->latency);
    ps_redis_hub_stats(hub, on_node_stats, nodes);
    json_t *object =
        json_pack("{sI sI sI sI}", "hits", (json_int_t)l2->hits, "misses", (json_int_t)(l2->fetches - l2->hits),
                  "errors", (json_int_t)nodes->errors, "stores", (json_int_t)l2->stores);
    double p50 = ps_hist_percentile(&nodes->latency, 0.5) / 1e6;
    if (!isnan(p50)) {
        json_object_set_new(object, "latency_ms",
                            json_pack("{sf sf}", "p50", p50, "p99",
                                      ps_hist_percentile(&nodes->latency, 0.99) / 1e6));
    }
    json_object_set_new(root, "l2", object);
    json_object_set_new(root, "node_distribution", nodes->list);
    json_object_set_new(root, "imbalance_percent", json_real(ps_redis_hub_imbalance_percent(hub)));
    free(nodes);
}

static json_t *stats_json(struct ps_caches *caches)
{
    struct ps_l1_stats l1;
    struct ps_tiers_stats l2;
    struct sample now = sample_now(caches);
    struct sample then = caches->seconds < SECONDS ? (struct sample){0} : caches->past[caches->seconds % SECONDS];
    int64_t cost = atomic_load(&caches->tally.cost_saved);
    ps_l1_read(ps_tiers_l1(caches->tiers), &l1);
    ps_tiers_read(caches->tiers, &l2);
    json_t *root = json_object();
    add_rate(root, "hit_rate_percent", (struct sample){0}, now);
    add_rate(root, "hit_rate_percent_5m", then, now);
    json_object_set_new(root, "lookups", json_integer((json_int_t)now.lookups));
    json_object_set_new(root, "l1", l1_json(&l1));
    add_l2(caches, root, &l2);
    json_object_set_new(root, "coalesced", json_integer((json_int_t)part(caches, PS_CACHE_COLLAPSED)));
    json_object_set_new(root, "bypassed", json_integer((json_int_t)part(caches, PS_CACHE_BYPASS)));
    json_object_set_new(root, "gpu_seconds_saved", json_real(l1.gpu_seconds_saved + l2.gpu_seconds_saved));
    if (cost > 0) {
        json_object_set_new(root, "cost_saved", json_pack("{sf ss}", "amount", (double)cost / 1e9, "currency", "USD"));
    }
    return root;
}

static int dump(json_t *json, struct ps_buf *out)
{
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(json);
    int err = text == NULL ? PS_ENOMEM : ps_buf_append_str(out, ps_str_from(text));
    err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\n"));
    free(text);
    return err;
}

int ps_caches_write_stats(struct ps_caches *caches, struct ps_buf *out)
{
    return dump(stats_json(caches), out);
}

/* --- POST /api/cache/invalidate --------------------------------------------------------------- */

static const char *const kinds[] = {"pattern", "tag", "key"};

/* Which of the three it is, and its text. */
static int read_target(const json_t *json, struct ps_purge *purge, char *reason, size_t size)
{
    unsigned found = 0;
    const char *name = "";
    for (unsigned i = 0; i < 3; i++) {
        const json_t *value = json_object_get(json, kinds[i]);
        if (value == NULL) {
            continue;
        }
        if (!json_is_string(value)) {
            snprintf(reason, size, "\"%s\" has to be a string", kinds[i]);
            return PS_EINVAL;
        }
        purge->kind = i == 0 ? PS_PURGE_PATTERN : i == 1 ? PS_PURGE_TAG : PS_PURGE_KEY;
        purge->text = (struct ps_str){json_string_value(value), json_string_length(value)};
        name = kinds[i];
        found++;
    }
    if (found != 1) {
        snprintf(reason, size, "say one of \"pattern\", \"key\" and \"tag\"");
        return PS_EINVAL;
    }
    if (purge->text.len == 0 || purge->text.len > PS_PURGE_TEXT_MAX) {
        snprintf(reason, size, "\"%s\" has to have 1 to %d bytes", name, PS_PURGE_TEXT_MAX);
        return PS_EINVAL;
    }
    if (purge->kind == PS_PURGE_KEY && ps_key_from_hex(purge->text, &purge->key) != PS_OK) {
        snprintf(reason, size, "\"key\" is not one: it has 64 hexadecimal digits");
        return PS_EINVAL;
    }
    return PS_OK;
}

static int read_tenant(const json_t *json, struct ps_purge *purge, char *reason, size_t size)
{
    const json_t *tenant = json_object_get(json, "tenant");
    size_t known = json_object_size(json) - (tenant != NULL ? 1 : 0);
    if (known != 1 || (tenant != NULL && !json_is_string(tenant))) {
        snprintf(reason, size, "beside it there may be a string \"tenant\" and nothing else");
        return PS_EINVAL;
    }
    if (tenant != NULL) {
        purge->tenant = (struct ps_str){json_string_value(tenant), json_string_length(tenant)};
        purge->has_tenant = true;
    }
    return purge->tenant.len <= PS_ENTRY_NAME_MAX ? PS_OK : PS_EINVAL;
}

int ps_caches_invalidate(struct ps_caches *caches, struct ps_str json, struct ps_buf *out, char *reason, size_t size)
{
    struct ps_purge purge = {.at = ps_clock_wall(ps_loop_clock(caches->loop))};
    json_t *root = ps_json_read(json, 0, reason, size);
    if (root == NULL) {
        return PS_EINVAL;
    }
    if (!json_is_object(root)) {
        json_decref(root);
        snprintf(reason, size, "the body is not a JSON object");
        return PS_EINVAL;
    }
    snprintf(reason, size, "the name of the tenant is too long");
    int err = read_target(root, &purge, reason, size);
    err = err != PS_OK ? err : read_tenant(root, &purge, reason, size);
    err = err != PS_OK ? err : ps_tier_keeper_invalidate(caches->keeper, &purge, NULL, NULL);
    if (err == PS_OK || err == PS_ELIMIT) {
        err = dump(json_pack("{sb ss ss%}", "invalidated", 1, "kind", kinds[purge.kind == PS_PURGE_PATTERN ? 0
                                                                            : purge.kind == PS_PURGE_TAG   ? 1
                                                                                                           : 2],
                             "text", purge.text.ptr, purge.text.len),
                   out);
    }
    json_decref(root);
    return err;
}
