/* eviction - replays a trace of keys through the real ps_l1, once for each policy, and says what
 * came of it beside the clairvoyant optimum.
 *
 *   bench_eviction trace FILE SHARE       FILE: big-endian 32-bit keys; equal costs and sizes
 *   bench_eviction gpu SHARE [REQUESTS [SEED]]  a synthetic trace of GPU answers, see make_gpu()
 *
 * SHARE is the size of the cache as a share of the distinct keys (trace) or of their bytes (gpu).
 * Prints one JSON object. The optimum is Belady's for equal sizes, free to store nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "gateway/l1.h"

enum { BODY_MAX = 4 << 20 };

/* Keys are numbers from 0 in order of their first request. */
struct trace {
    uint32_t *requests;
    size_t count;
    size_t keys;
    uint32_t *sizes; /* of a key's body */
    float *seconds;
    double footprint; /* bytes of all bodies */
};

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "bench_eviction: %s\n", what);
    exit(1);
}

static void *need(void *memory)
{
    if (memory == NULL) {
        die("out of memory");
    }
    return memory;
}

/* ---------------------------------------------------------------- traces */

static uint32_t *read_numbers(const char *path, size_t *count)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        die("cannot read the trace");
    }
    *count = (size_t)ftell(file) / 4;
    rewind(file);
    unsigned char *bytes = need(malloc(*count * 4 + 1));
    uint32_t *numbers = need(malloc(*count * sizeof *numbers));
    if (fread(bytes, 4, *count, file) != *count) {
        die("the trace is cut");
    }
    for (size_t i = 0; i < *count; i++) {
        const unsigned char *b = bytes + 4 * i;
        numbers[i] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    }
    free(bytes);
    fclose(file);
    return numbers;
}

/* Gives numbers from 0 to the keys: an open table, twice as large as it has to be. */
static size_t renumber(uint32_t *requests, size_t count)
{
    size_t size = 16;
    while (size < count * 2) {
        size *= 2;
    }
    uint64_t *table = need(calloc(size, sizeof *table)); /* key << 32 | number + 1 */
    size_t keys = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t key = requests[i];
        size_t at = (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (size - 1);
        while (table[at] != 0 && table[at] >> 32 != key) {
            at = (at + 1) & (size - 1);
        }
        if (table[at] == 0) {
            table[at] = key << 32 | ++keys;
        }
        requests[i] = (uint32_t)table[at] - 1;
    }
    free(table);
    return keys;
}

static struct trace read_trace(const char *path)
{
    struct trace trace = {.count = 0};
    trace.requests = read_numbers(path, &trace.count);
    trace.keys = renumber(trace.requests, trace.count);
    trace.sizes = need(malloc(trace.keys * sizeof *trace.sizes));
    trace.seconds = need(malloc(trace.keys * sizeof *trace.seconds));
    for (size_t i = 0; i < trace.keys; i++) {
        trace.sizes[i] = 1000;
        trace.seconds[i] = 1;
    }
    trace.footprint = 1000.0 * (double)trace.keys;
    return trace;
}

static double normal(struct ps_rng *rng)
{
    return sqrt(-2 * log(1 - ps_rng_unit(rng))) * cos(2 * 3.14159265358979 * ps_rng_unit(rng));
}

/* Half chat, log-normal about 2 KB at 0.15 GPU-seconds a KB; 35 % embeddings of 8 to 16 KB at 0.01
 * to 0.03 GPU-seconds; 15 % images of 0.5 to 3 MB at 2 to 8 GPU-seconds. */
static void draw_answer(struct trace *trace, struct ps_rng *rng)
{
    double kind = ps_rng_unit(rng);
    double size = 0;
    double seconds = 0;
    if (kind < 0.5) {
        size = fmin(2048 * exp(normal(rng)), 1e6);
        seconds = 0.15 * size / 1024;
    } else if (kind < 0.85) {
        size = 8192 + 8192 * ps_rng_unit(rng);
        seconds = 0.01 + 0.02 * ps_rng_unit(rng);
    } else {
        size = 5e5 + 2.5e6 * ps_rng_unit(rng);
        seconds = 2 + 6 * ps_rng_unit(rng);
    }
    trace->sizes[trace->keys] = (uint32_t)size + 1;
    trace->seconds[trace->keys++] = (float)seconds;
}

enum { RECURRING = 400000 };

/* Ranks of a Zipf distribution with exponent 0.9: cumulated weights. */
static double *zipf(void)
{
    double *sums = need(malloc(RECURRING * sizeof *sums));
    double sum = 0;
    for (size_t i = 0; i < RECURRING; i++) {
        sum += pow((double)i + 1, -0.9);
        sums[i] = sum;
    }
    return sums;
}

static size_t draw_rank(const double *sums, struct ps_rng *rng)
{
    double wanted = ps_rng_unit(rng) * sums[RECURRING - 1];
    size_t low = 0;
    size_t high = RECURRING - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        *(sums[middle] < wanted ? &low : &high) = sums[middle] < wanted ? middle + 1 : middle;
    }
    return low;
}

