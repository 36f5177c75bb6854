/* compare - are two runs different, and is the later one worse?
 *
 * Percentiles and throughput: Welch's t on logarithms, with standard errors from resample.h. Errors: the exact test
 * of two Poisson rates given their sum, with counts divided by how much more they scatter over blocks than
 * independent ones would. Breaking points: from their confidence intervals. Holm's adjustment over all of them: with
 * confidence 0.95 at most one comparison in twenty of equal services calls anything better or worse.
 *
 * What two runs can't show is how runs of one service differ from each other: another neighbour on the host, another
 * warm-up. That is why only what is worse by more than a bound is a regression.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_COMPARE_H
#define PS_LOAD_COMPARE_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

struct ps_compare_opts {
    double max_regression; /* share by which a figure may be worse: 0.05 */
    double confidence;     /* 0.95 */
    const char *name_a;    /* what the reports are called: their files */
    const char *name_b;
};

/* Compares the tests that both documents have. The result is
 *
 *      {"verdict":"same|better|worse|regression|generator_limited|nothing","reason",
 *       "a":{"name","started","target"},"b":{...},"max_regression_percent","confidence",
 *       "metrics":[{"test","metric","unit","a","b","change","change_unit":"%|points","low","high","p_value",
 *                   "verdict":"better|worse|same|untested","regression","why"}],
 *       "differences":[{"what","a","b"}]}
 *
 * change is from a to b, and [low, high] its confidence interval. PS_OK, or PS_ENOMEM. */
PS_MUST_CHECK int ps_compare(json_t **out, const json_t *a, const json_t *b, const struct ps_compare_opts *opts);

/* The result as text, and as a page that stands alone (with both reports' charts). PS_OK, PS_ELIMIT, PS_ENOMEM. */
PS_MUST_CHECK int ps_compare_text(const json_t *result, struct ps_buf *out);
PS_MUST_CHECK int ps_compare_html(const json_t *result, const json_t *a, const json_t *b, struct ps_buf *out);

#endif
