/* predict - how well trouble with memory is foreseen, beside the rules that everybody has.
 *
 *   bench_predict shapes SEED RUNS        servers under the five workloads (tests/helpers/strain.h)
 *   bench_predict level SEED RUNS         the word for the pressure on them, against what is hidden
 *   bench_predict bound SEED RUNS         what alarms could do at best, by all that is hidden
 *   bench_predict series FILE             memory derived from a recorded trace, "will it be over
 * its 95th percentile within 10 s"
 *
 * FILE: "SECONDS REQUESTS", then the memory at the end of each second, then a line a request: when
 * it came, tokens of the prompt and of the answer. Prints one JSON object.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../helpers/strain.h"
#include "foresee/cleanup.h"
#include "foresee/demand.h"
#include "foresee/survival.h"
#include "gpu/pressure.h"

#define TOKEN 131072.0
#define FIXED (34 * 1073741824.0)

enum { SECONDS = 3600, WARM = 120, APART = 60, HORIZON = 60, LONGEST = 120, EPISODES = 4096 };
enum rule { OURS, THRESHOLD, LINE, QUEUE, RULES };

static const char *const rule_names[] = {"ours", "threshold", "line", "queue"};

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "bench_predict: %s\n", what);
    exit(1);
}

static void *need(void *memory)
{
    if (memory == NULL) {
        die("out of memory");
    }
    return memory;
}

static double cpu_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* ---------------------------------------------------------------- what a rule did */

struct tally {
    double hit, false_positive, missed, quiet; /* samples */
    unsigned episodes, announced, alarms, false_alarms;
    double lead[EPISODES]; /* seconds; 0 where nobody warned */
};

static bool any(const bool *flags, int from, int to)
{
    for (int t = from < 0 ? 0 : from; t < to && t < SECONDS; t++) {
        if (flags[t]) {
            return true;
        }
    }
    return false;
}

static void count_samples(struct tally *tally, const bool *alarm, const bool *event)
{
    for (int t = WARM; t + HORIZON < SECONDS; t++) {
        bool truth = any(event, t + 1, t + 1 + HORIZON);
        double *cell = truth ? (alarm[t] ? &tally->hit : &tally->missed)
                             : (alarm[t] ? &tally->false_positive : &tally->quiet);
        ++*cell;
    }
}

/* True when trouble comes while it stands or within half a minute after, at latest after two
 * minutes, or when it tells of trouble that there is. */
static void count_alarms(struct tally *tally, const bool *alarm, const bool *event)
{
    for (int t = WARM; t < SECONDS; t++) {
        if (!alarm[t] || alarm[t - 1]) {
            continue;
        }
        int end = t;
        while (end < SECONDS && alarm[end]) {
            end++;
        }
        if (end + 30 >= SECONDS) {
            return;
        }
        tally->alarms++;
        int last = end + 30 < t + LONGEST ? end + 30 : t + LONGEST;
        tally->false_alarms += !any(event, t - 10, last);
    }
}

/* An episode begins with an event after a minute without; it is announced by an alarm that stands
 * in the second before or stood within the ten before. */
static void count_episodes(struct tally *tally, const bool *alarm, const bool *event)
{
    int last = -APART;
    for (int t = 0; t < SECONDS; t++) {
        if (event[t] && t - last >= APART && t > WARM && tally->episodes < EPISODES) {
            int stood = t - 1;
            while (stood > t - 10 && !alarm[stood]) {
                stood--;
            }
            int began = stood;
            while (began > 0 && alarm[began - 1]) {
                began--;
            }
            tally->announced += alarm[stood];
            tally->lead[tally->episodes++] = alarm[stood] ? fmin(t - began, LONGEST) : 0;
        }
        last = event[t] ? t : last;
    }
}

