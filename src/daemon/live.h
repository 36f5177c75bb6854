/* live - the hub: whoever watches the figures, each second, over a WebSocket (docs/live.md).
 *
 * A client asks a worker (or the port of admin.listen) for /ws/metrics. Control says whether it may, as for every
 * reserved path; then the connection leaves that loop for the hub's, a thread of its own with a low priority: ten
 * thousand subscribers cost requests nothing but what the kernel takes.
 *
 *      worker: request --> control: access --> worker: 101, take() ---- stream ----> hub: subscriber
 *      control: second() --> encode() once for each set of keys ---- frame ----> hub: to all who follow the set
 *
 * What is sent is one counted frame for all that follow the same set of keys, compressed once for all that take
 * that. Whoever reads too slowly misses frames; nothing is queued for it beyond the one that is on its way and the
 * newest.
 *
 * Thread: control's, unless a function says otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_LIVE_H
#define PS_DAEMON_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/option.h"
#include "observe/metric.h"

struct ps_address;
struct ps_exchange;
struct ps_live;
struct ps_loop;
struct ps_mailbox;

/* The section `dashboard`. */
struct ps_live_opts {
    uint64_t max_subscribers;
    ps_span ping_interval; /* of silence, until a subscriber is asked whether it is still there */
    bool compress;
};

extern const struct ps_option ps_live_options[];
extern const struct ps_metric_family ps_live_metric_families[];

/* Appends one frame, a JSON object: all keys of the default set (`keys` NULL), or these. `first` adds what a
 * subscriber needs once: the history of these keys, the events so far. Runs on control's loop, at most once a turn:
 * it must be done within a millisecond or two. PS_OK, PS_ELIMIT or PS_ENOMEM: the frame is left out. */
typedef int ps_live_encode_fn(void *ctx, const char *const *keys, size_t count, bool first, struct ps_buf *out);

/* Starts the hub's thread. `control` runs on `loop`, the caller's. PS_OK, PS_ENOMEM or PS_EIO. */
PS_MUST_CHECK int ps_live_new(struct ps_live **out, const struct ps_live_opts *opts, struct ps_loop *loop,
                              struct ps_metrics *metrics, ps_live_encode_fn *encode, void *ctx);

/* Says goodbye to all (1001) and ends the thread, within a second. After this nobody may take(). NULL is fine. */
void ps_live_free(struct ps_live *live);

/* After a reload. */
void ps_live_set(struct ps_live *live, const struct ps_live_opts *opts);

/* The figures of a new second are there: encodes them for whoever follows the default set, now, and for each other
 * set in turns of its own. Without subscribers it does nothing. */
void ps_live_second(struct ps_live *live);

/* Says goodbye to all (1001) and takes nobody any more. */
void ps_live_drain(struct ps_live *live);

/* Connected at this moment. Any thread. */
size_t ps_live_subscribers(const struct ps_live *live);

/* Who is told when a connection that was taken has ended; called on the hub's thread. */
struct ps_live_counter {
    void (*on_gone)(void *ctx, const struct ps_address *peer);
    void *ctx;
};

/* On the thread of the exchange, whose request is allowed: answers it, with 101 when it asks for a WebSocket and
 * there is room; the connection is the hub's then, and `counter` (copied) hears of its end. The exchange is over. */
void ps_live_take(struct ps_live *live, struct ps_exchange *exchange, const struct ps_live_counter *counter);

#endif
