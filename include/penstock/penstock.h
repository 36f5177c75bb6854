/* penstock - Penstock's engine rooms for C programs: the cache, metrics, the GPU optimizer, the
 * dashboard.
 *
 *      #include <penstock/penstock.h>          cc program.c $(pkg-config --cflags --libs penstock)
 *
 * A function that can fail returns PS_OK or a negative code (penstock/err.h); ps_strerror() is its
 * sentence, ps_last_error() the particular one. What comes back through a pointer is left alone on
 * failure. Arguments are borrowed until the call returns. Texts are terminated; what may hold any
 * byte comes with its length. NULL is fine wherever something is freed or released.
 *
 * Thread: everything may be called from any thread, on the same object too, but for freeing what
 * another thread still uses. No function is for signal handlers.
 *
 * fork(): a child gets nothing of what its parent made: all of that answers PS_ECLOSED there, and
 * freeing it does nothing. The child makes its own; what *_default() returns is new in it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PENSTOCK_PENSTOCK_H
#define PENSTOCK_PENSTOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "penstock/err.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef PS_API
#define PS_API __attribute__((visibility("default")))
#endif

/* --- all of it -------------------------------------------------------------------------------- */

/* "0.1.0". */
PS_API const char *ps_version(void);

/* A short sentence for a code, in English; static. */
PS_API const char *ps_strerror(int err);

/* What went wrong in the last call of this thread that failed, with its place in the configuration
 * where there is one; "" when nothing more is known. Valid until the thread's next failing call. */
PS_API const char *ps_last_error(void);

/* Frees what the *_default() functions made; they would make it anew. At the end of a program, or
 * before its library is unloaded. */
PS_API void ps_shutdown(void);

/* Frees a text that a function made for the caller. */
PS_API void ps_free(void *memory);

/* --- the cache -------------------------------------------------------------------------------- */

/* Values that were expensive, kept in memory (L1) and, when the configuration names servers, in
 * Redis or Valkey (L2), which all programs and gateways with the same `prefix` share.
 *
 *      key, tenant --> 256-bit hash --> L1: this process, bounded in bytes, keeps what saves most
 *                                        `-> L2: the node that has the hash; 2 ms, or it is a miss
 *
 * With servers there is one thread of the library's own; it has all signals blocked. */
struct ps_cache;

/* The program's cache: made by the first call from the section `cache` of the file that the
 * variable PENSTOCK_CONFIG names, which may be the gateway's own file; without the variable it is
 * L1 alone with its defaults. Freed by ps_shutdown(), by nobody else. NULL: ps_last_error(). */
PS_API struct ps_cache *ps_cache_default(void);

/* One more, from a file (NULL = defaults), or from the text of one. PS_OK, PS_ENOMEM, PS_EIO (no
 * thread, no loop), or PS_EINVAL: ps_last_error() says where the mistake is. Nothing is waited for:
 * L2 is used as soon as it answers, see ps_cache_stats.l2_ready. */
PS_API int ps_cache_new(struct ps_cache **out, const char *file);
PS_API int ps_cache_new_text(struct ps_cache **out, const char *text, size_t len);

/* Views that are still held stay valid. */
PS_API void ps_cache_free(struct ps_cache *cache);

/* What a value is stored under. Two tenants never share a value; NULL and "" are no tenant. */
struct ps_cache_key {
    const void *bytes;
    size_t len;
    const char *tenant; /* at most 256 bytes */
};

/* The key of a text, without a tenant. */
static inline struct ps_cache_key ps_cache_key_text(const char *text)
{
    struct ps_cache_key key = {text, 0, NULL};
    while (text[key.len] != '\0') {
        key.len++;
    }
    return key;
}

/* What is known of a value. Zero-initialise; every field may stay so. */
struct ps_cache_about {
    const char *route; /* names that patterns are matched against; at most 256 bytes each */
    const char *model;
    const char *const *tags; /* at most 16 */
    size_t tags_count;
    int64_t ttl_ms;   /* how long it is good; 0 = as long as `cache.l1.max_age` lets it */
    int64_t stale_ms; /* how long after that it is still returned, marked as stale */
    double seconds;   /* what it took to make, and what a hit saves. It counts as asked for so long
                         ago: what was invalidated meanwhile is not stored */
    uint64_t reserved[4];
};