static double matthews(const struct tally *tally)
{
    double product = (tally->hit + tally->false_positive) * (tally->hit + tally->missed) *
                     (tally->quiet + tally->false_positive) * (tally->quiet + tally->missed);
    return product <= 0 ? 0
                        : (tally->hit * tally->quiet - tally->false_positive * tally->missed) /
                              sqrt(product);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_tally(const char *name, struct tally *tally, const char *end)
{
    double sum = 0;
    for (unsigned i = 0; i < tally->episodes; i++) {
        sum += tally->lead[i];
    }
    qsort(tally->lead, tally->episodes, sizeof *tally->lead, by_value);
    double count = tally->episodes > 0 ? tally->episodes : 1;
    printf("\"%s\":{\"hit\":%.0f,\"false_positive\":%.0f,\"missed\":%.0f,\"quiet\":%.0f,"
           "\"episodes\":%u,"
           "\"announced\":%u,\"alarms\":%u,\"false_alarms\":%u,\"mcc\":%.4f,\"lead_mean\":%.2f,"
           "\"lead_p5\":%.1f,\"lead_median\":%.1f}%s",
           name, tally->hit, tally->false_positive, tally->missed, tally->quiet, tally->episodes,
           tally->announced, tally->alarms, tally->false_alarms, matthews(tally), sum / count,
           tally->lead[(size_t)(count * 0.05)], tally->lead[(size_t)(count * 0.5)], end);
}

/* ---------------------------------------------------------------- servers */

static struct ps_cleanup_sample sample_of(const struct strain_sample *seen, double *events)
{
    bool blocks = !isnan(seen->pool_bytes);
    double now = seen->preemptions + seen->failures;
    struct ps_cleanup_sample sample = {
        .held = seen->down ? NAN
                : blocks   ? seen->pool_bytes
                           : seen->allocated_bytes,
        .limit = blocks ? seen->pool_total : seen->device_total - FIXED,
        .queued = seen->waiting_tokens * TOKEN,
        .flight = ps_survival_held(&seen->crowd) * TOKEN,
        .arrived = seen->arrived_tokens * TOKEN,
        .event = now > *events,
    };
    *events = now;
    return sample;
}

/* What the program does with a sample: operate/gpu_outlook. */
struct watcher {
    struct ps_survival survival;
    struct ps_cleanup cleanup;
    double known[PS_FORECAST_STEPS];
};

static void watcher_init(struct watcher *watcher)
{
    struct ps_cleanup_opts opts = ps_cleanup_opts_usual();
    ps_survival_init(&watcher->survival);
    ps_cleanup_init(&watcher->cleanup, &opts);
}

static struct ps_cleanup_answer watch(struct watcher *watcher, int t,
                                      const struct ps_survival_count *crowd,
                                      struct ps_cleanup_sample *sample)
{
    const struct ps_cleanup_opts *opts = &watcher->cleanup.opts;
    ps_survival_push(&watcher->survival, crowd);
    bool knows =
        ps_survival_expect(&watcher->survival, crowd, opts->step, opts->steps, watcher->known);
    for (size_t i = 0; knows && i < opts->steps; i++) {
        watcher->known[i] *= TOKEN;
    }
    sample->known = knows ? watcher->known : NULL;
    return ps_cleanup_push(&watcher->cleanup, t * PS_SECOND, sample);
}

/* The straight line through the last 30 values (least squares), `ahead` on. */
static double line_ahead(const double *values, int now, double ahead)
{
    int count = now < 29 ? now + 1 : 30;
    double middle = (count - 1) / 2.0;
    double mean = 0;
    for (int i = 0; i < count; i++) {
        mean += values[now - count + 1 + i] / count;
    }
    double across = 0;
    double square = 1e-9;
    for (int i = 0; i < count; i++) {
        across += (i - middle) * (values[now - count + 1 + i] - mean);
        square += (i - middle) * (i - middle);
    }
    return mean + across / square * (count - 1 - middle + ahead);
}

struct run {
    bool event[SECONDS];
    bool alarm[RULES][SECONDS];
    double use[SECONDS];
};

/* What there was to know, second by second. */
static void record(struct ps_cleanup_sample *samples, struct ps_survival_count *crowds,
                   enum strain_kind kind, enum workload_shape shape, uint64_t seed)
{
    struct strain *strain = need(strain_new(kind, shape, seed, SECONDS));
    double events = 0;
    for (int t = 0; t < SECONDS; t++) {
        struct strain_sample seen;
        strain_next(strain, &seen);
        samples[t] = sample_of(&seen, &events);
        crowds[t] = seen.crowd;
    }
    strain_free(strain);
}

static void follow_rules(struct run *run, const struct ps_cleanup_sample *samples)
{
    for (int t = 0; t < SECONDS; t++) {
        const struct ps_cleanup_sample *sample = &samples[t];
        run->event[t] = sample->event;
        run->use[t] = isnan(sample->held) ? 0 : sample->held / sample->limit;
        run->alarm[THRESHOLD][t] = run->use[t] >= 0.85;
        run->alarm[LINE][t] = t > 10 && line_ahead(run->use, t, HORIZON) >= 1;
        run->alarm[QUEUE][t] = run->use[t] + sample->queued / sample->limit > 1;
    }
}

/* Plays a run; returns the processor's time that the prediction took, in us. */
static double play(struct run *run, enum strain_kind kind, enum workload_shape shape, uint64_t seed)
{
    static struct watcher watcher;
    static struct ps_cleanup_sample samples[SECONDS];
    static struct ps_survival_count crowds[SECONDS];
    record(samples, crowds, kind, shape, seed);
    follow_rules(run, samples);
    watcher_init(&watcher);
    double before = cpu_us();
    for (int t = 0; t < SECONDS; t++) {
        run->alarm[OURS][t] = watch(&watcher, t, &crowds[t], &samples[t]).needed;
    }
    return cpu_us() - before;
}

static void shapes(uint64_t seed, unsigned runs)
{
    static struct tally tally[RULES];
    static struct run run;
    double spent = 0;
    printf("{\"shapes\":{");
    for (unsigned i = 0; i < WORKLOAD_SHAPES; i++) {
        memset(tally, 0, sizeof tally);
        for (unsigned k = 0; k < runs * STRAIN_KINDS; k++) {
            spent += play(&run, k % STRAIN_KINDS, i, seed + k / STRAIN_KINDS);
            for (unsigned r = 0; r < RULES; r++) {
                count_samples(&tally[r], run.alarm[r], run.event);
                count_alarms(&tally[r], run.alarm[r], run.event);
                count_episodes(&tally[r], run.alarm[r], run.event);
            }
        }
        printf("%s\"%s\":{", i > 0 ? "," : "", workload_names[i]);
        for (unsigned r = 0; r < RULES; r++) {
            print_tally(rule_names[r], &tally[r], r + 1 < RULES ? "," : "}");
        }
    }
    printf("},\"us\":%.3f}\n", spent / SECONDS / STRAIN_KINDS / runs / WORKLOAD_SHAPES);
}

/* ---------------------------------------------------------------- the bound */

/* Alarms by the chance that the hidden state gives: an alarm in the second in which it is over a
 * threshold for a while, as foresee/cleanup adds it up. Nobody who doesn't know how long answers
 * get does better but by luck. */
static void bound(uint64_t seed, unsigned runs)
{
    enum { PLAYS = 8, LEVELS = 3 };
    static const double threshold[LEVELS] = {0.3, 0.5, 0.8};
    static struct tally tally[LEVELS];
    static bool alarm[LEVELS][SECONDS];
    static bool event[SECONDS];
    for (unsigned k = 0; k < runs * STRAIN_KINDS * WORKLOAD_SHAPES; k++) {
        double evidence[LEVELS] = {0};
        double events = 0;
        int last = -10;
        struct strain *strain =
            need(strain_new(k % STRAIN_KINDS, k / STRAIN_KINDS % WORKLOAD_SHAPES,
                            seed + k / STRAIN_KINDS / WORKLOAD_SHAPES, SECONDS));
        for (int t = 0; t < SECONDS; t++) {
            struct strain_sample seen;
            strain_next(strain, &seen);
            event[t] = sample_of(&seen, &events).event;
            last = event[t] ? t : last;
            double says =
                t - last < 10 ? 1 : strain_chance(strain, HORIZON, PLAYS, seed + (uint64_t)t);
            for (int i = 0; i < LEVELS; i++) {
                evidence[i] = fmin(fmax(evidence[i] + says - threshold[i], 0), 2);
                alarm[i][t] = evidence[i] >= 0.5 || (t > 0 && alarm[i][t - 1] && evidence[i] > 0);
            }
        }
        strain_free(strain);
        for (int i = 0; i < LEVELS; i++) {
            count_samples(&tally[i], alarm[i], event);
            count_alarms(&tally[i], alarm[i], event);
            count_episodes(&tally[i], alarm[i], event);
        }
    }
    printf("{\"bound\":{");
    for (int i = 0; i < LEVELS; i++) {
        char name[8];
        snprintf(name, sizeof name, "%.1f", threshold[i]);
        print_tally(name, &tally[i], i + 1 < LEVELS ? "," : "}}\n");
    }
}

/* ---------------------------------------------------------------- levels */

/* 0 to 3, as enum ps_pressure_level: what the hidden state comes to if nothing changes. */
static void truths(const struct strain_sample *seen, const double *until, int *truth)
{
    for (int t = 0; t < SECONDS; t++) {
        double mean = 0;
        double count = 0;
        for (int i = t - 15; i <= t + 15; i++) {
            if (i >= 0 && i < SECONDS) {
                mean += seen[i].effective;
                count++;
            }
        }
        double left = seen[t].event ? 0 : until[t];
        truth[t] = left <= 10 ? 3 : left <= 60 ? 2 : mean / count > STRAIN_TARGET ? 1 : 0;
    }
}

struct verdicts {
    unsigned right, samples, flaps, truth_flaps;
    unsigned said[4][4]; /* truth, word */
};

/* Changes that take back another one within a minute. */
static unsigned flaps_of(const int *level)
{
    unsigned flaps = 0;
    int changed = -100;
    int before = -1;
    for (int t = WARM + 1; t < SECONDS; t++) {
        if (level[t] != level[t - 1]) {
            flaps += level[t] == before && t - changed < 60;
            before = level[t - 1];
            changed = t;
        }
    }
    return flaps;
}

static struct ps_pressure_sample pressure_of(const struct strain_sample *seen, bool event,
                                             double until)
{
    return (struct ps_pressure_sample){.device_used = seen->device_bytes,
                                       .device_total = seen->device_total,
                                       .pool_used = seen->pool_bytes,
                                       .pool_total = seen->pool_total,
                                       .unused = seen->reserved_bytes - seen->allocated_bytes,
                                       .event = event,
                                       .until = seen->down ? INFINITY : until};
}

static void judge(struct verdicts *verdicts, enum strain_kind kind, enum workload_shape shape,
                  uint64_t seed)
{
    static struct strain_sample seen[SECONDS];
    static double until[SECONDS];
    static int truth[SECONDS];
    static int word[SECONDS];
    static struct watcher watcher;
    struct ps_pressure pressure;
    struct ps_pressure_opts pressure_opts = ps_pressure_opts_usual();
    watcher_init(&watcher);
    ps_pressure_init(&pressure, &pressure_opts);
    struct strain *strain = need(strain_new(kind, shape, seed, SECONDS));
    double events = 0;
    for (int t = 0; t < SECONDS; t++) {
        strain_next(strain, &seen[t]);
        until[t] = strain_until_event(strain);
        struct ps_cleanup_sample sample = sample_of(&seen[t], &events);
        double left = watch(&watcher, t, &seen[t].crowd, &sample).until;
        struct ps_pressure_sample look = pressure_of(&seen[t], sample.event, left);
        word[t] = (int)ps_pressure_push(&pressure, t * PS_SECOND, &look);
    }
    strain_free(strain);
    truths(seen, until, truth);
    for (int t = WARM; t + 60 < SECONDS; t++) {
        verdicts->said[truth[t]][word[t]]++;
        verdicts->right += truth[t] == word[t];
        verdicts->samples++;
    }
    verdicts->flaps += flaps_of(word);
    verdicts->truth_flaps += flaps_of(truth);
}

static void levels(uint64_t seed, unsigned runs)
{
    printf("{\"levels\":{");
    for (unsigned i = 0; i < WORKLOAD_SHAPES * STRAIN_KINDS; i++) {
        struct verdicts verdicts = {.right = 0};
        for (unsigned k = 0; k < runs; k++) {
            judge(&verdicts, i % STRAIN_KINDS, i / STRAIN_KINDS, seed + k);
        }
        printf(
            "%s\"%s_%s\":{\"right\":%u,\"samples\":%u,\"flaps\":%u,\"truth_flaps\":%u,\"said\":[",
            i > 0 ? "," : "", workload_names[i / STRAIN_KINDS], strain_kind_names[i % STRAIN_KINDS],
            verdicts.right, verdicts.samples, verdicts.flaps, verdicts.truth_flaps);
        for (unsigned t = 0; t < 4; t++) {
            printf("%s[%u,%u,%u,%u]", t > 0 ? "," : "", verdicts.said[t][0], verdicts.said[t][1],
                   verdicts.said[t][2], verdicts.said[t][3]);
        }
        printf("]}");
    }
    printf("}}\n");
}

/* ---------------------------------------------------------------- recorded traces */

enum { AHEAD = 10, BANDS = 100 };

#define OURS_FROM                                                                              \
    0.2             /* half of the F1 that can be had is the best threshold of calibrated odds \
                     */
#define DECODE 0.03 /* seconds a token: how the series were derived */

struct series {
    int seconds, requests;
    double *memory;
    double *came;
    uint64_t *prompt, *answer;
    double limit;
};

static double percentile(const double *values, int count, double share)
{
    double *sorted = need(malloc((size_t)count * sizeof *sorted));
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, by_value);
    double place = (count - 1) * share;
    int low = (int)place;
    double value =
        sorted[low] + (sorted[low + 1 < count ? low + 1 : low] - sorted[low]) * (place - low);
    free(sorted);
    return value;
}

