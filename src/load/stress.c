/* stress - see stress.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/stress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "load/judge.h"

#define RATE_LEAST 0.05 /* below it nothing is searched */
#define NEAR       1.5  /* times the edge: levels that tell how errors begin */
#define HINTS      6    /* probes beside what a broken level seemed to carry; then it is halving alone */

enum phase { BRACKET, BISECT, CONFIRM, STAIRCASE, DRAIN, OVER };
static const char *const phase_words[] = {"bracket", "bisect", "confirm", "staircase", "drain", "over"};

/* How long and how fine. */
struct manner {
    double least[3], most[3]; /* seconds of a level that brackets, bisects, confirms */
    double requests[3];       /* or so many requests, up to `longest` */
    double longest;           /* seconds that a level is judged for few requests */
    double factor;            /* of the bracket */
    double width;             /* high / low - 1 at which it is close enough */
    double tolerance;
    double drain;
    double budget;
};

static const struct manner thorough = {.least = {4, 10, 30},
                                       .most = {8, 45, 60},
                                       .requests = {0, 800, 3000},
                                       .longest = 60,
                                       .factor = 2,
                                       .width = 0.04,
                                       .tolerance = 0.01,
                                       .drain = 120,
                                       .budget = 600};
static const struct manner quick = {.least = {2, 3, 4},
                                    .most = {3, 5, 6},
                                    .requests = {0, 0, 0},
                                    .longest = 6,
                                    .factor = 2.5,
                                    .width = 0.1,
                                    .tolerance = 0.03,
                                    .drain = 15,
                                    .budget = 50};

struct ps_stress {
    struct ps_stress_opts opts;
    const struct manner *manner;
    double budget;
    enum phase phase;   /* of the level that runs, or DRAIN, OVER */
    enum phase planned; /* of the level that begins when it has drained */
    double rate, now, in_flight, drain_began;
    double hint;
    unsigned hints, hint_tries;
    bool confirmed_low, confirmed_high;
    double limited_once; /* a rate that the generator did not drive, once */
    bool limited, stuck, ended;
    struct ps_stress_level level[PS_STRESS_LEVELS_MAX];
    size_t levels;
    struct ps_judge judge;
};

/* -------------------------------------------------------------------------------- what is known */

static bool stops(const struct ps_stress_level *level)
{
    return level->verdict == PS_STRESS_BREAKS || level->verdict == PS_STRESS_LIMITED;
}

/* The highest level that held. */
static const struct ps_stress_level *find_low(const struct ps_stress *stress)
{
    const struct ps_stress_level *low = NULL;
    for (size_t i = 0; i < stress->levels; i++) {
        const struct ps_stress_level *level = &stress->level[i];
        if (level->verdict == PS_STRESS_HOLDS && !level->overruled && (low == NULL || level->rate >= low->rate)) {
            low = level;
        }
    }
    return low;
}

/* The lowest level that did not. */
static const struct ps_stress_level *find_high(const struct ps_stress *stress)
{
    const struct ps_stress_level *high = NULL;
    for (size_t i = 0; i < stress->levels; i++) {
        const struct ps_stress_level *level = &stress->level[i];
        if (stops(level) && !level->overruled && (high == NULL || level->rate <= high->rate)) {
            high = level;
        }
    }
    return high;
}

/* What is newer was measured longer: it overrules what contradicts it. */
static void overrule(struct ps_stress *stress, const struct ps_stress_level *by)
{
    for (size_t i = 0; i < stress->levels; i++) {
        struct ps_stress_level *level = &stress->level[i];
        bool held = by->verdict == PS_STRESS_HOLDS && stops(level) && level->rate <= by->rate;
        bool broke = stops(by) && level->verdict == PS_STRESS_HOLDS && level->rate >= by->rate;
        level->overruled = level->overruled || held || broke;
    }
}

static void take_hint(struct ps_stress *stress, const struct ps_stress_level *level)
{
    if (level->verdict != PS_STRESS_BREAKS) {
        return;
    }
    double carried = level->achieved * (1 - level->error_share);
    if (isfinite(carried) && carried > 0) {
        stress->hint = carried;
        stress->hint_tries = 0;
    }
}

static void record(struct ps_stress *stress)
{
    const struct ps_stress_level *level = &stress->judge.level;
    if (level->verdict != PS_STRESS_UNCLEAR) {
        overrule(stress, level);
    }
    if (stress->phase == CONFIRM) {
        stress->confirmed_low = stress->confirmed_low || level->verdict == PS_STRESS_HOLDS;
        stress->confirmed_high = stress->confirmed_high || level->verdict == PS_STRESS_BREAKS;
    }
    take_hint(stress, level);
    if (stress->levels < PS_STRESS_LEVELS_MAX) {
        stress->level[stress->levels++] = *level;
    }
}

