/* peers - how many connections each address has open, over all workers.
 *
 * One client must not take all connections. IPv4 addresses count alone (IPv4-mapped ones as IPv4),
 * IPv6 addresses by their /64, which is what one customer gets. Unix sockets are not counted. An
 * address without connections takes no memory.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_PEERS_H
#define PS_DAEMON_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct ps_address;
struct ps_peers;

/* Counts nobody yet. `max_per_address` 0 = no limit: nothing is counted. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_peers_new(struct ps_peers **out, uint32_t max_per_address);

/* NULL is fine. */
void ps_peers_free(struct ps_peers *peers);

/* Changes the limit for connections from now on (reload). Those that came while nothing was counted
 * stay uncounted. */
void ps_peers_set_max(struct ps_peers *peers, uint32_t max_per_address);

/* A connection comes. False: the address has its share, or memory ended. Every true is followed by
 * one leave. */
PS_MUST_CHECK bool ps_peers_enter(struct ps_peers *peers, const struct ps_address *peer);
void ps_peers_leave(struct ps_peers *peers, const struct ps_address *peer);

/* Addresses that have connections now. */
size_t ps_peers_count(struct ps_peers *peers);

#endif