static double next_number(FILE *file)
{
    char word[64];
    if (fscanf(file, "%63s", word) != 1) {
        die("the series is cut");
    }
    return strtod(word, NULL);
}

static void read_series(struct series *series, const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        die("cannot read the series");
    }
    series->seconds = (int)next_number(file);
    series->requests = (int)next_number(file);
    if (series->seconds < 100 || series->seconds > 1000000 || series->requests < 0 ||
        series->requests > 10000000) {
        die("the series is too short or too long");
    }
    size_t seconds = (size_t)series->seconds;
    size_t requests = (size_t)series->requests;
    series->memory = need(calloc(seconds, sizeof *series->memory));
    series->came = need(calloc(requests + 1, sizeof *series->came));
    series->prompt = need(calloc(requests + 1, sizeof *series->prompt));
    series->answer = need(calloc(requests + 1, sizeof *series->answer));
    for (size_t i = 0; i < seconds; i++) {
        series->memory[i] = next_number(file);
    }
    for (size_t i = 0; i < requests; i++) {
        series->came[i] = next_number(file);
        series->prompt[i] = (uint64_t)next_number(file);
        series->answer[i] = (uint64_t)next_number(file);
    }
    fclose(file);
    series->limit = percentile(series->memory, series->seconds, 0.95);
}

