/* report_rows - see report_rows.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/report_rows.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "load/report_document.h"
#include "load/report_json.h"

/* clang-format off */
#define COMMON                                                                    \
    {"rps", "throughput", PS_UNIT_RATE, true},                                    \
    {"target_rps", "asked for", PS_UNIT_RATE, false},                             \
    {"total_requests", "requests", PS_UNIT_COUNT, true},                          \
    {"error_rate_percent", "errors", PS_UNIT_PERCENT, true},                      \
    {"response_time_ms.median", "median", PS_UNIT_MS, true},                      \
    {"response_time_ms.p95", "p95", PS_UNIT_MS, true},                            \
    {"response_time_ms.p99", "p99", PS_UNIT_MS, true},                            \
    {"response_time_ms.max", "slowest", PS_UNIT_MS, false},                       \
    {"ttft_ms.median", "first token, median", PS_UNIT_MS, false},                 \
    {"ttft_ms.p95", "first token, p95", PS_UNIT_MS, true},                        \
    {"inter_token_ms.median", "between tokens, median", PS_UNIT_MS, false},       \
    {"inter_token_ms.p95", "between tokens, p95", PS_UNIT_MS, false},             \
    {"tokens.output_per_second", "output tokens", PS_UNIT_RATE, false},           \
    {"goodput.rps", "goodput", PS_UNIT_RATE, false},                              \
    {"goodput.percent", "within objectives", PS_UNIT_PERCENT, false},             \
    {"unfinished_requests", "unfinished", PS_UNIT_COUNT, false},                  \
    {"duration_seconds", "duration", PS_UNIT_SECONDS, false}

static const struct ps_report_row load_rows[] = {COMMON};
static const struct ps_report_row stress_rows[] = {
    {"breaking_point_rps", "breaking point", PS_UNIT_RATE, true},
    {"confidence_interval.low_rps", "at least", PS_UNIT_RATE, true},
    {"confidence_interval.high_rps", "at most", PS_UNIT_RATE, true},
    {"limiting_signal", "gave way", PS_UNIT_TEXT, true},
    {"total_requests", "requests", PS_UNIT_COUNT, false},
    {"duration_seconds", "duration", PS_UNIT_SECONDS, false},
};
static const struct ps_report_row spike_rows[] = {
    {"recovery_time_seconds", "recovered after", PS_UNIT_SECONDS, true},
    {"baseline_rps", "baseline", PS_UNIT_RATE, true},
    {"spike_rps", "spike", PS_UNIT_RATE, true},
    {"band.p95_ms", "recovered below (p95)", PS_UNIT_MS, false},
    {"total_requests", "requests", PS_UNIT_COUNT, false},
    {"error_rate_percent", "errors", PS_UNIT_PERCENT, true},
    {"response_time_ms.p95", "p95", PS_UNIT_MS, true},
    {"duration_seconds", "duration", PS_UNIT_SECONDS, false},
};
static const struct ps_report_row endurance_rows[] = {
    COMMON,
    {"resumed", "times resumed", PS_UNIT_COUNT, false},
};
/* clang-format on */

static const struct {
    const char *title;
    const struct ps_report_row *rows;
    size_t count;
} kinds[PS_REPORT_COUNT] = {
    [PS_REPORT_LOAD] = {"Load", load_rows, PS_ARRAY_LEN(load_rows)},
    [PS_REPORT_STRESS] = {"Stress", stress_rows, PS_ARRAY_LEN(stress_rows)},
    [PS_REPORT_SPIKE] = {"Spike", spike_rows, PS_ARRAY_LEN(spike_rows)},
    [PS_REPORT_ENDURANCE] = {"Endurance", endurance_rows, PS_ARRAY_LEN(endurance_rows)},
    [PS_REPORT_REPLAY] = {"Replay", load_rows, PS_ARRAY_LEN(load_rows)},
};

const struct ps_report_row *ps_report_rows(enum ps_report_kind kind, size_t *count)
{
    PS_CHECK(kind < PS_REPORT_COUNT);
    *count = kinds[kind].count;
    return kinds[kind].rows;
}

const char *ps_report_title(enum ps_report_kind kind)
{
    PS_CHECK(kind < PS_REPORT_COUNT);
    return kinds[kind].title;
}

const json_t *ps_report_section_of(const json_t *document, enum ps_report_kind kind)
{
    return json_object_get(document, ps_report_section_name(kind));
}

/* ---------------------------------------------------------------------------------- writing */

