/* bench_history - what a second of history costs control, and what a day of it takes on the disk.
 *
 *      history tick SERIES     JSON: microseconds of a second, of its longest slice, of the longest slice of
 *                              rolling up; of a page for a scraper; MiB
 *      history day SERIES FILE JSON: bytes of two hours in the ledger, and what was written of them
 *
 * Of ten series five are counters, four gauges, one is a histogram of 20 bounds. `day`: half of all stand
 * still, as most do in a program that serves one model.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/rng.h"
#include "export/prometheus.h"
#include "export/rollup.h"
#include "io/loop.h"
#include "observe/history.h"

#define START INT64_C(1800000000)

enum { TICKS = 900, COLLECT_SLICE = 512, ROLL_SLICE = 192, HOURS = 2 };

static const struct ps_metric_family rows[] = {
    {.name = "bench_things_total", .type = PS_METRIC_COUNTER, .help = "h", .labels = {"route", "upstream"}, .max_series = 1000000},
    {.name = "bench_depth", .type = PS_METRIC_GAUGE, .help = "h", .labels = {"route", "upstream"}, .max_series = 1000000},
    {.name = "bench_wait_seconds", .type = PS_METRIC_HISTOGRAM, .help = "h", .unit = "seconds", .labels = {"route", "upstream"},
     .bounds = ps_metric_seconds, .bounds_count = PS_METRIC_SECONDS_COUNT, .max_series = 1000000},
    {0},
};

struct stage {
    struct ps_clock clock;
    struct ps_metrics *metrics;
    struct ps_history *history;
    struct ps_rng rng;
    size_t series;
    struct ps_metric_handle **handles;
};

static double now_us(void)
{
    return (double)ps_clock_now(&ps_clock_real) / 1e3;
}

static double resident_mib(void)
{
    long total = 0;
    long resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    PS_CHECK(file != NULL && fscanf(file, "%ld %ld", &total, &resident) == 2);
    fclose(file);
    return (double)resident * 4096 / 1048576;
}

static void open_registry(struct stage *stage, size_t series)
{
    const char *bad;
    ps_clock_init_manual(&stage->clock, 0, START * PS_SECOND);
    const struct ps_metrics_opts opts = {.shards = 6, .clock = &stage->clock};
    PS_CHECK(ps_metrics_new(&stage->metrics, &opts) == PS_OK);
    PS_CHECK(ps_metrics_declare(stage->metrics, rows, &bad) == PS_OK);
    stage->series = series;
    stage->rng = ps_rng_make(5);
    stage->handles = calloc(series, sizeof *stage->handles);
    for (size_t i = 0; i < series; i++) {
        char route[32];
        snprintf(route, sizeof route, "route-%zu", i);
        const struct ps_metric_family *row = &rows[i % 10 < 5 ? 0 : i % 10 < 9 ? 1 : 2];
        PS_CHECK(ps_metric_any(stage->metrics, row, PS_LABELS(ps_str_from(route), PS_STR("http://10.0.0.1:8000")),
                               &stage->handles[i]) == PS_OK);
    }
}

static void open_history(struct stage *stage)
{
    const struct ps_history_opts opts = {.max_series = 2 * stage->series + 100, .points = 300};
    PS_CHECK(ps_history_new(&stage->history, &opts) == PS_OK);
}

/* Every n-th series moves. */
static void move(struct stage *stage, size_t every)
{
    for (size_t i = 0; i < stage->series; i++) {
        struct ps_metric_handle *handle = stage->handles[i];
        double value = ps_rng_exponential(&stage->rng, 0.05);
        if ((i / 10) % every != 0) {
            if (handle->family == &rows[1]) {
                ps_gauge_set((struct ps_gauge *)(void *)handle, 1);
            }
        } else if (handle->family == &rows[0]) {
            ps_counter_add_shared((struct ps_counter *)(void *)handle, (uint64_t)(value * 100));
        } else if (handle->family == &rows[1]) {
            ps_gauge_set((struct ps_gauge *)(void *)handle, value);
        } else {
            ps_histogram_observe((struct ps_histogram *)(void *)handle, 0, value);
        }
    }
}

static double begin(struct stage *stage, double *longest)
{
    double all = 0;
    int err = PS_EBUSY;
    ps_clock_advance(&stage->clock, PS_SECOND);
    PS_CHECK(ps_history_begin(stage->history, ps_clock_wall(&stage->clock) / PS_SECOND));
    while (err == PS_EBUSY) {
        double began = now_us();
        err = ps_history_collect(stage->history, stage->metrics, COLLECT_SLICE);
        double took = now_us() - began;
        *longest = took > *longest ? took : *longest;
        all += took;
    }
    return all;
}

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

static void roll(struct ps_rollup *rollup, double slices[], size_t *count)
{
    bool more = true;
    while (more) {
        double began = now_us();
        more = ps_rollup_write(rollup, ROLL_SLICE);
        if (more && *count < TICKS) {
            slices[(*count)++] = now_us() - began;
        }
    }
}

static double page_us(struct stage *stage)
{
    struct ps_buf page = ps_buf_make((size_t)1 << 30);
    double best = 1e12;
    for (int i = 0; i < 20; i++) {
        ps_buf_clear(&page);
        double began = now_us();
        PS_CHECK(ps_prometheus_write(stage->metrics, PS_PROMETHEUS_TEXT, &page) == PS_OK);
        double took = now_us() - began;
        best = took < best ? took : best;
    }
    ps_buf_fini(&page);
    return best;
}

