/* replay - the command `penstock replay`: a recorded trace as real requests.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_REPLAY_H
#define PS_CLI_REPLAY_H

/* Runs the command; argv[0] is "replay". Returns the exit status: 0 when every request that ended
 * succeeded and at least one did; 1 when a request failed, none succeeded, the trace broke off or a report
 * could not be written; 2 for wrong usage (a file that is no trace included). */
int ps_replay_command(int argc, char **argv);

#endif
