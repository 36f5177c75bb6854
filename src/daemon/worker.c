#include "daemon/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/check.h"
#include "daemon/access_log.h"
#include "daemon/ask.h"
#include "daemon/peers.h"
#include "gateway/proxy.h"
#include "io/loop.h"
#include "observe/metric.h"

static const ps_span drain_poll = 10 * PS_MILLISECOND; /* how often a draining worker looks around */

struct ps_worker {
    struct ps_worker_opts opts;
    struct ps_loop *loop;
    struct ps_mailbox *mailbox;
    struct ps_server *server;
    struct ps_proxy *proxy;
    struct ps_site *site; /* owned by the worker's thread once it runs */
    struct ps_timer drain_timer; /* in the loop's heap from the start, so that it can be set */
    struct ps_letter stopped;
    ps_time drain_until; /* 0 = not draining */

    /* What control tells needs no memory, so that it can't fail. A letter is on its way while there is a
     * site to be fetched, or a drain was asked for. */
    struct ps_letter site_letter;
    _Atomic(struct ps_site *) next_site;
    struct ps_letter drain_letter;
    _Atomic bool drain_asked;
    _Atomic ps_span drain_deadline;
    unsigned shard;
    pthread_t thread;
    bool started;
};

/* --- requests --------------------------------------------------------------------------------- */

static void on_reply(struct ps_letter *letter, void *receiver)
{
    (void)receiver;
    ps_ask_finish(PS_CONTAINER_OF(letter, struct ps_ask, letter));
}

void ps_worker_reply(struct ps_ask *ask)
{
    ask->letter.on_delivery = on_reply;
    ps_mailbox_post(ask->reply_to, &ask->letter);
}

static void on_ask_complete(void *ctx, struct ps_ask *ask)
{
    struct ps_worker *worker = ctx;
    ask->reply_to = worker->mailbox;
    ask->counter = worker->opts.counter;
    ask->letter.on_delivery = worker->opts.on_ask;
    ps_mailbox_post(worker->opts.control, &ask->letter);
}

static void on_request(void *ctx, struct ps_exchange *exchange)
{
    struct ps_worker *worker = ctx;
    struct ps_str path = ps_exchange_path(exchange);
    bool reserved = worker->site->split ? ps_reserved_health(path) : ps_reserved_path(path);
    if (reserved) {
        ps_ask_begin(exchange, worker->site->gateway->budget, on_ask_complete, worker);
    } else {
        ps_proxy_handle(worker->proxy, exchange);
    }
}

static bool on_accept(void *ctx, const struct ps_address *peer)
{
    struct ps_worker *worker = ctx;
    size_t before = atomic_fetch_add_explicit(worker->opts.connections, 1, memory_order_relaxed);
    if (before < worker->site->config->max_connections && ps_peers_enter(worker->opts.peers, peer)) {
        return true;
    }
    atomic_fetch_sub_explicit(worker->opts.connections, 1, memory_order_relaxed);
    return false;
}

static void on_gone(void *ctx, const struct ps_address *peer)
{
    struct ps_worker *worker = ctx;
    ps_peers_leave(worker->opts.peers, peer);
    atomic_fetch_sub_explicit(worker->opts.connections, 1, memory_order_relaxed);
}

static void on_done(void *ctx, const struct ps_record *record)
{
    struct ps_worker *worker = ctx;
    if (worker->opts.access_log != NULL) {
        ps_access_log_write(worker->opts.access_log, record);
    }
}

/* --- a new site ------------------------------------------------------------------------------- */

static void server_opts(struct ps_worker *worker, struct ps_server_opts *opts)
{
    ps_site_server_opts(worker->site, opts);
    opts->max_connections = 0; /* of all workers together: on_accept() */
    opts->on_request = on_request;
    opts->on_accept = on_accept;
    opts->on_gone = on_gone;
    opts->ctx = worker;
}

static void on_site(struct ps_letter *letter, void *receiver)
{
    struct ps_worker *worker = receiver;
    struct ps_site *before = worker->site;
    struct ps_server_opts opts;
    (void)letter;
    worker->site = atomic_exchange(&worker->next_site, NULL);
    if (worker->server != NULL) { /* else it is stopping */
        server_opts(worker, &opts);
        ps_server_set_opts(worker->server, &opts);
        if (worker->site->tls != NULL) {
            ps_server_set_tls(worker->server, worker->site->tls);
        }
    }
    if (worker->proxy != NULL) {
        ps_proxy_set_gateway(worker->proxy, worker->site->gateway);
    }
    ps_site_unref(before);
}

void ps_worker_set_site(struct ps_worker *worker, struct ps_site *site)
{
    struct ps_site *before = atomic_exchange(&worker->next_site, ps_site_ref(site));
    if (before != NULL) {
        ps_site_unref(before); /* its letter brings this one */
        return;
    }
    worker->site_letter.on_delivery = on_site;
    ps_mailbox_post(worker->mailbox, &worker->site_letter);
}

/* --- draining --------------------------------------------------------------------------------- */

static bool is_busy(const struct ps_worker *worker)
{
    return (worker->server != NULL && ps_server_connections(worker->server) > 0) ||
           ps_proxy_active(worker->proxy) > 0;
}

