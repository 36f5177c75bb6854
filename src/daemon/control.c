#include "daemon/control.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/check.h"
#include "base/log.h"
#include "daemon/access_log.h"
#include "daemon/api.h"
#include "daemon/ask.h"
#include "daemon/caches.h"
#include "daemon/clerk.h"
#include "daemon/config.h"
#include "daemon/control_listen.h"
#include "daemon/control_reload.h"
#include "daemon/engines.h"
#include "daemon/gpu_log.h"
#include "daemon/health.h"
#include "daemon/live.h"
#include "daemon/machine.h"
#include "daemon/numbers.h"
#include "daemon/panel.h"
#include "daemon/peers.h"
#include "daemon/process.h"
#include "daemon/recorder.h"
#include "daemon/site.h"
#include "daemon/statsd_port.h"
#include "daemon/store.h"
#include "daemon/worker.h"
#include "export/otlp_metrics.h"
#include "gateway/traffic.h"
#include "io/loop.h"
#include "io/mailbox.h"
#include "io/stream.h"
#include "observe/custom.h"
#include "observe/metric.h"
#include "operate/gpu.h"

enum { MAX_WORKERS = 64 };
enum { OTHER_SHARDS = 4 }; /* shard 0, control, statsd, the clerk */

static const ps_span names_poll = 2 * PS_MILLISECOND; /* how often a reload looks whether all names are known */
static const ps_span names_wait = 2 * PS_SECOND;      /* how long at most: a dead name server delays no more */

struct ps_control {
    struct ps_control_opts opts;
    struct ps_loop *loop;
    struct ps_mailbox *mailbox;
    struct ps_metrics *metrics;
    struct ps_custom *custom;
    struct ps_statsd_port *statsd; /* NULL unless metrics.statsd.listen */
    struct ps_process *process;
    struct ps_machine *machine;
    struct ps_budget budget;
    struct ps_access_log *access_log;
    struct ps_peers *peers;
    _Atomic size_t connections; /* of clients, on all workers */
    struct ps_site *site;
    struct ps_clerk *clerk;
    struct ps_otlp *otlp;
    struct ps_api *api;
    struct ps_caches *caches;
    struct ps_health *health;
    struct ps_server *admin; /* NULL unless admin.listen */
    struct ps_engines *engines;
    struct ps_store *store;
    struct ps_recorder *recorder;
    struct ps_gpu *gpu;
    struct ps_panel *panel;
    struct ps_live *live;
    struct ps_live_counter admin_counter; /* for connections that leave control's loop */
    struct ps_live_counter client_counter; /* likewise, those of workers, which the hub outlives */
    struct ps_worker *workers[MAX_WORKERS];
    unsigned worker_count;
    unsigned running;
    struct ps_timer hand_timer; /* the workers get the site when it fires */
    ps_time hand_until;
    bool draining;
    bool yaml_printed;
    int status; /* of the process */
};

/* --- reserved paths --------------------------------------------------------------------------- */

static void on_worker_ask(struct ps_letter *letter, void *receiver)
{
    struct ps_control *control = receiver;
    struct ps_ask *ask = PS_CONTAINER_OF(letter, struct ps_ask, letter);
    ask->on_answered = ps_worker_reply;
    ps_api_answer(control->api, ask, ps_loop_now(control->loop));
    if (!ask->pending) {
        ps_worker_reply(ask);
    }
}

static void on_admin_letter(struct ps_letter *letter, void *receiver)
{
    struct ps_control *control = receiver;
    struct ps_ask *ask = PS_CONTAINER_OF(letter, struct ps_ask, letter);
    ask->on_answered = ps_ask_finish;
    ps_api_answer(control->api, ask, ps_loop_now(control->loop));
    if (!ask->pending) {
        ps_ask_finish(ask);
    }
}

