/* outdate - what an unsafe request makes invalid (RFC 9111, 4.4): its own target, and what Location
 * and Content-Location of the answer name on the same host.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_OUTDATE_H
#define PS_GATEWAY_OUTDATE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* Appends path and query of what `reference` names, as a request that was sent to `host` (the field
 * Host) for `target` (path and query) sees it: an absolute URI, `//host/..`, an absolute or a
 * relative path, or a query. PS_OK; PS_ENOTFOUND for another host, and for what is none of these or
 * has dot segments: the standard leaves those to us, and the next request for them tells; PS_ELIMIT
 * or PS_ENOMEM. */
PS_MUST_CHECK int ps_outdate_resolve(struct ps_buf *out, struct ps_str host, struct ps_str target,
                                     struct ps_str reference);

#endif
