/* hist - a log-linear histogram of durations or sizes: any int64, bounded error, fixed memory.
 *
 * Means hide what users feel and sorted samples need memory without end. Here every power of two is
 * cut into 256 equal steps, so a percentile is never further than 1/512 (0.2 %) of its value from
 * a recorded one, whether it is a microsecond or a day, and adding costs one increment. Two
 * histograms merge by addition, so each thread or second may have its own.
 *
 *      value    0 ... 255 | 256 ... 511 | 512 ... 1023 | ... | 2^62 ... 2^63-1
 *      steps      256 of 1|   256 of 1  |   256 of 2   | ... |   256 of 2^54
 *
 * Below 512 each value has a step of its own and percentiles are exact.
 *
 * Thread: owned by one thread at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_HIST_H
#define PS_BASE_HIST_H

#include <stdbool.h>
#include <stdint.h>

#define PS_HIST_STEP_BITS 8
#define PS_HIST_STEPS ((64 - PS_HIST_STEP_BITS) << PS_HIST_STEP_BITS)

/* About 112 KiB: allocate it, don't put it on a stack. All zero is empty and ready. */
struct ps_hist {
    uint64_t count;
    int64_t min; /* exact; meaningless while count is 0 */
    int64_t max;
    double sum;
    uint64_t steps[PS_HIST_STEPS];
};

/* Forgets everything. */
void ps_hist_clear(struct ps_hist *hist);

/* Adds one value; a negative one counts as 0. */
void ps_hist_record(struct ps_hist *hist, int64_t value);

/* Adds everything of `from`. */
void ps_hist_merge(struct ps_hist *hist, const struct ps_hist *from);

/* The smallest value that a share (0 to 1) of all values does not exceed, within 1/512 of it and
 * never outside [min, max]; 0 gives min, 1 gives max. NAN when empty. */
double ps_hist_percentile(const struct ps_hist *hist, double share);

/* The exact mean; NAN when empty. */
double ps_hist_mean(const struct ps_hist *hist);

/* The step of a value, and the smallest value of a step (below PS_HIST_STEPS). */
unsigned ps_hist_step(int64_t value);
uint64_t ps_hist_step_start(unsigned step);

/* For tests and for what was read from a file: do the steps add up to count, and do min and max lie in the
 * first and last step? */
bool ps_hist_is_sane(const struct ps_hist *hist);

#endif
