/* compare - see compare.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/compare.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/output.h"
#include "load/compare.h"
#include "load/report.h"
#include "load/report_json.h"

struct opts {
    const char *a;
    const char *b;
    const char *max_regression;
    double confidence;
    const char *html;
    bool json;
};

/* clang-format off */
static const struct ps_arg args[] = {
    {"A", PS_ARG_WORD, offsetof(struct opts, a), .help = "the report of the earlier run", .required = true},
    {"B", PS_ARG_WORD, offsetof(struct opts, b), .help = "the report of the later run", .required = true},
    {"--max-regression", PS_ARG_TEXT, offsetof(struct opts, max_regression), "SHARE", "5%",
     .help = "how much worse a figure may be: 5% or 0.05; what is worse by chance is never a regression"},
    {"--confidence", PS_ARG_DOUBLE, offsetof(struct opts, confidence), "SHARE", "0.95",
     .help = "of all figures together: 0.95 is one false alarm in twenty comparisons", .min = 0.5, .max = 0.9999},
    {"--html", PS_ARG_TEXT, offsetof(struct opts, html), "FILE", .help = "write a page; - is standard output"},
    {"--json", PS_ARG_FLAG, offsetof(struct opts, json), .help = "print the result as JSON"},
    {0},
};
/* clang-format on */

static int run_command(int argc, char **argv);

const struct ps_command ps_compare_command = {
    .name = "compare",
    .brief = "tests whether a later load test is worse",
    .summary = "Tests whether two load tests differ by more than chance explains, and whether the\n"
               "later one is worse.",
    .args = args,
    .notes = "4 is the exit status where a run was limited by its generator: then nothing can be said.",
    .success = "nothing is worse by more than is allowed",
    .failure = "a figure is worse by more than is allowed, and not by chance",
    .run = run_command,
};

/* "5%" or "0.05". */
static bool read_share(const char *text, double *share)
{
    struct ps_str str = ps_str_from(text);
    bool percent = ps_str_ends_with(str, PS_STR("%"));
    if (ps_str_to_double(ps_str_trim(ps_str_first(str, str.len - (percent ? 1 : 0))), share) != PS_OK) {
        return false;
    }
    *share /= percent ? 100 : 1;
    return *share >= 0 && *share <= 100;
}

static int print_json(const json_t *result, struct ps_buf *out)
{
    char *text = json_dumps(result, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    int err = text == NULL ? PS_ENOMEM : ps_buf_append_str(out, ps_str_from(text));
    free(text);
    return err == PS_OK ? ps_buf_append_str(out, PS_STR("\n")) : err;
}

static int status_of(const json_t *result)
{
    const char *verdict = ps_report_text(result, "verdict");
    return strcmp(verdict, "regression") == 0 ? 1 : strcmp(verdict, "generator_limited") == 0 ? 4 : 0;
}

static int compare(const struct opts *opts, double share, const json_t *a, const json_t *b)
{
    const struct ps_compare_opts how = {share, opts->confidence, opts->a, opts->b};
    json_t *result = NULL;
    int err = ps_compare(&result, a, b, &how);
    if (err != PS_OK) {
        fprintf(stderr, "penstock compare: %s\n", ps_err_text(err));
        return 2;
    }
    struct ps_buf page = ps_buf_make(PS_OUTPUT_MAX), text = ps_buf_make(PS_OUTPUT_MAX);
    if (opts->html != NULL) {
        int made = ps_compare_html(result, a, b, &page);
        err = ps_output_write("compare", opts->html, made, &page);
    }
    if (err == PS_OK && (opts->html == NULL || strcmp(opts->html, "-") != 0)) {
        int made = opts->json ? print_json(result, &text) : ps_compare_text(result, &text);
        err = ps_output_write("compare", "-", made, &text);
    }
    ps_buf_fini(&page);
    ps_buf_fini(&text);
    int status = err == PS_OK ? status_of(result) : 2;
    json_decref(result);
    return status;
}

static int run_command(int argc, char **argv)
{
    struct opts opts;
    struct ps_report_error error;
    json_t *a = NULL, *b = NULL;
    double share = 0;
    int err = ps_args_parse(&ps_compare_command, argc, argv, &opts);
    if (err != PS_OK) {
        return err == PS_ECANCELED ? 0 : 2;
    }
    if (!read_share(opts.max_regression, &share)) {
        return ps_args_usage_error(&ps_compare_command, "--max-regression %s: expected a share: 5%% or 0.05",
                                   opts.max_regression);
    }
    int status = 2;
    if (ps_report_load_file(&a, opts.a, &error) != PS_OK || ps_report_load_file(&b, opts.b, &error) != PS_OK) {
        fprintf(stderr, "penstock compare: %s\n", error.text);
    } else {
        status = compare(&opts, share, a, b);
    }
    json_decref(a);
    json_decref(b);
    return status;
}
