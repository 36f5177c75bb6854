/* watch - see watch.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/watch.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/probe.h"

#define EVERY      5 /* seconds between two pages */
#define STAT_MAX   1024
#define STAT_BEGAN 19 /* fields behind the name: proc(5) counts it as the 22nd */
#define STAT_RSS   21

struct ps_watch {
    struct ps_watch_opts opts;
    struct ps_probe *probe;
    char *base; /* of the URL, without its path */
    unsigned looks;
    bool fresh; /* a page came since the last look */
    double began;
};

/* ------------------------------------------------------------------------------------- a process */

/* The fields of /proc/PID/stat behind the name, which may itself hold blanks and brackets. */
static bool read_stat(uint64_t pid, char *text, size_t size, struct ps_str *fields)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%llu/stat", (unsigned long long)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    size_t len = fread(text, 1, size - 1, file);
    fclose(file);
    text[len] = '\0';
    const char *end = strrchr(text, ')');
    if (end == NULL) {
        return false;
    }
    *fields = ps_str_trim(ps_str_from(end + 1));
    return true;
}

static double field(struct ps_str fields, unsigned which)
{
    struct ps_str part;
    double value = NAN;
    for (unsigned i = 0; ps_str_split(&fields, ' ', &part); i++) {
        if (i == which) {
            return ps_str_to_double(ps_str_trim(part), &value) == PS_OK ? value : NAN;
        }
    }
    return NAN;
}

static double count_files(uint64_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%llu/fd", (unsigned long long)pid);
    DIR *folder = opendir(path);
    if (folder == NULL) {
        return NAN;
    }
    double count = 0;
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        count += entry->d_name[0] != '.';
    }
    closedir(folder);
    return count;
}

bool ps_watch_process(uint64_t pid, double *memory_bytes, double *descriptors, double *began)
{
    char text[STAT_MAX];
    struct ps_str fields;
    if (!read_stat(pid, text, sizeof text, &fields)) {
        return false;
    }
    *memory_bytes = field(fields, STAT_RSS) * (double)sysconf(_SC_PAGESIZE);
    *began = field(fields, STAT_BEGAN);
    *descriptors = count_files(pid);
    return true;
}

/* ---------------------------------------------------------------------------------------- a page */

static void on_page(void *ctx, int status)
{
    struct ps_watch *watch = ctx;
    watch->fresh = status == 200;
}

static int open_page(struct ps_watch *watch, struct ps_loop *loop)
{
    const char *url = watch->opts.metrics;
    const char *host = strstr(url, "://");
    const char *path = host == NULL ? NULL : strchr(host + 3, '/');
    watch->base = ps_str_dup(ps_str_first(ps_str_from(url), path == NULL ? strlen(url) : (size_t)(path - url)));
    if (watch->base == NULL) {
        return PS_ENOMEM;
    }
    return ps_probe_new(&watch->probe, loop, watch->base, path == NULL ? "/metrics" : path, on_page, watch);
}

/* The series by the name that was given; else by Prometheus's usual name, else by that of Penstock. */
static double read_series(const struct ps_watch *watch, const char *name, const char *usual, const char *ours)
{
    struct ps_str page = ps_probe_body(watch->probe);
    double value = ps_probe_sum(page, name != NULL ? name : usual, "");
    return isnan(value) && name == NULL ? ps_probe_sum(page, ours, "") : value;
}

static void look_at_page(struct ps_watch *watch, struct ps_watch_values *values, double *began)
{
    if (watch->looks++ % EVERY == 0) {
        ps_probe_ask(watch->probe);
    }
    if (watch->fresh) {
        watch->fresh = false;
        values->memory_bytes = read_series(watch, watch->opts.memory, "process_resident_memory_bytes",
                                           "penstock_process_resident_bytes");
        values->descriptors = read_series(watch, watch->opts.descriptors, "process_open_fds",
                                          "penstock_process_open_descriptors");
        *began = ps_probe_sum(ps_probe_body(watch->probe), "process_start_time_seconds", "");
    }
}

/* ------------------------------------------------------------------------------------------ life */

int ps_watch_new(struct ps_watch **out, struct ps_loop *loop, const struct ps_watch_opts *opts)
{
    struct ps_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL) {
        return PS_ENOMEM;
    }
    watch->opts = *opts;
    watch->began = NAN;
    double unused = NAN;
    int err = PS_OK;
    if (opts->pid > 0 && !ps_watch_process(opts->pid, &unused, &unused, &unused)) {
        err = PS_ENOTFOUND;
    } else if (opts->pid == 0 && opts->metrics != NULL) {
        err = open_page(watch, loop);
    }
    if (err != PS_OK) {
        ps_watch_free(watch);
        return err;
    }
    *out = watch;
    return PS_OK;
}

void ps_watch_free(struct ps_watch *watch)
{
    if (watch != NULL) {
        ps_probe_free(watch->probe);
        free(watch->base);
        free(watch);
    }
}

struct ps_watch_values ps_watch_look(struct ps_watch *watch)
{
    struct ps_watch_values values = {.memory_bytes = NAN, .descriptors = NAN};
    double began = NAN;
    if (watch->opts.pid > 0) {
        (void)ps_watch_process(watch->opts.pid, &values.memory_bytes, &values.descriptors, &began);
    } else if (watch->probe != NULL) {
        look_at_page(watch, &values, &began);
    }
    if (!isnan(began)) {
        values.began_anew = !isnan(watch->began) && fabs(began - watch->began) > 0.5;
        watch->began = began;
    }
    return values;
}
