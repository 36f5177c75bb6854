/* The limits of the machine, of the user and of the cgroup, against what the configuration wants.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "daemon/doctor_check.h"
#include "daemon/doctor_file.h"
#include "daemon/doctor_text.h"

enum {
    OWN_DESCRIPTORS = 64,   /* loops, logs, libraries */
    BACKLOG = 4096,         /* what serve asks for */
    LEAST_BACKLOG = 1024,   /* below it ordinary bursts are lost */
    LEAST_DESCRIPTORS = 256 /* below it hardly anybody comes in */
};

/* --- judging ------------------------------------------------------------------------------------
 */

static uint64_t needed_descriptors(const struct ps_doctor_limit_figures *figures)
{
    return figures->max_connections + figures->upstream_connections + figures->endpoints +
           (uint64_t)figures->listeners * figures->workers + 4 * (uint64_t)figures->workers +
           OWN_DESCRIPTORS;
}

static void judge_descriptors(struct ps_doctor_report *report,
                              const struct ps_doctor_limit_figures *figures)
{
    uint64_t needed = needed_descriptors(figures);
    const char *whose = figures->of_service ? "the running service" : "this shell";
    if (figures->descriptors == 0) {
        return;
    }
    if (figures->descriptors == PS_DOCTOR_UNLIMITED || figures->descriptors >= needed) {
        ps_doctor_say(report, PS_DOCTOR_OK, "RLIMIT_NOFILE",
                      "enough descriptors for %s: %ju are needed at most", whose,
                      (uintmax_t)needed);
        return;
    }
    ps_doctor_say(
        report, figures->descriptors < LEAST_DESCRIPTORS ? PS_DOCTOR_ERROR : PS_DOCTOR_WARNING,
        "RLIMIT_NOFILE",
        "%s may open %ju descriptors, and %ju are needed when all of max_connections (%ju) "
        "are there",
        whose, (uintmax_t)figures->descriptors, (uintmax_t)needed,
        (uintmax_t)figures->max_connections);
    ps_doctor_fix(
        report,
        "LimitNOFILE=%ju in the unit (ulimit -Hn %ju in a shell), or a smaller max_connections",
        (uintmax_t)needed, (uintmax_t)needed);
}

static void judge_memory(struct ps_doctor_report *report,
                         const struct ps_doctor_limit_figures *figures)
{
    bool by_cgroup = figures->memory_max > 0 && figures->memory_max < figures->memory;
    uint64_t most = by_cgroup ? figures->memory_max : figures->memory;
    if (most == 0) {
        return;
    }
    if (figures->max_buffered > most / 2) {
        ps_doctor_say(report, PS_DOCTOR_WARNING, "max_buffered",
                      "%ju MiB may be held for requests, %s has %ju MiB",
                      (uintmax_t)(figures->max_buffered >> 20),
                      by_cgroup ? "the cgroup (memory.max)" : "the machine",
                      (uintmax_t)(most >> 20));
        ps_doctor_fix(report, "max_buffered: %juMiB", (uintmax_t)(most / 4 >> 20));
        return;
    }
    ps_doctor_say(report, PS_DOCTOR_OK, "max_buffered", "%ju MiB of %ju MiB",
                  (uintmax_t)(figures->max_buffered >> 20), (uintmax_t)(most >> 20));
}

static void judge_backlog(struct ps_doctor_report *report,
                          const struct ps_doctor_limit_figures *figures)
{
    if (figures->somaxconn == 0) {
        return;
    }
    if (figures->somaxconn < LEAST_BACKLOG) {
        ps_doctor_say(report, PS_DOCTOR_WARNING, "net.core.somaxconn",
                      "%ju: a burst of more new connections is lost",
                      (uintmax_t)figures->somaxconn);
        ps_doctor_fix(report, "sysctl net.core.somaxconn=%d", BACKLOG);
        return;
    }
    ps_doctor_say(report, PS_DOCTOR_OK, "net.core.somaxconn", "%ju", (uintmax_t)figures->somaxconn);
}

/* A port serves once for each endpoint. */
static void judge_local_ports(struct ps_doctor_report *report,
                              const struct ps_doctor_limit_figures *figures)
{
    if (figures->endpoints == 0 || figures->port_high < figures->port_low ||
        figures->port_high == 0) {
        return;
    }
    uint64_t ports = figures->port_high - figures->port_low + 1;
    if (ports * figures->endpoints < figures->upstream_connections) {
        ps_doctor_say(report, PS_DOCTOR_WARNING, "ip_local_port_range",
                      "%ju ports for %ju connections to %ju endpoint%s", (uintmax_t)ports,
                      (uintmax_t)figures->upstream_connections, (uintmax_t)figures->endpoints,
                      figures->endpoints == 1 ? "" : "s");
        ps_doctor_fix(
            report,
            "sysctl net.ipv4.ip_local_port_range='10240 65535', or bound admission.max_in_flight");
        return;
    }
    ps_doctor_say(report, PS_DOCTOR_OK, "ip_local_port_range", "%ju ports", (uintmax_t)ports);
}