/* What a gateway in front of it would know: requests in flight and their tokens so far, no more. */
struct gateway {
    struct ps_demand demand;
    int *flight; /* requests in flight, in the order in which they came */
    int count;
    int next; /* request to come */
};

static double arrivals(struct gateway *gateway, const struct series *series, double now)
{
    double tokens = 0;
    while (gateway->next < series->requests && series->came[gateway->next] < now) {
        tokens += (double)series->prompt[gateway->next];
        gateway->flight[gateway->count++] = gateway->next++;
    }
    int left = 0;
    for (int k = 0; k < gateway->count; k++) {
        int i = gateway->flight[k];
        if (series->came[i] + (double)series->answer[i] * DECODE <= now) {
            ps_demand_ended(&gateway->demand, series->prompt[i], series->answer[i]);
        } else {
            gateway->flight[left++] = i;
        }
    }
    gateway->count = left;
    return tokens;
}

static void expect(const struct gateway *gateway, const struct series *series, double now,
                   const struct ps_cleanup_opts *opts, double *known)
{
    double ahead[PS_FORECAST_STEPS];
    for (size_t i = 0; i < opts->steps; i++) {
        ahead[i] = opts->step[i] / DECODE;
        known[i] = 0;
    }
    for (int k = 0; k < gateway->count; k++) {
        int i = gateway->flight[k];
        struct ps_demand_request request = {series->prompt[i],
                                            (uint64_t)((now - series->came[i]) / DECODE)};
        ps_demand_expect(&gateway->demand, &request, ahead, opts->steps, known);
    }
}

