/* odds - see odds.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "foresee/odds.h"

#include <math.h>
#include <string.h>

#include "base/check.h"

#define FARTHEST 20.0 /* log-odds: beyond that a double says 1 */
#define LEAST_NEWS \
    0.02 /* p (1 - p) is not believed to be below: a surprise must be able to teach */
#define FOUR_OF_FIVE 1.2816
#define BAND_COUNTS  0.05 /* share of the samples that a band needs */
#define DRIFT        3e-6

void ps_odds_init(struct ps_odds *odds, const double *start, size_t inputs, double sure,
                  double overlap)
{
    PS_CHECK(inputs > 0 && inputs <= PS_ODDS_INPUTS && sure > 0 && overlap >= 1);
    memset(odds, 0, sizeof *odds);
    odds->inputs = inputs;
    odds->overlap = overlap;
    odds->doubt = DRIFT;
    for (size_t i = 0; i < inputs; i++) {
        odds->weight[i] = start[i];
        odds->spread[i][i] = 1 / sure;
    }
    for (size_t i = 0; i < PS_ODDS_HOURS; i++) {
        odds->hour[i].hour = -1;
    }
}

static double probability(double log_odds)
{
    return 1 / (1 + exp(-fmin(fmax(log_odds, -FARTHEST), FARTHEST)));
}

static double sum_of(const struct ps_odds *odds, const double *inputs)
{
    double sum = 0;
    for (size_t i = 0; i < odds->inputs; i++) {
        sum += odds->weight[i] * inputs[i];
    }
    return sum;
}

/* spread * inputs, and inputs * spread * inputs. By rows, whole ones, because that is several at a time to a processor; the
 * spread is its own mirror image, and beyond the inputs it is 0. */
static double look_along(const struct ps_odds *odds, const double *inputs, double *restrict along)
{
    double total = 0;
    memset(along, 0, PS_ODDS_INPUTS * sizeof *along);
    for (size_t j = 0; j < odds->inputs; j++) {
        double input = inputs[j];
        for (size_t i = 0; i < PS_ODDS_INPUTS; i++) {
            along[i] += odds->spread[j][i] * input;
        }
    }
    for (size_t i = 0; i < odds->inputs; i++) {
        total += along[i] * inputs[i];
    }
    return total;
}

/* Takes along * along' / total from the spread. */
static void narrow(struct ps_odds *odds, const double *along, double total)
{
    double part[PS_ODDS_INPUTS];
    double scale = 1 / sqrt(total);
    for (size_t i = 0; i < PS_ODDS_INPUTS; i++) {
        part[i] = along[i] * scale;
    }
    for (size_t i = 0; i < odds->inputs; i++) {
        for (size_t j = 0; j < PS_ODDS_INPUTS; j++) {
            odds->spread[i][j] -= part[i] * part[j];
        }
        odds->spread[i][i] += odds->doubt;
    }
}

double ps_odds_say(const struct ps_odds *odds, const double *inputs, double *low, double *high)
{
    double sum = sum_of(odds, inputs);
    if (low != NULL && high != NULL) {
        double along[PS_ODDS_INPUTS];
        double wide = FOUR_OF_FIVE * sqrt(fmax(look_along(odds, inputs, along), 0));
        *low = probability(sum - wide);
        *high = probability(sum + wide);
    }
    return probability(sum);
}

/* A sample is worth p (1 - p) / overlap of a full one. */
static void follow(struct ps_odds *odds, const double *inputs, double error, double p)
{
    double along[PS_ODDS_INPUTS];
    double news = fmax(p * (1 - p), LEAST_NEWS);
    double total = look_along(odds, inputs, along) + odds->overlap / news;
    for (size_t i = 0; i < odds->inputs; i++) {
        odds->weight[i] += along[i] * error / (news * total);
    }
    narrow(odds, along, total);
}

static struct ps_odds_hour *hour_of(struct ps_odds *odds, ps_time now)
{
    ps_time number = now / PS_HOUR;
    struct ps_odds_hour *hour = &odds->hour[(size_t)(number % PS_ODDS_HOURS)];
    if (hour->hour != number) {
        *hour = (struct ps_odds_hour){.hour = number};
    }
    return hour;
}

void ps_odds_learn(struct ps_odds *odds, ps_time now, const double *inputs, double said, bool came)
{
    struct ps_odds_hour *hour = hour_of(odds, now);
    double truth = came ? 1 : 0;
    size_t band = (size_t)fmin(said * PS_ODDS_BANDS, PS_ODDS_BANDS - 1);
    hour->count++;
    hour->happened += truth;
    hour->error += (said - truth) * (said - truth);
    hour->said[band] += said;
    hour->came[band] += truth;
    hour->seen[band]++;
    double p = ps_odds_say(odds, inputs, NULL, NULL);
    follow(odds, inputs, truth - p, p);
}

static void add_hour(struct ps_odds_hour *sum, const struct ps_odds_hour *hour)
{
    sum->count += hour->count;
    sum->happened += hour->happened;
    sum->error += hour->error;
    for (size_t i = 0; i < PS_ODDS_BANDS; i++) {
        sum->said[i] += hour->said[i];
        sum->came[i] += hour->came[i];
        sum->seen[i] += hour->seen[i];
    }
}

static void check_bands(const struct ps_odds_hour *sum, struct ps_odds_check *check)
{
    double gaps = 0;
    for (size_t i = 0; i < PS_ODDS_BANDS; i++) {
        if (sum->seen[i] == 0) {
            continue;
        }
        double gap = fabs(sum->said[i] - sum->came[i]) / sum->seen[i];
        gaps += gap * sum->seen[i];
        if (sum->seen[i] >= BAND_COUNTS * sum->count) {
            check->worst = fmax(check->worst, gap);
        }
    }
    check->mean_gap = gaps / sum->count;
}

struct ps_odds_check ps_odds_check(const struct ps_odds *odds, ps_time now)
{
    struct ps_odds_hour sum = {.hour = 0};
    for (size_t i = 0; i < PS_ODDS_HOURS; i++) {
        const struct ps_odds_hour *hour = &odds->hour[i];
        if (hour->hour >= 0 && now / PS_HOUR - hour->hour < PS_ODDS_HOURS) {
            add_hour(&sum, hour);
        }
    }
    struct ps_odds_check check = {.samples = sum.count, .skill = NAN};
    if (sum.count == 0) {
        return check;
    }
    check.rate = sum.happened / sum.count;
    double naive = sum.count * check.rate * (1 - check.rate);
    check.skill = naive > 0 ? 1 - sum.error / naive : NAN;
    check_bands(&sum, &check);
    return check;
}
