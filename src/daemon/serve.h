/* serve - `penstock serve`: from the command line to a running daemon.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_SERVE_H
#define PS_DAEMON_SERVE_H

#include "base/args.h"

extern const struct ps_command ps_serve_command;

#endif
