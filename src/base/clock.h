/* clock - instants and spans; a real clock and a hand-moved one.
 *
 * Time is an argument in this code base: modules take `ps_time now` and never ask the system. Only
 * the loop reads a clock, and a test hands it one that it moves itself, so that a day passes in a
 * millisecond.
 *
 * Thread: reading is thread-safe; a manual clock may be moved from any thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_CLOCK_H
#define PS_BASE_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>

typedef int64_t ps_time; /* an instant: nanoseconds on the monotonic clock, from an unnamed start */
typedef int64_t ps_span; /* a length of time in nanoseconds */

#define PS_MICROSECOND ((ps_span)1000)
#define PS_MILLISECOND ((ps_span)1000000)
#define PS_SECOND ((ps_span)1000000000)
#define PS_MINUTE (60 * PS_SECOND)
#define PS_HOUR (60 * PS_MINUTE)
#define PS_NEVER INT64_MAX

/* A manual clock stands still until it is moved; a real one is CLOCK_MONOTONIC and CLOCK_REALTIME. */
struct ps_clock {
    int manual;
    _Atomic ps_time now;  /* manual: the instant */
    _Atomic ps_time wall; /* manual: nanoseconds since 1970-01-01 UTC */
};

extern struct ps_clock ps_clock_real; /* never written to */

/* A manual clock that shows `now`, and `wall` nanoseconds since 1970. */
void ps_clock_init_manual(struct ps_clock *clock, ps_time now, ps_time wall);

/* Moves a manual clock forward, both hands. */
void ps_clock_advance(struct ps_clock *clock, ps_span by);

ps_time ps_clock_now(const struct ps_clock *clock);

/* Nanoseconds since 1970-01-01 UTC. */
ps_time ps_clock_wall(const struct ps_clock *clock);

/* Seconds as a floating point number, for reports. */
static inline double ps_span_seconds(ps_span span)
{
    return (double)span / 1e9;
}

#endif
