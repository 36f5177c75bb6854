/* batch - how good a batch is found in 32 tries, and what it does at a load.
 *
 *   bench_batch search SEED RUNS      the four kinds of tests/helpers/curve.h, beside what people
 * do: hill climbing (AIMD) and a fixed size bench_batch queue SEED            a server like the one
 * of Triton's guide, under load bench_batch cost                  microseconds
 *
 * Prints one JSON object.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../helpers/curve.h"
#include "gpu/batch_model.h"

enum { TRIES = 32, IDLE = 5, AFTER = 2000, FIXED = 32 };
enum rule { OURS, AIMD, SIZE_32, RULES };

static const char *const rule_names[] = {"ours", "aimd", "fixed_32"};

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "bench_batch: %s\n", what);
    exit(1);
}

/* ---------------------------------------------------------------- a search */

struct outcome {
    size_t size, tries;
    unsigned failures; /* out of memory, in the search */
    enum ps_batch_limit limit;
    double memory_error; /* of the line, relative, mean over sizes up to the recommended */
};

static struct ps_batch_model model;

static struct ps_batch_goal goal_of(const struct curve *curve)
{
    return (struct ps_batch_goal){
        .p95 = curve->p95, .turns = 1, .memory = curve->device, .most = CURVE_MOST};
}

static bool learn(const struct curve *curve, size_t size, struct ps_rng *rng, ps_time now)
{
    struct curve_call call = curve_run(curve, size, rng);
    if (call.failed) {
        ps_memory_model_fail(&model.memory, size, curve->device);
        return false;
    }
    ps_batch_model_learn(&model, now, size, call.seconds, 1);
    if (isfinite(curve->device)) {
        ps_memory_model_learn(&model.memory, size, call.bytes);
    }
    return true;
}

static double memory_error(const struct curve *curve, size_t most)
{
    double sum = 0;
    for (size_t n = 1; n <= most; n++) {
        sum += fabs(ps_memory_model_expect(&model.memory, n) / curve_memory(curve, n) - 1);
    }
    return sum / (double)most;
}

static struct outcome search(const struct curve *curve, struct ps_rng *rng)
{
    struct outcome outcome = {.memory_error = NAN};
    const struct ps_batch_goal goal = goal_of(curve);
    ps_time now = 0;
    ps_batch_model_init(&model);
    for (int i = 0; i < IDLE && isfinite(curve->device); i++) { /* before the first batch */
        ps_memory_model_learn(&model.memory, 0, curve_run(curve, 0, rng).bytes);
    }
    while (outcome.tries < TRIES) {
        size_t size = ps_batch_model_next(&model, &goal);
        if (size == 0) {
            break;
        }
        outcome.tries++;
        outcome.failures += learn(curve, size, rng, now += PS_SECOND) ? 0 : 1;
    }
    struct ps_batch_advice advice = ps_batch_model_advise(&model, &goal);
    outcome.size = advice.size == 0 ? 1 : advice.size;
    outcome.limit = advice.limit;
    if (isfinite(curve->device)) {
        outcome.memory_error = memory_error(curve, outcome.size);
    }
    return outcome;
}

/* One more while it is fast enough, half when it is not, or when it failed: what is known from
 * congestion control, and of batches from Clipper. */
static struct outcome climb(const struct curve *curve, struct ps_rng *rng)
{
    struct outcome outcome = {.size = 1, .memory_error = NAN};
    size_t step = 4;
    size_t good = 1;
    for (; outcome.tries < TRIES; outcome.tries++) {
        struct curve_call call = curve_run(curve, outcome.size, rng);
        outcome.failures += call.failed ? 1 : 0;
        if (call.failed || call.seconds > curve->p95) {
            outcome.size = outcome.size / 2 > 0 ? outcome.size / 2 : 1;
        } else {
            good = outcome.size;
            outcome.size += step;
        }
    }
    outcome.size = good;
    return outcome;
}

static struct outcome run_rule(enum rule rule, const struct curve *curve, struct ps_rng *rng)
{
    switch (rule) {
    case OURS:
        return search(curve, rng);
    case AIMD:
        return climb(curve, rng);
    case SIZE_32:
    case RULES:
        break;
    }
    return (struct outcome){.size = FIXED, .memory_error = NAN};
}

static unsigned fails_after(const struct curve *curve, size_t size, struct ps_rng *rng)
{
    unsigned failures = 0;
    for (int i = 0; i < AFTER; i++) {
        failures += curve_run(curve, size, rng).failed ? 1 : 0;
    }
    return failures;
}

struct sums {
    double worst, total;                       /* of the best fixed batch */
    unsigned within;                           /* runs within 5 % */
    unsigned in_search, most_in_search, after; /* out of memory */
    double latest;                             /* 95th percentile of the size by the objective */
    unsigned late;                             /* it is above the objective */
    size_t most_tries;
    double tries;
    double memory_error, memory_worst;
    unsigned memory_runs;
};

static double rate_of(const struct curve *curve, size_t size)
{
    return (double)size / curve_seconds(curve, size);
}

