/* optimizer - the ladder: frees GPU memory rung by rung, and believes only what was measured.
 *
 *      watch --(over the target for a while or soon, or somebody asks)--> choose a rung and a
 * server ^                                                          |            | | nothing left:
 * no_rung    | call |                                                                       v
 *        '--(target met, or the ladder ends; then it cools down)-- verdict <-- measure every 200 ms
 *
 * A call that was answered with success is proven by the device's memory and by the server's own
 * state. "200, but less than half of what was expected is free" is a finding, made 2 s after the
 * answer at the latest; the ladder then climbs on. What comes later still is noted with it.
 *
 * It acts only where that was allowed: mode `auto` with rungs that the configuration names, or
 * somebody with the role admin who names one; never on a server that works on requests unless told
 * to (but a model of it that was idle for idle_after is fair game where only that one leaves); and
 * with calls that were never tried against a real server only in dry run, unless the
 * configuration trusts them. Whatever it does or would have done is kept in a ring.
 *
 * Time is an argument; measuring and calling are handed in. Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_OPTIMIZER_H
#define PS_OPERATE_OPTIMIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "gpu/device.h"
#include "gpu/vitals.h"
#include "operate/hooks.h"

#define PS_OPTIMIZER_RUNS    32 /* kept */
#define PS_OPTIMIZER_STEPS   16 /* of one run */
#define PS_OPTIMIZER_TARGETS 256
#define PS_OPTIMIZER_WHY     200
#define PS_OPTIMIZER_NAME    128
#define PS_OPTIMIZER_WHO     64

#define PS_OPTIMIZER_POLL    (200 * PS_MILLISECOND)
#define PS_OPTIMIZER_VERDICT (2 * PS_SECOND)

enum ps_optimizer_mode { PS_OPTIMIZER_OFF, PS_OPTIMIZER_ADVISE, PS_OPTIMIZER_AUTO };

extern const char *const ps_optimizer_mode_names[]; /* NULL-terminated */

struct ps_optimizer_opts {
    double target_percent;
    unsigned rungs; /* a bit for each that `auto` may use */
    bool trust_unverified;
    bool act_on_busy;
    double margin_percent; /* on its own it begins so much below the target, and ends twice as much
                              below it */
    ps_span idle_after; /* a model that was not used for so long counts as idle, whatever else its
                           server does; 0 = only servers that do nothing are idle */
    ps_span hold;       /* how long it has to be over the target */
    ps_span cool_down;  /* from the end of a run that was not asked for to the next */
};

/* A server that could be asked, as it is now. */
struct ps_optimizer_target {
    uint32_t id;
    enum ps_adapter_id adapter;
    char name[PS_OPTIMIZER_NAME]; /* of the upstream, with the endpoint */
    const char *instance;         /* of LMCache; else "" */
    const struct ps_vitals *vitals;
    ps_time taken;                        /* of the vitals and the device's figures */
    struct ps_device_reading used;        /* bytes, on its devices */
    struct ps_device_reading utilization; /* percent of its devices' memory */
    struct ps_device_reading effective;   /* percent that counts: gpu/pressure */
    struct ps_device_reading soon;        /* what it will be in ten seconds, as forecast */
    struct ps_device_reading spare;       /* bytes that its cache has ahead of what it uses */
    unsigned means;                       /* a bit for each rung that this machine does to it */
    bool stopped;                         /* checkpointed from here: it may not even answer */
    bool limited;                         /* its cache's limit was lowered from here */
    bool alone;                           /* no other server is on its devices */
    bool busy;                            /* works on requests, or has some in flight here */
    bool fresh;
};

struct ps_optimizer_ops {
    /* Fills in what is known, at most `most`; pointers are good until the step ends. */
    size_t (*measure)(void *ctx, ps_time now, struct ps_optimizer_target *targets, size_t most);
    /* Asks the server for fresh figures; measure() has them when they came. */
    void (*poll)(void *ctx, uint32_t id);
    /* Makes the call; ps_optimizer_on_answer() follows, not from inside. PS_OK, or why not. */
    int (*call)(void *ctx, uint32_t id, const struct ps_hook *hook, const char *model);
    void (*cancel)(void *ctx);    /* the call that is under way */
    void (*on_change)(void *ctx); /* a step or a run has ended; may be NULL */
    void *ctx;
};

enum ps_optimizer_verdict {
    PS_OPTIMIZER_CALLING,   /* no answer yet */
    PS_OPTIMIZER_MEASURING, /* answered with success */
    PS_OPTIMIZER_DRY,       /* would have been called */
    PS_OPTIMIZER_FREED,     /* measured on the device */
    PS_OPTIMIZER_DONE, /* what it promised was nothing on the device, and it says that it did it */
    PS_OPTIMIZER_UNPROVEN, /* the server says so, and nobody could measure */
    PS_OPTIMIZER_SHORT,    /* success, and less than half is free (nothing, where nobody knew) */
    PS_OPTIMIZER_REFUSED,  /* busy */
    PS_OPTIMIZER_MISSING,
    PS_OPTIMIZER_DENIED,
    PS_OPTIMIZER_FAILED,
    PS_OPTIMIZER_STOPPED /* ended meanwhile: why says it */
};

