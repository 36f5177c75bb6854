/* journal_read - the lines of a journal read again, see journal_line.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "load/journal_line.h"
#include "load/report_json.h"
#include "load/sparse.h"

struct ps_journal_reading {
    bool begun; /* the head was there */
    struct ps_hist corrected, latency, ttft_corrected, ttft, token_gap, lag;
    uint64_t statuses[PS_SECOND_STATUSES];
    struct ps_second_failure failures[PS_SECOND_FAILURES];
    struct ps_report_pair options[PS_JOURNAL_PAIRS], tags[PS_JOURNAL_PAIRS], objectives[PS_JOURNAL_PAIRS];
};

int ps_journal_reading_new(struct ps_journal_reading **out)
{
    struct ps_journal_reading *reading = calloc(1, sizeof *reading);
    if (reading == NULL) {
        return PS_ENOMEM;
    }
    *out = reading;
    return PS_OK;
}

void ps_journal_reading_free(struct ps_journal_reading *reading)
{
    free(reading);
}

static int complain(struct ps_report_error *error, const char *name, const char *what)
{
    snprintf(error->text, sizeof error->text, "%.64s: %s", name, what);
    return PS_EPARSE;
}

/* ---------------------------------------------------------------------------------- members */

static int get_count(const json_t *json, const char *name, uint64_t *out, struct ps_report_error *error)
{
    const json_t *value = json_object_get(json, name);
    if (value == NULL) {
        return PS_OK;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return complain(error, name, "expected a count");
    }
    *out = (uint64_t)json_integer_value(value);
    return PS_OK;
}

static int get_number(const json_t *json, const char *name, double *out, struct ps_report_error *error)
{
    const json_t *value = json_object_get(json, name);
    if (value == NULL) {
        return PS_OK;
    }
    if (!json_is_number(value) || fabs(json_number_value(value)) > 1e18) {
        return complain(error, name, "expected a number");
    }
    *out = json_number_value(value);
    return PS_OK;
}

static int read_hist(struct ps_hist *hist, struct ps_str text, int64_t least, int64_t most)
{
    struct ps_sparse_span span;
    ps_hist_clear(hist);
    int err = ps_sparse_read(text, hist->steps, PS_HIST_STEPS, &span);
    bool agree = least >= 0 && most >= least && span.total > 0 && span.first == ps_hist_step(least) &&
                 span.last == ps_hist_step(most);
    if (err != PS_OK || !agree) {
        return PS_EPARSE;
    }
    hist->count = span.total;
    hist->min = least;
    hist->max = most;
    return PS_OK;
}

static int get_hist(const json_t *json, const char *name, struct ps_hist *hist, const struct ps_hist **out,
                    struct ps_report_error *error)
{
    const json_t *value = json_object_get(json, name);
    if (value == NULL) {
        return PS_OK;
    }
    const json_t *least = json_array_get(value, 0), *most = json_array_get(value, 1);
    const json_t *sum = json_array_get(value, 2), *steps = json_array_get(value, 3);
    if (!json_is_integer(least) || !json_is_integer(most) || !json_is_number(sum) || !json_is_string(steps)) {
        return complain(error, name, "expected [least, most, sum, steps]");
    }
    struct ps_str text = {json_string_value(steps), json_string_length(steps)};
    if (read_hist(hist, text, json_integer_value(least), json_integer_value(most)) != PS_OK) {
        memset(hist, 0, sizeof *hist); /* it doesn't hold together: ps_hist_clear() could not find what is in it */
        return complain(error, name, "its steps can't be read, or they and its bounds don't agree");
    }
    hist->sum = json_number_value(sum);
    *out = hist;
    return PS_OK;
}

static int get_statuses(struct ps_journal_reading *reading, json_t *json, struct ps_second *second,
                        struct ps_report_error *error)
{
    json_t *object = json_object_get(json, "statuses");
    const char *name;
    json_t *value;
    if (object == NULL) {
        return PS_OK;
    }
    memset(reading->statuses, 0, sizeof reading->statuses);
    second->statuses = reading->statuses;
    json_object_foreach (object, name, value) {
        uint64_t status = 0;
        if (ps_str_to_u64(ps_str_from(name), &status) != PS_OK || status >= PS_SECOND_STATUSES ||
            !json_is_integer(value) || json_integer_value(value) < 0) {
            return complain(error, "statuses", "expected counts by status");
        }
        reading->statuses[status] = (uint64_t)json_integer_value(value);
    }
    return PS_OK;
}

