/* tester - see tester.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/tester.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/option.h"
#include "cli/output.h"
#include "cli/tester_private.h"
#include "io/loop.h"
#include "load/clean.h"
#include "load/report_html.h"
#include "load/report_junit.h"
#include "load/report_text.h"

#define TEXT_MAX (4u << 20)
#define RATE_OF_A_THREAD 10000.0 /* more than this is for more threads, where there are cores */
#define CONNECTIONS_OF_A_THREAD 2000u

/* ---------------------------------------------------------------------------------- arguments */

static int read_key(struct ps_tester *tester)
{
    const char *why = "";
    const char *path = tester->args.api_key_file;
    if (path == NULL || ps_secret_read(path, tester->api_key, &why) == PS_OK) {
        return 0;
    }
    return ps_args_usage_error(tester->command, "%s: %s", path, why);
}

static int read_goal(struct ps_tester *tester, const char *text)
{
    const struct {
        struct ps_str name;
        ps_span *span;
        const char *member;
    } goals[] = {
        {PS_STR("ttft"), &tester->objectives.ttft, "ttft_ms"},
        {PS_STR("tpot"), &tester->objectives.per_token, "tpot_ms"},
        {PS_STR("latency"), &tester->objectives.latency, "latency_ms"},
    };
    struct ps_str whole = ps_str_from(text);
    struct ps_str name = ps_str_first(whole, ps_str_find(whole, ':'));
    for (size_t i = 0; i < PS_ARRAY_LEN(goals); i++) {
        bool known = ps_str_eq(name, goals[i].name) && *goals[i].span == 0;
        if (known && ps_option_parse_span(ps_str_skip(whole, name.len + 1), goals[i].span) == PS_OK &&
            *goals[i].span > 0) {
            char *value = tester->texts[PS_ARG_LIST_MAX + tester->goal_count];
            snprintf(value, sizeof tester->texts[0], "%g", (double)*goals[i].span / 1e6);
            tester->goals[tester->goal_count++] = (struct ps_report_pair){goals[i].member, value};
            return 0;
        }
    }
    return ps_args_usage_error(tester->command, "--goodput %s: expected ttft:200ms, tpot:50ms or latency:1s", text);
}

static int read_tag(struct ps_tester *tester, const char *text)
{
    struct ps_str whole = ps_str_from(text);
    size_t end = ps_str_find(whole, '=');
    char *copy = tester->texts[tester->tag_count];
    if (end == 0 || end == whole.len || whole.len >= sizeof tester->texts[0]) {
        return ps_args_usage_error(tester->command, "--tag %s: expected NAME=VALUE", text);
    }
    memcpy(copy, text, whole.len + 1);
    copy[end] = '\0';
    tester->tags[tester->tag_count++] = (struct ps_report_pair){copy, copy + end + 1};
    return 0;
}

static int read_lists(struct ps_tester *tester)
{
    const struct ps_tester_args *args = &tester->args;
    char why[256];
    int status = 0;
    for (size_t i = 0; status == 0 && i < args->goodput.count; i++) {
        status = read_goal(tester, args->goodput.items[i]);
    }
    for (size_t i = 0; status == 0 && i < args->tags.count; i++) {
        status = read_tag(tester, args->tags.items[i]);
    }
    for (size_t i = 0; status == 0 && i < args->thresholds.count; i++) {
        struct ps_str text = ps_str_from(args->thresholds.items[i]);
        if (ps_thresholds_parse(&tester->thresholds, text, why, sizeof why) != PS_OK) {
            status = ps_args_usage_error(tester->command, "--threshold '%s': %s", args->thresholds.items[i], why);
        }
    }
    return status;
}

void ps_tester_default_threshold(struct ps_tester *tester, const char *text)
{
    struct ps_thresholds one = {.count = 0};
    char why[256];
    int err = ps_thresholds_parse(&one, ps_str_from(text), why, sizeof why);
    PS_CHECK(err == PS_OK);
    if (!ps_thresholds_have(&tester->thresholds, one.rows[0].metric)) {
        PS_IGNORE(ps_thresholds_parse(&tester->thresholds, ps_str_from(text), why, sizeof why));
    }
}

