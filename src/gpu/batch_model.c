#include "gpu/batch_model.h"

#include <math.h>
#include <string.h>

#define HALF_LIFE     PS_HOUR
#define AGE_EVERY     PS_MINUTE
#define FORGOTTEN     0.25 /* calls: a size that counts less was not seen */
#define MOST_COUNTED  64.0 /* calls of a size: beyond that it follows changes */
#define CHANGED       4.0  /* spreads */
#define FIRST_SPREAD  0.03
#define FIRST_CALLS   1.0 /* as many as the first spread is worth */
#define LEAST_SPREAD  0.002
#define TERMS_LEARNED 2.0 /* calls that a curve takes to know */
#define STRAGGLES     6.0 /* times the median deviation: it says nothing of the others */
#define TELLING       3.0 /* calls of a size: it is as it is */
#define LEAST_MISFIT  0.005
#define MOST_MISFIT   0.7
#define BAND_LOW      (-1.386294361119891) /* log(0.25) */
#define BAND_WIDE     0.04
#define ENOUGH_TAIL   60.0 /* calls: the tail is counted; before that it is computed */
#define SIGMAS_P95    1.645
#define SIGMAS_MORE   13.0 /* for each straggler by call: 3 of 100 move the percentile to 2.04 */
#define MOST_STRAGGLE 0.045
#define AS_GOOD       0.99
#define BEYOND_SEEN   2
#define LOOKED_AT     4 /* times the largest that was seen: further on nothing is computed */

const char *const ps_batch_limit_names[] = {
    [PS_BATCH_BY_SAMPLES] = "samples",       [PS_BATCH_BY_THROUGHPUT] = "throughput",
    [PS_BATCH_BY_LATENCY] = "latency",       [PS_BATCH_BY_MEMORY] = "memory",
    [PS_BATCH_BY_CONFIGURED] = "configured", [PS_BATCH_BY_SEEN] = "seen",
};

void ps_batch_model_init(struct ps_batch_model *model)
{
    memset(model, 0, sizeof *model);
    model->aged = -1;
    model->spread = FIRST_SPREAD;
    ps_memory_model_init(&model->memory);
}

/* --- learning --------------------------------------------------------------------------------- */

static void age_cells(struct ps_batch_model *model, double kept)
{
    model->largest = 0;
    for (size_t n = 1; n <= PS_BATCH_MODEL_MOST; n++) {
        struct ps_batch_model_cell *cell = &model->cell[n];
        cell->count *= (float)kept;
        if (cell->count < FORGOTTEN) {
            cell->count = 0;
            cell->kept = 0;
        }
        model->largest = cell->count > 0 ? n : model->largest;
    }
}

static void age(struct ps_batch_model *model, ps_time now)
{
    if (model->aged < 0) {
        model->aged = now;
    }
    ps_span passed = now - model->aged;
    if (passed < AGE_EVERY) {
        return;
    }
    double kept = exp2(-(double)passed / (double)HALF_LIFE);
    model->aged = now;
    model->samples *= kept;
    model->banded *= kept;
    for (size_t i = 0; i < PS_BATCH_MODEL_BANDS; i++) {
        model->band[i] *= kept;
    }
    age_cells(model, kept);
}

