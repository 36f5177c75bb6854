/* spike - what a burst does to a service, and how long after it things are as they were before.
 *
 *      rate                 ____
 *               ___________|    |________________________ . . .
 *               baseline    spike  recovery (longer, until recovered)
 *
 *      p95 of the     . . . . ./ \  .
 *      last 5 s     ~~~~~~~~~~|   \_|~~|~~|~~|~~|~~  5 steps in a row inside the band: recovered
 *      band         - - - - - - - - - - - - - - -        at the begin of the first one's window
 *
 * The band is what the baseline does by itself. A p95 of n requests lies below the baseline's quantile at 1 - t in all but
 * one of a thousand windows, when t is chosen so that a Poisson count of mean n t is almost never 5 % of n: so the band
 * is exact for what was measured, needs no shape of the distribution and few samples. 10 % and a millisecond of room are
 * added: less than that is no damage. Errors likewise: not more than chance makes of the baseline's share.
 *
 * A step looks back on 5 s, all of which must be good: recovery is when the first good window begins, not when it is
 * complete. A service that a spike does not touch recovers in 0 s.
 *
 * Time is that of the rows; a row is what came of one second. Thread: owned by one thread. About 1 MiB: heap.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_SPIKE_H
#define PS_LOAD_SPIKE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "load/second.h"

enum { PS_SPIKE_BASELINE, PS_SPIKE_SPIKE, PS_SPIKE_RECOVERY, PS_SPIKE_PHASES, PS_SPIKE_OVER = PS_SPIKE_PHASES };

/* "baseline", "spike", "recovery", "over" */
extern const char *const ps_spike_phase_words[];

#define PS_SPIKE_WINDOW 5 /* seconds that a step looks back on */
#define PS_SPIKE_STEPS  5 /* steps in a row that must be inside the band */

struct ps_spike_opts {
    double baseline_rate, spike_rate, recovery_rate;          /* requests a second; > 0 */
    double baseline_seconds, spike_seconds, recovery_seconds; /* at least 10, 1, 5 */
    double max_recovery; /* seconds after the spike at which it is given up; at least recovery_seconds */
};

struct ps_spike_phase {
    double start, seconds;
    double rate;
    double achieved;    /* ended a second */
    double error_share; /* of those that ended */
    double p95_ms;      /* NAN: none */
};

struct ps_spike_result {
    double recovery_seconds;   /* NAN: not recovered within max_recovery, or ended before */
    double band_p95_ms;        /* NAN: the baseline was not complete */
    double band_error_share;   /* of a window with as many requests as the recovery's rate gives */
    double peak_p95_ms;        /* worst window since the spike began; NAN: none */
    bool sick_before;          /* the baseline itself had more than half of its answers failed, or none: no band */
    struct ps_spike_phase phase[PS_SPIKE_PHASES];
};

struct ps_spike;

/* PS_OK, PS_EINVAL (options), PS_ENOMEM. */
PS_MUST_CHECK int ps_spike_new(struct ps_spike **out, const struct ps_spike_opts *opts);
void ps_spike_free(struct ps_spike *spike); /* NULL is fine */

/* PS_SPIKE_BASELINE to PS_SPIKE_OVER, and what is to be sent in it. */
int ps_spike_phase(const struct ps_spike *spike);
double ps_spike_rate(const struct ps_spike *spike);

/* Takes what came of a second; then the phase may be another. */
void ps_spike_push(struct ps_spike *spike, const struct ps_second *row);

/* Ends it with what is known. */
void ps_spike_end(struct ps_spike *spike);

struct ps_spike_result ps_spike_result(const struct ps_spike *spike);

#endif