/* A file that is no report is found before the test, not after it. */
static int check_out(const struct ps_tester *tester)
{
    json_t *document = NULL;
    struct ps_report_error error;
    int err = ps_report_load_file(&document, tester->args.out, &error);
    json_decref(document);
    return err == PS_EPARSE && !tester->args.force
               ? ps_args_usage_error(tester->command, "%s (--force replaces it)", error.text)
               : 0;
}

/* ---------------------------------------------------------------------------------------- life */

static void on_signal(void *ctx, int signum)
{
    struct ps_tester *tester = ctx;
    (void)signum;
    tester->signal_count++;
    if (tester->run != NULL && tester->signal_count == 1) {
        ps_run_stop(tester->run);
    } else {
        ps_loop_stop(tester->loop);
    }
}

static int open_loop(struct ps_tester *tester)
{
    int err = ps_loop_new(&tester->loop, &ps_clock_real);
    if (err == PS_OK) {
        err = ps_loop_on_signal(tester->loop, SIGINT, on_signal, tester);
    }
    if (err == PS_OK) {
        err = ps_loop_on_signal(tester->loop, SIGTERM, on_signal, tester);
    }
    if (err == PS_OK) {
        err = ps_figures_new(&tester->figures);
    }
    return err == PS_OK ? 0 : ps_args_usage_error(tester->command, "%s", ps_err_text(err));
}

static int set_up(struct ps_tester *tester)
{
    int status = read_key(tester);
    status = status != 0 ? status : read_lists(tester);
    status = status != 0 ? status : check_out(tester);
    status = status != 0 ? status : open_loop(tester);
    status = status != 0 ? status : ps_tester_what_make(tester);
    return status == 0 && tester->signal_count > 0 ? ps_verdict_status(PS_VERDICT_ABORTED) : status;
}

int ps_tester_new(struct ps_tester **out, const struct ps_command *command, const struct ps_tester_args *args,
                  enum ps_report_kind kind)
{
    struct ps_tester *tester = calloc(1, sizeof *tester);
    if (tester == NULL) {
        return ps_args_usage_error(command, "%s", ps_err_text(PS_ENOMEM));
    }
    (void)signal(SIGPIPE, SIG_IGN);
    tester->command = command;
    tester->args = *args;
    tester->kind = kind;
    tester->expected = PS_NEVER;
    ps_screen_init(&tester->view.screen, stderr);
    int status = set_up(tester);
    if (status != 0) {
        ps_tester_free(tester);
        return status;
    }
    *out = tester;
    return 0;
}

void ps_tester_free(struct ps_tester *tester)
{
    if (tester == NULL) {
        return;
    }
    ps_run_free(tester->run);
    ps_journal_free(tester->journal, true);
    ps_figures_free(tester->figures);
    ps_loop_free(tester->loop);
    ps_tester_what_fini(&tester->what);
    for (size_t i = 0; i < tester->note_count; i++) {
        free((void *)(uintptr_t)tester->notes[i].name);
        free((void *)(uintptr_t)tester->notes[i].value);
    }
    free(tester);
}

/* ------------------------------------------------------------------------------------- options */

static unsigned threads_for(const struct ps_tester *tester, const struct ps_run_opts *opts)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    double rate = 0;
    for (size_t i = 0; i < opts->schedule.phase_count; i++) {
        rate = fmax(rate, fmax(opts->schedule.phases[i].from, opts->schedule.phases[i].to));
    }
    double wanted = fmax(ceil(rate / RATE_OF_A_THREAD),
                         ceil((double)opts->connections / CONNECTIONS_OF_A_THREAD));
    return tester->args.threads > 0 ? (unsigned)tester->args.threads
                                    : (unsigned)fmax(1, fmin(wanted, (double)cores));
}

