#include "curve.h"

#include <math.h>

#define GIB      1073741824.0
#define MIB      1048576.0
#define UNEVEN   0.02  /* of the memory of a batch's items */
#define LOOSE    0.001 /* of all memory */
#define STRAGGLE 0.03

const char *const curve_kind_names[] = {"linear", "stepped", "noisy", "memory"};

static double between(struct ps_rng *rng, double low, double high)
{
    return low * pow(high / low, ps_rng_unit(rng));
}

struct curve curve_make(enum curve_kind kind, uint64_t seed)
{
    struct ps_rng rng = ps_rng_make(seed * CURVE_KINDS + (uint64_t)kind);
    struct curve curve = {.kind = kind,
                          .base = between(&rng, 0.002, 0.05),
                          .noise = kind == CURVE_NOISY ? 0.1 : 0.01,
                          .stragglers = kind == CURVE_NOISY ? STRAGGLE : 0,
                          .p95 = INFINITY,
                          .device = INFINITY};
    curve.each = curve.base / between(&rng, 4, 200);
    double wanted = between(&rng, 6, 400); /* size that memory lets through ... */
    double timely = curve.base / curve.each * between(&rng, 1, 4); /* ... and time */
    if (kind == CURVE_STEPPED) {
        curve.knee = exp2(3 + (double)ps_rng_below(&rng, 5));
        curve.steeper = between(&rng, 2, 6);
    }
    if (kind == CURVE_MEMORY) {
        curve.fixed = between(&rng, 2, 20) * GIB;
        curve.of_each = between(&rng, 10, 400) * MIB;
        curve.device = curve.fixed + wanted * curve.of_each;
    } else if (kind != CURVE_STEPPED || ps_rng_below(&rng, 2) == 0) {
        curve.p95 = (curve.base + curve.each * timely) * (kind == CURVE_NOISY ? 1.2 : 1.02);
    }
    return curve;
}

static double padded(double size)
{
    double power = 1;
    while (power < size) {
        power *= 2;
    }
    return power;
}

double curve_seconds(const struct curve *curve, size_t size)
{
    double n = curve->kind == CURVE_STEPPED ? padded((double)size) : (double)size;
    double beyond = curve->kind == CURVE_STEPPED ? fmax(0, n - curve->knee) : 0;
    return curve->base + curve->each * (n + beyond * (curve->steeper - 1));
}

double curve_memory(const struct curve *curve, size_t size)
{
    return curve->fixed + curve->of_each * (double)size;
}

static double normal(struct ps_rng *rng)
{
    double radius = sqrt(-2 * log(1 - ps_rng_unit(rng)));
    return radius * cos(6.283185307179586 * ps_rng_unit(rng));
}

/* By how much a batch may take more or less. */
static double slack(const struct curve *curve, size_t size)
{
    return LOOSE * curve->fixed + UNEVEN * curve->of_each * (double)size;
}

struct curve_call curve_run(const struct curve *curve, size_t size, struct ps_rng *rng)
{
    double factor = exp(curve->noise * normal(rng));
    if (ps_rng_unit(rng) < curve->stragglers) {
        factor *= 3 + 5 * ps_rng_unit(rng);
    }
    double bytes = curve_memory(curve, size) + slack(curve, size) * (2 * ps_rng_unit(rng) - 1);
    return (struct curve_call){.seconds = curve_seconds(curve, size) * factor,
                               .bytes = bytes,
                               .failed = bytes > curve->device};
}

/* Mean and 95th percentile of a call by its typical time. Where 3 of 100 straggle, and those are
 * the slowest, the percentile is where 2 of the other 97 are above it: 2.041 sigmas. */
static double mean_factor(const struct curve *curve)
{
    double plain = exp(0.5 * curve->noise * curve->noise);
    return plain * (1 + curve->stragglers * (5.5 - 1));
}

static double p95_factor(const struct curve *curve)
{
    return exp(curve->noise * (curve->stragglers > 0 ? 2.0411 : 1.6449));
}

double curve_p95(const struct curve *curve, size_t size)
{
    return curve_seconds(curve, size) * p95_factor(curve);
}

double curve_value(const struct curve *curve, size_t size)
{
    double seconds = curve_seconds(curve, size);
    bool late = curve_p95(curve, size) > curve->p95;
    bool full = curve_memory(curve, size) + slack(curve, size) > curve->device;
    return late || full ? 0 : (double)size / (seconds * mean_factor(curve));
}

size_t curve_best(const struct curve *curve)
{
    size_t best = 1;
    for (size_t n = 2; n <= CURVE_MOST; n++) {
        best = curve_value(curve, n) > curve_value(curve, best) ? n : best;
    }
    return best;
}