static void add(struct sums *sums, const struct curve *curve, const struct outcome *outcome,
                struct ps_rng *rng)
{
    double late = curve_p95(curve, outcome->size) / curve->p95;
    double value = rate_of(curve, outcome->size) / rate_of(curve, curve_best(curve));
    sums->worst = fmin(sums->worst, value);
    sums->total += value;
    sums->within += value >= 0.95 && late <= 1.05 ? 1 : 0;
    sums->latest = fmax(sums->latest, late);
    sums->in_search += outcome->failures;
    sums->most_in_search =
        outcome->failures > sums->most_in_search ? outcome->failures : sums->most_in_search;
    sums->after += fails_after(curve, outcome->size, rng);
    sums->late += late > 1 ? 1 : 0;
    sums->tries += (double)outcome->tries;
    sums->most_tries = outcome->tries > sums->most_tries ? outcome->tries : sums->most_tries;
    if (isfinite(outcome->memory_error)) {
        sums->memory_error += outcome->memory_error;
        sums->memory_worst = fmax(sums->memory_worst, outcome->memory_error);
        sums->memory_runs++;
    }
}

static void print_sums(const char *name, const struct sums *sums, unsigned runs, const char *end)
{
    printf("\"%s\":{\"runs\":%u,\"worst\":%.4f,\"mean\":%.4f,\"within\":%u,\"oom_in_search\":%u,"
           "\"most_oom_in_search\":%u,"
           "\"oom_after\":%u,\"late\":%u,\"latest\":%.4f,\"tries\":%.2f,\"most_tries\":%zu",
           name, runs, sums->worst, sums->total / runs, sums->within, sums->in_search,
           sums->most_in_search, sums->after, sums->late, sums->latest, sums->tries / runs,
           sums->most_tries);
    if (sums->memory_runs > 0) {
        printf(",\"memory_error\":%.5f,\"memory_error_worst\":%.5f",
               sums->memory_error / sums->memory_runs, sums->memory_worst);
    }
    printf("}%s", end);
}

static void run_search(uint64_t seed, unsigned runs)
{
    printf("{\"kinds\":{");
    for (int kind = 0; kind < CURVE_KINDS; kind++) {
        struct sums sums[RULES];
        memset(sums, 0, sizeof sums);
        for (int rule = 0; rule < RULES; rule++) {
            sums[rule].worst = 1;
        }
        for (unsigned run = 0; run < runs; run++) {
            struct curve curve = curve_make((enum curve_kind)kind, seed + run);
            for (int rule = 0; rule < RULES; rule++) {
                struct ps_rng rng = ps_rng_make(seed + run);
                struct outcome outcome = run_rule((enum rule)rule, &curve, &rng);
                add(&sums[rule], &curve, &outcome, &rng);
            }
        }
        printf("\"%s\":{", curve_kind_names[kind]);
        for (int rule = 0; rule < RULES; rule++) {
            print_sums(rule_names[rule], &sums[rule], runs, rule + 1 < RULES ? "," : "");
        }
        printf("}%s\n", kind + 1 < CURVE_KINDS ? "," : "");
    }
    printf("}}\n");
}

/* ---------------------------------------------------------------- a queue */

/* The inception_onnx of Triton's guide (docs/user_guide/optimization.md): 73.4 a second alone, 272
 * a second in batches of four. b + a n through both. */
#define GUIDE_EACH   0.000361
#define GUIDE_BASE   0.013263
#define GUIDE_NOISE  0.05
#define SERVED       200000u
#define WAITING_MOST 4096u

static double guide_seconds(size_t size, struct ps_rng *rng)
{
    double unit = ps_rng_unit(rng) + ps_rng_unit(rng) + ps_rng_unit(rng) - 1.5; /* nearly normal */
    return (GUIDE_BASE + GUIDE_EACH * (double)size) * exp(2 * GUIDE_NOISE * unit);
}

struct served {
    double rate; /* a second */
    double p95;
};

static double spans[SERVED];

static int by_size(const void *a, const void *b)
{
    const double *left = a;
    const double *right = b;
    return (*left > *right) - (*left < *right);
}

/* So many clients, each of which asks again at once when it has its answer; the server takes up to
 * `most` of those that wait together. */
static struct served serve_clients(size_t clients, size_t most, struct ps_rng *rng)
{
    static double asked[WAITING_MOST];
    double now = 0;
    size_t first = 0;
    size_t served = 0;
    for (size_t i = 0; i < clients; i++) {
        asked[i] = 0;
    }
    while (served < SERVED) {
        size_t size = clients < most ? clients : most;
        now += guide_seconds(size, rng);
        for (size_t i = 0; i < size && served < SERVED; i++) {
            size_t at = (first + i) % clients;
            spans[served++] = now - asked[at];
            asked[at] = now; /* at the end of the queue */
        }
        first = (first + size) % clients;
    }
    qsort(spans, SERVED, sizeof *spans, by_size);
    return (struct served){(double)SERVED / now, spans[SERVED * 95 / 100]};
}

