/* plot - see plot.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "load/markup.h"

/* Units of the drawing; its width on a page is up to the page. */
#define WIDTH 480.0
#define HEIGHT 230.0
#define LEFT 56.0
#define RIGHT 466.0
#define TOP 14.0
#define BOTTOM 200.0
#define TICKS_X 6.0
#define TICKS_Y 5.0

static void print(struct ps_plot *plot, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void print(struct ps_plot *plot, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    plot->err = plot->err == PS_OK ? ps_buf_vprintf(plot->out, format, args) : plot->err;
    va_end(args);
}

static void print_text(struct ps_plot *plot, const char *text)
{
    plot->err = plot->err == PS_OK ? ps_markup_text(plot->out, ps_str_from(text)) : plot->err;
}

/* ------------------------------------------------------------------------------------ scales */

static double share_of(const struct ps_plot_axis *axis, double value)
{
    if (axis->log) {
        return value <= axis->low ? 0 : log(value / axis->low) / log(axis->high / axis->low);
    }
    return (value - axis->low) / (axis->high - axis->low);
}

/* What is unknown is at the low end: callers that mind leave it out. */
static double clamp(double value, double low, double high)
{
    return !(value > low) ? low : value > high ? high : value;
}

static double to_x(const struct ps_plot *plot, double value)
{
    return clamp(LEFT + share_of(&plot->x, value) * (RIGHT - LEFT), LEFT, RIGHT);
}

static double to_y(const struct ps_plot *plot, double value)
{
    return BOTTOM - clamp(share_of(&plot->y, value), 0, 1) * (BOTTOM - TOP);
}

/* 1, 2 or 5 times a power of ten. */
static double round_step(double rough)
{
    double power = pow(10, floor(log10(rough)));
    double lead = rough / power;
    return power * (lead <= 1.0001 ? 1 : lead <= 2.0001 ? 2 : lead <= 5.0001 ? 5 : 10);
}

static double step_of(const struct ps_plot_axis *axis, double ticks)
{
    static const double spans[] = {1,   2,   5,   10,   15,   30,   60,    120,   300,
                                   600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400};
    double rough = (axis->high - axis->low) / ticks;
    if (axis->unit == PS_PLOT_BYTES) {
        double unit = rough >= 1 << 30 ? 1 << 30 : 1 << 20;
        return unit * round_step(rough / unit);
    }
    for (size_t i = 0; axis->unit == PS_PLOT_TIME && i < PS_ARRAY_LEN(spans); i++) {
        if (spans[i] >= rough) {
            return spans[i];
        }
    }
    return round_step(rough);
}

/* ------------------------------------------------------------------------------------- ticks */

/* As many decimals as tell ticks of this step apart. */
static int decimals(double step)
{
    return step >= 1 || step <= 0 ? 0 : (int)clamp(ceil(-log10(step) - 1e-9), 0, 9);
}

static void write_number(double value, double step, const char *unit, char *text, size_t size)
{
    if (fabs(value) >= 10000) {
        snprintf(text, size, "%gk%s", round(value / 10) / 100, unit);
    } else {
        snprintf(text, size, "%.*f%s", decimals(step), value, unit);
    }
}

static void write_time(double value, double step, char *text, size_t size)
{
    double unit = step >= 3600 ? 3600 : step >= 60 ? 60 : 1;
    snprintf(text, size, "%g%s", value / unit, value == 0 ? "" : unit > 60 ? " h" : unit > 1 ? " min" : " s");
}

static void write_tick(const struct ps_plot_axis *axis, double value, double step, char *text, size_t size)
{
    switch (axis->unit) {
    case PS_PLOT_NUMBER:
    case PS_PLOT_PERCENTILE:
        write_number(value, step, "", text, size);
        break;
    case PS_PLOT_RATE:
        write_number(value, step, "/s", text, size);
        break;
    case PS_PLOT_MS:
        if (axis->high > 2000) {
            snprintf(text, size, "%g s", value / 1000);
        } else {
            write_number(value, step, " ms", text, size);
        }
        break;
    case PS_PLOT_TIME:
        write_time(value, step, text, size);
        break;
    case PS_PLOT_BYTES:
        snprintf(text, size, step >= 1 << 30 ? "%g GiB" : "%g MiB", value / (step >= 1 << 30 ? 1 << 30 : 1 << 20));
        break;
    }
}

static void tick_x(struct ps_plot *plot, double value, const char *text)
{
    double x = to_x(plot, value);
    /* A word at an end of the axis stays inside the drawing. */
    const char *anchor = x > RIGHT - 14 ? "end" : "middle";
    print(plot, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.0f\" y2=\"%.0f\"/>", x, x, TOP, BOTTOM);
    print(plot, "<text x=\"%.1f\" y=\"%.0f\" text-anchor=\"%s\">%s</text>\n", x, BOTTOM + 18, anchor, text);
}

static void tick_y(struct ps_plot *plot, double value, const char *text)
{
    double y = to_y(plot, value);
    print(plot, "<line class=\"grid\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT, RIGHT, y, y);
    print(plot, "<text x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", LEFT - 6, y + 4, text);
}

static void put_tick(struct ps_plot *plot, bool is_x, double value, double step)
{
    char text[48];
    write_tick(is_x ? &plot->x : &plot->y, value, step, text, sizeof text);
    (is_x ? tick_x : tick_y)(plot, value, text);
}

/* 1, 10, 100 ... and, where these are few, 2 and 5 times them. */
static void ticks_log(struct ps_plot *plot, bool is_x, const struct ps_plot_axis *axis)
{
    bool wide = axis->high / axis->low > 2000;
    for (double power = pow(10, floor(log10(axis->low))); power <= axis->high; power *= 10) {
        static const double leads[] = {1, 2, 5};
        for (size_t i = 0; i < (wide ? 1u : 3u); i++) {
            double value = leads[i] * power;
            if (value >= axis->low * 0.999 && value <= axis->high * 1.001) {
                put_tick(plot, is_x, value, value);
            }
        }
    }
}

static void ticks_percentile(struct ps_plot *plot)
{
    static const struct {
        double share;
        const char *text;
    } rows[] = {{0, "0"}, {0.5, "50 %"}, {0.9, "90 %"}, {0.99, "99 %"}, {0.999, "99.9 %"}, {0.9999, "99.99 %"},
                {0.99999, "99.999 %"}};
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        double value = -log10(1 - rows[i].share);
        if (value <= plot->x.high + 1e-9) {
            tick_x(plot, value, rows[i].text);
        }
    }
}

static void ticks(struct ps_plot *plot, bool is_x)
{
    const struct ps_plot_axis *axis = is_x ? &plot->x : &plot->y;
    if (axis->log) {
        ticks_log(plot, is_x, axis);
        return;
    }
    if (axis->unit == PS_PLOT_PERCENTILE) {
        ticks_percentile(plot);
        return;
    }
    double step = step_of(axis, is_x ? TICKS_X : TICKS_Y);
    double first = ceil(axis->low / step - 1e-9);
    for (int i = 0; i < 40 && (first + i) * step <= axis->high + step * 1e-6; i++) {
        put_tick(plot, is_x, (first + i) * step, step);
    }
}

/* ------------------------------------------------------------------------------------ begin */

/* An axis that can be divided by: finite, and from low to something higher. */
static struct ps_plot_axis sound(struct ps_plot_axis axis)
{
    axis.low = isfinite(axis.low) ? axis.low : 0;
    axis.high = isfinite(axis.high) ? axis.high : axis.low + 1;
    if (axis.log) {
        axis.low = axis.low > 0 ? axis.low : 1e-3;
        axis.high = axis.high > axis.low * 1.1 ? axis.high : axis.low * 10;
    } else if (!(axis.high - axis.low > fabs(axis.high) * 1e-9)) {
        axis.high = axis.low + fmax(fabs(axis.low) * 0.1, 1);
    }
    return axis;
}

void ps_plot_begin(struct ps_plot *plot, struct ps_buf *out, struct ps_plot_axis x, struct ps_plot_axis y,
                   const char *label)
{
    *plot = (struct ps_plot){out, PS_OK, sound(x), sound(y)};
    if (!plot->y.log) {
        double step = step_of(&plot->y, TICKS_Y);
        plot->y.high = step * ceil(plot->y.high / step - 1e-9);
        plot->y.low = step * floor(plot->y.low / step + 1e-9);
    }
    print(plot, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    print_text(plot, label);
    print(plot, "\">\n");
    ticks(plot, true);
    ticks(plot, false);
    print(plot, "<line class=\"axis\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.0f\" y2=\"%.0f\"/>\n", LEFT, RIGHT, BOTTOM,
          BOTTOM);
}

int ps_plot_end(struct ps_plot *plot)
{
    print(plot, "</svg>\n");
    return plot->err;
}

/* ------------------------------------------------------------------------------------ shapes */

void ps_plot_line(struct ps_plot *plot, const char *style, const double *x, const double *y, size_t count)
{
    bool drawing = false;
    print(plot, "<path class=\"line %s\" d=\"", style);
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(x[i]) || !isfinite(y[i])) {
            drawing = false;
            continue;
        }
        bool alone = !drawing && (i + 1 == count || !isfinite(y[i + 1]));
        print(plot, "%s%.1f %.1f%s", drawing ? "L" : "M", to_x(plot, x[i]), to_y(plot, y[i]), alone ? "h.1" : "");
        drawing = true;
    }
    print(plot, "\"/>\n");
}

