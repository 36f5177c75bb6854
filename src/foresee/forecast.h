/* forecast - where a series will be some samples from now, how sure that is, and when it meets a
 * limit.
 *
 * A path of a few steps ahead, each step forecast on its own:
 *
 *      level, trend    a regression on the value, on where it was of late, on robust slopes over 20
 * and 60 samples and on what else the caller thinks that it depends on, learned all the time;
 * before that it is a damped trend season          what the series did one season ago, if a season
 * was given a path          that the caller expects (foresee/flow): then the regression is about
 * what is missing in it
 *
 * Trend and season are weighted by how well each did at that step. Intervals are not Gaussian: they
 * follow the quantiles of the errors that were made (Gibbs and Candes 2021; Angelopoulos 2023), and
 * the chance to meet a limit comes from the paths of the last 256 errors, so neighbouring errors
 * stay together.
 *
 * Samples come at regular times; what unit of time that is, the caller knows. About 2 us a sample.
 *
 * Thread: owned by one thread. Nothing is allocated.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_FORESEE_FORECAST_H
#define PS_FORESEE_FORECAST_H

#include <stdbool.h>
#include <stddef.h>

#include "foresee/regress.h"

enum {
    PS_FORECAST_STEPS = 7,
    PS_FORECAST_FAR = 64, /* samples: the farthest step is below this */
    PS_FORECAST_ERRORS = 256,
    PS_FORECAST_OTHERS = PS_REGRESS_INPUTS - 5
};

struct ps_forecast_opts {
    unsigned step[PS_FORECAST_STEPS]; /* ascending samples ahead, 1 to PS_FORECAST_FAR - 1 */
    size_t steps;
    double unit;    /* a usual size of the series, such as its limit; over 0 */
    size_t others;  /* inputs that come with each sample, at most PS_FORECAST_OTHERS */
    bool expects;   /* a path comes with each sample: no trend of our own before we know better */
    double *season; /* memory for one season of values, or NULL; borrowed as long as the forecast
                       lives */
    size_t season_length; /* samples */
};

/* What was known and said at one time. */
struct ps_forecast_view {
    double inputs[PS_REGRESS_INPUTS];
    double base[PS_FORECAST_STEPS]; /* the caller's path, or the value */
    double trend[PS_FORECAST_STEPS], season[PS_FORECAST_STEPS], mean[PS_FORECAST_STEPS];
};

struct ps_forecast {
    struct ps_forecast_opts opts;
    struct ps_regress regress;
    double value[PS_FORECAST_FAR]; /* rings, by sample number */
    struct ps_forecast_view view[PS_FORECAST_FAR];
    size_t samples; /* in a row, without a gap */
    size_t total;
    double mean; /* slow */
    double season_filled;
    double trend_error[PS_FORECAST_STEPS], season_error[PS_FORECAST_STEPS]; /* recent, absolute */
    double low[PS_FORECAST_STEPS], high[PS_FORECAST_STEPS]; /* what is added to the mean */
    float error[PS_FORECAST_STEPS][PS_FORECAST_ERRORS];     /* rings */
    size_t errors;
};

void ps_forecast_init(struct ps_forecast *forecast, const struct ps_forecast_opts *opts);

/* Takes the next value, with the other inputs (in units of about 1) and the path that is expected
 * at the steps (NULL: none). A value that is not finite is a gap: nothing is learned across it. */
void ps_forecast_push(struct ps_forecast *forecast, double value, const double *others,
                      const double *path);

struct ps_forecast_point {
    double mean;
    double low, high; /* four of five future values lie between them */
};

/* What is said of the step; all NAN before the first value. */
struct ps_forecast_point ps_forecast_at(const struct ps_forecast *forecast, size_t step);

/* The chance that the series is above the limit at one of the first `steps` steps: how many of the
 * errors that were made would bring it there. NAN before 30 errors are known. */
double ps_forecast_chance(const struct ps_forecast *forecast, double limit, size_t steps);

/* Samples until the mean path meets the limit: 0 when the value is there, INFINITY when it does not
 * within the steps. With `low`, the early end of the interval's path instead of the mean. */
double ps_forecast_until(const struct ps_forecast *forecast, double limit, bool early);

/* The latest inputs of the regression, for whoever learns from the same: at least
 * PS_REGRESS_INPUTS, the rest 0. NULL before the first value. */
const struct ps_forecast_view *ps_forecast_view(const struct ps_forecast *forecast);

#endif
