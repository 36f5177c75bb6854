/* significance - tail probabilities that tests of a difference need.
 *
 * The incomplete beta function by its continued fraction (Abramowitz and Stegun 26.5.8, evaluated as Lentz 1976
 * does); Student's t and the binomial distribution follow from it (26.7.1, 26.5.24).
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_SIGNIFICANCE_H
#define PS_LOAD_SIGNIFICANCE_H

#include <stddef.h>

/* I_x(a, b), x from 0 to 1, a and b over 0. */
double ps_significance_beta(double x, double a, double b);

/* The chance of a Student t with df degrees of freedom at least as far from 0 as t, on both sides. */
double ps_significance_t(double t, double df);

/* How far from 0 a Student t stays with this chance (0.95: 1.96 with many degrees of freedom). */
double ps_significance_t_bound(double confidence, double df);

/* Two-sided p-value of k successes among n (they need not be whole) where each has the chance p. Exact, and so
 * rather too large than too small. */
double ps_significance_binomial(double k, double n, double p);

/* Holm's adjustment (Holm 1979): p-values of several tests become such that the chance of any false alarm among all
 * of them is at most the level. NAN entries are no tests. In place. */
void ps_significance_holm(double *p, size_t count);

#endif
