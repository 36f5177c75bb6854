/* ttft - is the time to first token that the load generator measures the true one? Request by request.
 *
 *      bench_ttft URL RATE SECONDS
 *
 * Sends streamed chats with Penstock's own generator to the server of truth.c, which puts the instant at which it sent
 * the first event into the count of tokens of its last one. Both read the same clock. Prints one line of JSON:
 * how much later than that the generator took the event to be there, in microseconds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "io/loop.h"
#include "load/generator.h"
#include "load/target.h"

struct bench {
    struct ps_loop *loop;
    struct ps_target *target;
    struct ps_catalogue *catalogue;
    struct ps_generator *generator;
    struct ps_schedule_opts schedule;
    struct ps_hist error; /* ns */
    uint64_t early;       /* events that were there before they were sent: never */
    size_t most_in_flight;
};

static void die(const char *why)
{
    fprintf(stderr, "bench_ttft: %s\n", why);
    exit(2);
}

static void on_result(void *ctx, const struct ps_session_result *result)
{
    struct bench *bench = ctx;
    size_t in_flight = ps_generator_in_flight(bench->generator);
    bench->most_in_flight = in_flight > bench->most_in_flight ? in_flight : bench->most_in_flight;
    if (result->failure != PS_FAILURE_NONE || !result->counted) {
        return;
    }
    ps_span error = result->first_text - (ps_time)result->output_tokens;
    bench->early += error < 0 ? 1 : 0;
    ps_hist_record(&bench->error, error);
}

static void on_end(void *ctx, int err)
{
    struct bench *bench = ctx;
    (void)err;
    ps_loop_stop(bench->loop);
}

static void on_target(void *ctx, int err, const char *why)
{
    static const struct ps_generator_ops ops = {.on_result = on_result, .on_end = on_end};
    struct bench *bench = ctx;
    struct ps_requests *requests = NULL;
    struct ps_requests_error error = {""};
    const struct ps_generator_opts opts = {
        .schedule = &bench->schedule, .max_in_flight = 19000, .timeout = 60 * PS_SECOND};
    if (err != PS_OK) {
        die(why);
    }
    if (ps_requests_new(&requests, bench->catalogue, bench->target, &error) != PS_OK ||
        ps_generator_new(&bench->generator, bench->loop, bench->target, requests, &opts, &ops, bench) != PS_OK) {
        die(error.text);
    }
    ps_generator_start(bench->generator, ps_loop_now(bench->loop));
}

static void print(const struct bench *bench)
{
    const struct ps_hist *hist = &bench->error;
    const struct ps_tally *tally = ps_generator_tally(bench->generator);
    printf("{\"count\":%llu,\"failed\":%llu,\"early\":%llu,\"in_flight\":%zu,\"median\":%.1f,\"p90\":%.1f,\"p95\":%.1f,"
           "\"p99\":%.1f,\"max\":%.1f}\n",
           (unsigned long long)hist->count, (unsigned long long)tally->failed, (unsigned long long)bench->early,
           bench->most_in_flight, ps_hist_percentile(hist, 0.5) / 1e3, ps_hist_percentile(hist, 0.9) / 1e3,
           ps_hist_percentile(hist, 0.95) / 1e3, ps_hist_percentile(hist, 0.99) / 1e3, (double)hist->max / 1e3);
}

int main(int argc, char **argv)
{
    static struct bench bench;
    static const char body[] = "{\"stream\":true}";
    struct ps_target_error error;
    struct ps_requests_error why;
    struct rlimit limit;
    double rate = 0, seconds = 0;
    if (argc != 4 || ps_str_to_double(ps_str_from(argv[2]), &rate) != PS_OK ||
        ps_str_to_double(ps_str_from(argv[3]), &seconds) != PS_OK) {
        die("URL RATE SECONDS");
    }
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    bench.schedule = (struct ps_schedule_opts){.phase_count = 1, .phases = {{rate, rate, (ps_span)(seconds * 1e9)}}};
    const struct ps_requests_opts requests = {.path = "/v1/chat/completions", .body = {body, sizeof body - 1}};
    const struct ps_target_opts target = {.url = argv[1]};
    if (ps_catalogue_new(&bench.catalogue, &requests, &why) != PS_OK ||
        ps_loop_new(&bench.loop, &ps_clock_real) != PS_OK) {
        die("out of memory");
    }
    ps_loop_set_early(bench.loop, 150 * PS_MICROSECOND);
    if (ps_target_new(&bench.target, bench.loop, &target, on_target, &bench, &error) != PS_OK) {
        die(error.text);
    }
    ps_loop_run(bench.loop);
    print(&bench);
    ps_generator_free(bench.generator);
    ps_target_free(bench.target);
    ps_catalogue_free(bench.catalogue);
    ps_loop_free(bench.loop);
    return 0;
}
