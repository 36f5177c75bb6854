/* report_html - see report_html.h.
 *
 *      verdict, the reason in a sentence, what was asked
 *      a card for each test: its answer as one figure
 *      each test: figures, charts, thresholds, levels, drift, failures, percentiles, options
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/report_html.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "load/sheet.h"
#include "load/report_document.h"
#include "load/report_json.h"
#include "load/report_plot.h"
#include "load/report_rows.h"

#define CELL PS_REPORT_VALUE_MAX

/* -------------------------------------------------------------------------------- small parts */

/* A cell of a table: a number in its unit. */
static void put_number(struct ps_sheet *sheet, const json_t *row, const char *name, enum ps_report_unit unit)
{
    char text[CELL];
    ps_sheet_put(sheet, "<td>");
    ps_sheet_text(sheet, ps_report_write(ps_report_number(row, name), unit, text, sizeof text));
    ps_sheet_put(sheet, "</td>");
}

static void put_cell(struct ps_sheet *sheet, const char *style, const char *text)
{
    ps_sheet_printf(sheet, "<td class=\"%s\">", style);
    ps_sheet_text(sheet, text);
    ps_sheet_put(sheet, "</td>");
}

static void begin_table(struct ps_sheet *sheet, const char *title, const char *head)
{
    ps_sheet_put(sheet, "<h3>");
    ps_sheet_put(sheet, title);
    ps_sheet_put(sheet, "</h3>\n<div class=\"wide\"><table><thead><tr>");
    ps_sheet_put(sheet, head);
    ps_sheet_put(sheet, "</tr></thead><tbody>\n");
}

static void end_table(struct ps_sheet *sheet)
{
    ps_sheet_put(sheet, "</tbody></table></div>\n");
}

/* ------------------------------------------------------------------------------- the top of it */

static void put_time(struct ps_sheet *sheet, const char *stamp)
{
    char text[32];
    snprintf(text, sizeof text, "%.10s %.5s UTC", stamp, strlen(stamp) > 11 ? stamp + 11 : "");
    ps_sheet_text(sheet, strlen(stamp) > 16 ? text : stamp);
}

static void put_hero(struct ps_sheet *sheet, const json_t *document)
{
    char text[CELL];
    const char *verdict = ps_report_text(document, "summary.verdict");
    ps_sheet_put(sheet, "<header>\n<div class=\"brand\"><b>Penstock load test</b><span>");
    put_time(sheet, ps_report_text(document, "summary.started"));
    ps_sheet_put(sheet, ", ");
    ps_sheet_text(sheet, ps_report_write(ps_report_number(document, "summary.duration_seconds"), PS_UNIT_SECONDS, text,
                                       sizeof text));
    bool known = strcmp(verdict, "pass") == 0 || strcmp(verdict, "fail") == 0;
    ps_sheet_printf(sheet, "</span></div>\n<div class=\"hero %s\">", known ? verdict : "other");
    ps_sheet_pill(sheet, verdict);
    ps_sheet_put(sheet, "\n<h1>");
    ps_sheet_sentence(sheet, ps_report_text(document, "summary.reason"));
    ps_sheet_put(sheet, "</h1>\n<div class=\"target\">");
    ps_sheet_text(sheet, ps_report_text(document, "summary.target"));
    ps_sheet_put(sheet, "</div>\n</div>\n</header>\n<main>\n");
}

/* What a test says in one figure, and below it. */
static void put_answer(struct ps_sheet *sheet, const json_t *section, const char *path, enum ps_report_unit unit,
                       const char *none, const char *below)
{
    char text[CELL];
    double value = ps_report_number(section, path);
    ps_sheet_put(sheet, "<div class=\"big\">");
    ps_sheet_text(sheet, isfinite(value) ? ps_report_write(value, unit, text, sizeof text) : none);
    ps_sheet_put(sheet, "</div><div class=\"meta\">");
    ps_sheet_text(sheet, below);
    ps_sheet_put(sheet, "</div>");
}

