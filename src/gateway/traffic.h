/* traffic - what the request path counts, bound to the routes and upstreams of one gateway.
 *
 * Thread: handles are made when first needed, by any worker; counting is per shard.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_TRAFFIC_H
#define PS_GATEWAY_TRAFFIC_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"
#include "observe/metric.h"

struct ps_gateway;

/* The rows; declare them once. */
extern const struct ps_metric_family ps_traffic_metric_families[];

struct ps_traffic;

/* Binds the series of a gateway's routes and upstreams, publishes gauges that read its gates and endpoints, and
 * becomes the gateway's `metrics`, freed with it. The registry outlives the gateway. PS_OK, PS_ENOMEM,
 * PS_EINVAL. */
PS_MUST_CHECK int ps_traffic_bind(struct ps_gateway *gateway, struct ps_metrics *registry);

/* One request has ended. `route` and `upstream` are indexes; SIZE_MAX = none. Durations in seconds, first
 * byte NAN when there was none. */
struct ps_traffic_sample {
    size_t route;
    size_t upstream;
    int status;
    double seconds;
    double first_byte_seconds;
    double queue_seconds; /* NAN when it never reached the gate */
    bool is_stream;       /* a stream was asked for, and sent */
    uint64_t bytes_in;
    uint64_t bytes_out;
    struct ps_str traceparent; /* a valid one, or empty */
    ps_time wall;              /* when it ended, nanoseconds since 1970 */
};
void ps_traffic_request(struct ps_traffic *metrics, unsigned shard,
                              const struct ps_traffic_sample *sample);

/* An upstream was asked, and the answer took so many tokens. */
void ps_traffic_tokens(struct ps_traffic *metrics, unsigned shard, size_t route, uint64_t input,
                       uint64_t output);

/* A try at an upstream failed in this phase ("connect", ...). */
void ps_traffic_failure(struct ps_traffic *metrics, unsigned shard, size_t upstream,
                              unsigned phase);
void ps_traffic_retry(struct ps_traffic *metrics, unsigned shard, size_t upstream);

#endif
