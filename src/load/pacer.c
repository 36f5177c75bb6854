/* pacer - see pacer.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/pacer.h"

#include <math.h>
#include <string.h>

#include "base/check.h"

#define FAR_SECONDS 1e9
#define HALVINGS    60 /* of a period: below a nanosecond */

void ps_pacer_init(struct ps_pacer *pacer, const struct ps_pacer_opts *opts, ps_time start)
{
    PS_CHECK(opts->speed > 0);
    PS_CHECK(opts->swell >= 0 && opts->swell <= 1 && (opts->swell == 0 || opts->period > 0));
    memset(pacer, 0, sizeof *pacer);
    pacer->opts = *opts;
    pacer->start = start;
    pacer->next = PS_NEVER;
}

/* Seconds of the run at which so many seconds of a steady run have been played. With the rate
 * 1 - swell * cos(2 pi t / period) these are t - swell * period / 2 pi * sin(2 pi t / period), which
 * rises, so that halving finds t. */
static double swollen(const struct ps_pacer_opts *opts, double steady)
{
    double turn = ps_span_seconds(opts->period) / (2 * acos(-1));
    double low = steady - opts->swell * turn;
    double high = steady + opts->swell * turn;
    for (int i = 0; i < HALVINGS && low < high; i++) {
        double middle = low + (high - low) / 2;
        bool before = middle - opts->swell * turn * sin(middle / turn) < steady;
        low = before ? middle : low;
        high = before ? high : middle;
    }
    return high;
}

bool ps_pacer_offer(struct ps_pacer *pacer, ps_span at)
{
    double seconds = ps_span_seconds(at) / pacer->opts.speed;
    seconds = pacer->opts.swell > 0 ? fmax(swollen(&pacer->opts, seconds), 0) : seconds;
    bool beyond = (pacer->opts.duration > 0 && seconds >= ps_span_seconds(pacer->opts.duration)) ||
                  seconds > FAR_SECONDS;
    if (beyond) {
        pacer->next = PS_NEVER;
        return false;
    }
    pacer->next = pacer->start + (ps_span)(seconds * 1e9);
    return true;
}

bool ps_pacer_due(const struct ps_pacer *pacer, ps_time now, ps_time *intended)
{
    if (pacer->next > now) {
        return false;
    }
    *intended = pacer->next;
    return true;
}

void ps_pacer_take(struct ps_pacer *pacer)
{
    pacer->next = PS_NEVER;
}
