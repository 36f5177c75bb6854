/* significance - see significance.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/significance.h"

#include <math.h>
#include <stdbool.h>

#define TINY 1e-300
#define ROUNDS 400

static double not_zero(double value)
{
    return fabs(value) < TINY ? TINY : value;
}

/* The continued fraction for x below (a + 1) / (a + b + 2). */
static double fraction(double x, double a, double b)
{
    double c = 1, d = 1 / not_zero(1 - (a + b) * x / (a + 1)), result = d;
    for (int m = 1; m <= ROUNDS; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        d = 1 / not_zero(1 + even * d);
        c = not_zero(1 + even / c);
        result *= d * c;
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 / not_zero(1 + odd * d);
        c = not_zero(1 + odd / c);
        result *= d * c;
        if (fabs(d * c - 1) < 1e-13) {
            break;
        }
    }
    return result;
}

double ps_significance_beta(double x, double a, double b)
{
    if (x <= 0 || x >= 1) {
        return x <= 0 ? 0 : 1;
    }
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1) / (a + b + 2) ? front * fraction(x, a, b) / a : 1 - front * fraction(1 - x, b, a) / b;
}

double ps_significance_t(double t, double df)
{
    return ps_significance_beta(df / (df + t * t), df / 2, 0.5);
}

double ps_significance_t_bound(double confidence, double df)
{
    double low = 0, high = 1;
    while (ps_significance_t(high, df) > 1 - confidence && high < 1e9) {
        high *= 2;
    }
    for (int i = 0; i < 80; i++) {
        double middle = (low + high) / 2;
        *(ps_significance_t(middle, df) > 1 - confidence ? &low : &high) = middle;
    }
    return high;
}

double ps_significance_binomial(double k, double n, double p)
{
    if (n <= 0) {
        return 1;
    }
    double at_least = k <= 0 ? 1 : ps_significance_beta(p, k, n - k + 1);
    double at_most = k >= n ? 1 : ps_significance_beta(1 - p, n - k, k + 1);
    return fmin(1, 2 * fmin(at_least, at_most));
}

void ps_significance_holm(double *p, size_t count)
{
    size_t tests = 0, done = 0;
    double last = 0;
    bool taken[64] = {false};
    for (size_t i = 0; i < count; i++) {
        tests += isnan(p[i]) ? 0 : 1;
    }
    for (; done < tests; done++) {
        size_t least = count;
        for (size_t i = 0; i < count && i < 64; i++) {
            if (!taken[i] && !isnan(p[i]) && (least == count || p[i] < p[least])) {
                least = i;
            }
        }
        if (least == count) {
            return;
        }
        taken[least] = true;
        last = fmax(last, fmin(1, p[least] * (double)(tests - done)));
        p[least] = last;
    }
}
