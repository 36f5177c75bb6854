/* demo - see demo.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/demo.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/args.h"
#include "cli/child.h"
#include "cli/demo_engine.h"
#include "cli/demo_view.h"
#include "io/address.h"
#include "io/loop.h"
#include "io/stream.h"
#include "load/target.h"

#define CHAT_TRACE "azure2023_conv_10min.csv.gz"
#define KEY_TRACE "cache2k_web07_20k.u32be.gz"
#define KEY_RATE (20000.0 / 600) /* both samples end together */
#define MODEL "sim"

#define READY_WITHIN (20 * PS_SECOND)
#define ASK_EVERY (100 * PS_MILLISECOND)
#define GRACE 5.0 /* seconds that processes get to end */
#define IN_FLIGHT_MAX 4096
#define REQUEST_TIMEOUT (120 * PS_SECOND)

enum { SIM_1, SIM_2, GATEWAY, CHILDREN };
static_assert(GATEWAY == PS_DEMO_SERVERS, "the servers come first");

struct opts {
    const char *engine;
    const char *listen;
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
    .brief = "two simulated servers, the gateway, recorded traffic: see it work",
    .summary = "Two simulated GPU servers, the gateway in front of them, and ten minutes of\n"
               "recorded traffic through it. The servers are simulated, the traffic and the\n"
               "gateway are real.",
    .args = args,
    .success = "it played until its end, or until it was asked to end",
    .failure = "something could not be started, a process died, or no request succeeded",
    .run = run_command,
};

struct demo {
    struct opts opts;
    char folder[64]; /* of the logs; "" = none */
    char data[4096];
    struct ps_loop *loop;
    struct ps_child children[CHILDREN];
    struct ps_probe *health[CHILDREN];
    bool ready[CHILDREN];
    struct ps_timer timer; /* asks for health, then draws */
    struct ps_timer end;   /* --duration */
    ps_time give_up;       /* when everything must be ready */
    struct ps_target *target;
    struct ps_demo_view view;
    size_t lanes_begun;
    size_t lanes_ended;
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

/* Finds a free port at the address (its port 0), or tells whether its port is free. */
static int try_address(struct demo *demo, struct ps_address *address)
{
    struct ps_listener *listener = NULL;
    int fd = -1;
    int err = ps_listen(address, &fd);
    if (err != PS_OK) {
        return err;
    }
    err = ps_listener_adopt(&listener, demo->loop, fd, NULL, NULL);
    if (err == PS_OK) {
        *address = *ps_listener_address(listener);
        ps_listener_free(listener);
    }
    return err;
}

static int free_loopback(struct demo *demo, struct ps_address *address)
{
    int err = ps_address_parse(PS_STR("127.0.0.1:0"), address);
    return err == PS_OK ? try_address(demo, address) : err;
}

/* SO_REUSEPORT lets us listen beside another program of the same user: whether the port is taken is
 * told by a connection, not by a bind. */
static bool is_taken(const struct ps_address *address)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool taken = fd >= 0 && connect(fd, (const struct sockaddr *)&address->storage,
                                    address->len) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return taken;
}

/* Where the gateway will be: as asked, or on a free port when that one is taken. */
static int choose_address(struct demo *demo, struct ps_address *address)
{
    char text[PS_ADDRESS_TEXT];
    if (ps_address_parse(ps_str_from(demo->opts.listen), address) != PS_OK) {
        return ps_args_usage_error(&ps_demo_command, "--listen %s: expected an address such as "
                                             "127.0.0.1:5000", demo->opts.listen);
    }
    int err = is_taken(address) ? PS_EINUSE : try_address(demo, address);
    if (err == PS_EINUSE) {
        ps_address_set_port(address, 0);
        err = try_address(demo, address);
        say(demo, "%s is taken by another program, so the gateway goes to\n%s", demo->opts.listen,
            ps_address_text(address, text));
    }
    if (err != PS_OK) {
        fprintf(stderr, "penstock demo: %s: %s\n", demo->opts.listen, ps_err_text(err));
        return 1;
    }
    return 0;
}

