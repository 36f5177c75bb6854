/* compare_html - a comparison as a page: the verdict, a row for each figure with its interval drawn, and both
 * distributions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "load/compare.h"
#include "load/plot.h"
#include "load/report_json.h"
#include "load/report_plot.h"
#include "load/report_rows.h"
#include "load/sheet.h"

#define CELL PS_REPORT_VALUE_MAX
#define HALF 90.0 /* of the drawing of an interval, in its units */

static void put_hero(struct ps_sheet *sheet, const json_t *result)
{
    const char *verdict = ps_report_text(result, "verdict");
    bool bad = strcmp(verdict, "regression") == 0 || strcmp(verdict, "generator_limited") == 0;
    bool good = strcmp(verdict, "same") == 0 || strcmp(verdict, "better") == 0;
    ps_sheet_put(sheet, "<header>\n<div class=\"brand\"><b>Penstock comparison</b></div>\n");
    ps_sheet_printf(sheet, "<div class=\"hero %s\"><span class=\"pill %s\">", bad ? "fail" : good ? "pass" : "other",
                    bad ? "fail" : good ? "pass" : "other");
    ps_sheet_text(sheet, strcmp(verdict, "generator_limited") == 0 ? "generator limited" : verdict);
    ps_sheet_put(sheet, "</span>\n<h1>");
    ps_sheet_sentence(sheet, ps_report_text(result, "reason"));
    ps_sheet_put(sheet, "</h1>\n<div class=\"target\">a: ");
    ps_sheet_text(sheet, ps_report_text(result, "a.name"));
    ps_sheet_put(sheet, "<br>b: ");
    ps_sheet_text(sheet, ps_report_text(result, "b.name"));
    ps_sheet_put(sheet, "</div>\n</div>\n</header>\n<main>\n");
}

/* The interval of a change beside its middle, 0: the axis of all rows is the same. */
static void put_interval(struct ps_sheet *sheet, const json_t *row, double most)
{
    double low = ps_report_number(row, "low"), high = ps_report_number(row, "high");
    double change = ps_report_number(row, "change");
    ps_sheet_put(sheet, "<td class=\"forest\">");
    if (isfinite(low) && most > 0) {
        double from = fmax(-HALF, low / most * HALF), to = fmin(HALF, high / most * HALF);
        ps_sheet_printf(sheet,
                        "<svg viewBox=\"%.0f 0 %.0f 16\" aria-hidden=\"true\"><line class=\"axis\" x1=\"0\" x2=\"0\" "
                        "y1=\"0\" y2=\"16\"/><line class=\"line %s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"8\" y2=\"8\"/>"
                        "<circle class=\"dot %s\" cx=\"%.1f\" cy=\"8\" r=\"4\"/></svg>",
                        -HALF - 5, 2 * HALF + 10, ps_report_flag(row, "regression") ? "lb" : "", from, to,
                        ps_report_flag(row, "regression") ? "breaks" : "",
                        fmin(HALF, fmax(-HALF, change / most * HALF)));
    }
    ps_sheet_put(sheet, "</td>");
}

static void put_cell(struct ps_sheet *sheet, const char *style, const char *text)
{
    ps_sheet_printf(sheet, "<td class=\"%s\">", style);
    ps_sheet_text(sheet, text);
    ps_sheet_put(sheet, "</td>");
}

static void put_metric(struct ps_sheet *sheet, const json_t *row, double most)
{
    char text[CELL + 40];
    const char *unit = ps_report_text(row, "unit"), *verdict = ps_report_text(row, "verdict");
    bool points = strcmp(ps_report_text(row, "change_unit"), "points") == 0;
    const char *style = strcmp(verdict, "better") == 0                                           ? "ok"
                        : ps_report_flag(row, "regression")                                      ? "no"
                        : strcmp(verdict, "worse") == 0                                          ? "so"
                                                                                                 : "";
    ps_sheet_put(sheet, "<tr>");
    snprintf(text, sizeof text, "%.20s %.30s", ps_report_text(row, "test"), ps_report_text(row, "metric"));
    put_cell(sheet, "l", text);
    put_cell(sheet, "", ps_report_write_as(ps_report_number(row, "a"), unit, text, sizeof text));
    put_cell(sheet, "", ps_report_write_as(ps_report_number(row, "b"), unit, text, sizeof text));
    snprintf(text, sizeof text, "%+.*f%s", points ? 2 : 1, ps_report_number(row, "change"), points ? " points" : " %");
    put_cell(sheet, "", isfinite(ps_report_number(row, "change")) ? text : "-");
    put_interval(sheet, row, points ? 0 : most);
    double p = ps_report_number(row, "p_value");
    snprintf(text, sizeof text, p < 0.001 ? "<0.001" : "%.3f", p);
    put_cell(sheet, "", isfinite(p) ? text : "");
    put_cell(sheet, style, ps_report_flag(row, "regression") ? "regression" : verdict);
    put_cell(sheet, "l", ps_report_text(row, "why"));
    ps_sheet_put(sheet, "</tr>\n");
}

