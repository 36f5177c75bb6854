/* run - one load test from begin to end: N generator threads, one loop each, counted second by second.
 *
 *      control's loop                          generator threads (generator.h)
 *      ps_run_change() --- phase ------------> schedule -> requests -> sessions -> tally of this second
 *      on_row(row) <------ tally, each second -------------------------------------+
 *      total <- merged
 *
 * Open loop: the schedule (or the trace) says when; each thread walks the same schedule and sends every
 * n-th request, so what is sent and when does not depend on the number of threads, nor on the server. Closed
 * loop: `connections` users who send their next request when the answer to the last is there.
 *
 * A thread counts into a block of its own; each second it hands the block over and takes an empty one. Here
 * they are merged into the row of that second, which goes to on_row and into the total. So memory does not
 * depend on the length of a run, and counting costs the threads no lock.
 *
 * The generator watches itself: sends that left late or not at all, its own processor time, ports and
 * descriptors. A run that it shaped is `limited`, and says why.
 *
 * Thread: everything here belongs to the control loop's thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_RUN_H
#define PS_LOAD_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "load/pacer.h"
#include "load/requests.h"
#include "load/schedule.h"
#include "load/tally.h"
#include "load/target.h"

struct ps_loop;
struct ps_run;

#define PS_RUN_THREADS_MAX 64u

/* A change of rate holds from so long after it was asked for, so that all threads do it at the same
 * instant. */
#define PS_RUN_CHANGE_DELAY (50 * PS_MILLISECOND)

struct ps_run_opts {
    struct ps_target_opts target;
    struct ps_requests_opts requests;
    struct ps_schedule_opts schedule; /* open loop without a trace */
    struct ps_pacer_opts pace;        /* of a trace: speed (0 counts as 1), limit, duration, swell */
    size_t connections;               /* > 0: closed loop, in all threads together; the schedule is not used */
    ps_span duration;                 /* stop sending after this; 0 = the schedule's or the trace's end */
    uint64_t limit;                   /* or after so many requests; 0 = none */
    unsigned threads;                 /* 0 counts as 1 */
    size_t max_in_flight;             /* in all; beyond it a due request is skipped and counted; 0: 16384 */
    ps_span timeout;                  /* of one request; 0: 60 s */
    ps_span drain;                    /* how long answers are waited for at the end; 0: as long as `timeout` */
    ps_span max_lag;                  /* a send later than this is late; 0: PS_TALLY_LATE */
    double cancel_share;              /* of the requests: broken off on purpose after their first bytes, 0 to 1 */
    struct ps_objectives objectives;  /* for the goodput; all 0 = none */
    uint64_t seed;
};

/* How the generator itself did. Sums over all threads, of the row or of the run. */
struct ps_run_self {
    double cpu_percent;      /* of one core, the busiest thread, waiting by spinning not counted */
    double lag_p99_seconds;  /* between intended and real send; NAN: nothing was sent */
    uint64_t late;           /* sends later than opts.max_lag */
    uint64_t skipped;        /* due, but not sent: bound on requests in flight, descriptors */
    uint64_t out_of_ports;   /* connects that found no free local port */
    uint64_t out_of_files;   /* connects that found no free descriptor */
};

/* One second of the run. Everything is valid in the callback only. */
struct ps_run_row {
    uint64_t number;    /* from 0 */
    ps_span at;         /* its begin, from the start of the run */
    ps_span length;     /* one second; of the last row what there was of it */
    ps_time wall;       /* of its begin, nanoseconds since 1970 */
    double target_rate; /* requests a second that were due in it; NAN: closed loop */
    uint64_t in_flight; /* at its end */
    uint64_t connections; /* open at its end */
    const struct ps_tally *tally; /* what ended (and was sent) in it; ps_tally_merge() sums rows */
    struct ps_run_self self;
};

struct ps_run_ops {
    /* The name is resolved, threads begin: t = 0. May be NULL. */
    void (*on_start)(void *ctx);
    /* A second is over, or the run (its last, shorter one). May change the phase, drain or stop, not free. May
     * be NULL. */
    void (*on_row)(void *ctx, const struct ps_run_row *row);
    /* It is over, once: PS_OK; or why it could not begin or broke off (ps_run_error() in words). The last row
     * came before. Not from inside a function of this header but ps_run_stop(). Must not free. */
    void (*on_end)(void *ctx, int err);
};

struct ps_run_error {
    char text[640];
};

/* Prepares a run on control's loop: reads files, checks options. Nothing is sent yet. PS_OK; PS_EINVAL, PS_EPARSE,
 * PS_ENOTFOUND, PS_ELIMIT, PS_EIO, PS_ETLS, PS_ENOMEM: *error says why. Options are copied; what they point to is
 * borrowed until ps_run_free(). */
PS_MUST_CHECK int ps_run_new(struct ps_run **out, struct ps_loop *loop, const struct ps_run_opts *opts,
                             const struct ps_run_ops *ops, void *ctx, struct ps_run_error *error);

/* Stops and frees it; no callback comes any more. NULL is fine. */
void ps_run_free(struct ps_run *run);

/* Resolves the name, connects once to see whether anybody is there, begins. on_end follows in any case; with
 * PS_ERESOLVE, PS_EREFUSED, PS_ETIMEOUT, PS_EUNREACHABLE, PS_ETLS, PS_ERESET, PS_ECLOSED nothing was sent: the target
 * is not reachable. */
void ps_run_start(struct ps_run *run);

/* From PS_RUN_CHANGE_DELAY from now this phase holds instead of what the schedule said (open loop, no trace).
 * Only after the first row has come. Connections stay. Returns the instant from which it does, from the start of the run. */
ps_span ps_run_change(struct ps_run *run, const struct ps_phase *phase);

/* Sends nothing more; answers are waited for (opts.drain), then on_end. */
void ps_run_drain(struct ps_run *run);

/* Sends nothing more and drops what is in flight (counted as unfinished); the last row and on_end follow within
 * milliseconds. Safe at any moment. */
void ps_run_stop(struct ps_run *run);

/* Everything so far, complete after on_end. */
const struct ps_tally *ps_run_total(const struct ps_run *run);
struct ps_run_self ps_run_self(const struct ps_run *run);

/* From the start to the last answer (or to now); what rates are computed with. */
double ps_run_seconds(const struct ps_run *run);

/* Did the generator and not the server shape the run? Then the reason, one sentence; NULL: no. */
const char *ps_run_limited(const struct ps_run *run);

/* Why it ended with an error; "". */
const char *ps_run_error(const struct ps_run *run);

/* "http://host:port", and the wall clock of its start (nanoseconds since 1970; 0 before). */
const char *ps_run_target(const struct ps_run *run);
ps_time ps_run_started(const struct ps_run *run);

/* Prompts of a trace that were cut; complete after on_end. */
uint64_t ps_run_cut(const struct ps_run *run);

#endif
