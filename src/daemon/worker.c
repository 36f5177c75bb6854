#include "daemon/worker.h"

#include <pthread.h>
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
    struct ps_timer drain_timer;
    struct ps_letter stopped;
    ps_time drain_until; /* 0 = not draining */
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

struct site_letter {
    struct ps_letter letter;
    struct ps_site *site;
};

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
    struct site_letter *carrier = PS_CONTAINER_OF(letter, struct site_letter, letter);
    struct ps_site *before = worker->site;
    struct ps_server_opts opts;
    worker->site = carrier->site;
    free(carrier);
    if (worker->server != NULL) { /* else it is stopping */
        server_opts(worker, &opts);
        ps_server_set_opts(worker->server, &opts);
        if (worker->site->tls != NULL) {
            ps_server_set_tls(worker->server, worker->site->tls);
        }
    }
    ps_proxy_set_gateway(worker->proxy, worker->site->gateway);
    ps_site_unref(before);
}

void ps_worker_set_site(struct ps_worker *worker, struct ps_site *site)
{
    struct site_letter *carrier = malloc(sizeof *carrier);
    if (carrier != NULL) { /* else this worker goes on as before until the next reload */
        carrier->letter.on_delivery = on_site;
        carrier->site = ps_site_ref(site);
        ps_mailbox_post(worker->mailbox, &carrier->letter);
    }
}

/* --- draining --------------------------------------------------------------------------------- */

struct drain_letter {
    struct ps_letter letter;
    ps_span deadline;
};

static bool is_busy(const struct ps_worker *worker)
{
    return (worker->server != NULL && ps_server_connections(worker->server) > 0) ||
           ps_proxy_active(worker->proxy) > 0;
}

static void on_drain_time(struct ps_timer *timer, ps_time now)
{
    struct ps_worker *worker = PS_CONTAINER_OF(timer, struct ps_worker, drain_timer);
    if (is_busy(worker) && now >= worker->drain_until && worker->server != NULL) {
        ps_proxy_abort_all(worker->proxy);
        ps_server_free(worker->server);
        worker->server = NULL;
    }
    if (!is_busy(worker) || ps_timer_set(worker->loop, timer, now + drain_poll) != PS_OK) {
        ps_loop_stop(worker->loop);
    }
}

static void on_drain(struct ps_letter *letter, void *receiver)
{
    struct ps_worker *worker = receiver;
    struct drain_letter *carrier = PS_CONTAINER_OF(letter, struct drain_letter, letter);
    ps_time now = ps_loop_now(worker->loop);
    bool first = worker->drain_until == 0;
    worker->drain_until = now + carrier->deadline;
    free(carrier);
    if (first) {
        ps_server_drain(worker->server, NULL, NULL);
        worker->drain_timer.on_time = on_drain_time;
        on_drain_time(&worker->drain_timer, now);
    }
}

void ps_worker_drain(struct ps_worker *worker, ps_span deadline)
{
    if (!worker->started) {
        return; /* nothing runs that could end, and nobody reads the letter before all is gone */
    }
    struct drain_letter *carrier = malloc(sizeof *carrier);
    PS_CHECK(carrier != NULL); /* a daemon that can't even stop may as well end here */
    carrier->letter.on_delivery = on_drain;
    carrier->deadline = deadline;
    ps_mailbox_post(worker->mailbox, &carrier->letter);
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
    ps_mailbox_free(worker->mailbox);
    ps_loop_free(worker->loop);
    ps_site_unref(worker->site);
    ps_metrics_shard_put(worker->opts.metrics, worker->shard);
    free(worker);
}
