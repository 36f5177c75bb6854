/* engines - what runs at every endpoint: detected, remembered, shown, and noticed when it changes.
 *
 *      health: on_reachable --> ps_engines_look() --> detect --> identity of the endpoint
 *                                                                log, penstock_endpoint_engine
 *
 * Each endpoint is asked for itself: an upstream may mix. What is found is kept with the endpoint
 * and lives on over reloads. An engine that the configuration names stays what it is there; that
 * something else answers is a warning, once for each change. One detection at most runs for an
 * endpoint, and each ends within 10 s.
 *
 * Thread: the control loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_ENGINES_H
#define PS_DAEMON_ENGINES_H

#include "base/buf.h"
#include "base/err.h"
#include "observe/metric.h"

struct ps_backend;
struct ps_config;
struct ps_endpoint;
struct ps_engines;
struct ps_gateway;
struct ps_loop;

/* The rows; declare them once. */
extern const struct ps_metric_family ps_engines_metric_families[];

/* Called when a detection has ended and no other is under way. */
typedef void ps_engines_fn(void *ctx);

/* `metrics` is borrowed and outlives it. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_engines_new(struct ps_engines **out, struct ps_loop *loop,
                                 struct ps_metrics *metrics, ps_engines_fn *on_settled, void *ctx);

/* NULL is fine. */
void ps_engines_free(struct ps_engines *engines);

/* The gateway in force, or the next one: what ran for the old one is cancelled, endpoints that are
 * gone are forgotten. */
void ps_engines_set_gateway(struct ps_engines *engines, struct ps_gateway *gateway);

/* Finds out what runs there, unless that is under way. Nobody asks an endpoint whose engine is
 * configured and whose active checks are off: its server sees nothing but its clients' requests. */
void ps_engines_look(struct ps_engines *engines, struct ps_backend *backend,
                     struct ps_endpoint *endpoint);

/* Appends the configuration as YAML with the engines that were found, for whoever started without a
 * file: `engine: vllm  # simulated`. The configuration is changed for the time of the call. PS_OK,
 * PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_engines_yaml(const struct ps_gateway *gateway, struct ps_config *config,
                                  struct ps_buf *out);

#endif