static void put_load_answer(struct ps_sheet *sheet, const json_t *section)
{
    char below[200], rate[CELL], errors[CELL];
    snprintf(below, sizeof below, "p95 at %s, %s errors",
             ps_report_write(ps_report_number(section, "rps"), PS_UNIT_RATE, rate, sizeof rate),
             ps_report_write(ps_report_number(section, "error_rate_percent"), PS_UNIT_PERCENT, errors, sizeof errors));
    put_answer(sheet, section, "response_time_ms.p95", PS_UNIT_MS, "no answer", below);
}

static void put_stress_answer(struct ps_sheet *sheet, const json_t *section)
{
    char below[200], low[CELL], high[CELL];
    double least = ps_report_number(section, "confidence_interval.low_rps");
    snprintf(below, sizeof below, "breaking point");
    if (isfinite(least)) {
        snprintf(below, sizeof below, "breaking point, between %s and %s",
                 ps_report_write(least, PS_UNIT_RATE, low, sizeof low),
                 ps_report_write(ps_report_number(section, "confidence_interval.high_rps"), PS_UNIT_RATE, high,
                                 sizeof high));
    }
    put_answer(sheet, section, "breaking_point_rps", PS_UNIT_RATE, "not found", below);
}

static void put_spike_answer(struct ps_sheet *sheet, const json_t *section)
{
    char below[200], from[CELL], to[CELL];
    snprintf(below, sizeof below, "to recover from %s to %s",
             ps_report_write(ps_report_number(section, "baseline_rps"), PS_UNIT_RATE, from, sizeof from),
             ps_report_write(ps_report_number(section, "spike_rps"), PS_UNIT_RATE, to, sizeof to));
    put_answer(sheet, section, "recovery_time_seconds", PS_UNIT_SECONDS, "not recovered", below);
}

static void put_endurance_answer(struct ps_sheet *sheet, const json_t *section)
{
    size_t i, drifting = 0;
    json_t *row;
    char below[200], errors[CELL];
    json_array_foreach (json_object_get(section, "drift"), i, row) {
        drifting += ps_report_flag(row, "drifts") ? 1 : 0;
    }
    snprintf(below, sizeof below, "%s, %s errors", drifting == 0 ? "without drift" : "with drift",
             ps_report_write(ps_report_number(section, "error_rate_percent"), PS_UNIT_PERCENT, errors, sizeof errors));
    put_answer(sheet, section, "duration_seconds", PS_UNIT_SECONDS, "", below);
}

static void put_card(struct ps_sheet *sheet, const json_t *section, enum ps_report_kind kind)
{
    ps_sheet_printf(sheet, "<a class=\"card\" href=\"#%s\"><div class=\"row\"><span>%s</span>", ps_report_word(kind),
                   ps_report_title(kind));
    ps_sheet_pill(sheet, ps_report_text(section, "verdict"));
    ps_sheet_put(sheet, "</div>");
    switch (kind) {
    case PS_REPORT_STRESS:
        put_stress_answer(sheet, section);
        break;
    case PS_REPORT_SPIKE:
        put_spike_answer(sheet, section);
        break;
    case PS_REPORT_ENDURANCE:
        put_endurance_answer(sheet, section);
        break;
    case PS_REPORT_LOAD:
    case PS_REPORT_REPLAY:
    case PS_REPORT_COUNT:
        put_load_answer(sheet, section);
        break;
    }
    ps_sheet_put(sheet, "</a>\n");
}

static void put_cards(struct ps_sheet *sheet, const json_t *document)
{
    if (json_object_size(ps_report_at(document, "summary.tests")) < 2) {
        return; /* the one test says it itself, right below */
    }
    ps_sheet_put(sheet, "<div class=\"cards\">\n");
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        const json_t *section = ps_report_section_of(document, kind);
        if (section != NULL) {
            put_card(sheet, section, kind);
        }
    }
    ps_sheet_put(sheet, "</div>\n");
}

/* ------------------------------------------------------------------------------- a test's parts */