/* ---------------------------------------------------------------------------------- processes */

static int start_child(struct demo *demo, int which, const char *name, char *const *argv)
{
    char log[PS_CHILD_PATH];
    snprintf(log, sizeof log, "%s/%d.log", demo->folder, which);
    int err = ps_child_start(&demo->children[which], name, argv, log);
    if (err != PS_OK) {
        fail(demo, name, ps_err_text(err));
    }
    return err;
}

static int start_sim(struct demo *demo, int which)
{
    static char program[] = "penstock";
    static char word[] = "sim";
    static char listen[] = "--listen";
    static char engine[] = "--engine";
    static char parallel[] = "--max-num-seqs";
    static char seed[] = "--seed";
    static char seeds[PS_DEMO_SERVERS][2] = {"1", "2"};
    static const char *const names[] = {"simulated GPU server 1", "simulated GPU server 2"};
    char at[PS_ADDRESS_TEXT];
    char kind[32];
    char sequences[32];
    const struct ps_demo_engine *plays = demo->view.engine;
    struct ps_address address;
    int err = free_loopback(demo, &address);
    if (err != PS_OK) {
        fail(demo, "no free port", ps_err_text(err));
        return err;
    }
    ps_address_text(&address, at);
    snprintf(demo->view.servers[which].url, sizeof demo->view.servers[0].url, "http://%s", at);
    snprintf(kind, sizeof kind, "%s", plays->name);
    snprintf(sequences, sizeof sequences, "%s", plays->parallel == NULL ? "" : plays->parallel);
    char *const argv[] = {program, word, engine, kind, listen, at, seed, seeds[which],
                          plays->parallel == NULL ? NULL : parallel, sequences, NULL};
    return start_child(demo, which, names[which], argv);
}

static int start_gateway(struct demo *demo, const struct ps_address *address)
{
    static char program[] = "penstock";
    static char word[] = "serve";
    static char listen[] = "--listen";
    static char upstream[] = "--upstream";
    char at[PS_ADDRESS_TEXT];
    ps_address_text(address, at);
    snprintf(demo->view.url, sizeof demo->view.url, "http://%s", at);
    char *const argv[] = {program, word, listen, at, upstream, demo->view.servers[SIM_1].url,
                          upstream, demo->view.servers[SIM_2].url, NULL};
    return start_child(demo, GATEWAY, "the gateway", argv);
}

static void on_child_signal(void *ctx, int signum)
{
    struct demo *demo = ctx;
    char text[64];
    (void)signum;
    for (int i = 0; i < CHILDREN; i++) {
        struct ps_child *child = &demo->children[i];
        if (child->running && !ps_child_poll(child) && !demo->stopping && !demo->failed) {
            fail(demo, child->name, ps_child_end_text(child, text, sizeof text));
            fprintf(stderr, "its last words:\n");
            ps_child_print_log(child, stderr);
        }
    }
}

static bool any_running(struct demo *demo, int from)
{
    bool running = false;
    for (int i = from; i < CHILDREN; i++) {
        running = ps_child_poll(&demo->children[i]) || running;
    }
    return running;
}

static double monotonic(void)
{
    return ps_span_seconds(ps_clock_now(&ps_clock_real));
}

/* Ends the processes from..CHILDREN: politely, then not. The loop is over, so waiting is sleeping. */
static void end_children(struct demo *demo, int from)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    double deadline = monotonic() + GRACE;
    for (int i = from; i < CHILDREN; i++) {
        ps_child_signal(&demo->children[i], SIGTERM);
    }
    while (any_running(demo, from) && monotonic() < deadline) {
        nanosleep(&pause, NULL);
    }
    for (int i = from; i < CHILDREN; i++) {
        ps_child_signal(&demo->children[i], SIGKILL);
    }
    while (any_running(demo, from)) {
        nanosleep(&pause, NULL);
    }
}

/* ------------------------------------------------------------------------------------ traffic */

