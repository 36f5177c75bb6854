/* load - see load.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/load.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/tester.h"

#define RATE "50" /* requests a second, when nothing is said */
#define ERRORS "http_req_failed: rate<0.01"

struct opts {
    struct ps_tester_args common;
    const char *rate;
    ps_span duration;
    uint64_t connections;
    uint64_t count;
};

/* clang-format off */
static const struct ps_arg args[] = {
    PS_TESTER_URL_ROW(struct opts, common),
    {"--rate", PS_ARG_TEXT, offsetof(struct opts, rate), "R",
     .help = "requests a second: 50, a ramp 10..50, or steps 10,20,50; default 50"},
    {"--duration", PS_ARG_SPAN, offsetof(struct opts, duration), "D", "60s",
     .help = "send for this long, then wait for the answers", .min = 0.1, .max = 1e7},
    {"--connections", PS_ARG_U64, offsetof(struct opts, connections), "N",
     .help = "instead of a rate: N users who send their next request when the last was answered", .min = 1, .max = 1000000},
    {"--count", PS_ARG_U64, offsetof(struct opts, count), "N",
     .help = "end after N requests"},
    PS_TESTER_REQUEST_ROWS(struct opts, common),
    PS_TESTER_OTHER_ROWS(struct opts, common),
    {0},
};
/* clang-format on */

static int run_command(int argc, char **argv);

const struct ps_command ps_load_command = {
    .name = "load",
    .brief = "puts a service under load, and judges",
    .summary = "Sends requests to an HTTP service at a rate, whatever it does, measures, and ends with a verdict.",
    .args = args,
    .notes = "Chats and embeddings are made for paths of OpenAI's API and of Ollama's; other paths get --body, or none.\n"
             "Unless a threshold about http_req_failed is set, less than 1 % of the requests may fail.\n",
    .success = "every threshold was kept",
    .failure = "a threshold was not kept",
    .severe = PS_TESTER_SEVERE,
    .limited = PS_TESTER_LIMITED,
    .aborted = PS_TESTER_ABORTED,
    .run = run_command,
};

/* -------------------------------------------------------------------------------------- rates */

static bool read_rate(struct ps_str text, double *rate)
{
    return ps_str_to_double(ps_str_trim(text), rate) == PS_OK && *rate >= 0 && *rate <= PS_SCHEDULE_RATE_MAX;
}

/* "10..50" */
static bool read_ramp(struct ps_str text, size_t dots, ps_span length, struct ps_schedule_opts *out)
{
    struct ps_phase *phase = &out->phases[0];
    phase->length = length;
    out->phase_count = 1;
    return read_rate(ps_str_first(text, dots), &phase->from) && read_rate(ps_str_skip(text, dots + 2), &phase->to);
}

/* "50" or "10,20,50": phases of equal length. */
static bool read_steps(struct ps_str text, ps_span length, struct ps_schedule_opts *out)
{
    struct ps_str part;
    while (ps_str_split(&text, ',', &part)) {
        double rate = 0;
        if (out->phase_count == PS_SCHEDULE_PHASES_MAX || !read_rate(part, &rate)) {
            return false;
        }
        out->phases[out->phase_count++] = (struct ps_phase){rate, rate, 0};
    }
    for (size_t i = 0; i < out->phase_count; i++) {
        out->phases[i].length = length / (ps_span)out->phase_count;
    }
    return true;
}

static bool read_schedule(const char *rate, ps_span length, struct ps_schedule_opts *out)
{
    struct ps_str text = ps_str_from(rate);
    const char *dots = strstr(rate, "..");
    bool read = dots != NULL ? read_ramp(text, (size_t)(dots - rate), length, out) : read_steps(text, length, out);
    return read && ps_schedule_check(out) == PS_OK;
}

static const char *arrivals_of(const struct ps_run_opts *run)
{
    static const char *const spreads[] = {
        [PS_SPREAD_EVEN] = "constant", [PS_SPREAD_POISSON] = "poisson", [PS_SPREAD_GAMMA] = "gamma"};
    const struct ps_schedule_opts *schedule = &run->schedule;
    bool ramp = schedule->phases[0].from != schedule->phases[0].to;
    return run->connections > 0                        ? "closed"
           : schedule->spread != PS_SPREAD_EVEN ? spreads[schedule->spread]
           : schedule->phase_count > 1                 ? "steps"
           : ramp                                      ? "ramp"
                                                       : "constant";
}

static double mean_rate(const struct ps_schedule_opts *opts)
{
    double sum = 0;
    for (size_t i = 0; i < opts->phase_count; i++) {
        sum += (opts->phases[i].from + opts->phases[i].to) / 2;
    }
    return opts->phase_count == 0 ? NAN : sum / (double)opts->phase_count; /* of equal length */
}

/* ---------------------------------------------------------------------------------------- run */

static int plan(const struct opts *opts, struct ps_run_opts *run)
{
    if (opts->connections > 0 && opts->rate != NULL) {
        return ps_args_usage_error(&ps_load_command, "--rate and --connections exclude each other");
    }
    run->connections = (size_t)opts->connections;
    run->duration = opts->duration;
    run->limit = opts->count;
    const char *rate = opts->rate != NULL ? opts->rate : RATE;
    if (opts->connections == 0 && !read_schedule(rate, opts->duration, &run->schedule)) {
        return ps_args_usage_error(&ps_load_command, "--rate %s: expected 50, 10..50 or 10,20,50, at most %.10g", rate,
                                   PS_SCHEDULE_RATE_MAX);
    }
    return 0;
}

static void note(const struct opts *opts, struct ps_tester *tester)
{
    if (opts->connections > 0) {
        ps_tester_note(tester, "connections", "%llu", (unsigned long long)opts->connections);
    } else {
        ps_tester_note(tester, "rate", "%s", opts->rate != NULL ? opts->rate : RATE);
        ps_tester_note(tester, "arrivals", "%s", opts->common.arrivals);
    }
    ps_tester_note(tester, "duration", "%gs", ps_span_seconds(opts->duration));
    if (opts->count > 0) {
        ps_tester_note(tester, "count", "%llu", (unsigned long long)opts->count);
    }
}

static int execute(const struct opts *opts, struct ps_tester *tester)
{
    static const struct ps_tester_ops no_ops;
    struct ps_run_opts run;
    ps_tester_opts(tester, &run);
    int status = plan(opts, &run);
    if (status != 0) {
        return status;
    }
    double target = opts->connections > 0 ? NAN : mean_rate(&run.schedule);
    note(opts, tester);
    ps_tester_default_threshold(tester, ERRORS);
    ps_tester_expect(tester, opts->duration);
    status = ps_tester_run(tester, &run, arrivals_of(&run), target, &no_ops, NULL);
    if (status != 0) {
        return status;
    }
    (void)ps_tester_section(tester);
    return ps_tester_finish(tester);
}

static int run_command(int argc, char **argv)
{
    struct opts opts = {0};
    struct ps_tester *tester = NULL;
    int err = ps_args_parse(&ps_load_command, argc, argv, &opts);
    if (err != PS_OK) {
        return err == PS_ECANCELED ? 0 : 2;
    }
    int status = ps_tester_new(&tester, &ps_load_command, &opts.common, PS_REPORT_LOAD);
    status = status != 0 ? status : execute(&opts, tester);
    ps_tester_free(tester);
    return status;
}
