/* trial_report - writes a report of all kinds of tests that never were, and a journal: for whoever reads reports.
 *
 *      trial_report report PATH [SEED [SLOWER]]   a report; response times are SLOWER times those of the seed
 *      trial_report journal PATH SECONDS RATE     a journal of a load test
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "trial_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load/journal.h"
#include "trial.h"

static struct trial trial;

/* Goes on for so many seconds with other options. */
static void go_on(struct ps_figures *figures, const char *phase, unsigned seconds, double rps, double slower)
{
    double median = trial.opts.median_ms;
    trial.opts.rps = rps;
    for (unsigned i = 0; i < seconds; i++) {
        trial.opts.median_ms = median * (1 + (slower - 1) * (i < 3 ? (i + 1) / 3.0 : 1));
        struct ps_second second = trial_next(&trial);
        second.phase = phase;
        if (seconds > 1000) {
            second.target_memory_bytes = 1e9 + 2e4 * trial.at + 4e6 * ps_rng_unit(&trial.rng);
        }
        PS_CHECK(ps_figures_add(figures, &second) == PS_OK);
    }
    trial.opts.median_ms = median;
}

static void run_kind(enum ps_report_kind kind, struct ps_figures *figures, double slower)
{
    switch (kind) {
    case PS_REPORT_STRESS:
        for (size_t i = 0; i < PS_ARRAY_LEN(trial_points); i++) {
            go_on(figures, NULL, 10, trial_points[i].achieved_rps, trial_points[i].p50_ms / 40);
        }
        break;
    case PS_REPORT_SPIKE:
        go_on(figures, "baseline", 20, 20, slower);
        go_on(figures, "spike", 20, 93, 9 * slower);
        go_on(figures, "recovery", 4, 24, 4 * slower);
        go_on(figures, "recovery", 16, 20, slower);
        break;
    case PS_REPORT_ENDURANCE:
        go_on(figures, NULL, 3600, 30, slower);
        break;
    case PS_REPORT_LOAD:
    case PS_REPORT_REPLAY:
    case PS_REPORT_COUNT:
        go_on(figures, NULL, 60, 50, slower);
        break;
    }
}

static void save_kind(enum ps_report_kind kind, const char *path, uint64_t seed, double slower)
{
    struct ps_figures *figures = NULL;
    struct ps_report_error error;
    struct trial_opts opts = {.seed = seed * 16 + kind, .rps = 50, .median_ms = 40, .sigma = 0.3, .wander = 0.05,
                              .memory = 0.6, .error_rate = 0.004, .streams = true};
    trial_begin(&trial, &opts);
    PS_CHECK(ps_figures_new(&figures) == PS_OK);
    run_kind(kind, figures, slower);
    struct ps_report_section section = trial_section(kind, figures);
    section.verdict = kind == PS_REPORT_STRESS ? PS_VERDICT_FAIL : PS_VERDICT_PASS;
    section.threshold_count = kind == PS_REPORT_STRESS ? 2 : 1;
    if (ps_report_save(path, &section, false, NULL, &error) != PS_OK) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    ps_figures_free(figures);
}

static void write_journal(const char *path, unsigned seconds, double rps)
{
    struct ps_journal *journal = NULL;
    struct ps_report_error error;
    struct trial_opts opts = {.seed = 1, .rps = rps, .median_ms = 40, .sigma = 0.3, .wander = 0.05, .memory = 0.6,
                              .error_rate = 0.004};
    struct ps_report_section section = trial_section(PS_REPORT_LOAD, NULL);
    trial_begin(&trial, &opts);
    if (ps_journal_new(&journal, path, &section, &error) != PS_OK) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    for (unsigned i = 0; i < seconds; i++) {
        struct ps_second second = trial_next(&trial);
        ps_journal_second(journal, &second);
    }
    PS_CHECK(ps_journal_error(journal) == PS_OK);
    ps_journal_free(journal, true);
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "report") == 0) {
        for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
            save_kind(kind, argv[2], argc > 3 ? strtoull(argv[3], NULL, 10) : 1, argc > 4 ? strtod(argv[4], NULL) : 1);
        }
        return 0;
    }
    if (argc == 5 && strcmp(argv[1], "journal") == 0) {
        write_journal(argv[2], (unsigned)strtoul(argv[3], NULL, 10), strtod(argv[4], NULL));
        return 0;
    }
    fprintf(stderr, "usage: trial_report report PATH [SEED [SLOWER]] | journal PATH SECONDS RATE\n");
    return 2;
}
