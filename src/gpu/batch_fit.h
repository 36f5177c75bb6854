/* batch_fit - a curve of times that never falls, through sizes and what they took.
 *
 *      f(n) = w[0] + w[1] n + w[2] ceil8(n) + ... + w[6] pow2(n) + w[7] (n - 8)+ + ...
 *
 * with all weights at least 0: least squares of relative errors (the matrix is 13 by 13), with a
 * little more asked of the terms beyond the first two, so that a straight line stays one. What lies
 * far from the curve counts less (Huber), in a few rounds.
 *
 * Thread: pure functions. Nothing is allocated.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_BATCH_FIT_H
#define PS_GPU_BATCH_FIT_H

#include <stddef.h>

enum { PS_BATCH_FIT_TERMS = 13 };

struct ps_batch_fit {
    double weight[PS_BATCH_FIT_TERMS];
};

struct ps_batch_fit_point {
    double size;    /* 1 and up */
    double seconds; /* over 0 */
    double weight;  /* over 0: how much it counts */
};

/* The curve through `count` points (1 and up). `noise` is how far, relative, a point may well be
 * from it. */
void ps_batch_fit_make(struct ps_batch_fit *fit, const struct ps_batch_fit_point *points,
                       size_t count, double noise);

/* Seconds; over 0 for every fit that was made. */
double ps_batch_fit_at(const struct ps_batch_fit *fit, double size);

#endif