static double median(const float *values, size_t count)
{
    float sorted[PS_BATCH_MODEL_RECENT] = {0};
    for (size_t i = 0; i < count; i++) {
        size_t at = i;
        for (; at > 0 && sorted[at - 1] > values[i]; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = values[i];
    }
    return 0.5 * (sorted[(count - 1) / 2] + sorted[count / 2]);
}

/* How far a call was from what is typical, for the tail; the mean of several says as much as if
 * each had been so much farther away. */
static void learn_tail(struct ps_batch_model *model, double away, double calls)
{
    double at = (away - BAND_LOW) / BAND_WIDE;
    size_t band = at <= 0 ? 0 : at >= PS_BATCH_MODEL_BANDS ? PS_BATCH_MODEL_BANDS - 1 : (size_t)at;
    model->band[band] += calls;
    model->banded += calls;
}

/* Keeps it among the latest few; returns their median. */
static double keep_recent(struct ps_batch_model_cell *cell, double value, double count)
{
    for (size_t i = 0; i < count && i < PS_BATCH_MODEL_RECENT; i++) {
        cell->recent[cell->kept++ % PS_BATCH_MODEL_RECENT] = (float)value;
    }
    return median(cell->recent,
                  cell->kept < PS_BATCH_MODEL_RECENT ? cell->kept : PS_BATCH_MODEL_RECENT);
}

/* At first the median of the latest few is what is typical; then it moves towards each call, but by
 * no more than a usual distance allows. When most of the latest few are far away it has changed. */
static void learn_cell(const struct ps_batch_model *model, struct ps_batch_model_cell *cell,
                       double value, double count)
{
    double recent = keep_recent(cell, value, count);
    if (cell->kept <= PS_BATCH_MODEL_RECENT ||
        fabs(recent - (double)cell->log) > CHANGED * model->spread) {
        cell->log = (float)recent;
    } else {
        double most = 2 * model->spread;
        double away = fmax(-most, fmin(value - (double)cell->log, most));
        double part = fmin(1, count / fmin((double)cell->count + count, MOST_COUNTED));
        cell->log += (float)(away * part);
    }
    cell->count += (float)count;
}

void ps_batch_model_learn(struct ps_batch_model *model, ps_time now, size_t size, double seconds,
                          double count)
{
    if (size == 0 || size > PS_BATCH_MODEL_MOST || !isfinite(seconds) || seconds <= 0 ||
        !isfinite(count) || count < 1) {
        return;
    }
    age(model, now);
    struct ps_batch_model_cell *cell = &model->cell[size];
    double value = log(seconds);
    double calls = fmin(count, MOST_COUNTED);
    if (cell->count >= 1) {
        double known = (double)cell->count;
        double away = (value - (double)cell->log) * sqrt(calls * known / (known + 1));
        learn_tail(model, away, calls);
    }
    model->call[model->calls++ % PS_BATCH_MODEL_CALLS] =
        (struct ps_batch_model_call){size, (float)value, (float)calls};
    learn_cell(model, cell, value, calls);
    model->samples += count;
    model->largest = size > model->largest ? size : model->largest;
    model->fresh = false;
}

/* --- what follows from it --------------------------------------------------------------------- */

/* A batch takes no longer than a larger one: a size that seems to has straggled. */
static void lower_stragglers(struct ps_batch_model *model)
{
    double most = INFINITY;
    for (size_t n = model->largest; n > 0; n--) {
        const struct ps_batch_model_cell *cell = &model->cell[n];
        if (cell->count > 0) {
            double noise = model->spread / sqrt(fmin((double)cell->count, MOST_COUNTED));
            model->seen[n] = (float)fmin((double)cell->log, most);
            most = fmin(most, (double)cell->log + 2 * noise);
        }
    }
}

static void fit_cells(struct ps_batch_model *model, double noise)
{
    struct ps_batch_fit_point points[PS_BATCH_MODEL_MOST];
    size_t count = 0;
    for (size_t n = 1; n <= model->largest; n++) {
        const struct ps_batch_model_cell *cell = &model->cell[n];
        if (cell->count > 0) {
            points[count++] = (struct ps_batch_fit_point){(double)n, exp((double)model->seen[n]),
                                                          fmin((double)cell->count, 16)};
        }
    }
    ps_batch_fit_make(&model->fit, points, count, noise);
}

static void sort(double *values, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        double value = values[i];
        size_t at = i;
        for (; at > 0 && values[at - 1] > value; at--) {
            values[at] = values[at - 1];
        }
        values[at] = value;
    }
}

