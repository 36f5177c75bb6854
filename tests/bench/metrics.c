/* metrics - what moving a number costs, beside a registry of one mutex and one string for a key.
 *
 *      bench_metrics hot ROUNDS        nanoseconds for an operation, one thread and two
 *      bench_metrics series COUNT      memory for so many series, ours
 *      bench_metrics series-peer COUNT the same, the peer's
 *      bench_metrics flood COUNT       memory after so many different label values, bounded
 *      bench_metrics scrape SERIES     milliseconds for a page, and what a writer does meanwhile
 *
 * The peer is what is usually written first: under one lock, the name and its labels become a
 * string, the string is looked up in a hash table, the number there is moved. Prints JSON.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/rng.h"
#include "bench.h"
#include "export/prometheus.h"
#include "observe/metric.h"
#include "observe/metric_memo.h"

enum { VALUES = 4096, ROUTES = 8, CODES = 8 };

/* ---- the peer */

struct peer_series {
    struct peer_series *next;
    double value;
    double sum;
    uint64_t buckets[PS_METRIC_SECONDS_COUNT + 1];
    char key[];
};

struct peer_counter { /* a counter's part of it, so that memory is compared fairly */
    struct peer_counter *next;
    double value;
    char key[];
};

static pthread_mutex_t peer_lock = PTHREAD_MUTEX_INITIALIZER;
static struct peer_counter **peer_table;
static size_t peer_size;
static struct peer_series *peer_histograms[256];

static uint64_t peer_hash(const char *key)
{
    return bench_fnv(BENCH_FNV_START, key, strlen(key));
}

static struct peer_counter *peer_find(const char *key)
{
    struct peer_counter **link = &peer_table[peer_hash(key) % peer_size];
    while (*link != NULL && strcmp((*link)->key, key) != 0) {
        link = &(*link)->next;
    }
    if (*link == NULL) {
        size_t len = strlen(key) + 1;
        *link = calloc(1, sizeof **link + len);
        PS_CHECK(*link != NULL);
        memcpy((*link)->key, key, len);
    }
    return *link;
}

static void peer_start(size_t size)
{
    peer_size = size;
    peer_table = calloc(size, sizeof *peer_table);
    PS_CHECK(peer_table != NULL);
}

static void peer_add(const char *name, const char *route, const char *code)
{
    char key[256];
    pthread_mutex_lock(&peer_lock);
    snprintf(key, sizeof key, "%s{route=\"%s\",code=\"%s\"}", name, route, code);
    peer_find(key)->value += 1;
    pthread_mutex_unlock(&peer_lock);
}

static void peer_observe(const char *name, const char *route, double value)
{
    char key[256];
    pthread_mutex_lock(&peer_lock);
    snprintf(key, sizeof key, "%s{route=\"%s\"}", name, route);
    struct peer_series **link = &peer_histograms[peer_hash(key) % 256];
    while (*link != NULL && strcmp((*link)->key, key) != 0) {
        link = &(*link)->next;
    }
    if (*link == NULL) {
        *link = calloc(1, sizeof **link + strlen(key) + 1);
        PS_CHECK(*link != NULL);
        memcpy((*link)->key, key, strlen(key) + 1);
    }
    size_t at = 0;
    while (at < PS_METRIC_SECONDS_COUNT && ps_metric_seconds[at] < value) {
        at++;
    }
    (*link)->buckets[at]++;
    (*link)->sum += value;
    pthread_mutex_unlock(&peer_lock);
}

/* ---- ours */

enum { REQUESTS, WAIT, SPREAD, DEPTH };

static const struct ps_metric_family rows[] = {
    [REQUESTS] = {.name = "bench_requests_total",
                  .type = PS_METRIC_COUNTER,
                  .help = "Requests",
                  .labels = {"route", "code"},
                  .max_series = 2000000},
    [WAIT] = {.name = "bench_wait_seconds",
              .type = PS_METRIC_HISTOGRAM,
              .help = "Waiting",
              .unit = "seconds",
              .labels = {"route"},
              .bounds = ps_metric_seconds,
              .bounds_count = PS_METRIC_SECONDS_COUNT,
              .max_series = 20000},
    [SPREAD] = {.name = "bench_spread_seconds",
                .type = PS_METRIC_EXPONENTIAL,
                .help = "Waiting",
                .unit = "seconds",
                .labels = {"route"}},
    [DEPTH] = {.name = "bench_depth_total",
               .type = PS_METRIC_COUNTER,
               .help = "Bounded",
               .labels = {"user"}},
    {0},
};

