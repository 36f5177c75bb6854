/* caches - what the process has of the cache: both tiers, the flights, and what /api/cache tells.
 *
 * It is made once and outlives every reload, so answers stay when the configuration changes; what is
 * configured of it changes with a restart.
 *
 * Thread: control's, but for what it lends to gateways.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_CACHES_H
#define PS_DAEMON_CACHES_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "observe/metric.h"

struct ps_cache_opts;
struct ps_caches;
struct ps_gateway_opts;
struct ps_loop;

extern const struct ps_metric_family ps_caches_metric_families[];

/* Opens the caches and publishes their figures. PS_OK, PS_EINVAL with a sentence in reason, or
 * PS_ENOMEM. */
PS_MUST_CHECK int ps_caches_new(struct ps_caches **out, const struct ps_cache_opts *opts,
                                struct ps_loop *loop, struct ps_metrics *metrics, char *reason,
                                size_t size);

/* After the last gateway. NULL is fine. */
void ps_caches_free(struct ps_caches *caches);

/* Fills in what a gateway borrows. */
void ps_caches_lend(struct ps_caches *caches, struct ps_gateway_opts *opts);

/* Appends the JSON of GET /api/cache/stats. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_caches_write_stats(struct ps_caches *caches, struct ps_buf *out);

/* Does what the JSON of POST /api/cache/invalidate says: {"pattern"|"key"|"tag", "tenant"?}. Appends
 * the answer. PS_OK; PS_EINVAL with a sentence in reason, when it says nothing sensible; PS_ENOMEM.
 */
PS_MUST_CHECK int ps_caches_invalidate(struct ps_caches *caches, struct ps_str json,
                                       struct ps_buf *out, char *reason, size_t size);

#endif