static void on_lane_end(struct demo *demo, struct ps_demo_lane *lane, int err)
{
    if (err != PS_OK) {
        fail(demo, "the sample is damaged", ps_replay_error(lane->replay));
        return;
    }
    if (++demo->lanes_ended < demo->lanes_begun) {
        return;
    }
    if (demo->opts.once) {
        demo->stopping = true;
        ps_loop_stop(demo->loop);
        return;
    }
    say(demo, "The recorded traffic is at its end and is not repeated.\n%s serves on; Ctrl-C ends it.",
        demo->view.url);
}

static void on_chat_end(void *ctx, int err)
{
    struct demo *demo = ctx;
    on_lane_end(demo, &demo->view.lanes[0], err);
}

static void on_key_end(void *ctx, int err)
{
    struct demo *demo = ctx;
    on_lane_end(demo, &demo->view.lanes[1], err);
}

static void on_chat_result(void *ctx, const struct ps_session_result *result)
{
    struct demo *demo = ctx;
    ps_demo_view_add(&demo->view.lanes[0], result);
}

static void on_key_result(void *ctx, const struct ps_session_result *result)
{
    struct demo *demo = ctx;
    ps_demo_view_add(&demo->view.lanes[1], result);
}

static const struct ps_replay_ops lane_ops[PS_DEMO_LANES] = {
    {.on_result = on_chat_result, .on_end = on_chat_end},
    {.on_result = on_key_result, .on_end = on_key_end},
};

static int start_lane(struct demo *demo, size_t which, const char *file, double key_rate)
{
    char path[4200];
    struct ps_plan *plan = NULL;
    struct ps_plan_error error;
    snprintf(path, sizeof path, "%s/%s", demo->data, file);
    struct ps_plan_opts source = {.path = path, .seed = 1, .key_rate = key_rate};
    int err = ps_plan_open(&plan, &source, &error);
    if (err != PS_OK) {
        fail(demo, error.text, "");
        return err;
    }
    struct ps_replay_opts opts = {
        .pace = {.speed = demo->opts.speed},
        .prompt = {.model = MODEL, .ignore_eos = true, .protocol = demo->view.engine->protocol},
        .max_in_flight = IN_FLIGHT_MAX,
        .timeout = REQUEST_TIMEOUT,
    };
    struct ps_demo_lane *lane = &demo->view.lanes[which];
    err = ps_replay_new(&lane->replay, demo->loop, demo->target, plan, &opts, &lane_ops[which],
                        demo);
    if (err != PS_OK) {
        fail(demo, file, ps_err_text(err));
        return err;
    }
    demo->lanes_begun++;
    ps_replay_start(lane->replay);
    return PS_OK;
}