static void judge_quota(struct ps_doctor_report *report,
                        const struct ps_doctor_limit_figures *figures)
{
    if (!(figures->quota > 0)) {
        return;
    }
    unsigned fit = (unsigned)fmin(fmax(ceil(figures->quota), 1), 64);
    if (figures->workers > fit) {
        ps_doctor_say(report, PS_DOCTOR_WARNING, "workers",
                      "%u workers share %.1f cores (cpu.max): they are stopped again and again",
                      figures->workers, figures->quota);
        ps_doctor_fix(report, "workers: %u", fit);
        return;
    }
    ps_doctor_say(report, PS_DOCTOR_OK, "workers", "%u on %.1f cores (cpu.max)", figures->workers,
                  figures->quota);
}

void ps_doctor_judge_limits(struct ps_doctor_report *report,
                            const struct ps_doctor_limit_figures *figures)
{
    judge_descriptors(report, figures);
    judge_memory(report, figures);
    judge_backlog(report, figures);
    judge_local_ports(report, figures);
    judge_quota(report, figures);
}

/* --- reading ------------------------------------------------------------------------------------
 */

/* Of the running service, else of ourselves. */
static void read_descriptors(const struct ps_doctor *doctor,
                             struct ps_doctor_limit_figures *figures)
{
    char path[64];
    char text[4096];
    uint64_t soft;
    struct rlimit limit;
    snprintf(path, sizeof path, "/proc/%d/limits", (int)doctor->service_pid);
    if (doctor->service_pid > 0 &&
        ps_doctor_read_descriptors(ps_doctor_file(path, text, sizeof text), &soft,
                                   &figures->descriptors) == PS_OK) {
        figures->of_service = true;
    } else if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        figures->descriptors =
            limit.rlim_max == RLIM_INFINITY ? PS_DOCTOR_UNLIMITED : limit.rlim_max;
    }
}

static uint64_t least(uint64_t known, uint64_t other)
{
    return known == 0 || other < known ? other : known;
}

/* One group's bounds; a group is bounded by those around it too. */
static void read_group(struct ps_str group, struct ps_doctor_limit_figures *figures)
{
    char path[4352];
    char text[128];
    uint64_t bytes;
    double cores;
    snprintf(path, sizeof path, "/sys/fs/cgroup%.*s/memory.max", PS_STR_ARG(group));
    if (ps_doctor_read_max(ps_doctor_file(path, text, sizeof text), &bytes) == PS_OK &&
        bytes != PS_DOCTOR_UNLIMITED) {
        figures->memory_max = least(figures->memory_max, bytes);
    }
    snprintf(path, sizeof path, "/sys/fs/cgroup%.*s/cpu.max", PS_STR_ARG(group));
    if (ps_doctor_read_quota(ps_doctor_file(path, text, sizeof text), &cores) == PS_OK &&
        cores > 0) {
        figures->quota = figures->quota > 0 ? fmin(figures->quota, cores) : cores;
    }
}

/* The unified hierarchy (cgroup v2), from the process's group up to the root. */
static void read_cgroup(const struct ps_doctor *doctor, struct ps_doctor_limit_figures *figures)
{
    char path[64];
    char text[4096];
    snprintf(path, sizeof path, "/proc/%d/cgroup", (int)doctor->service_pid);
    struct ps_str group = ps_doctor_cgroup(
        ps_doctor_file(doctor->service_pid > 0 ? path : "/proc/self/cgroup", text, sizeof text));
    while (group.len > 0) {
        read_group(group, figures);
        while (group.len > 0 && group.ptr[group.len - 1] != '/') {
            group.len--;
        }
        group.len -= group.len > 0 ? 1 : 0;
    }
    read_group(PS_STR(""), figures); /* inside a container the root is its own group */
}

static void read_machine(struct ps_doctor_limit_figures *figures)
{
    char text[4096];
    struct ps_str file = ps_doctor_file("/proc/meminfo", text, sizeof text);
    PS_IGNORE(
        ps_doctor_read_meminfo(file, PS_STR("MemTotal"), &figures->memory)); /* else unknown: 0 */
    file = ps_doctor_file("/proc/sys/net/core/somaxconn", text, sizeof text);
    PS_IGNORE(ps_doctor_read_number(file, &figures->somaxconn));
    file = ps_doctor_file("/proc/sys/net/ipv4/ip_local_port_range", text, sizeof text);
    PS_IGNORE(ps_doctor_read_pair(file, &figures->port_low, &figures->port_high));
}

/* As many as there are clients, unless every upstream says how many it takes. */
static void read_config(const struct ps_config *config, struct ps_doctor_limit_figures *figures)
{
    const struct ps_upstream_opts *upstreams = config->upstreams.items;
    uint64_t most = config->max_connections;
    uint64_t sum = 0;
    for (size_t i = 0; i < config->upstreams.count; i++) {
        uint64_t bound = upstreams[i].admission.max_in_flight;
        sum += bound == 0 || bound > most ? most : bound;
        figures->endpoints += upstreams[i].endpoints.count;
    }
    figures->max_connections = most;
    figures->upstream_connections = sum < most ? sum : most;
    figures->max_buffered = ps_config_max_buffered(config);
    figures->workers = ps_config_workers(config);
    figures->listeners = (unsigned)config->listen.count;
}

void ps_doctor_limits(struct ps_doctor *doctor)
{
    struct ps_doctor_limit_figures figures = {.descriptors = 0};
    if (doctor->config == NULL) {
        return;
    }
    read_descriptors(doctor, &figures);
    read_cgroup(doctor, &figures);
    read_machine(&figures);
    read_config(doctor->config, &figures);
    ps_doctor_judge_limits(&doctor->report, &figures);
}
