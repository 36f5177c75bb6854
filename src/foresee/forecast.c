/* forecast - see forecast.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "foresee/forecast.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/check.h"
#include "foresee/trend.h"

#define DAMPING     0.97 /* of the trend, before anything was learned */
#define FORGET      0.9995
#define DOUBT       1
#define FAST        10.0 /* samples: where the series was of late */
#define ERROR_SPEED 0.02
#define TAIL        0.1 /* on each side of the interval */
#define TAIL_SPEED  0.05
#define ENOUGH      30u
#define SHORT       20u
#define LONG        60u

enum input { ONE, VALUE, LATE, SLOPE_SHORT, SLOPE_LONG, OTHERS };

static_assert((int)OTHERS + (int)PS_FORECAST_OTHERS <= (int)PS_REGRESS_INPUTS,
              "each input has a place");

static size_t step_of(const struct ps_forecast *forecast, size_t i)
{
    return forecast->opts.step[i];
}

/* Samples ahead, as a damped trend counts them. */
static double damped(double steps)
{
    return DAMPING * (1 - pow(DAMPING, steps)) / (1 - DAMPING);
}

void ps_forecast_init(struct ps_forecast *forecast, const struct ps_forecast_opts *opts)
{
    PS_CHECK(opts->steps > 0 && opts->steps <= PS_FORECAST_STEPS && opts->unit > 0);
    memset(forecast, 0, sizeof *forecast);
    forecast->opts = *opts;
    ps_regress_init(&forecast->regress, OTHERS + opts->others, opts->steps, DOUBT, FORGET);
    PS_CHECK(opts->others <= PS_FORECAST_OTHERS);
    for (size_t i = 0; i < opts->steps; i++) {
        for (size_t k = 0; k < PS_FORECAST_ERRORS; k++) {
            forecast->error[i][k] = -INFINITY; /* none yet: it meets no limit */
        }
        PS_CHECK(opts->step[i] > (i > 0 ? opts->step[i - 1] : 0) &&
                 opts->step[i] < PS_FORECAST_FAR);
        forecast->regress.weight[i][SLOPE_LONG] = opts->expects ? 0 : damped(opts->step[i]) / LONG;
    }
}

static double value_ago(const struct ps_forecast *forecast, size_t ago)
{
    return forecast->value[(forecast->samples - 1 - ago) % PS_FORECAST_FAR];
}

/* ---------------------------------------------------------------- what is seen now */

/* Theil's incomplete slope: each value against the one half a window before. */
static double slope_over(const struct ps_forecast *forecast, size_t window)
{
    double slopes[LONG / 2];
    size_t span = forecast->samples < window ? forecast->samples : window;
    size_t half = span / 2;
    for (size_t i = 0; i < half; i++) {
        slopes[i] = (value_ago(forecast, i) - value_ago(forecast, i + half)) / (double)half;
    }
    return half < 3 ? 0 : ps_trend_median(slopes, half);
}

static void fill_inputs(const struct ps_forecast *forecast, const double *others, double *inputs)
{
    double unit = forecast->opts.unit;
    double value = value_ago(forecast, 0);
    memset(inputs, 0, PS_REGRESS_INPUTS * sizeof *inputs);
    inputs[ONE] = 1;
    inputs[VALUE] = value / unit;
    inputs[LATE] = (value - forecast->mean) / unit;
    inputs[SLOPE_SHORT] = slope_over(forecast, SHORT) * SHORT / unit;
    inputs[SLOPE_LONG] = slope_over(forecast, LONG) * LONG / unit;
    memcpy(&inputs[OTHERS], others, forecast->opts.others * sizeof *others);
}

/* ---------------------------------------------------------------- what is said */

static double season_says(const struct ps_forecast *forecast, size_t ahead, double value)
{
    size_t length = forecast->opts.season_length;
    if (forecast->opts.season == NULL || forecast->season_filled < (double)length) {
        return NAN;
    }
    const double *season = forecast->opts.season;
    size_t now = (forecast->total - 1) % length;
    return value + season[(now + ahead) % length] - season[now];
}

/* By the inverse square of the recent errors. */
static double blend(double trend, double season, double trend_error, double season_error)
{
    if (isnan(season)) {
        return trend;
    }
    double a = 1 / (trend_error * trend_error + 1e-12);
    double b = 1 / (season_error * season_error + 1e-12);
    return (a * trend + b * season) / (a + b);
}

static void look_ahead(struct ps_forecast *forecast, const double *others, const double *path)
{
    struct ps_forecast_view *view = &forecast->view[(forecast->samples - 1) % PS_FORECAST_FAR];
    double value = value_ago(forecast, 0);
    fill_inputs(forecast, others, view->inputs);
    for (size_t i = 0; i < forecast->opts.steps; i++) {
        view->base[i] = path != NULL ? path[i] : value;
        view->trend[i] = view->base[i] + ps_regress_predict(&forecast->regress, i, view->inputs) *
                                             forecast->opts.unit;
        view->season[i] = season_says(forecast, step_of(forecast, i), value);
        view->mean[i] = blend(view->trend[i], view->season[i], forecast->trend_error[i],
                              forecast->season_error[i]);
    }
}

/* ---------------------------------------------------------------- what is learned */

