/* inquiry - one question to an endpoint: a request, or only a connection, with one deadline for all
 * of it.
 *
 * What all have in common who ask servers for the control plane. The answer's body is bounded; what
 * is beyond the bound is not read, and the connection is closed.
 *
 * Thread: the control loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_INQUIRY_H
#define PS_OPERATE_INQUIRY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "http/client.h"

struct ps_backend;
struct ps_endpoint;
struct ps_inquiry;
struct ps_loop;
struct ps_tls;

/* Whom to ask; all borrowed. */
struct ps_inquiry_target {
    struct ps_loop *loop;
    struct ps_tls *tls;               /* of the backend; needed by https endpoints */
    const struct ps_backend *backend; /* NULL: no key, and TLS asks for the URL's host */
    struct ps_endpoint *endpoint;
    size_t address; /* which of the endpoint's, modulo their number */
};

struct ps_inquiry_answer {
    int err;                  /* PS_OK: the status is known; otherwise why not */
    enum ps_call_phase phase; /* of the error */
    const char *detail;       /* of the error; or NULL */
    int status;               /* 200 for a connection */
    bool simulated;           /* the answer has X-Simulated: true */
    struct ps_str body;       /* up to the bound */
    bool cut;                 /* there was more */
    struct ps_str date;       /* the head's Date; empty: none, or one that can't be a date */
};

/* `answer` is valid during the call, and the inquiry is gone. */
typedef void ps_inquiry_fn(void *ctx, const struct ps_inquiry_answer *answer);

/* A pool that keeps one connection to the target. PS_OK, PS_ERESOLVE (no address yet), PS_EINVAL
 * (https without a context) or PS_ENOMEM. */
PS_MUST_CHECK int ps_inquiry_pool(struct ps_client_pool **out,
                                  const struct ps_inquiry_target *target);

/* Sends GET `path` (behind the path of the endpoint's URL, with the backend's API key) through a
 * pool of the target. The body is kept up to `limit` bytes. PS_OK: on_answer comes once, within
 * `timeout`. PS_ENOMEM, PS_EINVAL (a path that can't be sent), PS_ELIMIT: it won't. */
PS_MUST_CHECK int ps_inquiry_get(struct ps_inquiry **out, const struct ps_inquiry_target *target,
                                 struct ps_client_pool *pool, struct ps_str path, size_t limit,
                                 ps_span timeout, ps_inquiry_fn *on_answer, void *ctx);

/* A question that says more than a path. */
struct ps_inquiry_request {
    struct ps_str method;       /* "GET", "POST" */
    struct ps_str path;         /* behind the path of the endpoint's URL; with its query */
    struct ps_str body;         /* with a POST: JSON, may be empty */
    struct ps_str header_name;  /* one more header line; empty = none */
    struct ps_str header_value; /* kept out of logs */
    struct ps_str bearer;       /* instead of the backend's key; empty = that */
};

/* As ps_inquiry_get(), with all of that; everything is copied. */
PS_MUST_CHECK int ps_inquiry_ask(struct ps_inquiry **out, const struct ps_inquiry_target *target,
                                 struct ps_client_pool *pool,
                                 const struct ps_inquiry_request *request, size_t limit,
                                 ps_span timeout, ps_inquiry_fn *on_answer, void *ctx);

/* Connects (TLS included) and closes. PS_OK: on_answer comes once; else as ps_inquiry_pool() and
 * ps_stream_connect(). */
PS_MUST_CHECK int ps_inquiry_connect(struct ps_inquiry **out,
                                     const struct ps_inquiry_target *target, ps_span timeout,
                                     ps_inquiry_fn *on_answer, void *ctx);

/* No answer comes any more. NULL is fine. */
void ps_inquiry_cancel(struct ps_inquiry *inquiry);

#endif
