/* attribution_found - what a look at /proc leaves: the parts of a struct ps_attribution.
 *
 * Filled by attribution_scan, read by attribution, never written again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_ATTRIBUTION_FOUND_H
#define PS_GPU_ATTRIBUTION_FOUND_H

#include <stdatomic.h>

#include "gpu/attribution_net.h"

#define PS_ATTRIBUTION_BONDS_MAX 16384

/* A network name space. */
struct ps_attribution_space {
    uint64_t id; /* as the kernel numbers it; 0 = ours, or nobody says */
    bool own;
    struct ps_attribution_address locals[PS_ATTRIBUTION_LOCALS_MAX];
    size_t local_count;
};

struct ps_attribution_listener {
    struct ps_attribution_address at;
    uint64_t inode;
    uint32_t space; /* its place */
};

/* A user and a listener that its kin holds. */
struct ps_attribution_bond {
    uint32_t user, listener; /* their places */
    enum ps_attribution_kin kin;
    unsigned steps;
};

/* A published port. */
struct ps_attribution_forward {
    struct ps_attribution_address from, to;
    uint32_t space; /* in which it is published: its place */
};

struct ps_attribution {
    _Atomic unsigned refs;
    struct ps_attribution_user *users; /* by pid */
    bool *denied;                      /* of each */
    size_t user_count;
    struct ps_attribution_space *spaces;
    size_t space_count;
    struct ps_attribution_listener *listeners;
    size_t listener_count;
    struct ps_attribution_bond *bonds; /* by user, the nearest first */
    size_t bond_count;
    struct ps_attribution_forward *forwards;
    size_t forward_count;
    struct ps_attribution_cost cost;
};

#endif
