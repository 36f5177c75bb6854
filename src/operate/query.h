/* query - the query of a request to a reserved path, parameter by parameter.
 *
 *      model=meta%2Fllama&shape=any  ->  "model" = "meta/llama", "shape" = "any"
 *
 * Percent-encoding and '+' are decoded. Strict: what is malformed, holds control characters or is
 * longer than the bound is refused.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_QUERY_H
#define PS_OPERATE_QUERY_H

#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

#define PS_QUERY_TEXT 256 /* bytes of a name or value, with the terminator */

struct ps_query_pair {
    char name[PS_QUERY_TEXT];
    char value[PS_QUERY_TEXT]; /* "" without '=' */
};

/* The next parameter; *rest moves on behind it. PS_OK, PS_ENOTFOUND at the end, PS_EPARSE or
 * PS_ELIMIT. Empty ones ("&&") are left out. */
PS_MUST_CHECK int ps_query_next(struct ps_str *rest, struct ps_query_pair *pair);

/* The value of the first parameter of a name, which needs no decoding, into `out`, terminated.
 * Errors as above; PS_ENOTFOUND: there is none. */
PS_MUST_CHECK int ps_query_value(struct ps_str query, struct ps_str name, char *out, size_t size);

#endif