static void put_metrics(struct ps_sheet *sheet, const json_t *result)
{
    size_t i;
    json_t *row;
    double most = 0;
    json_array_foreach (json_object_get(result, "metrics"), i, row) {
        if (strcmp(ps_report_text(row, "change_unit"), "points") != 0) {
            most = fmax(most, fmax(fabs(ps_report_number(row, "low")), fabs(ps_report_number(row, "high"))));
        }
    }
    ps_sheet_put(sheet, "<section>\n<h2>Figures</h2>\n<div class=\"wide\"><table><thead><tr><th></th><th>a</th>"
                        "<th>b</th><th>change</th><th class=\"forest\">");
    ps_sheet_printf(sheet, "%.0f %% confidence</th><th>p-value</th><th></th><th class=\"l\"></th></tr></thead><tbody>\n",
                    100 * ps_report_number(result, "confidence"));
    json_array_foreach (json_object_get(result, "metrics"), i, row) {
        put_metric(sheet, row, most);
    }
    ps_sheet_put(sheet, "</tbody></table></div>\n</section>\n");
}

static void put_differences(struct ps_sheet *sheet, const json_t *result)
{
    size_t i;
    json_t *row;
    if (ps_report_size(result, "differences") == 0) {
        return;
    }
    ps_sheet_put(sheet, "<section>\n<h2>What was not alike</h2>\n<div class=\"wide\"><table><thead><tr><th></th>"
                        "<th class=\"l\">a</th><th class=\"l\">b</th></tr></thead><tbody>\n");
    json_array_foreach (json_object_get(result, "differences"), i, row) {
        ps_sheet_put(sheet, "<tr>");
        put_cell(sheet, "l", ps_report_text(row, "what"));
        put_cell(sheet, "l", ps_report_text(row, "a"));
        put_cell(sheet, "l", ps_report_text(row, "b"));
        ps_sheet_put(sheet, "</tr>\n");
    }
    ps_sheet_put(sheet, "</tbody></table></div>\n</section>\n");
}

static void put_charts(struct ps_sheet *sheet, const json_t *a, const json_t *b)
{
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        const json_t *of_a = ps_report_section_of(a, kind), *of_b = ps_report_section_of(b, kind);
        if (of_a == NULL || of_b == NULL) {
            continue;
        }
        ps_sheet_printf(sheet, "<section>\n<h2>%s</h2>\n<div class=\"plots\">\n", ps_report_title(kind));
        int err = sheet->err == PS_OK ? ps_report_write_two(of_a, of_b, kind, sheet->out) : sheet->err;
        sheet->err = err;
        ps_sheet_put(sheet, "</div>\n</section>\n");
    }
}

int ps_compare_html(const json_t *result, const json_t *a, const json_t *b, struct ps_buf *out)
{
    struct ps_sheet sheet = {out, PS_OK};
    ps_sheet_begin(&sheet, "Comparison of two load tests");
    put_hero(&sheet, result);
    put_metrics(&sheet, result);
    put_differences(&sheet, result);
    put_charts(&sheet, a, b);
    ps_sheet_put(&sheet, "</main>\n<footer>Differences are tested against what chance explains: percentiles and "
                         "throughput by a bootstrap over blocks of each run, errors exactly, all of them together "
                         "at the stated confidence (Holm). How much two runs of one service differ anyway, two runs "
                         "can't show.</footer>\n");
    ps_sheet_end(&sheet);
    return sheet.err;
}