/* Stores a copy of the value, in place of an earlier one; about may be NULL. In L1 when it returns;
 * L2 follows. PS_OK; PS_ELIMIT: larger than `cache.l1.max_entry`, it is in L2 at most;
 * PS_ECANCELED: invalidated while it was made; PS_EINVAL: a name that is too long, a negative
 * number; PS_ENOMEM; PS_ECLOSED. */
PS_API int ps_cache_set(struct ps_cache *cache, const struct ps_cache_key *key, const void *value,
                        size_t len, const struct ps_cache_about *about);

/* A stored value. It stays as it is until it is released, whatever happens to the cache. */
struct ps_cache_view {
    const void *data;
    size_t len;
    double age; /* seconds since it was stored */
    bool stale; /* see ps_cache_about.stale_ms: use it, and make a new one */
    bool l2;    /* it came from a server */
    void *held; /* the library's */
};

/* Looks a key up. PS_OK: *out must be released. PS_ENOTFOUND: it is not there, not good any more,
 * or L2 did not answer in time; a call takes no longer than `cache.redis.timeout` and what it takes
 * to wake two threads (once a first byte came in time, as long as bytes keep coming, at most
 * `cache.redis.breaker.stall`). PS_EINVAL, PS_ENOMEM, PS_ECLOSED. */
PS_API int ps_cache_get(struct ps_cache *cache, const struct ps_cache_key *key,
                        struct ps_cache_view *out);

/* Gives a view back and clears it; a second time does nothing. */
PS_API void ps_cache_release(struct ps_cache_view *view);

/* How many servers know of an invalidation. */
struct ps_cache_told {
    size_t done;
    size_t failed; /* they are away, and are told when they are back */
};

/* Makes invalid what was stored until now and matches, in every process that shares the servers:
 * `*` is any run of bytes, `?` one, `\` takes the next one as it is. The pattern is matched against
 * `route/model/tenant/tag`, once for each tag, and against each of the four alone. With a tenant
 * (not NULL) only that one's values. Of this process nothing invalid is returned any more when the
 * call returns. With told (not NULL) it waits until every server has answered or was given up, at
 * most `cache.redis.breaker.stall` and some. PS_OK; PS_ELIMIT: too many are under way, the servers
 * are told later; PS_EINVAL: an empty pattern, or one of more than 512 bytes; PS_ENOMEM (then
 * nothing was invalidated), PS_ECLOSED. */
PS_API int ps_cache_invalidate_pattern(struct ps_cache *cache, const char *pattern,
                                       const char *tenant, struct ps_cache_told *told);

/* The same for one key. */
PS_API int ps_cache_invalidate(struct ps_cache *cache, const struct ps_cache_key *key,
                               struct ps_cache_told *told);

struct ps_cache_stats {
    uint64_t lookups;
    uint64_t l1_hits;
    uint64_t l2_hits;
    double hit_rate_percent;  /* of both; -1 before the first look-up */
    double gpu_seconds_saved; /* the sum of `seconds` over all hits */

    uint64_t entries; /* L1 */
    uint64_t bytes;   /* everything counted; at most bytes_max */
    uint64_t bytes_max;
    uint64_t stored;
    uint64_t evicted; /* made room for others */
    uint64_t expired;
    uint64_t invalidated;
    uint64_t refused; /* not stored */

    size_t l2_nodes; /* 0 = there is only L1 */
    bool l2_ready;   /* all nodes are heard, and what was invalidated before is known */
    uint64_t l2_lookups;
    uint64_t l2_errors; /* error replies, lost connections, values that were not believed */
    uint64_t l2_late;   /* no reply in time */
    double l2_p50_ms;   /* of replies; 0 before the first */
    double l2_p99_ms;
    double imbalance_percent; /* how far a node's share is from its weight at most */
    uint64_t reserved[8];
};

/* PS_OK or PS_ECLOSED. */
PS_API int ps_cache_stats(struct ps_cache *cache, struct ps_cache_stats *out);

#define PS_CACHE_HEX 65 /* bytes of a hash as text, terminator included */

/* What a key is everywhere: the SHA-256 of "penstock library key 1" and a zero byte, the tenant's
 * length in 4 bytes (little-endian) and the tenant, the key's length in 8 and the key. PS_OK,
 * PS_EINVAL (a tenant that is too long) or PS_ENOMEM. */
PS_API int ps_cache_key_hash(const struct ps_cache_key *key, char out[PS_CACHE_HEX]);