extern const char *const ps_optimizer_verdict_names[];

struct ps_optimizer_step {
    uint32_t id;
    enum ps_adapter_id adapter;
    const struct ps_hook *hook;
    char target[PS_OPTIMIZER_NAME];
    char model[PS_VITALS_NAME]; /* "" = all of the server */
    ps_time began, answered, ended;
    enum ps_optimizer_verdict verdict;
    char why[PS_OPTIMIZER_WHY];
    struct ps_device_reading expected;            /* bytes */
    struct ps_device_reading before, after;       /* bytes in use on the device */
    struct ps_device_reading kv_before, kv_after; /* share of the cache */
    struct ps_device_reading late;                /* bytes that were free only after the verdict */
    ps_time late_at;
    enum ps_vitals_state state; /* as the server says at the end */
    bool shown, showable;       /* its own state shows it; it could */
    bool busy;                  /* the server worked on requests meanwhile */
    bool wanted;                /* somebody came for the model */
    int status;                 /* of the answer; 0 = none */
    bool simulated;             /* the server says that it is */
};

enum ps_optimizer_outcome {
    PS_OPTIMIZER_RUNNING,
    PS_OPTIMIZER_TARGET_MET,
    PS_OPTIMIZER_EXHAUSTED, /* rungs were used, and it is still over the target */
    PS_OPTIMIZER_NO_RUNG,   /* nothing could be done: why says it */
    PS_OPTIMIZER_PLANNED,   /* dry run */
    PS_OPTIMIZER_ENDED      /* switched off meanwhile, or its time was up */
};

extern const char *const ps_optimizer_outcome_names[];

struct ps_optimizer_run {
    uint64_t number; /* counts up from 1 */
    bool manual, dry_run;
    char who[PS_OPTIMIZER_WHO];  /* asked for it; "" = nobody */
    const char *level;           /* the rung that they named, static; NULL = none */
    enum ps_optimizer_mode mode; /* in force when it began */
    unsigned rungs;
    double target_percent;
    ps_time began, ended;
    enum ps_optimizer_outcome outcome;
    char why[PS_OPTIMIZER_WHY];
    struct ps_device_reading percent_before, percent_after; /* of the fullest server */
    struct ps_optimizer_step steps[PS_OPTIMIZER_STEPS];
    size_t step_count;
};

/* What was counted since the start. */
struct ps_optimizer_stats {
    uint64_t runs[PS_OPTIMIZER_ENDED + 1];    /* by outcome */
    uint64_t steps[PS_OPTIMIZER_STOPPED + 1]; /* by verdict */
    double freed;                             /* bytes, measured */
};

struct ps_optimizer;

/* Ops are copied. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_optimizer_new(struct ps_optimizer **out, const struct ps_optimizer_ops *ops);
void ps_optimizer_free(struct ps_optimizer *optimizer); /* NULL is fine */

void ps_optimizer_set(struct ps_optimizer *optimizer, const struct ps_optimizer_opts *opts);

/* `off` ends what runs at once: no further call is made. */
void ps_optimizer_set_mode(struct ps_optimizer *optimizer, enum ps_optimizer_mode mode,
                           ps_time now);
enum ps_optimizer_mode ps_optimizer_mode(const struct ps_optimizer *optimizer);

/* Likewise ends what runs, because of `why`, and leaves the mode alone. */
void ps_optimizer_end(struct ps_optimizer *optimizer, const char *why, ps_time now);

/* The next run's number is the one after `number`. Only before the first. */
void ps_optimizer_count_from(struct ps_optimizer *optimizer, uint64_t number);

/* What somebody asks for. */
struct ps_optimizer_order {
    unsigned rungs;        /* 0: those of the configuration */
    double target_percent; /* 0: that of the configuration */
    bool dry_run;
    const char *level; /* the rung that was named, static; or NULL */
    const char *who;   /* asks; cut at PS_OPTIMIZER_WHO */
};

/* Begins a run; its number in *number. PS_OK; PS_EBUSY while one runs; PS_ECANCELED: it is off. */
PS_MUST_CHECK int ps_optimizer_order(struct ps_optimizer *optimizer,
                                     const struct ps_optimizer_order *order, ps_time now,
                                     uint64_t *number);

/* What the call that is under way was answered. `err`: it was not. */
void ps_optimizer_on_answer(struct ps_optimizer *optimizer, int err, enum ps_hook_answer answer,
                            int status, ps_time now);

/* The call that is under way failed, in words. */
void ps_optimizer_on_failure(struct ps_optimizer *optimizer, const char *why, ps_time now);

/* Does what is due. Call it when new figures came and at the time that it returns. */
ps_time ps_optimizer_step(struct ps_optimizer *optimizer, ps_time now);

/* The n-th latest run, or NULL; the first may still run. */
const struct ps_optimizer_run *ps_optimizer_run(const struct ps_optimizer *optimizer, size_t n);
const struct ps_optimizer_run *ps_optimizer_find(const struct ps_optimizer *optimizer,
                                                 uint64_t number);

/* Any thread. */
void ps_optimizer_stats(struct ps_optimizer *optimizer, struct ps_optimizer_stats *stats);

#endif
