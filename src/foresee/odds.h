/* odds - a probability that is learned from what came true, and that knows whether it is any good.
 *
 * Logistic regression, one sample at a time, with the uncertainty of the weights kept (a Laplace
 * approximation updated as an extended Kalman filter does): few samples move it, many don't. The
 * outcome of a prediction is known only later, so the caller keeps it until then.
 *
 *      odds_say(inputs) -> p        ... horizon passes ...        odds_learn(inputs, p, came true?)
 *
 * Behind it two calibrated checks over the last day, kept by the hour: Brier's score against always
 * saying how often it happens (skill; not above 0 means that the probability says nothing, and it
 * should not be shown), and how far each band of probabilities is from what came true.
 *
 * Thread: owned by one thread. Nothing is allocated.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_FORESEE_ODDS_H
#define PS_FORESEE_ODDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"

enum { PS_ODDS_INPUTS = 16, PS_ODDS_HOURS = 24, PS_ODDS_BANDS = 10 };

/* What came true within an hour. */
struct ps_odds_hour {
    ps_time hour; /* number of the hour; -1: unused */
    double count, happened;
    double error; /* sum of (p - came true)^2 */
    double said[PS_ODDS_BANDS], came[PS_ODDS_BANDS], seen[PS_ODDS_BANDS];
};

struct ps_odds {
    size_t inputs;
    double doubt;   /* added to what is not known of the weights, each sample */
    double overlap; /* how many samples in a row share an outcome */
    double weight[PS_ODDS_INPUTS];
    double spread[PS_ODDS_INPUTS][PS_ODDS_INPUTS];
    struct ps_odds_hour hour[PS_ODDS_HOURS];
};

/* `start` are the weights to begin with, `sure` how firmly (1: hardly; 100: as a hundred samples);
 * `overlap` is the horizon in samples: neighbours that look at nearly the same future are not as
 * many facts. */
void ps_odds_init(struct ps_odds *odds, const double *start, size_t inputs, double sure,
                  double overlap);

/* The probability, in (0, 1), and with `low` and `high` not NULL the interval that holds it four
 * times out of five as far as the weights are known. */
double ps_odds_say(const struct ps_odds *odds, const double *inputs, double *low, double *high);

/* What was said has come true, or not. */
void ps_odds_learn(struct ps_odds *odds, ps_time now, const double *inputs, double said, bool came);

struct ps_odds_check {
    double samples; /* within the last day */
    double rate;    /* how often it happened */
    double
        skill; /* 1 - Brier's score / that of saying the rate; NAN until both outcomes were seen */
    double worst;    /* largest distance of a band (with 5 % of the samples) from what came true */
    double mean_gap; /* mean distance over all samples */
};

struct ps_odds_check ps_odds_check(const struct ps_odds *odds, ps_time now);

#endif