static struct ps_metrics *make(void)
{
    struct ps_metrics *metrics;
    struct ps_metrics_opts opts = {.shards = 8, .clock = &ps_clock_real};
    PS_CHECK(ps_metrics_new(&metrics, &opts) == PS_OK);
    PS_CHECK(ps_metrics_declare(metrics, rows, NULL) == PS_OK);
    return metrics;
}

/* ---- hot: one operation many times */

struct job {
    struct ps_metrics *metrics;
    struct ps_counter *counter;
    struct ps_histogram *wait, *spread;
    const double *values;
    void (*run)(struct job *job, unsigned shard, size_t rounds);
    size_t rounds;
    pthread_barrier_t *barrier;
    double ns;
};

static char routes[ROUTES][16];
static char codes[CODES][8];

static void run_counter(struct job *job, unsigned shard, size_t rounds)
{
    for (size_t i = 0; i < rounds; i++) {
        ps_counter_add(job->counter, shard, 1);
        __asm__ volatile("" ::: "memory");
    }
}

static void run_wait(struct job *job, unsigned shard, size_t rounds)
{
    for (size_t i = 0; i < rounds; i++) {
        ps_histogram_observe(job->wait, shard, job->values[i % VALUES]);
    }
}

static void run_spread(struct job *job, unsigned shard, size_t rounds)
{
    for (size_t i = 0; i < rounds; i++) {
        ps_histogram_observe(job->spread, shard, job->values[i % VALUES]);
    }
}

static void run_look_up(struct job *job, unsigned shard, size_t rounds)
{
    struct ps_metric_memo *memo;
    PS_CHECK(ps_metric_memo_new(&memo, job->metrics, 1024) == PS_OK);
    size_t lens[ROUTES], code_lens[CODES];
    for (size_t i = 0; i < ROUTES; i++) {
        lens[i] = strlen(routes[i]);
        code_lens[i] = strlen(codes[i]);
    }
    for (size_t i = 0; i < rounds; i++) {
        struct ps_counter *counter;
        size_t route = i % ROUTES, code = i / ROUTES % CODES;
        const struct ps_metric_labels *labels =
            PS_LABELS((struct ps_str){routes[route], lens[route]},
                      (struct ps_str){codes[code], code_lens[code]});
        if (ps_metric_memo_counter(memo, &rows[REQUESTS], labels, &counter) == PS_OK) {
            ps_counter_add(counter, shard, 1);
        }
    }
    ps_metric_memo_free(memo);
}

static void run_peer_counter(struct job *job, unsigned shard, size_t rounds)
{
    (void)job;
    (void)shard;
    for (size_t i = 0; i < rounds; i++) {
        peer_add("bench_requests_total", routes[0], codes[0]);
    }
}

static void run_peer_observe(struct job *job, unsigned shard, size_t rounds)
{
    (void)shard;
    for (size_t i = 0; i < rounds; i++) {
        peer_observe("bench_wait_seconds", routes[0], job->values[i % VALUES]);
    }
}

static void run_peer_look_up(struct job *job, unsigned shard, size_t rounds)
{
    (void)job;
    (void)shard;
    for (size_t i = 0; i < rounds; i++) {
        peer_add("bench_requests_total", routes[i % ROUTES], codes[i / ROUTES % CODES]);
    }
}

static void *work(void *arg)
{
    struct job *job = arg;
    unsigned shard;
    PS_CHECK(ps_metrics_shard_get(job->metrics, &shard) == PS_OK);
    job->run(job, shard, job->rounds / 10 + 1);
    if (job->barrier != NULL) {
        pthread_barrier_wait(job->barrier);
    }
    int64_t began = bench_now();
    job->run(job, shard, job->rounds);
    job->ns = (double)(bench_now() - began) / (double)job->rounds;
    ps_metrics_shard_put(job->metrics, shard);
    return NULL;
}

