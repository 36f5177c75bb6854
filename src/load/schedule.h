/* schedule - when requests are due: a rate over time, and how arrivals spread around it.
 *
 *      rate     phases, one behind the other: constant (from = to), ramp (from != to), pause (0)
 *      spread   even, Poisson, or gamma (burstiness): gaps of mean 1 in operational time
 *
 * Operational time is the integral of the rate: the n-th request is due where it reaches the sum of the
 * first n gaps. So one inversion serves all shapes, a change of rate needs no new start, and the same
 * seed gives the same schedule whatever the server does. Nothing is stored: memory does not depend
 * on the length.
 *
 * Thread: owned by one thread. Pure. Threads that share a run each walk the same schedule and
 * take every n-th request.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_SCHEDULE_H
#define PS_LOAD_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/rng.h"

#define PS_SCHEDULE_PHASES_MAX 64
#define PS_SCHEDULE_RATE_MAX   1e6

enum ps_spread { PS_SPREAD_EVEN, PS_SPREAD_POISSON, PS_SPREAD_GAMMA };

/* "even", "poisson", "gamma" and NULL. */
extern const char *const ps_spread_names[];

struct ps_phase {
    double from;    /* requests a second at its begin, 0 to PS_SCHEDULE_RATE_MAX */
    double to;      /* and at its end */
    ps_span length; /* 0: it lasts until the next one is set (from = to then); only the last may be */
};

struct ps_schedule_opts {
    struct ps_phase phases[PS_SCHEDULE_PHASES_MAX];
    size_t phase_count;
    enum ps_spread spread;
    double burstiness; /* gamma: the shape; 1 = Poisson, below 1 burstier, above 1 smoother; 0 counts as 1 */
    uint64_t seed;
};

/* How far a walk came: copy it to come back. */
struct ps_schedule_place {
    struct ps_rng rng;
    size_t phase;
    double begin; /* seconds: where this phase begins */
    double at;    /* seconds: the last request that was given */
    double gap;   /* operational time from there to the next */
};

/* The fields are private, but for `place`. */
struct ps_schedule {
    struct ps_schedule_opts opts;
    struct ps_schedule_place place;
};

/* PS_OK; PS_EINVAL: a rate, a length or a burstiness that can't be, or nothing to send. */
PS_MUST_CHECK int ps_schedule_check(const struct ps_schedule_opts *opts);

/* Begins at 0; the options are copied and good. The first request of an even schedule is due at 0, that of
 * a drawn one after the first gap. */
void ps_schedule_init(struct ps_schedule *schedule, const struct ps_schedule_opts *opts);

/* When the next request is due, from the start of the run; false: there is none any more, or none
 * until a phase is set. */
bool ps_schedule_next(struct ps_schedule *schedule, ps_span *at);

/* From `from` on (not before the place) this phase holds, and what was planned behind it is forgotten. The
 * operational time goes on: a change shifts no request before it and opens no gap. */
void ps_schedule_change(struct ps_schedule *schedule, ps_span from, const struct ps_phase *phase);

/* Moves the place to an instant without giving requests: for those who only look. Never backwards. */
void ps_schedule_skip(struct ps_schedule *schedule, ps_span to);

/* Requests that are due on average in [from, to), from >= the place's phase. */
double ps_schedule_expected(const struct ps_schedule *schedule, ps_span from, ps_span to);

/* Length of all phases; PS_NEVER when the last is open. */
ps_span ps_schedule_length(const struct ps_schedule_opts *opts);

#endif
