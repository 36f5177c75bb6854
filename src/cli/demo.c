/* demo - see demo.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/demo.h"

#include <assert.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/args.h"
#include "cli/child.h"
#include "cli/demo_cluster.h"
#include "cli/demo_config.h"
#include "cli/demo_engine.h"
#include "cli/demo_folder.h"
#include "cli/demo_place.h"
#include "cli/demo_traffic.h"
#include "cli/demo_view.h"
#include "io/address.h"
#include "io/loop.h"
#include "load/target.h"

#define READY_WITHIN (20 * PS_SECOND)
#define CLUSTER_WITHIN (60 * PS_SECOND)
#define ASK_EVERY (100 * PS_MILLISECOND)
#define GRACE (5 * PS_SECOND) /* that processes get to end */

/* The servers come first, then the gateways. */
enum { SIM_1, GATEWAY_1 = PS_DEMO_SERVERS, CHILDREN = GATEWAY_1 + PS_DEMO_GATEWAYS };

struct opts {
    const char *engine;
    const char *listen;
    bool cluster;
    double speed;
    ps_span duration;
    bool once;
    const char *data;
};

/* clang-format off */
static const struct ps_arg args[] = {
    {"--engine", PS_ARG_TEXT, offsetof(struct opts, engine), "NAME", "vllm",
     .help = "what the servers are", .names = ps_demo_engine_names},
    {"--listen", PS_ARG_TEXT, offsetof(struct opts, listen), "ADDR:PORT", "127.0.0.1:5000",
     .help = "where the gateway serves"},
    {"--cluster", PS_ARG_FLAG, offsetof(struct opts, cluster),
     .help = "two gateways, and a real Redis Cluster of six nodes behind them"},
    {"--speed", PS_ARG_DOUBLE, offsetof(struct opts, speed), "X", "1",
     .help = "play the traces this many times faster than recorded", .min = 0.01, .max = 1000},
    {"--duration", PS_ARG_SPAN, offsetof(struct opts, duration), "D",
     .help = "end after this long"},
    {"--once", PS_ARG_FLAG, offsetof(struct opts, once),
     .help = "end when the traces do, instead of serving on"},
    {"--data", PS_ARG_TEXT, offsetof(struct opts, data), "DIR",
     .help = "where the sample traces are, if not where they were installed"},
    {0},
};
/* clang-format on */

static int run_command(int argc, char **argv);

const struct ps_command ps_demo_command = {
    .name = "demo",
    .brief = "simulated servers, the gateway, recorded traffic: see it work",
    .summary = "Three simulated GPU servers, the gateway in front of them, and ten minutes of\n"
               "recorded traffic through it. The servers are simulated, the traffic and the\n"
               "gateway are real. With --cluster there are two gateways that share their\n"
               "answers in a Redis Cluster of six nodes, which are real too.",
    .args = args,
    .success = "it played until its end, or until it was asked to end",
    .failure = "something could not be started, a process died, or no request succeeded",
    .run = run_command,
};

/* Is a process ready yet? */
struct health {
    struct ps_probe *probe;
    bool ready;
};

struct demo {
    struct opts opts;
    struct ps_demo_folder folder;
    struct ps_loop *loop;
    struct ps_child children[CHILDREN];
    struct health health[CHILDREN];
    struct ps_probe *profile; /* of the gateway that cleans up */
    struct ps_probe *report;
    struct ps_demo_cluster cluster;
    struct ps_timer timer; /* asks for health, then draws */
    struct ps_timer end;   /* --duration */
    ps_time cluster_give_up; /* when the cluster must be ready */
    ps_time give_up;         /* when the rest must be; 0 = the gateways are not started yet */
    struct ps_demo_traffic traffic;
    size_t targets_ready;
    struct ps_demo_view view;
    bool running;  /* traffic flows */
    bool stopping; /* asked to */
    bool failed;
};

/* -------------------------------------------------------------------------------------- words */

/* One line that stays, above whatever is drawn. */
static void say(struct demo *demo, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct demo *demo, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    ps_screen_wipe(&demo->view.screen);
    vprintf(format, list);
    va_end(list);
    printf("\n");
    fflush(stdout);
}

