/* cleanup - see cleanup.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "foresee/cleanup.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/check.h"

#define FAR_OFF       6.0 /* log-odds beyond which a chance says no more */
#define FARTHEST      8.0
#define LEAST_PROOF   120.0 /* samples with an outcome before odds are shown */
#define MOST_LOSS     4.0
/* Of the first mind, as long as nothing speaks against it; it knows nothing of what isn't an event.
 */
#define LEAD          2.0
#define LAG           (-6.0)
#define CHECK_EVERY   32u
#define EVIDENCE      0.5 /* above the threshold, summed up, before something is needed */
#define CALM          0.4 /* odds of trouble within the horizon ... */
#define CALM_FOR      2u  /* ... below which nothing is needed any more, for so many samples */
#define MOST_EVIDENCE 2.0
#define MEMORY        0.995 /* of how well each of the two did, a sample */
#define STAYS         10u   /* samples after trouble during which it is still there */

enum input {
    ONE,
    CHANCE, /* log-odds by the paths of past errors */
    ROOM,   /* what is left now, and on the path */
    ROOM_MIDDLE,
    ROOM_END,
    ROOM_LEAST,
    RUSH, /* arrivals of the last two samples beyond the last thirty */
    RISE,
    CLIMB,
    ARRIVALS,
    NEARNESS, /* of the time at which the path meets the limit */
    QUEUED,
    OVER,  /* how far the flow's path gets beyond the limit within the horizon ... */
    UNDER, /* ... or stays below it, each about 0 on the other side */
    SOON_OVER,
    SOON_UNDER,
    INPUTS
};

enum span { FAR, SOON };

static_assert((int)INPUTS <= (int)PS_ODDS_INPUTS, "the odds have a place for each input");

/* Two that learn: one that expects what simulated servers under load do, fitted to
 * tests/helpers/strain.h, and one that expects next to nothing. Who was right of late is believed.
 */
static const double start[PS_CLEANUP_SPANS][PS_CLEANUP_MINDS][INPUTS] = {
    [FAR] = {{3.00, 0.19, 0.44, 1.25, -0.40, 0.57, 3.08, 3.74, -0.89, -7.46, -0.31, -0.01},
             {[ONE] = -0.5, [CHANCE] = 0.6, [NEARNESS] = 0.5}},
    [SOON] = {{3.00, 0.19, 0.44, 1.25, -0.40, 0.57, 3.08, 3.74, -0.89, -7.46, -0.31, -0.01},
              {[ONE] = -1.5, [CHANCE] = 0.6, [NEARNESS] = 0.5}},
};
static const double sure[PS_CLEANUP_MINDS] = {30, 1};         /* as so many samples */
static const size_t takes[PS_CLEANUP_MINDS] = {INPUTS, OVER}; /* who knows little learns less */

struct ps_cleanup_opts ps_cleanup_opts_usual(void)
{
    return (struct ps_cleanup_opts){.step = {2, 5, 10, 20, 30, 45, 60},
                                    .steps = 7,
                                    .horizon = 7,
                                    .soon = 4,
                                    .threshold = 0.35,
                                    .exact = true};
}

static size_t span_of(const struct ps_cleanup *cleanup, unsigned span)
{
    const struct ps_cleanup_opts *opts = &cleanup->opts;
    return opts->step[(span == FAR ? opts->horizon : opts->soon) - 1];
}

void ps_cleanup_init(struct ps_cleanup *cleanup, const struct ps_cleanup_opts *opts)
{
    PS_CHECK(opts->soon > 0 && opts->soon <= opts->horizon && opts->horizon <= opts->steps);
    memset(cleanup, 0, sizeof *cleanup);
    cleanup->opts = *opts;
    struct ps_forecast_opts forecast = {
        .steps = opts->steps, .unit = 1, .others = PS_FLOW_SPEEDS + 1, .expects = true};
    memcpy(forecast.step, opts->step, sizeof forecast.step);
    ps_flow_init(&cleanup->flow);
    ps_forecast_init(&cleanup->forecast, &forecast);
    for (size_t i = 0; i < PS_CLEANUP_MINDS; i++) {
        for (unsigned k = 0; k < PS_CLEANUP_SPANS; k++) {
            ps_odds_init(&cleanup->odds[k][i], start[k][i], takes[i], sure[i],
                         (double)span_of(cleanup, k));
        }
    }
    cleanup->check.skill = NAN;
}

/* ---------------------------------------------------------------- what is seen */

static double log_odds(double chance)
{
    return isnan(chance) ? -2 : fmin(fmax(log(chance / (1 - chance)), -FAR_OFF), FAR_OFF);
}

/* x where it is far over 0, 0 where it is far under, and smooth between. */
static double above(double x)
{
    return x > 30 ? x : log1p(exp(x));
}

static void fill_reach(const double *path, size_t steps, double demand, double sharp, double *over,
                       double *under)
{
    double most = demand;
    for (size_t i = 0; i < steps; i++) {
        most = fmax(most, path[i]);
    }
    double beyond = fmin(fmax(sharp * (most - 1), -FARTHEST), FARTHEST);
    *over = above(beyond);
    *under = above(-beyond);
}

