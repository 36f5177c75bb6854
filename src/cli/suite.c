/* suite - see suite.h.
 *
 * Each test is run by its own command, with the words of this one and what a suite adds: there is no second way to run a
 * test, and each replaces its own section of the one report.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cli/endurance.h"
#include "cli/load.h"
#include "cli/report.h"
#include "cli/spike.h"
#include "cli/stress.h"
#include "cli/tester.h"

#define ADDED_MAX 16

struct opts {
    struct ps_tester_args common;
    bool quick;
    const char *pid, *metrics;
};

/* clang-format off */
static const struct ps_arg args[] = {
    PS_TESTER_URL_ROW(struct opts, common),
    {"--quick", PS_ARG_FLAG, offsetof(struct opts, quick),
     .help = "all four in about two minutes, instead of an hour and a quarter"},
    {"--target-pid", PS_ARG_TEXT, offsetof(struct opts, pid), "PID",
     .help = "endurance watches memory and descriptors of this process"},
    {"--target-metrics", PS_ARG_TEXT, offsetof(struct opts, metrics), "URL",
     .help = "or reads them from this page of metrics"},
    PS_TESTER_REQUEST_ROWS(struct opts, common),
    PS_TESTER_OTHER_ROWS(struct opts, common),
    {0},
};
/* clang-format on */

static int run_command(int argc, char **argv);

const struct ps_command ps_suite_command = {
    .name = "suite",
    .brief = "runs load, stress, spike and endurance into one report",
    .summary = "Runs the four load tests of an HTTP service one after the other into one report.",
    .args = args,
    .notes = "The tests run with their defaults; --quick shortens them. `penstock load`, `stress`, `spike` and `endurance`\n"
             "with the same --out replace a single section.\n",
    .success = "all four passed",
    .failure = "a threshold of one was not kept",
    .severe = PS_TESTER_SEVERE,
    .limited = "the generator was the limit of one: its figures are not the server's",
    .aborted = PS_TESTER_ABORTED,
    .run = run_command,
};

/* What a suite adds to the words of each, long and --quick. */
static const struct part {
    const struct ps_command *command;
    bool watches; /* takes --target-pid and --target-metrics */
    const char *thorough[ADDED_MAX];
    const char *quick[ADDED_MAX];
} parts[] = {
    {&ps_load_command, false, {NULL}, {"--duration", "15s", NULL}},
    {&ps_stress_command, false, {NULL}, {"--quick", NULL}},
    {&ps_spike_command,
     false,
     {NULL},
     {"--baseline-for", "12s", "--spike-for", "5s", "--recovery-for", "10s", "--max-recovery", "30s", NULL}},
    {&ps_endurance_command, true, {NULL}, {"--duration", "30s", NULL}},
};

/* Is this word of the command line the suite's alone? *skip: so is the one behind it. */
static bool is_own(const struct part *part, const char *word, bool *skip)
{
    static const char *const watched[] = {"--target-pid", "--target-metrics"};
    *skip = false;
    for (size_t i = 0; i < PS_ARRAY_LEN(watched) && !part->watches; i++) {
        size_t len = strlen(watched[i]);
        if (strncmp(word, watched[i], len) == 0 && (word[len] == '\0' || word[len] == '=')) {
            *skip = word[len] == '\0';
            return true;
        }
    }
    return strcmp(word, "--quick") == 0;
}

static int run_part(const struct part *part, bool quick, int argc, char **argv)
{
    char **words = calloc((size_t)argc + ADDED_MAX + 1, sizeof *words);
    if (words == NULL) {
        return ps_args_usage_error(&ps_suite_command, "%s", ps_err_text(PS_ENOMEM));
    }
    int count = 0;
    bool skip = false;
    words[count++] = (char *)(uintptr_t)part->command->name;
    /* What the suite adds comes first: what follows `--` would be a word. */
    for (const char *const *added = quick ? part->quick : part->thorough; *added != NULL; added++) {
        words[count++] = (char *)(uintptr_t)*added;
    }
    for (int i = 1; i < argc; i++) {
        if (is_own(part, argv[i], &skip)) {
            i += skip;
        } else {
            words[count++] = argv[i];
        }
    }
    fprintf(stderr, "penstock suite: %s\n", part->command->name);
    int status = part->command->run(count, words);
    free(words);
    return status;
}

/* The order in which a status stands for all: aborted, unreachable, usage, limited, failed, passed. */
static int worse(int a, int b)
{
    static const int rank[] = {0, 1, 3, 4, 2, 5};
    int most = (int)PS_ARRAY_LEN(rank);
    int rank_a = a >= 0 && a < most ? rank[a] : most;
    int rank_b = b >= 0 && b < most ? rank[b] : most;
    return rank_a >= rank_b ? a : b;
}

/* The verdicts of all, once more and together. That they can't be read is told there, and is no verdict. */
static void show_all(const char *report)
{
    char *words[] = {(char *)(uintptr_t)ps_report_command.name, (char *)(uintptr_t) "--summary",
                     (char *)(uintptr_t) "--", (char *)(uintptr_t)report, NULL};
    fputs("penstock suite: all\n", stderr);
    (void)ps_report_command.run(4, words);
}

static int run_command(int argc, char **argv)
{
    struct opts opts = {.quick = false};
    int err = ps_args_parse(&ps_suite_command, argc, argv, &opts);
    if (err != PS_OK) {
        return err == PS_ECANCELED ? 0 : 2;
    }
    int status = 0;
    bool whole = false;
    for (size_t i = 0; i < PS_ARRAY_LEN(parts); i++) {
        int one = run_part(&parts[i], opts.quick, argc, argv);
        status = worse(one, status);
        /* Who stopped one wants no other, and what can't be reached is not asked three times more. */
        if (one == 2 || one == ps_verdict_status(PS_VERDICT_ABORTED) ||
            one == ps_verdict_status(PS_VERDICT_UNREACHABLE)) {
            break;
        }
        whole = i + 1 == PS_ARRAY_LEN(parts);
    }
    if (whole) {
        show_all(opts.common.out);
    }
    return status;
}
