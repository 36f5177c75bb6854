/* replay - the command `penstock replay`: a recorded trace as real requests.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_REPLAY_H
#define PS_CLI_REPLAY_H

#include "base/args.h"

/* A file that is no trace is wrong usage. */
extern const struct ps_command ps_replay_command;

#endif
