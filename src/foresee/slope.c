/* slope - see slope.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "foresee/slope.h"

#include <math.h>

#include "base/check.h"
#include "base/select.h"
#include "foresee/trend.h"

#define FEW   16 /* groups of neighbours, to tell likeness from */
#define MANY  60 /* points, for a sum over many correlations */
#define PAIRS (PS_SLOPE_POINTS * (PS_SLOPE_POINTS - 1) / 2)

/* -------------------------------------------------------------------------------- distributions */

double ps_slope_normal_tail(double z)
{
    return erfc(z / sqrt(2)) / 2;
}

/* Newton's steps on the tail, from the middle: no table of constants. */
double ps_slope_normal_quantile(double share)
{
    double z = 0;
    for (int i = 0; i < 40; i++) {
        double density = exp(-z * z / 2) / sqrt(2 * acos(-1));
        double step = (1 - ps_slope_normal_tail(z) - share) / fmax(density, 1e-12);
        z -= fmax(fmin(step, 1), -1);
    }
    return z;
}

/* The continued fraction of the incomplete beta function (Lentz's way). */
static double beta_fraction(double a, double b, double x)
{
    double c = 1;
    double d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < 1e-300 ? 1e-300 : d);
    double result = d;
    for (int m = 1; m <= 300; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double terms[2] = {even, odd};
        double change = 1;
        for (int k = 0; k < 2; k++) {
            d = 1 + terms[k] * d;
            c = 1 + terms[k] / c;
            d = 1 / (fabs(d) < 1e-300 ? 1e-300 : d);
            c = fabs(c) < 1e-300 ? 1e-300 : c;
            change = d * c;
            result *= change;
        }
        if (fabs(change - 1) < 1e-12) {
            break;
        }
    }
    return result;
}

/* The regularised incomplete beta function. */
static double beta_share(double a, double b, double x)
{
    if (x <= 0 || x >= 1) {
        return x <= 0 ? 0 : 1;
    }
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(1 - x));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a
                                     : 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double ps_slope_t_tail(double t, double df)
{
    double half = beta_share(df / 2, 0.5, df / (df + t * t)) / 2;
    return t >= 0 ? half : 1 - half;
}

double ps_slope_t_quantile(double share, double df)
{
    double low = 0;
    double high = 1e4;
    for (int i = 0; i < 100; i++) {
        double middle = low + (high - low) / 2;
        bool below = 1 - ps_slope_t_tail(middle, df) < share;
        low = below ? middle : low;
        high = below ? high : middle;
    }
    return high;
}

void ps_slope_share(double hits, double count, double confidence, double *low, double *high)
{
    PS_CHECK(count > 0);
    double z = ps_slope_normal_quantile((1 + confidence) / 2);
    double share = hits / count;
    double middle = (share + z * z / (2 * count)) / (1 + z * z / count);
    double half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)) /
                  (1 + z * z / count);
    *low = fmax(middle - half, 0);
    *high = fmin(middle + half, 1);
}

/* ------------------------------------------------------------------------------------ t-intervals */

/* The variance of the sum of `count` values whose neighbours resemble each other: their squares, and with falling
 * weight the products of those a few places apart. Bartlett's weights keep it from becoming negative. */
static double long_run(const double *rests, size_t count)
{
    size_t reach = (size_t)(1.5 * cbrt((double)count));
    double sum = 0;
    for (size_t lag = 0; lag <= reach && lag < count; lag++) {
        double products = 0;
        for (size_t i = lag; i < count; i++) {
            products += rests[i] * rests[i - lag];
        }
        sum += (lag == 0 ? 1 : 2 * (1 - (double)lag / (double)(reach + 1))) * products;
    }
    return fmax(sum, 0);
}

static void set_interval(struct ps_slope *out, double slope, double error, double df,
                         double confidence)
{
    double t = ps_slope_t_quantile((1 + confidence) / 2, df);
    double tail = slope > 0 ? 0 : 1;
    *out = (struct ps_slope){.slope = slope,
                             .low = slope - t * error,
                             .high = slope + t * error,
                             .error = error,
                             .p = error > 0 ? ps_slope_t_tail(slope / error, df) : tail};
}

