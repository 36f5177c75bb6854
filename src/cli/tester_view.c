/* tester_view - a run as it goes on: a few lines that are rewritten, or a line every few seconds.
 *
 *      load   http://127.0.0.1:5000/v1/chat/completions
 *      [##########------------------]  12 s of 60 s   50.0/s of 50/s   in flight 7   failed 0 of 600
 *      latency      p50 61.3 ms   p95 80.2 ms   p99 92.0 ms   max 110 ms
 *      first token  p50 ...
 *      p95          (sparkline of the last seconds)
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "cli/tester_private.h"
#include "load/tally.h"

#define WINDOW (5 * PS_SECOND)
#define PLAIN_EVERY 5 /* rows */
#define BAR 28
#define TEXT_MAX (64u << 10)

static void add_spans(struct ps_buf *out, const char *name, const struct ps_hist *hist)
{
    static const struct {
        const char *name;
        double share;
    } shares[] = {{"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}, {"max", 1}};
    if (hist->count == 0) {
        return;
    }
    PS_IGNORE(ps_buf_printf(out, "%-13s", name));
    for (size_t i = 0; i < PS_ARRAY_LEN(shares); i++) {
        char text[24];
        ps_tally_span_text(ps_hist_percentile(hist, shares[i].share), text, sizeof text);
        PS_IGNORE(ps_buf_printf(out, "%s %-10s", shares[i].name, text));
    }
    PS_IGNORE(ps_buf_append_str(out, PS_STR("\n")));
}

static void add_bar(const struct ps_tester *tester, struct ps_buf *out, double at)
{
    double all = ps_span_seconds(tester->expected);
    if (tester->expected == PS_NEVER || all <= 0) {
        PS_IGNORE(ps_buf_printf(out, "%.0f s", at));
        return;
    }
    char bar[BAR + 1];
    size_t full = (size_t)(fmin(at / all, 1) * BAR);
    memset(bar, '-', BAR);
    memset(bar, '#', full);
    bar[BAR] = '\0';
    PS_IGNORE(ps_buf_printf(out, "[%s]  %.0f s of %.0f s", bar, fmin(at, all), all));
}

static void add_counts(const struct ps_tester *tester, struct ps_buf *out, const struct ps_second *second)
{
    const struct ps_figures *figures = tester->figures;
    double rate = second->span > 0 ? (double)second->sent / second->span : 0;
    PS_IGNORE(ps_buf_printf(out, "  %.1f/s", rate));
    if (!isnan(second->target_rps)) {
        PS_IGNORE(ps_buf_printf(out, " of %.1f/s", second->target_rps));
    }
    PS_IGNORE(ps_buf_printf(out, "  in flight %llu  failed %llu of %llu", (unsigned long long)second->in_flight,
                            (unsigned long long)figures->failed,
                            (unsigned long long)(figures->failed + figures->succeeded)));
    if (figures->skipped > 0 || ps_run_limited(tester->run) != NULL) {
        PS_IGNORE(ps_buf_append_str(out, PS_STR("  generator_limited")));
    }
    PS_IGNORE(ps_buf_append_str(out, PS_STR("\n")));
}

static void add_sparkline(const struct ps_tester_view *view, struct ps_buf *out)
{
    static const char *const blocks[] = {"\u2581", "\u2582", "\u2583", "\u2584",
                                         "\u2585", "\u2586", "\u2587", "\u2588"};
    double most = 0;
    for (size_t i = 0; i < view->point_count; i++) {
        most = fmax(most, view->points[i]); /* fmax() takes the number where one is NAN */
    }
    if (most <= 0) {
        return;
    }
    PS_IGNORE(ps_buf_printf(out, "%-13s", "p95 by second"));
    PS_IGNORE(ps_buf_append_str(out, PS_STR(" ")));
    for (size_t i = 0; i < view->point_count; i++) {
        double share = view->points[i] / most;
        const char *block = isnan(share) ? " " : blocks[(size_t)fmin(share * 8, 7)];
        PS_IGNORE(ps_buf_append_str(out, ps_str_from(block)));
    }
    char text[24];
    PS_IGNORE(ps_buf_printf(out, "  up to %s\n", ps_tally_span_text(most * 1e6, text, sizeof text)));
}

static void keep_point(struct ps_tester_view *view, const struct ps_second *second)
{
    if (view->point_count == PS_TESTER_POINTS) {
        memmove(view->points, view->points + 1, (PS_TESTER_POINTS - 1) * sizeof *view->points);
        view->point_count--;
    }
    view->points[view->point_count++] = ps_hist_percentile(second->corrected, 0.95) / 1e6;
}

static void draw(struct ps_tester *tester, const struct ps_second *second)
{
    struct ps_tester_view *view = &tester->view;
    struct ps_buf text = ps_buf_make(TEXT_MAX);
    ps_time now = (ps_time)(second->at * 1e9);
    PS_IGNORE(ps_buf_printf(&text, "%-11s  %s\n", tester->command->name, tester->section.target));
    add_bar(tester, &text, second->at);
    add_counts(tester, &text, second);
    add_spans(&text, "latency", ps_window_look(&view->latency, now, WINDOW));
    add_spans(&text, "first token", ps_window_look(&view->first_token, now, WINDOW));
    add_sparkline(view, &text);
    if (tester->ops->on_view != NULL) {
        tester->ops->on_view(tester->ctx, &text);
    }
    ps_screen_draw(&view->screen, ps_buf_str(&text));
    ps_buf_fini(&text);
}

/* One line for the last few seconds. */
static void print_plain(struct ps_tester *tester, const struct ps_second *second)
{
    struct ps_tester_view *view = &tester->view;
    const struct ps_figures *figures = tester->figures;
    struct ps_buf text = ps_buf_make(TEXT_MAX);
    ps_time now = (ps_time)(second->at * 1e9);
    const struct ps_hist *latency = ps_window_look(&view->latency, now, WINDOW);
    char spans[3][24];
    double rate = view->span > 0 ? (double)view->sent / view->span : 0;
    PS_IGNORE(ps_buf_printf(
        &text, "%6.1f s  sent %llu (%.1f/s)  in flight %llu  ok %llu  failed %llu  latency p50 %s p95 %s p99 %s%s\n",
        second->at, (unsigned long long)figures->sent, rate, (unsigned long long)second->in_flight,
        (unsigned long long)figures->succeeded, (unsigned long long)figures->failed,
        ps_tally_span_text(ps_hist_percentile(latency, 0.5), spans[0], sizeof spans[0]),
        ps_tally_span_text(ps_hist_percentile(latency, 0.95), spans[1], sizeof spans[1]),
        ps_tally_span_text(ps_hist_percentile(latency, 0.99), spans[2], sizeof spans[2]),
        ps_run_limited(tester->run) != NULL ? "  generator_limited" : ""));
    if (tester->ops->on_view != NULL) {
        tester->ops->on_view(tester->ctx, &text);
    }
    ps_screen_draw(&view->screen, ps_buf_str(&text));
    ps_buf_fini(&text);
    view->sent = 0;
    view->span = 0;
    view->drawn = 0;
}

void ps_tester_view_row(struct ps_tester *tester, const struct ps_second *second)
{
    struct ps_tester_view *view = &tester->view;
    ps_window_add(&view->latency, second->corrected);
    ps_window_add(&view->first_token, second->ttft_corrected);
    keep_point(view, second);
    view->sent += second->sent;
    view->span += second->span;
    view->drawn++;
    if (tester->args.quiet) {
        return;
    }
    if (view->screen.terminal) {
        draw(tester, second);
    } else if (view->drawn == PLAIN_EVERY) {
        print_plain(tester, second);
    }
}