static void fail(struct demo *demo, const char *what, const char *why)
{
    ps_screen_leave(&demo->view.screen);
    fprintf(stderr, "penstock demo: %s%s%s\n", what, why[0] == '\0' ? "" : ": ", why);
    demo->failed = true;
    ps_loop_stop(demo->loop);
}

/* --------------------------------------------------------------------------------- addresses */

/* Where a gateway will be: at the address, or on a free port when that one is taken. */
static int choose_address(struct demo *demo, struct ps_demo_gateway *gateway,
                          struct ps_address *address)
{
    char wanted[PS_ADDRESS_TEXT];
    bool moved = false;
    ps_address_text(address, wanted);
    int err = ps_demo_place_take(demo->loop, address, &moved);
    if (err != PS_OK) {
        fprintf(stderr, "penstock demo: %s: %s\n", wanted, ps_err_text(err));
        return 1;
    }
    ps_address_text(address, gateway->address);
    snprintf(gateway->url, sizeof gateway->url, "http://%s", gateway->address);
    if (moved) {
        say(demo, "%s is taken by another program, so the gateway goes to\n%s", wanted,
            gateway->address);
    }
    return 0;
}

/* The second gateway has the next port. */
static int choose_addresses(struct demo *demo)
{
    struct ps_demo_view *view = &demo->view;
    struct ps_address address;
    if (ps_address_parse(ps_str_from(demo->opts.listen), &address) != PS_OK) {
        return ps_args_usage_error(&ps_demo_command, "--listen %s: expected an address such as "
                                             "127.0.0.1:5000", demo->opts.listen);
    }
    int status = 0;
    for (size_t i = 0; status == 0 && i < view->gateway_count; i++) {
        status = choose_address(demo, &view->gateways[i], &address);
        unsigned next = ps_address_port(&address) + 1u;
        ps_address_set_port(&address, next <= UINT16_MAX ? (uint16_t)next : 0);
    }
    return status;
}

/* ---------------------------------------------------------------------------------- processes */

static int start_server(struct demo *demo, size_t which)
{
    char at[PS_ADDRESS_TEXT];
    char log[PS_CHILD_PATH];
    struct ps_address address;
    int err = ps_demo_place_free(demo->loop, &address);
    if (err != PS_OK) {
        fail(demo, "no free port", ps_err_text(err));
        return err;
    }
    ps_address_text(&address, at);
    struct ps_demo_server *server = &demo->view.servers[which];
    snprintf(server->url, sizeof server->url, "http://%s", at);
    demo->view.story.gauges[which].address = server->url + strlen("http://");
    snprintf(log, sizeof log, "%s/server-%zu.log", demo->folder.path, which + 1);
    struct ps_child *child = &demo->children[SIM_1 + which];
    err = ps_demo_server_start(child, demo->view.engine, which, at, log);
    if (err != PS_OK) {
        fail(demo, child->name, ps_err_text(err));
    }
    return err;
}

static int start_gateway(struct demo *demo, size_t which)
{
    static char program[] = "penstock";
    static char word[] = "serve";
    static char option[] = "--config";
    const struct ps_demo_view *view = &demo->view;
    const char *servers[PS_DEMO_SERVERS];
    for (size_t i = 0; i < PS_DEMO_SERVERS; i++) {
        servers[i] = view->servers[i].url;
    }
    char file[128];
    snprintf(file, sizeof file, "%s/gateway-%zu.yaml", demo->folder.path, which + 1);
    struct ps_demo_config config = {
        .listen = view->gateways[which].address,
        .servers = servers,
        .cleans = which == 0,
        .nodes = demo->opts.cluster ? demo->cluster.list : NULL,
    };
    int err = ps_demo_config_write(&config, file);
    if (err != PS_OK) {
        fail(demo, file, ps_err_text(err));
        return err;
    }
    char *const argv[] = {program, word, option, file, NULL};
    const char *name = which == 0 ? "the gateway" : "the second gateway";
    char log[PS_CHILD_PATH];
    snprintf(log, sizeof log, "%s/gateway-%zu.log", demo->folder.path, which + 1);
    err = ps_child_start(&demo->children[GATEWAY_1 + which], name, argv, log);
    if (err != PS_OK) {
        fail(demo, name, ps_err_text(err));
    }
    return err;
}

static int start_gateways(struct demo *demo, ps_time now)
{
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && i < demo->view.gateway_count; i++) {
        err = start_gateway(demo, i);
    }
    demo->give_up = now + READY_WITHIN;
    return err;
}

