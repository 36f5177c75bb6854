/* recover - see recover.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/recover.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "load/journal.h"
#include "load/report_rows.h"

#define TEXT_MAX 512
#define PAIRS_MAX 64
#define POINTS_MAX 256
#define PHASES_MAX 8

struct pair {
    char name[96];
    char value[TEXT_MAX];
};

struct pairs {
    struct pair text[PAIRS_MAX];
    struct ps_report_pair pairs[PAIRS_MAX];
    size_t count;
};

struct phase {
    char name[PS_FIGURES_PHASE];
    double start, end, asked, span;
    uint64_t succeeded, failed;
    struct ps_hist hist;
};

struct ps_recovery {
    struct ps_report_section section;
    struct ps_figures *figures;
    char target[TEXT_MAX], method[32], server[TEXT_MAX], arrivals[32];
    char reason[300];
    struct pairs options, tags, objectives;
    struct ps_report_point points[POINTS_MAX];
    char point_words[POINTS_MAX][2][32]; /* verdict, signal */
    size_t point_count;
    struct phase phases[PHASES_MAX];
    struct ps_report_phase rows[PHASES_MAX];
    size_t phase_count;
    int err; /* of keeping a second */
};

bool ps_recover_is_journal(const char *path)
{
    static const char *const starts[] = {"{\"penstock_journal\"", "\x1f\x8b", "\xfd\x37zXZ"};
    char head[20] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, head, sizeof head - 1);
    if (fd >= 0) {
        close(fd);
    }
    for (size_t i = 0; n > 0 && i < sizeof starts / sizeof *starts; i++) {
        if (ps_str_starts_with((struct ps_str){head, (size_t)n}, ps_str_from(starts[i]))) {
            return true;
        }
    }
    return false;
}

/* ------------------------------------------------------------------------------- keeping text */

static const char *keep(char *text, size_t size, const char *from)
{
    snprintf(text, size, "%s", from == NULL ? "" : from);
    return from == NULL ? NULL : text;
}

static void keep_pairs(struct pairs *pairs, const struct ps_report_pair *from, size_t count)
{
    pairs->count = count < PAIRS_MAX ? count : PAIRS_MAX;
    for (size_t i = 0; i < pairs->count; i++) {
        struct pair *pair = &pairs->text[i];
        pairs->pairs[i] = (struct ps_report_pair){keep(pair->name, sizeof pair->name, from[i].name),
                                                  keep(pair->value, sizeof pair->value, from[i].value)};
    }
}

static int on_test(void *ctx, const struct ps_report_section *test)
{
    struct ps_recovery *recovery = ctx;
    struct ps_report_section *section = &recovery->section;
    *section = *test;
    section->target = keep(recovery->target, sizeof recovery->target, test->target);
    section->method = keep(recovery->method, sizeof recovery->method, test->method);
    section->server = keep(recovery->server, sizeof recovery->server, test->server);
    section->arrivals = keep(recovery->arrivals, sizeof recovery->arrivals, test->arrivals);
    keep_pairs(&recovery->options, test->options, test->option_count);
    keep_pairs(&recovery->tags, test->tags, test->tag_count);
    keep_pairs(&recovery->objectives, test->objectives, test->objective_count);
    section->options = recovery->options.pairs;
    section->tags = recovery->tags.pairs;
    section->objectives = recovery->objectives.pairs;
    section->option_count = recovery->options.count;
    section->tag_count = recovery->tags.count;
    section->objective_count = recovery->objectives.count;
    return PS_OK;
}

/* ------------------------------------------------------------------------------------ seconds */

/* The phase that a second goes on with, or begins; NULL: too many. */
static struct phase *phase_of(struct ps_recovery *recovery, const struct ps_second *second)
{
    struct phase *last = recovery->phase_count == 0 ? NULL : &recovery->phases[recovery->phase_count - 1];
    if (last != NULL && strncmp(last->name, second->phase, sizeof last->name - 1) == 0) {
        return last;
    }
    if (recovery->phase_count == PHASES_MAX) {
        return NULL;
    }
    struct phase *phase = &recovery->phases[recovery->phase_count++];
    snprintf(phase->name, sizeof phase->name, "%s", second->phase);
    phase->start = fmax(0, second->at - second->span);
    return phase;
}

static int on_second(void *ctx, const struct ps_second *second)
{
    struct ps_recovery *recovery = ctx;
    struct phase *phase = second->phase == NULL ? NULL : phase_of(recovery, second);
    if (phase != NULL) {
        phase->end = second->at;
        phase->asked += isnan(second->target_rps) ? 0 : second->target_rps * second->span;
        phase->span += second->span;
        phase->succeeded += second->succeeded;
        phase->failed += second->failed;
        if (second->corrected != NULL) {
            ps_hist_merge(&phase->hist, second->corrected);
        }
    }
    recovery->err = ps_figures_add(recovery->figures, second);
    return recovery->err;
}

