/* load - the command `penstock load`: a service under a steady, rising or stepped load, with a verdict.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_LOAD_H
#define PS_CLI_LOAD_H

#include "base/args.h"

extern const struct ps_command ps_load_command;

#endif
