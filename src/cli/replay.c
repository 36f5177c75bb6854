/* replay - see replay.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/replay.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/args.h"
#include "cli/screen.h"
#include "cli/secret.h"
#include "io/loop.h"
#include "load/replay.h"
#include "load/target.h"
#include "load/window.h"

#define REPORT_MAX (1u << 20)
#define WINDOW (5 * PS_SECOND)
#define DESCRIPTORS_KEPT 64 /* for everything that is not a request in flight */

struct opts {
    const char *file;
    const char *to;
    double speed;
    uint64_t limit;
    ps_span duration;
    const char *model;
    const char *protocol;
    uint64_t seed;
    uint64_t max_prompt_tokens;
    double scale;
    double key_rate;
    bool ignore_eos;
    uint64_t max_in_flight;
    ps_span timeout;
    struct ps_arg_list headers;
    const char *api_key_file;
    const char *ca_file;
    bool insecure;
    const char *json;
    bool quiet;
};

/* clang-format off */
static const struct ps_arg args[] = {
    {"FILE", PS_ARG_WORD, offsetof(struct opts, file),
     .help = "the trace; plain, .gz or .xz", .required = true},
    {"--to", PS_ARG_TEXT, offsetof(struct opts, to), "URL",
     .help = "the server: http(s)://host[:port]", .required = true},
    {"--speed", PS_ARG_DOUBLE, offsetof(struct opts, speed), "X", "1",
     .help = "how many times faster than recorded", .min = 1e-6, .max = 1e6},
    {"--limit", PS_ARG_U64, offsetof(struct opts, limit), "N",
     .help = "end after N requests"},
    {"--duration", PS_ARG_SPAN, offsetof(struct opts, duration), "D",
     .help = "send for this long, then wait for the answers"},
    {"--model", PS_ARG_TEXT, offsetof(struct opts, model), "NAME", "sim",
     .help = "the model that requests ask for"},
    {"--protocol", PS_ARG_TEXT, offsetof(struct opts, protocol), "NAME", "openai",
     .help = "what the server speaks; comfyui gets pictures to make instead of chats",
     .names = ps_protocol_names},
    {"--seed", PS_ARG_U64, offsetof(struct opts, seed), "N", "1",
     .help = "seed of prompts and of drawn arrivals"},
    {"--max-prompt-tokens", PS_ARG_U64, offsetof(struct opts, max_prompt_tokens), "N",
     .help = "cut longer prompts (counted in the report)", .max = PS_TRACE_TOKENS_MAX},
    {"--scale", PS_ARG_DOUBLE, offsetof(struct opts, scale), "X", "1",
     .help = "share of the rates of a ServeGen file", .min = 1e-9, .max = 1e6},
    {"--keys", PS_ARG_DOUBLE, offsetof(struct opts, key_rate), "RATE",
     .help = "the file is 32-bit big-endian keys: RATE embedding requests a second", .min = 1e-6, .max = 1e6},
    {"--ignore-eos", PS_ARG_FLAG, offsetof(struct opts, ignore_eos),
     .help = "ask (as vLLM understands it) for answers of exactly the recorded length"},
    {"--max-in-flight", PS_ARG_U64, offsetof(struct opts, max_in_flight), "N", "16384",
     .help = "requests in flight; beyond it they are skipped and the run says so", .min = 1, .max = 1000000},
    {"--timeout", PS_ARG_SPAN, offsetof(struct opts, timeout), "D", "600s",
     .help = "longest time for one request", .min = 0.001, .max = 1e6},
    {"--header", PS_ARG_LIST, offsetof(struct opts, headers), "'NAME: VALUE'",
     .help = "send this header too; may be repeated"},
    {"--api-key-file", PS_ARG_TEXT, offsetof(struct opts, api_key_file), "FILE",
     .help = "send the key in this file as Authorization: Bearer"},
    {"--ca-file", PS_ARG_TEXT, offsetof(struct opts, ca_file), "FILE",
     .help = "trust these authorities instead of the system's"},
    {"--insecure", PS_ARG_FLAG, offsetof(struct opts, insecure),
     .help = "accept any certificate"},
    {"--json", PS_ARG_TEXT, offsetof(struct opts, json), "FILE",
     .help = "write the figures as JSON, too; - is standard output"},
    {"--quiet", PS_ARG_FLAG, offsetof(struct opts, quiet),
     .help = "no progress"},
    {0},
};
/* clang-format on */