#define PS_CACHE_NODE_NAME 256

/* Writes the name of the node that has a key now, cut to size. PS_OK; PS_ENOTFOUND: there is only
 * L1, or a cluster whose map is not known yet; PS_EINVAL, PS_ENOMEM, PS_ECLOSED. */
PS_API int ps_cache_assigned_node(struct ps_cache *cache, const struct ps_cache_key *key,
                                  char *name, size_t size);

/* One server. */
struct ps_cache_node {
    char name[PS_CACHE_NODE_NAME];
    bool up;
    uint64_t weight;
    uint64_t slots; /* of the table that says where keys are, or of the cluster's 16,384 */
    double share_percent;
    int64_t keys; /* in its database; -1 = not known */
    uint64_t operations;
    uint64_t hits;
    uint64_t bytes_in, bytes_out;
    uint64_t reserved[4];
};

/* Fills up to `max` nodes and tells in *count how many there are, also when that is more. PS_OK or
 * PS_ECLOSED. */
PS_API int ps_cache_node_distribution(struct ps_cache *cache, struct ps_cache_node *nodes,
                                      size_t max, size_t *count);

/* --- metrics ---------------------------------------------------------------------------------- */

/* Numbers of a program's own, moved by all of its threads and read as the page that Prometheus
 * scrapes. A metric is registered once, and bound once to its label values; a bound series is then
 * moved without a lock, in cells that no other thread writes.
 *
 *      page --> metric app_jobs_total{queue} --> bound {queue="images"} --> add()    a few ns
 *
 * It starts no thread and opens no port: whoever serves the page renders it. */
struct ps_metric_page;
struct ps_metric;       /* belongs to its page */
struct ps_metric_bound; /* a series; belongs to its page */

/* The program's page, made by the first call; there is nothing to configure. Freed by
 * ps_shutdown(), by nobody else. NULL: ps_last_error(). */
PS_API struct ps_metric_page *ps_metric_default(void);

/* One more. PS_OK, PS_ENOMEM or PS_EIO (no random numbers). */
PS_API int ps_metric_page_new(struct ps_metric_page **out);

/* With all that belongs to it. */
PS_API void ps_metric_page_free(struct ps_metric_page *page);

enum ps_metric_kind {
    PS_METRIC_KIND_COUNTER,     /* only grows; its name ends with _total */
    PS_METRIC_KIND_GAUGE,       /* any number; not shown before it is set */
    PS_METRIC_KIND_HISTOGRAM,   /* counts between bounds */
    PS_METRIC_KIND_EXPONENTIAL, /* the same, with bounds that it finds itself: a native histogram */
    PS_METRIC_KIND_INFO,        /* only its labels count; its name ends with _info */
    PS_METRIC_KIND_STATESET     /* which of its states are on */
};

/* What a metric is. Zero-initialise; all is copied. */
struct ps_metric_about {
    const char *name; /* letters, digits, _ and :, no digit first; not penstock_... */
    enum ps_metric_kind kind;
    const char *help;          /* one sentence */
    const char *unit;          /* "seconds", "bytes"..., the end of the name; NULL = none */
    const char *const *labels; /* names, ended by NULL, at most 8; NULL = none */
    const double *bounds;      /* of a histogram: 1 to 64, rising; NULL = 0.2 ms to 10 min */
    size_t bounds_count;
    const char *const *states; /* of a stateset: 1 to 62 names, ended by NULL */
    uint64_t reserved[4];
};

/* Makes a metric known, or finds the one that is known already. It keeps up to 2,000 series (a
 * histogram 500); what comes after shares one whose labels all say "_overflow", so that sums stay
 * exact. PS_OK; PS_EINVAL: not a name, label, unit or bound that pages may have; PS_EBUSY: it is
 * known as something else; PS_ELIMIT: there are 10,000; PS_ENOMEM, PS_ECLOSED. */
PS_API int ps_metric_register(struct ps_metric_page *page, const struct ps_metric_about *about,
                              struct ps_metric **out);

/* Finds or makes the series with these label values: as many as the metric has labels, in their
 * order; NULL when it has none. Good as long as its page. What is not UTF-8 in a value becomes
 * U+FFFD, what is beyond 256 bytes is cut. The series of an info is there from now on. PS_OK,
 * PS_ENOMEM or PS_ECLOSED. */
PS_API int ps_metric_bind(struct ps_metric *metric, const char *const *values,
                          struct ps_metric_bound **out);