/* The slower of so many threads that do the same with the same series. */
static double time_of(const struct job *like, void (*run)(struct job *, unsigned, size_t),
                      unsigned threads, size_t rounds)
{
    struct job jobs[2];
    pthread_t ids[2];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        jobs[i] = *like;
        jobs[i].run = run;
        jobs[i].rounds = rounds;
        jobs[i].barrier = &barrier;
        PS_CHECK(pthread_create(&ids[i], NULL, work, &jobs[i]) == 0);
    }
    double worst = 0;
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        worst = jobs[i].ns > worst ? jobs[i].ns : worst;
    }
    pthread_barrier_destroy(&barrier);
    return worst;
}

static struct job make_job(struct ps_metrics *metrics)
{
    static double values[VALUES];
    struct ps_rng rng = ps_rng_make(1);
    struct job job = {.metrics = metrics, .values = values};
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = ps_rng_exponential(&rng, 0.1);
    }
    for (size_t i = 0; i < ROUTES; i++) {
        snprintf(routes[i], sizeof routes[i], "route-%zu", i);
        snprintf(codes[i], sizeof codes[i], "%zu", 200 + i);
    }
    const struct ps_metric_labels *labels =
        PS_LABELS(ps_str_from(routes[0]), ps_str_from(codes[0]));
    PS_CHECK(ps_metric_counter(metrics, &rows[REQUESTS], labels, &job.counter) == PS_OK);
    PS_CHECK(ps_metric_histogram(metrics, &rows[WAIT], labels, &job.wait) == PS_OK);
    PS_CHECK(ps_metric_histogram(metrics, &rows[SPREAD], labels, &job.spread) == PS_OK);
    return job;
}

static int run_hot(size_t rounds)
{
    struct ps_metrics *metrics = make();
    struct job job = make_job(metrics);
    static const struct {
        const char *name;
        void (*run)(struct job *, unsigned, size_t);
        unsigned threads;
        unsigned part; /* of the rounds: the peer is slow */
    } ways[] = {
        {"counter", run_counter, 1, 1},
        {"counter_two", run_counter, 2, 1},
        {"explicit", run_wait, 1, 2},
        {"explicit_two", run_wait, 2, 2},
        {"exponential", run_spread, 1, 2},
        {"exponential_two", run_spread, 2, 2},
        {"look_up", run_look_up, 1, 4},
        {"look_up_two", run_look_up, 2, 4},
        {"peer_counter", run_peer_counter, 1, 50},
        {"peer_counter_two", run_peer_counter, 2, 50},
        {"peer_observe", run_peer_observe, 1, 50},
        {"peer_observe_two", run_peer_observe, 2, 50},
        {"peer_look_up", run_peer_look_up, 1, 50},
        {"peer_look_up_two", run_peer_look_up, 2, 50},
    };
    peer_start(1 << 12);
    for (size_t i = 0; i < PS_ARRAY_LEN(ways); i++) {
        double ns = time_of(&job, ways[i].run, ways[i].threads, rounds / ways[i].part);
        printf("%s\"%s\":%.3f", i == 0 ? "{" : ",", ways[i].name, ns);
    }
    printf("}\n");
    ps_metrics_free(metrics);
    return 0;
}

/* ---- memory */

static double resident_mib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%*s %ld", &pages) != 1) {
        bench_die("/proc/self/statm");
    }
    fclose(file);
    return (double)pages * 4096 / 1048576;
}

static void name_user(char out[32], size_t i)
{
    snprintf(out, 32, "user-%zu", i);
}

