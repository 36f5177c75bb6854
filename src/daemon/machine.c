#include "daemon/machine.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"

enum { FAMILY_CPU, FAMILY_MEMORY };
enum { ROW_BUSY, ROW_IDLE, ROW_MEMORY, ROWS };

/* clang-format off */
const struct ps_metric_family ps_machine_metric_families[] = {
    [FAMILY_CPU] = {.name = "penstock_machine_cpu_seconds_total", .type = PS_METRIC_COUNTER, .unit = "seconds",
     .labels = {"state"}, .help = "Time of all processors of this machine together: busy, idle"},
    [FAMILY_MEMORY] = {.name = "penstock_machine_memory_used_ratio", .type = PS_METRIC_GAUGE, .unit = "ratio",
     .help = "Memory of this machine that is not available, of all that it has"},
    {0},
};
/* clang-format on */

struct watch {
    unsigned row;
    double most; /* so far: the time of waiting for a disk, which is idle time, may fall a little */
    struct ps_metric_handle *handle;
};

struct ps_machine {
    struct ps_metrics *metrics;
    struct watch watches[ROWS];
};

/* --- text ------------------------------------------------------------------------------------- */

/* The next number of a line, behind spaces. */
static bool take_number(struct ps_str *line, uint64_t *out)
{
    struct ps_str rest = ps_str_trim(*line);
    struct ps_str number = ps_str_first(rest, ps_str_find(rest, ' '));
    *line = ps_str_skip(rest, number.len);
    return ps_str_to_u64(number, out) == PS_OK;
}

/* cpu  user nice system idle iowait irq softirq steal guest guest_nice: the last two are in the
 * first two already. */
bool ps_machine_parse_stat(struct ps_str text, double ticks, double *busy, double *idle)
{
    struct ps_str line = ps_str_first(text, ps_str_find(text, '\n'));
    uint64_t fields[8] = {0};
    if (!ps_str_starts_with(line, PS_STR("cpu "))) {
        return false;
    }
    line = ps_str_skip(line, 4);
    for (size_t i = 0; i < PS_ARRAY_LEN(fields); i++) {
        if (!take_number(&line, &fields[i])) {
            return false;
        }
    }
    *idle = ((double)fields[3] + (double)fields[4]) / ticks;
    *busy = ((double)fields[0] + (double)fields[1] + (double)fields[2] + (double)fields[5] +
             (double)fields[6] + (double)fields[7]) /
            ticks;
    return true;
}

/* "MemAvailable:   123456 kB" */
static bool find_member(struct ps_str text, struct ps_str name, uint64_t *out)
{
    struct ps_str line;
    while (ps_str_split(&text, '\n', &line)) {
        if (ps_str_starts_with(line, name)) {
            line = ps_str_skip(line, name.len);
            return take_number(&line, out);
        }
    }
    return false;
}

bool ps_machine_parse_memory(struct ps_str text, double *used_ratio)
{
    uint64_t total;
    uint64_t available;
    if (!find_member(text, PS_STR("MemTotal:"), &total) ||
        !find_member(text, PS_STR("MemAvailable:"), &available) || total == 0 ||
        available > total) {
        return false;
    }
    *used_ratio = (double)(total - available) / (double)total;
    return true;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* The beginning of a file, which is all that is needed. */
static struct ps_str read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, size);
    if (fd >= 0) {
        close(fd);
    }
    return (struct ps_str){text, len < 0 ? 0 : (size_t)len};
}

static double read_row(void *context)
{
    struct watch *watch = context;
    char text[2048];
    double busy;
    double idle;
    double used;
    if (watch->row == ROW_MEMORY) {
        struct ps_str info = read_file("/proc/meminfo", text, sizeof text);
        return ps_machine_parse_memory(info, &used) ? used : NAN;
    }
    struct ps_str stat = read_file("/proc/stat", text, sizeof text);
    if (!ps_machine_parse_stat(stat, (double)sysconf(_SC_CLK_TCK), &busy, &idle)) {
        return NAN;
    }
    watch->most = fmax(watch->most, watch->row == ROW_BUSY ? busy : idle);
    return watch->most;
}

int ps_machine_new(struct ps_machine **out, struct ps_metrics *metrics)
{
    struct ps_machine *machine = calloc(1, sizeof *machine);
    if (machine == NULL) {
        return PS_ENOMEM;
    }
    machine->metrics = metrics;
    int err = ps_metrics_declare(metrics, ps_machine_metric_families, NULL);
    for (unsigned i = 0; i < ROWS && err == PS_OK; i++) {
        struct watch *watch = &machine->watches[i];
        const struct ps_metric_labels *labels =
            i == ROW_MEMORY ? NULL
                            : PS_LABELS(i == ROW_BUSY ? PS_STR("busy") : PS_STR("idle"));
        watch->row = i;
        err = ps_metric_watch(metrics,
                              &ps_machine_metric_families[i == ROW_MEMORY ? FAMILY_MEMORY
                                                                          : FAMILY_CPU],
                              labels, read_row, watch, &watch->handle);
    }
    if (err != PS_OK) {
        ps_machine_free(machine);
        return err;
    }
    *out = machine;
    return PS_OK;
}

void ps_machine_free(struct ps_machine *machine)
{
    for (size_t i = 0; machine != NULL && i < ROWS; i++) {
        if (machine->watches[i].handle != NULL) {
            ps_metric_unwatch(machine->metrics, machine->watches[i].handle, &machine->watches[i]);
        }
    }
    free(machine);
}
