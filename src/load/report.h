/* report - load_test_report.json: what a test found, as one document for machines and people.
 *
 *      struct ps_report_section --ps_report_save()--> document on disk --> summary, HTML, JUnit, compare
 *
 * One file holds all tests; saving one replaces its own section, computes `summary` anew and leaves the
 * others. Everything that is shown later is made from the document, never from these structs, so that
 * JSON, page, JUnit and terminal can't disagree. Members and units: docs/load-report.md and
 * docs/load_test_report.schema.json.
 *
 * Numbers that are not known are NAN here and absent there. Text may come from the target: any bytes; it is
 * made valid UTF-8. From a URL its credentials and query are removed before anything is written.
 *
 * Thread: the caller's; saving waits for the disk.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_REPORT_H
#define PS_LOAD_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "load/figures.h"

#define PS_REPORT_SCHEMA 1
#define PS_REPORT_FILE "load_test_report.json"
#define PS_REPORT_BYTES_MAX (64u << 20) /* of a document that is read */

/* How a test ended. X(NAME, "word", exit status); the later one is the worse. */
#define PS_VERDICT_TABLE(X)                                                                        \
    X(PASS, "pass", 0)                                                                             \
    X(FAIL, "fail", 1)                           /* a threshold was not kept */                    \
    X(GENERATOR_LIMITED, "generator_limited", 4) /* the figures are not the server's */            \
    X(ABORTED, "aborted", 5)                     /* ended early: the figures are of what ran */    \
    X(UNREACHABLE, "unreachable", 3)

enum ps_verdict {
#define PS_VERDICT_ENUM(name, word, status) PS_VERDICT_##name,
    PS_VERDICT_TABLE(PS_VERDICT_ENUM)
#undef PS_VERDICT_ENUM
        PS_VERDICT_COUNT
};

const char *ps_verdict_word(enum ps_verdict verdict);
int ps_verdict_status(enum ps_verdict verdict); /* the exit status */

/* Tests. X(NAME, "word" in summary.tests, "section") */
#define PS_REPORT_TABLE(X)                                                                         \
    X(LOAD, "load", "load_test")                                                                   \
    X(STRESS, "stress", "stress_test")                                                             \
    X(SPIKE, "spike", "spike_test")                                                                \
    X(ENDURANCE, "endurance", "endurance_test")                                                    \
    X(REPLAY, "replay", "replay")

enum ps_report_kind {
#define PS_REPORT_ENUM(name, word, section) PS_REPORT_##name,
    PS_REPORT_TABLE(PS_REPORT_ENUM)
#undef PS_REPORT_ENUM
        PS_REPORT_COUNT
};

const char *ps_report_word(enum ps_report_kind kind);

/* What went wrong, in words fit for a user. */
struct ps_report_error {
    char text[640];
};

/* A name and a value: options as they were in force ("rate", "50"), tags. Never a secret. */
struct ps_report_pair {
    const char *name;
    const char *value;
};

struct ps_report_threshold {
    const char *metric;     /* "response_time_ms", with tags in braces where there are any */
    const char *expression; /* "p(95)<200" */
    double value;           /* what was found; NAN: nothing was measured */
    const char *unit;       /* "ms", "%", "/s" or NULL */
    bool passed;
    bool aborted;           /* it ended the test early */
};

/* A level of a stress test. */
struct ps_report_point {
    double at; /* its end, seconds since the start */
    double duration_seconds;
    double rps; /* asked for */
    double achieved_rps;
    double error_rate_percent;
    double p50_ms, p95_ms, p99_ms; /* corrected */
    double ttft_p95_ms;
    double in_flight;    /* mean */
    const char *verdict; /* "holds", "breaks", "unclear" or "generator_limited" */
    const char *signal;  /* what gave way: "errors", "goodput", "concurrency", "time_to_first_token"; or NULL */
};

/* A part of a spike test. */
struct ps_report_phase {
    const char *name; /* "baseline", "spike", "recovery" */
    double start_seconds;
    double duration_seconds;
    double target_rps;
    double achieved_rps;
    double error_rate_percent;
    double p95_ms;
};

