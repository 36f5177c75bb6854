/* sim - the command `penstock sim`: a simulated GPU inference server on an address.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_SIM_H
#define PS_CLI_SIM_H

#include "base/args.h"

/* Runs until SIGTERM or SIGINT. */
extern const struct ps_command ps_sim_command;

#endif
