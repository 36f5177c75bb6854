/* gpu - the GPU room: asks, watches, cleans up, and tells what /api/gpu shows.
 *
 *      drivers (threads of their own) --.
 *      operate/scrape ------------------+--> measure --> operate/optimizer --> operate/hooks
 *                                       '--> /api/gpu/profile, /api/gpu/report, penstock_gpu_*
 *
 * Nothing here needs a gateway: without one the sources of the configuration are all that is asked.
 * What it does is told to an observer, and logged by whoever wants to.
 *
 * Thread: the loop's owner; in the daemon that is control.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_GPU_H
#define PS_OPERATE_GPU_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "observe/metric.h"

struct ps_finished_ring;
struct ps_batch_advice;
struct ps_batch_goal;
struct ps_gateway;
struct ps_gpu;
struct ps_gpu_opts;
struct ps_ledger;
struct ps_ledger_room;
struct ps_loop;
struct ps_optimizer_run;
struct ps_optimizer_step;

extern const struct ps_metric_family ps_gpu_metric_families[];

/* The tables of cleanups and their steps, for the ledger. */
extern const struct ps_ledger_room ps_gpu_ledger_room;

/* Opens the drivers and starts the watch over nothing yet. `metrics` is borrowed (NULL: nothing is
 * published), and so is the ledger, which has ps_gpu_ledger_room and keeps what was done (NULL:
 * nobody does). PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_new(struct ps_gpu **out, const struct ps_gpu_opts *opts,
                             struct ps_loop *loop, struct ps_metrics *metrics,
                             struct ps_ledger *ledger);
void ps_gpu_free(struct ps_gpu *gpu); /* NULL is fine */

/* Who is told; called on the loop, may read, must not free. Each may be NULL. */
struct ps_gpu_observer {
    /* A step that was more than a plan has ended, and a cleanup. */
    void (*on_step)(void *ctx, const struct ps_optimizer_run *run,
                    const struct ps_optimizer_step *step);
    void (*on_run)(void *ctx, const struct ps_optimizer_run *run);
    /* Every source was heard or failed, or had its time; once. */
    void (*on_settled)(void *ctx);
    void *ctx;
};

/* Copied. */
void ps_gpu_observe(struct ps_gpu *gpu, const struct ps_gpu_observer *observer);
bool ps_gpu_is_settled(const struct ps_gpu *gpu);

/* What is in force now. A mode that was set by the API stays unless the configured one changed.
 * Without a gateway (NULL) the sources are all. PS_OK, or as ps_scrape_set(): the rest is asked. */
PS_MUST_CHECK int ps_gpu_set(struct ps_gpu *gpu, const struct ps_gpu_opts *opts,
                             struct ps_gateway *gateway, char *reason, size_t size);

/* What a program saw of a batch of its own; NAN: not known. */
struct ps_gpu_observation {
    struct ps_str model, shape;
    size_t size;
    double seconds;
    double bytes;
    bool failed; /* it ran out of memory: bytes is what there was */
};

/* Into the book of batches, and out of it: as ps_gpu_batch_observe() and ps_gpu_batch_ask(). */
PS_MUST_CHECK int ps_gpu_observe_batch(struct ps_gpu *gpu,
                                       const struct ps_gpu_observation *observation);
PS_MUST_CHECK int ps_gpu_ask_batch(struct ps_gpu *gpu, struct ps_str model, struct ps_str shape,
                                   const struct ps_batch_goal *goal, struct ps_batch_advice *advice,
                                   size_t *next);

/* The engine at an endpoint was found out. */
void ps_gpu_look(struct ps_gpu *gpu);

/* Is anything known of any GPU, server or exporter? */
bool ps_gpu_is_known(struct ps_gpu *gpu);

/* Append the JSON of GET /api/gpu/profile and /api/gpu/report. PS_OK; PS_ENOTFOUND: nothing is
 * known of any GPU; PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_write_profile(struct ps_gpu *gpu, struct ps_buf *out);
PS_MUST_CHECK int ps_gpu_write_report(struct ps_gpu *gpu, struct ps_buf *out);

/* Why nothing is known of any GPU, as a sentence that names the settings. */
void ps_gpu_explain(struct ps_gpu *gpu, char *text, size_t size);

/* Does what the JSON of POST /api/gpu/cleanup says and appends the answer; `who` asks. PS_OK: *done
 * tells whether it is over already. PS_EINVAL, PS_EBUSY (one runs), PS_ECANCELED (it is off): with
 * a sentence in reason; PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_cleanup(struct ps_gpu *gpu, struct ps_str json, const char *who,
                                 struct ps_buf *out, bool *done, char *reason, size_t size);

/* Appends the same answer as it is now; for observers. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_write_cleanup(struct ps_gpu *gpu, const struct ps_optimizer_run *run,
                                       struct ps_buf *out);

/* No further call of the cleanup that runs, if one does: it ends now, because of `why`. */
void ps_gpu_end_cleanup(struct ps_gpu *gpu, const char *why);

/* Where workers put calls that have ended; as long as the room lives. */
struct ps_finished_ring *ps_gpu_finished(struct ps_gpu *gpu);

/* Appends the JSON of GET /api/gpu/batch-size?QUERY. PS_OK; PS_EINVAL or PS_ENOTFOUND with a
 * sentence in reason; PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_write_batch(struct ps_gpu *gpu, struct ps_str query, struct ps_buf *out,
                                     char *reason, size_t size);

#endif
