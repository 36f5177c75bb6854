/* tester - what the load testing commands share: arguments, one run with its live view, journal and report.
 *
 *      ps_tester_new()      files are read, the model is asked for, signals are watched
 *      ps_tester_run()      journal, threads, a row a second: view, figures, thresholds, the command's on_second
 *      ps_tester_section()  what is known so far as a section of the report, with a verdict
 *      ps_tester_finish()   the report is saved, the summary printed; gives the exit status
 *
 * Ctrl-C and SIGTERM end a run at once; a second one ends the waiting for the disk, too. Whatever happens after
 * the first send, a valid report of what ran comes out: to the file, or where that fails to standard output.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_TESTER_H
#define PS_CLI_TESTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/args.h"
#include "base/clock.h"
#include "load/figures.h"
#include "load/journal.h"
#include "load/report.h"
#include "load/run.h"
#include "load/second.h"

struct ps_loop;
struct ps_tester;

/* Arguments that each of the commands has: a member of its options struct. */
struct ps_tester_args {
    const char *url;
    const char *method;
    struct ps_arg_list headers;
    const char *body;
    const char *requests;
    uint64_t status;
    const char *model;
    uint64_t prompt_tokens;
    uint64_t max_tokens;
    bool drawn_lengths;
    const char *api_key_file;
    const char *ca_file;
    bool insecure;
    ps_span timeout;
    const char *arrivals;
    double burstiness;
    double cancel_percent;
    uint64_t threads;
    uint64_t max_in_flight;
    ps_span max_lag;
    uint64_t seed;
    struct ps_arg_list goodput;
    struct ps_arg_list thresholds;
    struct ps_arg_list tags;
    const char *out;
    bool force;
    bool quiet;
};

/* The rows of these, for the table of a command whose options are a `type` with the member `member`. URL is the
 * first word. */
/* clang-format off */
#define PS_TESTER_AT(type, member, field) (offsetof(type, member) + offsetof(struct ps_tester_args, field))
#define PS_TESTER_ROWS(type, member) \
    PS_TESTER_URL_ROW(type, member), PS_TESTER_REQUEST_ROWS(type, member), PS_TESTER_OTHER_ROWS(type, member)
#define PS_TESTER_URL_ROW(type, member) \
    {"URL", PS_ARG_WORD, PS_TESTER_AT(type, member, url), \
     .help = "what is tested: http(s)://host[:port][/path]; only this server is contacted", .required = true}
/* What is sent: not of commands that play a trace. */
#define PS_TESTER_REQUEST_ROWS(type, member) \
    {"--method", PS_ARG_TEXT, PS_TESTER_AT(type, member, method), "NAME", \
     .help = "the method; default POST where there is a body, else GET"}, \
    {"--body", PS_ARG_TEXT, PS_TESTER_AT(type, member, body), "FILE", \
     .help = "send what is in this file; - is standard input"}, \
    {"--requests", PS_ARG_TEXT, PS_TESTER_AT(type, member, requests), "FILE", \
     .help = "requests in turns: a JSON object a line with method, path, headers, body, key, status"}, \
    {"--model", PS_ARG_TEXT, PS_TESTER_AT(type, member, model), "NAME", \
     .help = "the model that prompts ask for; default: the first that the server lists"}, \
    {"--prompt-tokens", PS_ARG_U64, PS_TESTER_AT(type, member, prompt_tokens), "N", "64", \
     .help = "length of prompts that are made for chat and embedding paths", .min = 1, .max = 1000000}, \
    {"--max-tokens", PS_ARG_U64, PS_TESTER_AT(type, member, max_tokens), "N", "32", \
     .help = "length of the answers to them", .min = 1, .max = 1000000}, \
    {"--drawn-lengths", PS_ARG_FLAG, PS_TESTER_AT(type, member, drawn_lengths), \
     .help = "draw these lengths: prompts log-normal around theirs, answers exponential"}, \
    {"--arrivals", PS_ARG_TEXT, PS_TESTER_AT(type, member, arrivals), "NAME", "even", \
     .help = "how requests spread around the rate", .names = ps_spread_names}, \
    {"--burstiness", PS_ARG_DOUBLE, PS_TESTER_AT(type, member, burstiness), "X", "1", \
     .help = "shape of gamma arrivals: 1 is Poisson, less comes in bursts, more is smoother", .min = 0.01, .max = 1000}