/* The same for label values that are only known as the work comes. What this thread has looked up
 * lately it finds again without a lock; good until its next ps_metric_find(). PS_OK, PS_ENOMEM or
 * PS_ECLOSED. */
PS_API int ps_metric_find(struct ps_metric *metric, const char *const *values,
                          struct ps_metric_bound **out);

/* Moves a counter or a gauge. A counter leaves out what is below zero or not finite; other kinds
 * leave out everything. */
PS_API void ps_metric_add(struct ps_metric_bound *bound, double by);

/* Sets a gauge; NAN takes it off the page. */
PS_API void ps_metric_set(struct ps_metric_bound *bound, double value);

/* Counts a value in a histogram of either kind; what is not finite is left out. */
PS_API void ps_metric_observe(struct ps_metric_bound *bound, double value);

/* Sets the states of a stateset: bit n for the n-th. */
PS_API void ps_metric_state(struct ps_metric_bound *bound, uint64_t states);

/* Remembers the trace (W3C Trace Context) that a value which was counted came from: one for each
 * bucket, or for the counter, for a second at least. span_id may be NULL. */
PS_API void ps_metric_trace(struct ps_metric_bound *bound, double value,
                            const unsigned char trace_id[16], const unsigned char span_id[8]);

enum ps_metric_format {
    PS_METRIC_FORMAT_TEXT,        /* Prometheus text 0.0.4 */
    PS_METRIC_FORMAT_OPENMETRICS, /* OpenMetrics 1.0 */
    PS_METRIC_FORMAT_PROTOBUF     /* protobuf, with native histograms */
};

/* The format that an Accept header asks for; NULL = text. */
PS_API enum ps_metric_format ps_metric_negotiate(const char *accept);

/* What to send as Content-Type; static. */
PS_API const char *ps_metric_content_type(enum ps_metric_format format);

/* Writes the page into the caller's buffer, without a terminator, and tells its length. Nobody who
 * counts waits meanwhile. PS_OK; PS_ELIMIT: it is larger than size, *len says how large it was;
 * PS_ENOMEM, PS_ECLOSED. */
PS_API int ps_metric_render(struct ps_metric_page *page, enum ps_metric_format format, void *buffer,
                            size_t size, size_t *len);

/* --- the GPU optimizer ------------------------------------------------------------------------ */

/* How full the GPUs are, whether their memory will run out, and what can be done about it: what the
 * gateway shows at /api/gpu, without a gateway.
 *
 *      this machine's drivers --.
 *      gpu.sources: inference   +--> one thread of the library's own --> level, prediction, cleanup
 *      servers and exporters  --'    (and one for each driver)
 *
 * Every source is asked once a second by itself, also while nobody calls, so that there is a past
 * to predict from. The section `gpu` of the configuration means the same as in the gateway: with
 * `mode: auto` the library cleans up by itself. Where gateway and program should not both do that,
 * the program has a file of its own.
 *
 * The first calls wait until every source has answered or failed once, at most 5 s; all others are
 * answered at once, whatever a driver or server does. Without any source they are PS_ENOTFOUND, and
 * ps_last_error() names the settings that would give one and says what was tried.
 *
 * Numbers are doubles, in the unit that their name ends with. What is not known is NAN, an empty
 * text or an enum's `unknown`: never 0. */
struct ps_gpu_optimizer;

/* The program's optimizer: made by the first call from the section `gpu` of the file that the
 * variable PENSTOCK_CONFIG names, which may be the gateway's own file; without the variable there
 * are this machine's drivers alone. Freed by ps_shutdown(), by nobody else. NULL:
 * ps_last_error(). */
PS_API struct ps_gpu_optimizer *ps_gpu_optimizer_default(void);

/* One more, from a file (NULL = defaults), or from the text of one. PS_OK, PS_ENOMEM, PS_EIO (no
 * thread, no loop), or PS_EINVAL: ps_last_error() says where the mistake is. */
PS_API int ps_gpu_optimizer_new(struct ps_gpu_optimizer **out, const char *file);
PS_API int ps_gpu_optimizer_new_text(struct ps_gpu_optimizer **out, const char *text, size_t len);

/* A driver that hangs in a call is left behind with its thread. */
PS_API void ps_gpu_optimizer_free(struct ps_gpu_optimizer *optimizer);