static void put_tiles(struct ps_sheet *sheet, const json_t *section, enum ps_report_kind kind)
{
    size_t count;
    const struct ps_report_row *rows = ps_report_rows(kind, &count);
    ps_sheet_put(sheet, "<dl class=\"tiles\">\n");
    for (size_t i = 0; i < count; i++) {
        char text[CELL];
        const json_t *value = ps_report_at(section, rows[i].path);
        ps_report_row_text(section, &rows[i], text, sizeof text);
        if (text[0] == '\0') {
            continue;
        }
        ps_sheet_put(sheet, "<div><dt>");
        ps_sheet_text(sheet, rows[i].label);
        ps_sheet_printf(sheet, "</dt><dd data-path=\"%s.%s\"", ps_report_section_name(kind), rows[i].path);
        if (json_is_number(value)) {
            ps_sheet_printf(sheet, " data-value=\"%.15g\"", json_number_value(value));
        }
        ps_sheet_put(sheet, ">");
        ps_sheet_text(sheet, text);
        ps_sheet_put(sheet, "</dd></div>\n");
    }
    ps_sheet_put(sheet, "</dl>\n");
}

static void put_thresholds(struct ps_sheet *sheet, const json_t *section)
{
    size_t i;
    json_t *row;
    if (ps_report_size(section, "thresholds") == 0) {
        return;
    }
    begin_table(sheet, "Thresholds", "<th>metric</th><th class=\"l\">must be</th><th>was</th><th></th>");
    json_array_foreach (json_object_get(section, "thresholds"), i, row) {
        char text[CELL];
        bool kept = ps_report_flag(row, "passed");
        ps_sheet_put(sheet, "<tr>");
        put_cell(sheet, "l", ps_report_text(row, "metric"));
        put_cell(sheet, "l", ps_report_text(row, "expression"));
        put_cell(sheet, "", ps_report_write_as(ps_report_number(row, "value"), ps_report_text(row, "unit"), text,
                                              sizeof text));
        put_cell(sheet, kept ? "ok" : "no", kept ? "kept" : "broken");
        ps_sheet_put(sheet, "</tr>\n");
    }
    end_table(sheet);
}

static void put_points(struct ps_sheet *sheet, const json_t *section)
{
    size_t i;
    json_t *row;
    if (ps_report_size(section, "stress_points") == 0) {
        return;
    }
    begin_table(sheet, "Levels",
                "<th>asked for</th><th>achieved</th><th>errors</th><th>median</th><th>p95</th><th>p99</th>"
                "<th>in flight</th><th></th><th class=\"l\">gave way</th>");
    json_array_foreach (json_object_get(section, "stress_points"), i, row) {
        const char *verdict = ps_report_text(row, "verdict");
        const char *style = strcmp(verdict, "holds") == 0 ? "ok" : strcmp(verdict, "breaks") == 0 ? "no" : "so";
        ps_sheet_put(sheet, "<tr>");
        put_number(sheet, row, "rps", PS_UNIT_RATE);
        put_number(sheet, row, "achieved_rps", PS_UNIT_RATE);
        put_number(sheet, row, "error_rate_percent", PS_UNIT_PERCENT);
        put_number(sheet, row, "median_ms", PS_UNIT_MS);
        put_number(sheet, row, "p95_ms", PS_UNIT_MS);
        put_number(sheet, row, "p99_ms", PS_UNIT_MS);
        put_number(sheet, row, "in_flight", PS_UNIT_COUNT);
        put_cell(sheet, style, verdict);
        put_cell(sheet, "l", ps_report_text(row, "signal"));
        ps_sheet_put(sheet, "</tr>\n");
    }
    end_table(sheet);
}

static void put_phases(struct ps_sheet *sheet, const json_t *section)
{
    size_t i;
    json_t *row;
    if (ps_report_size(section, "phases") == 0) {
        return;
    }
    begin_table(sheet, "Phases", "<th>phase</th><th>from</th><th>for</th><th>asked for</th><th>achieved</th>"
                                "<th>errors</th><th>p95</th>");
    json_array_foreach (json_object_get(section, "phases"), i, row) {
        ps_sheet_put(sheet, "<tr>");
        put_cell(sheet, "l", ps_report_text(row, "name"));
        put_number(sheet, row, "start_seconds", PS_UNIT_SECONDS);
        put_number(sheet, row, "duration_seconds", PS_UNIT_SECONDS);
        put_number(sheet, row, "target_rps", PS_UNIT_RATE);
        put_number(sheet, row, "achieved_rps", PS_UNIT_RATE);
        put_number(sheet, row, "error_rate_percent", PS_UNIT_PERCENT);
        put_number(sheet, row, "p95_ms", PS_UNIT_MS);
        ps_sheet_put(sheet, "</tr>\n");
    }
    end_table(sheet);
}