/* From others of its size where there are some, else from the curve: a size that was seen once
 * would agree with itself. */
static double distance(const struct ps_batch_model *model, const struct ps_batch_model_call *call)
{
    const struct ps_batch_model_cell *cell = &model->cell[call->size];
    double others = (double)(cell->count - call->count);
    if (others < 1) {
        return (double)call->log - log(ps_batch_fit_at(&model->fit, (double)call->size));
    }
    return (double)(call->log - cell->log) * sqrt(1 + (double)call->count / others);
}

/* Of the latest calls around what is known of their sizes, stragglers left out. */
static double spread_of(struct ps_batch_model *model)
{
    double away[PS_BATCH_MODEL_CALLS];
    size_t count = model->calls < PS_BATCH_MODEL_CALLS ? model->calls : PS_BATCH_MODEL_CALLS;
    for (size_t i = 0; i < count; i++) {
        const struct ps_batch_model_call *call = &model->call[i];
        away[i] = fabs(distance(model, call)) * sqrt((double)call->count);
    }
    sort(away, count);
    double most = fmax(STRAGGLES * away[count / 2], LEAST_SPREAD);
    double sum = FIRST_CALLS * FIRST_SPREAD * FIRST_SPREAD;
    double calls = FIRST_CALLS - TERMS_LEARNED;
    for (size_t i = 0; i < count && away[i] <= most; i++) {
        sum += away[i] * away[i];
        calls++;
    }
    model->straggling = fmax(0, (double)count - calls - 1) / (double)count;
    return fmax(LEAST_SPREAD, sqrt(sum / fmax(calls, 1)));
}

static double away_from_curve(const struct ps_batch_model *model, size_t n)
{
    return (double)model->seen[n] - log(ps_batch_fit_at(&model->fit, (double)n));
}

/* The median distance of sizes from the curve. */
static double usual_misfit(const struct ps_batch_model *model)
{
    double away[PS_BATCH_MODEL_MOST];
    size_t count = 0;
    for (size_t n = 1; n <= model->largest; n++) {
        if (model->cell[n].count > 0) {
            away[count++] = fabs(away_from_curve(model, n));
        }
    }
    sort(away, count);
    return away[count / 2];
}

/* How far sizes are from the curve beyond what the spread of their calls explains. A size that was
 * seen once or twice may have straggled, and a single one far off says little of the others. */
static double misfit_of(const struct ps_batch_model *model)
{
    double sum = 0;
    double weights = 1;
    double spread = model->spread;
    double usual = usual_misfit(model);
    for (size_t n = 1; n <= model->largest; n++) {
        const struct ps_batch_model_cell *cell = &model->cell[n];
        if (cell->count > 0) {
            double away = away_from_curve(model, n);
            double noise = spread * spread / fmin((double)cell->count, MOST_COUNTED);
            double most = cell->count < TELLING ? 9 * noise : fmax(9 * noise, 9 * usual * usual);
            double weight = fmin((double)cell->count, 4);
            sum += weight * (fmin(away * away, most) - noise);
            weights += weight;
        }
    }
    return fmin(MOST_MISFIT, fmax(LEAST_MISFIT, sqrt(fmax(0, sum) / weights)));
}

/* Octaves to the next size that was seen, for each. */
static void measure_distances(const struct ps_batch_model *model, float *away)
{
    double seen = 0;
    for (size_t n = 1; n <= PS_BATCH_MODEL_MOST; n++) {
        seen = model->cell[n].count > 0 ? (double)n : seen;
        away[n] = seen > 0 ? (float)log2((double)n / seen) : INFINITY;
    }
    seen = 0;
    for (size_t n = PS_BATCH_MODEL_MOST; n > 0; n--) {
        seen = model->cell[n].count > 0 ? (double)n : seen;
        away[n] = seen > 0 ? fminf(away[n], (float)log2(seen / (double)n)) : away[n];
    }
}

