/* gpu - see gpu.h.
 *
 * Each source has a thread of its own (gpu/sampler), so that this command answers whatever a driver
 * does.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/gpu.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "cli/gpu_remote.h"
#include "cli/gpu_view.h"
#include "cli/screen.h"
#include "cli/secret.h"
#include "gpu/amdgpu.h"
#include "gpu/nvml.h"
#include "gpu/profile.h"

#define SOURCES     2
#define OUTPUT_MAX  (16u << 20)
#define FIRST_WAIT  (10 * PS_SECOND) /* for a source to have read everything once */
#define LOOK_AGAIN  (10 * PS_MILLISECOND)
#define HUNG_AFTER  PS_SECOND
#define RETRY_AFTER (10 * PS_SECOND)
#define PATIENCE    PS_SECOND

struct opts {
    bool json;
    bool watch;
    bool calls;
    ps_span every;
    const char *url;
    const char *api_key_file;
    const char *ca_file;
    bool insecure;
};

/* clang-format off */
static const struct ps_arg args[] = {
    {"--json", PS_ARG_FLAG, offsetof(struct opts, json),
     .help = "print JSON, with --watch a line each time; what is not known is absent"},
    {"--watch", PS_ARG_FLAG, offsetof(struct opts, watch),
     .help = "go on until interrupted"},
    {"--every", PS_ARG_SPAN, offsetof(struct opts, every), "D", "1s",
     .help = "how often, with --watch", .min = 0.1, .max = 3600},
    {"--calls", PS_ARG_FLAG, offsetof(struct opts, calls),
     .help = "show what each call into the driver took, too"},
    {"--url", PS_ARG_TEXT, offsetof(struct opts, url), "URL",
     .help = "show what the Penstock there knows, its servers included: http://127.0.0.1:5000"},
    {"--api-key-file", PS_ARG_TEXT, offsetof(struct opts, api_key_file), "FILE",
     .help = "with --url: the token in this file, instead of PENSTOCK_TOKEN's"},
    {"--ca-file", PS_ARG_TEXT, offsetof(struct opts, ca_file), "FILE",
     .help = "with --url: trust these authorities instead of the system's"},
    {"--insecure", PS_ARG_FLAG, offsetof(struct opts, insecure),
     .help = "with --url: accept any certificate"},
    {0},
};
/* clang-format on */

static int run_command(int argc, char **argv);

const struct ps_command ps_gpu_command = {
    .name = "gpu",
    .brief = "the GPUs of this machine: memory, load, and whose it is",
    .summary = "Shows the GPUs of this machine: memory, load, power, and which processes use them.",
    .args = args,
    .notes =
        "Sources: NVIDIA's driver (libnvidia-ml.so.1) and the kernel's driver amdgpu. A number\n"
        "that a source can't say is a dash, and absent from the JSON. With --url the token\n"
        "of a Penstock that wants one is taken from PENSTOCK_TOKEN in the environment.\n",
    .success = "it was shown, or --watch was interrupted",
    .failure = "no source knows a GPU here, or the driver does not answer",
    .run = run_command,
};

struct run {
    struct opts opts;
    struct ps_sampler *samplers[SOURCES];
    struct ps_profile_source sources[SOURCES]; /* those that were opened */
    size_t count;
    char why[SOURCES][PS_SAMPLER_WHY]; /* of those that were not */
    struct ps_screen screen;
    sigset_t signals; /* that end it */
};

static const char *const names[SOURCES] = {"nvml", "amdgpu"};

/* --- sources ---------------------------------------------------------------------------------- */

static void add_source(struct run *run, const struct ps_sampler_source *source, void *ctx)
{
    struct ps_sampler_opts opts = {.clock = &ps_clock_real,
                                   .stale_after = 3 * run->opts.every,
                                   .hung_after = HUNG_AFTER,
                                   .retry_after = RETRY_AFTER};
    if (ps_sampler_start_take(&run->samplers[run->count], source, ctx, &opts) == PS_OK) {
        run->sources[run->count].name = source->name;
        run->count++;
    }
}