/* Mean and line keep at most so many rests; longer series are cut into groups by the caller. */
enum { RESTS = 1024 };

bool ps_slope_mean(const double *values, size_t count, double confidence, struct ps_slope *out)
{
    double rests[RESTS];
    if (count < 3 || count > RESTS) {
        return false;
    }
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += values[i];
    }
    double mean = sum / (double)count;
    for (size_t i = 0; i < count; i++) {
        rests[i] = values[i] - mean;
    }
    double df = (double)count - 1;
    /* A mean of n with n - 1 left: the usual correction, here of the long-run variance. */
    double variance = long_run(rests, count) / ((double)count * df);
    set_interval(out, mean, sqrt(variance), df, confidence);
    return true;
}

bool ps_slope_line(const double *x, const double *y, size_t count, double confidence,
                   struct ps_slope *out)
{
    double rests[RESTS];
    if (count < 4 || count > RESTS) {
        return false;
    }
    double n = (double)count;
    double mean_x = 0;
    double mean_y = 0;
    for (size_t i = 0; i < count; i++) {
        mean_x += x[i] / n;
        mean_y += y[i] / n;
    }
    double spread = 0;
    double together = 0;
    for (size_t i = 0; i < count; i++) {
        spread += (x[i] - mean_x) * (x[i] - mean_x);
        together += (x[i] - mean_x) * (y[i] - mean_y);
    }
    if (spread <= 0) {
        return false;
    }
    double slope = together / spread;
    for (size_t i = 0; i < count; i++) {
        rests[i] = (x[i] - mean_x) * (y[i] - mean_y - slope * (x[i] - mean_x));
    }
    double variance = long_run(rests, count) / (spread * spread) * n / (n - 2);
    set_interval(out, slope, sqrt(variance), n - 2, confidence);
    return true;
}

/* ----------------------------------------------------------------------------------------- robust */

struct pairs {
    double slope[PAIRS];
    size_t count;
    double rising; /* pairs that rise minus pairs that fall */
    double variance;
};

/* Kendall's variance of the balance of one stretch of n points, less what ties take away. */
static double variance_of(const double *y, size_t n)
{
    double variance = (double)n * ((double)n - 1) * (2 * (double)n + 5);
    for (size_t i = 0; i < n; i++) {
        double same = 0;
        bool first = true;
        for (size_t j = 0; j < n; j++) {
            same += y[j] == y[i];
            first = first && !(j < i && y[j] == y[i]);
        }
        variance -= first ? same * (same - 1) * (2 * same + 5) : 0;
    }
    return variance / 18;
}

static void pair_up(struct pairs *pairs, const double *x, const double *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = i + 1; j < n; j++) {
            double step = y[j] - y[i];
            pairs->rising += (step > 0) - (step < 0);
            if (x[j] != x[i]) {
                pairs->slope[pairs->count++] = step / (x[j] - x[i]);
            }
        }
    }
    pairs->variance += variance_of(y, n);
}

static double correlation(const double *rests, size_t count, size_t lag)
{
    double own = 0;
    double next = 0;
    for (size_t i = 0; i < count; i++) {
        own += rests[i] * rests[i];
        next += i >= lag ? rests[i] * rests[i - lag] : 0;
    }
    return own > 0 ? next / own : 0;
}

static double variance_of_rests(const double *rests, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += rests[i] * rests[i];
    }
    return sum / (double)count;
}

/* (1 + r) / (1 - r) of a first-order process, its correlation freed of the bias that few points and a fitted line give it
 * (Marriott and Pope 1954). */
static double first_order(const double *rests, size_t count)
{
    double r = correlation(rests, count, 1);
    r = fmin(fmax(r + (2 + 4 * r) / (double)count, 0), 0.98);
    return (1 + r) / (1 - r);
}