static int start_cluster(struct demo *demo)
{
    int err = ps_demo_cluster_start(&demo->cluster, demo->loop, demo->folder.path);
    if (err == PS_ENOTFOUND) {
        fail(demo, "--cluster needs redis-server and redis-cli, or Valkey's, and they are not installed",
             "apt-get install redis-server redis-tools; `make run CLUSTER=1` does it by itself");
    } else if (err != PS_OK) {
        fail(demo, "the Redis Cluster could not be started", ps_err_text(err));
    }
    return err;
}

static void fail_child(struct demo *demo, const struct ps_child *child)
{
    char text[64];
    fail(demo, child->name, ps_child_end_text(child, text, sizeof text));
    fprintf(stderr, "its last words:\n");
    ps_child_print_log(child, stderr);
}

/* The gateways live without Redis; only the demo's beginning does not. */
static void watch_nodes(struct demo *demo)
{
    char text[64];
    for (size_t i = 0; i < PS_DEMO_CLUSTER_NODES; i++) {
        struct ps_child *node = &demo->cluster.nodes[i];
        if (!node->running || ps_child_poll(node) || demo->stopping || demo->failed) {
            continue;
        }
        if (demo->cluster.state == PS_DEMO_CLUSTER_READY) {
            say(demo, "%s %s: the gateways go on without it.", node->name,
                ps_child_end_text(node, text, sizeof text));
        } else {
            fail_child(demo, node);
        }
    }
}

static void on_child_signal(void *ctx, int signum)
{
    struct demo *demo = ctx;
    (void)signum;
    for (int i = 0; i < CHILDREN; i++) {
        struct ps_child *child = &demo->children[i];
        if (child->running && !ps_child_poll(child) && !demo->stopping && !demo->failed) {
            fail_child(demo, child);
        }
    }
    watch_nodes(demo);
}

/* ------------------------------------------------------------------------------------ traffic */

static void on_traffic_end(void *ctx, int err, const char *why)
{
    struct demo *demo = ctx;
    if (err != PS_OK) {
        fail(demo, "the sample is damaged", why);
        return;
    }
    demo->view.over = true;
    if (demo->opts.once) {
        demo->stopping = true;
        ps_loop_stop(demo->loop);
        return;
    }
    say(demo, "The recorded traffic is at its end and is not repeated.\n%s serves on; Ctrl-C ends it.",
        demo->view.gateways[0].url);
}

static void on_end_time(struct ps_timer *timer, ps_time now)
{
    struct demo *demo = PS_CONTAINER_OF(timer, struct demo, end);
    (void)now;
    demo->stopping = true;
    ps_loop_stop(demo->loop);
}

static void on_target(void *ctx, int err, const char *why)
{
    struct demo *demo = ctx;
    if (err != PS_OK) {
        fail(demo, "the gateway", why);
        return;
    }
    if (++demo->targets_ready < demo->view.gateway_count) {
        return;
    }
    demo->running = true;
    demo->view.began = ps_loop_now(demo->loop);
    demo->view.drawn = demo->view.began;
    if (ps_demo_traffic_start(&demo->traffic) != PS_OK) {
        fail(demo, demo->traffic.error, "");
        return;
    }
    demo->end.on_time = on_end_time;
    if (demo->opts.duration > 0 &&
        ps_timer_set(demo->loop, &demo->end, demo->view.began + demo->opts.duration) != PS_OK) {
        fail(demo, ps_err_text(PS_ENOMEM), "");
    }
}

static void start_traffic(struct demo *demo)
{
    const struct ps_demo_view *view = &demo->view;
    struct ps_target_error error;
    say(demo, "Open %s in a browser, or ask it:", view->gateways[0].url);
    say(demo, "  curl %s%s", view->gateways[0].url, view->engine->example);
    for (size_t i = 0; i < view->gateway_count; i++) {
        struct ps_target_opts target = {.url = view->gateways[i].url};
        if (ps_target_new(&demo->traffic.targets[i], demo->loop, &target, on_target, demo, &error) !=
            PS_OK) {
            fail(demo, error.text, "");
            return;
        }
    }
}

/* --------------------------------------------------------------------------------- beginning */

