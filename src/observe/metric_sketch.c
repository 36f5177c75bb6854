#include "observe/metric_sketch.h"

#include <math.h>
#include <stddef.h>

enum { INDEX_BITS = 10 };

/* A register keeps the longest run of zeros behind the bits that chose it. */
void ps_metric_sketch_add(uint8_t sketch[PS_METRIC_SKETCH], uint64_t hash)
{
    uint64_t rest = hash << INDEX_BITS | (uint64_t)1 << (INDEX_BITS - 1); /* ends every run */
    uint8_t rank = (uint8_t)(__builtin_clzll(rest) + 1);
    uint8_t *reg = &sketch[hash >> (64 - INDEX_BITS)];
    *reg = rank > *reg ? rank : *reg;
}

double ps_metric_sketch_count(const uint8_t sketch[PS_METRIC_SKETCH])
{
    const double m = PS_METRIC_SKETCH;
    double inverse = 0;
    size_t empty = 0;
    for (size_t i = 0; i < PS_METRIC_SKETCH; i++) {
        inverse += ldexp(1, -(int)sketch[i]);
        empty += sketch[i] == 0 ? 1 : 0;
    }
    double estimate = 0.7213 / (1 + 1.079 / m) * m * m / inverse;
    return estimate <= 2.5 * m && empty > 0 ? m * log(m / (double)empty) : estimate;
}
