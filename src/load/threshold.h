/* threshold - what a test must keep, in k6's words: "http_req_duration: p(95)<500, p(99)<1000, abortOnFail".
 *
 *      metric[{tag:value}] : condition [, condition] [, abortOnFail] [, delayAbortEval=10s]
 *      condition             aggregation operator number
 *
 * k6's own forms (lists in brackets, objects, quotes) are read, too. Numbers are milliseconds for times, shares of 1 for
 * rates; ms, s and % may be written behind them. An aggregation fits its metric:
 *
 *      trend      avg min max med p(N)      http_req_duration (from the intended time), http_req_waiting (to the head of
 *                                           the answer), time_to_first_token, inter_token_latency,
 *                                           time_per_output_token, send_lag
 *      rate       rate                      http_req_failed, goodput
 *      counter    count rate                http_reqs, output_tokens, data_received, data_sent, dropped_iterations
 *
 * What was not measured keeps no threshold.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_THRESHOLD_H
#define PS_LOAD_THRESHOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/hist.h"
#include "base/str.h"

#define PS_THRESHOLDS_MAX 64
#define PS_THRESHOLD_TEXT 64

/* What thresholds can be about. Histograms in nanoseconds; NULL or empty = not measured. */
struct ps_threshold_facts {
    const struct ps_hist *duration, *waiting, *first_token, *event_gap, *token_gap, *lag;
    uint64_t succeeded, failed, good;
    uint64_t output_tokens, bytes_received, bytes_sent, skipped;
    double seconds; /* of the test */
};

enum ps_threshold_aggregation {
    PS_AGGREGATION_COUNT,
    PS_AGGREGATION_RATE,
    PS_AGGREGATION_AVG,
    PS_AGGREGATION_MIN,
    PS_AGGREGATION_MAX,
    PS_AGGREGATION_MED,
    PS_AGGREGATION_P
};

enum ps_threshold_operator { PS_BELOW, PS_AT_MOST, PS_ABOVE, PS_AT_LEAST, PS_EQUAL, PS_UNEQUAL };

struct ps_threshold {
    char metric[PS_THRESHOLD_TEXT];     /* as it is called: "http_req_duration" */
    char expression[PS_THRESHOLD_TEXT]; /* "p(95)<500" */
    size_t row;                         /* of the table of metrics */
    enum ps_threshold_aggregation aggregation;
    double share; /* of P */
    enum ps_threshold_operator operator;
    double bound; /* in the metric's unit */
    bool abort;   /* a test that does not keep it ends ... */
    ps_span delay; /* ... but not before this */
};

struct ps_thresholds {
    struct ps_threshold rows[PS_THRESHOLDS_MAX];
    size_t count;
};

/* Adds the thresholds of a text. PS_OK; PS_EPARSE or PS_ELIMIT: nothing was added, and why. */
PS_MUST_CHECK int ps_thresholds_parse(struct ps_thresholds *thresholds, struct ps_str text, char *why, size_t size);

/* Is there one about this metric? Then a built-in one does not hold. */
bool ps_thresholds_have(const struct ps_thresholds *thresholds, const char *metric);

/* The value that is compared; NAN: it was not measured. And its unit: "ms", "/s", "" for shares and counts. */
double ps_threshold_value(const struct ps_threshold *threshold, const struct ps_threshold_facts *facts);
const char *ps_threshold_unit(const struct ps_threshold *threshold);

bool ps_threshold_passes(const struct ps_threshold *threshold, double value);

#endif
