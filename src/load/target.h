/* target - the one server that is put under load: its address, how to speak to it, its connections.
 *
 * Nothing but this server is ever contacted; redirects are answers like any other.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_TARGET_H
#define PS_LOAD_TARGET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "http/client.h"

struct ps_loop;
struct ps_target;

struct ps_target_opts {
    const char *url;            /* http(s)://host[:port][/prefix]; a prefix may end in /v1 */
    const char *const *headers; /* "name: value", sent with each request */
    size_t header_count;
    const char *api_key;     /* sent as Authorization: Bearer; or NULL */
    const char *ca_file;     /* authorities to trust instead of the system's; or NULL */
    bool insecure;           /* accept any certificate */
    ps_span connect_timeout; /* 0 = the client's default */
};

struct ps_target_error {
    char text[400];
};

/* The name was resolved (PS_OK), or not: then why, in words. */
typedef void ps_target_fn(void *ctx, int err, const char *why);

/* Prepares a target and begins to resolve its name; on_ready follows from the loop. PS_OK; PS_EINVAL (URL
 * or header), PS_ETLS, PS_ENOMEM: *error says why and nothing follows. */
PS_MUST_CHECK int ps_target_new(struct ps_target **out, struct ps_loop *loop,
                                const struct ps_target_opts *opts, ps_target_fn *on_ready,
                                void *ctx, struct ps_target_error *error);

/* Closes idle connections and frees it; sessions must be over. NULL is fine. */
void ps_target_free(struct ps_target *target);

/* Its connections; NULL before on_ready. */
struct ps_client_pool *ps_target_pool(const struct ps_target *target);

/* "http://host:port", as it was given. */
const char *ps_target_name(const struct ps_target *target);

/* Appends a request head: POST when there is a body, GET when body_len is 0. `path` begins with
 * '/', the target's prefix goes before it. PS_OK, PS_EINVAL, PS_ELIMIT, PS_ENOMEM. */
PS_MUST_CHECK int ps_target_head(const struct ps_target *target, struct ps_str path,
                                 struct ps_str accept, size_t body_len, struct ps_buf *out);

#endif
