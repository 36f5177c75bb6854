/* endpoint - one server of an upstream: load, health and addresses, shared by all workers.
 *
 * The types are in gateway/backend.h; this is what backend.c needs beyond its public functions.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_ENDPOINT_H
#define PS_GATEWAY_ENDPOINT_H

#include "gateway/backend.h"

/* Makes an endpoint for a URL, reference count 1. PS_OK, PS_EPARSE (URL) or PS_ENOMEM. */
PS_MUST_CHECK int ps_endpoint_new(struct ps_endpoint **out, const char *url);

/* May it be chosen now, without a probe? */
bool ps_endpoint_is_in(const struct ps_endpoint *endpoint);

/* Is it out by passive health, with its time over and nobody probing? */
bool ps_endpoint_wants_probe(const struct ps_endpoint *endpoint, ps_time now);

/* Makes the caller the one that probes. False: another was faster. */
bool ps_endpoint_begin_probe(struct ps_endpoint *endpoint);

/* Draws conclusions from a request. `alone`: it is the only endpoint and is never taken out.
 * Returns true when it went out or came back. */
bool ps_endpoint_on_outcome(struct ps_endpoint *endpoint, enum ps_outcome outcome, bool alone,
                            const struct ps_health_opts *opts, ps_time now);

#endif
