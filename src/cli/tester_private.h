/* tester_private - a tester from inside.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_TESTER_PRIVATE_H
#define PS_CLI_TESTER_PRIVATE_H

#include "base/args.h"
#include "cli/screen.h"
#include "cli/secret.h"
#include "cli/tester.h"
#include "load/threshold.h"
#include "load/window.h"

#define PS_TESTER_POINTS 48 /* of the sparkline */
#define PS_TESTER_NOTES 48

/* What is asked for, made of URL and arguments (tester_requests.c). */
struct ps_tester_what {
    char *url;  /* with its scheme, where it was given without */
    char *base; /* of the URL what comes before the API's own path */
    char *path;
    char *model;
    struct ps_str body; /* owned; ptr NULL: none */
    bool prompts;
    struct ps_prompt_opts prompt;
    enum ps_plan_kind kind;
};

struct ps_tester_view {
    struct ps_screen screen;
    struct ps_window latency;
    struct ps_window first_token;
    double points[PS_TESTER_POINTS]; /* p95 of the last seconds, ms */
    size_t point_count;
    uint64_t drawn; /* rows since the last plain line */
    uint64_t sent;
    double span;
};

struct ps_tester {
    const struct ps_command *command;
    struct ps_tester_args args;
    enum ps_report_kind kind;
    char api_key[PS_SECRET_MAX];
    struct ps_tester_what what;
    struct ps_objectives objectives;
    struct ps_thresholds thresholds;
    struct ps_loop *loop;
    struct ps_run *run;
    struct ps_figures *figures;
    struct ps_journal *journal;
    struct ps_tester_view view;
    const struct ps_tester_ops *ops;
    void *ctx;
    ps_span expected;
    double target_rps;
    double began; /* seconds that lay behind when it was resumed */
    char **note_names;
    struct ps_report_pair notes[PS_TESTER_NOTES];
    size_t note_count;
    struct ps_report_pair goals[3]; /* objectives, for the report */
    size_t goal_count;
    struct ps_report_pair tags[PS_ARG_LIST_MAX];
    size_t tag_count;
    char texts[PS_ARG_LIST_MAX + 3][256]; /* of tags and goals */
    struct ps_report_threshold results[PS_THRESHOLDS_MAX];
    char threads_text[16];
    struct ps_report_section section;
    char reason[700];
    char limited[400];
    int run_err;
    int signal_count;
    bool tripped; /* a threshold ended it */
    bool journal_said; /* that it could not be written */
};

/* --- tester_requests.c */

/* What URL and arguments ask for. 0 or an exit status, said. */
int ps_tester_what_make(struct ps_tester *tester);
void ps_tester_what_fini(struct ps_tester_what *what);
void ps_tester_target(const struct ps_tester *tester, struct ps_target_opts *opts);

/* --- tester_view.c */
void ps_tester_view_row(struct ps_tester *tester, const struct ps_second *second);

/* --- tester_verdict.c */

/* Checks thresholds that may end the run; true: one does. */
bool ps_tester_trips(struct ps_tester *tester, double seconds);
void ps_tester_judge(struct ps_tester *tester);

#endif
