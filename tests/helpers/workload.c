/* workload - see workload.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "workload.h"

#include <math.h>
#include <stdbool.h>

#include "base/check.h"

const char *const workload_names[] = {"ramp", "step", "sawtooth", "leak", "burst", NULL};

static double between(struct ps_rng *rng, double low, double high)
{
    return low + (high - low) * ps_rng_unit(rng);
}

/* Does this one reach the limit? */
static bool is_real(struct ps_rng *rng)
{
    return ps_rng_unit(rng) < 2.0 / 3;
}

/* Demand goes to a level in a straight line. */
static void move(struct workload *workload, double span, double level)
{
    PS_CHECK(workload->knots < WORKLOAD_KNOTS);
    double at = workload->knots == 0 ? 0 : workload->knot[workload->knots - 1].at;
    workload->knot[workload->knots++] = (struct workload_knot){at + span, level};
}

static double end_of(const struct workload *workload)
{
    return workload->knot[workload->knots - 1].at;
}

static void stay(struct workload *workload, double span)
{
    move(workload, span, workload->knot[workload->knots - 1].level);
}

static void add_pulse(struct workload *workload, double at, double share, double span)
{
    PS_CHECK(workload->pulses < WORKLOAD_KNOTS);
    workload->pulse[workload->pulses++] = (struct workload_pulse){at, share, span};
}

static void draw_ramps(struct workload *workload, struct ps_rng *rng, double seconds)
{
    move(workload, 0, between(rng, 0.83, 0.87));
    while (end_of(workload) < seconds) {
        stay(workload, between(rng, 150, 300));
        double top = is_real(rng) ? between(rng, 1.08, 1.18) : between(rng, 0.92, 0.95);
        move(workload, between(rng, 300, 480), top);
        stay(workload, between(rng, 45, 90));
        move(workload, between(rng, 15, 30), between(rng, 0.83, 0.87));
    }
}

static void draw_steps(struct workload *workload, struct ps_rng *rng, double seconds)
{
    move(workload, 0, between(rng, 0.83, 0.88));
    while (end_of(workload) < seconds) {
        stay(workload, between(rng, 200, 420));
        double top = is_real(rng) ? between(rng, 1.15, 1.35) : between(rng, 0.92, 0.95);
        move(workload, 1, top);
        stay(workload, between(rng, 90, 150));
        move(workload, 1, between(rng, 0.83, 0.88));
    }
}

static void draw_teeth(struct workload *workload, struct ps_rng *rng, double seconds)
{
    move(workload, 0, between(rng, 0.84, 0.87));
    stay(workload, seconds);
    double period = between(rng, 240, 330);
    double at = between(rng, 60, period);
    while (at < seconds) {
        double share = is_real(rng) ? between(rng, 0.30, 0.42) : between(rng, 0.08, 0.14);
        add_pulse(workload, at, share, between(rng, 3800, 5000));
        at += period * between(rng, 0.97, 1.03);
    }
}

static void draw_lives(struct workload *workload, struct ps_rng *rng, double seconds)
{
    move(workload, 0, between(rng, 0.86, 0.88));
    stay(workload, seconds);
    for (size_t i = 0; i < WORKLOAD_LIVES; i++) {
        double rate = between(rng, 0.22, 0.30) / between(rng, 900, 1500);
        workload->life[i] = (struct workload_life){between(rng, 100, 400), rate};
    }
}

static void draw_bursts(struct workload *workload, struct ps_rng *rng, double seconds)
{
    move(workload, 0, between(rng, 0.85, 0.89));
    stay(workload, seconds);
    for (double at = between(rng, 100, 220); at < seconds; at += between(rng, 100, 220)) {
        double share = is_real(rng) ? between(rng, 0.28, 0.45) : between(rng, 0.03, 0.07);
        add_pulse(workload, at, share, between(rng, 2, 5));
    }
}

void workload_init(struct workload *workload, enum workload_shape shape, uint64_t seed,
                   double seconds)
{
    PS_CHECK(seconds <= 7200);
    *workload = (struct workload){.shape = shape};
    struct ps_rng rng = ps_rng_make(seed * WORKLOAD_SHAPES + (uint64_t)shape);
    switch (shape) {
    case WORKLOAD_RAMP:
        draw_ramps(workload, &rng, seconds);
        break;
    case WORKLOAD_STEP:
        draw_steps(workload, &rng, seconds);
        break;
    case WORKLOAD_SAWTOOTH:
        draw_teeth(workload, &rng, seconds);
        break;
    case WORKLOAD_LEAK:
        draw_lives(workload, &rng, seconds);
        break;
    case WORKLOAD_BURST:
        draw_bursts(workload, &rng, seconds);
        break;
    case WORKLOAD_SHAPES:
        PS_CHECK(false);
    }
}

static size_t knots_before(const struct workload *workload, double at)
{
    size_t i = 0;
    while (i < workload->knots && workload->knot[i].at <= at) {
        i++;
    }
    return i;
}

size_t workload_phase(const struct workload *workload, double at)
{
    size_t begun = knots_before(workload, at);
    for (size_t i = 0; i < workload->pulses && workload->pulse[i].at <= at; i++) {
        begun++;
    }
    return begun;
}

double workload_demand(const struct workload *workload, double at, double *slope)
{
    size_t i = knots_before(workload, at);
    *slope = 0;
    if (i >= workload->knots) {
        return workload->knot[workload->knots - 1].level;
    }
    const struct workload_knot *from = &workload->knot[i - 1];
    const struct workload_knot *to = &workload->knot[i];
    *slope = (to->level - from->level) / (to->at - from->at);
    return from->level + *slope * (at - from->at);
}

static struct workload_request request_at(double prompt, double answer)
{
    return (struct workload_request){(float)fmax(16, round(550 * exp(0.5 * prompt))),
                                     (float)fmax(8, round(600 * exp(0.5 * answer)))};
}

static void two_normals(double u, double v, double *a, double *b)
{
    double radius = sqrt(-2 * log(1 - u));
    *a = radius * cos(2 * 3.14159265358979 * v);
    *b = radius * sin(2 * 3.14159265358979 * v);
}

struct workload_request workload_draw(struct ps_rng *rng)
{
    double a = 0;
    double b = 0;
    double u = ps_rng_unit(rng);
    two_normals(u, ps_rng_unit(rng), &a, &b);
    return request_at(a, b);
}

/* Roberts' two-dimensional sequence: powers of the plastic number. */
struct workload_request workload_typical(uint64_t n)
{
    double a = 0;
    double b = 0;
    double x = 0.5 + 0.7548776662466927 * (double)n;
    double y = 0.5 + 0.5698402909980532 * (double)n;
    two_normals(x - floor(x), y - floor(y), &a, &b);
    return request_at(a, b);
}
