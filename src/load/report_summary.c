/* report_summary - what all tests of a document say together.
 *
 * The figures of the summary are those of one test, named in `figures_of`: of the sustained load where there
 * is one, for what a stress test measured beyond the breaking point is no figure of the service.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "load/report_document.h"
#include "load/report_json.h"

#define REASON_MAX 600

static const json_t *section_of(const json_t *document, enum ps_report_kind kind)
{
    return json_object_get(document, ps_report_section_name(kind));
}

/* The worst there is; pass when there is no test. */
static enum ps_verdict worst(const json_t *document, enum ps_report_kind *which, size_t *count)
{
    enum ps_verdict verdict = PS_VERDICT_PASS;
    *count = 0;
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        const json_t *section = section_of(document, kind);
        enum ps_verdict own = ps_verdict_find(ps_report_text(section, "verdict"));
        if (section == NULL || own == PS_VERDICT_COUNT) {
            continue;
        }
        if (*count == 0 || own > verdict) {
            verdict = own;
            *which = kind;
        }
        ++*count;
    }
    return verdict;
}

/* "load, stress and spike passed" */
static void say_all_passed(const json_t *document, size_t count, char *text, size_t size)
{
    size_t said = 0, used = 0;
    text[0] = '\0';
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT && used < size; kind++) {
        if (section_of(document, kind) != NULL) {
            said++;
            used += (size_t)snprintf(text + used, size - used, "%s%s",
                                     said == 1 ? "" : said == count ? " and " : ", ", ps_report_word(kind));
        }
    }
    if (used < size) {
        snprintf(text + used, size - used, " passed");
    }
}

static void put_reason(struct ps_report_out *out, const json_t *document, enum ps_verdict verdict,
                       enum ps_report_kind which, size_t count)
{
    char text[REASON_MAX];
    if (count == 0) {
        snprintf(text, sizeof text, "no test has run");
    } else if (count == 1) {
        snprintf(text, sizeof text, "%s", ps_report_text(section_of(document, which), "reason"));
    } else if (verdict == PS_VERDICT_PASS) {
        say_all_passed(document, count, text, sizeof text);
    } else {
        snprintf(text, sizeof text, "%s: %s", ps_report_word(which),
                 ps_report_text(section_of(document, which), "reason"));
    }
    ps_report_out_text(out, "reason", text);
}

/* What all tests together took, when the first began, and what the last one asked. */
static void put_course(struct ps_report_out *out, const json_t *document)
{
    const char *first = "", *last = "", *target = "";
    double seconds = 0;
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        const json_t *section = section_of(document, kind);
        const char *started = ps_report_text(section, "started");
        if (section == NULL) {
            continue;
        }
        seconds += fmax(0, ps_report_number(section, "duration_seconds"));
        first = first[0] == '\0' || strcmp(started, first) < 0 ? started : first;
        if (strcmp(started, last) >= 0) {
            last = started;
            target = ps_report_text(section, "target");
        }
    }
    ps_report_out_text(out, "target", target);
    ps_report_out_text(out, "started", first);
    ps_report_out_number(out, "duration_seconds", seconds, 3);
}

static bool put_tests(struct ps_report_out *out, const json_t *document)
{
    struct ps_report_out tests = ps_report_out_begin();
    bool limited = false;
    for (enum ps_report_kind kind = 0; kind < PS_REPORT_COUNT; kind++) {
        const json_t *section = section_of(document, kind);
        if (section != NULL) {
            struct ps_report_out test = ps_report_out_begin();
            ps_report_out_text(&test, "verdict", ps_report_text(section, "verdict"));
            ps_report_out_text(&test, "reason", ps_report_text(section, "reason"));
            ps_report_out_end(&tests, ps_report_word(kind), &test);
            limited = limited || ps_report_flag(section, "generator.limited");
        }
    }
    ps_report_out_end(out, "tests", &tests);
    return limited;
}

static void put_figures(struct ps_report_out *out, const json_t *document)
{
    static const enum ps_report_kind order[] = {PS_REPORT_LOAD, PS_REPORT_ENDURANCE, PS_REPORT_REPLAY,
                                                PS_REPORT_SPIKE, PS_REPORT_STRESS};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        const json_t *section = section_of(document, order[i]);
        if (section != NULL) {
            ps_report_out_text(out, "figures_of", ps_report_word(order[i]));
            ps_report_out_value(out, "total_requests",
                                json_integer((json_int_t)ps_report_number(section, "total_requests")));
            ps_report_out_number(out, "error_rate_percent", ps_report_number(section, "error_rate_percent"), 4);
            ps_report_out_number(out, "rps", ps_report_number(section, "rps"), 3);
            ps_report_out_number(out, "p95_ms", ps_report_number(section, "response_time_ms.p95"), 3);
            break;
        }
    }
    ps_report_out_number(out, "breaking_point_rps", ps_report_number(document, "stress_test.breaking_point_rps"), 3);
    ps_report_out_number(out, "recovery_time_seconds",
                         ps_report_number(document, "spike_test.recovery_time_seconds"), 3);
}

json_t *ps_report_summary_json(const json_t *document)
{
    struct ps_report_out out = ps_report_out_begin();
    enum ps_report_kind which = PS_REPORT_LOAD;
    size_t count = 0;
    enum ps_verdict verdict = worst(document, &which, &count);
    ps_report_out_text(&out, "verdict", ps_verdict_word(verdict));
    put_reason(&out, document, verdict, which, count);
    put_course(&out, document);
    bool limited = put_tests(&out, document);
    put_figures(&out, document);
    ps_report_out_flag(&out, "generator_limited", limited);
    if (out.err != PS_OK) {
        json_decref(out.object);
        return NULL;
    }
    return out.object;
}
