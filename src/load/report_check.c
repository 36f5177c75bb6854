/* report_check - is a file a report, and are its members what they are said to be?
 *
 * What is not known here is left alone: a later version may add members. What is known has its type, so that
 * nobody who reads a report later has to ask again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "load/figures.h"
#include "load/report_document.h"
#include "load/report_json.h"

enum shape { NUMBER, NUMBERS, COUNT, COUNTS, TEXT, TEXTS, FLAG, OBJECT, OBJECTS };

struct row {
    const char *path;
    enum shape shape;
    bool required;
};

static const struct row top[] = {
    {"schema_version", COUNT, true}, {"summary", OBJECT, true},     {"environment", OBJECT, false},
    {"summary.verdict", TEXT, true}, {"summary.reason", TEXT, true}, {"summary.tests", OBJECT, true},
};

/* clang-format off */
static const struct row common[] = {
    {"verdict", TEXT, true},           {"reason", TEXT, true},           {"target", TEXT, true},
    {"started", TEXT, true},           {"duration_seconds", NUMBER, true}, {"server", TEXT, false},
    {"total_requests", COUNT, true},   {"successful_requests", COUNT, true}, {"failed_requests", COUNT, true},
    {"error_rate_percent", NUMBER, true}, {"rps", NUMBER, true},         {"target_rps", NUMBER, false},
    {"options", OBJECT, false},        {"tags", OBJECT, false},          {"environment", OBJECT, true},
    {"response_time_ms", OBJECT, false}, {"response_time_ms.p95", NUMBER, false},
    {"statuses", OBJECT, true},        {"failures", OBJECTS, true},      {"thresholds", OBJECTS, true},
    {"generator", OBJECT, true},       {"generator.limited", FLAG, true}, {"series", OBJECT, true},
    {"series.interval_seconds", NUMBER, true}, {"series.time", NUMBERS, false},
    {"series.rps", NUMBERS, false},    {"series.failed_rps", NUMBERS, false}, {"series.target_rps", NUMBERS, false},
    {"series.median_ms", NUMBERS, false}, {"series.p95_ms", NUMBERS, false}, {"series.p99_ms", NUMBERS, false},
    {"series.phase", TEXTS, false},    {"histogram", OBJECT, false},
    {"histogram.lower_ms", NUMBERS, false}, {"histogram.upper_ms", NUMBERS, false},
    {"histogram.count", COUNTS, false}, {"blocks", OBJECTS, true},
    {"breaking_point_rps", NUMBER, false}, {"stress_points", OBJECTS, false},
    {"recovery_time_seconds", NUMBER, false}, {"phases", OBJECTS, false}, {"drift", OBJECTS, false},
};
/* clang-format on */

static bool is_count(const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) >= 0;
}

static bool is_one(const json_t *value, enum shape shape)
{
    switch (shape) {
    case NUMBER:
    case NUMBERS:
        return json_is_number(value) || (shape == NUMBERS && json_is_null(value));
    case COUNT:
    case COUNTS:
        return is_count(value);
    case TEXT:
    case TEXTS:
        return json_is_string(value);
    case FLAG:
        return json_is_boolean(value);
    case OBJECT:
    case OBJECTS:
        return json_is_object(value);
    }
    return false;
}

static bool is_list(enum shape shape)
{
    return shape == NUMBERS || shape == COUNTS || shape == TEXTS || shape == OBJECTS;
}

static bool fits(const json_t *value, enum shape shape)
{
    if (!is_list(shape)) {
        return is_one(value, shape);
    }
    bool good = json_is_array(value);
    for (size_t i = 0; good && i < json_array_size(value); i++) {
        good = is_one(json_array_get(value, i), shape);
    }
    return good;
}

static const char *shape_text(enum shape shape)
{
    static const char *const texts[] = {"a number",  "numbers", "a count",   "counts", "text",
                                        "texts",     "true or false", "an object", "objects"};
    return texts[shape];
}

static int check_rows(const json_t *json, const char *where, const struct row *rows, size_t count,
                      struct ps_report_error *error)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *value = ps_report_at(json, rows[i].path);
        if (value == NULL ? rows[i].required : !fits(value, rows[i].shape)) {
            snprintf(error->text, sizeof error->text, "%s%s: %s, expected %s", where, rows[i].path,
                     value == NULL ? "missing" : "something else", shape_text(rows[i].shape));
            return PS_EPARSE;
        }
    }
    return PS_OK;
}

/* Series that belong together have one length. */
static int check_lengths(const json_t *section, const char *where, struct ps_report_error *error)
{
    static const char *const paths[][2] = {
        {"series.time", "series"}, {"histogram.count", "histogram"}, {"ttft_histogram.count", "ttft_histogram"}};
    for (size_t i = 0; i < PS_ARRAY_LEN(paths); i++) {
        size_t length = ps_report_size(section, paths[i][0]);
        json_t *object = ps_report_at(section, paths[i][1]);
        const char *name;
        json_t *value;
        json_object_foreach (object, name, value) {
            if (json_is_array(value) && json_array_size(value) != length) {
                snprintf(error->text, sizeof error->text, "%s%s.%.64s: %zu values, expected %zu", where,
                         paths[i][1], name, json_array_size(value), length);
                return PS_EPARSE;
            }
        }
    }
    return PS_OK;
}

static int check_section(const json_t *section, const char *name, struct ps_report_error *error)
{
    char where[48];
    snprintf(where, sizeof where, "%s.", name);
    if (!json_is_object(section)) {
        snprintf(error->text, sizeof error->text, "%s: something else, expected an object", name);
        return PS_EPARSE;
    }
    int err = check_rows(section, where, common, PS_ARRAY_LEN(common), error);
    err = err == PS_OK ? check_lengths(section, where, error) : err;
    if (err == PS_OK && ps_verdict_find(ps_report_text(section, "verdict")) == PS_VERDICT_COUNT) {
        snprintf(error->text, sizeof error->text, "%s.verdict: not one that is known", name);
        err = PS_EPARSE;
    }
    return err;
}

static int check_version(const json_t *document, struct ps_report_error *error)
{
    const json_t *version = json_object_get(document, "schema_version");
    if (!is_count(version)) {
        snprintf(error->text, sizeof error->text, "not a load test report: it has no schema_version");
        return PS_EPARSE;
    }
    if (json_integer_value(version) != PS_REPORT_SCHEMA) {
        snprintf(error->text, sizeof error->text, "schema_version %lld, expected %d: another version wrote it",
                 (long long)json_integer_value(version), PS_REPORT_SCHEMA);
        return PS_EPARSE;
    }
    return PS_OK;
}

int ps_report_check(const json_t *document, struct ps_report_error *error)
{
    if (!json_is_object(document)) {
        snprintf(error->text, sizeof error->text, "not a load test report: not a JSON object");
        return PS_EPARSE;
    }
    int err = check_version(document, error);
    err = err == PS_OK ? check_rows(document, "", top, PS_ARRAY_LEN(top), error) : err;
    if (err == PS_OK && ps_verdict_find(ps_report_text(document, "summary.verdict")) == PS_VERDICT_COUNT) {
        snprintf(error->text, sizeof error->text, "summary.verdict: not one that is known");
        err = PS_EPARSE;
    }
    for (enum ps_report_kind kind = 0; err == PS_OK && kind < PS_REPORT_COUNT; kind++) {
        const json_t *section = json_object_get(document, ps_report_section_name(kind));
        err = section == NULL ? PS_OK : check_section(section, ps_report_section_name(kind), error);
    }
    return err;
}