void ps_tester_opts(const struct ps_tester *tester, struct ps_run_opts *opts)
{
    const struct ps_tester_args *args = &tester->args;
    const struct ps_tester_what *what = &tester->what;
    size_t spread = 0;
    while (args->arrivals != NULL && strcmp(ps_spread_names[spread], args->arrivals) != 0) {
        spread++;
    }
    *opts = (struct ps_run_opts){
        .requests = {.method = args->method,
                     .path = what->path,
                     .body = what->body,
                     .templates = args->requests,
                     .status = (int)args->status,
                     .prompt_tokens = what->prompts ? (uint32_t)args->prompt_tokens : 0,
                     .max_tokens = (uint32_t)args->max_tokens,
                     .prompt_kind = what->kind,
                     .drawn_lengths = args->drawn_lengths,
                     .prompt = what->prompt,
                     .seed = args->seed},
        .schedule = {.spread = (enum ps_spread)spread, .burstiness = args->burstiness, .seed = args->seed},
        .max_in_flight = (size_t)args->max_in_flight,
        .timeout = args->timeout,
        .max_lag = args->max_lag,
        .cancel_share = args->cancel_percent / 100,
        .objectives = tester->objectives,
        .seed = args->seed,
    };
    ps_tester_target(tester, &opts->target);
}

void ps_tester_note(struct ps_tester *tester, const char *name, const char *format, ...)
{
    char *value = NULL;
    va_list args;
    if (tester->note_count == PS_TESTER_NOTES) {
        return;
    }
    va_start(args, format);
    int len = vasprintf(&value, format, args);
    va_end(args);
    char *copy = len < 0 ? NULL : ps_str_dup(ps_str_from(name));
    if (copy != NULL) {
        tester->notes[tester->note_count++] = (struct ps_report_pair){copy, value};
    }
}

void ps_tester_expect(struct ps_tester *tester, ps_span length)
{
    tester->expected = length;
}

void ps_tester_resume_take(struct ps_tester *tester, struct ps_figures *figures, struct ps_journal *journal)
{
    ps_figures_free(tester->figures);
    tester->figures = figures;
    tester->journal = journal;
    tester->began = figures->at;
}

/* ---------------------------------------------------------------------------------------- rows */

/* The failures of a row, of which there are a few kinds. */
static size_t list_failures(const struct ps_tally *tally, struct ps_second_failure *out)
{
    size_t count = 0;
    for (size_t i = 0; i < PS_FAILURE_COUNT; i++) {
        if (tally->failures[i] > 0) {
            out[count++] = (struct ps_second_failure){ps_failure_text((enum ps_failure)i), tally->failures[i],
                                                      tally->examples[i]};
        }
    }
    return count;
}

static struct ps_second second_of(const struct ps_tester *tester, const struct ps_run_row *row,
                                  const struct ps_second_failure *failures, size_t failure_count)
{
    const struct ps_tally *tally = row->tally;
    struct ps_second second =
        ps_second_make(tester->began + ps_span_seconds(row->at + row->length), ps_span_seconds(row->length));
    second.target_rps = row->target_rate;
    second.sent = tally->sent;
    second.succeeded = tally->succeeded;
    second.failed = tally->failed;
    second.canceled = tally->cancelled;
    second.skipped = tally->skipped;
    second.late = tally->late;
    second.good = tally->good;
    second.in_flight = row->in_flight;
    second.prompt_tokens = tally->prompt_tokens;
    second.output_tokens = tally->output_tokens;
    second.cpu_percent = row->self.cpu_percent;
    second.corrected = &tally->corrected;
    second.latency = &tally->latency;
    second.ttft_corrected = &tally->ttft_corrected;
    second.ttft = &tally->ttft;
    second.token_gap = &tally->event_gap;
    second.lag = &tally->lag;
    second.statuses = tally->statuses;
    second.failures = failures;
    second.failure_count = failure_count;
    return second;
}

static void keep(struct ps_tester *tester, const struct ps_second *second)
{
    PS_IGNORE(ps_figures_add(tester->figures, second)); /* the totals have it in any case */
    if (tester->journal == NULL) {
        return;
    }
    ps_journal_second(tester->journal, second);
    int err = ps_journal_error(tester->journal);
    if (err != PS_OK && !tester->journal_said) {
        tester->journal_said = true;
        ps_screen_leave(&tester->view.screen);
        fprintf(stderr, "penstock %s: the journal: %s; the run goes on without it\n", tester->command->name,
                ps_err_text(err));
    }
}

