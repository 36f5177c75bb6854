/* top - see top.h.
 *
 * It asks for the summary each second: that is made once a second whoever asks, and a look over ssh
 * needs nothing that would have to be kept open.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/top.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "cli/probe.h"
#include "cli/secret.h"
#include "cli/top_data.h"
#include "cli/top_screen.h"
#include "cli/top_view.h"
#include "io/loop.h"
#include "load/target.h"

#define PATH      "/api/dashboard/summary"
#define EVERY     (PS_SECOND)
#define KEYS      (40 * PS_MILLISECOND) /* how often it looks whether one was pressed */
#define PAGE_MOST (16u << 20)

struct opts {
    const char *url;
    const char *token_file;
    const char *ca_file;
    bool insecure;
    bool once;
};

/* clang-format off */
static const struct ps_arg args[] = {
    {"--url", PS_ARG_TEXT, offsetof(struct opts, url), "URL", "http://127.0.0.1:5000",
     .help = "the Penstock to look at"},
    {"--token-file", PS_ARG_TEXT, offsetof(struct opts, token_file), "FILE",
     .help = "the token in this file, instead of PENSTOCK_TOKEN's"},
    {"--ca-file", PS_ARG_TEXT, offsetof(struct opts, ca_file), "FILE",
     .help = "trust these authorities instead of the system's"},
    {"--insecure", PS_ARG_FLAG, offsetof(struct opts, insecure),
     .help = "accept any certificate"},
    {"--once", PS_ARG_FLAG, offsetof(struct opts, once),
     .help = "print what is known as lines, and leave; so it is where there is no terminal"},
    {0},
};
/* clang-format on */

static int run_command(int argc, char **argv);

const struct ps_command ps_top_command = {
    .name = "top",
    .brief = "the dashboard at a terminal: traffic, GPUs, cache, queue, upstreams, events",
    .summary = "Shows what the dashboard's page shows at a terminal, second by second.",
    .args = args,
    .notes =
        "Keys: q leaves, ? explains, space stands still, t goes to the next section, arrows "
        "scroll.\n"
        "A token with the role read is taken from PENSTOCK_TOKEN in the environment. NO_COLOR=1\n"
        "draws without colours.\n",
    .success = "it was left, or the lines were printed",
    .failure = "with --once: there was no answer, or none that it understands",
    .run = run_command,
};

struct run {
    struct opts opts;
    struct ps_loop *loop;
    struct ps_probe *probe;
    struct ps_timer ask_timer;
    struct ps_timer key_timer;
    struct ps_top_view view;
    struct ps_top_data data;
    char trouble[128];
    ps_time answered; /* when it last did, or when we began */
    bool drawn;       /* on a terminal, else lines once */
    int status;
};

/* --- lines ------------------------------------------------------------------------------------ */

static const char *advice_of(int status)
{
    return status == 401 || status == 403   ? "it wants a token with the role read"
           : status == 404 || status == 501 ? "it is no Penstock with a dashboard"
           : status == 200                  ? "the answer is no summary of a dashboard"
           : status == 0                    ? "no answer"
                                            : "it does not answer as it should";
}

static int print_lines(struct run *run, int status)
{
    struct ps_buf out = ps_buf_make(PAGE_MOST);
    int err = status == 200 ? ps_top_data_read(&run->data, ps_probe_body(run->probe)) : PS_EPARSE;
    err = err != PS_OK ? err : ps_top_view_lines(&run->data, &out);
    if (err == PS_OK) {
        printf("%.*s", PS_STR_ARG(ps_buf_str(&out))); /* nothing, where nothing is known yet */
    } else if (status == 0) {
        fprintf(stderr, "penstock top: %s: no answer: %.*s\n", run->opts.url,
                PS_STR_ARG(ps_probe_why(run->probe)));
    } else {
        fprintf(stderr, "penstock top: %s: %s (status %d)\n", run->opts.url, advice_of(status),
                status);
    }
    ps_buf_fini(&out);
    return err == PS_OK && fflush(stdout) == 0 ? 0 : 1;
}

