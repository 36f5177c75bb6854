/* gpu_attribution - from a process on a GPU to the upstream, routes and models that it works for.
 *
 *      process --(gpu/attribution: who of its kin listens)--> endpoint --> upstream --> routes
 *                                                                 '--> what the server has loaded
 *
 * Where the kernel's word leads to several upstreams, or to none, nobody is named, and why is said.
 * What was found is kept until /proc is looked at again or an endpoint has other addresses.
 *
 * Thread: control's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_GPU_ATTRIBUTION_H
#define PS_OPERATE_GPU_ATTRIBUTION_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"
#include "gpu/attribution.h"
#include "gpu/device.h"

struct ps_backend;
struct ps_endpoint;
struct ps_gateway;
struct ps_gpu_attribution;
struct ps_scrape;

/* Whose a process is. */
struct ps_gpu_owner {
    const struct ps_backend *backend;   /* NULL: nobody's that we know */
    const struct ps_endpoint *endpoint; /* likewise */
    enum ps_attribution_kin kin;
    const char *unknown; /* why nobody is named: a word; NULL: somebody is, or it is unseen */
};

/* PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_attribution_new(struct ps_gpu_attribution **out);
void ps_gpu_attribution_free(struct ps_gpu_attribution *attribution); /* NULL is fine */

/* The gateway in force, or NULL; a reference is kept. PS_OK or PS_ENOMEM: then nobody is named. */
PS_MUST_CHECK int ps_gpu_attribution_set(struct ps_gpu_attribution *attribution,
                                         struct ps_gateway *gateway);

/* Whose the process of a snapshot is; views are good until the gateway changes. */
struct ps_gpu_owner ps_gpu_attribution_owner(struct ps_gpu_attribution *attribution,
                                             const struct ps_device_snapshot *snapshot,
                                             const struct ps_device_process *process);

/* The name of the engine at an endpoint; "" when nobody knows it. */
const char *ps_gpu_attribution_engine(const struct ps_gpu_owner *owner);

/* Adds to the JSON of a process `engine`, `upstream`, `endpoint`, `kin`, `routes` and `models`, or
 * `unattributed`. */
void ps_gpu_attribution_add(struct ps_gpu_attribution *attribution, const struct ps_scrape *scrape,
                            const struct ps_gpu_owner *owner, json_t *process);

#endif