/* Curve and size, each as much as it is worth. */
static void settle_size(struct ps_batch_model *model, size_t n, double away)
{
    const struct ps_batch_model_cell *cell = &model->cell[n];
    double curve = log(ps_batch_fit_at(&model->fit, (double)n));
    double all = model->spread * model->spread / fmin(model->samples, 256);
    double far = model->misfit * fmin(1, 0.25 + 2 * away);
    double unsure = far * far + all;
    if (cell->count > 0) {
        double noise = model->spread * model->spread / fmin((double)cell->count, MOST_COUNTED);
        unsure = model->misfit * model->misfit + all;
        double own = unsure / (unsure + noise);
        curve += own * ((double)model->seen[n] - curve);
        unsure *= noise / (unsure + noise);
    }
    model->log[n] = (float)curve;
    model->doubt[n] = (float)sqrt(unsure);
}

static double counted_tail(const struct ps_batch_model *model)
{
    double above = 0;
    size_t band = PS_BATCH_MODEL_BANDS;
    while (band > 0 && above + model->band[band - 1] <= 0.05 * model->banded) {
        above += model->band[--band];
    }
    double inside = band == 0 ? 0 : (0.05 * model->banded - above) / model->band[band - 1];
    return exp(BAND_LOW + BAND_WIDE * ((double)band - inside));
}

/* The 95th percentile as a factor of what is typical. */
static double tail_of(const struct ps_batch_model *model)
{
    double straggling = fmin(MOST_STRAGGLE, model->straggling + 0.5 / ((double)model->calls + 1));
    double computed = exp((SIGMAS_P95 + SIGMAS_MORE * straggling) * model->spread);
    double share = fmin(1, model->banded / ENOUGH_TAIL);
    double counted = share < 1 ? computed : fmax(1, counted_tail(model));
    return share * counted + (1 - share) * computed;
}

static void settle_sizes(struct ps_batch_model *model)
{
    float away[PS_BATCH_MODEL_MOST + 1];
    measure_distances(model, away);
    for (size_t n = 1; n <= model->reach; n++) {
        settle_size(model, n, (double)away[n]);
    }
}

/* The spread is that around the curve, and the curve depends on the spread: one after the other,
 * and once more. */
void ps_batch_model_refresh(struct ps_batch_model *model)
{
    if (model->fresh || model->largest == 0) {
        return;
    }
    model->reach = LOOKED_AT * model->largest < PS_BATCH_MODEL_MOST ? LOOKED_AT * model->largest
                                                                    : PS_BATCH_MODEL_MOST;
    for (int round = 0; round < 2; round++) {
        lower_stragglers(model);
        fit_cells(model, fmax(model->spread, 0.02));
        model->misfit = misfit_of(model);
        model->spread = spread_of(model);
    }
    settle_sizes(model);
    model->tail = tail_of(model);
    model->fresh = true;
}

/* --- advice ----------------------------------------------------------------------------------- */

static double p95_at(const struct ps_batch_model *model, const struct ps_batch_goal *goal, size_t n)
{
    return goal->turns * model->tail * exp((double)model->log[n] + (double)model->doubt[n]);
}

static double rate_at(const struct ps_batch_model *model, size_t n)
{
    return (double)n / exp((double)model->log[n] + (double)model->doubt[n]);
}

enum { CAPS = 4 };

/* Up to which size each of the bounds lets it go. */
struct caps {
    size_t size[CAPS];
};

static const enum ps_batch_limit cap_limits[CAPS] = {PS_BATCH_BY_MEMORY, PS_BATCH_BY_LATENCY,
                                                     PS_BATCH_BY_CONFIGURED, PS_BATCH_BY_SEEN};

static size_t latency_cap(const struct ps_batch_model *model, const struct ps_batch_goal *goal)
{
    size_t n = model->reach;
    while (n > 0 && p95_at(model, goal, n) > goal->p95) {
        n--;
    }
    return n;
}

