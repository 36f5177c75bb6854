/* serve - `penstock serve`: from the command line to a running daemon.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_SERVE_H
#define PS_DAEMON_SERVE_H

/* argv[0] is "serve". Returns the exit status: 0, 1 (it could not serve), 2 (usage). */
int ps_serve_command(int argc, char **argv);

#endif