static void swap_at(uint32_t *items, size_t a, size_t b)
{
    uint32_t item = items[a];
    items[a] = items[b];
    items[b] = item;
}

/* 400,000 recurring keys, Zipf 0.9, whose ranks drift (one swap of two ranks in 20 requests); 30 %
 * of the requests are for a key that never comes again. */
static struct trace make_gpu(size_t count, uint64_t seed)
{
    struct ps_rng rng = ps_rng_make(seed);
    struct trace trace = {.count = count};
    size_t most = RECURRING + count;
    trace.requests = need(malloc(count * sizeof *trace.requests));
    trace.sizes = need(malloc(most * sizeof *trace.sizes));
    trace.seconds = need(malloc(most * sizeof *trace.seconds));
    uint32_t *ranks = need(malloc(RECURRING * sizeof *ranks));
    for (uint32_t i = 0; i < RECURRING; i++) {
        draw_answer(&trace, &rng);
        ranks[i] = i;
    }
    double *sums = zipf();
    for (size_t i = 0; i < count; i++) {
        if (ps_rng_unit(&rng) < 0.05) {
            swap_at(ranks, ps_rng_below(&rng, RECURRING), ps_rng_below(&rng, RECURRING));
        }
        if (ps_rng_unit(&rng) < 0.3) {
            trace.requests[i] = (uint32_t)trace.keys;
            draw_answer(&trace, &rng);
        } else {
            trace.requests[i] = ranks[draw_rank(sums, &rng)];
        }
    }
    unsigned char *seen = need(calloc(trace.keys, 1));
    for (size_t i = 0; i < count; i++) {
        uint32_t key = trace.requests[i];
        trace.footprint += seen[key] ? 0 : trace.sizes[key];
        seen[key] = 1;
    }
    free(seen);
    free(sums);
    free(ranks);
    return trace;
}

/* ---------------------------------------------------------------- the optimum */

struct future {
    uint32_t next; /* index of the key's next request */
    uint32_t key;
};

/* A heap with the farthest future on top; what is outdated is skipped when it comes up. */
static void heap_push(struct future *heap, size_t *count, struct future item)
{
    size_t i = (*count)++;
    while (i > 0 && heap[(i - 1) / 2].next < item.next) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = item;
}