static int run_series(size_t count, bool peer)
{
    struct ps_metrics *metrics = make();
    unsigned shard;
    double before = resident_mib();
    int64_t began = bench_now();
    PS_CHECK(ps_metrics_shard_get(metrics, &shard) == PS_OK);
    if (peer) {
        peer_start(count);
    }
    for (size_t i = 0; i < count; i++) {
        char user[32];
        struct ps_counter *counter;
        name_user(user, i);
        if (peer) {
            peer_add("bench_requests_total", user, "200");
            continue;
        }
        const struct ps_metric_labels *labels = PS_LABELS(ps_str_from(user), PS_STR("200"));
        PS_CHECK(ps_metric_counter(metrics, &rows[REQUESTS], labels, &counter) == PS_OK);
        ps_counter_add(counter, shard, 1);
    }
    printf("{\"mib\":%.2f,\"seconds\":%.3f}\n", resident_mib() - before,
           (double)(bench_now() - began) / 1e9);
    return 0;
}

static int take_value(void *context, const struct ps_metric_sample *sample)
{
    if (sample->family == &rows[DEPTH]) {
        ((double *)context)[0] += sample->value;
        ((double *)context)[1] += 1;
    }
    return PS_OK;
}

static int no_family(void *context, const struct ps_metric_family *family)
{
    (void)context;
    (void)family;
    return PS_OK;
}

static int run_flood(size_t count)
{
    struct ps_metrics *metrics = make();
    struct ps_metric_memo *memo;
    unsigned shard;
    PS_CHECK(ps_metrics_shard_get(metrics, &shard) == PS_OK);
    PS_CHECK(ps_metric_memo_new(&memo, metrics, 4096) == PS_OK);
    double before = resident_mib();
    int64_t began = bench_now();
    for (size_t i = 0; i < count; i++) {
        char user[32];
        struct ps_counter *counter;
        name_user(user, i);
        PS_CHECK(ps_metric_memo_counter(memo, &rows[DEPTH], PS_LABELS(ps_str_from(user)),
                                        &counter) == PS_OK);
        ps_counter_add(counter, shard, 1);
    }
    double seconds = (double)(bench_now() - began) / 1e9;
    double told[2] = {0};
    struct ps_metric_visitor visitor = {no_family, take_value, told, false};
    PS_CHECK(ps_metrics_collect(metrics, &visitor) == PS_OK);
    printf("{\"mib\":%.2f,\"ns\":%.1f,\"series\":%.0f,\"total\":%.0f}\n", resident_mib() - before,
           seconds * 1e9 / (double)count, told[1], told[0]);
    return told[0] == (double)count ? 0 : 1;
}

/* ---- scrape */

struct writer {
    struct ps_metrics *metrics;
    struct ps_counter *counter;
    atomic_bool stop;
    uint64_t moves;
    bool peer;
};

static void *write_on(void *arg)
{
    struct writer *writer = arg;
    unsigned shard;
    PS_CHECK(ps_metrics_shard_get(writer->metrics, &shard) == PS_OK);
    while (!atomic_load_explicit(&writer->stop, memory_order_relaxed)) {
        if (writer->peer) {
            peer_add("bench_requests_total", "route-0", "200");
        } else {
            ps_counter_add(writer->counter, shard, 1);
        }
        writer->moves++;
    }
    return NULL;
}

static int peer_write(struct ps_buf *out)
{
    int err = PS_OK;
    pthread_mutex_lock(&peer_lock);
    for (size_t i = 0; i < peer_size; i++) {
        for (struct peer_counter *one = peer_table[i]; one != NULL && err == PS_OK;
             one = one->next) {
            err = ps_buf_printf(out, "%s %.17g\n", one->key, one->value);
        }
    }
    pthread_mutex_unlock(&peer_lock);
    return err;
}

/* Milliseconds for a page, the median of so many; format 3 is the peer's. */
static double page_ms(struct ps_metrics *metrics, int format, size_t *bytes)
{
    enum { PAGES = 21 };
    double times[PAGES];
    struct ps_buf out = ps_buf_make(1u << 30);
    for (size_t i = 0; i < PAGES; i++) {
        ps_buf_clear(&out);
        int64_t began = bench_now();
        int err = format == 3
                      ? peer_write(&out)
                      : ps_prometheus_write(metrics, (enum ps_prometheus_format)format, &out);
        PS_CHECK(err == PS_OK);
        times[i] = (double)(bench_now() - began) / 1e6;
    }
    *bytes = out.len;
    ps_buf_fini(&out);
    for (size_t i = 1; i < PAGES; i++) {
        for (size_t k = i; k > 0 && times[k] < times[k - 1]; k--) {
            double swap = times[k];
            times[k] = times[k - 1];
            times[k - 1] = swap;
        }
    }
    return times[PAGES / 2];
}

