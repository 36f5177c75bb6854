#include "daemon/doctor_report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "version.h"

enum { LONGEST_TEXT = 512, SHORTEST_SECRET = 6 };

const char *const ps_doctor_severity_names[] = {"ok", "info", "warning", "error"};

void ps_doctor_report_fini(struct ps_doctor_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        free(report->items[i].subject);
        free(report->items[i].text);
        free(report->items[i].fix);
    }
    for (size_t i = 0; i < report->secret_count; i++) {
        explicit_bzero(report->secrets[i], strlen(report->secrets[i]));
        free(report->secrets[i]);
    }
    free(report->items);
    *report = (struct ps_doctor_report){0};
}

void ps_doctor_hide(struct ps_doctor_report *report, const char *secret)
{
    if (secret == NULL || strlen(secret) < SHORTEST_SECRET ||
        report->secret_count == PS_DOCTOR_SECRETS) {
        return;
    }
    char *copy = strdup(secret);
    if (copy != NULL) {
        report->secrets[report->secret_count++] = copy;
    }
}

/* --- adding ----------------------------------------------------------------------------------- */

static void blot_out(char *text, const char *secret)
{
    size_t len = strlen(secret);
    for (char *at = strstr(text, secret); at != NULL; at = strstr(at + 3, secret)) {
        memcpy(at, "***", 3);
        memmove(at + 3, at + len, strlen(at + len) + 1);
    }
}

/* Control characters of ASCII and of Latin-1 (U+0080 to U+009F), and what is not UTF-8. */
static void make_printable(char *text)
{
    struct ps_str rest = ps_str_from(text);
    while (rest.len > 0) {
        size_t at = (size_t)(rest.ptr - text);
        size_t len = ps_str_utf8_length(rest);
        unsigned char c = (unsigned char)text[at];
        if (len <= 1 ? len == 0 || c < 0x20 || c == 0x7f
                     : c == 0xc2 && (unsigned char)text[at + 1] < 0xa0) {
            memset(text + at, '?', len == 0 ? 1 : len);
        }
        rest = ps_str_skip(rest, len == 0 ? 1 : len);
    }
}

static char *clean_copy(const struct ps_doctor_report *report, const char *text)
{
    char *copy = strdup(text);
    for (size_t i = 0; copy != NULL && i < report->secret_count; i++) {
        blot_out(copy, report->secrets[i]);
    }
    if (copy != NULL) {
        make_printable(copy);
    }
    return copy;
}

static bool has_room(struct ps_doctor_report *report)
{
    if (report->items == NULL) {
        report->items = calloc(PS_DOCTOR_FINDINGS, sizeof *report->items);
    }
    return report->items != NULL && report->count < PS_DOCTOR_FINDINGS;
}

