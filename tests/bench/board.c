/* board - what the dashboard costs control: a second of the board and its frame, the first frame of
 * somebody who comes, the summary of everything; beside the same document made with jansson.
 *
 * Usage: bench_board ENDPOINTS CUSTOM        prints {"keys","second_ms","second_p99_ms",...}
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "bench.h"
#include "export/board.h"
#include "export/frame.h"
#include "gateway/traffic.h"
#include "observe/event.h"
#include "observe/history.h"
#include "observe/metric.h"
#include "operate/gpu.h"

enum { SECONDS = 600, GAUGES = 4, ROUTES = 20, TRIES = 21, MOST = 4096 };

#define FRAME_LIMIT ((size_t)64 * 1024 * 1024)

static const struct ps_metric_family custom_rows[] = {
    {.name = "many", .type = PS_METRIC_GAUGE, .help = "Many", .labels = {"n"}}, {0}};

struct scene {
    struct ps_metrics *metrics;
    struct ps_history *history;
    struct ps_board *board;
    struct ps_frame *frame;
    struct ps_gauge *gauges[MOST];
    size_t count;
    struct ps_histogram *latencies[ROUTES];
};

static double ms_since(int64_t start)
{
    return (double)(bench_now() - start) / 1e6;
}

static int by_size(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

static void add_gauge(struct scene *scene, const char *name, const struct ps_metric_labels *labels)
{
    const struct ps_metric_family *row = ps_metrics_find(scene->metrics, ps_str_from(name));
    PS_CHECK(row != NULL && scene->count < MOST);
    PS_CHECK(ps_metric_gauge(scene->metrics, row, labels, &scene->gauges[scene->count++]) == PS_OK);
}

static void make_series(struct scene *scene, size_t endpoints, size_t custom)
{
    static const char *const names[GAUGES] = {"penstock_backend_up", "penstock_backend_in_flight",
                                              "penstock_gpu_server_level",
                                              "penstock_gpu_server_kv_ratio"};
    char text[64];
    for (size_t i = 0; i < endpoints; i++) {
        snprintf(text, sizeof text, "host-%zu.example:8000", i);
        for (size_t j = 0; j < GAUGES; j++) {
            add_gauge(scene, names[j], PS_LABELS(PS_STR("llama"), ps_str_from(text)));
        }
    }
    for (size_t i = 0; i < custom; i++) {
        snprintf(text, sizeof text, "%zu", i);
        add_gauge(scene, "many", PS_LABELS(ps_str_from(text)));
    }
    for (size_t i = 0; i < ROUTES; i++) {
        const struct ps_metric_family *row =
            ps_metrics_find(scene->metrics, PS_STR("penstock_traffic_latency_seconds"));
        snprintf(text, sizeof text, "route-%zu", i);
        PS_CHECK(ps_metric_histogram(scene->metrics, row, PS_LABELS(ps_str_from(text)),
                                     &scene->latencies[i]) == PS_OK);
    }
}

static void make(struct scene *scene, size_t endpoints, size_t custom)
{
    struct ps_metrics_opts opts = {.shards = 5};
    struct ps_history_opts history = {.max_series = 10000, .points = 300};
    struct ps_events *events;
    PS_CHECK(ps_metrics_new(&scene->metrics, &opts) == PS_OK);
    PS_CHECK(ps_metrics_declare(scene->metrics, ps_traffic_metric_families, NULL) == PS_OK);
    PS_CHECK(ps_metrics_declare(scene->metrics, ps_gpu_metric_families, NULL) == PS_OK);
    PS_CHECK(ps_metrics_declare(scene->metrics, custom_rows, NULL) == PS_OK);
    PS_CHECK(ps_history_new(&scene->history, &history) == PS_OK);
    PS_CHECK(ps_board_new(&scene->board, scene->metrics, scene->history) == PS_OK);
    PS_CHECK(ps_events_new(&events, 200) == PS_OK);
    struct ps_frame_opts frame = {scene->history, events, true};
    PS_CHECK(ps_frame_new(&scene->frame, &frame) == PS_OK);
    make_series(scene, endpoints, custom);
}

/* One second; how long control had to do with it. */
static double pass(struct scene *scene, int64_t second)
{
    const char *const *keys;
    for (size_t i = 0; i < scene->count; i++) {
        ps_gauge_set(scene->gauges[i], drand48() * 1000);
    }
    for (size_t i = 0; i < 10 * ROUTES; i++) {
        ps_histogram_observe_shared(scene->latencies[i % ROUTES], 0.001 + drand48());
    }
    PS_CHECK(ps_history_begin(scene->history, 1767000000 + second));
    PS_CHECK(ps_history_collect(scene->history, scene->metrics, SIZE_MAX) == PS_OK);
    int64_t start = bench_now();
    PS_CHECK(ps_board_second(scene->board, second * PS_SECOND) == PS_OK);
    size_t count = ps_board_keys(scene->board, &keys);
    PS_CHECK(ps_frame_second(scene->frame, (double)(1767000000 + second), keys, count) == PS_OK);
    return ms_since(start);
}

