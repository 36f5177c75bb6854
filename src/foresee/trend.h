/* trend - is a series getting better, worse, or neither, and how fast?
 *
 * A window of points, each the median of some samples, so that a spike is not a trend. The slope is
 * Theil's and Sen's (the median of the slopes between all pairs: a quarter of the points may be
 * nonsense), the test is Mann's and Kendall's (how many pairs rise and how many fall, beyond
 * chance), made stricter where neighbours resemble each other. A word other than `stable` needs all
 * of
 *
 *      |z| > 2.58                               not chance (1 in 100)
 *      change over the window > least_change    matters
 *      change over the window > 2 scales        stands out of what remains around the line
 *
 * three points in a row; the way back is the same.
 *
 * A sample costs a store, a completed point about 1,100 slopes. Nothing is allocated.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_FORESEE_TREND_H
#define PS_FORESEE_TREND_H

#include <stdbool.h>
#include <stddef.h>

enum { PS_TREND_POINTS = 48, PS_TREND_LEAST = 12, PS_TREND_MOST_PER = 64 };

enum ps_trend_word { PS_TREND_STABLE, PS_TREND_IMPROVING, PS_TREND_DEGRADING };

/* "stable", "improving", "degrading" */
extern const char *const ps_trend_words[];

struct ps_trend_opts {
    unsigned per;        /* samples that make a point, 1 to PS_TREND_MOST_PER */
    bool more_is_better; /* which direction is an improvement */
    double least_change; /* as a share of the level; 0.05 is a good value */
};

struct ps_trend {
    struct ps_trend_opts opts;
    double sample[PS_TREND_MOST_PER]; /* of the point in the making */
    unsigned samples;
    double point[PS_TREND_POINTS]; /* a ring */
    size_t first, points;
    double slope;
    double z;
    double change;
    double level;
    enum ps_trend_word word, next;
    unsigned in_a_row; /* points that said `next` */
};

struct ps_trend_result {
    enum ps_trend_word word;
    double slope;  /* per sample; 0 until there are PS_TREND_LEAST points */
    double z;      /* standard deviations from chance; its sign is the slope's */
    double change; /* over the window, in the unit of the series */
    double level;  /* of the line at its newest end; NAN without points */
    size_t points;
};

void ps_trend_init(struct ps_trend *trend, const struct ps_trend_opts *opts);

/* Takes the next sample, at regular times; what is not finite is left out. */
void ps_trend_push(struct ps_trend *trend, double value);

struct ps_trend_result ps_trend_read(const struct ps_trend *trend);

/* The median of the values, which change their places. NAN when there are none. */
double ps_trend_median(double *values, size_t count);

#endif