#define PS_TESTER_OTHER_ROWS(type, member) \
    {"--header", PS_ARG_LIST, PS_TESTER_AT(type, member, headers), "'NAME: VALUE'", \
     .help = "send this header too; may be repeated"}, \
    {"--status", PS_ARG_U64, PS_TESTER_AT(type, member, status), "CODE", \
     .help = "the status that is a success; default any of 2xx", .min = 100, .max = 599}, \
    {"--api-key-file", PS_ARG_TEXT, PS_TESTER_AT(type, member, api_key_file), "FILE", \
     .help = "send the key in this file as Authorization: Bearer"}, \
    {"--ca-file", PS_ARG_TEXT, PS_TESTER_AT(type, member, ca_file), "FILE", \
     .help = "trust these authorities instead of the system's"}, \
    {"--insecure", PS_ARG_FLAG, PS_TESTER_AT(type, member, insecure), \
     .help = "accept any certificate"}, \
    {"--timeout", PS_ARG_SPAN, PS_TESTER_AT(type, member, timeout), "D", "60s", \
     .help = "longest time for one request", .min = 0.001, .max = 1e6}, \
    {"--cancel", PS_ARG_DOUBLE, PS_TESTER_AT(type, member, cancel_percent), "PERCENT", "0", \
     .help = "break off so many requests on purpose, when their answer begins", .min = 0, .max = 100}, \
    {"--threads", PS_ARG_U64, PS_TESTER_AT(type, member, threads), "N", "0", \
     .help = "generator threads; 0: by rate and connections, one to a core each", .min = 0, .max = 64}, \
    {"--max-in-flight", PS_ARG_U64, PS_TESTER_AT(type, member, max_in_flight), "N", "16384", \
     .help = "requests in flight; beyond it they are skipped and the run says so", .min = 1, .max = 1000000}, \
    {"--max-lag", PS_ARG_SPAN, PS_TESTER_AT(type, member, max_lag), "D", "5ms", \
     .help = "a send later than this is late; with over 1 % of these the generator was the limit", .min = 1e-6, .max = 3600}, \
    {"--seed", PS_ARG_U64, PS_TESTER_AT(type, member, seed), "N", "1", \
     .help = "seed of everything that is drawn"}, \
    {"--goodput", PS_ARG_LIST, PS_TESTER_AT(type, member, goodput), "NAME:TIME", \
     .help = "count requests that keep this: ttft:200ms, tpot:50ms, latency:1s; may be repeated"}, \
    {"--threshold", PS_ARG_LIST, PS_TESTER_AT(type, member, thresholds), "TEXT", \
     .help = "fail when it is not kept: 'http_req_duration: p(95)<500, abortOnFail'; may be repeated"}, \
    {"--tag", PS_ARG_LIST, PS_TESTER_AT(type, member, tags), "NAME=VALUE", \
     .help = "a word for the report; may be repeated"}, \
    {"--out", PS_ARG_TEXT, PS_TESTER_AT(type, member, out), "FILE", PS_REPORT_FILE, \
     .help = "the report; a test replaces its own section there"}, \
    {"--force", PS_ARG_FLAG, PS_TESTER_AT(type, member, force), \
     .help = "replace that file also when it is no report"}, \
    {"--quiet", PS_ARG_FLAG, PS_TESTER_AT(type, member, quiet), \
     .help = "no progress"}
/* clang-format on */

/* What the exit statuses of a load test say, in its ps_command: 3, 4 and 5. */
#define PS_TESTER_SEVERE  "the target can't be reached, or answers nothing"
#define PS_TESTER_LIMITED "the generator was the limit: the figures are not the server's"
#define PS_TESTER_ABORTED "ended early, or the report could not be written"