static void on_drain_time(struct ps_timer *timer, ps_time now)
{
    struct ps_worker *worker = PS_CONTAINER_OF(timer, struct ps_worker, drain_timer);
    PS_IGNORE(ps_timer_set(worker->loop, timer, now + drain_poll)); /* into the place it just left */
    if (is_busy(worker) && now >= worker->drain_until && worker->server != NULL) {
        ps_proxy_abort_all(worker->proxy);
        ps_server_free(worker->server);
        worker->server = NULL;
    }
    if (!is_busy(worker)) {
        ps_loop_stop(worker->loop);
    }
}

static void on_drain(struct ps_letter *letter, void *receiver)
{
    struct ps_worker *worker = receiver;
    ps_time now = ps_loop_now(worker->loop);
    bool first = worker->drain_until == 0;
    (void)letter;
    atomic_store(&worker->drain_asked, false); /* before it is read: what is asked from now on is told anew */
    worker->drain_until = now + atomic_load(&worker->drain_deadline);
    if (first) {
        ps_server_drain(worker->server, NULL, NULL);
        on_drain_time(&worker->drain_timer, now);
    }
}

void ps_worker_drain(struct ps_worker *worker, ps_span deadline)
{
    if (!worker->started) {
        return; /* nothing runs that could end, and nobody reads the letter before all is gone */
    }
    atomic_store(&worker->drain_deadline, deadline);
    if (!atomic_exchange(&worker->drain_asked, true)) {
        worker->drain_letter.on_delivery = on_drain;
        ps_mailbox_post(worker->mailbox, &worker->drain_letter);
    }
}

/* --- life ------------------------------------------------------------------------------------- */

static int adopt_listeners(struct ps_worker *worker, const int *fds, size_t count)
{
    int err = PS_OK;
    for (size_t i = 0; i < count; i++) {
        if (err == PS_OK) {
            err = ps_server_listen_fd(worker->server, fds[i], worker->site->tls);
        } else {
            close(fds[i]);
        }
    }
    return err;
}

static int open_all(struct ps_worker *worker)
{
    struct ps_proxy_opts proxy_opts = {
        .finished = worker->opts.finished, .on_done = on_done, .ctx = worker};
    struct ps_server_opts opts;
    int err = ps_metrics_shard_get(worker->opts.metrics, &worker->shard);
    err = err != PS_OK ? err : ps_loop_new(&worker->loop, &ps_clock_real);
    err = err != PS_OK ? err : ps_mailbox_new(&worker->mailbox, worker->loop, worker);
    worker->drain_timer.on_time = on_drain_time;
    err = err != PS_OK ? err : ps_timer_set(worker->loop, &worker->drain_timer, PS_NEVER);
    if (err != PS_OK) {
        return err;
    }
    server_opts(worker, &opts);
    err = ps_server_new(&worker->server, worker->loop, &opts);
    err = err != PS_OK ? err : adopt_listeners(worker, worker->opts.listen_fds, worker->opts.listen_count);
    proxy_opts.loop = worker->loop;
    proxy_opts.shard = worker->shard;
    if (getrandom(&proxy_opts.id_seed, sizeof proxy_opts.id_seed, 0) < 0) {
        return PS_EIO;
    }
    return err != PS_OK ? err : ps_proxy_new(&worker->proxy, &proxy_opts, worker->site->gateway);
}

int ps_worker_new(struct ps_worker **out, const struct ps_worker_opts *opts)
{
    struct ps_worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL) {
        return PS_ENOMEM;
    }
    worker->opts = *opts;
    worker->site = ps_site_ref(opts->site);
    worker->stopped.on_delivery = opts->on_stopped;
    int err = open_all(worker);
    worker->opts.listen_fds = NULL;
    if (err != PS_OK) {
        ps_worker_free(worker);
        return err;
    }
    *out = worker;
    return PS_OK;
}

static void *run(void *arg)
{
    struct ps_worker *worker = arg;
    char name[16];
    snprintf(name, sizeof name, "worker-%u", worker->opts.index);
    pthread_setname_np(pthread_self(), name);
    ps_loop_run(worker->loop);
    ps_mailbox_post(worker->opts.control, &worker->stopped);
    return NULL;
}

int ps_worker_start(struct ps_worker *worker)
{
    worker->started = pthread_create(&worker->thread, NULL, run, worker) == 0;
    return worker->started ? PS_OK : PS_ENOMEM;
}

void ps_worker_join(struct ps_worker *worker)
{
    if (worker->started) {
        pthread_join(worker->thread, NULL);
        worker->started = false;
    }
}

void ps_worker_free(struct ps_worker *worker)
{
    if (worker == NULL) {
        return;
    }
    ps_server_free(worker->server);
    ps_proxy_free(worker->proxy);
    worker->server = NULL;
    worker->proxy = NULL;
    ps_mailbox_free(worker->mailbox); /* delivers what nobody fetched */
    if (worker->loop != NULL) {
        ps_timer_clear(worker->loop, &worker->drain_timer);
    }
    ps_loop_free(worker->loop);
    ps_site_unref(worker->site);
    if (worker->shard != 0) {
        ps_metrics_shard_put(worker->opts.metrics, worker->shard);
    }
    free(worker);
}
