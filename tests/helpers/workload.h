/* workload - five ways in which requests bring a server to its limit, drawn from a seed.
 *
 * Demand is a share of the server's memory: 0.8 means that requests come at the rate at which, in
 * the long run, four fifths of it are in use. The schedule of a run is drawn when it is made, so it
 * can be asked about any instant. A third of the ramps, steps, teeth and bursts stay below the
 * limit: what warns of each of them is wrong every third time.
 *
 *      ramp       demand climbs for minutes, stays, falls          __/''\__
 *      step       demand jumps, stays for two minutes, falls       __|''|__
 *      sawtooth   batch jobs that grow and end together, or state  _/|_/|_/|
 *                 that grows and is dropped at regular times
 *      leak       memory is lost until the server restarts         __....''''|__
 *      burst      prompts that all come within a few seconds       __|\__|\__
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_TESTS_WORKLOAD_H
#define PS_TESTS_WORKLOAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"

enum workload_shape {
    WORKLOAD_RAMP,
    WORKLOAD_STEP,
    WORKLOAD_SAWTOOTH,
    WORKLOAD_LEAK,
    WORKLOAD_BURST,
    WORKLOAD_SHAPES
};

extern const char *const workload_names[];

enum { WORKLOAD_KNOTS = 256, WORKLOAD_LIVES = 64 };

struct workload_knot {
    double at; /* seconds from the start */
    double level;
};

struct workload_pulse {
    double at;
    double share; /* of the memory: what the prompts hold, or the jobs when they end */
    double
        span; /* burst: seconds within which all of them arrive; sawtooth: tokens of each answer */
};

struct workload_life {
    double quiet; /* seconds after a start before anything leaks */
    double rate;  /* then: share of the memory each second */
};

struct workload {
    enum workload_shape shape;
    size_t knots;
    struct workload_knot knot[WORKLOAD_KNOTS]; /* demand; straight lines between them */
    size_t pulses;
    struct workload_pulse pulse[WORKLOAD_KNOTS];
    struct workload_life life[WORKLOAD_LIVES];
};

/* Draws a run of so many seconds, at most two hours. */
void workload_init(struct workload *workload, enum workload_shape shape, uint64_t seed,
                   double seconds);

/* Demand at an instant, and how fast it changes (per second) while its phase goes on. */
double workload_demand(const struct workload *workload, double at, double *slope);

/* A number that changes when the schedule does something new. */
size_t workload_phase(const struct workload *workload, double at);

/* A prompt and an answer in tokens: log-normal, medians 550 and 600. */
struct workload_request {
    float prompt;
    float answer;
};
struct workload_request workload_draw(struct ps_rng *rng);

/* The same distribution without chance: the nth of a sequence that fills it evenly. */
struct workload_request workload_typical(uint64_t n);

#define WORKLOAD_MEAN_PROMPT 623.0   /* tokens */
#define WORKLOAD_MEAN_HELD   720.5e3 /* tokens, times steps of decoding for which they are held */

#endif
