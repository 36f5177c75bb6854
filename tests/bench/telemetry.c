/* telemetry - reads a driver for some seconds, and says what that cost.
 *
 *      bench_telemetry sampler|plain LIBRARY SECONDS EVERY_MS
 *
 * "sampler" is Penstock's way: tiers, a thread of its own, a snapshot each time, which is looked
 * at. "plain" asks for everything each time, as a simple exporter does. Prints one line of JSON:
 * processor time and resident memory of this process, and the time in which it was inside the
 * driver. Where the driver only sleeps, that is not in the processor's time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "gpu/nvml.h"
#include "gpu/nvml_card.h"

#define CARDS_MAX 64
#define PATIENCE  (5 * PS_SECOND)
#define STATUS    4096

struct cost {
    double seconds; /* of processor time */
    double driver;  /* seconds inside calls */
    unsigned long long calls;
};

static double processor_time(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static unsigned long resident_kib(void)
{
    char text[STATUS];
    FILE *file = fopen("/proc/self/status", "re");
    size_t len = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
    if (file != NULL) {
        fclose(file);
    }
    text[len] = '\0';
    const char *line = strstr(text, "VmRSS:");
    return line == NULL ? 0 : strtoul(line + 6, NULL, 10);
}

static void pass(ps_span span)
{
    struct timespec left = {span / PS_SECOND, span % PS_SECOND};
    (void)nanosleep(&left, NULL);
}

static struct cost cost_of(const struct ps_toll_book *book)
{
    struct cost cost = {.seconds = processor_time()};
    for (size_t i = 0; i < book->count; i++) {
        struct ps_toll toll;
        ps_toll_read(book, i, &toll);
        cost.driver += ps_span_seconds(toll.total);
        cost.calls += toll.calls;
    }
    return cost;
}

static int print(struct cost from, struct cost to, double wall)
{
    printf("{\"cpu_percent\": %.4f, \"resident_kib\": %lu, \"driver_percent\": %.4f, "
           "\"calls_per_second\": %.1f}\n",
           100 * (to.seconds - from.seconds) / wall, resident_kib(),
           100 * (to.driver - from.driver) / wall, (double)(to.calls - from.calls) / wall);
    return 0;
}

static int run_sampler(const char *library, ps_span span, ps_span every)
{
    struct ps_nvml_opts opts;
    struct ps_nvml *nvml;
    struct ps_sampler *sampler;
    char why[PS_SAMPLER_WHY] = "";
    ps_nvml_opts_init(&opts);
    opts.library = library;
    opts.memory_every = every;
    const struct ps_sampler_opts sampling = {.clock = opts.clock,
                                             .stale_after = 5 * every,
                                             .hung_after = PS_SECOND,
                                             .retry_after = PS_SECOND};
    if (ps_nvml_open(&nvml, &opts, why) != PS_OK ||
        ps_sampler_start_take(&sampler, &ps_nvml_source, nvml, &sampling) != PS_OK) {
        fprintf(stderr, "bench_telemetry: %s\n", why);
        return 1;
    }
    pass(2 * every); /* beginning is not what is measured */
    ps_time began = ps_clock_now(opts.clock);
    struct cost before = cost_of(ps_sampler_book(sampler));
    while (ps_clock_now(opts.clock) - began < span) {
        struct ps_sampler_view view;
        ps_sampler_look(sampler, ps_clock_now(opts.clock), &view);
        ps_device_snapshot_unref(view.snapshot);
        pass(every);
    }
    struct cost after = cost_of(ps_sampler_book(sampler));
    (void)print(before, after, ps_span_seconds(ps_clock_now(opts.clock) - began));
    return ps_sampler_stop(sampler, PATIENCE) ? 0 : 1;
}

static uint32_t open_cards(struct ps_nvml_library *library, struct ps_nvml_card *cards)
{
    uint32_t count = 0;
    if (PS_NVML_CALL(library, INIT) != PS_NVML_OK ||
        PS_NVML_CALL(library, COUNT, &count) != PS_NVML_OK || count > CARDS_MAX) {
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        ps_nvml_device handle = NULL;
        (void)PS_NVML_CALL(library, HANDLE, i, &handle);
        ps_nvml_card_init(&cards[i], library, "", handle);
    }
    return count;
}

static int run_plain(const char *path, ps_span span, ps_span every)
{
    static struct ps_nvml_library library;
    static struct ps_nvml_card cards[CARDS_MAX];
    char why[PS_SAMPLER_WHY] = "";
    uint32_t count = 0;
    if (ps_nvml_library_open(&library, path, &ps_clock_real, why, sizeof why) != PS_OK ||
        (count = open_cards(&library, cards)) == 0) {
        fprintf(stderr, "bench_telemetry: no cards: %s\n", why);
        return 1;
    }
    ps_time began = ps_clock_now(&ps_clock_real);
    struct cost before = cost_of(&library.book);
    ps_time due = began;
    while (due - began < span) {
        for (uint32_t i = 0; i < count; i++) {
            for (size_t tier = 0; tier < PS_NVML_TIERS; tier++) {
                ps_nvml_card_read(&cards[i], (enum ps_nvml_tier)tier);
            }
        }
        due += every;
        ps_span left = due - ps_clock_now(&ps_clock_real);
        pass(left > 0 ? left : 0);
    }
    return print(before, cost_of(&library.book),
                 ps_span_seconds(ps_clock_now(&ps_clock_real) - began));
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: bench_telemetry sampler|plain LIBRARY SECONDS EVERY_MS\n");
        return 2;
    }
    ps_span span = strtol(argv[3], NULL, 10) * PS_SECOND;
    ps_span every = strtol(argv[4], NULL, 10) * PS_MILLISECOND;
    return strcmp(argv[1], "plain") == 0 ? run_plain(argv[2], span, every)
                                         : run_sampler(argv[2], span, every);
}
