#include "gpu/memory_model.h"

#include <math.h>
#include <string.h>

#define KEPT        0.995 /* of what older samples weigh, a sample */
#define FLOOR       0.001 /* of the line: how exactly memory is measured at best */
#define STRIKE_KEPT 0.95  /* of the caution after a failure, a sample */
#define SIGMAS      3.0
#define UNEVEN      0.006 /* of what grows with the size: no two batches are alike */
#define FEW         2.0   /* samples: with so few the error counts double */

void ps_memory_model_init(struct ps_memory_model *model)
{
    memset(model, 0, sizeof *model);
}

static void forget(struct ps_memory_model *model)
{
    double *sums[] = {&model->weight,    &model->size,       &model->bytes,
                      &model->size_size, &model->size_bytes, &model->bytes_bytes};
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) {
        *sums[i] *= KEPT;
    }
}

/* What did not fit once and does now, fits. */
static void clear_failure(struct ps_memory_model *model, size_t size, double bytes)
{
    if (model->failed != 0 && size >= model->failed && bytes <= model->failed_limit) {
        model->failed = 0;
        model->failed_limit = 0;
    }
}

void ps_memory_model_learn(struct ps_memory_model *model, size_t size, double bytes)
{
    if (!isfinite(bytes) || bytes < 0) {
        return;
    }
    double n = (double)size;
    forget(model);
    model->strikes *= STRIKE_KEPT;
    model->weight += 1;
    model->size += n;
    model->bytes += bytes;
    model->size_size += n * n;
    model->size_bytes += n * bytes;
    model->bytes_bytes += bytes * bytes;
    model->smallest = model->samples == 0 || size < model->smallest ? size : model->smallest;
    model->samples++;
    if (size >= model->largest) {
        bool more = size > model->largest || bytes > model->largest_bytes;
        model->largest_bytes = more ? bytes : model->largest_bytes;
        model->largest = size;
    }
    clear_failure(model, size, bytes);
}

void ps_memory_model_fail(struct ps_memory_model *model, size_t size, double limit)
{
    if (size == 0 || !isfinite(limit) || limit < 0) {
        return;
    }
    model->strikes += 1;
    if (model->failed == 0 || size <= model->failed) {
        model->failed = size;
        model->failed_limit = limit;
    }
}

/* The line around its centre. */
struct line {
    double size, bytes; /* means */
    double slope;
    double spread; /* of the sizes: sum of squares */
    double error;  /* of a sample, a standard deviation */
};

/* A larger batch never takes less, so the slope is not negative. */
static struct line line_of(const struct ps_memory_model *model)
{
    struct line line = {.size = model->size / model->weight, .bytes = model->bytes / model->weight};
    line.spread = model->size_size - model->size * line.size;
    double both = model->size_bytes - model->size * line.bytes;
    double square = model->bytes_bytes - model->bytes * line.bytes;
    line.slope = line.spread > 0 && both > 0 ? both / line.spread : 0;
    double left = square - line.slope * both;
    line.error = left > 0 ? sqrt(left / fmax(1, model->weight - 2)) : 0;
    return line;
}

static bool has_line(const struct ps_memory_model *model)
{
    return model->samples >= 2 && model->smallest < model->largest;
}

double ps_memory_model_expect(const struct ps_memory_model *model, size_t size)
{
    if (!has_line(model)) {
        return NAN;
    }
    struct line line = line_of(model);
    return fmax(0, line.bytes + line.slope * ((double)size - line.size));
}

/* Largest of what one size took, and in proportion for larger ones. */
static double proportional(const struct ps_memory_model *model, size_t size)
{
    if (model->largest == 0) {
        return size == 0 ? model->largest_bytes : NAN;
    }
    double times = (double)size / (double)model->largest;
    return model->largest_bytes * fmax(1, times) * (1 + SIGMAS * FLOOR);
}

/* Right of its centre a line is less sure, and what varies mostly varies with the size. On the left
 * of it both are left out: there a batch takes no more than one of the middle size. */
static double line_bound(const struct ps_memory_model *model, double size)
{
    struct line line = line_of(model);
    double away = size - line.size;
    double expected = fmax(0, line.bytes + line.slope * away);
    double least = fmax(FLOOR * expected, UNEVEN * line.slope * size);
    double error = hypot(line.error, least) * (1 + FEW / model->samples);
    double reach = 1 + 1 / model->weight + (away > 0 ? away * away / line.spread : 0);
    double grown = away > 0 ? sqrt(size / fmax(1, line.size)) : 1;
    return expected + SIGMAS * (1 + model->strikes) * error * grown * sqrt(reach);
}

static double bound_of(const struct ps_memory_model *model, size_t size)
{
    return has_line(model) ? line_bound(model, (double)size) : proportional(model, size);
}

/* A size that failed, and all above, need more than there was. */
double ps_memory_model_bound(const struct ps_memory_model *model, size_t size)
{
    if (model->samples == 0) {
        return model->failed != 0 && size >= model->failed ? model->failed_limit * (1 + FLOOR)
                                                           : NAN;
    }
    double bound = bound_of(model, size);
    bool failed = model->failed != 0 && size >= model->failed;
    return failed ? fmax(bound, model->failed_limit * (1 + FLOOR)) : bound;
}

/* From above: the first that fits is the largest. */
size_t ps_memory_model_fit(const struct ps_memory_model *model, double limit, size_t most)
{
    size_t size = most;
    while (size > 0) {
        double bound = ps_memory_model_bound(model, size);
        if (isnan(bound) || bound <= limit) {
            return size;
        }
        size--;
    }
    return 0;
}
