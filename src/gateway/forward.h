/* forward - the heads that cross the gateway, rewritten: what is passed on, what is not, what is added.
 *
 * Upstream never gets the client's credentials, nor hop-by-hop fields, nor x-penstock-*; X-Forwarded-* are
 * kept only from trusted proxies. The client never gets hop-by-hop fields or framing of the upstream.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_FORWARD_H
#define PS_GATEWAY_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "http/h1_head.h"

#define PS_REQUEST_ID_MAX 128
#define PS_SESSION_COOKIE "penstock_session" /* the page's session; never forwarded */

struct ps_forward {
    const struct ps_h1_head *head; /* the client's */
    struct ps_str authority;       /* of the endpoint, for Host */
    struct ps_str base_path;       /* of the endpoint's URL, without a final slash; mostly empty */
    struct ps_str path_insert;     /* goes into the path at path_at, in the place of path_cut bytes */
    size_t path_at;
    size_t path_cut;
    struct ps_str api_key;         /* the upstream's own; empty = none */
    struct ps_str request_id;
    struct ps_str peer; /* the client's address without port */
    bool peer_trusted;  /* its X-Forwarded-* are believed */
    bool client_tls;
    bool upgrade;      /* keep Upgrade and ask for it */
    bool identity;     /* the answer will be read: no compression */
    bool has_length;   /* the body's length is known */
    uint64_t length;
    bool chunked; /* its length is not known */
};

/* Appends the whole head for the upstream. PS_OK, PS_ELIMIT, PS_ENOMEM, PS_EINVAL. */
PS_MUST_CHECK int ps_forward_request(struct ps_buf *out, const struct ps_forward *forward);

/* Appends the upstream's end-to-end header lines for the client, with Via and, unless it is empty,
 * x-request-id. PS_OK, ... */
PS_MUST_CHECK int ps_forward_response(struct ps_buf *out, const struct ps_h1_head *head,
                                      struct ps_str request_id, bool cors);

/* The client's id when it is sane (visible ASCII without quotes, at most PS_REQUEST_ID_MAX), else empty. */
struct ps_str ps_forward_request_id(const struct ps_h1_head *head);

/* Is this a valid traceparent (W3C Trace Context, level 1, 3.2)? */
bool ps_forward_is_traceparent(struct ps_str value);

#endif
