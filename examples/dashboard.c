/* dashboard - a program's own numbers, kept for five minutes, and told to whoever wants to hear.
 *
 * Usage: example_dashboard [SAMPLES]
 *
 * A queue that fills and empties, a sample each tenth of a second (a program would take one each
 * second). What is printed is what a subscriber hears, and what the queue did.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <penstock/penstock.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* A frame is JSON, as the gateway's page gets it each second; the first one has the past. */
static void on_frame(void *ctx, const char *json, size_t len)
{
    int *frames = ctx;
    (*frames)++;
    printf("frame %d: %.*s%s\n", *frames, (int)(len < 100 ? len : 100), json,
           len > 100 ? "..." : "");
}

static int sample(struct ps_dashboard *dashboard, int n)
{
    struct ps_dashboard_value values[] = {
        {"queue_length{room=\"a\"}", 20 + 10 * sin(n / 5.0)},
        {"workers_busy", n % 4},
    };
    return ps_dashboard_broadcast(dashboard, values, sizeof values / sizeof values[0]);
}

static int run(struct ps_dashboard *dashboard, int samples)
{
    const struct timespec pause = {.tv_nsec = 100000000};
    struct ps_dashboard_stats stats;
    struct ps_dashboard_point points[PS_DASHBOARD_SAMPLES];
    uint64_t id;
    size_t count;
    int frames = 0;
    int err = ps_dashboard_subscribe(dashboard, on_frame, &frames, &id);
    for (int n = 0; n < samples && err == PS_OK; n++) {
        err = sample(dashboard, n);
        nanosleep(&pause, NULL);
    }
    const char *queue = "queue_length{room=\"a\"}";
    err = err != PS_OK ? err : ps_dashboard_unsubscribe(dashboard, id);
    err = err != PS_OK ? err : ps_dashboard_stats(dashboard, queue, &stats);
    err = err != PS_OK
              ? err
              : ps_dashboard_recent_history(dashboard, queue, points, PS_DASHBOARD_SAMPLES, &count);
    if (err == PS_OK) {
        printf("%d frames, %zu points of %s\n", frames, count, queue);
        printf("min %.1f, mean %.1f, p95 %.1f, max %.1f\n", stats.min, stats.mean, stats.p95,
               stats.max);
    }
    return err;
}

int main(int argc, char **argv)
{
    int samples = argc > 1 ? atoi(argv[1]) : 10;
    struct ps_dashboard *dashboard = ps_dashboard_default();
    int err = dashboard == NULL ? PS_ENOMEM : run(dashboard, samples);
    if (err != PS_OK) {
        fprintf(stderr, "%s\n", ps_last_error());
    }
    ps_shutdown();
    return err == PS_OK ? 0 : 1;
}
