/* schedule - see schedule.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/schedule.h"

#include <math.h>
#include <string.h>

#define NS 1e9
#define LAST 1e-9 /* what is due at the very end of a phase belongs to the next, whatever rounding says */

const char *const ps_spread_names[] = {
    [PS_SPREAD_EVEN] = "even", [PS_SPREAD_POISSON] = "poisson", [PS_SPREAD_GAMMA] = "gamma", NULL};

/* ------------------------------------------------------------------------------------- phases */

static double length_of(const struct ps_phase *phase)
{
    return phase->length == 0 ? INFINITY : ps_span_seconds(phase->length);
}

/* Requests a second, so far into a phase. */
static double rate_in(const struct ps_phase *phase, double into)
{
    return phase->length == 0 ? phase->from
                              : phase->from + (phase->to - phase->from) * into / length_of(phase);
}

/* Requests due between two points of a phase: a trapezium. */
static double area_in(const struct ps_phase *phase, double from, double to)
{
    return (rate_in(phase, from) + rate_in(phase, to)) / 2 * (to - from);
}

static double slope_of(const struct ps_phase *phase)
{
    return phase->length == 0 ? 0 : (phase->to - phase->from) / length_of(phase);
}

static bool is_silent(const struct ps_phase *phase)
{
    return phase->from <= 0 && (phase->to <= 0 || phase->length == 0);
}

static bool is_rate(double rate)
{
    return rate >= 0 && rate <= PS_SCHEDULE_RATE_MAX;
}

int ps_schedule_check(const struct ps_schedule_opts *opts)
{
    bool silent = true;
    bool good = opts->phase_count > 0 && opts->phase_count <= PS_SCHEDULE_PHASES_MAX &&
                opts->burstiness >= 0 && opts->burstiness <= 1e6;
    for (size_t i = 0; good && i < opts->phase_count; i++) {
        const struct ps_phase *phase = &opts->phases[i];
        good = is_rate(phase->from) && is_rate(phase->to) && phase->length >= 0 &&
               (phase->length > 0 || (i + 1 == opts->phase_count && phase->from == phase->to));
        silent = silent && is_silent(phase);
    }
    return good && !silent ? PS_OK : PS_EINVAL;
}

ps_span ps_schedule_length(const struct ps_schedule_opts *opts)
{
    ps_span sum = 0;
    for (size_t i = 0; i < opts->phase_count; i++) {
        if (opts->phases[i].length == 0) {
            return PS_NEVER;
        }
        sum += opts->phases[i].length;
    }
    return sum;
}

/* ------------------------------------------------------------------------------------ walking */

/* A gap of mean 1 in operational time. */
static double draw_gap(struct ps_schedule *schedule)
{
    double shape = schedule->opts.burstiness > 0 ? schedule->opts.burstiness : 1;
    switch (schedule->opts.spread) {
    case PS_SPREAD_POISSON:
        return ps_rng_exponential(&schedule->place.rng, 1);
    case PS_SPREAD_GAMMA:
        return ps_rng_gamma(&schedule->place.rng, shape) / shape;
    case PS_SPREAD_EVEN:
        break;
    }
    return 1;
}

void ps_schedule_init(struct ps_schedule *schedule, const struct ps_schedule_opts *opts)
{
    memset(schedule, 0, sizeof *schedule);
    schedule->opts = *opts;
    schedule->place.rng = ps_rng_make(opts->seed);
    schedule->place.gap = opts->spread == PS_SPREAD_EVEN ? 0 : draw_gap(schedule);
}

/* Seconds until the area under the rate is `area`: with a rate r and a slope s, r t + s t^2 / 2 = area. This form
 * of the solution loses no digits where s is small. */
static double invert(double rate, double slope, double area)
{
    double root = sqrt(fmax(rate * rate + 2 * slope * area, 0));
    return rate + root > 0 ? 2 * area / (rate + root) : 0;
}