/* 1234567 -> "1,234,567" */
static void write_count(double value, char *text, size_t size)
{
    char digits[40];
    int length = snprintf(digits, sizeof digits, "%.0f", fabs(value) < 1e18 ? value : 1e18);
    size_t used = 0;
    for (int i = 0; i < length && used + 2 < size; i++) {
        text[used++] = digits[i];
        if (digits[i] != '-' && i + 1 < length && (length - i - 1) % 3 == 0) {
            text[used++] = ',';
        }
    }
    text[used] = '\0';
}

/* Three figures that count, and none that don't. */
static int decimals(double value)
{
    double size = fabs(value);
    return size == 0 || size >= 100 ? 0 : size >= 10 ? 1 : 2;
}

/* 50.0 is 50: nothing is known behind a point that is followed by noughts alone. */
static void write_trimmed(double value, int places, const char *unit, char *text, size_t size)
{
    snprintf(text, size, "%.*f", places, value);
    size_t length = strlen(text);
    if (length > 2 && strcmp(text + length - 2, ".0") == 0) {
        text[length - 2] = '\0';
    }
    length = strlen(text);
    snprintf(text + length, size - length, "%s", unit);
}

static void write_rate(double value, char *text, size_t size)
{
    if (value < 1000) {
        write_trimmed(value, value >= 1 ? 1 : 2, "/s", text, size);
        return;
    }
    write_count(value, text, size);
    size_t length = strlen(text);
    snprintf(text + length, size - length, "/s");
}

static void write_seconds(double value, char *text, size_t size)
{
    if (value >= 2 * 3600) {
        snprintf(text, size, "%.1f h", value / 3600);
    } else if (value >= 300) {
        snprintf(text, size, "%.0f min", value / 60);
    } else {
        write_trimmed(value, value >= 100 ? 0 : 1, " s", text, size);
    }
}

static void write_ms(double value, char *text, size_t size)
{
    if (value < 0.1) {
        snprintf(text, size, "%.0f us", value * 1000);
    } else if (value < 999.5) {
        snprintf(text, size, "%.*f ms", decimals(value), value);
    } else {
        snprintf(text, size, "%.*f s", decimals(value / 1000), value / 1000);
    }
}

const char *ps_report_write(double value, enum ps_report_unit unit, char *text, size_t size)
{
    if (!isfinite(value)) {
        snprintf(text, size, "-");
        return text;
    }
    switch (unit) {
    case PS_UNIT_COUNT:
    case PS_UNIT_TEXT:
        write_count(value, text, size);
        break;
    case PS_UNIT_RATE:
        write_rate(value, text, size);
        break;
    case PS_UNIT_PERCENT:
        snprintf(text, size, "%.*f %%", value == 0 || value >= 99.995 ? 0 : 2, value);
        break;
    case PS_UNIT_MS:
        write_ms(value, text, size);
        break;
    case PS_UNIT_SECONDS:
        write_seconds(value, text, size);
        break;
    }
    return text;
}

const char *ps_report_row_text(const json_t *section, const struct ps_report_row *row, char *text, size_t size)
{
    const json_t *value = ps_report_at(section, row->path);
    text[0] = '\0';
    if (row->unit == PS_UNIT_TEXT) {
        snprintf(text, size, "%s", ps_report_text(section, row->path));
        for (char *c = strchr(text, '_'); c != NULL; c = strchr(c, '_')) {
            *c = ' '; /* "time_to_first_token" is for programs */
        }
    } else if (json_is_number(value)) {
        ps_report_write(json_number_value(value), row->unit, text, size);
    }
    return text;
}

const char *ps_report_write_as(double value, const char *unit, char *text, size_t size)
{
    static const struct {
        const char *unit;
        enum ps_report_unit as;
    } rows[] = {{"ms", PS_UNIT_MS}, {"%", PS_UNIT_PERCENT}, {"/s", PS_UNIT_RATE}, {"s", PS_UNIT_SECONDS}};
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        if (strcmp(unit, rows[i].unit) == 0) {
            return ps_report_write(value, rows[i].as, text, size);
        }
    }
    if (isfinite(value) && strcmp(unit, "bytes") == 0) {
        snprintf(text, size, "%.1f MiB", value / (1 << 20));
    } else if (isfinite(value)) {
        snprintf(text, size, "%.4g", value);
    } else {
        snprintf(text, size, "-");
    }
    return text;
}

const char *ps_report_write_slope(const json_t *drift, char *text, size_t size)
{
    double percent = ps_report_number(drift, "percent_per_hour");
    if (!ps_report_flag(drift, "drifts")) {
        snprintf(text, size, "-");
    } else if (isfinite(percent)) {
        snprintf(text, size, "%+.2f %%", percent);
    } else {
        snprintf(text, size, "%+.3g %.16s", ps_report_number(drift, "slope_per_hour"), ps_report_text(drift, "unit"));
    }
    return text;
}
