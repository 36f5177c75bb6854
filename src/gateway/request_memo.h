/* request_memo - what bodies were found to mean when they were read: the same bytes are not read
 * again.
 *
 * A table of one slot per digest; a newer body takes the place of an older one. The digest is
 * SHA-256, so nobody can make one body look like another.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_REQUEST_MEMO_H
#define PS_GATEWAY_REQUEST_MEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/chunk.h"
#include "base/err.h"
#include "gateway/dialect.h"
#include "gateway/request.h"

#define PS_REQUEST_MEMO_BODY ((size_t)64 << 10) /* longer bodies are read as they come */

struct ps_request_memo;

/* What a body means; counted, the memo has one reference. */
struct ps_request_known {
    struct ps_request request;
    /* private */
    const struct ps_operation *operation;
    uint8_t digest[32];
    uint32_t refs;
};

/* `slots` is a power of two. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_request_memo_new(struct ps_request_memo **out, size_t slots);
void ps_request_memo_free(struct ps_request_memo *memo); /* NULL is fine */

/* False when out of memory. */
bool ps_request_memo_digest(const struct ps_chunks *body, uint8_t digest[32]);

/* What the body of this digest means in this call: a reference of the caller's, or NULL. */
struct ps_request_known *ps_request_memo_find(struct ps_request_memo *memo,
                                              const struct ps_operation *operation,
                                              const uint8_t digest[32]);

/* Remembers it, unless memory is short. */
void ps_request_memo_put(struct ps_request_memo *memo, const struct ps_operation *operation,
                         const uint8_t digest[32], const struct ps_request *request);

/* NULL is fine. */
void ps_request_known_unref(struct ps_request_known *known);

#endif