/* What the engine can't be asked for is not played. */
static int start_lanes(struct demo *demo)
{
    const struct ps_demo_engine *engine = demo->view.engine;
    int err = PS_OK;
    demo->view.lanes[0].name = engine->chats;
    demo->view.lanes[1].name = "embeddings";
    if (engine->chats != NULL) {
        err = start_lane(demo, 0, CHAT_TRACE, 0);
    }
    if (err == PS_OK && engine->embeddings) {
        err = start_lane(demo, 1, KEY_TRACE, KEY_RATE);
    }
    return err;
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
    demo->running = true;
    demo->view.began = ps_loop_now(demo->loop);
    demo->view.drawn = demo->view.began;
    if (start_lanes(demo) != PS_OK) {
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
    struct ps_target_opts target = {.url = demo->view.url};
    struct ps_target_error error;
    say(demo, "Open %s in a browser, or ask it:", demo->view.url);
    say(demo, "  curl %s%s", demo->view.url, demo->view.engine->example);
    if (ps_target_new(&demo->target, demo->loop, &target, on_target, demo, &error) != PS_OK) {
        fail(demo, error.text, "");
    }
}

/* --------------------------------------------------------------------------------- beginning */

static void on_health(struct demo *demo, int which, int status)
{
    demo->ready[which] = demo->ready[which] || status == 200;
}

static void on_sim_1(void *ctx, int status)
{
    on_health(ctx, SIM_1, status);
}

static void on_sim_2(void *ctx, int status)
{
    on_health(ctx, SIM_2, status);
}

static void on_gateway(void *ctx, int status)
{
    on_health(ctx, GATEWAY, status);
}

static bool all_ready(const struct demo *demo)
{
    bool ready = true;
    for (int i = 0; i < CHILDREN; i++) {
        ready = ready && demo->ready[i];
    }
    return ready;
}

static const char *name_of_unready(const struct demo *demo)
{
    for (int i = 0; i < CHILDREN; i++) {
        if (!demo->ready[i]) {
            return demo->children[i].name;
        }
    }
    return "";
}

static void await_ready(struct demo *demo, ps_time now)
{
    if (all_ready(demo)) {
        start_traffic(demo);
        return;
    }
    if (now > demo->give_up) {
        fail(demo, name_of_unready(demo), "it was not ready within 20 s");
        return;
    }
    for (int i = 0; i < CHILDREN; i++) {
        if (!demo->ready[i]) {
            ps_probe_ask(demo->health[i]);
        }
    }
}

static void ask_metrics(struct demo *demo)
{
    for (size_t i = 0; i < PS_DEMO_SERVERS; i++) {
        ps_probe_ask(demo->view.servers[i].state);
    }
    ps_probe_ask(demo->view.gateway);
}

static void on_timer(struct ps_timer *timer, ps_time now)
{
    struct demo *demo = PS_CONTAINER_OF(timer, struct demo, timer);
    ps_span draw_every = demo->view.screen.terminal ? PS_SECOND : 3 * PS_SECOND;
    ps_span pause = ASK_EVERY;
    if (demo->running) {
        if (now - demo->view.drawn >= draw_every - ASK_EVERY) {
            ps_demo_view_draw(&demo->view, now);
        }
        ask_metrics(demo);
        pause = PS_SECOND;
    } else if (demo->target == NULL) {
        await_ready(demo, now);
    }
    if (ps_timer_set(demo->loop, timer, now + pause) != PS_OK) {
        fail(demo, ps_err_text(PS_ENOMEM), "");
    }
}

static int make_probes(struct demo *demo)
{
    struct ps_demo_view *view = &demo->view;
    const struct {
        struct ps_probe **probe;
        const char *url;
        const char *path;
        ps_probe_fn *on_answer;
    } rows[] = {
        {&demo->health[SIM_1], view->servers[SIM_1].url, "/sim/state", on_sim_1},
        {&demo->health[SIM_2], view->servers[SIM_2].url, "/sim/state", on_sim_2},
        {&demo->health[GATEWAY], view->url, "/readyz", on_gateway},
        {&view->servers[SIM_1].state, view->servers[SIM_1].url, "/sim/state", NULL},
        {&view->servers[SIM_2].state, view->servers[SIM_2].url, "/sim/state", NULL},
        {&view->gateway, view->url, "/metrics", NULL},
    };
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && i < PS_ARRAY_LEN(rows); i++) {
        err = ps_probe_new(rows[i].probe, demo->loop, rows[i].url, rows[i].path, rows[i].on_answer,
                           demo);
    }
    return err;
}

/* Are the samples in this folder? Then it is the one. */
static bool is_data(struct demo *demo, const char *start, const char *end)
{
    char file[4200];
    snprintf(demo->data, sizeof demo->data, "%s%s", start, end);
    snprintf(file, sizeof file, "%s/%s", demo->data, CHAT_TRACE);
    if (access(file, R_OK) != 0) {
        return false;
    }
    snprintf(file, sizeof file, "%s/%s", demo->data, KEY_TRACE);
    return access(file, R_OK) == 0;
}