/* By letter too: a connection can't leave the loop while it is being read. */
static void on_admin_ask(void *ctx, struct ps_ask *ask)
{
    struct ps_control *control = ctx;
    ask->counter = &control->admin_counter;
    ask->letter.on_delivery = on_admin_letter;
    ps_mailbox_post(control->mailbox, &ask->letter);
}

static void on_admin_request(void *ctx, struct ps_exchange *exchange)
{
    struct ps_control *control = ctx;
    ps_ask_begin(exchange, &control->budget, on_admin_ask, control);
}

static bool on_admin_accept(void *ctx, const struct ps_address *peer)
{
    struct ps_control *control = ctx;
    return ps_peers_enter(control->peers, peer);
}

/* Any thread. */
static void on_admin_gone(void *ctx, const struct ps_address *peer)
{
    struct ps_control *control = ctx;
    ps_peers_leave(control->peers, peer);
}

/* Any thread. */
static void on_client_gone(void *ctx, const struct ps_address *peer)
{
    struct ps_control *control = ctx;
    ps_peers_leave(control->peers, peer);
    atomic_fetch_sub_explicit(&control->connections, 1, memory_order_relaxed);
}

static void admin_opts(struct ps_control *control, struct ps_server_opts *opts)
{
    ps_site_server_opts(control->site, opts);
    opts->on_request = on_admin_request;
    opts->on_accept = on_admin_accept;
    opts->on_gone = on_admin_gone;
    opts->ctx = control;
}

/* --- health and engines ----------------------------------------------------------------------- */

static void print_yaml(struct ps_control *control)
{
    struct ps_buf yaml = ps_buf_make(1024 * 1024);
    if (ps_engines_yaml(control->site->gateway, control->site->config, &yaml) == PS_OK) {
        printf("# The same as a configuration file:\n%.*s", PS_STR_ARG(ps_buf_str(&yaml)));
        fflush(stdout);
    }
    ps_buf_fini(&yaml);
}

/* The engines are known, as far as they answer. */
static void on_settled(void *ctx)
{
    struct ps_control *control = ctx;
    ps_gpu_look(control->gpu);
    if (control->opts.print_yaml && !control->yaml_printed) {
        control->yaml_printed = true;
        print_yaml(control);
    }
}

static void on_reachable(void *ctx, struct ps_backend *backend, struct ps_endpoint *endpoint)
{
    struct ps_control *control = ctx;
    ps_engines_look(control->engines, backend, endpoint);
}

static void on_change(void *ctx, struct ps_backend *backend, struct ps_endpoint *endpoint, bool healthy,
                      const char *reason)
{
    (void)ctx;
    ps_log(healthy ? PS_LOG_INFO : PS_LOG_WARN, healthy ? "endpoint is healthy" : "endpoint is unhealthy",
           "upstream", backend->name, "endpoint", endpoint->text, "reason", reason, NULL);
}

static void on_resolve(void *ctx, struct ps_backend *backend, struct ps_endpoint *endpoint, int err)
{
    (void)ctx;
    ps_log(err == PS_OK ? PS_LOG_INFO : PS_LOG_WARN, err == PS_OK ? "name resolved" : "name can't be resolved",
           "upstream", backend->name, "endpoint", endpoint->text, NULL);
}

/* --- reload ----------------------------------------------------------------------------------- */

static void set_admin(struct ps_control *control)
{
    struct ps_server_opts opts;
    if (control->admin != NULL) {
        admin_opts(control, &opts);
        ps_server_set_opts(control->admin, &opts);
        if (control->site->tls != NULL) {
            ps_server_set_tls(control->admin, control->site->tls);
        }
    }
}

/* A worker that sent requests to a name before its addresses are known would have to refuse them. */
static void on_hand_time(struct ps_timer *timer, ps_time now)
{
    struct ps_control *control = PS_CONTAINER_OF(timer, struct ps_control, hand_timer);
    if (!ps_health_ready(control->health) && now < control->hand_until &&
        ps_timer_set(control->loop, timer, now + names_poll) == PS_OK) {
        return;
    }
    for (unsigned i = 0; i < control->worker_count; i++) {
        ps_worker_set_site(control->workers[i], control->site);
    }
    ps_log(PS_LOG_INFO, "configuration reloaded", "file", control->opts.path, NULL);
}