static void put_drift_row(struct ps_sheet *sheet, const json_t *row)
{
    char text[CELL];
    const char *unit = ps_report_text(row, "unit");
    bool drifts = ps_report_flag(row, "drifts");
    ps_sheet_put(sheet, "<tr>");
    put_cell(sheet, "l", ps_report_text(row, "signal"));
    put_cell(sheet, "", ps_report_write_as(ps_report_number(row, "start"), unit, text, sizeof text));
    put_cell(sheet, "", ps_report_write_as(ps_report_number(row, "end"), unit, text, sizeof text));
    put_cell(sheet, "", ps_report_write_slope(row, text, sizeof text));
    snprintf(text, sizeof text, "%.3g", ps_report_number(row, "p_value"));
    put_cell(sheet, "", text);
    put_cell(sheet, drifts ? "no" : "ok", drifts ? "drifts" : "steady");
    ps_sheet_put(sheet, "</tr>\n");
}

static void put_drift(struct ps_sheet *sheet, const json_t *section)
{
    size_t i;
    json_t *row;
    if (ps_report_size(section, "drift") == 0) {
        return;
    }
    begin_table(sheet, "Drift", "<th>signal</th><th>at the start</th><th>at the end</th><th>an hour</th><th>p-value</th>"
                               "<th></th>");
    json_array_foreach (json_object_get(section, "drift"), i, row) {
        put_drift_row(sheet, row);
    }
    end_table(sheet);
}

static void put_failures(struct ps_sheet *sheet, const json_t *section)
{
    size_t i;
    json_t *row;
    if (ps_report_size(section, "failures") == 0) {
        return;
    }
    begin_table(sheet, "Failures", "<th>kind</th><th>times</th><th class=\"l\">the first</th>");
    json_array_foreach (json_object_get(section, "failures"), i, row) {
        ps_sheet_put(sheet, "<tr>");
        put_cell(sheet, "l", ps_report_text(row, "kind"));
        put_number(sheet, row, "count", PS_UNIT_COUNT);
        put_cell(sheet, "l", ps_report_text(row, "example"));
        ps_sheet_put(sheet, "</tr>\n");
    }
    end_table(sheet);
}

static void put_percentiles(struct ps_sheet *sheet, const json_t *section)
{
    static const struct {
        const char *name;
        const char *title;
    } rows[] = {
        {"response_time_ms", "response time"},
        {"response_time_uncorrected_ms", "from the real send"},
        {"ttft_ms", "first token"},
        {"ttft_uncorrected_ms", "first token from the real send"},
        {"inter_token_ms", "between tokens"},
    };
    static const char *const columns[] = {"min", "mean", "median", "p90", "p95", "p99", "p99_9", "max"};
    if (ps_report_at(section, rows[0].name) == NULL) {
        return;
    }
    begin_table(sheet, "Percentiles", "<th></th><th>min</th><th>mean</th><th>median</th><th>p90</th><th>p95</th>"
                                     "<th>p99</th><th>p99.9</th><th>max</th>");
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        const json_t *times = ps_report_at(section, rows[i].name);
        if (times == NULL) {
            continue;
        }
        ps_sheet_put(sheet, "<tr>");
        put_cell(sheet, "l", rows[i].title);
        for (size_t j = 0; j < PS_ARRAY_LEN(columns); j++) {
            put_number(sheet, times, columns[j], PS_UNIT_MS);
        }
        ps_sheet_put(sheet, "</tr>\n");
    }
    end_table(sheet);
}

/* -------------------------------------------------------------------------------- how it was run */