static int run_command(int argc, char **argv);

const struct ps_command ps_replay_command = {
    .name = "replay",
    .brief = "sends a recorded trace to a server, and measures",
    .summary = "Sends the requests of a recorded trace to a server, at their recorded times\n"
               "whatever the server does, and prints what came of them.",
    .args = args,
    .notes = "Traces: Azure LLM inference CSV, Mooncake JSONL, ServeGen CSV of rates; told apart by\n"
             "content.",
    .success = "every request that ended succeeded, and there was one",
    .failure = "a request failed, none succeeded, the trace broke off, or a report was not written",
    .run = run_command,
};

struct run {
    struct opts opts;
    char api_key[PS_SECRET_MAX];
    struct ps_loop *loop;
    struct ps_target *target;
    struct ps_plan *plan; /* until the replay owns it */
    struct ps_replay *replay;
    struct ps_screen screen;
    struct ps_timer tick;
    ps_span every;
    ps_time began;
    struct ps_window ttft;
    struct ps_window latency;
    bool interrupted;
    bool broken; /* the target or the trace failed; it was said */
};

/* --------------------------------------------------------------------------------- progress */

static void show_progress(struct run *run, ps_time now)
{
    const struct ps_tally *tally = ps_replay_tally(run->replay);
    const struct ps_pacer *pacer = ps_replay_pacer(run->replay);
    const struct ps_hist *ttft = ps_window_look(&run->ttft, now, WINDOW);
    const struct ps_hist *latency = ps_window_look(&run->latency, now, WINDOW);
    char text[4][24];
    char line[320];
    double seconds = ps_span_seconds(now - run->began);
    int len = snprintf(
        line, sizeof line,
        "%6.1f s  sent %llu (%.1f/s)  in flight %zu  ok %llu  failed %llu  "
        "first token p50 %s p95 %s  latency p50 %s p95 %s%s\n",
        seconds, (unsigned long long)pacer->sent, seconds > 0 ? (double)pacer->sent / seconds : 0,
        ps_replay_in_flight(run->replay), (unsigned long long)tally->succeeded,
        (unsigned long long)tally->failed,
        ps_tally_span_text(ps_hist_percentile(ttft, 0.5), text[0], sizeof text[0]),
        ps_tally_span_text(ps_hist_percentile(ttft, 0.95), text[1], sizeof text[1]),
        ps_tally_span_text(ps_hist_percentile(latency, 0.5), text[2], sizeof text[2]),
        ps_tally_span_text(ps_hist_percentile(latency, 0.95), text[3], sizeof text[3]),
        ps_pacer_is_limited(pacer) ? "  generator_limited" : "");
    ps_screen_draw(&run->screen, (struct ps_str){line, (size_t)len});
}

static void on_tick(struct ps_timer *timer, ps_time now)
{
    struct run *run = PS_CONTAINER_OF(timer, struct run, tick);
    show_progress(run, now);
    if (ps_timer_set(run->loop, timer, now + run->every) != PS_OK) {
        run->screen.lines = 0; /* it is the last progress that is shown */
    }
}

static void on_result(void *ctx, const struct ps_session_result *result)
{
    struct run *run = ctx;
    if (result->failure == PS_FAILURE_NONE) {
        ps_window_record(&run->latency, result->end - result->intended);
    }
    if (result->texts > 0) {
        ps_window_record(&run->ttft, result->first_text - result->intended);
    }
}

