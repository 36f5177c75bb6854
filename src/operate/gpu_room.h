/* gpu_room - what the parts of operate/gpu share.
 *
 * Thread: control's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_GPU_ROOM_H
#define PS_OPERATE_GPU_ROOM_H

#include <stdbool.h>
#include <stddef.h>

#include "gpu/profile.h"
#include "gpu/sampler.h"
#include "io/loop.h"
#include "operate/gpu.h"
#include "operate/gpu_attribution.h"
#include "operate/gpu_demand.h"
#include "operate/gpu_means.h"
#include "operate/gpu_outlook.h"
#include "operate/gpu_plain.h"
#include "operate/optimizer.h"
#include "operate/scrape.h"
#include "operate/throttle.h"

#define PS_GPU_DRIVERS 2

struct ps_gate;
struct ps_gpu_batch;
struct ps_gpu_gates;  /* gpu_gates.c */
struct ps_gpu_gauges; /* gpu_gauges.c */
struct ps_ledger;

/* What the ledger has of this run already. */
struct ps_gpu_recorded {
    uint64_t run;                       /* its number; 0 = none */
    unsigned outcome;                   /* + 1; 0 = not there */
    unsigned steps[PS_OPTIMIZER_STEPS]; /* marks of what they were; 0 = not there */
};

/* A run of an earlier program; its times are instants of this one's loop. */
struct ps_gpu_past {
    int64_t since_us; /* when that program began */
    struct ps_optimizer_run run;
};

struct ps_gpu {
    struct ps_loop *loop;
    struct ps_metrics *metrics; /* or NULL */
    struct ps_gpu_observer observer;
    struct ps_sampler *drivers[PS_GPU_DRIVERS];
    const char *driver_names[PS_GPU_DRIVERS];
    size_t driver_count;
    bool asks_drivers;
    bool asks_sources;
    bool has_gateway;
    struct ps_scrape *scrape;
    struct ps_optimizer *optimizer;
    struct ps_timer timer; /* of the optimizer */
    struct ps_timer settle;
    ps_time settled_by;
    bool settled; /* every source was heard or failed, or had its time */
    struct ps_inquiry *call;
    struct ps_gpu_means *means; /* what this machine can do itself */
    const struct ps_hook *hook; /* of the call */
    int mode;                   /* as configured */
    ps_time since;              /* wall clock, when it began */
    size_t told;                /* steps of the latest run that the observer has heard of */
    uint64_t told_run;
    bool stepping;                                /* inside ps_optimizer_step() */
    struct ps_sampler_view views[PS_GPU_DRIVERS]; /* as measured last; with references */
    struct ps_scrape_result **held;               /* likewise */
    size_t held_count;
    double target_percent;
    struct ps_gpu_outlook *outlook;
    struct ps_gpu_gates *gates;
    int in_flight; /* enum ps_throttle_mode */
    struct ps_gpu_plain *plain;
    struct ps_gpu_attribution *attribution;
    struct ps_gpu_batch *batch;
    struct ps_gpu_gauges *gauges; /* NULL without metrics */
    ps_time gauges_at;            /* the next time that figures are published */
    bool shown;                   /* a second has shown a server */
    struct ps_ledger *ledger;     /* NULL = nothing is kept */
    struct ps_gpu_recorded recorded;
    struct ps_gpu_past *past; /* runs of before the start, the latest first; or NULL */
    size_t past_count;
    bool past_known;   /* their steps are there, too */
    ps_time recall_at; /* PS_NEVER: known, or being asked for */

    /* of one measurement, scratch */
    struct ps_optimizer_target targets[PS_OPTIMIZER_TARGETS];
    struct ps_gpu_crowd crowds[PS_OPTIMIZER_TARGETS];
};

void ps_gpu_open_drivers(struct ps_gpu *gpu, const struct ps_gpu_opts *opts); /* gpu_drivers.c */

/* What is known now; the references stay until the next call. */
size_t ps_gpu_measure(void *ctx, ps_time now, struct ps_optimizer_target *targets, size_t most);

void ps_gpu_forget(struct ps_gpu *gpu); /* gives them back */

/* How a server's fullness is measured: "kv_cache" or "device"; NULL: it is not. */
const char *ps_gpu_basis(const struct ps_optimizer_target *target);

/* What is known of devices, from whom. Names are those of sources; snapshots are borrowed. */
size_t ps_gpu_list_sources(struct ps_gpu *gpu, ps_time now, struct ps_profile_source *sources,
                           size_t most);

/* The server that `profile` is about: of those with the highest level the fullest that is heard of
 * now, or NULL. One that will run out in a minute comes before one that is fuller and steady. */
const struct ps_optimizer_target *ps_gpu_most_pressed(const struct ps_gpu_outlook *outlook,
                                                      const struct ps_optimizer_target *targets,
                                                      size_t count);

/* The figures of `profile`, in percent. */
struct ps_gpu_headline {
    struct ps_device_reading used;
    struct ps_device_reading effective;
    bool foreseen; /* there is a view */
    struct ps_gpu_view view;
};

void ps_gpu_headline(struct ps_gpu *gpu, ps_time now, const struct ps_optimizer_target *targets,
                     size_t count, struct ps_gpu_headline *out);

/* NULL when out of memory. */
struct ps_gpu_gates *ps_gpu_gates_new(void);
void ps_gpu_gates_free(struct ps_gpu_gates *gates); /* NULL is fine */

/* New figures: gates let in what their servers' memory holds. */
void ps_gpu_gates_push(struct ps_gpu *gpu, ps_time now, const struct ps_optimizer_target *targets,
                       size_t count);

/* Takes all bounds back. */
void ps_gpu_gates_open(struct ps_gpu *gpu, ps_time now);

/* What is in force for a gate. */
struct ps_throttle_bound ps_gpu_gates_bound(const struct ps_gpu *gpu, const struct ps_gate *gate);

/* Asks the ledger for the cleanups of before; they are in `past` some time later. */
void ps_gpu_recall(struct ps_gpu *gpu);

/* Writes what the latest run has got since the last call. */
void ps_gpu_record(struct ps_gpu *gpu);

/* Nanoseconds since 1970 of an instant of the loop. */
ps_time ps_gpu_wall(const struct ps_gpu *gpu, ps_time at);

/* Publishes the figures of this second. */
PS_MUST_CHECK int ps_gpu_gauges_new(struct ps_gpu_gauges **out, struct ps_gpu *gpu);
void ps_gpu_gauges_free(struct ps_gpu_gauges *gauges);
void ps_gpu_gauges_update(struct ps_gpu_gauges *gauges, const struct ps_optimizer_target *targets,
                          size_t count);

#endif
