/* redis - the second tier of the cache: values in Redis or Valkey, asked without waiting for it.
 *
 * The cache helps when it answers at once and must never hurt when it does not. So a lookup has two
 * milliseconds; what comes later is read and thrown away. A node that is gone, stopped or busy with
 * something else is left alone by all threads together (redis_breaker.h) until it answers a probe.
 *
 *      hub: nodes, their breakers, the map     one for the process; constant, atomics, short
 * mutexes
 *       |
 *       +-- redis: one for each worker's loop  get, set, delete, log
 *       |     +-- link: one for each node      commands in order on one connection, deadlines
 *       |           +-- wire                   connect, TLS, AUTH, SELECT; bytes to replies
 *       +-- feed: one for the process          SUBSCRIBE, see redis_feed.h
 *
 * Either the nodes are independent and a key's node comes from the slot table (ring.h), or they are
 * a Redis Cluster and its map is followed, with MOVED and ASK. Values are in envelopes
 * (envelope.h); a value that does not prove itself is a miss.
 *
 * Invalidations are a log in the cache servers: a sorted set of records by time, on every
 * independent node, or in one slot of a cluster. It is what is true; publishing only wakes those
 * who listen. A record is found again by whoever was away.
 *
 * Format: commands and replies as redis.io/docs/latest/commands describes them, RESP2.
 *
 * Thread: a hub any; a client its loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_REDIS_H
#define PS_GATEWAY_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/hist.h"
#include "base/option.h"
#include "base/str.h"
#include "gateway/envelope.h"
#include "gateway/redis_breaker.h"

struct ps_loop;

#define PS_REDIS_KEY_BYTES  PS_ENVELOPE_KEY_BYTES
#define PS_REDIS_RECORD_MAX 4096 /* bytes of a record in the log */

/* --- options ---------------------------------------------------------------------------------- */

/* One item of `nodes`. */
struct ps_redis_node_opts {
    char *url; /* redis://host:port, rediss://..., unix:///path, or host:port; the port is 6379 if
                  it is left out */
    uint64_t weight;
    char *name; /* NULL = host:port; what the slot table and the statistics call it */
};

struct ps_redis_tls_opts {
    bool enabled; /* rediss:// says the same */
    char *ca_file;
    bool verify;
    char *server_name; /* NULL = the node's host */
    char *certificate_file;
    char *key_file;
};

/* The section `redis`. */
struct ps_redis_opts {
    struct ps_option_list nodes; /* of struct ps_redis_node_opts; none = no second tier */
    bool cluster;
    char *username;
    char *password; /* secret */
    uint64_t database;
    struct ps_redis_tls_opts tls;
    char *prefix;
    ps_span timeout; /* to the first byte of a reply */
    ps_span connect_timeout;
    struct ps_redis_breaker_opts breaker;
    uint64_t max_value;
    uint64_t compress_above;
    char *sign_key; /* secret; see envelope.h */
    uint64_t max_pending;
    uint64_t max_pending_bytes;
    ps_span purge_keep;
    uint64_t purge_max;
};

extern const struct ps_option ps_redis_options[];

/* --- what all threads share ------------------------------------------------------------------- */

struct ps_redis_hub;

/* Who hears of changes: each call is a change of state. It comes on the thread that noticed, from
 * inside a client; it must not free one. `node` and `reason` are valid during the call. */
struct ps_redis_observer {
    void (*on_change)(void *ctx, const char *node, bool up, const char *reason); /* may be NULL */
    void *ctx;
};

/* Makes the hub of these options (borrowed until it returns), reference count 1; opens nothing.
 * Files of TLS are read now. PS_OK, PS_ENOMEM, or PS_EINVAL with a sentence in reason: no node, a
 * malformed URL or name, a name twice, TLS files that don't load. */
PS_MUST_CHECK int ps_redis_hub_new(struct ps_redis_hub **out, const struct ps_redis_opts *opts,
                                   const struct ps_redis_observer *observer, char *reason,
                                   size_t size);
struct ps_redis_hub *ps_redis_hub_ref(struct ps_redis_hub *hub);
void ps_redis_hub_unref(struct ps_redis_hub *hub); /* NULL is fine */

/* Figures of one node since the hub was made. */
struct ps_redis_node_stats {
    const char *node;
    enum ps_redis_state state;
    uint64_t weight;
    uint64_t slots; /* of the slot table, or of the cluster's 16,384 */
    double share_percent;
    bool keys_known;
    uint64_t keys;       /* in the node's database, others' too; at most some seconds old */
    uint64_t operations; /* commands sent, handshakes not counted */
    uint64_t gets;
    uint64_t hits;
    uint64_t misses; /* of gets: the node does not have it, or what it has is too old */
    uint64_t late;   /* of gets: no reply in time */
    uint64_t
        rejected;  /* of gets: a value that is damaged, forged, too large or of another version */
    uint64_t sets; /* confirmed */
    uint64_t set_failures;
    uint64_t
        errors; /* error replies, redirections not counted, and commands lost with a connection */
    uint64_t redirects; /* MOVED and ASK */
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t opened;      /* how often the breaker did */
    uint64_t connections; /* opened */
    const struct ps_hist
        *latency; /* of replies in nanoseconds, the late ones too; valid during the call */
};