/* How near memory is to running out; worse is greater. */
enum ps_gpu_level {
    PS_GPU_LEVEL_UNKNOWN = 0,
    PS_GPU_LEVEL_LOW,
    PS_GPU_LEVEL_MEDIUM,  /* over `gpu.target_percent` */
    PS_GPU_LEVEL_HIGH,    /* it runs out within a minute if nothing changes */
    PS_GPU_LEVEL_CRITICAL /* it has run out, or will within 10 s */
};

/* "low", ..., "unknown"; static. */
PS_API const char *ps_gpu_level_name(enum ps_gpu_level level);

#define PS_GPU_TEXT 128 /* bytes of a name, terminator included; longer ones are cut */

/* The device of the fullest server; where no server can be measured, the fullest device. */
struct ps_gpu_profile {
    double total_bytes; /* of the device */
    double used_bytes;
    double free_bytes;
    double reserved_bytes;        /* by driver and firmware */
    double utilization_percent;   /* used of total */
    double fragmentation_percent; /* of what an allocator holds, what nobody uses */
    double effective_percent;     /* what the target, the level and the prediction are about ... */
    char basis[16]; /* ... "kv_cache": of a server that takes the whole device at start; "device" */
    enum ps_gpu_level level;
    int64_t index; /* as the source counts; -1 = not known */
    char uuid[PS_GPU_TEXT];
    char source[PS_GPU_TEXT]; /* "nvml", "amdgpu", "engine", "dcgm", "remote" */
    char server[PS_GPU_TEXT]; /* its name and URL; "" = no server is known on the device */
    bool simulated;           /* the numbers were made up by a program */
    size_t devices;           /* how many are known in all */
    size_t servers;           /* servers and exporters that are asked, in vain too */
    uint64_t reserved[8];
};

/* PS_OK; PS_ENOTFOUND: nothing is known of any GPU; PS_ENOMEM, PS_ECLOSED. */
PS_API int ps_gpu_optimizer_profile(struct ps_gpu_optimizer *optimizer, struct ps_gpu_profile *out);

/* All that is known, as the JSON of GET /api/gpu/profile: every device, process, server and source.
 * *json is the caller's: ps_free(). As ps_gpu_optimizer_profile(). */
PS_API int ps_gpu_optimizer_profile_json(struct ps_gpu_optimizer *optimizer, char **json);

/* Will something have to be done soon? About the server or device that the profile is about. */
struct ps_gpu_prediction {
    bool needed;
    char basis[16];             /* "level": it has run out already; "forecast" */
    double probability;         /* that memory runs out within half a minute, 0 to 1; NAN until such
                                   predictions have come true on this server often enough to be told */
    double low, high;           /* of the probability; NAN with it */
    double seconds_to_critical; /* until the limit is met if things go on as they are; NAN: it is
                                   not in sight */
    enum ps_gpu_level level;
    char server[PS_GPU_TEXT];
    uint64_t reserved[8];
};

/* PS_OK; PS_ENOTFOUND: nothing is known of any GPU, or nobody can say how full it is; PS_ENOMEM,
 * PS_ECLOSED. */
PS_API int ps_gpu_optimizer_predict_cleanup_need(struct ps_gpu_optimizer *optimizer,
                                                 struct ps_gpu_prediction *out);

/* What a cleanup may do. Zero-initialise; every field may stay so. */
struct ps_gpu_order {
    const char *level; /* a rung: it and all cheaper ones may be used; "wake" is for itself. NULL =
                          `gpu.rungs`. Rungs: docs/gpu-optimizer.md */
    bool dry_run;      /* plan only */
    double target_percent; /* 1 to 100: it ends as soon as this is met; 0 = `gpu.target_percent` */
    int64_t limit_ms;      /* no call is begun after that; 0 = a minute */
    uint64_t reserved[4];
};

enum ps_gpu_outcome {
    PS_GPU_OUTCOME_UNKNOWN = 0,
    PS_GPU_OUTCOME_TARGET_MET,
    PS_GPU_OUTCOME_EXHAUSTED, /* it did what it may, and it is still over the target */
    PS_GPU_OUTCOME_NO_RUNG,   /* nothing could be done: reason */
    PS_GPU_OUTCOME_PLANNED,   /* dry run: steps are what it would have done */
    PS_GPU_OUTCOME_ENDED      /* the time was up, or the mode was set to off */
};

/* "target_met", ..., "unknown"; static. */
PS_API const char *ps_gpu_outcome_name(enum ps_gpu_outcome outcome);