static void set_gpu(struct ps_control *control)
{
    char reason[256] = "out of memory";
    if (ps_gpu_set(control->gpu, &control->site->config->gpu, control->site->gateway, reason, sizeof reason) !=
        PS_OK) {
        ps_log(PS_LOG_ERROR, "a gpu source can't be asked", "reason", reason, NULL);
    }
}

static void take_site(struct ps_control *control, struct ps_site *site)
{
    struct ps_site *before = control->site;
    control->site = site;
    ps_api_set_site(control->api, site);
    set_admin(control);
    ps_engines_set_gateway(control->engines, site->gateway);
    set_gpu(control);
    ps_store_set(control->store, &site->config->store);
    ps_live_set(control->live, &site->config->dashboard);
    ps_recorder_set(control->recorder, &site->config->history);
    if (ps_health_set_gateway(control->health, site->gateway) != PS_OK) {
        ps_log(PS_LOG_ERROR, "the new upstreams can't be watched: out of memory", NULL);
    }
    ps_peers_set_max(control->peers, (uint32_t)site->config->max_connections_per_address);
    ps_log_set_level((enum ps_log_level)site->config->log_level);
    ps_time now = ps_loop_now(control->loop);
    control->hand_until = now + names_wait;
    control->hand_timer.on_time = on_hand_time;
    on_hand_time(&control->hand_timer, now);
    ps_site_unref(before);
}

static void reload(struct ps_control *control)
{
    struct ps_config *config = NULL;
    struct ps_site *site = NULL;
    char reason[256];
    if (control->opts.path == NULL || control->draining) {
        ps_log(PS_LOG_WARN, control->draining ? "nothing is reloaded any more: stopping"
                                              : "nothing to reload: started without a configuration file",
               NULL);
        return;
    }
    int err = ps_control_reload(&control->opts, control->site->config, &config);
    if (err == PS_OK) {
        err = ps_site_new_take(&site, config, control->site, &control->budget, control->metrics, control->caches,
                               ps_loop_now(control->loop), reason, sizeof reason);
        if (err != PS_OK) {
            ps_log(PS_LOG_ERROR, "the configuration can't be used", "reason", reason, NULL);
        }
    }
    if (err != PS_OK) {
        ps_log(PS_LOG_ERROR, "reload failed, the old configuration stays in force", NULL);
        return;
    }
    take_site(control, site);
}

/* --- signals and the end ---------------------------------------------------------------------- */

static void drain(struct ps_control *control)
{
    ps_span deadline = control->draining ? 0 : control->site->config->drain_timeout;
    ps_log(PS_LOG_INFO, control->draining ? "stopping at once" : "stopping: no new connections, requests may end",
           NULL);
    control->draining = true;
    ps_timer_clear(control->loop, &control->hand_timer);
    ps_api_set_draining(control->api);
    ps_live_drain(control->live);
    for (unsigned i = 0; i < control->worker_count; i++) {
        ps_worker_drain(control->workers[i], deadline);
    }
}

static void on_signal(void *ctx, int signum)
{
    struct ps_control *control = ctx;
    switch (signum) {
    case SIGHUP:
        reload(control);
        break;
    case SIGUSR1:
        ps_access_log_reopen(control->access_log);
        break;
    default:
        drain(control);
        break;
    }
}

static void on_worker_stopped(struct ps_letter *letter, void *receiver)
{
    struct ps_control *control = receiver;
    (void)letter;
    if (--control->running == 0) {
        ps_loop_stop(control->loop);
    }
}

/* --- setup ------------------------------------------------------------------------------------ */

