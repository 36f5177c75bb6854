/* plot - line charts, bars and dots as SVG, drawn by hand: no script, no font, nothing fetched.
 *
 *        +------------------------+ top
 *   high |      ,--.     |        |        lines break where a value is unknown (NAN);
 *        |  __,'    `.___|__      |        a mark is a line across with a word at it;
 *    low +------------------------+        a hint is text that shows over a column under the pointer
 *        x.low                x.high
 *
 * Colors are classes of the page's style sheet, so that a chart follows a dark page and a printer.
 *
 * Thread: pure; a plot is on the caller's stack.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_PLOT_H
#define PS_LOAD_PLOT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum ps_plot_unit {
    PS_PLOT_NUMBER,     /* 1.2k */
    PS_PLOT_RATE,       /* 1.2k/s */
    PS_PLOT_MS,         /* 250 ms, 1.5 s */
    PS_PLOT_TIME,       /* seconds since the start: 30 s, 5 min */
    PS_PLOT_BYTES,      /* 1.5 GiB */
    PS_PLOT_PERCENTILE, /* the value is -log10(1 - share): 0, 50 %, 90 %, 99 % */
};

struct ps_plot_axis {
    double low, high;
    bool log; /* both over 0 */
    enum ps_plot_unit unit;
};

struct ps_plot {
    struct ps_buf *out;
    int err; /* the first error; everything after it does nothing */
    struct ps_plot_axis x, y;
};

/* Begins a chart: frame, grid, ticks. `label` says what it shows to those who can't see it. An axis without
 * extent is widened; the y axis ends at a tick. */
void ps_plot_begin(struct ps_plot *plot, struct ps_buf *out, struct ps_plot_axis x, struct ps_plot_axis y,
                   const char *label);

/* `style` is one or more classes: "l1" to "l4" are lines, "dash", "area". */
void ps_plot_line(struct ps_plot *plot, const char *style, const double *x, const double *y, size_t count);
void ps_plot_area(struct ps_plot *plot, const char *style, const double *x, const double *y, size_t count);
void ps_plot_bar(struct ps_plot *plot, const char *style, double x_low, double x_high, double y, const char *hint);
void ps_plot_dot(struct ps_plot *plot, const char *style, double x, double y, const char *hint);
void ps_plot_band(struct ps_plot *plot, const char *style, double x_low, double x_high);
void ps_plot_mark(struct ps_plot *plot, const char *style, double x, const char *word);
void ps_plot_hint(struct ps_plot *plot, double x_low, double x_high, const char *hint);

/* Ends it. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_plot_end(struct ps_plot *plot);

#endif
