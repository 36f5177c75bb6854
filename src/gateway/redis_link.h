/* redis_link - inside of redis: the commands of one thread to one node, in order, each with a
 * deadline.
 *
 *      put -> [waiting] -- end of the turn, when the wire is ready --> [sent] -- replies in order
 * --> done
 *                                                                        |
 *                                                 over its deadline: late, and done later all the
 * same
 *
 * Everything that was put in one turn of the loop leaves in one write. A command whose owner was
 * told that it is late stays in its place, because its reply will come in its place.
 *
 * The link opens its wire when somebody puts a command, and again when a wire that worked for a
 * while ends. Whatever else goes wrong opens the node's breaker; then nothing may be put until a
 * probe, which one of all threads makes, has found the node well.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_REDIS_LINK_H
#define PS_GATEWAY_REDIS_LINK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/str.h"

struct ps_loop;
struct ps_redis_hub;
struct ps_redis_link;
struct ps_redis_node;
struct ps_redis_reply;

/* A command; embed it in what it is for. Fields above the line are the owner's. */
struct ps_redis_command {
    struct ps_str bytes; /* of ps_redis_command(); the owner's, kept until on_done */
    ps_time deadline;    /* of the reply's first byte; PS_NEVER: only the node's own patience */
    bool asking;         /* ASKING goes before it */
    /* Comes at most once, before on_done. */
    void (*on_late)(struct ps_redis_command *command);
    /* Comes once: the reply (borrowed), or NULL and why there is none. */
    void (*on_done)(struct ps_redis_command *command, const struct ps_redis_reply *reply, int err);
    /* ------------------------------------------------------------------------------ */
    struct ps_list link;
    ps_time put;
    ps_time sent;
    bool late;
};

struct ps_redis_link_ops {
    /* This link opened or closed the node's breaker; the observer was told. */
    void (*on_change)(void *ctx, struct ps_redis_link *link, bool up);
};

/* This very instant, not the one that the turn of the loop began at: a turn that took long is not
 * the node's fault. */
ps_time ps_redis_instant(const struct ps_loop *loop);

/* Makes a link; opens nothing. References are taken. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_redis_link_new(struct ps_redis_link **out, struct ps_loop *loop,
                                    struct ps_redis_hub *hub, struct ps_redis_node *node,
                                    const struct ps_redis_link_ops *ops, void *ctx);

/* Ends it. Every command is done with PS_ECANCELED, at once; what they put again elsewhere is fine.
 * Safe from inside its callbacks. NULL is fine. */
void ps_redis_link_free(struct ps_redis_link *link);

struct ps_redis_node *ps_redis_link_node(const struct ps_redis_link *link);

/* May commands be put? Only the node's breaker is asked. */
bool ps_redis_link_is_usable(const struct ps_redis_link *link);

/* Is its connection there? */
bool ps_redis_link_is_ready(const struct ps_redis_link *link);

/* Begins to connect if it is not connected and may be. */
void ps_redis_link_warm(struct ps_redis_link *link);

/* Puts a command behind the others. PS_OK: on_done follows, never from inside this call. PS_EBUSY:
 * not now, PS_ELIMIT: too many or too much, PS_ENOMEM: nothing follows. */
PS_MUST_CHECK int ps_redis_link_put(struct ps_redis_link *link, struct ps_redis_command *command);

/* A reply said that the node as a whole is of no use now. */
void ps_redis_link_complain(struct ps_redis_link *link, const char *reason);

/* Makes the probe of an open breaker, if it is time and nobody else does. */
void ps_redis_link_probe(struct ps_redis_link *link, ps_time now);

#endif
