/* batch - how good a batch is found in 32 tries, and what it does at a load.
 *
 *   bench_batch search SEED RUNS      the four kinds of tests/helpers/curve.h, beside what people do:
 *                                     hill climbing (AIMD) and a fixed size
 *   bench_batch queue SEED            a server like the one of Triton's guide, under load
 *   bench_batch cost                  microseconds
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

enum { TRIES = 32, AFTER = 2000, FIXED = 32 };
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
    if (isfinite(curve->device)) { /* what the device shows before the first */
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
    if (getenv("CELLS") != NULL) {
        for (size_t n = 1; n <= model.largest; n++) {
            if (model.cell[n].count > 0) {
                fprintf(stderr, "   %zu: %.0f x %.3f, curve %.3f, truth %.3f; said %.3f +- %.3f\n", n, model.cell[n].count, exp(model.cell[n].log)/curve_seconds(curve, n), ps_batch_fit_at(&model.fit, n)/curve_seconds(curve, n), 1.0, exp(model.log[n])/curve_seconds(curve, n), model.doubt[n]);
            }
        }
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
    double worst, total;     /* of the best fixed batch */
    unsigned within;         /* runs within 5 % */
    unsigned in_search, most_in_search, after; /* out of memory */
    double latest;           /* 95th percentile of the size by the objective */
    unsigned late;           /* it is above the objective */
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
    printf("\"%s\":{\"runs\":%u,\"worst\":%.4f,\"mean\":%.4f,\"within\":%u,\"oom_in_search\":%u,\"most_oom_in_search\":%u,"
           "\"oom_after\":%u,\"late\":%u,\"latest\":%.4f,\"tries\":%.2f,\"most_tries\":%zu",
           name, runs, sums->worst, sums->total / runs, sums->within, sums->in_search, sums->most_in_search, sums->after,
           sums->late, sums->latest, sums->tries / runs, sums->most_tries);
    if (sums->memory_runs > 0) {
        printf(",\"memory_error\":%.5f,\"memory_error_worst\":%.5f",
               sums->memory_error / sums->memory_runs, sums->memory_worst);
    }
    printf("}%s", end);
}

static void run_search(uint64_t seed, unsigned runs, bool tell)
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
                double best = rate_of(&curve, curve_best(&curve));
                double late = curve_p95(&curve, outcome.size) / curve.p95;
                if (tell && rule == OURS &&
                    (late > 1.05 || rate_of(&curve, outcome.size) < 0.95 * best)) {
                    fprintf(stderr,
                            "%s %u: %zu by %s after %zu, best %zu (%.3f late %.3f) base %g each %g knee %g "
                            "x%.2g p95 %g device/each %g spread %.3f misfit %.3f tail %.3f\n",
                            curve_kind_names[kind], run, outcome.size,
                            ps_batch_limit_names[outcome.limit], outcome.tries, curve_best(&curve),
                            rate_of(&curve, outcome.size) / best, late, curve.base, curve.each,
                            curve.knee, curve.steeper, curve.p95,
                            (curve.device - curve.fixed) / curve.of_each, model.spread,
                            model.misfit, model.tail);
                }
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

int main(int argc, char **argv)
{
    if (argc >= 4 && strcmp(argv[1], "search") == 0) {
        run_search(strtoull(argv[2], NULL, 10), (unsigned)strtoul(argv[3], NULL, 10), argc > 4);
    } else {
        die("usage: bench_batch search SEED RUNS");
    }
    return 0;
}