/* ---------------------------------------------------------------------------------- what is next */

static void finish(struct ps_stress *stress)
{
    stress->phase = OVER;
    stress->rate = 0;
}

static double left(const struct ps_stress *stress)
{
    return stress->budget - stress->now;
}

static void begin_level(struct ps_stress *stress)
{
    enum phase phase = stress->planned;
    const struct ps_stress_level *low = find_low(stress);
    double latency = low == NULL ? NAN : low->latency;
    size_t at = phase == STAIRCASE ? BRACKET : phase;
    double least = fmax(stress->manner->least[at],
                        fmin(stress->manner->requests[at] / stress->rate, stress->manner->longest));
    /* Slow answers need long levels: a level that ends before its requests do has seen nothing. */
    least = fmax(least, isnan(latency) ? 0 : latency);
    struct ps_judge_opts opts = {
        .max_error = stress->opts.max_error,
        .min_good = stress->opts.min_good,
        .tolerance = stress->manner->tolerance,
        .least = least,
        .most = fmax(stress->manner->most[at], 1.5 * least),
        .latency = latency,
        .doubt = phase == BRACKET ? 2 : phase == BISECT ? 1 : 0.5, /* a bracket that holds too long costs little */
    };
    if (phase == STAIRCASE) {
        opts.most = stress->opts.every;
        opts.literal = true;
    } else if (left(stress) < opts.least + 2) {
        stress->ended = true;
        finish(stress);
        return;
    } else {
        opts.most = fmin(opts.most, fmax(left(stress) - 1, opts.least));
    }
    stress->phase = phase;
    ps_judge_begin(&stress->judge, &opts, stress->rate, stress->now);
}

static void plan(struct ps_stress *stress, enum phase phase, double rate)
{
    stress->planned = phase;
    stress->rate = rate;
}

/* A level about here was judged both ways: the edge is near. */
static bool is_disputed(const struct ps_stress *stress, double rate)
{
    for (size_t i = 0; i < stress->levels; i++) {
        const struct ps_stress_level *level = &stress->level[i];
        if (level->overruled && level->verdict != PS_STRESS_LIMITED && level->rate < rate * 1.1 &&
            level->rate > rate / 1.1) {
            return true;
        }
    }
    return false;
}

/* Halving, but first just below and just above what a broken level seemed to carry. */
static double probe(struct ps_stress *stress, double low, double high)
{
    double width = stress->manner->width;
    if (high / low > 1 + 3 * width && is_disputed(stress, high)) {
        return high / (1 + 1.5 * width);
    }
    double inside = 1 + width / 3;
    while (stress->hint_tries < 2 && stress->hints < HINTS) {
        double rate = stress->hint * (stress->hint_tries == 0 ? 1 - width / 2 : 1 + width / 2);
        stress->hint_tries++;
        if (rate > low * inside && rate < high / inside) {
            stress->hints++;
            return rate;
        }
    }
    return sqrt(low * high);
}

/* Below a break there was nothing that held, or the first levels were the last: a report shows a curve. */
static bool plan_curve(struct ps_stress *stress, double low)
{
    if (stress->levels >= PS_STRESS_LEAST || isnan(low)) {
        return false;
    }
    plan(stress, BRACKET, low * (0.4 + 0.1 * (double)stress->levels));
    return true;
}

static bool plan_confirm(struct ps_stress *stress, double low, double high)
{
    if (!stress->confirmed_low) {
        plan(stress, CONFIRM, low);
        return true;
    }
    if (!stress->confirmed_high && find_high(stress)->verdict == PS_STRESS_BREAKS) {
        plan(stress, CONFIRM, high);
        return true;
    }
    return plan_curve(stress, low);
}

/* Chooses the next level; false: there is nothing more to find out. */
static bool plan_search(struct ps_stress *stress)
{
    const struct ps_stress_level *low = find_low(stress);
    const struct ps_stress_level *high = find_high(stress);
    const struct manner *manner = stress->manner;
    if (low == NULL && high == NULL) {
        return false;
    }
    if (high == NULL) {
        bool near = is_disputed(stress, low->rate);
        double factor = near ? 1 + 1.5 * manner->width : manner->factor;
        plan(stress, near ? BISECT : BRACKET, fmin(low->rate * factor, stress->opts.most));
        return low->rate < stress->opts.most || plan_curve(stress, low->rate);
    }
    if (low == NULL) {
        plan(stress, BRACKET, high->rate / manner->factor);
        return stress->rate >= RATE_LEAST;
    }
    if (high->rate / low->rate > 1 + manner->width) {
        stress->confirmed_low = false;
        stress->confirmed_high = false;
        plan(stress, BISECT, probe(stress, low->rate, high->rate));
        return true;
    }
    return plan_confirm(stress, low->rate, high->rate);
}