static struct future heap_pop(struct future *heap, size_t *count)
{
    struct future top = heap[0];
    struct future last = heap[--*count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= *count) {
            break;
        }
        child += child + 1 < *count && heap[child + 1].next > heap[child].next;
        if (heap[child].next <= last.next) {
            break;
        }
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

static uint32_t *next_uses(const struct trace *trace)
{
    uint32_t *next = need(malloc(trace->count * sizeof *next));
    uint32_t *last = need(malloc(trace->keys * sizeof *last));
    memset(last, 0xff, trace->keys * sizeof *last);
    for (size_t i = trace->count; i > 0; i--) {
        next[i - 1] = last[trace->requests[i - 1]];
        last[trace->requests[i - 1]] = (uint32_t)(i - 1);
    }
    free(last);
    return next;
}

/* Hits of a cache of `slots` keys that knows the future. */
static uint64_t belady(const struct trace *trace, size_t slots)
{
    uint32_t *next = next_uses(trace);
    uint32_t *kept = need(calloc(trace->keys, sizeof *kept)); /* the next use + 1; 0 = not there */
    struct future *heap = need(malloc((trace->count + 1) * sizeof *heap));
    size_t heaped = 0;
    size_t held = 0;
    uint64_t hits = 0;
    for (size_t i = 0; i < trace->count; i++) {
        uint32_t key = trace->requests[i];
        bool hit = kept[key] != 0;
        hits += hit;
        held -= hit;
        kept[key] = 0;
        if (next[i] == UINT32_MAX) {
            continue;
        }
        kept[key] = next[i] + 1;
        heap_push(heap, &heaped, (struct future){next[i], key});
        for (held++; held > slots;) {
            struct future farthest = heap_pop(heap, &heaped);
            bool current = kept[farthest.key] == farthest.next + 1;
            kept[farthest.key] = current ? 0 : kept[farthest.key];
            held -= current;
        }
    }
    free(heap);
    free(kept);
    free(next);
    return hits;
}

/* ---------------------------------------------------------------- the cache */

static const char body[BODY_MAX];

static void keep_body(void *ctx)
{
    (void)ctx;
}

static struct ps_entry *entry_of(const struct trace *trace, uint32_t key)
{
    struct ps_entry_spec spec = {
        .status = 200,
        .body = {body, trace->sizes[key]},
        .release = keep_body, /* not copied: the trace is larger than memory */
        .fresh = PS_NEVER,
        .seconds = (double)trace->seconds[key],
    };
    struct ps_entry *entry = NULL;
    if (ps_entry_new(&entry, &spec) != PS_OK) {
        die("out of memory");
    }
    return entry;
}

/* Keys are as evenly spread as the SHA-256 that they stand for. */
static struct ps_key key_of(uint32_t number)
{
    struct ps_rng rng = ps_rng_make(number);
    struct ps_key key;
    for (size_t i = 0; i < sizeof key.bytes; i += sizeof(uint64_t)) {
        uint64_t bits = ps_rng_next(&rng);
        memcpy(key.bytes + i, &bits, sizeof bits);
    }
    return key;
}

static struct ps_l1 *cache_of(int policy, uint64_t size, uint64_t mean)
{
    struct ps_l1_opts opts = {
        .size = size,
        .max_entry = BODY_MAX + 4096,
        .shards = 1,
        .mean_entry = mean,
        .max_purges = 1,
        .max_age = PS_NEVER,
        .policy = policy,
    };
    struct ps_l1 *cache = NULL;
    if (ps_l1_new(&cache, &opts) != PS_OK) {
        die("the cache is too small");
    }
    return cache;
}

/* A cache whose entries may take `bytes`, whatever the policy takes beside them. */
static struct ps_l1 *cache_for(int policy, uint64_t bytes, uint64_t mean)
{
    uint64_t beside = 1 << 20;
    for (unsigned i = 0; i < 8; i++) {
        struct ps_l1 *cache = cache_of(policy, bytes + beside, mean);
        struct ps_l1_stats stats;
        ps_l1_read(cache, &stats);
        if (stats.fixed_bytes == beside) {
            return cache;
        }
        beside = stats.fixed_bytes;
        ps_l1_free(cache);
    }
    die("the cache's own memory does not settle");
}

struct result {
    double hits, saved, total; /* shares of the requests, seconds */
    double ns;                 /* per request */
    uint64_t entries, evictions;
};

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct result replay(const struct trace *trace, struct ps_l1 *cache)
{
    struct result result = {.hits = 0};
    double started = seconds_now();
    for (size_t i = 0; i < trace->count; i++) {
        uint32_t number = trace->requests[i];
        struct ps_key key = key_of(number);
        struct ps_entry *entry = NULL;
        result.total += (double)trace->seconds[number];
        if (ps_l1_get(cache, &key, 1, &entry) == PS_L1_MISS) {
            entry = entry_of(trace, number);
            PS_IGNORE(ps_l1_put(cache, &key, entry));
        } else {
            result.saved += (double)trace->seconds[number];
        }
        ps_entry_unref(entry);
    }
    result.ns = (seconds_now() - started) * 1e9 / (double)trace->count;
    struct ps_l1_stats stats;
    ps_l1_read(cache, &stats);
    result.hits = (double)stats.hits / (double)trace->count;
    result.saved /= result.total;
    result.entries = stats.entries;
    result.evictions = stats.evictions;
    return result;
}

static void run_policies(const struct trace *trace, uint64_t bytes, uint64_t mean)
{
    printf("\"policies\":{");
    for (int policy = 0; policy < PS_POLICY_COUNT; policy++) {
        struct ps_l1 *cache = cache_for(policy, bytes, mean);
        struct result result = replay(trace, cache);
        if (!ps_l1_is_sane(cache)) {
            die("the cache's books do not agree");
        }
        ps_l1_free(cache);
        printf("%s\"%s\":{\"hits\":%.6f,\"saved\":%.6f,\"ns\":%.0f,\"entries\":%" PRIu64
               ",\"evictions\":%" PRIu64 "}",
               policy == 0 ? "" : ",", ps_policy_names[policy], result.hits, result.saved,
               result.ns, result.entries, result.evictions);
        fflush(stdout);
    }
    printf("}}\n");
}

static uint64_t charge_of(const struct trace *trace, uint32_t key)
{
    struct ps_entry *entry = entry_of(trace, key);
    uint64_t charge = ps_entry_bytes(entry) + PS_SLOT_BYTES;
    ps_entry_unref(entry);
    return charge;
}

static void bench_trace(const char *path, double share)
{
    struct trace trace = read_trace(path);
    size_t slots = (size_t)(share * (double)trace.keys);
    uint64_t charge = charge_of(&trace, 0);
    printf("{\"requests\":%zu,\"keys\":%zu,\"slots\":%zu,", trace.count, trace.keys, slots);
    printf("\"optimum\":%.6f,", (double)belady(&trace, slots) / (double)trace.count);
    printf("\"infinite\":%.6f,", 1 - (double)trace.keys / (double)trace.count);
    run_policies(&trace, slots * charge, charge);
}

static void bench_gpu(double share, size_t requests, uint64_t seed)
{
    struct trace trace = make_gpu(requests, seed);
    double mean = trace.footprint / (double)trace.keys;
    printf("{\"requests\":%zu,\"keys\":%zu,\"footprint\":%.0f,", trace.count, trace.keys,
           trace.footprint);
    run_policies(&trace, (uint64_t)(share * trace.footprint), (uint64_t)mean);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "trace") == 0) {
        bench_trace(argv[2], strtod(argv[3], NULL));
    } else if (argc >= 3 && argc <= 5 && strcmp(argv[1], "gpu") == 0) {
        bench_gpu(strtod(argv[2], NULL), argc > 3 ? strtoull(argv[3], NULL, 10) : 2000000,
                  argc > 4 ? strtoull(argv[4], NULL, 10) : 1);
    } else {
        die("usage: trace FILE SHARE | gpu SHARE [REQUESTS [SEED]]");
    }
    return 0;
}