#define PS_GPU_REASON 256
#define PS_GPU_STEPS  16

/* One call, or in a dry run what it would have been. */
struct ps_gpu_step {
    char server[PS_GPU_TEXT];
    char rung[32];
    char model[PS_GPU_TEXT]; /* "" = all of the server */
    char verdict[32];        /* "freed", "not_freed", "dry_run", ...: docs/gpu-optimizer.md */
    char reason[PS_GPU_REASON];
    double expected_bytes;
    double freed_bytes; /* of device memory, as measured; it may be negative */
    uint64_t reserved[4];
};

struct ps_gpu_cleanup {
    enum ps_gpu_outcome outcome;
    char reason[PS_GPU_REASON];
    bool dry_run;
    double target_percent;
    double percent_before, percent_after; /* of the fullest server */
    double freed_bytes;                   /* the sum of what was measured; NAN: nothing could be */
    size_t step_count;                    /* at most PS_GPU_STEPS */
    struct ps_gpu_step steps[PS_GPU_STEPS];
    uint64_t reserved[8];
};

/* Frees memory now, rung by rung, cheapest first, and measures after each; the rules of the gateway
 * hold: a server that works on requests is left alone unless `gpu.act_on_busy`, and a call that was
 * never tried against a real server stays a dry run unless `gpu.trust_unverified`. Waits for the
 * end; when the time is up, no further call is made and the outcome is `ended`. order may be NULL.
 * PS_OK: *out has what was done, which may be nothing. PS_EBUSY: another cleanup runs;
 * PS_ECANCELED: `gpu.mode` is off; PS_EINVAL: no such level, or a number out of bounds;
 * PS_ENOTFOUND: nothing is known of any GPU; PS_ENOMEM, PS_ECLOSED. */
PS_API int ps_gpu_optimizer_aggressive_cleanup(struct ps_gpu_optimizer *optimizer,
                                               const struct ps_gpu_order *order,
                                               struct ps_gpu_cleanup *out);

/* What happened, as the JSON of GET /api/gpu/report: profile, prediction, the latest cleanups,
 * recommendations. *json is the caller's: ps_free(). PS_OK; PS_ENOTFOUND, PS_ENOMEM, PS_ECLOSED. */
PS_API int ps_gpu_optimizer_report(struct ps_gpu_optimizer *optimizer, char **json);

/* Its recommendations alone, a JSON list of {id, severity, text, evidence, expected_effect,
 * action}, which may be empty. Likewise. */
PS_API int ps_gpu_optimizer_recommendations(struct ps_gpu_optimizer *optimizer, char **json);

/* A batch as the program saw it: the rows of one call, or the requests at work together.
 * Zero-initialise. */
struct ps_gpu_batch_seen {
    const char *model; /* at most 127 bytes of printable ASCII */
    const char *shape; /* what makes batches of one model alike, as the program names it: at most 31
                          bytes; NULL = they all are */
    uint64_t size;     /* 1 to 512 */
    double seconds;    /* what it took; 0 = not known */
    double memory_bytes; /* that it needed on the device beyond what is there without it; 0 = not
                            known */
    bool out_of_memory;  /* it failed: memory_bytes is what there was, and was too little */
    uint64_t reserved[4];
};

/* Learns from a batch: there is no gateway here that could. Takes what it takes to wake two
 * threads; what is old counts half after an hour in which something was learned, and of more than
 * 64 models and shapes the one that was not used for the longest time is forgotten. PS_OK;
 * PS_EINVAL: a size or a number out of bounds, or a name that is too long; PS_ENOMEM, PS_ECLOSED.
 */
PS_API int ps_gpu_optimizer_observe_batch(struct ps_gpu_optimizer *optimizer,
                                          const struct ps_gpu_batch_seen *seen);

/* What a batch is to be good for. Zero-initialise; every field but model may stay so. */
struct ps_gpu_batch_goal {
    const char *model;
    const char *shape;
    double free_bytes; /* that a batch may take; 0 = what the profile's device has below
                          `gpu.target_percent` now, or any number where no device is known */
    double p95_ms;     /* how long a request may take 19 times in 20; 0 = any time */
    bool one_by_one;   /* a batch ends before the next begins, so that a request may wait for one
                          before its own */
    uint64_t most;     /* the largest size; 0 = 512 */
    uint64_t reserved[4];
};

