/* kept - the header lines of an answer that is remembered: which are kept, how they are read again,
 * and what a 304 changes.
 *
 * What HTTP caching needs to know of an entry later (directives that bind its use, validators,
 * dates) stands in its header lines anyway, so nothing else is kept of it: they are read again
 * when it is stale or when a request has conditions, and not on a plain hit.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_KEPT_H
#define PS_GATEWAY_KEPT_H

#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "http/h1_head.h"

#define PS_KEPT_HEADERS_MAX 128u

/* Header lines, read. 5 KiB: for the stack. */
struct ps_kept {
    struct ps_h1_head
        head; /* of a response: status, headers, header_count, seen; the rest is empty */
    struct ps_h1_header headers[PS_KEPT_HEADERS_MAX];
};

/* Reads lines ("Name: value" CR LF) into views; *out must not be moved, because head.headers points
 * into it. PS_OK, PS_EPARSE or PS_ELIMIT; then the head has no headers. */
PS_MUST_CHECK int ps_kept_read(struct ps_kept *out, struct ps_str lines, int status);

/* Appends the lines of an upstream's answer that are kept (RFC 9111, 3.1): all but those that
 * concern one connection, that only a proxy should see, that `no-cache` or `private` name, the
 * framing, x-request-id, and Age, which is a number in the entry. An answer without a sound Date
 * gets that of its arrival, `at` in nanoseconds since 1970 (RFC 9110, 6.6.1). PS_OK, PS_ELIMIT or
 * PS_ENOMEM; on failure the buffer is as it was. */
PS_MUST_CHECK int ps_kept_write(struct ps_buf *out, const struct ps_h1_head *head, ps_time at);

/* Appends what the lines become by a 304 (RFC 9111, 3.2): its fields take the place of those with
 * the same name, but for those that describe the body as it is kept: Content-Encoding, -Length,
 * -MD5, -Range, ETag. Errors as above. */
PS_MUST_CHECK int ps_kept_update(struct ps_buf *out, const struct ps_kept *kept,
                                 const struct ps_h1_head *not_modified, ps_time at);

/* Appends the lines that a 304 to a client has: all but those that describe a body (RFC 9110,
 * 15.4.5). Errors as above. */
PS_MUST_CHECK int ps_kept_write_not_modified(struct ps_buf *out, const struct ps_kept *kept);

#endif