/* Predicts each second; says[] gets the probability. Returns us a sample. */
static double predict(const struct series *series, double *says)
{
    static struct ps_cleanup cleanup;
    static struct gateway gateway;
    struct ps_cleanup_opts opts = {
        .step = {1, 2, 3, 5, 7, 10}, .steps = 6, .horizon = 6, .soon = 6, .threshold = 0.5};
    gateway = (struct gateway){.flight = need(calloc((size_t)series->requests + 1, sizeof(int)))};
    ps_demand_init(&gateway.demand);
    ps_cleanup_init(&cleanup, &opts);
    double before = cpu_us();
    for (int t = 0; t < series->seconds; t++) {
        double known[PS_FORECAST_STEPS];
        double arrived = arrivals(&gateway, series, t + 1);
        expect(&gateway, series, t + 1, &opts, known);
        struct ps_cleanup_sample sample = {.held = series->memory[t],
                                           .limit = series->limit,
                                           .flight = NAN,
                                           .arrived = arrived,
                                           .known = known};
        ps_cleanup_push(&cleanup, t * PS_SECOND, &sample);
        says[t] = ps_cleanup_raw(&cleanup);
    }
    double spent = cpu_us() - before;
    free(gateway.flight);
    return spent / series->seconds;
}

static double above(double x)
{
    return erfc(-x / sqrt(2)) / 2;
}

