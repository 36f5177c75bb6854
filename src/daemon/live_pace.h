/* live_pace - how a second's frame goes to thousands: a few at a time, spread over half a second.
 *
 * Sending is the kernel's work and takes a core some 15 us a frame. On a core that a worker shares,
 * a request waits for the turn under way, so a turn is short: its length, and not what all turns
 * take together, is what requests feel.
 *
 *      |####|      |####|      |####|####|####|      |####|         #### = a turn's frames
 *      begin  due         due         late: turns close up until they have caught up
 *
 * Pure: time is an argument.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_LIVE_PACE_H
#define PS_DAEMON_LIVE_PACE_H

#include <stddef.h>

#include "base/clock.h"

struct ps_live_pace {
    ps_time since;
    size_t all;  /* subscribers */
    size_t sent; /* of them have the frame; the sender counts */
};

struct ps_live_pace ps_live_pace_begin(ps_time now, size_t all);

/* How many may get the frame in one turn: all at once while they are hundreds. */
size_t ps_live_pace_most(const struct ps_live_pace *pace);

/* When the next turn is due, after one that ended about `now`; always later. */
ps_time ps_live_pace_next(const struct ps_live_pace *pace, ps_time now);

#endif
