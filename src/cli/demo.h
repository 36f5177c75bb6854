/* demo - the command `penstock demo`: the whole thing at work, on one machine, without a GPU.
 *
 *      sample traces --> gateway --+--> simulated GPU servers 1 and 2, of the engine that was asked
 * for (this process)              +--> simulated GPU server 3: Ollama, shared by many models
 *
 *      with --cluster            +--> gateway 1 --+--> the same servers
 *      sample traces, in turns --+                +--> Redis Cluster of six nodes (redis-server)
 *                                +--> gateway 2 --+--> the same servers
 *
 * Each box is a process of its own: copies of this executable, and Redis. The first gateway frees
 * GPU memory, too; what becomes of it is told in words (demo_story).
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_DEMO_H
#define PS_CLI_DEMO_H

#include "base/args.h"

/* Runs until SIGTERM or SIGINT, for --duration, or with --once until the traces end; every process
 * that it started is gone then. */
extern const struct ps_command ps_demo_command;

#endif