static int tick(size_t series)
{
    struct stage stage = {0};
    double whole[TICKS];
    double longest[TICKS] = {0};
    double slices[TICKS];
    size_t slice_count = 0;
    struct ps_rollup *rollup;
    open_registry(&stage, series);
    move(&stage, 1);
    double before = resident_mib();
    open_history(&stage);
    PS_CHECK(ps_rollup_new(&rollup, stage.history, NULL) == PS_OK);
    ps_rollup_keep(rollup, 48 * PS_HOUR, 400 * 24 * PS_HOUR);
    for (int i = 0; i < TICKS; i++) {
        move(&stage, 1);
        whole[i] = begin(&stage, &longest[i]);
        roll(rollup, slices, &slice_count);
    }
    double mib = resident_mib() - before;
    size_t tracks = ps_history_count(stage.history);
    double page = page_us(&stage);
    qsort(whole, TICKS, sizeof whole[0], ascending);
    qsort(longest, TICKS, sizeof longest[0], ascending);
    qsort(slices, slice_count, sizeof slices[0], ascending);
    printf("{\"tracks\":%zu,\"second_us\":%.1f,\"slice_us\":%.1f,\"slice_p99_us\":%.1f,\"roll_slice_us\":%.1f,"
           "\"roll_slice_p99_us\":%.1f,\"page_us\":%.1f,\"mib\":%.2f}\n",
           tracks, whole[TICKS / 2], longest[TICKS / 2], longest[TICKS * 99 / 100], slices[slice_count / 2],
           slices[slice_count * 99 / 100], page, mib);
    return 0;
}

/* --- a day ------------------------------------------------------------------------------------ */

static void on_written(void *ctx, int err, const struct ps_ledger_rows *rows_read)
{
    (void)rows_read;
    PS_CHECK(err == PS_OK);
    ps_loop_stop(ctx);
}

static void settle(struct ps_ledger *ledger, struct ps_loop *loop)
{
    const struct ps_ledger_statement nothing = {"UPDATE history_done SET start_s = 1 WHERE 0", NULL, 0};
    PS_CHECK(ps_ledger_write(ledger, &nothing, 1, on_written, loop) == PS_OK);
    ps_loop_run(loop);
}

struct counting {
    struct ps_loop *loop;
    unsigned long long rows;
};

static void on_count(void *ctx, int err, const struct ps_ledger_rows *counted)
{
    struct counting *counting = ctx;
    PS_CHECK(err == PS_OK);
    counting->rows = (unsigned long long)ps_ledger_at(counted, 0, 0)->integer;
    ps_loop_stop(counting->loop);
}

static unsigned long long count_rows(struct ps_ledger *ledger, struct ps_loop *loop)
{
    struct counting counting = {.loop = loop};
    const struct ps_ledger_statement count = {"SELECT count(*) FROM history_minute", NULL, 0};
    PS_CHECK(ps_ledger_read(ledger, &count, 1, on_count, &counting) == PS_OK);
    ps_loop_run(loop);
    return counting.rows;
}

static int day(size_t series, const char *path)
{
    static const struct ps_ledger_room *const rooms[] = {&ps_rollup_ledger_room, NULL};
    const struct ps_ledger_opts opts = {.path = path, .rooms = rooms, .clock = &ps_clock_real};
    struct stage stage = {0};
    struct ps_rollup *rollup;
    struct ps_loop *loop;
    struct ps_ledger *ledger;
    struct ps_ledger_stats stats;
    double longest = 0;
    double cpu = 0;
    open_registry(&stage, series);
    open_history(&stage);
    PS_CHECK(ps_loop_new(&loop, &ps_clock_real) == PS_OK);
    PS_CHECK(ps_ledger_new(&ledger, &opts, loop) == PS_OK);
    PS_CHECK(ps_rollup_new(&rollup, stage.history, ledger) == PS_OK);
    ps_rollup_keep(rollup, 48 * PS_HOUR, 400 * 24 * PS_HOUR);
    for (int i = 0; i < HOURS * 3600; i++) {
        move(&stage, 2);
        (void)begin(&stage, &longest);
        while (ps_rollup_write(rollup, SIZE_MAX)) {
        }
        if (i % 60 == 59) {
            double began = now_us();
            settle(ledger, loop);
            cpu += now_us() - began;
        }
    }
    settle(ledger, loop);
    size_t tracks = ps_history_count(stage.history);
    ps_rollup_finish(rollup);
    settle(ledger, loop);
    ps_ledger_stats(ledger, &stats);
    unsigned long long wrote = count_rows(ledger, loop);
    ps_rollup_free(rollup);
    ps_ledger_free(ledger, PS_MINUTE);
    printf("{\"tracks\":%zu,\"minutes\":%d,\"rows\":%llu,\"write_ms\":%.2f,\"dropped\":%llu,\"transactions\":%llu}\n", tracks, HOURS * 60,
           wrote,
           cpu / 1e3 / (HOURS * 60), (unsigned long long)stats.dropped, (unsigned long long)stats.transactions);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "tick") == 0) {
        return tick(strtoul(argv[2], NULL, 10));
    }
    if (argc == 4 && strcmp(argv[1], "day") == 0) {
        return day(strtoul(argv[2], NULL, 10), argv[3]);
    }
    fprintf(stderr, "history tick SERIES | day SERIES FILE\n");
    return 2;
}
