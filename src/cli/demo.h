/* demo - the command `penstock demo`: the whole thing at work, on one machine, without a GPU.
 *
 *      sample traces --> gateway --+--> simulated GPU server 1      each box a process of its own:
 *      (this process)              +--> simulated GPU server 2      copies of this executable
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_DEMO_H
#define PS_CLI_DEMO_H

/* Runs until SIGTERM or SIGINT, for --duration, or with --once until the traces end; every process that it
 * started is gone then. argv[0] is "demo". Returns the exit status: 0; 1 when something could not be
 * started, a process died or no request succeeded; 2 for wrong usage. */
int ps_demo_command(int argc, char **argv);

#endif