static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int setup_metrics(struct ps_control *control, unsigned workers)
{
    struct ps_metrics_opts opts = {.shards = workers + OTHER_SHARDS, .clock = &ps_clock_real};
    const char *bad = NULL;
    int err = ps_metrics_new(&control->metrics, &opts);
    err = err != PS_OK ? err : ps_metrics_declare(control->metrics, ps_traffic_metric_families, &bad);
    err = err != PS_OK ? err : ps_metrics_declare(control->metrics, ps_engines_metric_families, &bad);
    PS_CHECK(bad == NULL);
    err = err != PS_OK ? err : ps_machine_new(&control->machine, control->metrics);
    return err != PS_OK ? err : ps_process_new(&control->process, control->metrics, &control->budget);
}

static int setup_api(struct ps_control *control)
{
    int err = ps_clerk_new(&control->clerk, control->loop);
    err = err != PS_OK ? err : ps_otlp_new(&control->otlp, control->custom, control->metrics);
    struct ps_numbers numbers = {control->metrics, control->custom, control->otlp};
    return err != PS_OK ? err : ps_api_new(&control->api, &numbers, control->clerk);
}

static int setup_caches(struct ps_control *control, const struct ps_config *config)
{
    char reason[256] = "out of memory";
    int err = ps_caches_new(&control->caches, &config->cache, control->loop, control->metrics, reason, sizeof reason);
    if (err != PS_OK) {
        ps_log(PS_LOG_ERROR, "the cache can't be opened", "reason", reason, NULL);
        return err;
    }
    ps_api_set_caches(control->api, control->caches);
    return PS_OK;
}

static int setup_gpu(struct ps_control *control, const struct ps_config *config)
{
    int err = ps_store_new(&control->store, &config->store, control->loop, control->metrics);
    err = err != PS_OK ? err
                       : ps_gpu_new(&control->gpu, &config->gpu, control->loop, control->metrics,
                                    ps_store_ledger(control->store));
    if (err == PS_OK) {
        ps_gpu_observe(control->gpu, &ps_gpu_log);
        ps_api_set_gpu(control->api, control->gpu);
    }
    return err;
}

static int setup_recorder(struct ps_control *control, const struct ps_config *config)
{
    const struct ps_recorder_parts parts = {control->loop, control->metrics, ps_store_ledger(control->store),
                                            control->clerk};
    int err = ps_recorder_new(&control->recorder, &config->history, &parts);
    if (err == PS_OK) {
        ps_api_set_recorder(control->api, control->recorder);
    }
    return err;
}

/* The dashboard: what it shows, and who watches. */
static int setup_panel(struct ps_control *control, const struct ps_config *config)
{
    control->admin_counter = (struct ps_live_counter){on_admin_gone, control};
    control->client_counter = (struct ps_live_counter){on_client_gone, control};
    int err = ps_panel_start(control->panel, control->loop, control->metrics,
                             ps_recorder_history(control->recorder));
    err = err != PS_OK ? err
                       : ps_live_new(&control->live, &config->dashboard, control->loop, control->metrics,
                                     ps_panel_encode, control->panel);
    if (err == PS_OK) {
        ps_panel_set_live(control->panel, control->live);
        ps_recorder_on_second(control->recorder, ps_panel_second, control->panel);
        ps_api_set_live(control->api, control->live);
        ps_api_set_panel(control->api, control->panel);
    }
    return err;
}

static int setup_site(struct ps_control *control)
{
    char reason[256];
    struct ps_config *config = control->opts.config;
    control->opts.config = NULL;
    int err = ps_site_new_take(&control->site, config, NULL, &control->budget, control->metrics, control->caches,
                               ps_loop_now(control->loop), reason, sizeof reason);
    if (err != PS_OK) {
        ps_log(PS_LOG_ERROR, "the configuration can't be used", "reason", reason, NULL);
        return err;
    }
    ps_api_set_site(control->api, control->site);
    ps_engines_set_gateway(control->engines, control->site->gateway);
    set_gpu(control);
    return ps_health_set_gateway(control->health, control->site->gateway);
}

