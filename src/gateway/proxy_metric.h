/* proxy_metric - what the request path counts, bound to the routes and upstreams of one gateway.
 *
 * Thread: handles are made when first needed, by any worker; counting is per shard.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_PROXY_METRIC_H
#define PS_GATEWAY_PROXY_METRIC_H

#include <stdatomic.h>

#include "base/err.h"
#include "observe/metric.h"

struct ps_gateway;

/* The rows; declare them once. */
extern const struct ps_metric_family ps_proxy_metric_families[];

struct ps_proxy_metrics;

/* Binds the series of a gateway's routes and upstreams and publishes gauges that read its gates and
 * endpoints. The registry outlives the result. PS_OK, PS_ENOMEM, PS_EINVAL. */
PS_MUST_CHECK int ps_proxy_metrics_new(struct ps_proxy_metrics **out, struct ps_metrics *registry,
                                       struct ps_gateway *gateway);
void ps_proxy_metrics_free(struct ps_proxy_metrics *metrics); /* NULL is fine */

/* One request has ended. `route` and `upstream` are indexes; SIZE_MAX = none. Durations in seconds, first
 * byte NAN when there was none. */
struct ps_proxy_sample {
    size_t route;
    size_t upstream;
    int status;
    double seconds;
    double first_byte_seconds;
    double queue_seconds; /* NAN when it never reached the gate */
    uint64_t input_tokens;
    uint64_t output_tokens;
    uint64_t bytes_in;
    uint64_t bytes_out;
};
void ps_proxy_metrics_request(struct ps_proxy_metrics *metrics, unsigned shard,
                              const struct ps_proxy_sample *sample);

/* A try at an upstream failed in this phase ("connect", ...). */
void ps_proxy_metrics_failure(struct ps_proxy_metrics *metrics, unsigned shard, size_t upstream,
                              unsigned phase);
void ps_proxy_metrics_retry(struct ps_proxy_metrics *metrics, unsigned shard, size_t upstream);

#endif
