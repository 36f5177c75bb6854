/* stress - how much does it carry? A search over rates that ends with a number and a reason.
 *
 *      bracket     rates grow by a factor until one breaks (or shrink until one holds)
 *      bisect      between the highest rate that held and the lowest that broke, until they are close
 *      confirm     both are tried again for longer; what does not repeat is overruled, and the search goes on
 *
 *      rate  |            x            x broke: what is left in flight drains before the next level
 *            |        o       x  o  x  o held
 *            |    o                 o
 *            +--------------------------> time
 *
 * A level breaks when one of these is beyond doubt, and holds when none can be; as soon as it is clear it ends (99 %
 * for a break, since each second looks again; 95 % to hold). When its time is up, what it looks like counts:
 *
 *      errors      more than max_error of what ended failed
 *      goodput     less than min_good of what ended kept the objectives; or what comes back falls behind what is
 *                  sent by so much that no test of slopes is needed
 *      slopes      requests in flight and time to first token (to the first byte without a stream) both rise
 *                  for as long as the rate stands still, by more than a share `tolerance` of the rate
 *
 * What came back in a level that broke without errors is what the service carries when it is full. The estimate is the
 * mean of these near the edge, as far as it lies in the interval; elsewhere the middle. The interval reaches from the
 * highest rate that held beyond doubt (less what its requests in flight may have grown by) to the lowest that broke
 * beyond doubt: no model of the service enters.
 *
 * A level that the generator could not drive says nothing of the service: it is tried once more, then bounds the
 * search, and where nothing broke below it the search has no answer.
 *
 * With `step` it is the literal staircase instead: from, from + step, ... each for `every`, until one breaks.
 *
 * Time is that of the rows; a row is what came of one second. Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_STRESS_H
#define PS_LOAD_STRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "load/level.h"
#include "load/second.h"

#define PS_STRESS_LEVELS_MAX 96
#define PS_STRESS_LEAST      5 /* levels that a report has, where there was time */

struct ps_stress_opts {
    double from;      /* requests a second of the first level; > 0 */
    double most;      /* no level is above this */
    double step;      /* > 0: a staircase of these steps */
    double every;     /* seconds of its levels */
    double max_error; /* share of failed requests that is still fine: 0.01 */
    double min_good;  /* share of those that ended which must keep the objectives: 0.95; without any objectives
                         every success does */
    double budget;    /* seconds for the search; 0: ten minutes, `quick`: 50 s */
    bool quick;       /* coarser: an interval of 10 % instead of 4 % */
};

struct ps_stress_result {
    double breaking_point; /* requests a second; NAN: none was found */
    double held, broke;    /* the highest rate that held, the lowest that did not; NAN where there is none */
    double low, high;      /* the interval; NAN where one side is open */
    enum ps_stress_signal signal; /* that gave way at `broke` */
    bool limited;          /* by the generator: the rate that it could not drive is `broke` */
    bool stuck;            /* what was in flight did not drain */
    bool ended;            /* early: by its budget, or by ps_stress_end() */
};

struct ps_stress;

/* PS_OK, PS_EINVAL (from, most, or step without every), PS_ENOMEM. */
PS_MUST_CHECK int ps_stress_new(struct ps_stress **out, const struct ps_stress_opts *opts);
void ps_stress_free(struct ps_stress *stress); /* NULL is fine */

/* What is to be sent now, requests a second; 0 while something drains, and when it is over. */
double ps_stress_rate(const struct ps_stress *stress);

/* What that is called: "bracket", "bisect", "confirm", "staircase", "drain", "over". */
const char *ps_stress_phase(const struct ps_stress *stress);

/* Takes what came of a second; then the rate may be another. */
void ps_stress_push(struct ps_stress *stress, const struct ps_second *row);

bool ps_stress_is_over(const struct ps_stress *stress);

/* Ends it with what is known. */
void ps_stress_end(struct ps_stress *stress);

struct ps_stress_result ps_stress_result(const struct ps_stress *stress);

/* Seconds that the search may take in all. */
double ps_stress_budget(const struct ps_stress *stress);

/* The levels in their order, *count of them. */
const struct ps_stress_level *ps_stress_levels(const struct ps_stress *stress, size_t *count);

#endif