/* First passage of a random walk whose steps are as large as those of the last minutes. */
static void random_walk(const struct series *series, double *says)
{
    double square = 1;
    for (int t = 0; t < series->seconds; t++) {
        double step = t > 0 ? series->memory[t] - series->memory[t - 1] : 0;
        square += (step * step - square) / fmin(t + 1, 300);
        double room = series->limit - series->memory[t];
        says[t] = fmin(2 * above(-room / sqrt(square * AHEAD)), 1);
    }
}

static void straight_line(const struct series *series, double *says)
{
    for (int t = 0; t < series->seconds; t++) {
        says[t] = line_ahead(series->memory, t, AHEAD) > series->limit;
    }
}

struct score {
    double samples, happened, squares; /* of probability less truth */
    double came[BANDS], seen[BANDS], said[BANDS];
    double hit, false_positive, missed, quiet; /* at the threshold */
};

static double best_threshold(const struct score *score, double *best)
{
    double hit = 0;
    double wrong = 0;
    double threshold = 0.5;
    *best = 0;
    for (int i = BANDS - 1; i >= 0; i--) {
        hit += score->came[i];
        wrong += score->seen[i] - score->came[i];
        double f1 = 2 * hit / (hit + wrong + score->happened + 1e-9);
        if (f1 > *best) {
            *best = f1;
            threshold = (double)i / BANDS;
        }
    }
    return threshold;
}

