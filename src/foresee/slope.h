/* slope - is this line rising, how fast, and could it be chance?
 *
 * Two ways to ask, for series whose neighbours resemble each other, as those of a server do:
 *
 *      mean      is the mean of these values above 0? A t-interval whose width is the long-run
 *                variance (Newey and West 1987, Bartlett's kernel): for steps of a queue's length
 *      line      least squares with the same correction, for short series
 *      robust    Theil's and Sen's slope (the median over all pairs) with Sen's interval, tested by
 *                Mann's and Kendall's balance of pairs; ties are counted, and what neighbours have in
 *                common widens chance (Hamed and Rao 1998, on the residuals). Pairs are only made
 *                within a part, so that a series may be interrupted (van Belle and Hughes 1984)
 *
 * Thread: pure functions; nothing is allocated.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_FORESEE_SLOPE_H
#define PS_FORESEE_SLOPE_H

#include <stdbool.h>
#include <stddef.h>

enum { PS_SLOPE_POINTS = 128 }; /* most points of a robust slope */

struct ps_slope {
    double slope;     /* in the unit of y for one unit of x; of `mean` the mean itself */
    double low, high; /* the interval at the confidence that was asked for */
    double error;     /* standard error; of `robust` half the interval over its quantile */
    double p;         /* one-sided: how likely chance makes it rise this much */
};

/* Half of Student's distribution: the value that `share` (0.5 to 1) of it lies below. df >= 1. */
double ps_slope_t_quantile(double share, double df);

/* How much of Student's distribution lies above t. */
double ps_slope_t_tail(double t, double df);

/* How much of the normal distribution lies above z, and the value that `share` of it lies below. */
double ps_slope_normal_tail(double z);
double ps_slope_normal_quantile(double share);

/* The mean of values in their order, and the interval that holds it with `confidence` (two-sided, 0.95). False,
 * and *out untouched, below 3 values. */
bool ps_slope_mean(const double *values, size_t count, double confidence, struct ps_slope *out);

/* The same for the slope of y over x, in order of x. False below 4 points or where all x are one. */
bool ps_slope_line(const double *x, const double *y, size_t count, double confidence,
                   struct ps_slope *out);

/* The robust slope. part[i] says which stretch a point belongs to (points of one stand together); NULL: all are one.
 * At most PS_SLOPE_POINTS. False below 8 points or without a pair. */
bool ps_slope_robust(const double *x, const double *y, const unsigned *part, size_t count,
                     double confidence, struct ps_slope *out);

/* Wilson's interval (1927) for a share of which `hits` of `count` were seen. count > 0. */
void ps_slope_share(double hits, double count, double confidence, double *low, double *high);

#endif