struct ps_gpu_batch_advice {
    uint64_t size;          /* recommended; 0: too little was seen, and what follows is not known */
    char limited_by[16];    /* "samples", "throughput", "latency", "memory", "configured" (most),
                               "seen":    more than twice the largest that was seen is not believed */
    double expected_p95_ms; /* at most */
    double expected_memory_bytes; /* at most */
    double rows_per_second;       /* at least, while it is always full */
    double samples;               /* batches that it rests on; what is old counts less */
    uint64_t next; /* the size that would tell most if it were tried next; 0: enough is known */
    uint64_t reserved[4];
};

/* The size with the most rows a second among those that meet the goal, by cautious bounds instead
 * of means; where not even one row does it is 1, and the expected figures say so. Where the program
 * told of no such batch, what a server of gpu.sources tells of its own counts (Triton); then
 * `gpu.target_percent` is the bound instead of free_bytes. PS_OK; PS_ENOTFOUND: nothing was seen of
 * this model and shape; PS_EINVAL: no model, a number out of bounds; PS_ENOMEM, PS_ECLOSED. */
PS_API int ps_gpu_optimizer_optimize_batch_size(struct ps_gpu_optimizer *optimizer,
                                                const struct ps_gpu_batch_goal *goal,
                                                struct ps_gpu_batch_advice *out);

/* --- the dashboard ---------------------------------------------------------------------------- */

/* The latest samples of a program's own numbers, and whoever wants to hear of each: what the
 * gateway's page is told each second, without a gateway.
 *
 *      broadcast() --> 300 samples --+--> current(), recent_history(), stats(), summary()
 *                                    '--> every subscriber's callback, with the sample as JSON
 *
 * A sample is what one call of broadcast() brings, whenever that is; a program that calls it once a
 * second keeps five minutes. A name that a sample does not bring has a gap there: NAN, in JSON
 * null.
 *
 * It starts no thread: callbacks run on the thread that calls broadcast(), one after the other. */
struct ps_dashboard;

#define PS_DASHBOARD_SAMPLES     300
#define PS_DASHBOARD_NAMES       1000 /* in all */
#define PS_DASHBOARD_SUBSCRIBERS 64

/* The program's dashboard, made by the first call; there is nothing to configure. Freed by
 * ps_shutdown(), by nobody else. NULL: ps_last_error(). */
PS_API struct ps_dashboard *ps_dashboard_default(void);

/* One more. PS_OK or PS_ENOMEM. */
PS_API int ps_dashboard_new(struct ps_dashboard **out);

/* No callback runs when it returns, and none will. Not from inside one. */
PS_API void ps_dashboard_free(struct ps_dashboard *dashboard);

/* One number of a sample. */
struct ps_dashboard_value {
    const char *name; /* as Prometheus writes a series: queue_length, queue_length{room="a"} */
    double value;     /* NAN: not known */
};

/* Stores a sample, drops the oldest when there are more than PS_DASHBOARD_SAMPLES, and calls every
 * subscriber with it. Callers on several threads take turns. PS_OK; PS_EINVAL: something that is no
 * name (nothing is stored), or it is called from inside a callback; PS_ELIMIT: more names than
 * there may be (the rest is stored); PS_ENOMEM, PS_ECLOSED. */
PS_API int ps_dashboard_broadcast(struct ps_dashboard *dashboard,
                                  const struct ps_dashboard_value *values, size_t count);

/* Hears of samples: the text of a frame as the gateway sends it to its page (docs/dashboard.md),
 * which is valid during the call and terminated behind its length. May call everything but
 * broadcast() and free(). */
typedef void ps_dashboard_fn(void *ctx, const char *json, size_t len);

/* Adds a subscriber and, when there is a sample, calls it once before it returns, with all that are
 * kept under "history"; from then on with each. *id is for unsubscribe(). PS_OK, PS_ELIMIT (too
 * many), PS_ENOMEM, PS_ECLOSED. */
PS_API int ps_dashboard_subscribe(struct ps_dashboard *dashboard, ps_dashboard_fn *on_frame,
                                  void *ctx, uint64_t *id);

/* Takes a subscriber away. When it returns the callback is not running and will not be called
 * again, unless it is called from inside a callback: then the one that runs is the last. PS_OK,
 * PS_ENOTFOUND, PS_ECLOSED. */
PS_API int ps_dashboard_unsubscribe(struct ps_dashboard *dashboard, uint64_t id);

