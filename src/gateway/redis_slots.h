/* redis_slots - what a Redis Cluster says about where keys are.
 *
 * A cluster cuts all keys into 16,384 slots by CRC-16 and gives each to a master. A client asks for
 * the whole map (CLUSTER SLOTS) and is corrected by errors: MOVED, the slot belongs to another node
 * for good; ASK, this one key is at another node already, while its slot moves.
 *
 * Source: redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_REDIS_SLOTS_H
#define PS_GATEWAY_REDIS_SLOTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define PS_REDIS_SLOTS       16384
#define PS_REDIS_MASTERS_MAX 1000 /* what the cluster specification recommends at most */
#define PS_REDIS_NAME_MAX    272  /* bytes of "host:port", terminator included */

struct ps_redis_reply;

/* The slot of a key: of the part between the first { and the next }, if there is one and it is not
 * empty, otherwise of all of it. */
uint16_t ps_redis_slot(struct ps_str key);

/* Writes host and port as the canonical name of a node: lower case, numeric addresses in their one
 * spelling, IPv6 in brackets. PS_OK, or PS_EINVAL: not a host, or not a port. */
PS_MUST_CHECK int ps_redis_name(struct ps_str host, uint64_t port, char name[PS_REDIS_NAME_MAX]);

/* Splits a canonical name again; *host is a view into it, without brackets. */
void ps_redis_name_split(struct ps_str name, struct ps_str *host, uint16_t *port);

enum ps_redis_redirect { PS_REDIS_NO_REDIRECT, PS_REDIS_MOVED, PS_REDIS_ASK };

struct ps_redis_move {
    enum ps_redis_redirect kind;
    uint16_t slot;
    char name[PS_REDIS_NAME_MAX]; /* of the node to go to */
};

/* Reads the text of an error reply. `asked` is the host of the node that sent it, which an empty
 * host stands for. A text that is no well-formed MOVED or ASK gives PS_REDIS_NO_REDIRECT. */
struct ps_redis_move ps_redis_read_move(struct ps_str error, struct ps_str asked);

/* Which master has a slot, as read; index into names, or PS_REDIS_NOBODY. */
#define PS_REDIS_NOBODY UINT16_MAX
struct ps_redis_map {
    size_t count;
    char (*names)[PS_REDIS_NAME_MAX];
    uint16_t owners[PS_REDIS_SLOTS];
};

/* Reads the reply to CLUSTER SLOTS into a new map. PS_OK; PS_EPARSE: it is not one, or names no
 * master; PS_ELIMIT: over PS_REDIS_MASTERS_MAX; PS_ENOMEM. */
PS_MUST_CHECK int ps_redis_map_read(struct ps_redis_map **out, const struct ps_redis_reply *reply,
                                    struct ps_str asked);
void ps_redis_map_free(struct ps_redis_map *map); /* NULL is fine */

#endif