static void on_health(void *ctx, int status)
{
    struct health *health = ctx;
    health->ready = health->ready || status == 200;
}

/* How many of the processes there are. */
static int used_children(const struct demo *demo)
{
    return GATEWAY_1 + (int)demo->view.gateway_count;
}

/* The first that is not ready; NULL = all are. */
static const struct ps_child *find_unready(const struct demo *demo)
{
    for (int i = 0; i < used_children(demo); i++) {
        if (!demo->health[i].ready) {
            return &demo->children[i];
        }
    }
    return NULL;
}

/* The gateways are started when the cluster is there, so that they begin with a sound one. */
static void await_cluster(struct demo *demo, ps_time now)
{
    enum ps_demo_cluster_state state = ps_demo_cluster_step(&demo->cluster);
    if (state == PS_DEMO_CLUSTER_FAILED) {
        fail_child(demo, &demo->cluster.joiner);
    } else if (state == PS_DEMO_CLUSTER_READY) {
        (void)start_gateways(demo, now);
    } else if (now > demo->cluster_give_up) {
        fail(demo, "the Redis Cluster", "it was not ready within 60 s");
    }
}

static void await_ready(struct demo *demo, ps_time now)
{
    const struct ps_child *unready = find_unready(demo);
    if (unready == NULL) {
        start_traffic(demo);
        return;
    }
    if (now > demo->give_up) {
        fail(demo, unready->name, "it was not ready within 20 s");
        return;
    }
    for (int i = 0; i < used_children(demo); i++) {
        if (!demo->health[i].ready) {
            ps_probe_ask(demo->health[i].probe);
        }
    }
}

static void ask_metrics(struct demo *demo)
{
    for (size_t i = 0; i < PS_DEMO_SERVERS; i++) {
        ps_probe_ask(demo->view.servers[i].state);
    }
    for (size_t i = 0; i < demo->view.gateway_count; i++) {
        ps_probe_ask(demo->view.gateways[i].metrics);
        ps_probe_ask(demo->view.gateways[i].cache);
    }
    ps_probe_ask(demo->profile);
    ps_probe_ask(demo->report);
}

/* ------------------------------------------------------------------------------------ memory */

static void on_profile(void *ctx, int status)
{
    struct demo *demo = ctx;
    if (status == 200) {
        ps_demo_story_profile(&demo->view.story, ps_loop_now(demo->loop), ps_probe_body(demo->profile));
    }
}

static void on_report(void *ctx, int status)
{
    struct demo *demo = ctx;
    if (status == 200) {
        ps_demo_story_report(&demo->view.story, ps_loop_now(demo->loop), ps_probe_body(demo->report));
    }
}

static void on_timer(struct ps_timer *timer, ps_time now)
{
    struct demo *demo = PS_CONTAINER_OF(timer, struct demo, timer);
    ps_span lines_every = demo->view.over ? PS_MINUTE : 3 * PS_SECOND;
    ps_span draw_every = demo->view.screen.terminal ? PS_SECOND : lines_every;
    ps_span pause = ASK_EVERY;
    if (demo->running) {
        if (now - demo->view.drawn >= draw_every - ASK_EVERY) {
            ps_demo_view_draw(&demo->view, now);
        }
        ask_metrics(demo);
        pause = PS_SECOND;
    } else if (demo->give_up == 0) {
        await_cluster(demo, now);
    } else if (demo->traffic.targets[0] == NULL) {
        await_ready(demo, now);
    }
    if (ps_timer_set(demo->loop, timer, now + pause) != PS_OK) {
        fail(demo, ps_err_text(PS_ENOMEM), "");
    }
}

static int make_health(struct demo *demo, int which, const char *url, const char *path)
{
    struct health *health = &demo->health[which];
    return ps_probe_new(&health->probe, demo->loop, url, path, on_health, health);
}

static int make_server_probes(struct demo *demo, size_t which)
{
    struct ps_demo_server *server = &demo->view.servers[which];
    int err = make_health(demo, SIM_1 + (int)which, server->url, "/sim/state");
    return err != PS_OK
               ? err
               : ps_probe_new(&server->state, demo->loop, server->url, "/sim/state", NULL, NULL);
}

