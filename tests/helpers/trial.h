/* trial - a run of a load test that never was: seconds as a generator would measure them, from a seed.
 *
 * Arrivals are Poisson; response times are log-normal around a median that wanders (a first-order
 * autoregressive process, as queues and neighbours make it): what one second was like says something about the
 * next, so that whoever takes requests for independent is punished.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_HELPERS_TRIAL_H
#define TESTS_HELPERS_TRIAL_H

#include <stdbool.h>

#include "base/hist.h"
#include "base/rng.h"
#include "load/figures.h"
#include "load/second.h"

struct trial_opts {
    uint64_t seed;
    double rps;
    double median_ms;
    double sigma;      /* of the logarithm of a response time */
    double wander;     /* standard deviation of the logarithm of the median; 0 = it stands still */
    double memory;     /* 0 to 1: how much of it is left a second later */
    double error_rate; /* share */
    bool streams;      /* first tokens and gaps are measured, too */
};

struct trial {
    struct trial_opts opts;
    struct ps_rng rng;
    double level; /* of the wandering logarithm */
    double at;
    struct ps_hist corrected, latency, ttft_corrected, ttft, token_gap, lag;
    uint64_t statuses[PS_SECOND_STATUSES];
    struct ps_second_failure failure;
};

/* About 700 KiB: allocate it. */
void trial_begin(struct trial *trial, const struct trial_opts *opts);

/* Makes the next second; it borrows from the trial until the next call. */
struct ps_second trial_next(struct trial *trial);

/* A whole run of so many seconds: ps_figures_free() it. */
struct ps_figures *trial_run(const struct trial_opts *opts, unsigned seconds);

#endif
