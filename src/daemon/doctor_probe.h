/* doctor_probe - asks many servers at once, within one deadline for all of them.
 *
 *      name --> addresses --> connection (TLS) --> GET /v1/models --> which engine --> GETs of the
 * engine next address           | when it fails          `--> of Penstock itself: GET /healthz, and
 * that is all
 *
 * Only GETs, and only those that change nothing: some engines take GET for actions too (SGLang's
 * /flush_cache), so what may be asked is a table. Whatever is not known when the deadline comes
 * stays unknown, and `stage` says how far it went.
 *
 * Thread: the caller's, which it keeps for at most the timeout.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_DOCTOR_PROBE_H
#define PS_DAEMON_DOCTOR_PROBE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "daemon/detect.h"
#include "gateway/backend.h"

#define PS_DOCTOR_EXTRAS  4
#define PS_DOCTOR_VERSION 64 /* with the terminator */

/* An endpoint of an engine that is not on everywhere. */
struct ps_doctor_extra {
    enum ps_engine engine; /* PS_ENGINE_AUTO: all that have no row of their own */
    const char *path;
    const char *what; /* it is good for */
    const char *fix;  /* how it is switched on; NULL: it can't be */
};

enum ps_doctor_stage {
    PS_DOCTOR_PREPARE, /* not begun: certificates or memory */
    PS_DOCTOR_RESOLVE,
    PS_DOCTOR_CONNECT,
    PS_DOCTOR_ASK,
    PS_DOCTOR_DETECT,
    PS_DOCTOR_ENGINE,
    PS_DOCTOR_DONE
};

struct ps_doctor_probe {
    /* the question; borrowed */
    const struct ps_upstream_opts *opts; /* NULL: Penstock itself */
    size_t upstream;                     /* index in the configuration */
    char *url;                           /* owned */

    /* what is known at the end */
    enum ps_doctor_stage stage; /* where it stopped */
    int err;                    /* of that stage; PS_ETIMEOUT too */
    char detail[160];           /* more about it, or "" */
    size_t addresses;           /* of the name */
    size_t failed;              /* of them, before one answered */
    int status;                 /* of the first GET */
    struct ps_buf body;
    bool cut;       /* the body is longer */
    bool simulated; /* X-Simulated: true */
    char date[48];
    ps_time wall; /* when the answer came, since 1970 */
    enum ps_engine engine;
    char version[PS_DOCTOR_VERSION];
    int health_status; /* 0 = not asked, or no answer */
    const struct ps_doctor_extra *extras[PS_DOCTOR_EXTRAS];
    int extra_status[PS_DOCTOR_EXTRAS]; /* likewise */
    size_t extra_count;

    struct ps_doctor_run *run; /* private */
};

void ps_doctor_probe_fini(struct ps_doctor_probe *probe);

/* Asks all of them. True: nothing of it is left behind. False: a look-up still waits for its name
 * server, so the process must end with _exit(). */
bool ps_doctor_probe_all(struct ps_doctor_probe *probes, size_t count, ps_span timeout);

#endif
