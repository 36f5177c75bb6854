/* worker - one thread of the data plane: a loop, its listeners, its proxy.
 *
 * A worker shares nothing with the others but the site (constant), the gates and endpoints inside it, the
 * budget of buffered bytes, counter shards, and the caps on connections, of one address and of all. Everything
 * else comes by letter.
 *
 * Thread: created, started, joined and freed by the main thread; the functions that say so post letters.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_WORKER_H
#define PS_DAEMON_WORKER_H

#include <stdatomic.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"
#include "daemon/site.h"
#include "io/mailbox.h"

struct ps_access_log;
struct ps_finished_ring;
struct ps_ask;
struct ps_peers;
struct ps_worker;

struct ps_worker_opts {
    unsigned index;
    struct ps_site *site; /* a reference is taken */
    struct ps_metrics *metrics;
    struct ps_access_log *access_log; /* or NULL */
    struct ps_finished_ring *finished; /* of the GPU room */
    struct ps_peers *peers;
    _Atomic size_t *connections; /* of all workers, bounded by max_connections */
    const struct ps_live_counter *counter; /* hears of connections that left for the hub; outlives it */
    struct ps_mailbox *control; /* gets asks, and `stopped` */
    /* Runs on control's loop with an ask of this worker; it ends with ps_worker_reply(). */
    void (*on_ask)(struct ps_letter *letter, void *control);
    /* Runs on control's loop when the worker has stopped. */
    void (*on_stopped)(struct ps_letter *letter, void *control);
    const int *listen_fds; /* of ps_listen(); owned by the worker from now on */
    size_t listen_count;
};

PS_MUST_CHECK int ps_worker_new(struct ps_worker **out, const struct ps_worker_opts *opts);

/* Starts the thread. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_worker_start(struct ps_worker *worker);

/* Any thread: requests from now on are treated by this site (a reference is taken). */
void ps_worker_set_site(struct ps_worker *worker, struct ps_site *site);

/* Main thread: stop listening, let requests end until `deadline` after now, then abort them. Again with 0:
 * at once. A worker that was never started is left as it is. */
void ps_worker_drain(struct ps_worker *worker, ps_span deadline);

/* Control's thread: the ask is answered; it goes back to the worker it came from. */
void ps_worker_reply(struct ps_ask *ask);

/* Main thread: waits for the thread to end. */
void ps_worker_join(struct ps_worker *worker);

/* Main thread, after joining. NULL is fine. */
void ps_worker_free(struct ps_worker *worker);

#endif