/* Calls for each node: those of the configuration or of the cluster's map, in their order. Not from
 * inside on_change. */
void ps_redis_hub_stats(struct ps_redis_hub *hub,
                        void (*on_node)(void *ctx, const struct ps_redis_node_stats *stats),
                        void *ctx);

/* The slot table's imbalance; 0 in a cluster, which divides its slots itself. */
double ps_redis_hub_imbalance_percent(const struct ps_redis_hub *hub);

/* Writes the name of the node that a key is on now, terminated and cut to size; "" when no node is
 * known for it. */
void ps_redis_hub_assigned(struct ps_redis_hub *hub, const uint8_t key[PS_REDIS_KEY_BYTES],
                           char *name, size_t size);

/* --- one thread's client ---------------------------------------------------------------------- */

struct ps_redis;
struct ps_redis_op;

/* Makes a client on `loop` and begins to connect. Takes a reference to the hub. PS_OK or PS_ENOMEM.
 */
PS_MUST_CHECK int ps_redis_new(struct ps_redis **out, struct ps_loop *loop,
                               struct ps_redis_hub *hub);

/* Ends it; operations under way are never answered. Not from inside one of its callbacks. NULL is
 * fine. */
void ps_redis_free(struct ps_redis *redis);

enum ps_redis_outcome {
    PS_REDIS_HIT,
    PS_REDIS_MISS,     /* not there, or too old */
    PS_REDIS_LATE,     /* no reply in time */
    PS_REDIS_REJECTED, /* there was something that can't be believed */
    PS_REDIS_FAILED    /* an error, or the connection broke */
};

/* Called once; the operation is gone. `value` is NULL unless it is a hit, and its body is valid
 * during the call only. The callback may start operations, not free the client. */
typedef void ps_redis_value_fn(void *ctx, enum ps_redis_outcome outcome,
                               const struct ps_envelope *value);

/* Looks a key up. PS_OK: on_value follows within the timeout (a value whose first byte was in time
 * may take as long as it goes on arriving, up to `breaker.stall`), never from inside this call.
 * PS_EBUSY: the node is not to be asked now, PS_ELIMIT: too much is under way, PS_ENOMEM: all of
 * them are a miss, at once. */
PS_MUST_CHECK int ps_redis_get(struct ps_redis_op **out, struct ps_redis *redis,
                               const uint8_t key[PS_REDIS_KEY_BYTES], ps_redis_value_fn *on_value,
                               void *ctx);

/* Stores a value (borrowed until it returns) until its ttl is over, which counts from when it was
 * stored. Nobody is told how it went; the statistics are. PS_OK: it was sent or will be; PS_EBUSY,
 * PS_ELIMIT (too large, too), PS_EINVAL (its time is over), PS_ENOMEM: it will not. */
PS_MUST_CHECK int ps_redis_set(struct ps_redis *redis, const uint8_t key[PS_REDIS_KEY_BYTES],
                               const struct ps_envelope *value);

/* Deletes a key, likewise. */
PS_MUST_CHECK int ps_redis_delete(struct ps_redis *redis, const uint8_t key[PS_REDIS_KEY_BYTES]);

/* No callback comes any more. NULL is fine. */
void ps_redis_cancel(struct ps_redis_op *op);

/* --- the log of invalidations ----------------------------------------------------------------- */

/* Called once with the number of nodes that did it and that did not. In a cluster they are one. */
typedef void ps_redis_log_fn(void *ctx, size_t done, size_t failed);

/* Appends a record (1 to PS_REDIS_RECORD_MAX bytes) with its instant on the wall clock, of which
 * whole milliseconds are kept, and wakes who listens. The same record may be appended again, for
 * nodes that were away: it is there once. PS_OK: on_end follows, never from inside this call, and
 * as soon as every node has answered or been given up. PS_EINVAL, PS_ENOMEM. */
PS_MUST_CHECK int ps_redis_log_append(struct ps_redis_op **out, struct ps_redis *redis,
                                      struct ps_str record, ps_time when, ps_redis_log_fn *on_end,
                                      void *ctx);

/* Reads the records from the instant `since` on, of every node that answers; one may come more than
 * once, and the order is each node's. on_record's view is valid during the call. Otherwise as
 * above. */
typedef void ps_redis_record_fn(void *ctx, struct ps_str record, ps_time when);
PS_MUST_CHECK int ps_redis_log_read(struct ps_redis_op **out, struct ps_redis *redis, ps_time since,
                                    ps_redis_record_fn *on_record, ps_redis_log_fn *on_end,
                                    void *ctx);

#endif