/* The samples stand beside the program: installed in ../share/penstock, in a checkout in ../data. */
static int find_data(struct demo *demo)
{
    char self[3900];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[len < 0 ? 0 : len] = '\0';
    char *slash = strrchr(self, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    bool found = demo->opts.data != NULL
                     ? is_data(demo, demo->opts.data, "")
                     : is_data(demo, self, "/../share/penstock") || is_data(demo, self, "/../data");
    if (!found) {
        fprintf(stderr, "penstock demo: " CHAT_TRACE " and " KEY_TRACE " are not in %s%s\n",
                demo->data, demo->opts.data != NULL ? "" : ": say with --data where they are");
    }
    return found ? 0 : 1;
}

static int make_folder(struct demo *demo)
{
    snprintf(demo->folder, sizeof demo->folder, "/tmp/penstock-demo-XXXXXX");
    if (mkdtemp(demo->folder) == NULL) {
        fprintf(stderr, "penstock demo: %s: %s\n", demo->folder, strerror(errno));
        demo->folder[0] = '\0';
        return 1;
    }
    return 0;
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

static int start_all(struct demo *demo)
{
    struct ps_address address;
    int status = choose_address(demo, &address);
    if (status != 0) {
        return status;
    }
    if (start_sim(demo, SIM_1) != PS_OK || start_sim(demo, SIM_2) != PS_OK ||
        start_gateway(demo, &address) != PS_OK) {
        return 1;
    }
    ps_time now = ps_loop_now(demo->loop);
    demo->give_up = now + READY_WITHIN;
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
        .target = demo->view.url,
        .speed = demo->opts.speed,
    };
    if (ps_tally_text(ps_replay_tally(lane->replay), ps_replay_pacer(lane->replay), &title,
                      &text) == PS_OK) {
        printf("\n%.*s", PS_STR_ARG(ps_buf_str(&text)));
    }
    ps_buf_fini(&text);
}

/* Prints what came of the traffic; the exit status. */
static int sum_up(struct demo *demo)
{
    static const char *const files[PS_DEMO_LANES] = {CHAT_TRACE, KEY_TRACE};
    uint64_t succeeded = 0;
    uint64_t ended = 0;
    ps_screen_leave(&demo->view.screen);
    for (size_t i = 0; i < PS_DEMO_LANES; i++) {
        struct ps_demo_lane *lane = &demo->view.lanes[i];
        if (lane->replay != NULL) {
            ps_replay_stop(lane->replay);
            print_lane(demo, lane, files[i]);
            succeeded += ps_replay_tally(lane->replay)->succeeded;
            ended += ps_tally_ended(ps_replay_tally(lane->replay));
        }
    }
    fflush(stdout);
    return demo->failed || (ended > 0 && succeeded == 0) ? 1 : 0;
}

static void remove_folder(struct demo *demo)
{
    for (int i = 0; i < CHILDREN && demo->folder[0] != '\0'; i++) {
        char log[PS_CHILD_PATH];
        snprintf(log, sizeof log, "%s/%d.log", demo->folder, i);
        (void)unlink(log);
    }
    if (demo->folder[0] != '\0') {
        (void)rmdir(demo->folder);
    }
}

static void teardown(struct demo *demo)
{
    for (size_t i = 0; i < PS_DEMO_LANES; i++) {
        ps_replay_free(demo->view.lanes[i].replay);
    }
    ps_target_free(demo->target);
    for (int i = 0; i < CHILDREN; i++) {
        ps_probe_free(demo->health[i]);
    }
    for (size_t i = 0; i < PS_DEMO_SERVERS; i++) {
        ps_probe_free(demo->view.servers[i].state);
    }
    ps_probe_free(demo->view.gateway);
    /* The gateway first: while it drains it still has servers to drain to. */
    end_children(demo, GATEWAY);
    end_children(demo, SIM_1);
    ps_loop_free(demo->loop);
    remove_folder(demo);
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
    say(demo, "Starting two simulated GPU servers and the gateway ...");
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
        demo->view.engine = ps_demo_engine_find(demo->opts.engine);
        status = execute(demo);
    } else if (err == PS_ECANCELED) {
        status = 0;
    }
    teardown(demo);
    free(demo);
    return status;
}