/* --- the terminal ----------------------------------------------------------------------------- */

static void draw(struct run *run)
{
    struct ps_buf out = ps_buf_make(PAGE_MOST);
    ps_top_screen_size(&run->view.width, &run->view.height);
    run->view.trouble = run->trouble[0] == '\0' ? NULL : run->trouble;
    if (ps_top_view_write(&run->view, &run->data, &out) == PS_OK) {
        ps_top_screen_draw(ps_buf_str(&out));
    }
    ps_buf_fini(&out);
}

static void take(struct run *run, int status)
{
    struct ps_top_data fresh;
    ps_time now = ps_loop_now(run->loop);
    bool sound = status == 200 && ps_top_data_read(&fresh, ps_probe_body(run->probe)) == PS_OK;
    if (!sound) {
        snprintf(run->trouble, sizeof run->trouble, "%s for %lld s, trying again",
                 advice_of(status), (long long)((now - run->answered) / PS_SECOND));
        return;
    }
    run->answered = now;
    run->trouble[0] = '\0';
    if (run->view.paused && run->data.root != NULL) {
        ps_top_data_fini(&fresh);
    } else {
        ps_top_data_fini(&run->data);
        run->data = fresh;
    }
}

static void end(struct run *run, int status)
{
    run->status = status;
    ps_loop_stop(run->loop);
}

static void on_answer(void *ctx, int status)
{
    struct run *run = ctx;
    if (!run->drawn) {
        end(run, print_lines(run, status));
        return;
    }
    take(run, status);
    draw(run);
}

static void scroll(struct ps_top_view *view, enum ps_top_key key)
{
    size_t page = view->height > 3 ? view->height - 3 : 1;
    size_t by = key == PS_TOP_KEY_PAGE_UP || key == PS_TOP_KEY_PAGE_DOWN ? page : 1;
    switch (key) {
    case PS_TOP_KEY_HOME:
        view->scroll = 0;
        break;
    case PS_TOP_KEY_END:
        view->scroll = SIZE_MAX;
        break;
    case PS_TOP_KEY_UP:
    case PS_TOP_KEY_PAGE_UP:
        view->scroll -= by < view->scroll ? by : view->scroll;
        break;
    default:
        view->scroll += by;
        break;
    }
}

static void turn(struct ps_top_view *view, size_t by)
{
    view->section = (enum ps_top_section)(((size_t)view->section + by) % PS_TOP_SECTIONS);
    view->scroll = 0;
    view->help = false;
}

static void press(struct run *run, enum ps_top_key key)
{
    struct ps_top_view *view = &run->view;
    switch (key) {
    case PS_TOP_KEY_QUIT:
        end(run, 0);
        break;
    case PS_TOP_KEY_HELP:
        view->help = !view->help;
        view->scroll = 0;
        break;
    case PS_TOP_KEY_PAUSE:
        view->paused = !view->paused;
        break;
    case PS_TOP_KEY_NEXT:
        turn(view, 1);
        break;
    case PS_TOP_KEY_PREVIOUS:
        turn(view, PS_TOP_SECTIONS - 1);
        break;
    case PS_TOP_KEY_ALL:
        turn(view, PS_TOP_SECTIONS - (size_t)view->section);
        break;
    case PS_TOP_KEY_UP:
    case PS_TOP_KEY_DOWN:
    case PS_TOP_KEY_PAGE_UP:
    case PS_TOP_KEY_PAGE_DOWN:
    case PS_TOP_KEY_HOME:
    case PS_TOP_KEY_END:
        scroll(view, key);
        break;
    case PS_TOP_KEY_RESIZE:
    case PS_TOP_KEY_OTHER:
    case PS_TOP_KEY_NONE:
        break;
    }
}

