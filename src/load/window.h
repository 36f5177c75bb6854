/* window - percentiles of the last few seconds, for eyes.
 *
 * Two histograms take turns: values go into the young one, questions are put to both, and at each turn
 * the old one is forgotten. So an answer covers between one and two turns.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_WINDOW_H
#define PS_LOAD_WINDOW_H

#include "base/clock.h"
#include "base/hist.h"

/* About 340 KiB: allocate it. All zero is empty and ready. */
struct ps_window {
    struct ps_hist young;
    struct ps_hist old;
    struct ps_hist both; /* made by ps_window_look() */
    ps_time turned;      /* when the young one began */
};

void ps_window_record(struct ps_window *window, int64_t value);

/* The same for all values of a histogram. */
void ps_window_add(struct ps_window *window, const struct ps_hist *values);

/* What was recorded in the last `turn` to 2 * `turn`. Valid until the next call. */
const struct ps_hist *ps_window_look(struct ps_window *window, ps_time now, ps_span turn);

#endif
