/* tally - a histogram with fixed bounds, as the imitated servers publish them.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_TALLY_H
#define PS_SIM_TALLY_H

#include <stddef.h>
#include <stdint.h>

#define PS_SIM_TALLY_BOUNDS 20u

struct ps_sim_tally {
    const double *bounds; /* ascending upper bounds, ended by 0; at most PS_SIM_TALLY_BOUNDS */
    uint64_t counts[PS_SIM_TALLY_BOUNDS + 1]; /* per bucket, not summed up; the last is +Inf */
    uint64_t count;
    double sum;
};

static inline void ps_sim_tally_add(struct ps_sim_tally *tally, double value)
{
    size_t i = 0;
    while (i < PS_SIM_TALLY_BOUNDS && tally->bounds[i] != 0 && value > tally->bounds[i]) {
        i++;
    }
    if (i < PS_SIM_TALLY_BOUNDS && tally->bounds[i] == 0) {
        i = PS_SIM_TALLY_BOUNDS;
    }
    tally->counts[i]++;
    tally->count++;
    tally->sum += value;
}

#endif
