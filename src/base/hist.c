/* hist - see hist.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/hist.h"

#include <math.h>
#include <string.h>

#define STEPS_PER_POWER (1u << PS_HIST_STEP_BITS)

/* The step of a value: its top 9 bits, and how far they were shifted. */
static unsigned step_of(uint64_t value)
{
    if (value < STEPS_PER_POWER) {
        return (unsigned)value;
    }
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - PS_HIST_STEP_BITS;
    return (shift << PS_HIST_STEP_BITS) + (unsigned)(value >> shift);
}

/* How far the values of a step were shifted. */
static unsigned shift_of(unsigned step)
{
    return step < 2 * STEPS_PER_POWER ? 0 : (step >> PS_HIST_STEP_BITS) - 1;
}

unsigned ps_hist_step(int64_t value)
{
    return step_of(value < 0 ? 0 : (uint64_t)value);
}

uint64_t ps_hist_step_start(unsigned step)
{
    if (step < 2 * STEPS_PER_POWER) {
        return step;
    }
    return (uint64_t)(STEPS_PER_POWER + step % STEPS_PER_POWER) << shift_of(step);
}

/* The middle of a step. */
static double middle_of(unsigned step)
{
    return (double)ps_hist_step_start(step) + (double)((UINT64_C(1) << shift_of(step)) - 1) / 2;
}

/* The steps that can hold something: a histogram of a second has a few thousand of them, not all. */
static unsigned first_step(const struct ps_hist *hist)
{
    return step_of((uint64_t)hist->min);
}

static unsigned last_step(const struct ps_hist *hist)
{
    return step_of((uint64_t)hist->max);
}

void ps_hist_clear(struct ps_hist *hist)
{
    if (hist->count > 0) {
        unsigned first = first_step(hist);
        memset(hist->steps + first, 0, (last_step(hist) - first + 1) * sizeof *hist->steps);
    }
    hist->count = 0;
    hist->min = hist->max = 0;
    hist->sum = 0;
}

void ps_hist_record(struct ps_hist *hist, int64_t value)
{
    value = value < 0 ? 0 : value;
    hist->min = hist->count == 0 || value < hist->min ? value : hist->min;
    hist->max = value > hist->max ? value : hist->max;
    hist->sum += (double)value;
    hist->count++;
    hist->steps[step_of((uint64_t)value)]++;
}

void ps_hist_merge(struct ps_hist *hist, const struct ps_hist *from)
{
    if (from->count == 0) {
        return;
    }
    hist->min = hist->count == 0 || from->min < hist->min ? from->min : hist->min;
    hist->max = from->max > hist->max ? from->max : hist->max;
    hist->sum += from->sum;
    hist->count += from->count;
    for (unsigned i = first_step(from); i <= last_step(from); i++) {
        hist->steps[i] += from->steps[i];
    }
}

double ps_hist_percentile(const struct ps_hist *hist, double share)
{
    if (hist->count == 0) {
        return NAN;
    }
    if (share <= 0) {
        return (double)hist->min;
    }
    double rank = ceil(share * (double)hist->count);
    double seen = 0;
    for (unsigned i = first_step(hist); i < PS_HIST_STEPS && share < 1; i++) {
        seen += (double)hist->steps[i];
        if (hist->steps[i] > 0 && seen >= rank) {
            return fmin(fmax(middle_of(i), (double)hist->min), (double)hist->max);
        }
    }
    return (double)hist->max;
}

double ps_hist_mean(const struct ps_hist *hist)
{
    return hist->count == 0 ? NAN : hist->sum / (double)hist->count;
}

bool ps_hist_is_sane(const struct ps_hist *hist)
{
    uint64_t total = 0;
    unsigned first = PS_HIST_STEPS;
    unsigned last = 0;
    for (unsigned i = 0; i < PS_HIST_STEPS; i++) {
        total += hist->steps[i];
        if (hist->steps[i] > 0) {
            first = first == PS_HIST_STEPS ? i : first;
            last = i;
        }
    }
    if (total != hist->count || total == 0) {
        return total == hist->count;
    }
    return first == step_of((uint64_t)hist->min) && last == step_of((uint64_t)hist->max);
}