static int setup_access_log(struct ps_control *control, const struct ps_config *config)
{
    if (strcmp(config->access_log, "off") == 0) {
        return PS_OK;
    }
    int err = ps_access_log_new(&control->access_log, config->access_log);
    if (err != PS_OK) {
        ps_log(PS_LOG_ERROR, "the access log can't be opened", "path", config->access_log, "reason",
               ps_err_text(err), NULL);
    }
    return err != PS_OK ? err : ps_access_log_publish(control->access_log, control->metrics);
}

static const int handled_signals[] = {SIGHUP, SIGUSR1, SIGTERM, SIGINT};

static int setup_signals(struct ps_control *control)
{
    int err = PS_OK;
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < PS_ARRAY_LEN(handled_signals) && err == PS_OK; i++) {
        err = ps_loop_on_signal(control->loop, handled_signals[i], on_signal, control);
    }
    return err;
}

/* One more SIGTERM on the last steps must not make a proper end look like a broken one: held back while
 * the loop gives the handlers up, ignored from then on. */
static void hold_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < PS_ARRAY_LEN(handled_signals); i++) {
        sigaddset(&set, handled_signals[i]);
    }
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void ignore_signals(void)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(handled_signals); i++) {
        signal(handled_signals[i], SIG_IGN);
    }
}

static int setup_admin(struct ps_control *control)
{
    const struct ps_option_strings *listen = &control->site->config->admin.listen;
    struct ps_server_opts opts;
    if (listen->count == 0) {
        return PS_OK;
    }
    admin_opts(control, &opts);
    int err = ps_server_new(&control->admin, control->loop, &opts);
    for (size_t i = 0; i < listen->count && err == PS_OK; i++) {
        struct ps_address address;
        err = ps_address_parse(ps_str_from(listen->items[i]), &address);
        err = err != PS_OK ? err : ps_server_listen(control->admin, &address, control->site->tls);
        ps_control_log_listen("listening for administration", listen->items[i], err);
    }
    return err;
}

static int setup_workers(struct ps_control *control, unsigned workers)
{
    struct ps_address addresses[PS_CONTROL_LISTEN_MAX];
    size_t count;
    int err = ps_control_find_addresses(&control->site->config->listen, control->opts.default_listen, addresses,
                                        &count);
    for (unsigned i = 0; i < workers && err == PS_OK; i++) {
        int fds[PS_CONTROL_LISTEN_MAX];
        err = ps_control_open_listeners(addresses, count, fds);
        if (err != PS_OK) {
            break;
        }
        struct ps_worker_opts opts = {
            .index = i,
            .site = control->site,
            .metrics = control->metrics,
            .access_log = control->access_log,
            .finished = ps_gpu_finished(control->gpu),
            .peers = control->peers,
            .connections = &control->connections,
            .counter = &control->client_counter,
            .control = control->mailbox,
            .on_ask = on_worker_ask,
            .on_stopped = on_worker_stopped,
            .listen_fds = fds,
            .listen_count = count,
        };
        err = ps_worker_new(&control->workers[i], &opts);
        control->worker_count += err == PS_OK ? 1 : 0;
    }
    for (unsigned i = 0; i < control->worker_count && err == PS_OK; i++) {
        err = ps_worker_start(control->workers[i]);
        control->running += err == PS_OK ? 1 : 0;
    }
    if (err != PS_OK) {
        return err;
    }
    for (size_t i = 0; i < count; i++) {
        char text[PS_ADDRESS_TEXT];
        ps_control_log_listen("listening", ps_address_text(&addresses[i], text), PS_OK);
    }
    return PS_OK;
}