void ps_plot_area(struct ps_plot *plot, const char *style, const double *x, const double *y, size_t count)
{
    if (count == 0) {
        return;
    }
    print(plot, "<path class=\"%s\" d=\"M%.1f %.0f", style, to_x(plot, x[0]), BOTTOM);
    for (size_t i = 0; i < count; i++) {
        print(plot, "L%.1f %.1f", to_x(plot, x[i]), to_y(plot, isfinite(y[i]) ? y[i] : plot->y.low));
    }
    print(plot, "L%.1f %.0fZ\"/>\n", to_x(plot, x[count - 1]), BOTTOM);
}

static void end_with_hint(struct ps_plot *plot, const char *element, const char *hint)
{
    if (hint == NULL) {
        print(plot, "/>\n");
        return;
    }
    print(plot, "><title>");
    print_text(plot, hint);
    print(plot, "</title></%s>\n", element);
}

static void rectangle(struct ps_plot *plot, const char *style, double x_low, double x_high, double top,
                      const char *hint)
{
    double x = to_x(plot, x_low), width = to_x(plot, x_high) - x;
    print(plot, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"", style, x, top,
          width > 0 ? width : 0.5, BOTTOM - top);
    end_with_hint(plot, "rect", hint);
}

void ps_plot_bar(struct ps_plot *plot, const char *style, double x_low, double x_high, double y, const char *hint)
{
    rectangle(plot, style, x_low, x_high, to_y(plot, y), hint);
}

