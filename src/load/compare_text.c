/* compare_text - a comparison for a terminal.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "load/clean.h"
#include "load/compare.h"
#include "load/report_json.h"
#include "load/report_rows.h"

#define PRINT(...)                                                                                 \
    do {                                                                                           \
        err = err == PS_OK ? ps_buf_printf(out, __VA_ARGS__) : err;                                \
    } while (0)
#define CELL PS_REPORT_VALUE_MAX

static const char *clean(const json_t *json, const char *path, char text[300])
{
    return ps_clean_text(ps_str_from(ps_report_text(json, path)), text, 300);
}

static int write_metric(const json_t *row, struct ps_buf *out)
{
    char name[64], values[2][CELL], change[CELL] = "-", interval[CELL] = "", p[CELL] = "", why[300];
    const char *unit = ps_report_text(row, "unit");
    const char *in = strcmp(ps_report_text(row, "change_unit"), "points") == 0 ? "" : " %";
    double by = ps_report_number(row, "change"), chance = ps_report_number(row, "p_value");
    int err = PS_OK;
    snprintf(name, sizeof name, "%.20s %.30s", ps_report_text(row, "test"), ps_report_text(row, "metric"));
    if (isfinite(by)) {
        snprintf(change, sizeof change, "%+.*f%s", in[0] == '\0' ? 2 : 1, by, in);
    }
    if (isfinite(ps_report_number(row, "low"))) {
        snprintf(interval, sizeof interval, "%+.*f to %+.*f%s", in[0] == '\0' ? 2 : 1, ps_report_number(row, "low"),
                 in[0] == '\0' ? 2 : 1, ps_report_number(row, "high"), in);
    }
    if (isfinite(chance)) {
        snprintf(p, sizeof p, chance < 0.001 ? "<0.001" : "%.3f", chance);
    }
    PRINT("%-22s%12s%12s%11s  %-20s%7s  %s%s%s\n", name,
          ps_report_write_as(ps_report_number(row, "a"), unit, values[0], CELL),
          ps_report_write_as(ps_report_number(row, "b"), unit, values[1], CELL), change, interval, p,
          ps_report_flag(row, "regression") ? "WORSE" : ps_report_text(row, "verdict"),
          ps_report_text(row, "why")[0] == '\0' ? "" : ": ", clean(row, "why", why));
    return err;
}

static int write_differences(const json_t *result, struct ps_buf *out)
{
    int err = PS_OK;
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(result, "differences"), i, row) {
        char what[300], a[300], b[300];
        if (i == 0) {
            PRINT("\nnot alike:\n");
        }
        PRINT("  %s: %s, then %s\n", clean(row, "what", what), clean(row, "a", a), clean(row, "b", b));
    }
    return err;
}

int ps_compare_text(const json_t *result, struct ps_buf *out)
{
    char verdict[40], text[300];
    int err = PS_OK;
    size_t i;
    json_t *row;
    snprintf(verdict, sizeof verdict, "%s", ps_report_text(result, "verdict"));
    for (char *c = verdict; *c != '\0'; c++) {
        *c = *c == '_' ? ' ' : (char)toupper((unsigned char)*c);
    }
    PRINT("%s  %s", verdict, clean(result, "a.name", text));
    PRINT(" -> %s\n", clean(result, "b.name", text));
    PRINT("%s\n\n", clean(result, "reason", text));
    PRINT("%-22s%12s%12s%11s  %.0f %% confidence    p\n", "", "a", "b", "change",
          100 * ps_report_number(result, "confidence"));
    json_array_foreach (json_object_get(result, "metrics"), i, row) {
        err = err == PS_OK ? write_metric(row, out) : err;
    }
    return err == PS_OK ? write_differences(result, out) : err;
}