static int make_gateway_probes(struct demo *demo, size_t which)
{
    struct ps_demo_gateway *gateway = &demo->view.gateways[which];
    const struct {
        struct ps_probe **probe;
        const char *path;
    } rows[] = {
        {&gateway->metrics, "/metrics"},
        {&gateway->cache, "/api/cache/stats"},
    };
    int err = make_health(demo, GATEWAY_1 + (int)which, gateway->url, "/readyz");
    for (size_t i = 0; err == PS_OK && i < PS_ARRAY_LEN(rows); i++) {
        err = ps_probe_new(rows[i].probe, demo->loop, gateway->url, rows[i].path, NULL, NULL);
    }
    return err;
}

static int make_probes(struct demo *demo)
{
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && i < PS_DEMO_SERVERS; i++) {
        err = make_server_probes(demo, i);
    }
    for (size_t i = 0; err == PS_OK && i < demo->view.gateway_count; i++) {
        err = make_gateway_probes(demo, i);
    }
    const char *cleaner = demo->view.gateways[0].url;
    err = err != PS_OK ? err
                       : ps_probe_new(&demo->profile, demo->loop, cleaner, "/api/gpu/profile",
                                      on_profile, demo);
    return err != PS_OK ? err
                        : ps_probe_new(&demo->report, demo->loop, cleaner, "/api/gpu/report",
                                       on_report, demo);
}

static int find_data(struct demo *demo)
{
    bool found = ps_demo_traffic_find(&demo->traffic, demo->opts.data);
    if (!found) {
        fprintf(stderr,
                "penstock demo: " PS_DEMO_CHAT_TRACE " and " PS_DEMO_KEY_TRACE " are not in %s%s\n",
                demo->traffic.data, demo->opts.data != NULL ? "" : ": say with --data where they are");
    }
    return found ? 0 : 1;
}

static int make_folder(struct demo *demo)
{
    int err = ps_demo_folder_make(&demo->folder);
    if (err != PS_OK) {
        fprintf(stderr, "penstock demo: no folder in /tmp: %s\n", ps_err_text(err));
    }
    return err == PS_OK ? 0 : 1;
}

static void on_stop_signal(void *ctx, int signum)
{
    struct demo *demo = ctx;
    (void)signum;
    demo->stopping = true;
    ps_loop_stop(demo->loop);
}

static int make_loop(struct demo *demo)
{
    static const int stops[] = {SIGINT, SIGTERM, SIGHUP};
    int err = ps_loop_new(&demo->loop, &ps_clock_real);
    for (size_t i = 0; err == PS_OK && i < PS_ARRAY_LEN(stops); i++) {
        err = ps_loop_on_signal(demo->loop, stops[i], on_stop_signal, demo);
    }
    if (err == PS_OK) {
        err = ps_loop_on_signal(demo->loop, SIGCHLD, on_child_signal, demo);
    }
    if (err != PS_OK) {
        fprintf(stderr, "penstock demo: %s\n", ps_err_text(err));
    }
    return err == PS_OK ? 0 : 1;
}

static int start_processes(struct demo *demo, ps_time now)
{
    int err = demo->opts.cluster ? start_cluster(demo) : PS_OK; /* it takes longest */
    demo->cluster_give_up = now + CLUSTER_WITHIN;
    for (size_t i = 0; err == PS_OK && i < PS_DEMO_SERVERS; i++) {
        err = start_server(demo, i);
    }
    if (err == PS_OK && !demo->opts.cluster) {
        err = start_gateways(demo, now);
    }
    return err;
}

static int start_all(struct demo *demo)
{
    int status = choose_addresses(demo);
    if (status != 0) {
        return status;
    }
    ps_time now = ps_loop_now(demo->loop);
    demo->traffic.loop = demo->loop;
    if (start_processes(demo, now) != PS_OK) {
        return 1;
    }
    demo->timer.on_time = on_timer;
    int err = make_probes(demo);
    if (err == PS_OK) {
        err = ps_timer_set(demo->loop, &demo->timer, now);
    }
    if (err != PS_OK) {
        fprintf(stderr, "penstock demo: %s\n", ps_err_text(err));
    }
    return err == PS_OK ? 0 : 1;
}

/* ----------------------------------------------------------------------------------- ending */

