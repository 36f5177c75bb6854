/* lag - a page of metrics as it was a while ago.
 *
 * Pages are kept as they are made, a few per span, and the youngest that is old enough is shown.
 * Until one is old enough the first is shown: the server had just started then.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_LAG_H
#define PS_SIM_LAG_H

#include <stddef.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

#define PS_SIM_LAG_PAGES    8u
#define PS_SIM_LAG_PER_SPAN 4u

struct ps_sim_lag {
    ps_span span; /* 0: nothing is held back */
    ps_time next; /* when the next page is due */
    struct {
        ps_time made;
        struct ps_buf page;
    } pages[PS_SIM_LAG_PAGES];
    size_t first, count; /* of the ring; the oldest is at first */
};

void ps_sim_lag_init(struct ps_sim_lag *lag, ps_span span, ps_time now);
void ps_sim_lag_fini(struct ps_sim_lag *lag);

/* The buffer for the page of this instant, emptied; the oldest gives its place when all are used.
 * The next is due a part of the span later. */
struct ps_buf *ps_sim_lag_push(struct ps_sim_lag *lag, ps_time now);

/* The page to show now: the youngest that is at least as old as the span, or the oldest of all;
 * NULL when there is none. */
const struct ps_buf *ps_sim_lag_get(const struct ps_sim_lag *lag, ps_time now);

#endif