static bool plan_step(struct ps_stress *stress)
{
    double rate = stress->opts.from + stress->opts.step * (double)stress->levels;
    plan(stress, STAIRCASE, rate);
    bool broke = find_high(stress) != NULL && stress->levels >= PS_STRESS_LEAST;
    return !broke && rate <= stress->opts.most * (1 + 1e-9);
}

/* A level that nobody drove is driven once more before it counts. */
static bool plan_again(struct ps_stress *stress)
{
    const struct ps_stress_level *last = stress->levels == 0 ? NULL : &stress->level[stress->levels - 1];
    if (last == NULL || last->verdict != PS_STRESS_LIMITED || stress->limited_once == last->rate ||
        stress->opts.step > 0) {
        return false;
    }
    stress->limited_once = last->rate;
    stress->level[stress->levels - 1].overruled = true;
    return true;
}

static void go_on(struct ps_stress *stress)
{
    bool full = stress->levels >= PS_STRESS_LEVELS_MAX;
    bool more = !full && (plan_again(stress) ||
                          (stress->opts.step > 0 ? plan_step(stress) : plan_search(stress)));
    if (more) {
        begin_level(stress);
    } else {
        stress->ended = stress->ended || full;
        finish(stress);
    }
}

/* How much may be in flight when the next level begins: what the highest rate that held had. */
static double calm(const struct ps_stress *stress)
{
    const struct ps_stress_level *low = find_low(stress);
    return low == NULL ? 1 : fmax(low->in_flight, 1);
}

static void on_settled(struct ps_stress *stress)
{
    record(stress);
    const struct ps_stress_level *level = &stress->level[stress->levels - 1];
    if (stress->opts.step <= 0 && level->verdict != PS_STRESS_HOLDS && stress->in_flight > calm(stress)) {
        stress->phase = DRAIN;
        stress->drain_began = stress->now;
    } else {
        go_on(stress);
    }
}

static void on_drain(struct ps_stress *stress)
{
    if (stress->in_flight <= calm(stress)) {
        go_on(stress);
    } else if (stress->now - stress->drain_began >= stress->manner->drain || left(stress) <= 0) {
        stress->stuck = stress->now - stress->drain_began >= stress->manner->drain;
        stress->ended = true;
        finish(stress);
    }
}

/* ------------------------------------------------------------------------------------------ life */

int ps_stress_new(struct ps_stress **out, const struct ps_stress_opts *opts)
{
    bool sound = opts->from > 0 && opts->most >= opts->from && (opts->step <= 0 || opts->every >= 3);
    if (!sound) {
        return PS_EINVAL;
    }
    struct ps_stress *stress = calloc(1, sizeof *stress);
    if (stress == NULL) {
        return PS_ENOMEM;
    }
    stress->opts = *opts;
    stress->manner = opts->quick ? &quick : &thorough;
    stress->budget = opts->budget > 0 ? opts->budget : stress->manner->budget;
    stress->hint = NAN;
    plan(stress, opts->step > 0 ? STAIRCASE : BRACKET, opts->from);
    begin_level(stress);
    *out = stress;
    return PS_OK;
}

void ps_stress_free(struct ps_stress *stress)
{
    free(stress);
}

double ps_stress_rate(const struct ps_stress *stress)
{
    return stress->phase == DRAIN || stress->phase == OVER ? 0 : stress->rate;
}

const char *ps_stress_phase(const struct ps_stress *stress)
{
    return phase_words[stress->phase];
}

void ps_stress_push(struct ps_stress *stress, const struct ps_second *row)
{
    stress->now = row->at;
    stress->in_flight = (double)row->in_flight;
    if (stress->phase == DRAIN) {
        on_drain(stress);
    } else if (stress->phase != OVER && ps_judge_push(&stress->judge, row)) {
        on_settled(stress);
    }
}

bool ps_stress_is_over(const struct ps_stress *stress)
{
    return stress->phase == OVER;
}

void ps_stress_end(struct ps_stress *stress)
{
    if (stress->phase == OVER) {
        return;
    }
    if (stress->phase != DRAIN && stress->judge.level.seconds > 0) {
        ps_judge_settle(&stress->judge);
        record(stress);
    }
    stress->ended = true;
    finish(stress);
}

/* -------------------------------------------------------------------------------------- the result */

