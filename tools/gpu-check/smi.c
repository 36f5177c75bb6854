/* smi - beside nvidia-smi, which reads the same driver by other ways.
 *
 * What moves by itself (power, clocks, utilization) is printed beside each other and not judged.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/str.h"
#include "check.h"

#define LINE_MAX_BYTES 1024
#define ALLOWED        0.01

struct column {
    const char *name; /* of nvidia-smi */
    enum ps_device_field field;
    double unit;             /* one of theirs in ours */
    enum ps_device_field of; /* 1 % of which reading */
    bool judged;
};

/* clang-format off */
static const struct column columns[] = {
    {"memory.total", PS_DEVICE_MEMORY_TOTAL, CHECK_MIB, PS_DEVICE_MEMORY_TOTAL, true},
    {"memory.used", PS_DEVICE_MEMORY_USED, CHECK_MIB, PS_DEVICE_MEMORY_TOTAL, true},
    {"memory.free", PS_DEVICE_MEMORY_FREE, CHECK_MIB, PS_DEVICE_MEMORY_TOTAL, true},
    {"memory.reserved", PS_DEVICE_MEMORY_RESERVED, CHECK_MIB, PS_DEVICE_MEMORY_TOTAL, true},
    {"enforced.power.limit", PS_DEVICE_POWER_LIMIT, 1, PS_DEVICE_POWER_LIMIT, true},
    {"utilization.gpu", PS_DEVICE_BUSY, 1, PS_DEVICE_BUSY, false},
    {"power.draw", PS_DEVICE_POWER, 1, PS_DEVICE_POWER, false},
    {"temperature.gpu", PS_DEVICE_TEMPERATURE, 1, PS_DEVICE_TEMPERATURE, false},
    {"clocks.sm", PS_DEVICE_CLOCK, 1, PS_DEVICE_CLOCK, false},
};
/* clang-format on */

/* The card with this UUID; NULL where it isn't ours to see. */
static const struct ps_device *find(const struct check *check, struct ps_str uuid)
{
    for (size_t i = 0; i < check->now->device_count; i++) {
        if (ps_str_eq(ps_str_from(check->now->devices[i].uuid), uuid)) {
            return &check->now->devices[i];
        }
    }
    return NULL;
}

static void compare(struct check *check, const struct ps_device *device,
                    const struct column *column, struct ps_str text)
{
    struct ps_device_reading ours = device->readings[column->field];
    double theirs;
    bool told = ps_str_to_double(text, &theirs) == PS_OK;
    if (!told || !ours.known) {
        check_skip(check, "device %u %s: nvidia-smi says %.*s, we say %s", device->index,
                   column->name, PS_STR_ARG(text), ours.known ? "a number" : "unknown");
        return;
    }
    double mine = ours.value / column->unit;
    if (!column->judged) {
        printf("     device %u %s: nvidia-smi %g, ours %g\n", device->index, column->name, theirs,
               mine);
        return;
    }
    double most = ALLOWED * device->readings[column->of].value / column->unit;
    check_say(check, fabs(theirs - mine) <= most,
              "device %u %s: nvidia-smi %g, ours %g, allowed are %.2g", device->index, column->name,
              theirs, mine, most);
}

static void compare_line(struct check *check, struct ps_str line)
{
    struct ps_str uuid;
    struct ps_str cell;
    const struct ps_device *device =
        ps_str_split(&line, ',', &uuid) ? find(check, ps_str_trim(uuid)) : NULL;
    if (device == NULL) {
        check_say(check, false, "nvidia-smi shows %.*s, and we don't", PS_STR_ARG(uuid));
        return;
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(columns) && ps_str_split(&line, ',', &cell); i++) {
        compare(check, device, &columns[i], ps_str_trim(cell));
    }
}

static void compare_process(struct check *check, struct ps_str line)
{
    struct ps_str uuid;
    struct ps_str word;
    uint64_t pid;
    double mib;
    if (!ps_str_split(&line, ',', &uuid) || !ps_str_split(&line, ',', &word) ||
        ps_str_to_u64(ps_str_trim(word), &pid) != PS_OK ||
        ps_str_to_double(ps_str_trim(line), &mib) != PS_OK) {
        return; /* it has no number either */
    }
    for (size_t i = 0; i < check->now->process_count; i++) {
        const struct ps_device_process *process = &check->now->processes[i];
        const struct ps_device *device = &check->now->devices[process->device];
        if (process->pid == pid && ps_str_eq(ps_str_from(device->uuid), ps_str_trim(uuid))) {
            double most = ALLOWED * device->readings[PS_DEVICE_MEMORY_TOTAL].value / CHECK_MIB;
            double mine = process->memory.value / CHECK_MIB;
            check_say(check, process->memory.known && fabs(mine - mib) <= most,
                      "process %u: nvidia-smi %g MiB, ours %g", process->pid, mib, mine);
            return;
        }
    }
    check_say(check, false, "process %llu: nvidia-smi shows it, and we don't",
              (unsigned long long)pid);
}

/* Runs it and hands over line by line. False when it is not there or fails. */
static bool ask(struct check *check, const char *command,
                void (*take)(struct check *, struct ps_str))
{
    char line[LINE_MAX_BYTES];
    FILE *pipe = popen(command, "r");
    if (pipe == NULL) {
        return false;
    }
    while (fgets(line, sizeof line, pipe) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] != '\0') {
            take(check, ps_str_from(line));
        }
    }
    return pclose(pipe) == 0;
}

void check_smi(struct check *check)
{
    char command[LINE_MAX_BYTES] = "nvidia-smi --format=csv,noheader,nounits --query-gpu=uuid";
    for (size_t i = 0; i < PS_ARRAY_LEN(columns); i++) {
        strcat(strcat(command, ","), columns[i].name);
    }
    fflush(stdout);
    check_read(check);
    if (!ask(check, strcat(command, " 2>/dev/null"), compare_line)) {
        check_skip(check, "nvidia-smi is not there, or can't be asked");
        return;
    }
    (void)ask(check,
              "nvidia-smi --format=csv,noheader,nounits "
              "--query-compute-apps=gpu_uuid,pid,used_memory 2>/dev/null",
              compare_process);
}
