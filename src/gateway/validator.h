/* validator - ETag and Last-Modified: is what somebody has still the answer?
 *
 * Both sides of it: what the gateway asks an upstream with, and what clients ask the gateway with.
 * An ETag is `"..."` or `W/"..."`; what is spelled otherwise is none. Tags are compared weakly, as
 * If-None-Match wants it (RFC 9110, 13.1.2).
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_VALIDATOR_H
#define PS_GATEWAY_VALIDATOR_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "http/h1_head.h"

bool ps_validator_is_etag(struct ps_str text);

/* Are two ETags the same but for W/? False when one of them is none. */
bool ps_validator_same(struct ps_str a, struct ps_str b);

/* Has the answer an ETag or a Last-Modified that can be asked with? */
bool ps_validator_has(const struct ps_h1_head *answer);

/* Appends If-None-Match and If-Modified-Since with what the answer has (RFC 9111, 4.3.1: both where
 * there are both; a server that knows the first does not look at the second). PS_OK, PS_ELIMIT or
 * PS_ENOMEM. */
PS_MUST_CHECK int ps_validator_write(struct ps_buf *out, const struct ps_h1_head *answer);

/* Does a 304 speak of this answer (RFC 9111, 4.3.4)? It does when its ETag is the answer's, or when
 * it has none; another one is of another answer. */
bool ps_validator_confirms(const struct ps_h1_head *not_modified, const struct ps_h1_head *answer);

/* Has the client of this request (with If-None-Match or If-Modified-Since) the very answer, of
 * status 200, that `answer` is the head of (RFC 9110, 13.2.2; RFC 9111, 4.3.2)? `came` is when it
 * came, nanoseconds since 1970, for an answer without Last-Modified and Date. */
bool ps_validator_is_unmodified(const struct ps_h1_head *request, const struct ps_h1_head *answer,
                                ps_time came);

#endif
