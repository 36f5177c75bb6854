/* demo_place - finds places to listen at for what the demo starts.
 *
 * A port is found by listening on it for a moment. Whoever comes between then and its user is told
 * as that process's failure.
 *
 * Thread: the one that has the loop.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_DEMO_PLACE_H
#define PS_CLI_DEMO_PLACE_H

#include <stdbool.h>

#include "base/err.h"
#include "io/address.h"

struct ps_loop;

/* Does somebody listen there? */
bool ps_demo_place_is_taken(const struct ps_address *address);

/* A free port on 127.0.0.1, each time another one. PS_OK or what ps_listen() says. */
PS_MUST_CHECK int ps_demo_place_free(struct ps_loop *loop, struct ps_address *out);

/* Keeps the address when its port is free, otherwise gives it a free one (*moved). PS_OK or what
 * ps_listen() says. */
PS_MUST_CHECK int ps_demo_place_take(struct ps_loop *loop, struct ps_address *address, bool *moved);

#endif