/* The value of a name in the latest sample. PS_OK; PS_ENOTFOUND: it brought none; PS_ECLOSED. */
PS_API int ps_dashboard_current(struct ps_dashboard *dashboard, const char *name, double *value);

/* One point of a name. */
struct ps_dashboard_point {
    double time;  /* seconds since 1970 */
    double value; /* NAN: a gap */
};

/* Fills up to `max` of the latest points of a name, the oldest of them first, and tells how many in
 * *count. PS_OK; PS_ENOTFOUND: no sample that is kept has the name; PS_ECLOSED. */
PS_API int ps_dashboard_recent_history(struct ps_dashboard *dashboard, const char *name,
                                       struct ps_dashboard_point *points, size_t max,
                                       size_t *count);

/* What a name did over the samples that are kept. */
struct ps_dashboard_stats {
    double min;
    double max;
    double mean;
    double p95;   /* the smallest value that 95 of 100 do not exceed */
    double last;  /* the latest that is known */
    size_t count; /* values that are known */
    uint64_t reserved[4];
};

/* PS_OK; PS_ENOTFOUND: none of its values is known; PS_ECLOSED. */
PS_API int ps_dashboard_stats(struct ps_dashboard *dashboard, const char *name,
                              struct ps_dashboard_stats *out);

/* All of it, as the JSON of GET /api/dashboard/summary: *json is the caller's: ps_free(). PS_OK,
 * PS_ENOMEM, PS_ECLOSED. */
PS_API int ps_dashboard_summary(struct ps_dashboard *dashboard, char **json);

/* --- load tests ------------------------------------------------------------------------------- */

/* What `penstock load`, `stress`, `spike` and `endurance` do, from a program: a service is put under load, and there
 * is a verdict. The generator is the program `penstock`, started as a process of its own (the one that the variable
 * PENSTOCK_PROGRAM names, else the first in PATH): its processor time, descriptors and signals are not the
 * caller's, so neither measures the other. Each call writes its section of the report and waits until the
 * test is over. */
struct ps_load_opts {
    const char *url;    /* what is tested */
    const char *report; /* the file; NULL: load_test_report.json */
    /* Further options as on the command line ("--rate", "50", "--duration", "10s"), ended by NULL; NULL: none.
     * --out is `report`'s. */
    const char *const *options;
    uint64_t reserved[4];
};

enum ps_load_verdict {
    PS_LOAD_PASS = 0,              /* the numbers are the command's exit status */
    PS_LOAD_FAIL = 1,              /* a threshold was not kept */
    PS_LOAD_UNREACHABLE = 3,       /* the target can't be reached, or answered nothing */
    PS_LOAD_GENERATOR_LIMITED = 4, /* the figures are not the server's */
    PS_LOAD_ABORTED = 5            /* ended early */
};

/* What came of a test. Numbers that are not known, or of another kind of test, are NAN. */
struct ps_load_result {
    enum ps_load_verdict verdict;
    char reason[512]; /* a sentence */
    double duration_seconds;
    double total_requests, successful_requests, failed_requests;
    double error_rate_percent;
    double rps; /* achieved */
    double median_ms, p95_ms, p99_ms; /* from the intended time */
    double breaking_point_rps;        /* stress */
    double recovery_time_seconds;     /* spike */
    uint64_t reserved[8];
};

/* Each: PS_OK, whatever the verdict; PS_EINVAL: options that can't be, as ps_last_error() says; PS_ENOTFOUND: no
 * program penstock; PS_EIO: it could not be run, or left no report; PS_ENOMEM. Any thread; *out is untouched on
 * failure. */
PS_API int ps_load_run_load(const struct ps_load_opts *opts, struct ps_load_result *out);
PS_API int ps_load_run_stress(const struct ps_load_opts *opts, struct ps_load_result *out);
PS_API int ps_load_run_spike(const struct ps_load_opts *opts, struct ps_load_result *out);
PS_API int ps_load_run_endurance(const struct ps_load_opts *opts, struct ps_load_result *out);

/* The report as JSON, which *json gets: ps_free() it. `file` NULL: load_test_report.json. PS_OK; PS_ENOTFOUND,
 * PS_EPARSE (no report), PS_EIO, PS_ENOMEM. */
PS_API int ps_load_report(const char *file, char **json);

#ifdef __cplusplus
}
#endif

#endif
