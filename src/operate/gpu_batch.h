/* gpu_batch - learns for each upstream which batch, or how many requests in flight, does best.
 *
 *      calls that ended, from the workers (gateway/finished) --.
 *      Triton's batch_stats (operate/scrape) ------------------+--> a book for each upstream
 *      how full the server is, and what it works on -----------'    (gpu/batch_book)
 *
 * Requests that join at once (vLLM and its like) are measured here: how many were in flight at an
 * endpoint, and what a call took. Each is learned twice, for "any" shape and for its own; for the
 * latter, times are those of an answer of usual length. Servers that merge requests (Triton) say
 * themselves what batches of each size took.
 *
 * Memory is learned in percent of what counts for the server (gpu/pressure: its cache where it
 * preallocates, else its devices), for the model, and for the shape, that nearly all recent calls
 * had: what nobody can tell apart is not attributed.
 *
 * Thread: control's; ps_gpu_batch_ring() is for the workers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_GPU_BATCH_H
#define PS_OPERATE_GPU_BATCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "gpu/batch_book.h"
#include "observe/metric.h"
#include "operate/optimizer.h"

struct ps_finished_ring;
struct ps_gateway;
struct ps_gpu_batch;
struct ps_gpu_batch_opts;
struct ps_metrics;
struct ps_scrape;

enum { PS_GPU_BATCH_SHELVES = 8, PS_GPU_BATCH_RECENT = 32 };

extern const struct ps_metric_family ps_gpu_batch_metric_families[];

/* Metrics are borrowed; NULL: nothing is published. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_batch_new(struct ps_gpu_batch **out, struct ps_metrics *metrics);
void ps_gpu_batch_free(struct ps_gpu_batch *batch); /* NULL is fine */

/* What is in force now; the gateway is borrowed until the next call. */
void ps_gpu_batch_set(struct ps_gpu_batch *batch, const struct ps_gpu_batch_opts *opts,
                      double target_percent, struct ps_gateway *gateway);

/* Where workers put what has ended. */
struct ps_finished_ring *ps_gpu_batch_ring(struct ps_gpu_batch *batch);

/* Learns what came since the last call, and publishes the figures. */
void ps_gpu_batch_learn(struct ps_gpu_batch *batch, const struct ps_scrape *scrape, ps_time now,
                        const struct ps_optimizer_target *targets, size_t count);

/* A program that runs batches itself tells of one of them (or of the mean of `count`): it took so
 * many seconds and bytes of memory (NAN: not known). Its models stand beside those of upstreams, as
 * of "library". PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_batch_observe(struct ps_gpu_batch *batch, struct ps_str model,
                                       struct ps_str shape, ps_time now, size_t size,
                                       double seconds, double bytes, double count);

/* Likewise of one that ran out of memory where so many bytes were free. */
PS_MUST_CHECK int ps_gpu_batch_fail(struct ps_gpu_batch *batch, struct ps_str model,
                                    struct ps_str shape, ps_time now, size_t size, double bytes);

/* The best size for it, with `goal` (its memory in bytes), and the one that should be tried next
 * (0: enough is known). What an upstream taught is used where nobody observed any; then the bytes
 * of the goal don't count, and those of the advice are not known. PS_OK, or PS_ENOTFOUND: nothing
 * was seen of it. */
PS_MUST_CHECK int ps_gpu_batch_ask(struct ps_gpu_batch *batch, struct ps_str model,
                                   struct ps_str shape, const struct ps_batch_goal *goal,
                                   struct ps_batch_advice *advice, size_t *next);

/* --- gpu_batch_json.c */

/* One row for each model and shape that anything is known of; NULL: out of memory. */
json_t *ps_gpu_batch_json(struct ps_gpu_batch *batch);

/* Appends a recommendation for each upstream whose limit is far from the best. */
void ps_gpu_batch_advise(struct ps_gpu_batch *batch, json_t *list);

/* What `model=A&shape=B&upstream=C` asks for; each may be left out where that is clear, without a
 * shape it is "any"; all rows for an empty query. PS_OK; PS_EINVAL (malformed or unknown
 * parameters), PS_ENOTFOUND (nothing was seen of it): with a sentence in reason; PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_batch_write(struct ps_gpu_batch *batch, struct ps_str query,
                                     struct ps_buf *out, char *reason, size_t size);

#endif