/* What the broken levels near the edge carried, those that were measured best counting most. */
static double carried(const struct ps_stress *stress, double high)
{
    double sum = 0;
    double weights = 0;
    for (size_t i = 0; i < stress->levels; i++) {
        const struct ps_stress_level *level = &stress->level[i];
        bool near = level->verdict == PS_STRESS_BREAKS && !level->overruled && level->rate <= high * 1.2;
        if (near && level->signal != PS_STRESS_ERRORS && level->growth_error > 0) {
            double weight = 1 / (level->rate * level->growth_error * level->rate * level->growth_error);
            sum += weight * level->achieved;
            weights += weight;
        }
    }
    return weights > 0 ? sum / weights : NAN;
}

/* Where the share of errors is max_error: a line through its logarithm over that of the rate, near the edge. Levels that
 * were overruled count too: they were measured like the others. */
static double crossing(const struct ps_stress *stress, double edge)
{
    double n = 0;
    double mean_x = 0;
    double mean_y = 0;
    double spread = 0;
    double together = 0;
    for (size_t pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < stress->levels; i++) {
            const struct ps_stress_level *level = &stress->level[i];
            double failed = level->error_share * level->achieved * level->judged;
            if (failed < 1 || level->rate > edge * NEAR || level->rate < edge / NEAR) {
                continue;
            }
            double x = log(level->rate / edge);
            double y = log(level->error_share / stress->opts.max_error);
            if (pass == 0) {
                n += failed;
                mean_x += failed * x;
                mean_y += failed * y;
            } else {
                spread += failed * (x - mean_x / n) * (x - mean_x / n);
                together += failed * (x - mean_x / n) * (y - mean_y / n);
            }
        }
    }
    double slope = spread > 0 ? together / spread : 0;
    return slope > 1 ? edge * exp(mean_x / n - mean_y / n / slope) : NAN;
}

/* The highest rate that held beyond doubt, less what its requests in flight may have grown by. */
static double find_sure_low(const struct ps_stress *stress)
{
    double low = NAN;
    for (size_t i = 0; i < stress->levels; i++) {
        const struct ps_stress_level *level = &stress->level[i];
        /* What could not be made sure of but without an error is only its growth, which is taken off. */
        bool sure = level->clear || level->error_share <= 0;
        if (level->verdict == PS_STRESS_HOLDS && sure && !level->overruled) {
            double grown = isnan(level->growth) ? 0 : fmax(level->growth + 2 * level->growth_error, 0);
            low = fmax(isnan(low) ? 0 : low, level->rate * (1 - fmin(grown, 1)));
        }
    }
    return low;
}

static double find_sure_high(const struct ps_stress *stress)
{
    double high = NAN;
    for (size_t i = 0; i < stress->levels; i++) {
        const struct ps_stress_level *level = &stress->level[i];
        if (level->verdict == PS_STRESS_BREAKS && level->clear && !level->overruled) {
            high = fmin(isnan(high) ? INFINITY : high, level->rate);
        }
    }
    return high;
}

static double within(double value, double low, double high)
{
    value = isnan(low) ? value : fmax(value, low);
    return isnan(high) ? value : fmin(value, high);
}

static double estimate(const struct ps_stress *stress, const struct ps_stress_level *held,
                       const struct ps_stress_level *broke)
{
    double middle = sqrt(held->rate * broke->rate);
    if (broke->signal == PS_STRESS_ERRORS) {
        double edge = crossing(stress, broke->rate);
        return isnan(edge) ? middle : edge;
    }
    double full = carried(stress, broke->rate);
    double width = stress->manner->width;
    /* A service that does less the more it has to do carried less when it was full than it held before. */
    bool sound = full > held->rate * (1 - 1.5 * width);
    return sound ? fmax(full, held->rate * (1 - width / 2)) : fmin(middle, held->rate * (1 + width / 4));
}

struct ps_stress_result ps_stress_result(const struct ps_stress *stress)
{
    const struct ps_stress_level *held = find_low(stress);
    const struct ps_stress_level *broke = find_high(stress);
    struct ps_stress_result result = {
        .breaking_point = NAN,
        .held = held == NULL ? NAN : held->rate,
        .broke = broke == NULL ? NAN : broke->rate,
        .low = find_sure_low(stress),
        .high = find_sure_high(stress),
        .signal = broke == NULL ? PS_STRESS_NONE : broke->signal,
        .limited = broke != NULL && broke->verdict == PS_STRESS_LIMITED,
        .stuck = stress->stuck,
        .ended = stress->ended,
    };
    if (held == NULL || broke == NULL || result.limited) {
        return result;
    }
    result.breaking_point = within(estimate(stress, held, broke), result.low, isnan(result.high) ? broke->rate : result.high);
    return result;
}

double ps_stress_budget(const struct ps_stress *stress)
{
    return stress->opts.step > 0 ? NAN : stress->budget;
}

const struct ps_stress_level *ps_stress_levels(const struct ps_stress *stress, size_t *count)
{
    *count = stress->levels;
    return stress->level;
}
