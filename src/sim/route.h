/* route - which request a personality answers with what.
 *
 * A pattern is a path whose segments are text or "{}", which stands for any one segment that is not
 * empty: "/v2/models/{}/infer".
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_ROUTE_H
#define PS_SIM_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"
#include "http/h1.h"
#include "sim/options.h"

#define PS_SIM_ROUTE_NAMES 2u /* segments that a pattern may leave open */

struct ps_sim_ask;

struct ps_sim_route {
    enum ps_h1_method method;
    struct ps_str pattern;
    /* Answers, or hands the exchange on, before it returns. */
    void (*answer)(const struct ps_sim_ask *ask);
    bool inference; /* --fail-rate counts */
    /* Does the server have this route with these options? NULL: always. */
    bool (*exists)(const struct ps_sim_opts *opts);
};

struct ps_sim_routes {
    const struct ps_sim_route *rows;
    size_t count;
    struct ps_str alias; /* every path exists with this before it too; or empty */
};

/* Does the path fit? names[] gets the open segments (views into path), the rest is emptied. */
bool ps_sim_route_fits(struct ps_str pattern, struct ps_str path,
                       struct ps_str names[PS_SIM_ROUTE_NAMES]);

/* The row for a request (HEAD is answered as GET), or NULL; then *known says whether the path
 * exists with another method. */
const struct ps_sim_route *ps_sim_route_find(const struct ps_sim_routes *routes,
                                             const struct ps_sim_opts *opts,
                                             enum ps_h1_method method, struct ps_str path,
                                             struct ps_str names[PS_SIM_ROUTE_NAMES], bool *known);

#endif
