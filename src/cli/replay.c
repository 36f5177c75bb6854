/* replay - see replay.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/replay.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "cli/tester.h"

#define TEXT_MAX (1u << 20)
#define ALL_SUCCEED "http_req_failed: rate==0"

struct opts {
    struct ps_tester_args common;
    const char *file;
    double speed;
    uint64_t limit;
    ps_span duration;
    const char *protocol;
    uint64_t max_prompt_tokens;
    double scale;
    double key_rate;
    bool ignore_eos;
    const char *json;
};

/* clang-format off */
static const struct ps_arg args[] = {
    {"FILE", PS_ARG_WORD, offsetof(struct opts, file),
     .help = "the trace; plain, .gz or .xz", .required = true},
    {"--to", PS_ARG_TEXT, PS_TESTER_AT(struct opts, common, url), "URL",
     .help = "the server: http(s)://host[:port]", .required = true},
    {"--speed", PS_ARG_DOUBLE, offsetof(struct opts, speed), "X", "1",
     .help = "how many times faster than recorded", .min = 1e-6, .max = 1e6},
    {"--limit", PS_ARG_U64, offsetof(struct opts, limit), "N",
     .help = "end after N requests"},
    {"--duration", PS_ARG_SPAN, offsetof(struct opts, duration), "D",
     .help = "send for this long, then wait for the answers"},
    {"--model", PS_ARG_TEXT, PS_TESTER_AT(struct opts, common, model), "NAME", "sim",
     .help = "the model that requests ask for"},
    {"--protocol", PS_ARG_TEXT, offsetof(struct opts, protocol), "NAME", "openai",
     .help = "what the server speaks; comfyui gets pictures to make instead of chats",
     .names = ps_protocol_names},
    {"--max-prompt-tokens", PS_ARG_U64, offsetof(struct opts, max_prompt_tokens), "N",
     .help = "cut longer prompts (counted in the report)", .max = PS_TRACE_TOKENS_MAX},
    {"--scale", PS_ARG_DOUBLE, offsetof(struct opts, scale), "X", "1",
     .help = "share of the rates of a ServeGen file", .min = 1e-9, .max = 1e6},
    {"--keys", PS_ARG_DOUBLE, offsetof(struct opts, key_rate), "RATE",
     .help = "the file is 32-bit big-endian keys: RATE embedding requests a second", .min = 1e-6, .max = 1e6},
    {"--ignore-eos", PS_ARG_FLAG, offsetof(struct opts, ignore_eos),
     .help = "ask (as vLLM understands it) for answers of exactly the recorded length"},
    PS_TESTER_OTHER_ROWS(struct opts, common),
    {"--json", PS_ARG_TEXT, offsetof(struct opts, json), "FILE",
     .help = "write the figures as JSON, too; - is standard output"},
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
             "content. Unless a threshold about http_req_failed is set, every request has to succeed.",
    .success = "every threshold was kept",
    .failure = "a threshold was not kept, or the figures were not written",
    .severe = PS_TESTER_SEVERE,
    .limited = PS_TESTER_LIMITED,
    .aborted = "ended early, the trace broke off, or the report could not be written",
    .run = run_command,
};

/* ---------------------------------------------------------------------------------------- run */

static void plan(const struct opts *opts, struct ps_run_opts *run)
{
    run->pace = (struct ps_pacer_opts){.speed = opts->speed, .duration = opts->duration};
    run->limit = opts->limit;
    run->requests.trace = (struct ps_plan_opts){
        .path = opts->file,
        .seed = opts->common.seed,
        .max_prompt_tokens = (uint32_t)opts->max_prompt_tokens,
        .rate_scale = opts->scale,
        .key_rate = opts->key_rate,
    };
    run->requests.prompt = (struct ps_prompt_opts){
        .model = opts->common.model,
        .ignore_eos = opts->ignore_eos,
        .protocol = ps_protocol_find(ps_str_from(opts->protocol)),
    };
}

