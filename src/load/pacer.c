/* pacer - see pacer.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/pacer.h"

#include <string.h>

#include "base/check.h"

#define FAR_SECONDS 1e9

void ps_pacer_init(struct ps_pacer *pacer, const struct ps_pacer_opts *opts, ps_time start)
{
    PS_CHECK(opts->speed > 0);
    memset(pacer, 0, sizeof *pacer);
    pacer->opts = *opts;
    pacer->start = start;
    pacer->next = PS_NEVER;
}

bool ps_pacer_is_full(const struct ps_pacer *pacer)
{
    return pacer->opts.limit > 0 && pacer->offered >= pacer->opts.limit;
}

bool ps_pacer_offer(struct ps_pacer *pacer, ps_span at)
{
    double seconds = ps_span_seconds(at) / pacer->opts.speed;
    bool beyond = ps_pacer_is_full(pacer) ||
                  (pacer->opts.duration > 0 && seconds >= ps_span_seconds(pacer->opts.duration)) ||
                  seconds > FAR_SECONDS;
    if (beyond) {
        pacer->next = PS_NEVER;
        return false;
    }
    pacer->offered++;
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

void ps_pacer_sent(struct ps_pacer *pacer, ps_time now)
{
    ps_span lag = now - pacer->next;
    ps_hist_record(&pacer->lag, lag);
    pacer->late += lag > PS_PACER_LATE ? 1 : 0;
    pacer->sent++;
    pacer->next = PS_NEVER;
}

void ps_pacer_skipped(struct ps_pacer *pacer)
{
    pacer->skipped++;
    pacer->next = PS_NEVER;
}

bool ps_pacer_is_limited(const struct ps_pacer *pacer)
{
    return pacer->skipped > 0 || (pacer->late > 1 && pacer->late * 100 > pacer->sent);
}