void ps_doctor_say(struct ps_doctor_report *report, enum ps_doctor_severity severity,
                   const char *subject, const char *format, ...)
{
    char text[LONGEST_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    report->counts[severity]++;
    report->kept = false;
    if (!has_room(report)) {
        return;
    }
    struct ps_doctor_finding found = {report->check, severity, clean_copy(report, subject),
                                      clean_copy(report, text), strdup("")};
    if (found.subject == NULL || found.text == NULL || found.fix == NULL) {
        free(found.subject);
        free(found.text);
        free(found.fix);
        return;
    }
    report->items[report->count++] = found;
    report->kept = true;
}

void ps_doctor_fix(struct ps_doctor_report *report, const char *format, ...)
{
    char text[LONGEST_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *copy = report->kept ? clean_copy(report, text) : NULL;
    if (copy != NULL) {
        struct ps_doctor_finding *last = &report->items[report->count - 1];
        free(last->fix);
        last->fix = copy;
    }
}

enum ps_doctor_severity ps_doctor_worst(const struct ps_doctor_report *report)
{
    enum ps_doctor_severity worst = PS_DOCTOR_ERROR;
    while (worst > PS_DOCTOR_OK && report->counts[worst] == 0) {
        worst--;
    }
    return worst;
}

/* --- for people ------------------------------------------------------------------------------- */

enum { CHECK_WIDTH = 14 };

static const char *const colours[] = {"\033[32m", "\033[36m", "\033[33m", "\033[31m"};

static int print_row(enum ps_doctor_severity severity, const char *check, bool colour,
                     struct ps_buf *out)
{
    return ps_buf_printf(out, "%s%-8s%s %-*s ", colour ? colours[severity] : "",
                         ps_doctor_severity_names[severity], colour ? "\033[0m" : "", CHECK_WIDTH,
                         check);
}

static int print_finding(const struct ps_doctor_finding *found, bool colour, struct ps_buf *out)
{
    int err = print_row(found->severity, found->check, colour, out);
    err = err != PS_OK ? err
                       : ps_buf_printf(out, "%s%s%s\n", found->subject,
                                       *found->subject == '\0' ? "" : ": ", found->text);
    if (err == PS_OK && *found->fix != '\0') {
        err = ps_buf_printf(out, "%*s fix: %s\n", 8, "", found->fix);
    }
    return err;
}

/* Are all findings of the check that begins at `first` ok? *next gets the place behind it. */
static bool is_all_ok(const struct ps_doctor_report *report, size_t first, size_t *next)
{
    bool ok = true;
    size_t i = first;
    for (; i < report->count && strcmp(report->items[i].check, report->items[first].check) == 0;
         i++) {
        ok = ok && report->items[i].severity == PS_DOCTOR_OK;
    }
    *next = i;
    return ok;
}

static int print_check(const struct ps_doctor_report *report, size_t first, size_t next,
                       bool all_ok, bool verbose, bool colour, struct ps_buf *out)
{
    const struct ps_doctor_finding *items = report->items;
    int err = PS_OK;
    if (all_ok && !verbose && next - first > 1) {
        err = print_row(PS_DOCTOR_OK, items[first].check, colour, out);
        return err != PS_OK ? err : ps_buf_printf(out, "%zu things looked at\n", next - first);
    }
    for (size_t i = first; i < next && err == PS_OK; i++) {
        if (all_ok || verbose || items[i].severity != PS_DOCTOR_OK) {
            err = print_finding(&items[i], colour, out);
        }
    }
    return err;
}

static int print_count(size_t count, const char *what, const char *before, struct ps_buf *out)
{
    return count == 0
               ? PS_OK
               : ps_buf_printf(out, "%s%zu %s%s", before, count, what, count == 1 ? "" : "s");
}

static int print_sum(const struct ps_doctor_report *report, struct ps_buf *out)
{
    size_t errors = report->counts[PS_DOCTOR_ERROR];
    size_t warnings = report->counts[PS_DOCTOR_WARNING];
    int err = ps_buf_append_str(out, PS_STR("doctor: "));
    if (err == PS_OK && errors + warnings == 0) {
        err = ps_buf_append_str(out, PS_STR("healthy"));
    }
    err = err != PS_OK ? err : print_count(errors, "error", "", out);
    err = err != PS_OK ? err : print_count(warnings, "warning", errors > 0 ? ", " : "", out);
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\n"));
}

static size_t count_hidden(const struct ps_doctor_report *report)
{
    size_t all = 0;
    for (size_t i = 0; i < PS_DOCTOR_SEVERITIES; i++) {
        all += report->counts[i];
    }
    return all - report->count;
}

int ps_doctor_print(const struct ps_doctor_report *report, bool verbose, bool colour,
                    struct ps_buf *out)
{
    int err = PS_OK;
    size_t next = 0;
    for (size_t i = 0; i < report->count && err == PS_OK; i = next) {
        bool all_ok = is_all_ok(report, i, &next);
        err = print_check(report, i, next, all_ok, verbose, colour, out);
    }
    if (err == PS_OK && count_hidden(report) > 0) {
        err = ps_buf_printf(out, "and %zu more\n", count_hidden(report));
    }
    return err != PS_OK ? err : print_sum(report, out);
}

/* --- for programs ----------------------------------------------------------------------------- */

static int print_member(const char *name, const char *value, const char *before, struct ps_buf *out)
{
    int err = ps_buf_printf(out, "%s\"%s\": \"", before, name);
    err = err != PS_OK ? err : ps_buf_append_json(out, ps_str_from(value));
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\""));
}

static int print_finding_json(const struct ps_doctor_finding *found, bool first, struct ps_buf *out)
{
    const char *severity = ps_doctor_severity_names[found->severity];
    int err = print_member("check", found->check, first ? "\n    {" : ",\n    {", out);
    err = err != PS_OK ? err : print_member("severity", severity, ", ", out);
    err = err != PS_OK ? err : print_member("subject", found->subject, ", ", out);
    err = err != PS_OK ? err : print_member("text", found->text, ", ", out);
    err = err != PS_OK ? err : print_member("fix", found->fix, ", ", out);
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("}"));
}

int ps_doctor_print_json(const struct ps_doctor_report *report, struct ps_buf *out)
{
    enum ps_doctor_severity worst = ps_doctor_worst(report);
    int err = ps_buf_printf(
        out,
        "{\n  \"version\": \"%s\",\n  \"healthy\": %s,\n  \"worst\": \"%s\",\n  \"findings\": [",
        PS_VERSION, worst < PS_DOCTOR_WARNING ? "true" : "false", ps_doctor_severity_names[worst]);
    for (size_t i = 0; i < report->count && err == PS_OK; i++) {
        err = print_finding_json(&report->items[i], i == 0, out);
    }
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\n  ]\n}\n"));
}
