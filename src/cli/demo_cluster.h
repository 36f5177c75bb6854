/* demo_cluster - a real Redis Cluster of six nodes for the demo: three masters, three replicas.
 *
 * The nodes are the packaged redis-server (or valkey-server) on loopback, children of the demo like
 * everything else that it starts. They keep nothing but their cluster's map, in the demo's folder.
 * redis-cli makes a cluster of them.
 *
 *      start --> STARTING --(all six listen)--> JOINING --(redis-cli ended)--> READY
 *                   |                              |
 *                   +----------> FAILED <----------+
 *
 * tools/redis-cluster.sh does the same for a cluster that is to stay.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_DEMO_CLUSTER_H
#define PS_CLI_DEMO_CLUSTER_H

#include <stddef.h>

#include "base/err.h"
#include "cli/child.h"
#include "io/address.h"

#define PS_DEMO_CLUSTER_NODES 6
#define PS_DEMO_CLUSTER_LIST  256 /* room for their addresses */

struct ps_loop;

enum ps_demo_cluster_state {
    PS_DEMO_CLUSTER_STARTING,
    PS_DEMO_CLUSTER_JOINING,
    PS_DEMO_CLUSTER_READY,
    PS_DEMO_CLUSTER_FAILED
};

struct ps_demo_cluster {
    enum ps_demo_cluster_state state;
    struct ps_child nodes[PS_DEMO_CLUSTER_NODES];
    struct ps_child joiner; /* redis-cli */
    struct ps_address addresses[PS_DEMO_CLUSTER_NODES];
    char list[PS_DEMO_CLUSTER_LIST]; /* host:port, with commas between */
    char client[256];                /* path of redis-cli */
    char folder[64];
};

/* Finds the programs and starts the nodes, each in a folder of its own under `folder`. PS_OK;
 * PS_ENOTFOUND: Redis is not installed; PS_EIO, PS_ELIMIT, or what ps_listen() says. */
PS_MUST_CHECK int ps_demo_cluster_start(struct ps_demo_cluster *cluster, struct ps_loop *loop,
                                        const char *folder);

/* Takes the next step, if it is time; the state. Asked again and again. */
enum ps_demo_cluster_state ps_demo_cluster_step(struct ps_demo_cluster *cluster);

#endif