/* Quantile tracking: in the long run a tenth of the errors lie beyond each end. */
static void track(double *end, double error, double tail, double scale)
{
    double beyond = tail < 0.5 ? error < *end : error > *end;
    double step = TAIL_SPEED * scale;
    *end += tail < 0.5 ? step * (TAIL - beyond) : step * (beyond - TAIL);
}

static void learn_step(struct ps_forecast *forecast, size_t i, const struct ps_forecast_view *view,
                       double value, double *output)
{
    double error = value - view->mean[i];
    double speed = fmax(ERROR_SPEED, 1 / (double)(forecast->errors + 1));
    forecast->trend_error[i] += (fabs(value - view->trend[i]) - forecast->trend_error[i]) * speed;
    if (!isnan(view->season[i])) {
        forecast->season_error[i] +=
            (fabs(value - view->season[i]) - forecast->season_error[i]) * speed;
    }
    double scale = forecast->trend_error[i] + 1e-9 * forecast->opts.unit;
    track(&forecast->low[i], error, TAIL, scale);
    track(&forecast->high[i], error, 1 - TAIL, scale);
    forecast->error[i][forecast->errors % PS_FORECAST_ERRORS] =
        (float)(error / forecast->opts.unit);
    *output = (value - view->base[i]) / forecast->opts.unit;
}

/* What was said the farthest step ago is learned from as a whole. */
static void learn(struct ps_forecast *forecast)
{
    size_t far = step_of(forecast, forecast->opts.steps - 1);
    if (forecast->samples <= far) {
        return;
    }
    size_t then = forecast->samples - 1 - far;
    const struct ps_forecast_view *view = &forecast->view[then % PS_FORECAST_FAR];
    double outputs[PS_REGRESS_OUTPUTS];
    for (size_t i = 0; i < forecast->opts.steps; i++) {
        double value = forecast->value[(then + step_of(forecast, i)) % PS_FORECAST_FAR];
        learn_step(forecast, i, view, value, &outputs[i]);
    }
    forecast->errors++;
    ps_regress_learn(&forecast->regress, view->inputs, outputs);
}

static void keep_season(struct ps_forecast *forecast, double value)
{
    if (forecast->opts.season != NULL) {
        forecast->opts.season[(forecast->total - 1) % forecast->opts.season_length] = value;
        forecast->season_filled++;
    }
}

void ps_forecast_push(struct ps_forecast *forecast, double value, const double *others,
                      const double *path)
{
    forecast->total++;
    if (!isfinite(value)) {
        forecast->samples = 0;
        return;
    }
    forecast->value[forecast->samples++ % PS_FORECAST_FAR] = value;
    forecast->mean += (value - forecast->mean) / fmin(FAST, (double)forecast->samples);
    learn(forecast);
    look_ahead(forecast, others, path);
    keep_season(forecast, value);
}

/* ---------------------------------------------------------------- what is asked */

const struct ps_forecast_view *ps_forecast_view(const struct ps_forecast *forecast)
{
    return forecast->samples == 0 ? NULL
                                  : &forecast->view[(forecast->samples - 1) % PS_FORECAST_FAR];
}

struct ps_forecast_point ps_forecast_at(const struct ps_forecast *forecast, size_t step)
{
    const struct ps_forecast_view *view = ps_forecast_view(forecast);
    if (view == NULL || step >= forecast->opts.steps) {
        return (struct ps_forecast_point){NAN, NAN, NAN};
    }
    double mean = view->mean[step];
    return (struct ps_forecast_point){mean, mean + forecast->low[step],
                                      mean + forecast->high[step]};
}

double ps_forecast_chance(const struct ps_forecast *forecast, double limit, size_t steps)
{
    const struct ps_forecast_view *view = ps_forecast_view(forecast);
    size_t count = forecast->errors < PS_FORECAST_ERRORS ? forecast->errors : PS_FORECAST_ERRORS;
    if (view == NULL || count < ENOUGH) {
        return NAN;
    }
    unsigned meets[PS_FORECAST_ERRORS] = {0};
    for (size_t i = 0; i < steps; i++) {
        float room = (float)((limit - view->mean[i]) / forecast->opts.unit);
        for (size_t k = 0; k < PS_FORECAST_ERRORS;
             k++) { /* all of them: a loop of fixed length is a fast one */
            meets[k] |= forecast->error[i][k] > room;
        }
    }
    unsigned over = 0;
    for (size_t k = 0; k < PS_FORECAST_ERRORS; k++) {
        over += meets[k];
    }
    return ((double)over + 0.5) / ((double)count + 1);
}

double ps_forecast_until(const struct ps_forecast *forecast, double limit, bool early)
{
    const struct ps_forecast_view *view = ps_forecast_view(forecast);
    if (view == NULL) {
        return INFINITY;
    }
    double from = value_ago(forecast, 0);
    double at = 0;
    for (size_t i = 0; from < limit && i < forecast->opts.steps; i++) {
        double next = view->mean[i] + (early ? forecast->high[i] : 0);
        double step = (double)step_of(forecast, i);
        if (next >= limit) {
            return at + (step - at) * (limit - from) / (next - from);
        }
        from = next;
        at = step;
    }
    return from >= limit ? at : INFINITY;
}
