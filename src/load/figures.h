/* figures - what came of a run so far: the sum of its seconds, in fixed memory.
 *
 *      second --> totals      counts and six histograms
 *             --> series      a point a second; from PS_FIGURES_POINTS on two, then four seconds a point ...
 *             --> blocks      a histogram for each of at most PS_FIGURES_BLOCKS equal parts of the run
 *
 * A day fits where a minute fits. When the series is full, neighbours become one point: counts add up,
 * maxima stay, percentiles become their mean weighted by requests. Blocks add up exactly; compare
 * draws from them, so that slow waves in a run do not look like certainty.
 *
 * Thread: owned by one thread. About 2 MiB, on the heap.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_FIGURES_H
#define PS_LOAD_FIGURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hist.h"
#include "load/second.h"

#define PS_FIGURES_POINTS   1800
#define PS_FIGURES_BLOCKS   64
#define PS_FIGURES_FAILURES 16 /* kinds; the rest is counted as "other" */
#define PS_FIGURES_PHASE    24
#define PS_FIGURES_EXAMPLE  200
/* Blocks cut a power of two into 64 steps: 1.6 % of a value. */
#define PS_FIGURES_STEP_BITS 6
#define PS_FIGURES_STEPS     ((64 - PS_FIGURES_STEP_BITS) << PS_FIGURES_STEP_BITS)

struct ps_figures_failure {
    char kind[48];
    uint64_t count;
    char example[PS_FIGURES_EXAMPLE]; /* valid UTF-8 without control characters */
};

/* A point of the series. NAN = unknown or nothing there. */
struct ps_figures_point {
    double at;   /* its end, seconds since the start */
    double span; /* seconds in which something was measured */
    char phase[PS_FIGURES_PHASE];
    double target_rps;
    uint64_t sent, succeeded, failed, good, output_tokens;
    uint64_t in_flight; /* the most */
    double p50_ms, p95_ms, p99_ms, max_ms; /* corrected */
    double ttft_p95_ms;
    double target_memory_bytes, target_descriptors;
};

/* The step of a value in nanoseconds, and where a step begins. */
unsigned ps_figures_step(uint64_t ns);
uint64_t ps_figures_step_start(unsigned step);

struct ps_figures_block {
    double span;
    uint64_t succeeded, failed;
    uint64_t *steps; /* [PS_FIGURES_STEPS], corrected ns */
};

/* Read freely; written by ps_figures_add() alone. */
struct ps_figures {
    double span;  /* seconds measured; less than `at` when a run was interrupted and resumed */
    double at;    /* the end of the last second */
    uint64_t sent, succeeded, failed, canceled, skipped, late, good;
    uint64_t in_flight; /* at the end */
    uint64_t in_flight_most;
    uint64_t prompt_tokens, output_tokens;
    double cpu_percent_most; /* NAN: unknown */
    struct ps_hist corrected, latency, ttft_corrected, ttft, token_gap, lag;
    uint64_t statuses[PS_SECOND_STATUSES];
    struct ps_figures_failure failures[PS_FIGURES_FAILURES];
    size_t failure_count;
    double point_span; /* seconds a point */
    struct ps_figures_point points[PS_FIGURES_POINTS];
    size_t point_count;
    double block_span;
    struct ps_figures_block blocks[PS_FIGURES_BLOCKS];
    size_t block_count;
};

PS_MUST_CHECK int ps_figures_new(struct ps_figures **out); /* PS_OK or PS_ENOMEM */
void ps_figures_free(struct ps_figures *figures);          /* NULL is fine */

/* Adds a second; `at` must not go back (then it is taken as the last one's). PS_OK or PS_ENOMEM: then
 * the totals have it and the blocks don't. */
PS_MUST_CHECK int ps_figures_add(struct ps_figures *figures, const struct ps_second *second);

/* Failed among those that ended, in percent; 0 when none ended. */
double ps_figures_error_percent(const struct ps_figures *figures);

/* Ended requests a second; 0 before the first. */
double ps_figures_rps(const struct ps_figures *figures);

#endif
