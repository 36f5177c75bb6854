/* gpu-check - does what Penstock reads from an NVIDIA driver agree with the world?
 *
 * For machines that have a GPU. Built from this folder, src/gpu and src/base with a C compiler and
 * libc alone (`make gpu-check`). Prints what every call took and every reading, compares with
 * nvidia-smi, and measures memory that it allocates itself.
 *
 * Exit status: 0 all agrees, 1 something does not, 77 there is no driver to check.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "gpu/nvml_library.h"

#define SKIPPED      77
#define ROUNDS       30 /* of 110 ms */
#define BETWEEN_READ 110

/* --- what the parts share --------------------------------------------------------------------- */

static void pause_ms(long ms)
{
    struct timespec span = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&span, NULL);
}

static void step(struct check *check)
{
    struct ps_device_snapshot *next = NULL;
    (void)ps_nvml_source.step(check->nvml, &next);
    if (next != NULL) {
        ps_device_snapshot_unref(check->now);
        check->now = next;
    }
}

void check_read(struct check *check)
{
    pause_ms(BETWEEN_READ);
    step(check);
}

void check_say(struct check *check, bool good, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("%s ", good ? "ok  " : "FAIL");
    vprintf(format, args);
    puts("");
    va_end(args);
    check->passed += good;
    check->failed += !good;
}

void check_skip(struct check *check, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("skip ");
    vprintf(format, args);
    puts("");
    va_end(args);
    check->skipped++;
}

/* --- what there is ---------------------------------------------------------------------------- */

static void print_device(const struct ps_device *device)
{
    printf("\ndevice %u %s %s %s%s%s\n", device->index, device->uuid, device->name, device->bus,
           device->unified ? ", unified memory" : "", device->partitioned ? ", MIG" : "");
    for (size_t field = 0; field < PS_DEVICE_FIELDS; field++) {
        struct ps_device_reading reading = device->readings[field];
        if (reading.known) {
            printf("  %-30s %20.15g %s\n", ps_device_rows[field].name, reading.value,
                   ps_device_rows[field].unit);
        } else {
            printf("  %-30s %20s\n", ps_device_rows[field].name, "unknown");
        }
    }
}

static void print_processes(const struct ps_device_snapshot *now)
{
    puts("\nprocesses");
    for (size_t i = 0; i < now->process_count; i++) {
        const struct ps_device_process *process = &now->processes[i];
        printf("  device %u pid %u %s %.0f MiB%s\n", now->devices[process->device].index,
               process->pid, process->name[0] == '\0' ? "(no name)" : process->name,
               process->memory.value / CHECK_MIB, process->memory.known ? "" : " (unknown)");
    }
    if (now->process_count == 0) {
        puts("  none");
    }
}

static void print_calls(const struct ps_nvml *nvml)
{
    const struct ps_toll_book *book = ps_nvml_source.book(nvml);
    printf("\n%-42s %7s %10s %10s %6s  %s\n", "call", "calls", "mean us", "longest us", "errors",
           "last error");
    for (size_t i = 0; i < book->count; i++) {
        struct ps_toll toll;
        ps_toll_read(book, i, &toll);
        if (toll.calls > 0) {
            printf("%-42s %7llu %10.1f %10.1f %6llu  %s\n", toll.name,
                   (unsigned long long)toll.calls, (double)toll.total / (double)toll.calls / 1e3,
                   (double)toll.longest / 1e3, (unsigned long long)toll.errors,
                   toll.last_error == 0 ? "" : ps_nvml_code_text(toll.last_error));
        }
    }
}

static void look(struct check *check)
{
    step(check);
    for (int i = 0; i < ROUNDS; i++) {
        check_read(check);
    }
    printf("driver %s%s\n", check->now->driver,
           check->now->simulated ? " (SIMULATED: nothing here was measured)" : "");
    for (size_t i = 0; i < check->now->device_count; i++) {
        print_device(&check->now->devices[i]);
    }
    print_processes(check->now);
    print_calls(check->nvml);
    puts("");
}

static bool start(struct check *check)
{
    struct ps_nvml_opts opts;
    char why[PS_SAMPLER_WHY] = "out of memory";
    ps_nvml_opts_init(&opts);
    if (ps_nvml_open(&check->nvml, &opts, why) == PS_OK &&
        ps_nvml_source.start(check->nvml, ps_clock_now(opts.clock), why) == PS_OK) {
        return true;
    }
    printf("gpu-check: skipped, there is nothing to check on this machine: %s\n", why);
    return false;
}

int main(void)
{
    struct check check = {0};
    bool started = start(&check);
    if (started) {
        look(&check);
        check_smi(&check);
        check_cuda(&check);
        printf("%u agree, %u do not, %u skipped\n", check.passed, check.failed, check.skipped);
    }
    ps_device_snapshot_unref(check.now);
    if (check.nvml != NULL) {
        ps_nvml_source.close(check.nvml);
    }
    return !started ? SKIPPED : check.failed > 0 ? 1 : 0;
}
