/* address - an internet or Unix address: parsed, printed, compared, resolved.
 *
 * Thread: pure, but for ps_resolve, which answers on the loop that asked.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_IO_ADDRESS_H
#define PS_IO_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/str.h"

struct ps_loop;

struct ps_address {
    struct sockaddr_storage storage;
    socklen_t len; /* 0 = no address */
};

#define PS_ADDRESS_TEXT 80 /* room that ps_address_text needs */

/* Reads a numeric address with port: "127.0.0.1:5000", "[::1]:5000", ":5000" (every IPv4 and IPv6
 * address is "[::]:5000"). PS_OK or PS_EPARSE; names are not resolved here. */
PS_MUST_CHECK int ps_address_parse(struct ps_str text, struct ps_address *out);

/* Reads a numeric address without port; *out gets `port`. PS_OK or PS_EPARSE. */
PS_MUST_CHECK int ps_address_parse_host(struct ps_str host, uint16_t port, struct ps_address *out);

/* Writes "127.0.0.1:5000" or "[::1]:5000" into text[PS_ADDRESS_TEXT]; returns text. */
const char *ps_address_text(const struct ps_address *address, char *text);

/* The same without port. */
const char *ps_address_host_text(const struct ps_address *address, char *text);

bool ps_address_eq(const struct ps_address *a, const struct ps_address *b);
bool ps_address_is_loopback(const struct ps_address *address);
uint16_t ps_address_port(const struct ps_address *address);
void ps_address_set_port(struct ps_address *address, uint16_t port);

/* A network in CIDR form, for lists of trusted peers. */
struct ps_network {
    struct ps_address base;
    unsigned bits;
};

/* Reads "10.0.0.0/8", "fd00::/8" or a single address. PS_OK or PS_EPARSE. */
PS_MUST_CHECK int ps_network_parse(struct ps_str text, struct ps_network *out);

/* Is the address inside? IPv4-mapped IPv6 addresses count as IPv4. */
bool ps_network_holds(const struct ps_network *network, const struct ps_address *address);

/* Called on the loop's thread with up to `count` addresses, or err and count 0. */
typedef void ps_resolve_fn(void *ctx, int err, const struct ps_address *addresses, size_t count);

/* Resolves a host name (or numeric address) off the loop's thread. PS_OK means that the callback
 * will come, unless the loop is freed before; PS_ENOMEM means that it won't. */
PS_MUST_CHECK int ps_resolve(struct ps_loop *loop, struct ps_str host, uint16_t port,
                             ps_resolve_fn *on_result, void *ctx);

/* The same with a handle, which is good until the callback comes. */
struct ps_lookup;
PS_MUST_CHECK int ps_lookup_start(struct ps_lookup **out, struct ps_loop *loop, struct ps_str host,
                                  uint16_t port, ps_resolve_fn *on_result, void *ctx);

/* No callback comes any more; the look-up frees itself. NULL is fine. */
void ps_lookup_cancel(struct ps_lookup *lookup);

#endif
