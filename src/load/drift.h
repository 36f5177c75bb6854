/* drift - is anything about a service slowly getting worse?
 *
 * Each quantity is a series of at most PS_DRIFT_POINTS buckets of equal length; when they are full, neighbours become
 * one, so that a day needs the memory of a minute. A bucket is the mean of its seconds, for memory their lowest: what a
 * garbage collector will free is no leak. The first tenth of a run is warm-up and not looked at.
 *
 * A quantity drifts when all of these hold:
 *
 *      p < 0.005                Mann's and Kendall's test, widened by what neighbours have in common, one-sided, and
 *                               divided among the quantities (Holm 1979): one false alarm in a hundred steady runs
 *                               at most, whatever is watched
 *      change > least           over the run, by Theil's and Sen's slope: a share of the level and an amount; less
 *                               does not matter
 *      still going on           the second half alone rises at a third of that slope or more: what warms up slowly
 *                               and then stays is no drift
 *
 * A run that was interrupted is several parts: only points of one part are compared (its process may be another one), and
 * the parts' balances add up.
 *
 * Thread: owned by one thread. Pure: rows come with their time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_DRIFT_H
#define PS_LOAD_DRIFT_H

#include <stdbool.h>
#include <stddef.h>

#include "load/second.h"

enum { PS_DRIFT_POINTS = 256, PS_DRIFT_LEAST = 12 /* points, for a verdict */ };

enum ps_drift_signal {
    PS_DRIFT_P50,
    PS_DRIFT_P95,
    PS_DRIFT_TTFT, /* p95 of the time to first token */
    PS_DRIFT_ERRORS,
    PS_DRIFT_MEMORY,
    PS_DRIFT_DESCRIPTORS,
    PS_DRIFT_SIGNALS
};

struct ps_drift_row {
    const char *name; /* "p95" */
    const char *unit; /* "ms", "%", "bytes", "1" */
    bool lowest;      /* of a bucket's seconds, instead of their mean */
    double share;     /* of the level that a run must change by */
    double amount;    /* and this much */
};

extern const struct ps_drift_row ps_drift_rows[PS_DRIFT_SIGNALS];

struct ps_drift_bucket {
    double sum, lowest;
    double count; /* seconds with a value */
    unsigned part;
};

struct ps_drift_series {
    struct ps_drift_bucket bucket[PS_DRIFT_POINTS];
};

/* All zero is empty and ready. */
struct ps_drift {
    double bucket_seconds; /* 0: one */
    size_t buckets;        /* begun */
    double now;            /* seconds that were measured, without interruptions */
    unsigned part;
    struct ps_drift_series series[PS_DRIFT_SIGNALS];
};

/* Takes what came of a second. Its times may leap where the run was interrupted. */
void ps_drift_push(struct ps_drift *drift, const struct ps_second *row);

/* What follows is another part: the run was interrupted, or the target began anew. */
void ps_drift_part(struct ps_drift *drift);

struct ps_drift_result {
    size_t points;        /* 0: nothing was measured */
    double start, end;    /* of the fitted line */
    double slope_per_hour, low_per_hour, high_per_hour; /* the interval at 95 % */
    double percent_per_hour;                            /* of start */
    double p;             /* one-sided, before it is divided; NAN: too few points */
    double p_adjusted;    /* what is compared with 0.005 */
    bool drifts;
};

/* Fills one result for each signal. */
void ps_drift_judge(const struct ps_drift *drift, struct ps_drift_result results[PS_DRIFT_SIGNALS]);

/* The values of a signal and when (seconds that were measured), for a plot. Returns how many; at most PS_DRIFT_POINTS. */
size_t ps_drift_points(const struct ps_drift *drift, enum ps_drift_signal signal, double *at, double *values);

#endif