static void put_pair(struct ps_sheet *sheet, const char *name, const json_t *value)
{
    char number[40] = "";
    if (json_is_number(value)) {
        snprintf(number, sizeof number, "%.15g", json_number_value(value));
    }
    ps_sheet_put(sheet, "<tr>");
    put_cell(sheet, "l", name);
    put_cell(sheet, "l", json_is_string(value) ? json_string_value(value) : number);
    ps_sheet_put(sheet, "</tr>\n");
}

static void put_object(struct ps_sheet *sheet, json_t *object)
{
    const char *name;
    json_t *value;
    json_object_foreach (object, name, value) {
        if (json_is_string(value) || json_is_number(value)) {
            put_pair(sheet, name, value);
        }
    }
}

static void put_setting(struct ps_sheet *sheet, const json_t *section)
{
    static const char *const names[] = {"method", "server", "started", "arrivals", "connections"};
    ps_sheet_put(sheet, "<details><summary>How it was run</summary>\n");
    begin_table(sheet, "Test", "<th></th><th></th>");
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
        const json_t *value = json_object_get(section, names[i]);
        if (value != NULL) {
            put_pair(sheet, names[i], value);
        }
    }
    put_object(sheet, json_object_get(section, "options"));
    put_object(sheet, json_object_get(section, "tags"));
    end_table(sheet);
    begin_table(sheet, "Statuses", "<th>status</th><th></th>");
    put_object(sheet, json_object_get(section, "statuses"));
    end_table(sheet);
    begin_table(sheet, "Generator", "<th></th><th></th>");
    put_object(sheet, json_object_get(section, "generator"));
    put_object(sheet, json_object_get(section, "environment"));
    end_table(sheet);
    ps_sheet_put(sheet, "</details>\n");
}

static void put_section(struct ps_sheet *sheet, const json_t *section, enum ps_report_kind kind)
{
    ps_sheet_printf(sheet, "<section id=\"%s\">\n<div class=\"title\"><h2>%s</h2>", ps_report_word(kind),
                   ps_report_title(kind));
    ps_sheet_pill(sheet, ps_report_text(section, "verdict"));
    ps_sheet_put(sheet, "</div>\n<p class=\"reason\">");
    ps_sheet_sentence(sheet, ps_report_text(section, "reason"));
    ps_sheet_put(sheet, "</p>\n");
    put_tiles(sheet, section, kind);
    if (sheet->err == PS_OK) {
        sheet->err = ps_report_write_plots(section, kind, sheet->out);
    }
    put_points(sheet, section);
    put_phases(sheet, section);
    put_drift(sheet, section);
    put_thresholds(sheet, section);
    put_failures(sheet, section);
    put_percentiles(sheet, section);
    put_setting(sheet, section);
    ps_sheet_put(sheet, "</section>\n");
}

static void put_foot(struct ps_sheet *sheet, const json_t *document)
{
    const json_t *environment = json_object_get(document, "environment");
    ps_sheet_put(sheet, "</main>\n<footer>Response times are measured from the moment at which a request was due, not "
                      "from the one at which it left: a server that stalls can't hide it. Measured by ");
    ps_sheet_text(sheet, ps_report_text(document, "generator"));
    ps_sheet_put(sheet, " on ");
    ps_sheet_text(sheet, ps_report_text(environment, "cpu"));
    ps_sheet_printf(sheet, " (%.0f cores), ", fmax(0, ps_report_number(environment, "cores")));
    ps_sheet_text(sheet, ps_report_text(environment, "kernel"));
    ps_sheet_put(sheet, ".</footer>\n");
}

int ps_report_write_html(const json_t *document, struct ps_buf *out)
{
    struct ps_sheet sheet = {out, PS_OK};
    char title[300];
    snprintf(title, sizeof title, "%.40s - load test of %.200s", ps_report_text(document, "summary.verdict"),
             ps_report_text(document, "summary.target"));
    ps_sheet_begin(&sheet, title);
    put_hero(&sheet, document);
    put_cards(&sheet, document);
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        const json_t *section = ps_report_section_of(document, kind);
        if (section != NULL) {
            put_section(&sheet, section, kind);
        }
    }
    put_foot(&sheet, document);
    ps_sheet_end(&sheet);
    return sheet.err;
}
