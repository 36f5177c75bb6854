/* h1_write - heads and chunks as bytes.
 *
 * Everything is appended to a caller's buffer, and nothing is appended that our own parser would
 * refuse: names are tokens, values hold no control character but TAB. So no value that came from a
 * client, a configuration or a script can start a header of its own.
 *
 * All return PS_OK, PS_EINVAL for a part that is not allowed there, PS_ELIMIT or PS_ENOMEM; on
 * failure the buffer is as it was.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_H1_WRITE_H
#define PS_HTTP_H1_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "http/h1_field.h"
#include "http/h1_head.h"

/* Room for the longest chunk header: 16 hex digits, CR, LF. */
#define PS_H1_CHUNK_HEADER_MAX 18u

/* "METHOD TARGET HTTP/1.1". */
PS_MUST_CHECK int ps_h1_write_request_line(struct ps_buf *out, struct ps_str method,
                                           struct ps_str target);

/* "HTTP/1.1 STATUS reason"; an empty reason stands for the registered one. 100 to 599. */
PS_MUST_CHECK int ps_h1_write_status_line(struct ps_buf *out, int status, struct ps_str reason);

/* "name: value". */
PS_MUST_CHECK int ps_h1_write_header(struct ps_buf *out, struct ps_str name, struct ps_str value);

/* "name: 123". */
PS_MUST_CHECK int ps_h1_write_header_u64(struct ps_buf *out, struct ps_str name, uint64_t value);

/* The empty line that ends a head. */
PS_MUST_CHECK int ps_h1_write_head_end(struct ps_buf *out);

/* Bits of ps_h1_copy_end_to_end(). */
#define PS_H1_COPY_UPGRADE (1u << 0) /* keep Upgrade: the connection becomes a tunnel */

/* Copies the header lines of a head that concern the whole way: not PS_H1_HOP_BY_HOP, not what
 * Connection names, and not what is in the set `skip` (bits PS_H1_BIT(id); bit PS_H1_FIELD_OTHER
 * leaves out all unknown names). Host and Content-Length are copied even when Connection names
 * them, because a message without them would be another message. Writes no Connection header.
 * Neighbouring lines are copied in one piece, byte for byte. */
PS_MUST_CHECK int ps_h1_copy_end_to_end(struct ps_buf *out, const struct ps_h1_head *head,
                                        uint64_t skip, unsigned flags);

/* Writes "SIZE CR LF" into out (PS_H1_CHUNK_HEADER_MAX bytes) and returns its length. size > 0,
 * because a chunk of size 0 ends the body. For callers that send with writev. */
size_t ps_h1_format_chunk_header(char *out, uint64_t size);

/* The header of a chunk of size bytes; the bytes and ps_h1_write_chunk_footer() must follow. */
PS_MUST_CHECK int ps_h1_write_chunk_header(struct ps_buf *out, uint64_t size);
PS_MUST_CHECK int ps_h1_write_chunk_footer(struct ps_buf *out);

/* A whole chunk; nothing when data is empty. */
PS_MUST_CHECK int ps_h1_write_chunk(struct ps_buf *out, struct ps_str data);

/* The last chunk with its trailers (count may be 0). */
PS_MUST_CHECK int ps_h1_write_last_chunk(struct ps_buf *out, const struct ps_h1_header *trailers,
                                         size_t count);

#endif