static void fill_inputs(const struct ps_cleanup *cleanup, double demand, double queued,
                        const double *path, double *inputs)
{
    const struct ps_forecast *forecast = &cleanup->forecast;
    const struct ps_forecast_view *view = ps_forecast_view(forecast);
    const double *rate = cleanup->flow.rate;
    size_t horizon = cleanup->opts.horizon;
    double most = demand;
    for (size_t i = 0; i < horizon; i++) {
        most = fmax(most, view->mean[i]);
    }
    double span = cleanup->opts.step[horizon - 1];
    double until = ps_forecast_until(forecast, 1, false);
    memset(inputs, 0, PS_ODDS_INPUTS * sizeof *inputs);
    inputs[ONE] = 1;
    inputs[CHANCE] = log_odds(ps_forecast_chance(forecast, 1, horizon));
    inputs[ROOM] = 10 * (demand - 1);
    inputs[ROOM_MIDDLE] = 10 * (view->mean[horizon / 2] - 1);
    inputs[ROOM_END] = 10 * (view->mean[horizon - 1] - 1);
    inputs[ROOM_LEAST] = 10 * (most - 1);
    inputs[RUSH] = 10 * (rate[0] - rate[2]);
    inputs[RISE] = 10 * (rate[1] - rate[2]);
    inputs[CLIMB] = 10 * (rate[2] - rate[3]);
    inputs[ARRIVALS] = 10 * rate[3];
    inputs[NEARNESS] = isinf(until) ? -1 : fmax(1 - until / span, -1);
    inputs[QUEUED] = fmin(10 * queued, 3);
    fill_reach(path, horizon, demand, 40, &inputs[OVER], &inputs[UNDER]);
    fill_reach(path, cleanup->opts.soon, demand, 60, &inputs[SOON_OVER], &inputs[SOON_UNDER]);
}

/* ---------------------------------------------------------------- what came true */

static bool was_trouble(const struct ps_cleanup *cleanup, size_t from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (cleanup->trouble[(from + i) % PS_FORECAST_FAR]) {
            return true;
        }
    }
    return false;
}

/* How far each mind was from what came true, in the logarithm; a horizon of samples is one proof.
 */
static void judge(struct ps_cleanup *cleanup, enum span span, const double *said, bool came)
{
    double *loss = cleanup->loss[span];
    for (size_t i = 0; i < PS_CLEANUP_MINDS; i++) {
        double one = -log(came ? said[i] : 1 - said[i]);
        loss[i] = loss[i] * MEMORY + fmin(one, MOST_LOSS) / (double)span_of(cleanup, span);
    }
}

/* What was said a span ago is known to be right or wrong now. */
static void settle(struct ps_cleanup *cleanup, ps_time now, enum span span)
{
    size_t length = span_of(cleanup, span);
    if (cleanup->samples <= length) {
        return;
    }
    size_t then = cleanup->samples - 1 - length;
    const struct ps_cleanup_bet *bet = &cleanup->bet[then % PS_FORECAST_FAR];
    if (bet->counts) {
        bool came = was_trouble(cleanup, then + 1, length);
        judge(cleanup, span, bet->each[span], came);
        for (size_t i = 0; i < PS_CLEANUP_MINDS; i++) {
            ps_odds_learn(&cleanup->odds[span][i], now, bet->inputs, bet->said[span], came);
        }
    }
}

static void check(struct ps_cleanup *cleanup, ps_time now)
{
    if (cleanup->checked++ % CHECK_EVERY == 0) {
        cleanup->check = ps_odds_check(&cleanup->odds[FAR][0], now);
    }
}

/* ---------------------------------------------------------------- what is said */

static bool is_in_trouble(const struct ps_cleanup *cleanup)
{
    return cleanup->last_trouble != 0 && cleanup->samples - cleanup->last_trouble < STAYS;
}

/* Adds up by how much the odds are beyond the threshold: certainty is believed in a sample or two,
 * a doubt has to last. It stays needed until the whole horizon has been clear for a while. */
static void decide(struct ps_cleanup *cleanup, const double *said)
{
    bool trouble = is_in_trouble(cleanup);
    double says = trouble ? 1 : said[SOON];
    cleanup->evidence =
        fmin(fmax(cleanup->evidence + says - cleanup->opts.threshold, 0), MOST_EVIDENCE);
    cleanup->calm = !trouble && said[FAR] < CALM ? cleanup->calm + 1 : 0;
    if (cleanup->evidence >= EVIDENCE) {
        cleanup->needed = true;
    } else if (cleanup->evidence <= 0 && cleanup->calm >= CALM_FOR) {
        cleanup->needed = false;
    }
}

static bool has_skill(const struct ps_odds_check *check)
{
    return check->samples >= LEAST_PROOF && !isnan(check->skill) && check->skill > 0;
}