/* -------------------------------------------------------------------------------- beginning */

static void on_end(void *ctx, int err)
{
    struct run *run = ctx;
    if (err != PS_OK) {
        ps_screen_leave(&run->screen);
        fprintf(stderr, "penstock replay: %s\n", ps_replay_error(run->replay));
        run->broken = true;
    }
    ps_loop_stop(run->loop);
}

static const struct ps_replay_ops replay_ops = {.on_result = on_result, .on_end = on_end};

/* A process may open fewer descriptors than requests are allowed in flight: raise what can be. */
static size_t bound_in_flight(uint64_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return (size_t)wanted;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    uint64_t open = limit.rlim_cur > 2 * DESCRIPTORS_KEPT ? limit.rlim_cur - DESCRIPTORS_KEPT
                                                          : DESCRIPTORS_KEPT;
    return (size_t)(wanted < open ? wanted : open);
}

static int begin(struct run *run)
{
    const struct opts *opts = &run->opts;
    struct ps_replay_opts replay = {
        .pace = {.speed = opts->speed, .limit = opts->limit, .duration = opts->duration},
        .prompt = {.model = opts->model,
                   .ignore_eos = opts->ignore_eos,
                   .protocol = ps_protocol_find(ps_str_from(opts->protocol))},
        .max_in_flight = bound_in_flight(opts->max_in_flight),
        .timeout = opts->timeout,
    };
    struct ps_plan *plan = run->plan;
    run->plan = NULL;
    int err = ps_replay_new(&run->replay, run->loop, run->target, plan, &replay, &replay_ops, run);
    if (err != PS_OK) {
        return err;
    }
    run->began = ps_loop_now(run->loop);
    run->every = run->screen.terminal ? PS_SECOND / 2 : 5 * PS_SECOND;
    run->tick.on_time = on_tick;
    if (!opts->quiet) {
        err = ps_timer_set(run->loop, &run->tick, run->began + run->every);
    }
    ps_replay_start(run->replay);
    return err;
}

static void on_target(void *ctx, int err, const char *why)
{
    struct run *run = ctx;
    if (err == PS_OK) {
        err = begin(run);
        why = ps_err_text(err);
    }
    if (err != PS_OK) {
        fprintf(stderr, "penstock replay: %s\n", why);
        run->broken = true;
        ps_loop_stop(run->loop);
    }
}

static void on_signal(void *ctx, int signum)
{
    struct run *run = ctx;
    (void)signum;
    run->interrupted = true;
    ps_loop_stop(run->loop);
}

static int read_key(struct run *run)
{
    const char *why = "";
    const char *path = run->opts.api_key_file;
    if (path == NULL || ps_secret_read(path, run->api_key, &why) == PS_OK) {
        return 0;
    }
    return ps_args_usage_error(&ps_replay_command, "%s: %s", path, why);
}

static int open_plan(struct run *run)
{
    const struct opts *opts = &run->opts;
    struct ps_plan_opts plan = {
        .path = opts->file,
        .seed = opts->seed,
        .max_prompt_tokens = (uint32_t)opts->max_prompt_tokens,
        .rate_scale = opts->scale,
        .key_rate = opts->key_rate,
    };
    struct ps_plan_error error;
    return ps_plan_open(&run->plan, &plan, &error) == PS_OK
               ? 0
               : ps_args_usage_error(&ps_replay_command, "%s", error.text);
}

static int open_target(struct run *run)
{
    const struct opts *opts = &run->opts;
    struct ps_target_opts target = {
        .url = opts->to,
        .headers = opts->headers.items,
        .header_count = opts->headers.count,
        .api_key = opts->api_key_file == NULL ? NULL : run->api_key,
        .ca_file = opts->ca_file,
        .insecure = opts->insecure,
    };
    struct ps_target_error error;
    return ps_target_new(&run->target, run->loop, &target, on_target, run, &error) == PS_OK
               ? 0
               : ps_args_usage_error(&ps_replay_command, "%s", error.text);
}

