/* pacer - turns the times of a plan or a schedule into instants of a run.
 *
 * Open loop: a request leaves at its intended time whether or not earlier ones were answered. What
 * a slow server would hide in a closed loop (requests not sent while it stalls) stays visible. The
 * only thing that may delay a send is this program itself; by how much is measured (tally), and a run in
 * which that mattered says so instead of printing a number that looks like the server's.
 *
 *      plan.at --(/ speed, + start)--> intended --(due?)--> send
 *
 * With a swell the rate rises and falls around the recorded one: it begins at its lowest, is highest
 * half a period later, and over a whole period as many requests leave as without.
 *
 * Thread: owned by one thread. Pure: time is an argument.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_PACER_H
#define PS_LOAD_PACER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

struct ps_pacer_opts {
    double speed;     /* how many times faster than recorded; > 0 */
    ps_span duration; /* of the run, not of the trace; 0 = all */
    double swell;     /* 0 = the rate is as recorded; up to 1: by this share it falls and rises */
    ps_span period;   /* of the run, from one low to the next; over 0 where there is a swell */
};

struct ps_pacer {
    struct ps_pacer_opts opts;
    ps_time start;
    ps_time next; /* intended time of the request on offer; PS_NEVER = none */
};

/* Starts at `start`: what the plan has at 0 is due then. */
void ps_pacer_init(struct ps_pacer *pacer, const struct ps_pacer_opts *opts, ps_time start);

/* Offers the next request of the plan. False when it lies beyond the duration: the run has no further
 * sends. */
bool ps_pacer_offer(struct ps_pacer *pacer, ps_span at);

/* Is the offered request to be sent now? *intended gets the time at which it should have been. */
bool ps_pacer_due(const struct ps_pacer *pacer, ps_time now, ps_time *intended);

/* The offered request was taken; the place is free for the next. */
void ps_pacer_take(struct ps_pacer *pacer);

#endif