static void print_lane(const struct demo *demo, const struct ps_demo_lane *lane, const char *file)
{
    struct ps_buf text = ps_buf_make(1u << 16);
    struct ps_tally_title title = {
        .name = lane->name,
        .source = file,
        .target = demo->view.gateways[0].url,
        .speed = lane->speed,
    };
    if (ps_tally_text(ps_generator_tally(lane->generator), &title, &text) == PS_OK) {
        printf("\n%.*s", PS_STR_ARG(ps_buf_str(&text)));
    }
    ps_buf_fini(&text);
}

/* Prints what came of the traffic; the exit status. */
static int sum_up(struct demo *demo)
{
    uint64_t succeeded = 0;
    uint64_t ended = 0;
    ps_screen_leave(&demo->view.screen);
    for (size_t i = 0; i < PS_DEMO_LANES; i++) {
        struct ps_demo_lane *lane = &demo->view.lanes[i];
        if (lane->generator != NULL) {
            ps_generator_stop(lane->generator);
            print_lane(demo, lane, ps_demo_traffic_files[i]);
            succeeded += ps_generator_tally(lane->generator)->succeeded;
            ended += ps_tally_ended(ps_generator_tally(lane->generator));
        }
    }
    fflush(stdout);
    return demo->failed || (ended > 0 && succeeded == 0) ? 1 : 0;
}

static void teardown(struct demo *demo)
{
    for (size_t i = 0; i < PS_DEMO_LANES; i++) {
        ps_generator_free(demo->view.lanes[i].generator);
        ps_catalogue_free(demo->view.lanes[i].catalogue);
    }
    for (size_t i = 0; i < PS_DEMO_GATEWAYS; i++) {
        ps_target_free(demo->traffic.targets[i]);
        ps_probe_free(demo->view.gateways[i].metrics);
        ps_probe_free(demo->view.gateways[i].cache);
    }
    for (int i = 0; i < CHILDREN; i++) {
        ps_probe_free(demo->health[i].probe);
    }
    ps_probe_free(demo->profile);
    ps_probe_free(demo->report);
    for (size_t i = 0; i < PS_DEMO_SERVERS; i++) {
        ps_probe_free(demo->view.servers[i].state);
    }
    /* The gateways first: while they drain they still have servers to drain to. */
    ps_child_end_all(&demo->children[GATEWAY_1], PS_DEMO_GATEWAYS, GRACE);
    ps_child_end_all(&demo->children[SIM_1], PS_DEMO_SERVERS, GRACE);
    ps_child_end_all(&demo->cluster.joiner, 1, GRACE);
    ps_child_end_all(demo->cluster.nodes, PS_DEMO_CLUSTER_NODES, GRACE);
    ps_loop_free(demo->loop);
    ps_demo_folder_remove(&demo->folder);
}

static int execute(struct demo *demo)
{
    int status = find_data(demo);
    status = status != 0 ? status : make_folder(demo);
    status = status != 0 ? status : make_loop(demo);
    status = status != 0 ? status : start_all(demo);
    if (status != 0) {
        return status;
    }
    say(demo, demo->opts.cluster
                  ? "Starting three simulated GPU servers, a Redis Cluster of six nodes and two gateways ..."
                  : "Starting three simulated GPU servers and the gateway ...");
    ps_loop_run(demo->loop);
    ps_timer_clear(demo->loop, &demo->timer);
    ps_timer_clear(demo->loop, &demo->end);
    return sum_up(demo);
}

static int run_command(int argc, char **argv)
{
    struct demo *demo = calloc(1, sizeof *demo);
    if (demo == NULL) {
        fprintf(stderr, "penstock demo: %s\n", ps_err_text(PS_ENOMEM));
        return 1;
    }
    int status = 2;
    int err = ps_args_parse(&ps_demo_command, argc, argv, &demo->opts);
    if (err == PS_OK) {
        (void)signal(SIGPIPE, SIG_IGN);
        ps_screen_init(&demo->view.screen, stdout);
        demo->view.speed = demo->opts.speed;
        demo->view.gateway_count = demo->opts.cluster ? 2 : 1;
        demo->view.engine = ps_demo_engine_find(demo->opts.engine);
        demo->traffic.view = &demo->view;
        demo->traffic.speed = demo->opts.speed;
        demo->traffic.on_end = on_traffic_end;
        demo->traffic.ctx = demo;
        status = execute(demo);
    } else if (err == PS_ECANCELED) {
        status = 0;
    }
    teardown(demo);
    free(demo);
    return status;
}
