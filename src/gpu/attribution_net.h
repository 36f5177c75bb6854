/* attribution_net - what /proc says of sockets and addresses, line by line.
 *
 * Formats: proc(5) for net/tcp, net/tcp6 and net/if_inet6; net/fib_trie as the kernel's
 * net/ipv4/fib_trie.c prints it; docker-proxy's arguments as its main_linux.go reads them.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_ATTRIBUTION_NET_H
#define PS_GPU_ATTRIBUTION_NET_H

#include "base/str.h"
#include "gpu/attribution.h"

#define PS_ATTRIBUTION_LOCALS_MAX 64 /* addresses of one network name space */

/* A line of net/tcp or net/tcp6. False: it is none. *listens: what is in *at and *inode counts. */
bool ps_attribution_parse_socket(struct ps_str line, struct ps_attribution_address *at,
                                 uint64_t *inode, bool *listens);

/* The addresses that are local, of the texts of net/fib_trie and net/if_inet6; their port is 0.
 * Returns how many there are in out, which has room for `most`. */
size_t ps_attribution_parse_locals(struct ps_str fib_trie, struct ps_str if_inet6,
                                   struct ps_attribution_address *out, size_t most);

/* The arguments of a docker-proxy, NUL between them: what arrives at *from goes to *to. False: it
 * is no TCP, or something is missing. */
bool ps_attribution_parse_proxy(struct ps_str arguments, struct ps_attribution_address *from,
                                struct ps_attribution_address *to);

bool ps_attribution_is_any(const struct ps_attribution_address *address);
bool ps_attribution_is_loopback(const struct ps_attribution_address *address);

#endif
