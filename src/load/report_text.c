/* report_text - see report_text.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/report_text.h"

#include <ctype.h>
#include <string.h>

#include "load/clean.h"
#include "load/report_json.h"
#include "load/report_rows.h"

#define TEXT_MAX 700

/* Appends "%s"-formatted text after the first error nothing. */
#define PRINT(...)                                                                                 \
    do {                                                                                           \
        err = err == PS_OK ? ps_buf_printf(out, __VA_ARGS__) : err;                                \
    } while (0)

/* Text of a document that a stranger may have written. */
static const char *clean(const json_t *json, const char *path, char text[TEXT_MAX])
{
    return ps_clean_text(ps_str_from(ps_report_text(json, path)), text, TEXT_MAX);
}

static const char *upper(const char *word, char text[32])
{
    size_t i = 0;
    for (; word[i] != '\0' && i < 31; i++) {
        text[i] = word[i] == '_' ? ' ' : (char)toupper((unsigned char)word[i]);
    }
    text[i] = '\0';
    return text;
}

static size_t section_count(const json_t *document)
{
    size_t count = 0;
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        count += ps_report_section_of(document, kind) != NULL ? 1 : 0;
    }
    return count;
}

/* A line for each test; of one alone the verdict above says it all. */
static int write_verdicts(const json_t *document, struct ps_buf *out)
{
    char text[TEXT_MAX], word[32];
    int err = PS_OK;
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        const json_t *section = ps_report_section_of(document, kind);
        if (section != NULL) {
            PRINT("%-10s %-17s %s\n", ps_report_word(kind), upper(ps_report_text(section, "verdict"), word),
                  clean(section, "reason", text));
        }
    }
    PRINT("\n");
    return err;
}

int ps_report_write_summary(const json_t *document, struct ps_buf *out)
{
    char text[TEXT_MAX], word[32], value[PS_REPORT_VALUE_MAX];
    int err = PS_OK;
    PRINT("%s  %s\n", upper(ps_report_text(document, "summary.verdict"), word), clean(document, "summary.target", text));
    PRINT("%s\n\n", clean(document, "summary.reason", text));
    if (err == PS_OK && section_count(document) > 1) {
        err = write_verdicts(document, out);
    }
    PRINT("%s requests", ps_report_write(ps_report_number(document, "summary.total_requests"), PS_UNIT_COUNT,
                                           value, sizeof value));
    PRINT(", %s errors", ps_report_write(ps_report_number(document, "summary.error_rate_percent"),
                                         PS_UNIT_PERCENT, value, sizeof value));
    PRINT(", p95 %s", ps_report_write(ps_report_number(document, "summary.p95_ms"), PS_UNIT_MS, value, sizeof value));
    PRINT(" (%s)\n", clean(document, "summary.figures_of", text));
    return err;
}

static int write_rows(const json_t *section, enum ps_report_kind kind, struct ps_buf *out)
{
    size_t count;
    const struct ps_report_row *rows = ps_report_rows(kind, &count);
    int err = PS_OK;
    for (size_t i = 0; i < count; i++) {
        char text[PS_REPORT_VALUE_MAX], cleaned[PS_REPORT_VALUE_MAX];
        ps_report_row_text(section, &rows[i], text, sizeof text);
        if (text[0] != '\0') {
            PRINT("  %-24s %s\n", rows[i].label, ps_clean_text(ps_str_from(text), cleaned, sizeof cleaned));
        }
    }
    return err;
}

static int write_thresholds(const json_t *section, struct ps_buf *out)
{
    int err = PS_OK;
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(section, "thresholds"), i, row) {
        char text[TEXT_MAX], metric[TEXT_MAX], value[PS_REPORT_VALUE_MAX];
        ps_report_write_as(ps_report_number(row, "value"), ps_report_text(row, "unit"), value, sizeof value);
        PRINT("  %s %s: %s, was %s\n", ps_report_flag(row, "passed") ? "kept  " : "BROKEN",
              clean(row, "metric", metric), clean(row, "expression", text), value);
    }
    return err;
}

static int write_points(const json_t *section, struct ps_buf *out)
{
    int err = PS_OK;
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(section, "stress_points"), i, row) {
        char text[TEXT_MAX], values[4][PS_REPORT_VALUE_MAX];
        if (i == 0) {
            PRINT("  %12s%12s%12s%12s  %s\n", "asked for", "achieved", "errors", "p95", "");
        }
        PRINT("  %12s%12s%12s%12s  %s\n",
              ps_report_write(ps_report_number(row, "rps"), PS_UNIT_RATE, values[0], sizeof values[0]),
              ps_report_write(ps_report_number(row, "achieved_rps"), PS_UNIT_RATE, values[1], sizeof values[1]),
              ps_report_write(ps_report_number(row, "error_rate_percent"), PS_UNIT_PERCENT, values[2],
                              sizeof values[2]),
              ps_report_write(ps_report_number(row, "p95_ms"), PS_UNIT_MS, values[3], sizeof values[3]),
              clean(row, "verdict", text));
    }
    return err;
}

static int write_drift(const json_t *section, struct ps_buf *out)
{
    int err = PS_OK;
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(section, "drift"), i, row) {
        char text[TEXT_MAX], values[2][PS_REPORT_VALUE_MAX];
        const char *unit = ps_report_text(row, "unit");
        PRINT("  %-24s %s to %s: ", clean(row, "signal", text),
              ps_report_write_as(ps_report_number(row, "start"), unit, values[0], sizeof values[0]),
              ps_report_write_as(ps_report_number(row, "end"), unit, values[1], sizeof values[1]));
        if (ps_report_flag(row, "drifts")) {
            PRINT("DRIFTS by %s an hour", ps_report_write_slope(row, values[0], sizeof values[0]));
        } else {
            PRINT("steady");
        }
        PRINT(" (p = %.3g)\n", ps_report_number(row, "p_value"));
    }
    return err;
}

static int write_failures(const json_t *section, struct ps_buf *out)
{
    int err = PS_OK;
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(section, "failures"), i, row) {
        char kind[TEXT_MAX], example[TEXT_MAX], value[PS_REPORT_VALUE_MAX];
        PRINT("  failed: %s, %s times; the first: %s\n", clean(row, "kind", kind),
              ps_report_write(ps_report_number(row, "count"), PS_UNIT_COUNT, value, sizeof value),
              clean(row, "example", example));
    }
    return err;
}

static int write_section(const json_t *section, enum ps_report_kind kind, struct ps_buf *out)
{
    char text[TEXT_MAX];
    int err = PS_OK;
    PRINT("\n%s of %s\n", ps_report_title(kind), clean(section, "target", text));
    err = err == PS_OK ? write_rows(section, kind, out) : err;
    err = err == PS_OK ? write_points(section, out) : err;
    err = err == PS_OK ? write_drift(section, out) : err;
    err = err == PS_OK ? write_thresholds(section, out) : err;
    err = err == PS_OK ? write_failures(section, out) : err;
    if (ps_report_flag(section, "generator.limited")) {
        PRINT("  LIMITED BY THE GENERATOR: %s\n", clean(section, "generator.reason", text));
    }
    return err;
}

int ps_report_write_text(const json_t *document, struct ps_buf *out)
{
    int err = ps_report_write_summary(document, out);
    for (enum ps_report_kind kind = 0; err == PS_OK && kind < PS_REPORT_COUNT; kind++) {
        const json_t *section = ps_report_section_of(document, kind);
        err = section == NULL ? PS_OK : write_section(section, kind, out);
    }
    return err;
}