static int setup(struct ps_control *control)
{
    const struct ps_config *config = control->opts.config;
    unsigned workers = ps_config_workers(config);
    struct ps_health_observer observer = {on_change, on_resolve, on_reachable, control};
    raise_descriptors();
    ps_log_set_level((enum ps_log_level)config->log_level);
    control->budget.limit = (int64_t)ps_config_max_buffered(config);
    int err = ps_panel_new(&control->panel); /* first: it remembers what is logged */
    err = err != PS_OK ? err : setup_metrics(control, workers);
    err = err != PS_OK ? err : ps_loop_new(&control->loop, &ps_clock_real);
    err = err != PS_OK ? err : ps_mailbox_new(&control->mailbox, control->loop, control);
    err = err != PS_OK ? err : setup_signals(control);
    err = err != PS_OK ? err : setup_access_log(control, config);
    err = err != PS_OK ? err : ps_peers_new(&control->peers, (uint32_t)config->max_connections_per_address);
    err = err != PS_OK ? err : ps_custom_new(&control->custom, control->metrics, config->metrics.max_custom);
    err = err != PS_OK ? err
                       : ps_statsd_port_new(&control->statsd, &config->metrics.statsd, control->custom, control->metrics);
    err = err != PS_OK ? err : setup_api(control);
    err = err != PS_OK ? err : ps_engines_new(&control->engines, control->loop, control->metrics, on_settled, control);
    err = err != PS_OK ? err : ps_health_new(&control->health, control->loop, &observer);
    err = err != PS_OK ? err : setup_caches(control, config);
    err = err != PS_OK ? err : setup_gpu(control, config);
    err = err != PS_OK ? err : setup_recorder(control, config);
    err = err != PS_OK ? err : setup_panel(control, config);
    err = err != PS_OK ? err : setup_site(control);
    err = err != PS_OK ? err : setup_admin(control);
    return err != PS_OK ? err : setup_workers(control, workers);
}

static void stop_workers(struct ps_control *control)
{
    for (unsigned i = 0; i < control->worker_count; i++) {
        ps_worker_drain(control->workers[i], 0);
    }
    for (unsigned i = 0; i < control->worker_count; i++) {
        ps_worker_join(control->workers[i]);
    }
}

static void teardown(struct ps_control *control)
{
    hold_signals();
    stop_workers(control);
    ps_mailbox_free(control->mailbox); /* what was still asked is answered by what is still there */
    ps_recorder_cancel(control->recorder);
    ps_clerk_free(control->clerk);
    ps_server_free(control->admin);
    for (unsigned i = 0; i < control->worker_count; i++) {
        ps_worker_free(control->workers[i]);
    }
    ps_live_free(control->live); /* after everybody who takes connections to it */
    ps_health_free(control->health);
    ps_engines_free(control->engines);
    ps_recorder_free(control->recorder);
    ps_panel_free(control->panel);
    ps_gpu_free(control->gpu);
    ps_store_free(control->store);
    ps_statsd_port_free(control->statsd);
    ps_api_free(control->api);
    ps_otlp_free(control->otlp);
    ps_site_unref(control->site);
    ps_caches_free(control->caches);
    ps_peers_free(control->peers);
    ps_access_log_free(control->access_log);
    ps_loop_free(control->loop);
    ignore_signals();
    ps_process_free(control->process);
    ps_machine_free(control->machine);
    ps_metrics_free(control->metrics);
    ps_custom_free(control->custom);
    ps_config_free(control->opts.config);
}

int ps_control_run(const struct ps_control_opts *opts)
{
    struct ps_control *control = calloc(1, sizeof *control);
    if (control == NULL) {
        ps_log(PS_LOG_ERROR, "out of memory", NULL);
        return 1;
    }
    control->opts = *opts;
    int err = setup(control);
    if (err == PS_OK) {
        ps_loop_run(control->loop);
        ps_log(PS_LOG_INFO, "stopped", NULL);
    } else {
        ps_log(PS_LOG_ERROR, "can't start", "reason", ps_err_text(err), NULL);
        control->status = 1;
    }
    int status = control->status;
    teardown(control);
    free(control);
    return status;
}