static void write_page(struct ps_metrics *metrics, bool peer)
{
    struct ps_buf out = ps_buf_make(1u << 30);
    PS_CHECK((peer ? peer_write(&out) : ps_prometheus_write(metrics, PS_PROMETHEUS_TEXT, &out)) ==
             PS_OK);
    ps_buf_fini(&out);
}

/* How long a move takes in the mean while a page is written every 20 ms. Without the pauses the
 * peer's writer would hardly ever get the lock, which says more about mutexes than about pages. */
static double move_ns(struct ps_metrics *metrics, struct ps_counter *counter, bool peer,
                      bool scraped)
{
    struct writer writer = {.metrics = metrics, .counter = counter, .peer = peer};
    pthread_t thread;
    const struct timespec pause = {.tv_nsec = 20 * BENCH_MS};
    PS_CHECK(pthread_create(&thread, NULL, write_on, &writer) == 0);
    int64_t began = bench_now();
    while (bench_now() - began < BENCH_SEC / 2) {
        if (scraped) {
            write_page(metrics, peer);
        }
        nanosleep(&pause, NULL);
    }
    double span = (double)(bench_now() - began);
    atomic_store(&writer.stop, true);
    pthread_join(thread, NULL);
    return span / (double)writer.moves;
}

static int run_scrape(size_t series)
{
    struct ps_metrics *metrics = make();
    struct ps_metrics *wide = make();
    struct ps_counter *counter = NULL;
    peer_start(series);
    for (size_t i = 0; i < series; i++) {
        char user[32];
        struct ps_histogram *wait;
        name_user(user, i);
        const struct ps_metric_labels *labels = PS_LABELS(ps_str_from(user), PS_STR("200"));
        PS_CHECK(ps_metric_counter(metrics, &rows[REQUESTS], labels, &counter) == PS_OK);
        ps_counter_add_shared(counter, i * 977);
        peer_add("bench_requests_total", user, "200");
        PS_CHECK(ps_metric_histogram(wide, &rows[WAIT], labels, &wait) == PS_OK);
        ps_histogram_observe_shared(wait, 0.001 * (double)i);
    }
    static const char *const names[] = {"text", "openmetrics", "protobuf", "peer"};
    size_t bytes;
    printf("{");
    for (int format = 0; format < 4; format++) {
        double ms = page_ms(metrics, format, &bytes);
        printf("\"%s_ms\":%.3f,\"%s_bytes\":%zu,", names[format], ms, names[format], bytes);
    }
    double ms = page_ms(wide, PS_PROMETHEUS_TEXT, &bytes);
    printf("\"histograms_ms\":%.3f,\"histograms_bytes\":%zu,", ms, bytes);
    printf("\"move_ns\":%.3f,", move_ns(metrics, counter, false, false));
    printf("\"move_scraped_ns\":%.3f,", move_ns(metrics, counter, false, true));
    printf("\"peer_move_ns\":%.3f,", move_ns(metrics, counter, true, false));
    printf("\"peer_move_scraped_ns\":%.3f}\n", move_ns(metrics, counter, true, true));
    ps_metrics_free(metrics);
    ps_metrics_free(wide);
    return 0;
}

int main(int argc, char **argv)
{
    size_t count = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    if (count == 0) {
        fprintf(stderr, "usage: bench_metrics hot|series|series-peer|flood|scrape COUNT\n");
        return 2;
    }
    const char *way = argv[1];
    return strcmp(way, "hot") == 0           ? run_hot(count)
           : strcmp(way, "flood") == 0       ? run_flood(count)
           : strcmp(way, "scrape") == 0      ? run_scrape(count)
           : strcmp(way, "series-peer") == 0 ? run_series(count, true)
                                             : run_series(count, false);
}
