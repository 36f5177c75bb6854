#include "daemon/process.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "base/chunk.h"
#include "daemon/descriptors.h"
#include "version.h"

enum { ROW_INFO, ROW_RESIDENT, ROW_CPU, ROW_DESCRIPTORS, ROW_BUFFERED, ROW_BUFFERED_LIMIT, ROWS };

/* clang-format off */
const struct ps_metric_family ps_process_metric_families[] = {
    [ROW_INFO] = {.name = "penstock_process_build", .type = PS_METRIC_GAUGE, .labels = {"version", "commit"},
     .help = "Always 1; the labels say which build this is"},
    [ROW_RESIDENT] = {.name = "penstock_process_resident_bytes", .type = PS_METRIC_GAUGE, .unit = "bytes",
     .help = "Memory of the process that is resident"},
    [ROW_CPU] = {.name = "penstock_process_cpu_seconds_total", .type = PS_METRIC_COUNTER, .unit = "seconds",
     .help = "User and system time that the process has used"},
    [ROW_DESCRIPTORS] = {.name = "penstock_process_open_descriptors", .type = PS_METRIC_GAUGE,
     .help = "Open file descriptors"},
    [ROW_BUFFERED] = {.name = "penstock_process_buffered_bytes", .type = PS_METRIC_GAUGE, .unit = "bytes",
     .help = "Bytes of bodies that are held for clients and upstreams"},
    [ROW_BUFFERED_LIMIT] = {.name = "penstock_process_buffered_limit_bytes", .type = PS_METRIC_GAUGE, .unit = "bytes",
     .help = "The most bytes that may be held: max_buffered"},
    {0},
};
/* clang-format on */

struct ps_process {
    struct ps_metrics *metrics;
    struct ps_metric_handle *handles[ROWS];
    struct ps_budget *budget;
};

static double read_one(void *context)
{
    (void)context;
    return 1;
}

/* proc(5): statm counts pages; the second number is what is resident. */
static double read_resident(void *context)
{
    (void)context;
    long total = 0;
    long resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL) {
        return NAN;
    }
    int got = fscanf(file, "%ld %ld", &total, &resident);
    fclose(file);
    return got == 2 ? (double)resident * (double)sysconf(_SC_PAGESIZE) : NAN;
}

static double seconds(struct timeval at)
{
    return (double)at.tv_sec + (double)at.tv_usec / 1e6;
}

static double read_cpu(void *context)
{
    (void)context;
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? seconds(usage.ru_utime) + seconds(usage.ru_stime) : NAN;
}

static double read_descriptors(void *context)
{
    (void)context;
    size_t count = 0;
    return ps_descriptors_count(&count) == PS_OK ? (double)count : NAN;
}

static double read_buffered(void *context)
{
    const struct ps_process *process = context;
    return (double)atomic_load_explicit(&process->budget->used, memory_order_relaxed);
}

static double read_buffered_limit(void *context)
{
    const struct ps_process *process = context;
    return (double)process->budget->limit;
}

int ps_process_new(struct ps_process **out, struct ps_metrics *metrics, struct ps_budget *budget)
{
    static ps_metric_read *const reads[ROWS] = {read_one,         read_resident, read_cpu,
                                                read_descriptors, read_buffered, read_buffered_limit};
    struct ps_process *process = calloc(1, sizeof *process);
    if (process == NULL) {
        return PS_ENOMEM;
    }
    process->metrics = metrics;
    process->budget = budget;
    const char *bad = NULL;
    int err = ps_metrics_declare(metrics, ps_process_metric_families, &bad);
    PS_CHECK(bad == NULL);
    for (unsigned i = 0; i < ROWS && err == PS_OK; i++) {
        const struct ps_metric_labels *labels =
            i == ROW_INFO ? PS_LABELS(PS_STR(PS_VERSION), PS_STR(PS_VERSION_GIT)) : NULL;
        err = ps_metric_watch(metrics, &ps_process_metric_families[i], labels, reads[i], process,
                              &process->handles[i]);
    }
    if (err != PS_OK) {
        ps_process_free(process);
        return err;
    }
    *out = process;
    return PS_OK;
}

void ps_process_free(struct ps_process *process)
{
    if (process == NULL) {
        return;
    }
    for (size_t i = 0; i < ROWS; i++) {
        if (process->handles[i] != NULL) {
            ps_metric_unwatch(process->metrics, process->handles[i], process);
        }
    }
    free(process);
}
