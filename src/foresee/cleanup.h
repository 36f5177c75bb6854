/* cleanup - will memory run out soon enough that something has to be done now?
 *
 * What is forecast is demand: what is held and what waits for room, so that it may exceed the
 * limit. Two looks at it, both from the same forecast:
 *
 *      the path      when the expected demand meets the limit, if things go on as they are
 *      the odds      how probable it is within the horizon, learned from what came true on this
 *                    very server, with an interval
 *
 * Beside these there are odds for trouble that comes soon, on which `needed` rests: what comes in a
 * minute is a wave that nobody sees yet, what comes in twenty seconds is in flight.
 *
 * The odds are shown only where they had skill over the last day (foresee/odds): a server that
 * never was in trouble has no probability, and none that was no better than a guess is told.
 * `needed` is always there.
 *
 * Thread: owned by one thread. Nothing is allocated; about 70 KB.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_FORESEE_CLEANUP_H
#define PS_FORESEE_CLEANUP_H

#include <stdbool.h>

#include "base/clock.h"
#include "foresee/flow.h"
#include "foresee/forecast.h"
#include "foresee/odds.h"

enum { PS_CLEANUP_MINDS = 2, PS_CLEANUP_SPANS = 2 };

enum ps_cleanup_basis {
    PS_CLEANUP_BY_LEVEL,   /* memory has run out already */
    PS_CLEANUP_BY_FORECAST /* it is going to, or is not */
};

struct ps_cleanup_opts {
    unsigned step[PS_FORECAST_STEPS]; /* samples ahead, ascending */
    size_t steps;
    size_t horizon;   /* the odds are about the first so many of the steps */
    size_t soon;      /* what is needed is decided by the odds of the first so many of them */
    double threshold; /* probability from which a cleanup is needed */
    bool exact;       /* events are reported: only they count as trouble, not the limit itself */
};

/* A horizon of 60 samples, and a cleanup when trouble within 20 is likely enough. */
struct ps_cleanup_opts ps_cleanup_opts_usual(void);

/* Since the last sample. All in one unit: bytes, or tokens. */
struct ps_cleanup_sample {
    double held;
    double limit;   /* over 0 */
    double queued;  /* waits for room, here or at the gateway; 0 when nothing is known of it */
    double flight;  /* what of both the requests in flight account for; NAN: not known, all of it */
    double arrived; /* what came, the memory it begins with; 0 when nothing is known of it */
    const double *known; /* what requests in flight hold at each step (foresee/demand), or NULL */
    bool event;          /* the server preempted, or somebody died of missing memory */
};

struct ps_cleanup_answer {
    bool needed;
    enum ps_cleanup_basis basis;
    double probability; /* of trouble within the horizon; NAN: without skill, so not told */
    double low, high;   /* four of five times it is between these */
    double until; /* samples until the expected demand meets the limit; 0: now; INFINITY: not in
                     sight */
    double skill; /* Brier's, over the last day; NAN: no outcome yet */
};

/* A prediction whose outcome is not known yet. */
struct ps_cleanup_bet {
    double inputs[PS_ODDS_INPUTS];
    double each[PS_CLEANUP_SPANS][PS_CLEANUP_MINDS];
    double said[PS_CLEANUP_SPANS];
    bool counts; /* it was made before the trouble, not in it */
};

struct ps_cleanup {
    struct ps_cleanup_opts opts;
    struct ps_flow flow;
    struct ps_forecast forecast;
    /* Within the horizon, and soon. The first of each keeps the check, of what both said together.
     */
    struct ps_odds odds[PS_CLEANUP_SPANS][PS_CLEANUP_MINDS];
    double loss[PS_CLEANUP_SPANS][PS_CLEANUP_MINDS];
    struct ps_cleanup_bet bet[PS_FORECAST_FAR]; /* a ring */
    bool trouble[PS_FORECAST_FAR];              /* by sample */
    size_t samples;
    size_t last_trouble; /* number of the sample */
    double evidence;     /* that something is needed */
    unsigned calm;       /* samples in a row in which nothing is in sight */
    double until;
    bool needed;
    struct ps_odds_check check;
    size_t checked;
    struct ps_cleanup_answer answer;
};

void ps_cleanup_init(struct ps_cleanup *cleanup, const struct ps_cleanup_opts *opts);

/* Takes a sample, at regular times, and answers. A sample whose `held` is not finite is a gap. */
struct ps_cleanup_answer ps_cleanup_push(struct ps_cleanup *cleanup, ps_time now,
                                         const struct ps_cleanup_sample *sample);

/* What the odds themselves say, shown or not: for those who measure them. */
double ps_cleanup_raw(const struct ps_cleanup *cleanup);

#endif