/* Only seconds below the limit count: what is over it already needs no prophet. */
static struct score score_of(const struct series *series, const double *says, double threshold)
{
    struct score score = {.samples = 0};
    for (int t = 0; t + AHEAD < series->seconds; t++) {
        if (series->memory[t] > series->limit) {
            continue;
        }
        double truth = 0;
        for (int i = 1; i <= AHEAD; i++) {
            truth = series->memory[t + i] > series->limit ? 1 : truth;
        }
        bool alarm = says[t] >= threshold;
        *(truth > 0 ? (alarm ? &score.hit : &score.missed)
                    : (alarm ? &score.false_positive : &score.quiet)) += 1;
        int band = (int)fmin(says[t] * BANDS, BANDS - 1);
        score.samples++;
        score.happened += truth;
        score.squares += (says[t] - truth) * (says[t] - truth);
        score.came[band] += truth;
        score.said[band] += says[t];
        score.seen[band]++;
    }
    return score;
}

static void print_score(const char *name, const struct score *score, const char *end)
{
    double rate = score->happened / score->samples;
    double best = 0;
    double threshold = best_threshold(score, &best);
    double gap = 0;
    double worst = 0;
    for (int ten = 0; ten < BANDS; ten += 10) {
        double seen = 0;
        double off = 0;
        for (int i = ten; i < ten + 10; i++) {
            seen += score->seen[i];
            off += score->said[i] - score->came[i];
        }
        gap += fabs(off);
        worst = seen >= 0.05 * score->samples ? fmax(worst, fabs(off) / seen) : worst;
    }
    printf("\"%s\":{\"f1\":%.4f,\"precision\":%.4f,\"recall\":%.4f,\"accuracy\":%.4f,\"f1_"
           "hindsight\":%.4f,"
           "\"threshold_hindsight\":%.2f,\"brier_skill\":%.4f,\"gap\":%.4f,\"worst_band\":%.4f}%s",
           name, 2 * score->hit / (2 * score->hit + score->false_positive + score->missed),
           score->hit / fmax(1, score->hit + score->false_positive), score->hit / score->happened,
           (score->hit + score->quiet) / score->samples, best, threshold,
           1 - score->squares / (score->samples * rate * (1 - rate)), gap / score->samples, worst,
           end);
}

static void series_of(const char *path)
{
    struct series series = {.seconds = 0};
    read_series(&series, path);
    double *says = need(calloc((size_t)series.seconds, sizeof *says));
    double us = predict(&series, says);
    struct score ours = score_of(&series, says, OURS_FROM);
    straight_line(&series, says);
    struct score line = score_of(&series, says, 0.5); /* it says 0 or 1 */
    random_walk(&series, says);
    struct score walk = score_of(&series, says, OURS_FROM);
    printf("{\"limit\":%.0f,\"samples\":%.0f,\"never_accuracy\":%.4f,\"us\":%.3f,", series.limit,
           ours.samples, 1 - ours.happened / ours.samples, us);
    print_score("ours", &ours, ",");
    print_score("line", &line, ",");
    print_score("walk", &walk, "}\n");
    free(says);
    free(series.memory);
    free(series.came);
    free(series.prompt);
    free(series.answer);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc == 4 ? strtoull(argv[2], NULL, 10) : 0;
    unsigned runs = argc == 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    if (argc == 4 && runs > 0 && strcmp(argv[1], "shapes") == 0) {
        shapes(seed, runs);
    } else if (argc == 4 && runs > 0 && strcmp(argv[1], "level") == 0) {
        levels(seed, runs);
    } else if (argc == 4 && runs > 0 && strcmp(argv[1], "bound") == 0) {
        bound(seed, runs);
    } else if (argc == 3 && strcmp(argv[1], "series") == 0) {
        series_of(argv[2]);
    } else {
        die("usage: shapes|level|bound SEED RUNS, or series FILE");
    }
    return 0;
}