/* How much wider chance is because neighbours resemble each other, told from a line's rests, so that the trend itself is
 * not taken for likeness. The largest of these answers: Hamed and Rao's sum over the correlations that are beyond chance
 * (any shape, needs many points); that of a first-order process; and the same of means of 2 and of 4 neighbours, which
 * see a slow wave under fast noise. */
static double likeness(const double *rests, size_t count)
{
    double n = (double)count;
    double sum = 0;
    for (size_t lag = 1; count >= MANY && lag <= count / 3; lag++) {
        double r = correlation(rests, count, lag);
        double left = n - (double)lag;
        sum += fabs(r) > 1.645 / sqrt(n) ? left * (left - 1) * (left - 2) * r : 0;
    }
    double wider = fmax(1 + 2 / (n * (n - 1) * (n - 2)) * sum, first_order(rests, count));
    double means[PS_SLOPE_POINTS];
    double variance = variance_of_rests(rests, count);
    for (size_t width = 2; width <= 4 && count / width >= FEW && variance > 0; width *= 2) {
        size_t groups = count / width;
        for (size_t i = 0; i < groups; i++) {
            means[i] = 0;
            for (size_t j = 0; j < width; j++) {
                means[i] += rests[i * width + j] / (double)width;
            }
        }
        double share = (double)width * variance_of_rests(means, groups) / variance;
        wider = fmax(wider, share * first_order(means, groups));
    }
    return wider;
}

/* What remains of each point beside its stretch's line with that slope. */
static void take_rests(const double *x, const double *y, size_t n, double slope, double *rests)
{
    double scratch[PS_SLOPE_POINTS];
    for (size_t i = 0; i < n; i++) {
        rests[i] = y[i] - slope * x[i];
        scratch[i] = rests[i];
    }
    double middle = ps_trend_median(scratch, n);
    for (size_t i = 0; i < n; i++) {
        rests[i] -= middle;
    }
}

/* The slope that has `rank` of all pairs below it: medians of what is left, until it is there. */
static double slope_at(double *slopes, size_t count, double rank)
{
    double clamped = fmax(fmin(rank, (double)count - 1), 0);
    size_t k = (size_t)clamped;
    return ps_select(slopes, count, k);
}

static size_t stretch_end(const unsigned *part, size_t count, size_t from)
{
    size_t end = from + 1;
    while (end < count && (part == NULL || part[end] == part[from])) {
        end++;
    }
    return end;
}

bool ps_slope_robust(const double *x, const double *y, const unsigned *part, size_t count,
                     double confidence, struct ps_slope *out)
{
    PS_CHECK(count <= PS_SLOPE_POINTS);
    struct pairs pairs = {.count = 0};
    double rests[PS_SLOPE_POINTS];
    for (size_t from = 0, end; from < count; from = end) {
        end = stretch_end(part, count, from);
        pair_up(&pairs, x + from, y + from, end - from);
    }
    if (count < 8 || pairs.count == 0) {
        return false;
    }
    double slope = ps_trend_median(pairs.slope, pairs.count);
    for (size_t from = 0, end; from < count; from = end) {
        end = stretch_end(part, count, from);
        take_rests(x + from, y + from, end - from, slope, rests + from);
    }
    double wider = likeness(rests, count);
    double spread = sqrt(fmax(pairs.variance, 0) * wider);
    double worth = fmax((double)count / wider - 2, 1); /* that many points of their own */
    double quantile = ps_slope_t_quantile((1 + confidence) / 2, worth);
    double corrected = pairs.rising > 0 ? pairs.rising - 1 : pairs.rising < 0 ? pairs.rising + 1 : 0;
    double half = quantile * spread / 2;
    double middle = (double)pairs.count / 2;
    out->slope = slope;
    out->low = slope_at(pairs.slope, pairs.count, middle - half);
    out->high = slope_at(pairs.slope, pairs.count, middle + half);
    out->error = (out->high - out->low) / 2 / quantile;
    out->p = spread > 0 ? ps_slope_t_tail(corrected / spread, worth) : 1;
    return true;
}