static struct caps caps_of(const struct ps_batch_model *model, const struct ps_batch_goal *goal)
{
    size_t configured =
        goal->most == 0 || goal->most > PS_BATCH_MODEL_MOST ? PS_BATCH_MODEL_MOST : goal->most;
    size_t seen = BEYOND_SEEN * model->largest;
    return (struct caps){{ps_memory_model_fit(&model->memory, goal->memory, PS_BATCH_MODEL_MOST),
                          latency_cap(model, goal), configured,
                          seen > PS_BATCH_MODEL_MOST ? PS_BATCH_MODEL_MOST : seen}};
}

/* The smallest of the bounds, one of them left out (CAPS: none). */
static size_t least(const struct caps *caps, size_t reach, size_t without)
{
    size_t size = reach;
    for (size_t i = 0; i < CAPS; i++) {
        size = i != without && caps->size[i] < size ? caps->size[i] : size;
    }
    return size == 0 ? 1 : size;
}

/* The smallest size that is as good as the best up to `most`. */
static size_t best_until(const struct ps_batch_model *model, size_t most)
{
    double best = 0;
    for (size_t n = 1; n <= most; n++) {
        best = fmax(best, rate_at(model, n));
    }
    size_t n = 1;
    while (rate_at(model, n) < AS_GOOD * best) {
        n++;
    }
    return n;
}

/* The bound without which it would be larger; where it takes two of them, the smaller one. */
static enum ps_batch_limit limit_of(const struct ps_batch_model *model, const struct caps *caps,
                                    size_t size)
{
    size_t all = least(caps, model->reach, CAPS);
    for (size_t i = 0; i < CAPS; i++) {
        if (best_until(model, least(caps, model->reach, i)) > size) {
            return cap_limits[i];
        }
    }
    for (size_t i = 0; i < CAPS && best_until(model, model->reach) > size; i++) {
        if (caps->size[i] <= all) {
            return cap_limits[i];
        }
    }
    return PS_BATCH_BY_THROUGHPUT;
}

/* Two sizes, or the one beyond which there is no room. */
static bool is_enough(const struct ps_batch_model *model, const struct ps_batch_goal *goal)
{
    bool alone = model->largest == 1 && ps_memory_model_fit(&model->memory, goal->memory, 2) < 2;
    size_t sizes = alone ? 2 : 0;
    for (size_t n = 1; n <= model->largest && sizes < 2; n++) {
        sizes += model->cell[n].count > 0 ? 1 : 0;
    }
    return sizes >= 2 && model->samples >= PS_BATCH_MODEL_LEAST;
}

struct ps_batch_advice ps_batch_model_look(struct ps_batch_model *model,
                                           const struct ps_batch_goal *goal, size_t size)
{
    struct ps_batch_advice advice = {.memory = NAN, .samples = model->samples};
    if (is_enough(model, goal)) {
        ps_batch_model_refresh(model);
    }
    if (is_enough(model, goal) && size > 0 && size <= model->reach) {
        advice.size = size;
        advice.limit = PS_BATCH_BY_CONFIGURED;
        advice.p95 = p95_at(model, goal, size);
        advice.rate = rate_at(model, size);
        advice.memory = ps_memory_model_bound(&model->memory, size);
    }
    return advice;
}

struct ps_batch_advice ps_batch_model_advise(struct ps_batch_model *model,
                                             const struct ps_batch_goal *goal)
{
    if (!is_enough(model, goal)) {
        return ps_batch_model_look(model, goal, 0);
    }
    ps_batch_model_refresh(model);
    struct caps caps = caps_of(model, goal);
    size_t size = best_until(model, least(&caps, model->reach, CAPS));
    struct ps_batch_advice advice = ps_batch_model_look(model, goal, size);
    advice.limit = limit_of(model, &caps, size);
    return advice;
}