static void note(const struct opts *opts, struct ps_tester *tester)
{
    ps_tester_note(tester, "speed", "%g", opts->speed);
    ps_tester_note(tester, "protocol", "%s", opts->protocol);
    ps_tester_note(tester, "model", "%s", opts->common.model);
    if (opts->duration > 0) {
        ps_tester_note(tester, "duration", "%gs", ps_span_seconds(opts->duration));
    }
}

/* ------------------------------------------------------------------------------------- ending */

static int write_json(const struct opts *opts, const struct ps_tally *tally, const struct ps_tally_title *title)
{
    struct ps_buf text = ps_buf_make(TEXT_MAX);
    FILE *file = strcmp(opts->json, "-") == 0 ? stdout : fopen(opts->json, "we");
    bool written = file != NULL;
    if (written) {
        written = ps_tally_json(tally, title, &text) == PS_OK &&
                  fprintf(file, "%.*s\n", PS_STR_ARG(ps_buf_str(&text))) > 0;
        written = (file == stdout ? fflush(file) : fclose(file)) == 0 && written;
    }
    if (!written) {
        fprintf(stderr, "penstock replay: %s: %s\n", opts->json, strerror(errno));
    }
    ps_buf_fini(&text);
    return written ? 0 : 1;
}

static void print(const struct opts *opts, const struct ps_tester *tester, const struct ps_tally *tally,
                  const struct ps_tally_title *title, FILE *out)
{
    struct ps_buf text = ps_buf_make(TEXT_MAX);
    if (ps_tally_text(tally, title, &text) == PS_OK) {
        fprintf(out, "%s%.*s", ps_tester_is_interrupted(tester) ? "stopped early\n" : "",
                PS_STR_ARG(ps_buf_str(&text)));
        fflush(out);
    }
    ps_buf_fini(&text);
    (void)opts;
}

static int finish(const struct opts *opts, struct ps_tester *tester)
{
    struct ps_report_section *section = ps_tester_section(tester);
    const struct ps_run *run = ps_tester_current(tester);
    const struct ps_tally_title title = {
        .name = "replay",
        .source = opts->file,
        .target = ps_run_target(run),
        .speed = opts->speed,
        .cut = ps_run_cut(run),
    };
    section->replay.source = opts->file;
    section->replay.speed = opts->speed;
    section->replay.cut = ps_run_cut(run);
    if (section->verdict != PS_VERDICT_PASS) {
        fprintf(stderr, "penstock replay: %s\n", section->reason);
    }
    int saved = ps_tester_save(tester);
    /* With a document on standard output the table makes room for it. */
    bool taken = saved != PS_OK || (opts->json != NULL && strcmp(opts->json, "-") == 0);
    print(opts, tester, ps_run_total(run), &title, taken ? stderr : stdout);
    int status = ps_tester_status(tester, saved);
    bool unwritten = opts->json != NULL && write_json(opts, ps_run_total(run), &title) != 0;
    return status == 0 && unwritten ? 1 : status;
}

static int execute(const struct opts *opts, struct ps_tester *tester)
{
    static const struct ps_tester_ops no_ops;
    struct ps_run_opts run;
    ps_tester_opts(tester, &run);
    plan(opts, &run);
    note(opts, tester);
    ps_tester_default_threshold(tester, ALL_SUCCEED);
    ps_tester_expect(tester, opts->duration > 0 ? opts->duration : PS_NEVER);
    int status = ps_tester_run(tester, &run, "trace", NAN, &no_ops, NULL);
    return status != 0 ? status : finish(opts, tester);
}

static int run_command(int argc, char **argv)
{
    struct opts opts = {0};
    struct ps_tester *tester = NULL;
    int err = ps_args_parse(&ps_replay_command, argc, argv, &opts);
    if (err != PS_OK) {
        return err == PS_ECANCELED ? 0 : 2;
    }
    int status = ps_tester_new(&tester, &ps_replay_command, &opts.common, PS_REPORT_REPLAY);
    status = status != 0 ? status : execute(&opts, tester);
    ps_tester_free(tester);
    return status;
}
