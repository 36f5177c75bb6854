/* batch_search - which size is worth a try.
 *
 *      1, 2, 4, ...       as long as it gains, fits, and is in time; the last step only as far as
 *                         it may
 *      between            one size above half the largest and one above three quarters: they tell
 *                         padding from a straight line
 *      what looks wrong   a size that is far from the curve and was seen once or twice
 *      what may be best   the largest rate that is still likely; when even that is hardly above
 *                         what is known, there is nothing to look for
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "gpu/batch_model.h"

#define LIKELY      1.5  /* standard deviations */
#define LEFT        1.02 /* of the best that is known: less is not worth a try */
#define SURE        6.0  /* calls of a size: it is known */
#define HARDLY      1.03
#define GIVEN_UP    0.6 /* of the best rate */
#define SUSPICIOUS  3.0 /* standard deviations */
#define WORTH       1.1

/* The sizes that may be tried: their memory is known to fit. */
static size_t safe_most(const struct ps_batch_model *model, const struct ps_batch_goal *goal)
{
    size_t most = goal->most == 0 || goal->most > PS_BATCH_MODEL_MOST ? PS_BATCH_MODEL_MOST
                                                                       : goal->most;
    if (!isfinite(goal->memory)) {
        return most;
    }
    return model->memory.samples == 0 ? 1 : ps_memory_model_fit(&model->memory, goal->memory, most);
}

static bool is_seen(const struct ps_batch_model *model, size_t n)
{
    return model->cell[n].count > 0;
}

static double seconds_at(const struct ps_batch_model *model, size_t n)
{
    return exp((double)model->log[n]);
}

static double rate_at(const struct ps_batch_model *model, size_t n)
{
    return (double)n / seconds_at(model, n);
}

static bool is_late(const struct ps_batch_model *model, const struct ps_batch_goal *goal, size_t n)
{
    return goal->turns * model->tail * seconds_at(model, n) > goal->p95;
}

/* The largest size that is expected to be in time. */
static size_t timely_most(const struct ps_batch_model *model, const struct ps_batch_goal *goal,
                          size_t most)
{
    while (most > 1 && is_late(model, goal, most)) {
        most--;
    }
    return most;
}

static double best_rate(const struct ps_batch_model *model, size_t most)
{
    double best = 0;
    for (size_t n = 1; n <= most; n++) {
        best = is_seen(model, n) ? fmax(best, rate_at(model, n)) : best;
    }
    return best;
}

/* Does it still gain with size? */
static bool gains(const struct ps_batch_model *model)
{
    size_t n = model->largest;
    double rate = rate_at(model, n);
    return n < 8 || (rate > HARDLY * rate_at(model, n / 4) &&
                     rate > GIVEN_UP * best_rate(model, n));
}

static size_t next_larger(const struct ps_batch_model *model, const struct ps_batch_goal *goal,
                          size_t most)
{
    size_t largest = model->largest;
    size_t next = 2 * largest < most ? 2 * largest : most;
    if (next <= largest || is_late(model, goal, largest) || !gains(model)) {
        return 0;
    }
    size_t timely = timely_most(model, goal, next);
    bool narrow = next < 2 * largest || timely < next;
    next = timely < next ? timely : next;
    return narrow && (double)next < WORTH * (double)largest ? 0 : next;
}

static size_t next_between(const struct ps_batch_model *model)
{
    size_t largest = model->largest;
    size_t above_half = largest / 2 + 1;
    size_t above_most = largest - largest / 4 + 1;
    if (largest >= 8 && !is_seen(model, above_half)) {
        return above_half;
    }
    return largest >= 16 && above_most < largest && !is_seen(model, above_most) ? above_most : 0;
}

/* Only where it would matter: what the curve says of it is near the best. */
static size_t next_suspicious(const struct ps_batch_model *model)
{
    double best = best_rate(model, model->largest);
    for (size_t n = model->largest; n > 0; n--) {
        double curve = ps_batch_fit_at(&model->fit, (double)n);
        double noise = hypot(model->spread, LIKELY * 0.02);
        double away = (double)model->cell[n].log - log(curve);
        if (is_seen(model, n) && model->cell[n].count < 3 && away > SUSPICIOUS * noise &&
            (double)n / curve > 0.7 * best) {
            return n;
        }
    }
    return 0;
}

static double likely_rate(const struct ps_batch_model *model, size_t n)
{
    return rate_at(model, n) * exp(LIKELY * (double)model->doubt[n]);
}

static double sure_rate(const struct ps_batch_model *model, const struct ps_batch_goal *goal,
                        size_t most)
{
    double best = 0;
    for (size_t n = 1; n <= most; n++) {
        if (is_seen(model, n) && !is_late(model, goal, n)) {
            best = fmax(best, rate_at(model, n) * exp(-(double)model->doubt[n]));
        }
    }
    return best;
}

/* What is likely at best, in time included. */
static size_t next_promising(const struct ps_batch_model *model, const struct ps_batch_goal *goal,
                             size_t most)
{
    size_t found = 0;
    double best = LEFT * sure_rate(model, goal, most);
    for (size_t n = 1; n <= most; n++) {
        double soonest = goal->turns * model->tail * seconds_at(model, n) *
                         exp(-LIKELY * (double)model->doubt[n]);
        if ((double)model->cell[n].count < SURE && soonest <= goal->p95 &&
            likely_rate(model, n) > best) {
            best = likely_rate(model, n);
            found = n;
        }
    }
    return found;
}

size_t ps_batch_model_next(struct ps_batch_model *model, const struct ps_batch_goal *goal)
{
    if (!is_seen(model, 1)) {
        return 1;
    }
    ps_batch_model_refresh(model);
    size_t most = safe_most(model, goal);
    size_t next = next_larger(model, goal, most);
    next = next != 0 ? next : next_between(model);
    next = next != 0 ? next : next_suspicious(model);
    size_t reach = 2 * model->largest < most ? 2 * model->largest : most;
    next = next != 0 ? next : next_promising(model, goal, reach);
    return next <= most ? next : 0;
}
