/* gpu - the GPU room: asks, watches, cleans up, and tells what /api/gpu shows.
 *
 *      drivers (threads of their own) --.
 *      operate/scrape ------------------+--> measure --> operate/optimizer --> operate/hooks
 *                                       '--> /api/gpu/profile, /api/gpu/report, penstock_gpu_*
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
struct ps_gateway;
struct ps_gpu;
struct ps_gpu_opts;
struct ps_loop;

extern const struct ps_metric_family ps_gpu_metric_families[];

/* Opens the drivers and starts the watch over nothing yet. `metrics` is borrowed. PS_OK or
 * PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_new(struct ps_gpu **out, const struct ps_gpu_opts *opts,
                             struct ps_loop *loop, struct ps_metrics *metrics);
void ps_gpu_free(struct ps_gpu *gpu); /* NULL is fine */

/* What is in force now. A mode that was set by the API stays unless the configured one changed. */
void ps_gpu_set(struct ps_gpu *gpu, const struct ps_gpu_opts *opts, struct ps_gateway *gateway);

/* The engine at an endpoint was found out. */
void ps_gpu_look(struct ps_gpu *gpu);

/* Append the JSON of GET /api/gpu/profile and /api/gpu/report. PS_OK; PS_ENOTFOUND: nothing is
 * known of any GPU; PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_write_profile(struct ps_gpu *gpu, struct ps_buf *out);
PS_MUST_CHECK int ps_gpu_write_report(struct ps_gpu *gpu, struct ps_buf *out);

/* Where workers put calls that have ended; as long as the room lives. */
struct ps_finished_ring *ps_gpu_finished(struct ps_gpu *gpu);

/* Appends the JSON of GET /api/gpu/batch-size?QUERY. PS_OK; PS_EINVAL or PS_ENOTFOUND with a sentence
 * in reason; PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_write_batch(struct ps_gpu *gpu, struct ps_str query, struct ps_buf *out,
                                     char *reason, size_t size);

/* Does what the JSON of POST /api/gpu/cleanup says and appends the answer. PS_OK: *done tells
 * whether it is over already. PS_EINVAL, PS_EBUSY (one runs), PS_ECANCELED (it is off): with a
 * sentence in reason; PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_cleanup(struct ps_gpu *gpu, struct ps_str json, struct ps_buf *out,
                                 bool *done, char *reason, size_t size);

#endif
