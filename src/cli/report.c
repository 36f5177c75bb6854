/* report - see report.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/report.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cli/output.h"
#include "load/recover.h"
#include "load/report.h"
#include "load/report_html.h"
#include "load/report_json.h"
#include "load/report_junit.h"
#include "load/report_text.h"

struct opts {
    const char *file;
    bool summary;
    bool json;
    const char *html;
    const char *junit;
    const char *out;
    bool force;
};

/* clang-format off */
static const struct ps_arg args[] = {
    {"FILE", PS_ARG_WORD, offsetof(struct opts, file),
     .help = "the report, or the journal of a run that was killed (" PS_REPORT_FILE " when absent)"},
    {"--summary", PS_ARG_FLAG, offsetof(struct opts, summary),
     .help = "print the verdict, its reason and a line for each test, nothing more"},
    {"--json", PS_ARG_FLAG, offsetof(struct opts, json),
     .help = "print the summary as JSON"},
    {"--html", PS_ARG_TEXT, offsetof(struct opts, html), "FILE",
     .help = "write the page; - is standard output"},
    {"--junit", PS_ARG_TEXT, offsetof(struct opts, junit), "FILE",
     .help = "write JUnit XML for a CI server; - is standard output"},
    {"--out", PS_ARG_TEXT, offsetof(struct opts, out), "FILE",
     .help = "of a journal: the report that gets its section (the one beside it when absent)"},
    {"--force", PS_ARG_FLAG, offsetof(struct opts, force),
     .help = "of a journal: replace a file that is not a report"},
    {0},
};
/* clang-format on */

static int run_command(int argc, char **argv);

const struct ps_command ps_report_command = {
    .name = "report",
    .brief = "shows a load test's report: text, page, JUnit",
    .summary = "Shows the report of load tests again: as text, as a page, as JUnit XML. Of the\n"
               "journal of a run that was killed it makes the report first.",
    .args = args,
    .notes = "A page: penstock report --html report.html",
    .success = "it was shown, whatever its verdict",
    .failure = "the file is no report, or something could not be written",
    .run = run_command,
};

static int complain(const struct ps_report_error *error)
{
    fprintf(stderr, "penstock report: %s\n", error->text);
    return 1;
}

/* "x.json.load.journal" and "x.json.load.journal.old" belong to "x.json". False: it is not called so. */
static bool report_of(const char *journal, char *path, size_t size)
{
    snprintf(path, size, "%s", journal);
    static const char *const ends[] = {".gz", ".xz", ".old", ".journal"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t length = strlen(path), end = strlen(ends[i]);
        bool there = length > end && strcmp(path + length - end, ends[i]) == 0;
        if (there) {
            path[length - end] = '\0';
        } else if (i == 3) {
            return false;
        }
    }
    char *dot = strrchr(path, '.');
    if (dot == NULL || strchr(dot, '/') != NULL || dot == path) {
        return false;
    }
    *dot = '\0';
    return true;
}

/* Makes a section of a journal and puts it into its report, whose path is `path` then. */
static int recover(const struct opts *opts, char *path, size_t size)
{
    struct ps_recovery *recovery = NULL;
    struct ps_report_error error;
    if (opts->out != NULL) {
        snprintf(path, size, "%s", opts->out);
    } else if (!report_of(opts->file, path, size)) {
        return ps_args_usage_error(&ps_report_command, "%s: --out must say which report it belongs to", opts->file);
    }
    if (ps_recover(&recovery, opts->file, &error) != PS_OK) {
        return complain(&error);
    }
    if (error.text[0] != '\0') {
        fprintf(stderr, "penstock report: %s; what stood before it was taken\n", error.text);
    }
    int err = ps_report_save(path, ps_recover_section(recovery), opts->force, stdout, &error);
    ps_recover_free(recovery);
    return err == PS_OK ? 0 : complain(&error);
}

static int write_json(const json_t *document, struct ps_buf *out)
{
    char *text = json_dumps(json_object_get(document, "summary"), JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    int err = text == NULL ? PS_ENOMEM : ps_buf_append_str(out, ps_str_from(text));
    free(text);
    return err == PS_OK ? ps_buf_append_str(out, PS_STR("\n")) : err;
}

/* Makes one kind of text and puts it where it belongs. */
static int put(const char *path, const json_t *document, int (*write)(const json_t *, struct ps_buf *))
{
    struct ps_buf text = ps_buf_make(PS_OUTPUT_MAX);
    int made = write(document, &text);
    int err = ps_output_write("report", path, made, &text);
    ps_buf_fini(&text);
    return err;
}

static int show(const struct opts *opts, const json_t *document)
{
    int err = PS_OK;
    bool quiet = opts->html != NULL || opts->junit != NULL;
    if (opts->html != NULL) {
        err = put(opts->html, document, ps_report_write_html);
    }
    if (err == PS_OK && opts->junit != NULL) {
        err = put(opts->junit, document, ps_report_write_junit);
    }
    if (err == PS_OK && opts->json) {
        err = put("-", document, write_json);
    } else if (err == PS_OK && (opts->summary || !quiet)) {
        err = put("-", document, opts->summary ? ps_report_write_summary : ps_report_write_text);
    }
    return err == PS_OK ? 0 : 1;
}

static int run_command(int argc, char **argv)
{
    struct opts opts;
    struct ps_report_error error;
    json_t *document = NULL;
    char path[PATH_MAX];
    int err = ps_args_parse(&ps_report_command, argc, argv, &opts);
    if (err != PS_OK) {
        return err == PS_ECANCELED ? 0 : 2;
    }
    opts.file = opts.file == NULL ? PS_REPORT_FILE : opts.file;
    snprintf(path, sizeof path, "%s", opts.file);
    if (ps_recover_is_journal(opts.file)) {
        int status = recover(&opts, path, sizeof path);
        if (status != 0) {
            return status;
        }
    }
    if (ps_report_load_file(&document, path, &error) != PS_OK) {
        return complain(&error);
    }
    int status = show(&opts, document);
    json_decref(document);
    return status;
}
