/* redis_reply - replies of a Redis server, read with hiredis and held within bounds.
 *
 * hiredis finds the structure; what is built of it is ours, because its own objects differ between
 * its versions and believe every length they are told. Here a reply has a greatest number of bytes
 * and of elements: a server that announces more has broken the protocol, before anything was
 * allocated for it.
 *
 * Format: RESP2 (redis.io/docs/latest/develop/reference/protocol-spec). Types of RESP3 are refused;
 * nobody asked for them.
 *
 * Thread: a reader belongs to one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_REDIS_REPLY_H
#define PS_GATEWAY_REDIS_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum ps_redis_type {
    PS_REDIS_NIL,
    PS_REDIS_STATUS, /* +OK */
    PS_REDIS_ERROR,  /* -ERR text */
    PS_REDIS_INTEGER,
    PS_REDIS_STRING,
    PS_REDIS_ARRAY
};

struct ps_redis_reply {
    enum ps_redis_type type;
    struct ps_str text; /* of a string, status or error; terminated */
    int64_t integer;
    size_t count; /* of an array */
    struct ps_redis_reply **items;
};

struct ps_redis_reader;

struct ps_redis_bounds {
    size_t max_bytes; /* of one reply on the wire */
    size_t max_items; /* in one reply, those of arrays inside included */
};

/* PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_redis_reader_new(struct ps_redis_reader **out,
                                      const struct ps_redis_bounds *bounds);
void ps_redis_reader_free(struct ps_redis_reader *reader); /* NULL is fine */

/* Hands over bytes as they came; pieces over 64 KiB are for several calls. PS_OK, or PS_EPARSE,
 * PS_ELIMIT, PS_ENOMEM: this connection is of no use any more. */
PS_MUST_CHECK int ps_redis_reader_feed(struct ps_redis_reader *reader, struct ps_str bytes);

/* The next reply that is complete, or NULL in *out: it needs more bytes. The caller frees it.
 * PS_OK, PS_EPARSE (not the protocol), PS_ELIMIT (beyond a bound) or PS_ENOMEM: as above. */
PS_MUST_CHECK int ps_redis_reader_next(struct ps_redis_reader *reader, struct ps_redis_reply **out);
void ps_redis_reply_free(struct ps_redis_reply *reply); /* NULL is fine */

/* Has the next reply begun to arrive? */
bool ps_redis_reader_is_inside(const struct ps_redis_reader *reader);

/* Is it an error whose first word is `word`? */
bool ps_redis_reply_is_error(const struct ps_redis_reply *reply, struct ps_str word);

/* Is it a status or string with this text? */
bool ps_redis_reply_is(const struct ps_redis_reply *reply, struct ps_str text);

/* The item of an array if it is of this type, otherwise NULL. */
const struct ps_redis_reply *ps_redis_reply_item(const struct ps_redis_reply *reply, size_t at,
                                                 enum ps_redis_type type);

#endif
