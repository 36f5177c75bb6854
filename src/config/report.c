#include "config/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_TEXT = 512 };

void ps_config_report_fini(struct ps_config_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        free(report->items[i].field);
        free(report->items[i].text);
        free(report->items[i].fix);
    }
    free(report->items);
    *report = (struct ps_config_report){0};
}

static bool has_room(struct ps_config_report *report)
{
    if (report->items == NULL) {
        report->items = calloc(PS_CONFIG_FINDINGS, sizeof *report->items);
    }
    return report->items != NULL && report->count < PS_CONFIG_FINDINGS;
}

void ps_config_report_add(struct ps_config_report *report, bool warning, unsigned line,
                          unsigned column, const char *field, const char *format, ...)
{
    char text[LONGEST_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    *(warning ? &report->warnings : &report->errors) += 1;
    report->kept = false;
    if (!has_room(report)) {
        return;
    }
    struct ps_config_finding found = {line,          column,       warning,
                                      strdup(field), strdup(text), strdup("")};
    if (found.field == NULL || found.text == NULL || found.fix == NULL) {
        free(found.field);
        free(found.text);
        free(found.fix);
        return;
    }
    report->items[report->count++] = found;
    report->kept = true;
}

void ps_config_report_fix(struct ps_config_report *report, const char *format, ...)
{
    char text[LONGEST_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *copy = report->kept ? strdup(text) : NULL;
    if (copy != NULL) {
        struct ps_config_finding *last = &report->items[report->count - 1];
        free(last->fix);
        last->fix = copy;
    }
}

static bool precedes(const struct ps_config_finding *a, const struct ps_config_finding *b)
{
    return a->line != b->line ? a->line < b->line : a->column < b->column;
}

void ps_config_report_sort(struct ps_config_report *report)
{
    for (size_t i = 1; i < report->count; i++) {
        struct ps_config_finding moved = report->items[i];
        size_t at = i;
        for (; at > 0 && precedes(&moved, &report->items[at - 1]); at--) {
            report->items[at] = report->items[at - 1];
        }
        report->items[at] = moved;
    }
}

static int print_one(const struct ps_config_finding *found, const char *file, struct ps_buf *out)
{
    int err = ps_buf_printf(out, "%s:", file);
    if (err == PS_OK && found->line > 0) {
        err = ps_buf_printf(out, "%u:%u:", found->line, found->column);
    }
    if (err == PS_OK) {
        err = ps_buf_printf(out, " %s%s%s%s\n", found->warning ? "warning: " : "", found->field,
                            *found->field == '\0' ? "" : ": ", found->text);
    }
    return err;
}

int ps_config_report_print(const struct ps_config_report *report, const char *file,
                           struct ps_buf *out)
{
    int err = PS_OK;
    for (size_t i = 0; i < report->count && err == PS_OK; i++) {
        err = print_one(&report->items[i], file, out);
    }
    size_t hidden = report->errors + report->warnings - report->count;
    if (hidden > 0 && err == PS_OK) {
        err = ps_buf_printf(out, "%s: and %zu more\n", file, hidden);
    }
    return err;
}
