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

#define LIKELY     1.5  /* standard deviations */
#define LEFT       1.02 /* of the best that is known: less is not worth a try */
#define SURE       6.0  /* calls of a size: it is known */
#define HARDLY     1.03
#define GIVEN_UP   0.6 /* of the best rate */
#define SUSPICIOUS 3.0 /* standard deviations */
#define WORTH      1.1
#define ROOM       1.1
#define TRUSTED    3.0  /* calls of a size before it ends the search for larger ones */
#define MEASURED   32.0 /* samples of memory */
#define SETTLED    24.0 /* calls in all, where time is the limit: the tail is learned from them */

/* The sizes that may be tried: their memory is known to fit. Where only 1 was seen, and there is
 * room above, 2 is tried: somebody has to begin. */
static size_t safe_most(const struct ps_batch_model *model, const struct ps_batch_goal *goal)
{
    size_t most =
        goal->most == 0 || goal->most > PS_BATCH_MODEL_MOST ? PS_BATCH_MODEL_MOST : goal->most;
    if (!isfinite(goal->memory)) {
        return most;
    }
    const struct ps_memory_model *memory = &model->memory;
    if (memory->largest == 0) {
        return 1;
    }
    size_t fits = ps_memory_model_fit(memory, goal->memory, most);
    bool alone = memory->smallest == 1 && memory->largest == 1;
    bool begin = alone && most > 1 && ROOM * memory->largest_bytes < goal->memory;
    return fits > 1 ? fits : begin ? 2 : 1;
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
    return n < 8 ||
           (rate > HARDLY * rate_at(model, n / 4) && rate > GIVEN_UP * best_rate(model, n));
}

/* Twice the largest. Whoever seems to be the last may only have been slow by chance: it is asked
 * again before it is believed. */
static size_t next_larger(const struct ps_batch_model *model, const struct ps_batch_goal *goal,
                          size_t most)
{
    size_t largest = model->largest;
    size_t next = 2 * largest < most ? 2 * largest : most;
    if (largest >= most) {
        return 0;
    }
    if (is_late(model, goal, largest) || !gains(model)) {
        return model->cell[largest].count < TRUSTED ? largest : 0;
    }
    size_t timely = timely_most(model, goal, next);
    bool narrow = next < 2 * largest || timely < next;
    next = timely < next ? timely : next;
    return narrow && (double)next < WORTH * (double)largest ? 0 : next;
}

/* Memory stands in the way, and little is known of it: the largest that fits tells more. */
static size_t next_filling(const struct ps_batch_model *model, const struct ps_batch_goal *goal,
                           size_t most)
{
    size_t wanted =
        goal->most == 0 || goal->most > PS_BATCH_MODEL_MOST ? PS_BATCH_MODEL_MOST : goal->most;
    size_t next = 2 * model->largest < most ? 2 * model->largest : most;
    bool narrow = isfinite(goal->memory) && most < wanted && next == most;
    return narrow && model->memory.samples < MEASURED && !is_late(model, goal, next) && gains(model)
               ? next
               : 0;
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
        double slow = exp((double)model->doubt[n]);
        if (is_seen(model, n) &&
            goal->turns * model->tail * seconds_at(model, n) * slow <= goal->p95) {
            best = fmax(best, rate_at(model, n) / slow);
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

/* Enough of everything? Otherwise what is the best by now, once more. */
static size_t next_to_settle(struct ps_batch_model *model, const struct ps_batch_goal *goal)
{
    struct ps_batch_advice advice = ps_batch_model_advise(model, goal);
    if (advice.size == 0) {
        return model->largest;
    }
    bool by_time = advice.limit == PS_BATCH_BY_LATENCY && model->samples < SETTLED;
    return by_time || (double)model->cell[advice.size].count < TRUSTED ? advice.size : 0;
}

size_t ps_batch_model_next(struct ps_batch_model *model, const struct ps_batch_goal *goal)
{
    if (!is_seen(model, 1)) {
        return 1;
    }
    ps_batch_model_refresh(model);
    size_t most = safe_most(model, goal);
    size_t reach = 2 * model->largest < most ? 2 * model->largest : most;
    size_t next = next_larger(model, goal, most);
    next = next != 0 ? next : next_filling(model, goal, most);
    next = next != 0 ? next : next_between(model);
    next = next != 0 ? next : next_suspicious(model);
    next = next != 0 ? next : next_promising(model, goal, reach);
    next = next != 0 ? next : next_to_settle(model, goal);
    return next <= most ? next : most;
}