/* What a command does while its run goes on. All may be NULL. */
struct ps_tester_ops {
    /* A second is over: may set second->phase and the target's own figures before it is written, and change, drain or
     * stop the run. */
    void (*on_second)(void *ctx, struct ps_second *second, const struct ps_run_row *row);
    /* Text for the live view: what the command knows beside rate and percentiles; lines ended by LF. */
    void (*on_view)(void *ctx, struct ps_buf *out);
};

/* Reads keys, bodies and thresholds, asks the target for its model where one is needed. `command` is for messages.
 * 0; or an exit status, after its reason was said: 2 wrong usage, 3 unreachable. */
PS_MUST_CHECK int ps_tester_new(struct ps_tester **out, const struct ps_command *command,
                                const struct ps_tester_args *args, enum ps_report_kind kind);
void ps_tester_free(struct ps_tester *tester); /* NULL is fine */

/* The options of a run as the arguments say them; the command adds when and how much. Valid as long as the
 * tester. */
void ps_tester_opts(const struct ps_tester *tester, struct ps_run_opts *opts);

/* For the report: an option as it was in force ("rate", "50"); both are copied. */
void ps_tester_note(struct ps_tester *tester, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* How long the run will last, for the progress bar; PS_NEVER: unknown. Before the run, or while it goes on. */
void ps_tester_expect(struct ps_tester *tester, ps_span length);

/* Where figures and journal begin when an interrupted test is taken up again: figures so far (owned from now on)
 * and a journal that is open. Before the run. */
void ps_tester_resume_take(struct ps_tester *tester, struct ps_figures *figures, struct ps_journal *journal);

/* Runs it to its end. 0; or an exit status, after its reason was said (2 wrong usage). An unreachable target is no
 * such error: the section says it. */
PS_MUST_CHECK int ps_tester_run(struct ps_tester *tester, const struct ps_run_opts *opts, const char *arrivals,
                                double target_rps, const struct ps_tester_ops *ops, void *ctx);

/* The run, from inside ops and afterwards; NULL before. */
struct ps_run *ps_tester_current(const struct ps_tester *tester);
const struct ps_figures *ps_tester_figures(const struct ps_tester *tester);
struct ps_journal *ps_tester_journal(const struct ps_tester *tester);

/* Ended by a signal, or by a threshold with abortOnFail? */
bool ps_tester_is_interrupted(const struct ps_tester *tester);

/* The section with everything that is common filled in and the verdict of thresholds, generator and signals. The
 * command may change the verdict and adds its own part. Borrowed: lives as long as the tester. */
struct ps_report_section *ps_tester_section(struct ps_tester *tester);

/* Takes thresholds that hold unless the user has set one about their metric. */
void ps_tester_default_threshold(struct ps_tester *tester, const char *text);

/* Adds a threshold of the command's own to the section, after ps_tester_section(). One that is not kept fails a test that
 * had passed, for this reason (copied). Text of metric and expression is borrowed. */
void ps_tester_threshold(struct ps_tester *tester, const struct ps_report_threshold *threshold, const char *reason);

/* The reason of the section, copied: of a verdict that the command itself has set. */
void ps_tester_reason(struct ps_tester *tester, enum ps_verdict verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Has something failed and nothing at all been answered for the first seconds? Then no test is worth its time. */
bool ps_tester_is_dead(const struct ps_tester *tester);

/* Control's loop: for what a command asks beside the run. */
struct ps_loop *ps_tester_loop(const struct ps_tester *tester);

/* Saves the section; where that fails the document goes to standard output. Gives what ps_report_save() does, which
 * was said where it failed. */
int ps_tester_save(struct ps_tester *tester);

/* Saves the section, prints what people read, gives the exit status. */
int ps_tester_finish(struct ps_tester *tester);

/* The exit status of the section that was (not) saved. */
int ps_tester_status(const struct ps_tester *tester, int saved);

#endif
