/* metric - a program counts its work, on several threads, and shows the page.
 *
 * Usage: example_metric                the page as text
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <penstock/penstock.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4, JOBS = 1000 };

/* What the threads move; bound once. */
struct work {
    struct ps_metric_bound *done;
    struct ps_metric_bound *waited;
    struct ps_metric *failures; /* by reason, which is known only when it happens */
};

static void *run(void *context)
{
    const struct work *work = context;
    const char *const why[] = {"timeout"};
    struct ps_metric_bound *failed;
    for (int i = 0; i < JOBS; i++) {
        ps_metric_add(work->done, 1);
        ps_metric_observe(work->waited, i % 2 == 0 ? 0.0625 : 0.5);
        if (i % 100 == 0 && ps_metric_find(work->failures, why, &failed) == PS_OK) {
            ps_metric_add(failed, 1);
        }
    }
    return NULL;
}

/* A metric with one series, whose label values are `values`. */
static struct ps_metric_bound *
series(struct ps_metric_page *page, const struct ps_metric_about *about, const char *const *values)
{
    struct ps_metric *metric;
    struct ps_metric_bound *bound;
    if (ps_metric_register(page, about, &metric) != PS_OK ||
        ps_metric_bind(metric, values, &bound) != PS_OK) {
        fprintf(stderr, "example_metric: %s\n", ps_last_error());
        exit(1);
    }
    return bound;
}

static void set_up(struct ps_metric_page *page, struct work *work)
{
    static const char *const queue[] = {"queue", NULL}, *const reason[] = {"reason", NULL};
    static const char *const version[] = {"version", NULL};
    static const char *const states[] = {"starting", "serving", "draining", NULL};
    static const char *const images[] = {"images"}, *const one[] = {"1.2"};
    static const double bounds[] = {0.1, 1, 10};
    const struct ps_metric_about jobs = {.name = "app_jobs_total",
                                         .kind = PS_METRIC_KIND_COUNTER,
                                         .help = "Jobs done",
                                         .labels = queue};
    const struct ps_metric_about wait = {.name = "app_wait_seconds",
                                         .kind = PS_METRIC_KIND_HISTOGRAM,
                                         .help = "How long jobs waited",
                                         .unit = "seconds",
                                         .bounds = bounds,
                                         .bounds_count = 3};
    const struct ps_metric_about failures = {.name = "app_failures_total",
                                             .kind = PS_METRIC_KIND_COUNTER,
                                             .help = "Jobs that failed",
                                             .labels = reason};
    const struct ps_metric_about build = {
        .name = "app_info", .kind = PS_METRIC_KIND_INFO, .help = "The program", .labels = version};
    const struct ps_metric_about state = {.name = "app_state",
                                          .kind = PS_METRIC_KIND_STATESET,
                                          .help = "What it does",
                                          .states = states};
    work->done = series(page, &jobs, images);
    work->waited = series(page, &wait, NULL);
    (void)series(page, &build, one);
    ps_metric_state(series(page, &state, NULL), 1u << 1);
    if (ps_metric_register(page, &failures, &work->failures) != PS_OK) {
        fprintf(stderr, "example_metric: %s\n", ps_last_error());
        exit(1);
    }
}

static void show(struct ps_metric_page *page)
{
    static char text[65536];
    size_t len;
    if (ps_metric_render(page, PS_METRIC_FORMAT_TEXT, text, sizeof text, &len) == PS_OK) {
        fwrite(text, 1, len, stdout);
    }
}

int main(void)
{
    struct ps_metric_page *page = ps_metric_default();
    struct work work;
    pthread_t threads[THREADS];
    if (page == NULL) {
        fprintf(stderr, "example_metric: %s\n", ps_last_error());
        return 1;
    }
    set_up(page, &work);
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, run, &work) != 0) {
            return 1;
        }
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    show(page);
    ps_shutdown();
    return 0;
}