static void open_nvml(struct run *run, char why[PS_SAMPLER_WHY])
{
    struct ps_nvml_opts opts;
    struct ps_nvml *nvml;
    ps_nvml_opts_init(&opts);
    opts.memory_every = run->opts.every;
    if (ps_nvml_open(&nvml, &opts, why) == PS_OK) {
        add_source(run, &ps_nvml_source, nvml);
    }
}

static void open_amdgpu(struct run *run, char why[PS_SAMPLER_WHY])
{
    struct ps_amdgpu_opts opts;
    struct ps_amdgpu *amdgpu;
    ps_amdgpu_opts_init(&opts);
    opts.memory_every = run->opts.every;
    if (ps_amdgpu_open(&amdgpu, &opts, why) == PS_OK) {
        add_source(run, &ps_amdgpu_source, amdgpu);
    }
}

static void look(struct run *run)
{
    ps_time now = ps_clock_now(&ps_clock_real);
    for (size_t i = 0; i < run->count; i++) {
        ps_device_snapshot_unref(run->sources[i].view.snapshot);
        ps_sampler_look(run->samplers[i], now, &run->sources[i].view);
        run->sources[i].calls = run->opts.calls ? ps_sampler_book(run->samplers[i]) : NULL;
    }
}

/* Is there nothing to wait for any more? */
static bool is_settled(const struct run *run)
{
    for (size_t i = 0; i < run->count; i++) {
        const struct ps_sampler_view *view = &run->sources[i].view;
        bool complete = view->snapshot != NULL && view->snapshot->complete;
        if (!complete && view->state != PS_SAMPLER_FAILED && view->state != PS_SAMPLER_HUNG) {
            return false;
        }
    }
    return true;
}

static bool knows_any(const struct run *run)
{
    const struct ps_device_snapshot *snapshot;
    (void)ps_profile_choose(run->sources, run->count, &snapshot);
    return snapshot != NULL;
}

/* --- time ------------------------------------------------------------------------------------- */

/* Sleeps. True when a signal asked for the end. */
static bool pass(const struct run *run, ps_span span)
{
    struct timespec until = {.tv_sec = span / PS_SECOND, .tv_nsec = span % PS_SECOND};
    return sigtimedwait(&run->signals, NULL, &until) > 0;
}

/* Waits until every source has told all it can. True when a signal asked for the end. */
static bool wait_for_first(struct run *run)
{
    ps_time last = ps_clock_now(&ps_clock_real) + FIRST_WAIT;
    look(run);
    while (!is_settled(run) && ps_clock_now(&ps_clock_real) < last) {
        if (pass(run, LOOK_AGAIN)) {
            return true;
        }
        look(run);
    }
    return false;
}

/* --- output ----------------------------------------------------------------------------------- */

static int write_text(const struct run *run, struct ps_buf *out)
{
    int err = ps_gpu_view_write(run->sources, run->count, out);
    for (size_t i = 0; err == PS_OK && i < run->count; i++) {
        if (run->sources[i].calls != NULL) {
            err = ps_gpu_view_write_calls(run->sources[i].calls, out);
        }
    }
    return err;
}

static int write_json(const struct run *run, struct ps_buf *out)
{
    int err = ps_profile_write(run->sources, run->count, out);
    return err == PS_OK ? ps_buf_append(out, "\n", 1) : err;
}

static int show(struct run *run)
{
    struct ps_buf out = ps_buf_make(OUTPUT_MAX);
    int err = run->opts.json ? write_json(run, &out) : write_text(run, &out);
    if (err == PS_OK && run->opts.watch && !run->opts.json) {
        ps_screen_draw(&run->screen, ps_buf_str(&out));
    } else if (err == PS_OK) {
        fwrite(out.data, 1, out.len, stdout);
    }
    ps_buf_fini(&out);
    if (err != PS_OK || fflush(stdout) != 0) {
        fprintf(stderr, "penstock gpu: the output could not be written\n");
        return 1;
    }
    return 0;
}