/* A quantity of an endurance test that may drift. */
struct ps_report_drift {
    const char *signal; /* "p95", "error_rate", "memory", "descriptors", "throughput" */
    const char *unit;   /* "ms", "%", "bytes", "1", "/s" */
    double start;       /* the fitted line at the start and at the end */
    double end;
    double slope_per_hour;   /* in `unit`; Theil-Sen */
    double low_per_hour;     /* its confidence interval */
    double high_per_hour;
    double percent_per_hour; /* of `start` */
    double p_value;          /* of no trend */
    uint64_t samples;
    bool drifts; /* significant, and more than is tolerated */
};

struct ps_report_section {
    enum ps_report_kind kind;
    enum ps_verdict verdict;
    const char *reason; /* a sentence, without a full stop */
    const char *target; /* the URL as given */
    const char *method; /* "POST" */
    const char *server; /* the target's Server header, NULL = none */
    ps_time started;    /* nanoseconds since 1970 */
    double duration_seconds;
    const char *arrivals; /* "constant", "poisson", "gamma", "ramp", "steps", "trace", "closed" */
    double target_rps;    /* the mean asked for; NAN in closed loop */
    uint64_t connections; /* closed loop: how many at a time; 0 = open */
    uint64_t unfinished;  /* still in flight when it ended */
    const struct ps_figures *figures; /* NULL: nothing ran */
    const struct ps_report_pair *options;
    size_t option_count;
    const struct ps_report_pair *tags;
    size_t tag_count;
    const struct ps_report_pair *objectives; /* of goodput: "ttft_ms", "200"; none = no goodput is told */
    size_t objective_count;
    const struct ps_report_threshold *thresholds;
    size_t threshold_count;
    const char *limited; /* why the generator shaped the run; NULL: it did not */
    uint64_t threads;    /* of the generator */
    union {
        struct {
            double breaking_point_rps; /* NAN: not found: `reason` says why */
            double low_rps;            /* confidence interval */
            double high_rps;
            double confidence;           /* 0.95 */
            const char *limiting_signal; /* as in points; NULL */
            const char *search;          /* "bisect" or "staircase" */
            const struct ps_report_point *points;
            size_t point_count;
        } stress;
        struct {
            double baseline_rps;
            double spike_rps;
            double recovery_time_seconds; /* NAN: not recovered within max_recovery_seconds */
            double max_recovery_seconds;
            double band_p95_ms; /* recovered means: not above these */
            double band_error_rate_percent;
            const struct ps_report_phase *phases;
            size_t phase_count;
        } spike;
        struct {
            const struct ps_report_drift *drifts;
            size_t drift_count;
            uint64_t resumed;           /* how often it was taken up again */
            double interrupted_seconds; /* for how long nothing was sent because of that */
        } endurance;
        struct {
            const char *source; /* the trace's name */
            double speed;
            uint64_t cut; /* prompts that were cut short */
        } replay;
    };
};

/* Puts a section into the document at `path` and computes its summary: read, changed, written beside it,
 * flushed, renamed; two programs that do this at once take turns. A file that is not a report of this
 * schema is left alone (PS_EPARSE) unless `force`; then it is replaced. When it can't be written the document
 * goes to `rescue` (standard output; NULL = nowhere). PS_OK; PS_EPARSE, PS_EIO, PS_EDENIED, PS_ENOMEM: *error
 * says what and where the document went. */
PS_MUST_CHECK int ps_report_save(const char *path, const struct ps_report_section *section, bool force,
                                 FILE *rescue, struct ps_report_error *error);

/* The exit status of a command: the verdict's, or 5 when its report was not saved. */
int ps_report_status(enum ps_verdict verdict, int saved);

/* Puts a section into a document (an object, or an empty one) and computes the summary. PS_OK, PS_ENOMEM. */
PS_MUST_CHECK int ps_report_put(json_t *document, const struct ps_report_section *section);

/* Reads a document and checks its shape: whatever is made from it later finds every member of the type that
 * the schema says. PS_OK: *out is the caller's; PS_ENOTFOUND, PS_EPARSE, PS_EIO, PS_ELIMIT, PS_ENOMEM, and
 * *error says where. */
PS_MUST_CHECK int ps_report_load_file(json_t **out, const char *path, struct ps_report_error *error);

#endif