static int on_point(void *ctx, const struct ps_report_point *point)
{
    struct ps_recovery *recovery = ctx;
    if (recovery->point_count < POINTS_MAX) {
        size_t i = recovery->point_count++;
        recovery->points[i] = *point;
        recovery->points[i].verdict = keep(recovery->point_words[i][0], 32, point->verdict);
        recovery->points[i].signal = keep(recovery->point_words[i][1], 32, point->signal);
    }
    return PS_OK;
}

/* ------------------------------------------------------------------------------------ section */

static void fill_phases(struct ps_recovery *recovery)
{
    for (size_t i = 0; i < recovery->phase_count; i++) {
        const struct phase *phase = &recovery->phases[i];
        double ended = (double)phase->succeeded + (double)phase->failed;
        recovery->rows[i] = (struct ps_report_phase){
            .name = phase->name,
            .start_seconds = phase->start,
            .duration_seconds = phase->end - phase->start,
            .target_rps = phase->span > 0 ? phase->asked / phase->span : NAN,
            .achieved_rps = phase->span > 0 ? ended / phase->span : NAN,
            .error_rate_percent = ended > 0 ? 100 * (double)phase->failed / ended : NAN,
            .p95_ms = ps_hist_percentile(&phase->hist, 0.95) / 1e6,
        };
    }
}

/* What only the search itself could have found out stays unknown. */
static void fill_kind(struct ps_recovery *recovery)
{
    struct ps_report_section *section = &recovery->section;
    if (section->kind == PS_REPORT_STRESS) {
        section->stress.breaking_point_rps = section->stress.low_rps = section->stress.high_rps = NAN;
        section->stress.confidence = NAN;
        section->stress.points = recovery->points;
        section->stress.point_count = recovery->point_count;
    } else if (section->kind == PS_REPORT_SPIKE) {
        fill_phases(recovery);
        section->spike.baseline_rps = recovery->phase_count > 0 ? recovery->rows[0].target_rps : NAN;
        section->spike.spike_rps = recovery->phase_count > 1 ? recovery->rows[1].target_rps : NAN;
        section->spike.recovery_time_seconds = section->spike.max_recovery_seconds = NAN;
        section->spike.band_p95_ms = section->spike.band_error_rate_percent = NAN;
        section->spike.phases = recovery->rows;
        section->spike.phase_count = recovery->phase_count;
    } else if (section->kind == PS_REPORT_REPLAY) {
        section->replay.speed = NAN;
    }
}

static void fill(struct ps_recovery *recovery)
{
    const struct ps_figures *figures = recovery->figures;
    char span[PS_REPORT_VALUE_MAX], count[PS_REPORT_VALUE_MAX];
    recovery->section.verdict = PS_VERDICT_ABORTED;
    recovery->section.figures = figures;
    recovery->section.duration_seconds = figures->at;
    recovery->section.unfinished = figures->in_flight;
    recovery->section.reason = recovery->reason;
    snprintf(recovery->reason, sizeof recovery->reason,
             "the run ended before its report was written: this is what its journal has, %s and %s requests",
             ps_report_write(figures->span, PS_UNIT_SECONDS, span, sizeof span),
             ps_report_write((double)figures->succeeded + (double)figures->failed, PS_UNIT_COUNT, count,
                             sizeof count));
    fill_kind(recovery);
}

int ps_recover(struct ps_recovery **out, const char *path, struct ps_report_error *error)
{
    static const struct ps_journal_ops ops = {on_test, on_second, on_point};
    struct ps_recovery *recovery = calloc(1, sizeof *recovery);
    int err = recovery == NULL ? PS_ENOMEM : ps_figures_new(&recovery->figures);
    error->text[0] = '\0';
    if (err == PS_OK) {
        err = ps_journal_read(path, &ops, recovery, error);
        bool usable = err == PS_EPARSE && recovery->figures->point_count > 0;
        err = usable ? PS_OK : err;
    }
    if (err != PS_OK) {
        if (error->text[0] == '\0') {
            snprintf(error->text, sizeof error->text, "%.400s: %s", path, ps_err_text(err));
        }
        ps_recover_free(recovery);
        return err;
    }
    fill(recovery);
    *out = recovery;
    return PS_OK;
}

const struct ps_report_section *ps_recover_section(const struct ps_recovery *recovery)
{
    return &recovery->section;
}

void ps_recover_free(struct ps_recovery *recovery)
{
    if (recovery != NULL) {
        ps_figures_free(recovery->figures);
        free(recovery);
    }
}
