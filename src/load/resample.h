/* resample - how certain are the figures of a run? By drawing runs like it from its blocks.
 *
 * Requests of one second are alike: a run of 60 s with 50 requests/s does not hold 3,000 independent answers. So
 * not requests are drawn but blocks of the report, and blocks that follow each other are drawn together: the
 * stationary bootstrap (Politis and Romano 1994), whose mean stretch follows the correlation of neighbours as for
 * an autoregressive process (Politis and White 2004; Patton, Politis and White 2009). What is left of a run that is
 * short for its waves is paid for in degrees of freedom.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_RESAMPLE_H
#define PS_LOAD_RESAMPLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define PS_RESAMPLE_BLOCKS_MIN 8    /* with fewer nothing can be said */
#define PS_RESAMPLE_BLOCKS_MAX 1024 /* of a report */

/* The blocks of a section. */
struct ps_resample {
    size_t count;
    double *span, *succeeded, *failed; /* [count] */
    size_t steps;                      /* that are filled in any block */
    double *low, *high;                /* [steps] ms */
    double *table;                     /* [count * steps] */
    double stretch;                    /* mean number of blocks that are drawn together */
};

/* Reads them. PS_OK; PS_EPARSE when they are not such; PS_ELIMIT, PS_ENOMEM. */
PS_MUST_CHECK int ps_resample_read(struct ps_resample *resample, const json_t *section);
void ps_resample_fini(struct ps_resample *resample);

/* Successful and failed requests, and seconds, of the run. */
double ps_resample_succeeded(const struct ps_resample *resample);
double ps_resample_failed(const struct ps_resample *resample);
double ps_resample_seconds(const struct ps_resample *resample);

/* The percentile of the run, between the bounds of its step; NAN without requests. */
double ps_resample_percentile(const struct ps_resample *resample, double share);

/* What is asked of each run that is drawn. */
enum ps_resample_figure { PS_RESAMPLE_MEDIAN, PS_RESAMPLE_P95, PS_RESAMPLE_P99, PS_RESAMPLE_RATE, PS_RESAMPLE_ERRORS,
                          PS_RESAMPLE_FIGURES };

/* Standard errors: of the logarithm of the percentiles and of the rate of successful requests, and of the share of
 * errors. Degrees of freedom are of all. The same seed gives the same. */
struct ps_resample_errors {
    double of[PS_RESAMPLE_FIGURES];
    double df;
};

/* False: too few blocks. */
bool ps_resample_draw(const struct ps_resample *resample, uint64_t seed, struct ps_resample_errors *errors);

#endif