static int get_failures(struct ps_journal_reading *reading, const json_t *json, struct ps_second *second,
                        struct ps_report_error *error)
{
    const json_t *array = json_object_get(json, "failures");
    size_t count = json_array_size(array);
    count = count < PS_SECOND_FAILURES ? count : PS_SECOND_FAILURES;
    second->failures = reading->failures;
    for (size_t i = 0; i < count; i++) {
        const json_t *row = json_array_get(array, i);
        struct ps_second_failure *failure = &reading->failures[i];
        *failure = (struct ps_second_failure){json_string_value(json_object_get(row, "kind")), 0,
                                              json_string_value(json_object_get(row, "example"))};
        int err = get_count(row, "count", &failure->count, error);
        if (err != PS_OK || failure->kind == NULL) {
            return complain(error, "failures", "expected kinds and counts");
        }
    }
    second->failure_count = count;
    return PS_OK;
}

/* ---------------------------------------------------------------------------------- a second */

static int get_counts(const json_t *json, struct ps_second *second, struct ps_report_error *error)
{
    const struct {
        const char *name;
        uint64_t *out;
    } rows[] = {
        {"sent", &second->sent},
        {"succeeded", &second->succeeded},
        {"failed", &second->failed},
        {"canceled", &second->canceled},
        {"skipped", &second->skipped},
        {"late", &second->late},
        {"good", &second->good},
        {"in_flight", &second->in_flight},
        {"prompt_tokens", &second->prompt_tokens},
        {"output_tokens", &second->output_tokens},
    };
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && i < PS_ARRAY_LEN(rows); i++) {
        err = get_count(json, rows[i].name, rows[i].out, error);
    }
    return err;
}

static int get_numbers(const json_t *json, struct ps_second *second, struct ps_report_error *error)
{
    const struct {
        const char *name;
        double *out;
    } rows[] = {
        {"at", &second->at},
        {"span", &second->span},
        {"target_rps", &second->target_rps},
        {"cpu_percent", &second->cpu_percent},
        {"target_cpu_percent", &second->target_cpu_percent},
        {"target_memory_bytes", &second->target_memory_bytes},
        {"target_descriptors", &second->target_descriptors},
    };
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && i < PS_ARRAY_LEN(rows); i++) {
        err = get_number(json, rows[i].name, rows[i].out, error);
    }
    if (err == PS_OK && (isnan(second->at) || second->at < 0 || !(second->span >= 0))) {
        err = complain(error, "at", "expected seconds");
    }
    return err;
}

static int get_hists(struct ps_journal_reading *reading, const json_t *json, struct ps_second *second,
                     struct ps_report_error *error)
{
    const struct {
        const char *name;
        struct ps_hist *hist;
        const struct ps_hist **out;
    } rows[] = {
        {"corrected", &reading->corrected, &second->corrected},
        {"latency", &reading->latency, &second->latency},
        {"ttft_corrected", &reading->ttft_corrected, &second->ttft_corrected},
        {"ttft", &reading->ttft, &second->ttft},
        {"token_gap", &reading->token_gap, &second->token_gap},
        {"lag", &reading->lag, &second->lag},
    };
    int err = PS_OK;
    for (size_t i = 0; err == PS_OK && i < PS_ARRAY_LEN(rows); i++) {
        err = get_hist(json, rows[i].name, rows[i].hist, rows[i].out, error);
    }
    return err;
}

static int read_second(struct ps_journal_reading *reading, json_t *json, const struct ps_journal_ops *ops,
                       void *ctx, struct ps_report_error *error)
{
    struct ps_second second = ps_second_make(NAN, 1);
    second.phase = json_string_value(json_object_get(json, "phase"));
    int err = get_numbers(json, &second, error);
    err = err == PS_OK ? get_counts(json, &second, error) : err;
    err = err == PS_OK ? get_hists(reading, json, &second, error) : err;
    err = err == PS_OK ? get_statuses(reading, json, &second, error) : err;
    err = err == PS_OK ? get_failures(reading, json, &second, error) : err;
    return err == PS_OK && ops->on_second != NULL ? ops->on_second(ctx, &second) : err;
}

/* ------------------------------------------------------------------------- heads and points */

static const char *text_of(const json_t *json, const char *name)
{
    return json_string_value(json_object_get(json, name));
}