static void on_row(void *ctx, const struct ps_run_row *row)
{
    struct ps_tester *tester = ctx;
    struct ps_second_failure failures[PS_FAILURE_COUNT];
    size_t count = list_failures(row->tally, failures);
    struct ps_second second = second_of(tester, row, failures, count);
    if (tester->ops->on_second != NULL) {
        tester->ops->on_second(tester->ctx, &second, row);
    }
    keep(tester, &second);
    ps_tester_view_row(tester, &second);
    if (!tester->tripped && ps_tester_trips(tester, tester->figures->span)) {
        tester->tripped = true;
        ps_run_stop(tester->run);
    }
}

static void on_end(void *ctx, int err)
{
    struct ps_tester *tester = ctx;
    tester->run_err = err;
    ps_loop_stop(tester->loop);
}

static const struct ps_run_ops run_ops = {.on_row = on_row, .on_end = on_end};

/* ----------------------------------------------------------------------------------------- run */

static void open_journal(struct ps_tester *tester)
{
    struct ps_buf path = ps_buf_make(TEXT_MAX);
    struct ps_report_error error = {"out of memory"};
    int err = ps_journal_path(tester->args.out, tester->kind, &path);
    if (err == PS_OK) {
        err = ps_journal_new(&tester->journal, path.data, &tester->section, &error);
    }
    if (err != PS_OK) {
        fprintf(stderr, "penstock %s: the journal: %s; the run goes on without it\n", tester->command->name,
                error.text);
    }
    ps_buf_fini(&path);
}

static const char *method_of(const struct ps_run_opts *opts)
{
    bool posts = opts->requests.body.ptr != NULL || opts->requests.prompt_tokens > 0 ||
                 opts->requests.trace.path != NULL;
    return opts->requests.method != NULL ? opts->requests.method : posts ? "POST" : "GET";
}

static void fill_section(struct ps_tester *tester, const struct ps_run_opts *opts, const char *arrivals)
{
    struct ps_report_section *section = &tester->section;
    section->kind = tester->kind;
    section->target = tester->args.url;
    section->method = method_of(opts);
    section->started = ps_clock_wall(&ps_clock_real);
    section->arrivals = arrivals;
    section->target_rps = tester->target_rps;
    section->connections = opts->connections;
    section->figures = tester->figures;
    section->options = tester->notes;
    section->option_count = tester->note_count;
    section->tags = tester->tags;
    section->tag_count = tester->tag_count;
    section->objectives = tester->goals;
    section->objective_count = tester->goal_count;
    section->threads = opts->threads;
}

/* What was planned comes first, then what all commands have. */
static void note_common(struct ps_tester *tester)
{
    const struct ps_tester_args *args = &tester->args;
    ps_tester_note(tester, "timeout", "%gs", ps_span_seconds(args->timeout));
    ps_tester_note(tester, "seed", "%llu", (unsigned long long)args->seed);
    if (tester->what.prompts) {
        ps_tester_note(tester, "model", "%s", tester->what.model);
        ps_tester_note(tester, "prompt_tokens", "%llu", (unsigned long long)args->prompt_tokens);
        ps_tester_note(tester, "max_tokens", "%llu", (unsigned long long)args->max_tokens);
    }
    if (args->requests != NULL) {
        ps_tester_note(tester, "requests", "%s", args->requests);
    }
    if (args->cancel_percent > 0) {
        ps_tester_note(tester, "cancel", "%g%%", args->cancel_percent);
    }
}

int ps_tester_run(struct ps_tester *tester, const struct ps_run_opts *opts, const char *arrivals,
                  double target_rps, const struct ps_tester_ops *ops, void *ctx)
{
    struct ps_run_opts own = *opts;
    struct ps_run_error error;
    own.threads = threads_for(tester, opts);
    tester->ops = ops;
    tester->ctx = ctx;
    tester->target_rps = target_rps;
    int err = ps_run_new(&tester->run, tester->loop, &own, &run_ops, tester, &error);
    if (err != PS_OK) {
        return ps_args_usage_error(tester->command, "%s", error.text);
    }
    note_common(tester);
    fill_section(tester, &own, arrivals);
    if (tester->journal == NULL) {
        open_journal(tester);
    }
    ps_run_start(tester->run);
    ps_loop_run(tester->loop);
    ps_screen_wipe(&tester->view.screen);
    return 0;
}

