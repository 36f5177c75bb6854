/* second - what came of one second of a run: the row of which journals, series and totals are made.
 *
 * Whoever sends gives one of these each second. The totals of a run are the sum of its seconds, whether
 * they come from a running test or from the journal of one that was killed: there is one way to a figure.
 *
 * A second belongs to what happened in it: `sent` counts sends, `succeeded` and `failed` count ends.
 *
 * Thread: pure; text and histograms are borrowed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_SECOND_H
#define PS_LOAD_SECOND_H

#include <stddef.h>
#include <stdint.h>

#include "base/hist.h"

#define PS_SECOND_STATUSES 600
#define PS_SECOND_FAILURES 32 /* kinds; more are not looked at */

/* Failures of a kind that ended in this second. */
struct ps_second_failure {
    const char *kind;    /* "connection refused": ps_failure_text() */
    uint64_t count;
    const char *example; /* the first one's detail, NULL = none; may hold any bytes */
};

/* All zero with NAN in the doubles (ps_second_make()) says nothing and is valid. NULL histograms are empty. */
struct ps_second {
    double at;                /* when it ended, in seconds since the test's start */
    double span;              /* seconds that it covers: 1, but for the last one */
    const char *phase;        /* "baseline", "spike", "level"; NULL = the test has one phase */
    double target_rps;        /* NAN: closed loop */
    uint64_t sent;
    uint64_t succeeded;
    uint64_t failed;
    uint64_t canceled;        /* on purpose: neither success nor failure */
    uint64_t skipped;         /* due and not sent: a bound of the generator */
    uint64_t late;            /* sent too late: a bound of the generator */
    uint64_t good;            /* succeeded within all objectives */
    uint64_t in_flight;       /* at its end */
    uint64_t prompt_tokens;
    uint64_t output_tokens;
    double cpu_percent;       /* of the generator's busiest thread; NAN = unknown, and so below */
    double target_cpu_percent;
    double target_memory_bytes;
    double target_descriptors;
    const struct ps_hist *corrected;      /* ns from intended to end, of those that succeeded */
    const struct ps_hist *latency;        /* ns from sent to end; NULL in closed loop: the same */
    const struct ps_hist *ttft_corrected; /* ns from intended to the first text */
    const struct ps_hist *ttft;           /* ns from sent to the first text */
    const struct ps_hist *token_gap;      /* ns between token events */
    const struct ps_hist *lag;            /* ns between intended and real send */
    const uint64_t *statuses;             /* [PS_SECOND_STATUSES]; NULL = none */
    const struct ps_second_failure *failures;
    size_t failure_count;
};

/* A second of `span` that ended at `at` and in which nothing happened. */
struct ps_second ps_second_make(double at, double span);

#endif