static int open_loop(struct run *run)
{
    int err = ps_loop_new(&run->loop, &ps_clock_real);
    if (err == PS_OK) {
        err = ps_loop_on_signal(run->loop, SIGINT, on_signal, run);
    }
    if (err == PS_OK) {
        err = ps_loop_on_signal(run->loop, SIGTERM, on_signal, run);
    }
    if (err != PS_OK) {
        fprintf(stderr, "penstock replay: %s\n", ps_err_text(err));
        return 1;
    }
    return 0;
}

/* ----------------------------------------------------------------------------------- ending */

static int write_json(const struct run *run, const struct ps_tally_title *title)
{
    const char *path = run->opts.json;
    struct ps_buf text = ps_buf_make(REPORT_MAX);
    FILE *file = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    bool written = file != NULL;
    if (written) {
        written = ps_tally_json(ps_replay_tally(run->replay), ps_replay_pacer(run->replay), title,
                                &text) == PS_OK &&
                  fprintf(file, "%.*s\n", PS_STR_ARG(ps_buf_str(&text))) > 0;
        written = (file == stdout ? fflush(file) : fclose(file)) == 0 && written;
    }
    if (!written) {
        fprintf(stderr, "penstock replay: %s: %s\n", path, strerror(errno));
    }
    ps_buf_fini(&text);
    return written ? 0 : 1;
}

/* Prints what came of it; the exit status. */
static int report(struct run *run)
{
    const struct ps_tally *tally = ps_replay_tally(run->replay);
    const struct ps_tally_title title = {
        .name = "replay",
        .source = run->opts.file,
        .target = ps_target_name(run->target),
        .speed = run->opts.speed,
        .cut = ps_plan_cut(ps_replay_plan(run->replay)),
    };
    /* With the JSON on standard output the table makes room for it. */
    bool json_out = run->opts.json != NULL && strcmp(run->opts.json, "-") == 0;
    struct ps_buf text = ps_buf_make(REPORT_MAX);
    int status = run->broken || tally->failed > 0 || tally->succeeded == 0 ? 1 : 0;
    if (ps_tally_text(tally, ps_replay_pacer(run->replay), &title, &text) == PS_OK) {
        fprintf(json_out ? stderr : stdout, "%s%.*s", run->interrupted ? "stopped early\n" : "",
                PS_STR_ARG(ps_buf_str(&text)));
        fflush(stdout);
    }
    ps_buf_fini(&text);
    return run->opts.json != NULL && write_json(run, &title) != 0 ? 1 : status;
}

static int execute(struct run *run)
{
    int status = read_key(run);
    status = status != 0 ? status : open_plan(run);
    status = status != 0 ? status : open_loop(run);
    status = status != 0 ? status : open_target(run);
    if (status != 0) {
        return status;
    }
    ps_loop_run(run->loop);
    ps_timer_clear(run->loop, &run->tick);
    if (run->replay == NULL) {
        return 1;
    }
    ps_replay_stop(run->replay);
    ps_screen_wipe(&run->screen);
    return report(run);
}

static int run_command(int argc, char **argv)
{
    struct run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        fprintf(stderr, "penstock replay: %s\n", ps_err_text(PS_ENOMEM));
        return 1;
    }
    int status = 2;
    int err = ps_args_parse(&ps_replay_command, argc, argv, &run->opts);
    if (err == PS_OK) {
        (void)signal(SIGPIPE, SIG_IGN);
        ps_screen_init(&run->screen, stderr);
        status = execute(run);
    } else if (err == PS_ECANCELED) {
        status = 0;
    }
    ps_replay_free(run->replay);
    ps_plan_close(run->plan);
    ps_target_free(run->target);
    ps_loop_free(run->loop);
    free(run);
    return status;
}