static int read_point(const json_t *json, const struct ps_journal_ops *ops, void *ctx)
{
    struct ps_report_point point = {
        .at = ps_report_number(json, "at_seconds"),
        .duration_seconds = ps_report_number(json, "duration_seconds"),
        .rps = ps_report_number(json, "rps"),
        .achieved_rps = ps_report_number(json, "achieved_rps"),
        .error_rate_percent = ps_report_number(json, "error_rate_percent"),
        .p50_ms = ps_report_number(json, "median_ms"),
        .p95_ms = ps_report_number(json, "p95_ms"),
        .p99_ms = ps_report_number(json, "p99_ms"),
        .ttft_p95_ms = ps_report_number(json, "ttft_p95_ms"),
        .in_flight = ps_report_number(json, "in_flight"),
        .verdict = ps_report_text(json, "verdict"),
        .signal = text_of(json, "signal"),
    };
    return ops->on_point == NULL ? PS_OK : ops->on_point(ctx, &point);
}

static size_t get_pairs(json_t *json, const char *member, struct ps_report_pair *pairs)
{
    size_t count = 0;
    const char *name;
    json_t *value;
    json_object_foreach (json_object_get(json, member), name, value) {
        if (count < PS_JOURNAL_PAIRS && json_is_string(value)) {
            pairs[count++] = (struct ps_report_pair){name, json_string_value(value)};
        }
    }
    return count;
}

static enum ps_report_kind find_kind(const char *word)
{
    enum ps_report_kind kind = 0;
    while (kind < PS_REPORT_COUNT && (word == NULL || strcmp(ps_report_word(kind), word) != 0)) {
        kind++;
    }
    return kind;
}

static int read_test(struct ps_journal_reading *reading, json_t *json, const struct ps_journal_ops *ops,
                     void *ctx, struct ps_report_error *error)
{
    uint64_t started = 0;
    const json_t *version = json_object_get(json, "penstock_journal");
    struct ps_report_section test = {
        .kind = find_kind(text_of(json, "test")),
        .target = text_of(json, "target"),
        .method = text_of(json, "method"),
        .server = text_of(json, "server"),
        .arrivals = text_of(json, "arrivals"),
        .target_rps = ps_report_number(json, "target_rps"),
        .options = reading->options,
        .tags = reading->tags,
        .objectives = reading->objectives,
    };
    if (!json_is_integer(version) || json_integer_value(version) != PS_JOURNAL_VERSION) {
        return complain(error, "penstock_journal", "another version wrote it");
    }
    if (test.kind == PS_REPORT_COUNT || test.target == NULL) {
        return complain(error, "test", "not one that is known");
    }
    int err = get_count(json, "started_ns", &started, error);
    err = err == PS_OK ? get_count(json, "connections", &test.connections, error) : err;
    err = err == PS_OK ? get_count(json, "threads", &test.threads, error) : err;
    test.started = (ps_time)started;
    test.option_count = get_pairs(json, "options", reading->options);
    test.tag_count = get_pairs(json, "tags", reading->tags);
    test.objective_count = get_pairs(json, "objectives", reading->objectives);
    return err == PS_OK && ops->on_test != NULL ? ops->on_test(ctx, &test) : err;
}

static int read_json(struct ps_journal_reading *reading, json_t *json, const struct ps_journal_ops *ops,
                     void *ctx, struct ps_report_error *error)
{
    bool head = json_object_get(json, "penstock_journal") != NULL;
    const json_t *point = json_object_get(json, "point");
    if (!json_is_object(json) || head == reading->begun) {
        snprintf(error->text, sizeof error->text,
                 reading->begun ? "expected a second or a point" : "not a journal of a load test");
        return PS_EPARSE;
    }
    reading->begun = true;
    if (head) {
        return read_test(reading, json, ops, ctx, error);
    }
    return point != NULL ? read_point(point, ops, ctx) : read_second(reading, json, ops, ctx, error);
}

int ps_journal_read_line(struct ps_journal_reading *reading, struct ps_str line, const struct ps_journal_ops *ops,
                         void *ctx, struct ps_report_error *error)
{
    json_error_t why;
    json_t *json = json_loadb(line.ptr == NULL ? "" : line.ptr, line.len, JSON_REJECT_DUPLICATES, &why);
    if (json == NULL) {
        snprintf(error->text, sizeof error->text, "%s", why.text);
        return PS_EPARSE;
    }
    int err = read_json(reading, json, ops, ctx, error);
    json_decref(json);
    return err;
}