struct ps_run *ps_tester_current(const struct ps_tester *tester)
{
    return tester->run;
}

struct ps_loop *ps_tester_loop(const struct ps_tester *tester)
{
    return tester->loop;
}

const struct ps_figures *ps_tester_figures(const struct ps_tester *tester)
{
    return tester->figures;
}

struct ps_journal *ps_tester_journal(const struct ps_tester *tester)
{
    return tester->journal;
}

bool ps_tester_is_interrupted(const struct ps_tester *tester)
{
    return tester->signal_count > 0 || tester->tripped;
}

/* ------------------------------------------------------------------------------------- report */

struct ps_report_section *ps_tester_section(struct ps_tester *tester)
{
    struct ps_report_section *section = &tester->section;
    if (ps_run_started(tester->run) > 0) {
        section->started = ps_run_started(tester->run);
    }
    section->duration_seconds = tester->figures->at;
    section->unfinished = ps_run_total(tester->run)->unfinished;
    section->figures = tester->figures;
    ps_tester_judge(tester);
    return section;
}

int ps_tester_save(struct ps_tester *tester)
{
    struct ps_report_error error;
    fflush(stdout);
    int err = ps_report_save(tester->args.out, &tester->section, tester->args.force, stdout, &error);
    if (err != PS_OK) {
        fprintf(stderr, "penstock %s: %s\n", tester->command->name, error.text);
    }
    ps_journal_free(tester->journal, err != PS_OK); /* what the report has needs no journal */
    tester->journal = NULL;
    return err;
}

static void print_text(const struct ps_tester *tester, FILE *out)
{
    struct ps_buf text = ps_buf_make(TEXT_MAX);
    json_t *document = json_object();
    if (document != NULL && ps_report_put(document, &tester->section) == PS_OK &&
        ps_report_write_text(document, &text) == PS_OK) {
        fprintf(out, "%.*s", PS_STR_ARG(ps_buf_str(&text)));
        fflush(out);
    }
    json_decref(document);
    ps_buf_fini(&text);
}

/* Puts one more form of the document beside it: x.json, x.html. What fails is said and changes no verdict. */
static void put_beside(const struct ps_tester *tester, const json_t *document, const char *end,
                       int (*write)(const json_t *, struct ps_buf *))
{
    char path[4096];
    size_t stem = strlen(tester->args.out);
    stem -= stem > 5 && strcmp(tester->args.out + stem - 5, ".json") == 0 ? 5 : 0;
    if (snprintf(path, sizeof path, "%.*s%s", (int)stem, tester->args.out, end) >= (int)sizeof path) {
        return;
    }
    struct ps_buf text = ps_buf_make(PS_OUTPUT_MAX);
    int made = write(document, &text);
    if (ps_output_write(tester->command->name, path, made, &text) == PS_OK) {
        fprintf(stderr, "%s: %s\n", strcmp(end, ".html") == 0 ? "page" : "JUnit", path);
    }
    ps_buf_fini(&text);
}

/* A page and JUnit of the whole document, with what other tests left there. */
static void put_forms(const struct ps_tester *tester)
{
    json_t *document = NULL;
    struct ps_report_error error;
    struct stat file;
    bool regular = stat(tester->args.out, &file) == 0 && S_ISREG(file.st_mode);
    if (regular && ps_report_load_file(&document, tester->args.out, &error) == PS_OK) {
        put_beside(tester, document, ".html", ps_report_write_html);
        put_beside(tester, document, ".xml", ps_report_write_junit);
    }
    json_decref(document);
}

int ps_tester_status(const struct ps_tester *tester, int saved)
{
    return ps_report_status(tester->section.verdict, saved);
}

int ps_tester_finish(struct ps_tester *tester)
{
    int saved = ps_tester_save(tester);
    /* Where the document went to standard output people read beside it. */
    print_text(tester, saved == PS_OK ? stdout : stderr);
    if (saved == PS_OK) {
        fprintf(stderr, "report: %s\n", tester->args.out);
        put_forms(tester);
    }
    return ps_tester_status(tester, saved);
}
