/* environment - see environment.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/environment.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/str.h"
#include "load/clean.h"
#include "version.h"

/* The value of the first line of /proc/cpuinfo that names a processor; "" when none does. */
static void read_cpu(char *name, size_t size)
{
    static const char *const keys[] = {"model name", "Model", "Processor", "cpu model", "uarch"};
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "re");
    name[0] = '\0';
    while (file != NULL && name[0] == '\0' && fgets(line, sizeof line, file) != NULL) {
        struct ps_str text = ps_str_first(ps_str_from(line), strcspn(line, "\n"));
        size_t colon = ps_str_find(text, ':');
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
            struct ps_str key = ps_str_trim(ps_str_first(text, colon));
            if (ps_str_eq(key, ps_str_from(keys[i]))) {
                ps_clean_text(ps_str_trim(ps_str_skip(text, colon + 1)), name, size);
            }
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

static int count_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        return CPU_COUNT(&set);
    }
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

json_t *ps_environment_json(void)
{
    char cpu[160];
    char kernel[160] = "";
    struct utsname name;
    memset(&name, 0, sizeof name);
    read_cpu(cpu, sizeof cpu);
    if (uname(&name) == 0) {
        snprintf(kernel, sizeof kernel, "%s %s", name.sysname, name.release);
    }
    json_int_t memory = (json_int_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    return json_pack("{s:s, s:s, s:i, s:I, s:s, s:s}", "penstock", PS_VERSION " (" PS_VERSION_GIT ")", "cpu",
                     cpu, "cores", count_cores(), "memory_bytes", memory, "kernel", kernel, "architecture",
                     name.machine);
}
