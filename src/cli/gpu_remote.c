/* gpu_remote - see gpu_remote.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/gpu_remote.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/check.h"
#include "cli/gpu_profile_view.h"
#include "cli/probe.h"
#include "cli/screen.h"
#include "io/loop.h"
#include "load/target.h"

#define OUTPUT_MAX (16u << 20)
#define PATH       "/api/gpu/profile"

struct run {
    const struct ps_gpu_remote_opts *opts;
    struct ps_loop *loop;
    struct ps_probe *probe;
    struct ps_timer timer;
    struct ps_screen screen;
    int status;
    bool shown; /* something was */
};

/* --- what is said ----------------------------------------------------------------------------- */

/* What an answer that is a problem (RFC 9457) says of itself, or the text as it is. */
static void print_detail(struct ps_str body)
{
    json_t *problem = json_loadb(body.ptr, body.len, 0, NULL);
    const char *detail = json_string_value(json_object_get(problem, "detail"));
    if (detail != NULL) {
        fprintf(stderr, "  %.400s\n", detail);
    } else if (problem == NULL && body.len > 0) {
        fprintf(stderr, "  %.*s\n", (int)ps_str_first(body, 200).len, body.ptr);
    }
    json_decref(problem);
}

static const char *advice_of(int status)
{
    return status == 401 || status == 403
               ? "it wants a token with the role read: PENSTOCK_TOKEN, or "
                 "--api-key-file"
           : status == 404 || status == 501 ? "it is no Penstock that knows GPUs"
           : status == 200                  ? "the answer is no profile of GPUs"
                                            : "";
}

static void say_failure(struct run *run, int status)
{
    const char *advice = advice_of(status);
    ps_screen_leave(&run->screen);
    if (status == 0) {
        fprintf(stderr, "penstock gpu: %s: no answer\n", run->opts->url);
    } else {
        fprintf(stderr, "penstock gpu: %s: status %d%s%s\n", run->opts->url, status,
                advice[0] == '\0' ? "" : ": ", advice);
    }
    if (status != 200) {
        print_detail(ps_probe_why(run->probe));
    }
}

static int write_answer(const struct run *run, struct ps_str json, struct ps_buf *out)
{
    if (!run->opts->json) {
        return ps_gpu_profile_view_write(json, out);
    }
    return ps_buf_printf(out, "%.*s\n", PS_STR_ARG(ps_str_trim(json)));
}

/* PS_OK, or why it could not be shown. */
static int show(struct run *run)
{
    struct ps_buf out = ps_buf_make(OUTPUT_MAX);
    int err = write_answer(run, ps_probe_body(run->probe), &out);
    if (err == PS_OK && run->opts->watch && !run->opts->json) {
        ps_screen_draw(&run->screen, ps_buf_str(&out));
    } else if (err == PS_OK) {
        fwrite(out.data, 1, out.len, stdout);
    }
    ps_buf_fini(&out);
    return err == PS_OK && fflush(stdout) != 0 ? PS_EIO : err;
}

/* --- when ------------------------------------------------------------------------------------- */

static void end(struct run *run, int status)
{
    run->status = status;
    ps_loop_stop(run->loop);
}

/* What is watched may be started again meanwhile; what never answered is a mistake. */
static void on_answer(void *ctx, int status)
{
    struct run *run = ctx;
    int err = status == 200 ? show(run) : PS_OK;
    if (status != 200 || err != PS_OK) {
        say_failure(run, status);
    }
    if (status == 200 && err == PS_OK) {
        run->shown = true;
    } else if (!run->shown || err == PS_EIO) {
        end(run, 1);
        return;
    }
    if (!run->opts->watch) {
        end(run, 0);
    } else if (ps_timer_set(run->loop, &run->timer, ps_loop_now(run->loop) + run->opts->every) !=
               PS_OK) {
        end(run, 1);
    }
}

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct run *run = PS_CONTAINER_OF(timer, struct run, timer);
    (void)now;
    ps_probe_ask(run->probe);
}

static void on_signal(void *ctx, int signum)
{
    struct run *run = ctx;
    (void)signum;
    end(run, run->opts->watch ? 0 : 1);
}

static int open_all(struct run *run)
{
    const struct ps_target_opts server = {.url = run->opts->url,
                                          .api_key = run->opts->token,
                                          .ca_file = run->opts->ca_file,
                                          .insecure = run->opts->insecure};
    int err = ps_loop_new(&run->loop, &ps_clock_real);
    err = err != PS_OK ? err : ps_loop_on_signal(run->loop, SIGINT, on_signal, run);
    err = err != PS_OK ? err : ps_loop_on_signal(run->loop, SIGTERM, on_signal, run);
    return err != PS_OK ? err
                        : ps_probe_open(&run->probe, run->loop, &server, PATH, on_answer, run);
}

int ps_gpu_remote_run(const struct ps_gpu_remote_opts *opts)
{
    struct run run = {.opts = opts, .timer.on_time = on_time, .status = 1};
    ps_screen_init(&run.screen, stdout);
    (void)signal(SIGPIPE, SIG_IGN);
    int err = open_all(&run);
    if (err == PS_OK) {
        ps_probe_ask(run.probe);
        ps_loop_run(run.loop);
        ps_screen_leave(&run.screen);
        ps_timer_clear(run.loop, &run.timer);
    } else {
        fprintf(stderr, "penstock gpu: --url %s: %s\n", opts->url,
                err == PS_EINVAL ? "expected an address such as http://127.0.0.1:5000"
                                 : ps_err_text(err));
        run.status = err == PS_EINVAL ? 2 : 1;
    }
    ps_probe_free(run.probe);
    ps_loop_free(run.loop);
    return run.status;
}
