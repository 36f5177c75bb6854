/* probe - asks one URL now and then and keeps the last answer; reads numbers out of metrics pages.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_PROBE_H
#define PS_CLI_PROBE_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

struct ps_loop;
struct ps_probe;
struct ps_target_opts;

/* An answer came (its status), or none (0). Asking again from here is fine, freeing is not. */
typedef void ps_probe_fn(void *ctx, int status);

/* Creates a probe of http://host:port + path. on_answer may be NULL. PS_OK, PS_EINVAL or PS_ENOMEM. */
PS_MUST_CHECK int ps_probe_new(struct ps_probe **out, struct ps_loop *loop, const char *url,
                               const char *path, ps_probe_fn *on_answer, void *ctx);

/* The same for a server that needs more than an address: https, a key. */
PS_MUST_CHECK int ps_probe_open(struct ps_probe **out, struct ps_loop *loop,
                                const struct ps_target_opts *server, const char *path,
                                ps_probe_fn *on_answer, void *ctx);
void ps_probe_free(struct ps_probe *probe); /* NULL is fine */

/* Asks, unless it still waits for an answer; after 2 s without one it gives up. */
void ps_probe_ask(struct ps_probe *probe);

/* The body of the last answer with status 200; empty before. Valid until the next one comes. */
struct ps_str ps_probe_body(const struct ps_probe *probe);

/* Why the last question was not answered with 200: the body of the answer, or why there was none. */
struct ps_str ps_probe_why(const struct ps_probe *probe);

/* The sum of all series called `name` on a Prometheus text page whose labels contain `label` ("" for all).
 * NAN when there are none. Pure. */
double ps_probe_sum(struct ps_str page, const char *name, const char *label);

#endif