/* Requests that come by chance, so many a second. */
static struct served serve_stream(double rate, size_t most, struct ps_rng *rng)
{
    static double asked[WAITING_MOST];
    double now = 0;
    double next = ps_rng_exponential(rng, 1 / rate);
    size_t first = 0;
    size_t waiting = 0;
    size_t served = 0;
    while (served < SERVED) {
        if (waiting == 0) {
            now = next > now ? next : now;
        }
        while (next <= now && waiting < WAITING_MOST) {
            asked[(first + waiting++) % WAITING_MOST] = next;
            next += ps_rng_exponential(rng, 1 / rate);
        }
        size_t size = waiting < most ? waiting : most;
        now += guide_seconds(size, rng);
        for (size_t i = 0; i < size && served < SERVED; i++) {
            spans[served++] = now - asked[(first + i) % WAITING_MOST];
        }
        first = (first + size) % WAITING_MOST;
        waiting -= size;
    }
    qsort(spans, SERVED, sizeof *spans, by_size);
    return (struct served){(double)SERVED / now, spans[SERVED * 95 / 100]};
}

/* What is recommended when nobody may wait longer than they do now, with batches of one. */
static size_t recommended(double p95, struct ps_rng *rng, size_t *tries)
{
    const struct ps_batch_goal goal = {.p95 = p95, .turns = 2, .memory = INFINITY, .most = 0};
    ps_batch_model_init(&model);
    for (*tries = 0; *tries < TRIES; ++*tries) {
        size_t size = ps_batch_model_next(&model, &goal);
        if (size == 0) {
            break;
        }
        ps_batch_model_learn(&model, (ps_time)*tries * PS_SECOND, size, guide_seconds(size, rng),
                             1);
    }
    return ps_batch_model_advise(&model, &goal).size;
}

static void run_queue(uint64_t seed)
{
    struct ps_rng rng = ps_rng_make(seed);
    size_t tries;
    struct served alone = serve_clients(4, 1, &rng);
    size_t size = recommended(alone.p95, &rng, &tries);
    struct served full = serve_clients(2 * size, size, &rng);
    struct served four = serve_clients(8, 4, &rng);
    double capacity = 1 / (GUIDE_BASE + GUIDE_EACH);
    struct served busy = serve_stream(0.9 * capacity, 1, &rng);
    struct served same = serve_stream(0.9 * capacity, size, &rng);
    struct served more = serve_stream(3.5 * capacity, size, &rng);
    printf("{\"recommended\":%zu,\"tries\":%zu,\"alone\":{\"rate\":%.1f,\"p95\":%.5f},"
           "\"full\":{\"rate\":%.1f,\"p95\":%.5f},\"guide\":{\"rate\":%.1f,\"p95\":%.5f},"
           "\"busy\":{\"rate\":%.1f,\"p95\":%.5f},\"same\":{\"rate\":%.1f,\"p95\":%.5f},"
           "\"more\":{\"rate\":%.1f,\"p95\":%.5f}}\n",
           size, tries, alone.rate, alone.p95, full.rate, full.p95, four.rate, four.p95, busy.rate,
           busy.p95, same.rate, same.p95, more.rate, more.p95);
}

/* ---------------------------------------------------------------- what it costs */

static double cpu_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void run_cost(void)
{
    enum { CALLS = 200000, QUESTIONS = 500 };
    struct curve curve = curve_make(CURVE_NOISY, 1);
    struct ps_rng rng = ps_rng_make(1);
    const struct ps_batch_goal goal = goal_of(&curve);
    static struct curve_call calls[CALLS];
    for (size_t i = 0; i < CALLS; i++) {
        calls[i] = curve_run(&curve, 1 + i % 64, &rng);
    }
    ps_batch_model_init(&model);
    double begin = cpu_us();
    for (size_t i = 0; i < CALLS; i++) {
        ps_batch_model_learn(&model, (ps_time)i * PS_MILLISECOND, 1 + i % 64, calls[i].seconds, 1);
    }
    double learned = cpu_us();
    size_t sum = 0;
    for (size_t i = 0; i < QUESTIONS; i++) {
        ps_batch_model_learn(&model, PS_HOUR, 1 + i % 64, calls[i].seconds, 1);
        sum += ps_batch_model_advise(&model, &goal).size;
    }
    double asked = cpu_us();
    printf("{\"learn_us\":%.4f,\"advise_us\":%.2f,\"sum\":%zu}\n", (learned - begin) / CALLS,
           (asked - learned) / QUESTIONS, sum);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "search") == 0) {
        run_search(strtoull(argv[2], NULL, 10), (unsigned)strtoul(argv[3], NULL, 10));
    } else if (argc == 3 && strcmp(argv[1], "queue") == 0) {
        run_queue(strtoull(argv[2], NULL, 10));
    } else if (argc == 2 && strcmp(argv[1], "cost") == 0) {
        run_cost();
    } else {
        die("usage: bench_batch search SEED RUNS | queue SEED | cost");
    }
    return 0;
}
