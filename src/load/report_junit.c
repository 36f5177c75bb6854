/* report_junit - see report_junit.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/report_junit.h"

#include <math.h>
#include <string.h>

#include "load/markup.h"
#include "load/report_document.h"
#include "load/report_json.h"
#include "load/report_rows.h"

#define PRINT(...)                                                                                 \
    do {                                                                                           \
        err = err == PS_OK ? ps_buf_printf(out, __VA_ARGS__) : err;                                \
    } while (0)
#define TEXT(text)                                                                                 \
    do {                                                                                           \
        err = err == PS_OK ? ps_markup_text(out, ps_str_from(text)) : err;                         \
    } while (0)

struct tally {
    size_t tests;
    size_t failures;
    size_t errors;
    double seconds;
};

/* Has the test an answer, and is it a good one? */
static bool has_answer(const json_t *section)
{
    enum ps_verdict verdict = ps_verdict_find(ps_report_text(section, "verdict"));
    return verdict == PS_VERDICT_PASS || verdict == PS_VERDICT_FAIL;
}

static bool passed(const json_t *section)
{
    return ps_verdict_find(ps_report_text(section, "verdict")) == PS_VERDICT_PASS;
}

static double seconds_of(const json_t *section)
{
    return fmax(0, ps_report_number(section, "duration_seconds"));
}

static struct tally count(const json_t *section)
{
    struct tally tally = {1, has_answer(section) && !passed(section) ? 1 : 0, has_answer(section) ? 0 : 1,
                          seconds_of(section)};
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(section, "thresholds"), i, row) {
        tally.tests++;
        tally.failures += ps_report_flag(row, "passed") ? 0 : 1;
    }
    return tally;
}

static int write_properties(const json_t *section, enum ps_report_kind kind, struct ps_buf *out)
{
    int err = PS_OK;
    size_t rows_count;
    const struct ps_report_row *rows = ps_report_rows(kind, &rows_count);
    PRINT("    <properties>\n      <property name=\"target\" value=\"");
    TEXT(ps_report_text(section, "target"));
    PRINT("\"/>\n");
    for (size_t i = 0; i < rows_count; i++) {
        const json_t *value = ps_report_at(section, rows[i].path);
        if (json_is_number(value)) {
            PRINT("      <property name=\"%s.%s\" value=\"%.15g\"/>\n", ps_report_section_name(kind),
                  rows[i].path, json_number_value(value));
        }
    }
    PRINT("    </properties>\n");
    return err;
}

static int write_case(const char *kind, const char *name, const char *more, double seconds, struct ps_buf *out)
{
    int err = PS_OK;
    PRINT("    <testcase classname=\"penstock.%s\" name=\"", kind);
    TEXT(name);
    TEXT(more);
    PRINT("\" time=\"%.3f\"", seconds);
    return err;
}

/* The end of a case: nothing, or what went wrong. */
static int write_result(const char *element, const char *type, const char *message, const char *detail,
                        struct ps_buf *out)
{
    int err = PS_OK;
    if (element == NULL) {
        PRINT("/>\n");
        return err;
    }
    PRINT(">\n      <%s type=\"%s\" message=\"", element, type);
    TEXT(message);
    TEXT(detail);
    PRINT("\"/>\n    </testcase>\n");
    return err;
}

static int write_verdict(const json_t *section, enum ps_report_kind kind, struct ps_buf *out)
{
    const char *element = passed(section) ? NULL : has_answer(section) ? "failure" : "error";
    int err = write_case(ps_report_word(kind), ps_report_word(kind), ": verdict", seconds_of(section), out);
    return err == PS_OK ? write_result(element, ps_report_text(section, "verdict"), ps_report_text(section, "reason"),
                                       "", out)
                        : err;
}

static int write_threshold(const json_t *row, enum ps_report_kind kind, struct ps_buf *out)
{
    char name[300], value[PS_REPORT_VALUE_MAX], was[PS_REPORT_VALUE_MAX + 8];
    snprintf(name, sizeof name, "%.200s: ", ps_report_text(row, "metric"));
    ps_report_write_as(ps_report_number(row, "value"), ps_report_text(row, "unit"), value, sizeof value);
    snprintf(was, sizeof was, ", was %s", value);
    int err = write_case(ps_report_word(kind), name, ps_report_text(row, "expression"), 0, out);
    return err == PS_OK ? write_result(ps_report_flag(row, "passed") ? NULL : "failure", "threshold",
                                       ps_report_text(row, "expression"), was, out)
                        : err;
}

static int write_suite(const json_t *section, enum ps_report_kind kind, struct ps_buf *out)
{
    struct tally tally = count(section);
    int err = PS_OK;
    PRINT("  <testsuite name=\"%s\" tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" skipped=\"0\" time=\"%.3f\" "
          "timestamp=\"",
          ps_report_word(kind), tally.tests, tally.failures, tally.errors, tally.seconds);
    char started[20]; /* without its Z: the format knows no zones */
    snprintf(started, sizeof started, "%s", ps_report_text(section, "started"));
    TEXT(started);
    PRINT("\">\n");
    err = err == PS_OK ? write_properties(section, kind, out) : err;
    err = err == PS_OK ? write_verdict(section, kind, out) : err;
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(section, "thresholds"), i, row) {
        err = err == PS_OK ? write_threshold(row, kind, out) : err;
    }
    PRINT("  </testsuite>\n");
    return err;
}

int ps_report_write_junit(const json_t *document, struct ps_buf *out)
{
    struct tally all = {0};
    int err = PS_OK;
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        const json_t *section = ps_report_section_of(document, kind);
        struct tally tally = section == NULL ? (struct tally){0} : count(section);
        all = (struct tally){all.tests + tally.tests, all.failures + tally.failures, all.errors + tally.errors,
                             all.seconds + tally.seconds};
    }
    PRINT("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"penstock\" tests=\"%zu\" "
          "failures=\"%zu\" errors=\"%zu\" time=\"%.3f\">\n",
          all.tests, all.failures, all.errors, all.seconds);
    for (enum ps_report_kind kind = 0; err == PS_OK && kind < PS_REPORT_COUNT; kind++) {
        const json_t *section = ps_report_section_of(document, kind);
        err = section == NULL ? PS_OK : write_suite(section, kind, out);
    }
    PRINT("</testsuites>\n");
    return err;
}
