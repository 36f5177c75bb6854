/* curve - servers whose service times and memory are known, to search for the best batch on.
 *
 * Four kinds, each with as many members as there are seeds:
 *
 *      linear     b + a n
 *      stepped    padding to the next power of two, and a knee at one from which on it is dearer
 *      noisy      linear with 10 % of noise, and 3 calls of 100 that take 3 to 8 times as long
 *      memory     linear, and a device that holds only so many
 *
 * What the best size is, curve_best() finds out by looking at every one with the truth at hand.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_TESTS_CURVE_H
#define PS_TESTS_CURVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"

enum curve_kind { CURVE_LINEAR, CURVE_STEPPED, CURVE_NOISY, CURVE_MEMORY, CURVE_KINDS };

extern const char *const curve_kind_names[];

enum { CURVE_MOST = 512 };

struct curve {
    enum curve_kind kind;
    double base, each;     /* seconds */
    double knee, steeper;  /* stepped: beyond that size each costs so many times as much */
    double noise;          /* relative, one standard deviation */
    double stragglers;     /* share of calls */
    double p95;            /* objective, seconds; INFINITY: none */
    double fixed, of_each; /* bytes */
    double device;         /* bytes; INFINITY: memory is no matter */
};

/* A member of the kind. */
struct curve curve_make(enum curve_kind kind, uint64_t seed);

/* Typical seconds of a batch, without noise. */
double curve_seconds(const struct curve *curve, size_t size);

/* 95th percentile of a batch's seconds. */
double curve_p95(const struct curve *curve, size_t size);

/* Bytes of a batch on average; single ones take up to 2 % of what the items take, and 0.1 % of the
 * rest, more or less. */
double curve_memory(const struct curve *curve, size_t size);

struct curve_call {
    double seconds;
    double bytes;
    bool failed; /* out of memory */
};
struct curve_call curve_run(const struct curve *curve, size_t size, struct ps_rng *rng);

/* Batch items a second, in the long run; 0 where its 95th percentile is above the objective or the
 * device may run out of memory. */
double curve_value(const struct curve *curve, size_t size);

/* The size with the largest value; the smallest of several. */
size_t curve_best(const struct curve *curve);

#endif
