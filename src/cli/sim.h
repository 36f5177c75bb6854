/* sim - the command `penstock sim`: a simulated GPU inference server on an address.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_SIM_H
#define PS_CLI_SIM_H

/* Runs until SIGTERM or SIGINT. argv[0] is "sim". Returns the exit status: 0, 1 (it could not
 * start), 2 (wrong arguments). */
int ps_sim_command(int argc, char **argv);

#endif