static struct ps_cleanup_answer answer(const struct ps_cleanup *cleanup,
                                       const struct ps_cleanup_bet *bet)
{
    struct ps_cleanup_answer answer = {
        .needed = cleanup->needed,
        .basis = is_in_trouble(cleanup) ? PS_CLEANUP_BY_LEVEL : PS_CLEANUP_BY_FORECAST,
        .probability = NAN,
        .low = NAN,
        .high = NAN,
        .until = cleanup->until,
        .skill = cleanup->check.skill,
    };
    if (has_skill(&cleanup->check)) {
        const double *loss = cleanup->loss[FAR];
        const struct ps_odds *best = &cleanup->odds[FAR][loss[0] <= loss[1] ? 0 : 1];
        (void)ps_odds_say(best, bet->inputs, &answer.low, &answer.high);
        answer.probability = bet->said[FAR];
        answer.low = fmin(answer.low, answer.probability);
        answer.high = fmax(answer.high, answer.probability);
    }
    return answer;
}

/* Demand at the steps as the flow sees it, in shares of the limit; and the rates that the
 * regression may want. */
static void look_at_flow(struct ps_cleanup *cleanup, const struct ps_cleanup_sample *sample,
                         double demand, double *path, double *others)
{
    struct ps_flow *flow = &cleanup->flow;
    double known[PS_FORECAST_STEPS];
    double own = isnan(sample->flight) ? demand : sample->flight / sample->limit;
    ps_flow_push(flow, own, demand - own, sample->arrived / sample->limit);
    for (size_t i = 0; sample->known != NULL && i < cleanup->opts.steps; i++) {
        known[i] = sample->known[i] / sample->limit;
    }
    ps_flow_path(flow, cleanup->opts.step, cleanup->opts.steps,
                 sample->known != NULL ? known : NULL, path);
    double factor = ps_flow_factor(flow);
    for (size_t i = 0; i < PS_FLOW_SPEEDS; i++) {
        others[i] = flow->rate[i] * factor;
    }
    others[PS_FLOW_SPEEDS] = flow->steady * factor;
}

/* Samples until the path meets the limit. */
static double meets(const struct ps_cleanup *cleanup, double demand, const double *path)
{
    double at = 0;
    double from = demand;
    for (size_t i = 0; from < 1 && i < cleanup->opts.steps; i++) {
        double step = (double)cleanup->opts.step[i];
        if (path[i] >= 1) {
            return at + (step - at) * (1 - from) / (path[i] - from);
        }
        at = step;
        from = path[i];
    }
    return from >= 1 ? at : INFINITY;
}

static void note(struct ps_cleanup *cleanup, ps_time now, bool trouble)
{
    size_t number = cleanup->samples++;
    cleanup->trouble[number % PS_FORECAST_FAR] = trouble;
    cleanup->last_trouble = trouble ? cleanup->samples : cleanup->last_trouble;
    settle(cleanup, now, FAR);
    settle(cleanup, now, SOON);
    check(cleanup, now);
}

/* What both minds say, weighted by how right they were. */
static double weigh(const struct ps_cleanup *cleanup, enum span span, struct ps_cleanup_bet *bet)
{
    const double *loss = cleanup->loss[span];
    double lead = cleanup->opts.exact ? LEAD : LAG;
    double first = 1 / (1 + exp(fmin(loss[0] - loss[1] - lead, 50)));
    for (size_t i = 0; i < PS_CLEANUP_MINDS; i++) {
        bet->each[span][i] = ps_odds_say(&cleanup->odds[span][i], bet->inputs, NULL, NULL);
    }
    return first * bet->each[span][0] + (1 - first) * bet->each[span][1];
}

struct ps_cleanup_answer ps_cleanup_push(struct ps_cleanup *cleanup, ps_time now,
                                         const struct ps_cleanup_sample *sample)
{
    double path[PS_FORECAST_STEPS];
    double others[PS_FORECAST_OTHERS] = {0};
    double demand = (sample->held + sample->queued) / sample->limit;
    if (!isfinite(demand)) {
        ps_forecast_push(&cleanup->forecast, NAN, others, NULL);
        return cleanup->answer;
    }
    look_at_flow(cleanup, sample, demand, path, others);
    ps_forecast_push(&cleanup->forecast, demand, others, path);
    cleanup->until = meets(cleanup, demand, path);
    bool trouble = cleanup->opts.exact ? sample->event : sample->event || demand > 1;
    note(cleanup, now, trouble);
    struct ps_cleanup_bet *bet = &cleanup->bet[(cleanup->samples - 1) % PS_FORECAST_FAR];
    fill_inputs(cleanup, demand, sample->queued / sample->limit, path, bet->inputs);
    bet->said[FAR] = weigh(cleanup, FAR, bet);
    bet->said[SOON] = weigh(cleanup, SOON, bet);
    bet->counts = !trouble;
    decide(cleanup, bet->said);
    cleanup->answer = answer(cleanup, bet);
    return cleanup->answer;
}

double ps_cleanup_raw(const struct ps_cleanup *cleanup)
{
    return cleanup->samples == 0 ? NAN
                                 : cleanup->bet[(cleanup->samples - 1) % PS_FORECAST_FAR].said[FAR];
}