static void on_key_time(struct ps_timer *timer, ps_time now)
{
    struct run *run = PS_CONTAINER_OF(timer, struct run, key_timer);
    enum ps_top_key key;
    bool any = false;
    while ((key = ps_top_screen_key()) != PS_TOP_KEY_NONE) {
        press(run, key);
        any = true;
    }
    if (any) {
        draw(run);
    }
    if (ps_timer_set(run->loop, timer, now + KEYS) != PS_OK) {
        end(run, 1);
    }
}

static void on_ask_time(struct ps_timer *timer, ps_time now)
{
    struct run *run = PS_CONTAINER_OF(timer, struct run, ask_timer);
    ps_probe_ask(run->probe);
    if (ps_timer_set(run->loop, timer, now + EVERY) != PS_OK) {
        end(run, 1);
    }
}

/* --- life ------------------------------------------------------------------------------------- */

static void on_signal(void *ctx, int signum)
{
    struct run *run = ctx;
    (void)signum;
    end(run, run->drawn ? 0 : 1);
}

static int open_all(struct run *run, const char *token)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    const struct ps_target_opts server = {.url = run->opts.url,
                                          .api_key = token,
                                          .ca_file = run->opts.ca_file,
                                          .insecure = run->opts.insecure};
    int err = ps_loop_new(&run->loop, &ps_clock_real);
    for (size_t i = 0; i < PS_ARRAY_LEN(signals) && err == PS_OK; i++) {
        err = ps_loop_on_signal(run->loop, signals[i], on_signal, run);
    }
    return err != PS_OK ? err
                        : ps_probe_open(&run->probe, run->loop, &server, PATH, on_answer, run);
}

/* Where nothing can be drawn it is lines, once; a terminal that can't is told why. */
static void open_screen(struct run *run)
{
    const char *why = NULL;
    run->drawn = !run->opts.once && ps_top_screen_open(&why);
    if (why != NULL) {
        fprintf(stderr, "penstock top: %s: what is known now, as lines\n", why);
    }
    run->view.utf8 = run->drawn && ps_top_screen_is_utf8();
}

static void go(struct run *run)
{
    run->answered = ps_loop_now(run->loop);
    if (run->drawn) {
        draw(run);
        on_ask_time(&run->ask_timer, run->answered);
        on_key_time(&run->key_timer, run->answered);
    } else {
        ps_probe_ask(run->probe);
    }
    ps_loop_run(run->loop);
    ps_timer_clear(run->loop, &run->ask_timer);
    ps_timer_clear(run->loop, &run->key_timer);
}

static int run_with(const struct opts *opts, const char *token)
{
    struct run run = {.opts = *opts,
                      .ask_timer.on_time = on_ask_time,
                      .key_timer.on_time = on_key_time,
                      .view.url = opts->url,
                      .status = 1};
    (void)signal(SIGPIPE, SIG_IGN);
    int err = open_all(&run, token);
    if (err == PS_OK) {
        open_screen(&run);
        go(&run);
        ps_top_screen_close();
    } else {
        fprintf(stderr, "penstock top: --url %s: %s\n", opts->url,
                err == PS_EINVAL ? "expected an address such as http://127.0.0.1:5000"
                                 : ps_err_text(err));
        run.status = err == PS_EINVAL ? 2 : 1;
    }
    ps_top_data_fini(&run.data);
    ps_probe_free(run.probe);
    ps_loop_free(run.loop);
    return run.status;
}

static int run_command(int argc, char **argv)
{
    struct opts opts = {0};
    char token[PS_SECRET_MAX];
    const char *why;
    int err = ps_args_parse(&ps_top_command, argc, argv, &opts);
    if (err != PS_OK) {
        return err == PS_ECANCELED ? 0 : 2;
    }
    if (opts.token_file == NULL) {
        return run_with(&opts, getenv("PENSTOCK_TOKEN"));
    }
    if (ps_secret_read(opts.token_file, token, &why) != PS_OK) {
        return ps_args_usage_error(&ps_top_command, "--token-file %s: %s", opts.token_file, why);
    }
    return run_with(&opts, token);
}
