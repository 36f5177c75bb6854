/* pressure - how near a server is to running out of memory, in one word.
 *
 *      critical    it has run out, or will within 10 s if nothing changes
 *      high        it will within a minute
 *      medium      more is in use than the target
 *      low         otherwise
 *
 * A server that took the whole device at start is not in trouble because the device is full: what
 * counts is the pool that it lends from. Where there is one, `effective` is the pool's use,
 * otherwise the device's. Memory that an allocator holds and does not use is in use (a cleanup can
 * free it), but it is no danger: it is given back before anybody dies.
 *
 * The word does not flicker: worse is believed after two samples (at once when memory has run out),
 * better after the time that is given, and `medium` looks at the mean of half a minute.
 *
 * Pure; time is an argument. When the limit will be met is the caller's to know (foresee/cleanup).
 *
 * Thread: owned by one thread. Nothing is allocated.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_PRESSURE_H
#define PS_GPU_PRESSURE_H

#include <stdbool.h>

#include "base/clock.h"

enum ps_pressure_level {
    PS_PRESSURE_LOW,
    PS_PRESSURE_MEDIUM,
    PS_PRESSURE_HIGH,
    PS_PRESSURE_CRITICAL
};

/* "low", "medium", "high", "critical" */
extern const char *const ps_pressure_levels[];

enum ps_pressure_basis { PS_PRESSURE_UNKNOWN, PS_PRESSURE_POOL, PS_PRESSURE_DEVICE };

/* "unknown", "kv_cache", "device" */
extern const char *const ps_pressure_bases[];

struct ps_pressure_opts {
    double target;       /* percent, 75 */
    ps_span critical_in; /* 10 s */
    ps_span high_in;     /* 60 s */
    ps_span calm;        /* how long it has to be better before the word gets better: 5 s */
};

struct ps_pressure_opts ps_pressure_opts_usual(void);

/* Bytes, or tokens in both of the pool. NAN: not known. */
struct ps_pressure_sample {
    double device_used, device_total;
    double pool_used, pool_total; /* of a server that lends from what it took at start */
    double unused;                /* what an allocator holds of the device and does not use */
    bool event;   /* since the last sample somebody was preempted or died of missing memory */
    double until; /* seconds until the limit is met; 0: now; INFINITY: not in sight */
};

struct ps_pressure {
    struct ps_pressure_opts opts;
    enum ps_pressure_level level, worse;
    enum ps_pressure_basis basis;
    double effective; /* percent; NAN while nothing is known */
    double mean;      /* of about half a minute */
    ps_time last_event;
    ps_time last_sample;
    ps_time as_bad_at[4]; /* when it was at least as bad as each level last */
    unsigned in_a_row;
};

void ps_pressure_init(struct ps_pressure *pressure, const struct ps_pressure_opts *opts);

/* Takes a sample and returns the level. Where neither pool nor device is known the basis is
 * PS_PRESSURE_UNKNOWN and the level means nothing. */
enum ps_pressure_level ps_pressure_push(struct ps_pressure *pressure, ps_time now,
                                        const struct ps_pressure_sample *sample);

/* Percent of the memory that is in use and not merely held: what a limit is about. NAN when not
 * known. */
double ps_pressure_strain(const struct ps_pressure_sample *sample);

#endif
