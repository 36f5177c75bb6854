/* flow - see flow.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "foresee/flow.h"

#include <math.h>
#include <string.h>

#include "foresee/trend.h"

#define LONG_RUN     1800.0 /* samples: how far back k looks */
#define FACTOR_AFTER 30.0
#define STEADY_MOST  300.0
#define CHANGE_Z     4.0
#define FIRST_LOOK   4u
#define LEAVES       0.7
#define DROP         0.5 /* of what it gained: then it starts anew */
#define LINE_AFTER   6u

static const double speed[PS_FLOW_SPEEDS] = {2, 8, 30, 120};

void ps_flow_init(struct ps_flow *flow)
{
    memset(flow, 0, sizeof *flow);
}

/* ---------------------------------------------------------------- the rate */

static double sum_of_recent(const struct ps_flow *flow, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += flow->recent[((size_t)flow->samples + PS_FLOW_RECENT - 1 - i) % PS_FLOW_RECENT];
    }
    return sum;
}

/* Do the last few samples differ from the rate by more than chance? Then the later half of them is
 * the new rate: the earlier half may still be the old one. */
static void look_for_change(struct ps_flow *flow, size_t count)
{
    double n = (double)count;
    double usual = flow->steady * n;
    double chance = sqrt(flow->variance * n * (1 + n / flow->since));
    if (flow->since > n && fabs(sum_of_recent(flow, count) - usual) > CHANGE_Z * chance) {
        flow->since = n / 2;
        flow->steady = sum_of_recent(flow, count / 2) / flow->since;
    }
}

static void follow_rate(struct ps_flow *flow, double arrived)
{
    for (size_t i = 0; i < PS_FLOW_SPEEDS; i++) {
        flow->rate[i] += (arrived - flow->rate[i]) * fmax(1 / speed[i], 1 / flow->samples);
    }
    double jump = arrived - flow->last;
    double usual = flow->samples > FACTOR_AFTER ? 16 * flow->variance
                                                : INFINITY; /* one burst is not a habit */
    double square = fmin(jump * jump / 2, usual);
    flow->variance += (square - flow->variance) * fmax(0.01, 1 / flow->samples);
    flow->last = arrived;
    flow->since++;
    flow->steady += (arrived - flow->steady) / fmin(flow->since, STEADY_MOST);
    look_for_change(flow, FIRST_LOOK);
    look_for_change(flow, PS_FLOW_RECENT);
}

/* ---------------------------------------------------------------- what nobody owns */

static double other_ago(const struct ps_flow *flow, size_t ago)
{
    return flow->other[(flow->others - 1 - ago) % PS_FLOW_LINE];
}

static double line(const struct ps_flow *flow)
{
    double slopes[PS_FLOW_LINE / 2];
    size_t count = flow->others < PS_FLOW_LINE ? flow->others : PS_FLOW_LINE;
    size_t half = count / 2;
    for (size_t i = 0; i < half; i++) {
        slopes[i] = (other_ago(flow, i) - other_ago(flow, i + half)) / (double)half;
    }
    return ps_trend_median(slopes, half) / 2;
}

static void follow_other(struct ps_flow *flow, double other)
{
    if ((size_t)flow->samples % 2 == 1) {
        flow->half = other;
        return;
    }
    double value = (flow->half + other) / 2;
    if (flow->others > LINE_AFTER) {
        double gained =
            flow->slope * 2 * (double)(flow->others < PS_FLOW_LINE ? flow->others : PS_FLOW_LINE);
        if (gained > 0 && value < other_ago(flow, 0) - DROP * gained) {
            flow->others = 0;
        }
    }
    flow->other[flow->others++ % PS_FLOW_LINE] = value;
    flow->slope = flow->others >= LINE_AFTER ? line(flow) : 0;
}

/* ---------------------------------------------------------------- outside */

void ps_flow_push(struct ps_flow *flow, double own, double other, double arrived)
{
    flow->samples++;
    flow->own = own;
    flow->recent[((size_t)flow->samples + PS_FLOW_RECENT - 1) % PS_FLOW_RECENT] = arrived;
    double gain = 1 / fmin(flow->samples, LONG_RUN);
    flow->own_mean += (own - flow->own_mean) * gain;
    flow->rate_mean += (arrived - flow->rate_mean) * gain;
    follow_rate(flow, arrived);
    follow_other(flow, other);
}

double ps_flow_factor(const struct ps_flow *flow)
{
    return flow->samples < FACTOR_AFTER || flow->rate_mean <= 0 ? 0
                                                                : flow->own_mean / flow->rate_mean;
}

void ps_flow_path(const struct ps_flow *flow, const unsigned *ahead, size_t count,
                  const double *known, double *out)
{
    double factor = ps_flow_factor(flow);
    double other = flow->others > 0 ? other_ago(flow, 0) : flow->half;
    for (size_t i = 0; i < count; i++) {
        double h = (double)ahead[i];
        double stays = factor > 0 ? exp(-h / (LEAVES * factor)) : 1;
        double own = known != NULL ? known[i] : flow->own * stays;
        out[i] = own + factor * flow->steady * (1 - stays) + other + flow->slope * h;
    }
}
