/* pacer - turns intended times into sends, and knows how well it did.
 *
 * Open loop: a request leaves at its intended time whether or not earlier ones were answered. What
 * a slow server would hide in a closed loop (requests not sent while it stalls) stays visible. The
 * only thing that may delay a send is this program itself; by how much is measured, and a run in
 * which that mattered says so instead of printing a number that looks like the server's.
 *
 *      plan.at --(/ speed, + start)--> intended --(due?)--> send --> lag = sent - intended
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
#include "base/hist.h"

/* A send later than this is late; a run with more than 1 % of them is limited by the generator. */
#define PS_PACER_LATE (5 * PS_MILLISECOND)

struct ps_pacer_opts {
    double speed;     /* how many times faster than recorded; > 0 */
    uint64_t limit;   /* requests; 0 = all */
    ps_span duration; /* of the run, not of the trace; 0 = all */
    double swell;     /* 0 = the rate is as recorded; up to 1: by this share it falls and rises */
    ps_span period;   /* of the run, from one low to the next; over 0 where there is a swell */
};

struct ps_pacer {
    struct ps_pacer_opts opts;
    ps_time start;
    ps_time next;     /* intended time of the request on offer; PS_NEVER = none */
    uint64_t offered; /* requests taken from the plan */
    uint64_t sent;
    uint64_t late;
    uint64_t skipped; /* due, but not sent: the bound on requests in flight was reached */
    struct ps_hist lag; /* ns between intended and real send */
};

/* Starts at `start`: what the plan has at 0 is due then. */
void ps_pacer_init(struct ps_pacer *pacer, const struct ps_pacer_opts *opts, ps_time start);

/* Was the limit reached? Then the plan need not be asked for more. */
bool ps_pacer_is_full(const struct ps_pacer *pacer);

/* Offers the next request of the plan. False when it lies beyond the limit or the duration: the run
 * has no further sends. */
bool ps_pacer_offer(struct ps_pacer *pacer, ps_span at);

/* Is the offered request to be sent now? *intended gets the time at which it should have been. */
bool ps_pacer_due(const struct ps_pacer *pacer, ps_time now, ps_time *intended);

/* The offered request was sent at `now`, or could not be; the place is free for the next. */
void ps_pacer_sent(struct ps_pacer *pacer, ps_time now);
void ps_pacer_skipped(struct ps_pacer *pacer);

/* Did the generator and not the server shape this run? (Requests were skipped, or more than 1 % and more
 * than one were late.) */
bool ps_pacer_is_limited(const struct ps_pacer *pacer);

#endif
