/* control_listen - the addresses to listen on, and a descriptor of each for every worker.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_CONTROL_LISTEN_H
#define PS_DAEMON_CONTROL_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/option.h"
#include "io/stream.h"

enum { PS_CONTROL_LISTEN_MAX = 16 }; /* addresses */

/* One line: it listens there, which is `what`, or why it can't. */
void ps_control_log_listen(const char *what, const char *address, int err);

/* The addresses of a configuration that can be listened on and are nobody else's; PS_CONTROL_LISTEN_MAX have room.
 * `optional`: an address behind the first is left out where the machine has no IPv6. Errors are logged. */
PS_MUST_CHECK int ps_control_find_addresses(const struct ps_option_strings *listen, bool optional,
                                            struct ps_address *addresses, size_t *count);

/* A descriptor for each address, for one worker, who owns them; none on failure. A port 0 becomes the one that was
 * picked, so that the next worker shares it. */
PS_MUST_CHECK int ps_control_open_listeners(struct ps_address *addresses, size_t count, int *fds);

#endif
