/* health - keeps the endpoints of all upstreams resolved and checked.
 *
 *      name --(numeric: at once; else a look-up, again every 30 s)--> addresses of the endpoint
 *      GET health.path every health.interval, 10 % jitter -----------> ps_endpoint_on_check()
 *      and, when it is well, the question that tells its engine again -> on_reachable()
 *
 * A server may be replaced behind its address without ever looking down; so the second question is
 * asked with every check that succeeds (or answered by the check itself where the path is the
 * same). It never decides about health. What was not recognised is asked again too, but after 1, 2,
 * 4, ... 32 checks, for that takes nine questions.
 *
 * Workers only read what is written here into the shared endpoints. Each endpoint has its own
 * timers and its own connection, so that one that hangs holds up no other. A look-up that fails
 * keeps the addresses of the last that did not.
 *
 * Thread: the control loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_HEALTH_H
#define PS_DAEMON_HEALTH_H

#include <stdbool.h>

#include "base/err.h"

struct ps_backend;
struct ps_endpoint;
struct ps_gateway;
struct ps_health;
struct ps_loop;

/* Who hears of changes; each call is a change of state, never a mere check. All may be NULL. They
 * may call ps_health_set_gateway(), not ps_health_free(). `reason` is valid during the call. */
struct ps_health_observer {
    /* Active checks took the endpoint out of use or brought it back. */
    void (*on_change)(void *ctx, struct ps_backend *backend, struct ps_endpoint *endpoint,
                      bool healthy, const char *reason);
    /* The name could not be resolved (err), or can be again (PS_OK). Known addresses stay. */
    void (*on_resolve)(void *ctx, struct ps_backend *backend, struct ps_endpoint *endpoint,
                       int err);
    /* The moment to detect the engine: a check succeeded, the first since the start or since one
     * that failed; or what answers is not what was found before. Without checks: its first
     * addresses are known. */
    void (*on_reachable)(void *ctx, struct ps_backend *backend, struct ps_endpoint *endpoint);
    void *ctx;
};

/* Creates the watch over no endpoint yet; the observer is copied. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_health_new(struct ps_health **out, struct ps_loop *loop,
                                const struct ps_health_observer *observer);

/* Ends all checks. Look-ups under way end by themselves. NULL is fine. */
void ps_health_free(struct ps_health *health);

/* Watches the endpoints of this snapshot (a reference is taken) and no others; those that are in
 * the old one too keep their state and rhythm, with the options of the new one. Numeric addresses
 * are set before it returns. PS_OK, or PS_ENOMEM: the old snapshot is watched as before. */
PS_MUST_CHECK int ps_health_set_gateway(struct ps_health *health, struct ps_gateway *gateway);

/* Has every endpoint's name been looked up once, well or not? True without endpoints. */
bool ps_health_ready(const struct ps_health *health);

#endif