static void say_why_not(const struct ps_profile_source *source)
{
    const struct ps_sampler_view *view = &source->view;
    fprintf(stderr, "  %-7s %s%s\n", source->name,
            view->why[0] != '\0' ? view->why
            : view->call != NULL ? "it does not come back from "
                                 : "it does not answer",
            view->why[0] == '\0' && view->call != NULL ? view->call : "");
}

/* Why nobody knows a GPU, and what would give one. */
static int say_nothing_known(const struct run *run)
{
    fprintf(stderr, "penstock gpu: no source knows a GPU on this machine\n");
    for (size_t i = 0; i < SOURCES; i++) {
        if (run->why[i][0] != '\0') {
            fprintf(stderr, "  %-7s %s\n", names[i], run->why[i]);
        }
    }
    for (size_t i = 0; i < run->count; i++) {
        say_why_not(&run->sources[i]);
    }
    fprintf(
        stderr,
        "Install NVIDIA's driver (its library is libnvidia-ml.so.1; in a container: the NVIDIA\n"
        "container toolkit), or load the kernel's driver amdgpu.\n");
    return 1;
}

/* --- the command ------------------------------------------------------------------------------ */

static bool is_answering(const struct run *run)
{
    for (size_t i = 0; i < run->count; i++) {
        if (run->sources[i].view.state == PS_SAMPLER_HUNG) {
            return false;
        }
    }
    return true;
}

static int watch(struct run *run)
{
    int status = show(run);
    while (status == 0 && !pass(run, run->opts.every)) {
        look(run);
        status = show(run);
    }
    ps_screen_leave(&run->screen);
    return status;
}

static int execute(struct run *run)
{
    open_nvml(run, run->why[0]);
    open_amdgpu(run, run->why[1]);
    if (wait_for_first(run)) {
        return 1;
    }
    if (!knows_any(run)) {
        return say_nothing_known(run);
    }
    if (run->opts.watch) {
        return watch(run);
    }
    int status = show(run);
    return status == 0 && is_answering(run) ? 0 : 1;
}

static void close_sources(struct run *run)
{
    for (size_t i = 0; i < run->count; i++) {
        ps_device_snapshot_unref(run->sources[i].view.snapshot);
        (void)ps_sampler_stop(run->samplers[i], PATIENCE);
    }
}

/* Blocked before threads begin, so that none of them takes what is for us. */
static void block_signals(struct run *run)
{
    sigemptyset(&run->signals);
    sigaddset(&run->signals, SIGINT);
    sigaddset(&run->signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &run->signals, NULL);
}

/* Asks another Penstock. */
static int ask(const struct opts *opts)
{
    char token[PS_SECRET_MAX];
    const char *why = "";
    struct ps_gpu_remote_opts remote = {.url = opts->url,
                                        .token = getenv("PENSTOCK_TOKEN"),
                                        .ca_file = opts->ca_file,
                                        .insecure = opts->insecure,
                                        .json = opts->json,
                                        .watch = opts->watch,
                                        .every = opts->every};
    if (opts->calls) {
        return ps_args_usage_error(&ps_gpu_command, "--calls is about this machine, not about --url");
    }
    if (opts->api_key_file != NULL) {
        if (ps_secret_read(opts->api_key_file, token, &why) != PS_OK) {
            return ps_args_usage_error(&ps_gpu_command, "%s: %s", opts->api_key_file, why);
        }
        remote.token = token;
    }
    return ps_gpu_remote_run(&remote);
}

static int run_command(int argc, char **argv)
{
    struct run run = {.count = 0};
    int err = ps_args_parse(&ps_gpu_command, argc, argv, &run.opts);
    if (err != PS_OK) {
        return err == PS_ECANCELED ? 0 : 2;
    }
    if (run.opts.url != NULL) {
        return ask(&run.opts);
    }
    block_signals(&run);
    ps_screen_init(&run.screen, stdout);
    int status = execute(&run);
    close_sources(&run);
    return status;
}