/* The same document as a tree that is written. */
static double peer_first(const struct scene *scene)
{
    const char *const *keys;
    size_t count = ps_board_keys(scene->board, &keys);
    int64_t second = ps_history_second(scene->history);
    int64_t start = bench_now();
    json_t *metrics = json_object();
    json_t *series = json_object();
    for (size_t i = 0; i < count; i++) {
        const struct ps_history_track *track =
            ps_history_find(scene->history, ps_str_from(keys[i]));
        json_t *list = json_array();
        for (int64_t at = second - 299; track != NULL && at <= second; at++) {
            json_array_append_new(list, json_real(ps_history_at(scene->history, track, at)));
        }
        json_object_set_new(metrics, keys[i], json_incref(json_array_get(list, 299)));
        json_object_set_new(series, keys[i], list);
    }
    json_t *root = json_pack("{so so}", "metrics", metrics, "series", series);
    char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9));
    double took = ms_since(start);
    PS_CHECK(text != NULL);
    free(text);
    json_decref(root);
    return took;
}

static double write_one(struct scene *scene, bool summary, bool first, size_t *bytes)
{
    struct ps_buf out = ps_buf_make(FRAME_LIMIT);
    int64_t start = bench_now();
    int err = summary ? ps_frame_write_summary(scene->frame, NULL, 0, 0, &out)
                      : ps_frame_write(scene->frame, NULL, 0, first, &out);
    double took = ms_since(start);
    PS_CHECK(err == PS_OK);
    *bytes = out.len;
    ps_buf_fini(&out);
    return took;
}

static double median_of(double *values, size_t count)
{
    qsort(values, count, sizeof values[0], by_size);
    return values[count / 2];
}

int main(int argc, char **argv)
{
    static struct scene scene;
    static double seconds[SECONDS];
    double tries[4][TRIES];
    size_t bytes[3];
    const char *const *keys;
    if (argc != 3) {
        fprintf(stderr, "usage: bench_board ENDPOINTS CUSTOM\n");
        return 2;
    }
    make(&scene, strtoul(argv[1], NULL, 10), strtoul(argv[2], NULL, 10));
    for (int64_t i = 0; i < SECONDS; i++) {
        seconds[i] = pass(&scene, i + 1);
    }
    for (size_t i = 0; i < TRIES; i++) {
        tries[0][i] = write_one(&scene, false, false, &bytes[0]);
        tries[1][i] = write_one(&scene, false, true, &bytes[1]);
        tries[2][i] = write_one(&scene, true, true, &bytes[2]);
    }
    for (size_t i = 0; i < TRIES; i++) {
        tries[3][i] =
            peer_first(&scene); /* behind ours: what it frees is tidied up in the next call */
    }
    double second = median_of(seconds + SECONDS / 2, SECONDS / 2); /* the history is full */
    printf("{\"keys\": %zu, \"second_ms\": %.4f, \"second_p99_ms\": %.4f, \"frame_ms\": %.4f, "
           "\"first_ms\": %.4f, \"summary_ms\": %.4f, \"peer_first_ms\": %.4f, \"first_bytes\": "
           "%zu}\n",
           ps_board_keys(scene.board, &keys), second, seconds[SECONDS / 2 + SECONDS / 2 * 99 / 100],
           median_of(tries[0], TRIES), median_of(tries[1], TRIES), median_of(tries[2], TRIES),
           median_of(tries[3], TRIES), bytes[1]);
    return 0;
}
