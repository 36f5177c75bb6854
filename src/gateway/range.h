/* range - a part of a body that is kept, for a request with Range (RFC 9110, 14).
 *
 * One range of bytes is cut out of a whole answer; several, and units other than bytes, are left to
 * the upstream, as is a range that there is not. Parts are never kept, and never put together.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_RANGE_H
#define PS_GATEWAY_RANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "http/h1_head.h"

struct ps_range {
    uint64_t first, last; /* both belong to it */
};

/* Reads "bytes=2-5", "bytes=2-" or "bytes=-3" against a body of `length` bytes. PS_OK; PS_EINVAL
 * when there is no such part; PS_EPARSE for everything else. */
PS_MUST_CHECK int ps_range_parse(struct ps_str value, uint64_t length, struct ps_range *out);

/* Does If-Range, if the request has one, allow a part of this answer? Only by the very same strong
 * ETag: a date is as good as none (13.1.5). */
bool ps_range_is_allowed(const struct ps_h1_head *request, const struct ps_h1_head *answer);

/* Appends "Content-Range: bytes 2-5/10". PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_range_write(struct ps_buf *out, const struct ps_range *range, uint64_t length);

#endif