void ps_plot_band(struct ps_plot *plot, const char *style, double x_low, double x_high)
{
    rectangle(plot, style, x_low, x_high, TOP, NULL);
}

void ps_plot_hint(struct ps_plot *plot, double x_low, double x_high, const char *hint)
{
    rectangle(plot, "hint", x_low, x_high, TOP, hint);
}

void ps_plot_dot(struct ps_plot *plot, const char *style, double x, double y, const char *hint)
{
    if (isfinite(x) && isfinite(y)) {
        print(plot, "<circle class=\"dot %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"", style, to_x(plot, x), to_y(plot, y));
        end_with_hint(plot, "circle", hint);
    }
}

void ps_plot_mark(struct ps_plot *plot, const char *style, double x, const char *word)
{
    if (!isfinite(x) || x < plot->x.low || x > plot->x.high) {
        return;
    }
    double at = to_x(plot, x);
    bool left = at > (LEFT + RIGHT) / 2;
    print(plot, "<line class=\"mark %s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.0f\" y2=\"%.0f\"/>", style, at, at, TOP,
          BOTTOM);
    print(plot, "<text class=\"%s\" x=\"%.1f\" y=\"%.0f\" text-anchor=\"%s\">", style, left ? at - 4 : at + 4,
          TOP + 10, left ? "end" : "start");
    print_text(plot, word);
    print(plot, "</text>\n");
}
