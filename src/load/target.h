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
    bool whole_url;          /* the URL's path belongs to a request, it is no prefix of all */
};

/* A header of a request. */
struct ps_target_header {
    const char *name;
    const char *value;
};

/* What a head says. */
struct ps_target_request {
    struct ps_str method;
    struct ps_str path;   /* begins with '/'; the target's prefix goes before it */
    struct ps_str accept; /* here and below: unless the headers say it themselves */
    struct ps_str type;   /* of the body */
    bool has_body;
    size_t body_len;
    const struct ps_target_header *headers; /* these go before the target's of the same name */
    size_t header_count;
};

struct ps_target_error {
    char text[400];
};

/* The name was resolved (PS_OK), or not: then why, in words. */
typedef void ps_target_fn(void *ctx, int err, const char *why);

/* Are these options good? Nothing is contacted. PS_OK; PS_EINVAL (URL or header), PS_ETLS, PS_ENOMEM: *error says
 * why. */
PS_MUST_CHECK int ps_target_check(const struct ps_target_opts *opts, struct ps_target_error *error);

/* Prepares a target and begins to resolve its name; on_ready follows from the loop. PS_OK; PS_EINVAL (URL
 * or header), PS_ETLS, PS_ENOMEM: *error says why and nothing follows. */
PS_MUST_CHECK int ps_target_new(struct ps_target **out, struct ps_loop *loop,
                                const struct ps_target_opts *opts, ps_target_fn *on_ready,
                                void *ctx, struct ps_target_error *error);

/* Opens a connection (with TLS, where it has that) and closes it again: is anybody there? Comes from the loop, once:
 * PS_OK, or why not in words. The target must be ready. PS_OK; PS_ENOMEM, PS_ELIMIT: nothing comes. */
PS_MUST_CHECK int ps_target_reach(struct ps_target *target, ps_target_fn *on_reached, void *ctx);

/* Closes idle connections and frees it; sessions must be over. NULL is fine. */
void ps_target_free(struct ps_target *target);

/* Its connections; NULL before on_ready. */
struct ps_client_pool *ps_target_pool(const struct ps_target *target);

/* "http://host:port", as it was given. */
const char *ps_target_name(const struct ps_target *target);

/* May a request say this header? PS_OK; PS_EINVAL: a forbidden byte, or it would frame the message; PS_ELIMIT,
 * PS_ENOMEM. */
PS_MUST_CHECK int ps_target_check_header(struct ps_str name, struct ps_str value);

/* Appends a request head. PS_OK; PS_EINVAL (a forbidden byte), PS_ELIMIT, PS_ENOMEM. */
PS_MUST_CHECK int ps_target_write(const struct ps_target *target, const struct ps_target_request *request,
                                  struct ps_buf *out);

/* The same for JSON: POST when there is a body, GET when body_len is 0. */
PS_MUST_CHECK int ps_target_head(const struct ps_target *target, struct ps_str path,
                                 struct ps_str accept, size_t body_len, struct ps_buf *out);

#endif
