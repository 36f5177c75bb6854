/* level - what came of one rate of a stress test.
 *
 * Thread: plain values.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_LEVEL_H
#define PS_LOAD_LEVEL_H

#include <stdbool.h>

#define PS_STRESS_CONFIDENCE 0.95

enum ps_stress_verdict {
    PS_STRESS_UNCLEAR, /* ended before it was clear: what is known is in the figures */
    PS_STRESS_HOLDS,
    PS_STRESS_BREAKS,
    PS_STRESS_LIMITED
};

enum ps_stress_signal { PS_STRESS_NONE, PS_STRESS_ERRORS, PS_STRESS_GOODPUT, PS_STRESS_CONCURRENCY, PS_STRESS_TTFT };

/* "unclear", "holds", "breaks", "generator_limited"; "none", "errors", "goodput", "concurrency", "time_to_first_token" */
extern const char *const ps_stress_verdict_words[];
extern const char *const ps_stress_signal_words[];

/* What came of one level. */
struct ps_stress_level {
    double rate;        /* asked for */
    double at;          /* when it ended, seconds since the start */
    double seconds;     /* that it lasted */
    double judged;      /* of them behind the warm-up: what the figures below are of */
    double achieved;    /* succeeded and failed a second */
    double error_share; /* of those that ended */
    double good_share;
    double in_flight;   /* mean */
    double growth;      /* of requests in flight, as a share of the rate; NAN: too short */
    double growth_error; /* its standard error */
    double latency;     /* mean, s */
    double p50_ms, p95_ms, p99_ms, ttft_p95_ms; /* NAN: none */
    enum ps_stress_verdict verdict;
    enum ps_stress_signal signal;
    bool clear;     /* beyond doubt; else it only looked like it when its time was up */
    bool overruled; /* a later level at this rate or beyond it showed otherwise */
};

#endif
