/* rng - a small seeded generator for schedules, jitter and simulations. Not for secrets.
 *
 * SplitMix64 (Steele, Lea, Flood 2014): one addition and a mix per number, any seed is good.
 *
 * Thread: a generator is owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_RNG_H
#define PS_BASE_RNG_H

#include <math.h>
#include <stdint.h>

struct ps_rng {
    uint64_t state;
};

static inline struct ps_rng ps_rng_make(uint64_t seed)
{
    return (struct ps_rng){seed};
}

/* The next 64 random bits. */
static inline uint64_t ps_rng_next(struct ps_rng *rng)
{
    uint64_t z = (rng->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform in [0, 1). */
static inline double ps_rng_unit(struct ps_rng *rng)
{
    return (double)(ps_rng_next(rng) >> 11) * 0x1p-53;
}

/* Uniform in [0, bound), bound > 0 (Lemire 2019, without the last ppm of fairness). */
static inline uint64_t ps_rng_below(struct ps_rng *rng, uint64_t bound)
{
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)(((wide)ps_rng_next(rng) * bound) >> 64);
}

/* Exponential with the given mean: gaps of a Poisson process. */
static inline double ps_rng_exponential(struct ps_rng *rng, double mean)
{
    return -mean * log(1.0 - ps_rng_unit(rng));
}

/* Standard normal (Box and Muller 1958). */
static inline double ps_rng_normal(struct ps_rng *rng)
{
    double radius = sqrt(-2 * log(1 - ps_rng_unit(rng)));
    return radius * cos(2 * 3.14159265358979323846 * ps_rng_unit(rng));
}

/* Gamma with this shape (over 0) and scale 1 (Marsaglia and Tsang 2000; below 1 by their boost). */
static inline double ps_rng_gamma(struct ps_rng *rng, double shape)
{
    double boost = shape < 1 ? pow(1 - ps_rng_unit(rng), 1 / shape) : 1;
    double d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3;
    double c = 1 / sqrt(9 * d);
    for (;;) {
        double x = ps_rng_normal(rng);
        double v = 1 + c * x;
        v = v * v * v;
        if (v > 0 && log(1 - ps_rng_unit(rng)) < 0.5 * x * x + d - d * v + d * log(v)) {
            return boost * d * v;
        }
    }
}

#endif