/* The area that is left of the place's phase; infinite where it does not end. */
static double area_left(const struct ps_phase *phase, double into)
{
    return is_silent(phase)     ? 0
           : phase->length == 0 ? INFINITY
                                : area_in(phase, into, length_of(phase));
}

bool ps_schedule_next(struct ps_schedule *schedule, ps_span *at)
{
    struct ps_schedule_place *place = &schedule->place;
    while (place->phase < schedule->opts.phase_count) {
        const struct ps_phase *phase = &schedule->opts.phases[place->phase];
        double into = place->at - place->begin;
        double left = area_left(phase, into);
        if (!is_silent(phase) && place->gap < left * (1 - LAST) - LAST) {
            place->at += invert(rate_in(phase, into), slope_of(phase), place->gap);
            place->gap = draw_gap(schedule);
            *at = (ps_span)(place->at * NS);
            return true;
        }
        if (phase->length == 0) {
            return false; /* silent, until something else is said */
        }
        place->gap = fmax(place->gap - left, 0);
        place->begin += length_of(phase);
        place->at = place->begin;
        place->phase++;
    }
    return false;
}

/* ----------------------------------------------------------------------------------- changing */

/* Forgets what lies before the place's phase. */
static void forget(struct ps_schedule *schedule)
{
    struct ps_schedule_opts *opts = &schedule->opts;
    size_t done = schedule->place.phase;
    memmove(opts->phases, opts->phases + done, (opts->phase_count - done) * sizeof *opts->phases);
    opts->phase_count -= done;
    schedule->place.phase = 0;
}

/* Ends the phase that holds at `from` there, and forgets those behind it; where all are over a pause fills the
 * time. */
static void cut(struct ps_schedule *schedule, double from)
{
    struct ps_schedule_opts *opts = &schedule->opts;
    double begin = schedule->place.begin;
    size_t i = 0;
    while (i < opts->phase_count && begin + length_of(&opts->phases[i]) <= from) {
        begin += length_of(&opts->phases[i++]);
    }
    struct ps_phase last = i < opts->phase_count ? opts->phases[i] : (struct ps_phase){0, 0, 0};
    struct ps_phase part = {last.from, rate_in(&last, from - begin), (ps_span)llround((from - begin) * NS)};
    opts->phase_count = i;
    if (part.length > 0 && i < PS_SCHEDULE_PHASES_MAX - 1) {
        opts->phases[opts->phase_count++] = part;
    }
}

void ps_schedule_change(struct ps_schedule *schedule, ps_span from, const struct ps_phase *phase)
{
    forget(schedule);
    cut(schedule, fmax(ps_span_seconds(from), schedule->place.at));
    size_t last = schedule->opts.phase_count;
    last = last < PS_SCHEDULE_PHASES_MAX ? last : PS_SCHEDULE_PHASES_MAX - 1;
    schedule->opts.phases[last] = *phase;
    schedule->opts.phase_count = last + 1;
}

/* ------------------------------------------------------------------------------------ looking */

void ps_schedule_skip(struct ps_schedule *schedule, ps_span to)
{
    struct ps_schedule_place *place = &schedule->place;
    double goal = ps_span_seconds(to);
    while (place->phase < schedule->opts.phase_count &&
           place->begin + length_of(&schedule->opts.phases[place->phase]) <= goal) {
        place->begin += length_of(&schedule->opts.phases[place->phase++]);
    }
    place->at = fmax(place->at, goal);
}

double ps_schedule_expected(const struct ps_schedule *schedule, ps_span from, ps_span to)
{
    double sum = 0;
    double begin = schedule->place.begin;
    double first = ps_span_seconds(from);
    double last = ps_span_seconds(to);
    for (size_t i = schedule->place.phase; i < schedule->opts.phase_count && begin < last; i++) {
        const struct ps_phase *phase = &schedule->opts.phases[i];
        double low = fmax(first - begin, 0);
        double high = fmin(last - begin, length_of(phase));
        sum += high > low ? area_in(phase, low, high) : 0;
        begin += length_of(phase);
    }
    return sum;
}
