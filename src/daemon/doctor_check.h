/* doctor_check - what the doctor looks at, one function for each check, and what they share.
 *
 * A check looks and says what it found; nothing that it finds ends the doctor. Configuration comes
 * first because the others need it, then the ports are tried and all servers asked at once, and the
 * checks behind read what came of it.
 *
 * What only judges figures takes them as arguments, so that tests can choose them.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_DOCTOR_CHECK_H
#define PS_DAEMON_DOCTOR_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "daemon/config.h"
#include "daemon/doctor_probe.h"
#include "daemon/doctor_report.h"
#include "io/address.h"

#define PS_DOCTOR_PORTS  32
#define PS_DOCTOR_PROBES 256

/* Who listens; all zero when nobody could be found. */
struct ps_doctor_holder {
    bool found;
    pid_t pid;     /* 0: of another user, whose processes we can't look into */
    uint64_t uid;  /* of the socket */
    char name[32]; /* of the program; printable */
};

/* An address that Penstock would listen on. */
struct ps_doctor_port {
    const char *text; /* as configured */
    char field[32];   /* "listen[0]" */
    bool is_default;  /* nobody wrote it: without IPv6 it is left out */
    struct ps_address address;
    int error; /* errno of trying; 0 = it is free */
    struct ps_doctor_holder holder;
    struct ps_doctor_probe *self; /* the question whether Penstock answers there; or NULL */
};

struct ps_doctor {
    const char *path;         /* of the configuration; NULL = none */
    struct ps_config *config; /* what could be read of it; NULL = nothing */
    const char *const *urls;  /* of the command line */
    size_t url_count;
    ps_span timeout;
    struct ps_doctor_report report;
    struct ps_doctor_port ports[PS_DOCTOR_PORTS];
    size_t port_count;
    struct ps_doctor_probe *probes; /* PS_DOCTOR_PROBES */
    size_t probe_count;
    size_t unasked;    /* endpoints beyond that number */
    pid_t service_pid; /* of the Penstock that runs here; 0 = unknown or none */
};

/* --- before the checks ------------------------------------------------------------------------ */

/* Tries the addresses, finds out who holds them, and puts questions to those that may be ours. */
void ps_doctor_find_ports(struct ps_doctor *doctor);

/* Puts a question for each endpoint. */
void ps_doctor_find_servers(struct ps_doctor *doctor);

/* A probe to be filled; NULL when there are too many. */
struct ps_doctor_probe *ps_doctor_new_probe(struct ps_doctor *doctor);

/* Who listens where `address` would: /proc/net and, as far as we may, /proc/PID/fd. */
void ps_doctor_find_holder(const struct ps_address *address, struct ps_doctor_holder *out);

/* --- the checks ------------------------------------------------------------------------------- */

void ps_doctor_program(struct ps_doctor *doctor);

/* Reads the configuration too; doctor->config is there afterwards, or NULL. */
void ps_doctor_configuration(struct ps_doctor *doctor);
void ps_doctor_access(struct ps_doctor *doctor);
void ps_doctor_certificates(struct ps_doctor *doctor);
void ps_doctor_directories(struct ps_doctor *doctor);
void ps_doctor_ports(struct ps_doctor *doctor);
void ps_doctor_limits(struct ps_doctor *doctor);
void ps_doctor_upstreams(struct ps_doctor *doctor);
void ps_doctor_clocks(struct ps_doctor *doctor);

/* --- judging ---------------------------------------------------------------------------------- */

/* What the machine and its cgroup allow, and what the configuration wants; 0 = unknown. */
struct ps_doctor_limit_figures {
    uint64_t descriptors; /* the hard limit: serve raises the soft one to it */
    bool of_service;      /* of the running service, not of this shell */
    uint64_t memory;      /* of the machine, bytes */
    uint64_t memory_max;  /* of the cgroup */
    uint64_t somaxconn;
    uint64_t port_low, port_high;
    double quota; /* cores */

    uint64_t max_connections;
    uint64_t upstream_connections; /* at the same time */
    uint64_t endpoints;
    uint64_t max_buffered;
    unsigned workers;
    unsigned listeners;
};

void ps_doctor_judge_limits(struct ps_doctor_report *report,
                            const struct ps_doctor_limit_figures *figures);

struct ps_doctor_clock_figures {
    int64_t now;         /* seconds since 1970 */
    int64_t built;       /* likewise */
    bool is_kernel_told; /* adjtimex() answered */
    bool is_synchronised;
    char source[32]; /* of the kernel's clock: "tsc"; "" = unknown */
};

void ps_doctor_judge_clock(struct ps_doctor_report *report,
                           const struct ps_doctor_clock_figures *figures);

/* A server's Date header against our clock (nanoseconds since 1970) when it came. */
void ps_doctor_judge_date(struct ps_doctor_report *report, const char *subject, const char *date,
                          ps_time wall);

/* A library's version at run time against the one it was built with. */
void ps_doctor_judge_library(struct ps_doctor_report *report, const char *name, const char *built,
                             const char *running);

/* A certificate's dates, seconds since 1970. */
void ps_doctor_judge_dates(struct ps_doctor_report *report, const char *subject, int64_t not_before,
                           int64_t not_after, int64_t now);

/* What a server answered to GET /v1/models: is `simulated` said, and which models it names. */
struct ps_doctor_models {
    bool is_list; /* it is a list of models at all */
    bool is_simulated;
    size_t count;
    char (*names)[PS_DETECT_MODEL]; /* free() it */
};

void ps_doctor_read_models(struct ps_str body, struct ps_doctor_models *out);

/* Does the server know this model? Ollama's names may lack their ":latest". */
bool ps_doctor_has_model(const struct ps_doctor_models *models, const char *name);

#endif
