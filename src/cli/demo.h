/* demo - the command `penstock demo`: the whole thing at work, on one machine, without a GPU.
 *
 *      sample traces --> gateway --+--> simulated GPU server 1      each box a process of its own:
 *      (this process)              +--> simulated GPU server 2      copies of this executable
 *
 *      with --cluster            +--> gateway 1 --+--> the same two servers
 *      sample traces, in turns --+                +--> Redis Cluster of six nodes (redis-server)
 *                                +--> gateway 2 --+--> the same two servers
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_DEMO_H
#define PS_CLI_DEMO_H

#include "base/args.h"

/* Runs until SIGTERM or SIGINT, for --duration, or with --once until the traces end; every process that it
 * started is gone then. */
extern const struct ps_command ps_demo_command;

#endif
