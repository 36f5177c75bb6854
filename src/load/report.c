/* report - see report.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/report.h"

#include <string.h>
#include <time.h>

#include "base/check.h"
#include "load/environment.h"
#include "load/report_document.h"
#include "load/report_section.h"
#include "version.h"

static const struct {
    const char *word;
    int status;
} verdicts[] = {
#define VERDICT_ROW(name, word, status) {word, status},
    PS_VERDICT_TABLE(VERDICT_ROW)
#undef VERDICT_ROW
};

static const struct {
    const char *word;
    const char *section;
} kinds[] = {
#define KIND_ROW(name, word, section) {word, section},
    PS_REPORT_TABLE(KIND_ROW)
#undef KIND_ROW
};

const char *ps_verdict_word(enum ps_verdict verdict)
{
    PS_CHECK(verdict < PS_VERDICT_COUNT);
    return verdicts[verdict].word;
}

int ps_verdict_status(enum ps_verdict verdict)
{
    PS_CHECK(verdict < PS_VERDICT_COUNT);
    return verdicts[verdict].status;
}

enum ps_verdict ps_verdict_find(const char *word)
{
    size_t i = 0;
    while (i < PS_VERDICT_COUNT && strcmp(verdicts[i].word, word) != 0) {
        i++;
    }
    return (enum ps_verdict)i;
}

const char *ps_report_word(enum ps_report_kind kind)
{
    PS_CHECK(kind < PS_REPORT_COUNT);
    return kinds[kind].word;
}

const char *ps_report_section_name(enum ps_report_kind kind)
{
    PS_CHECK(kind < PS_REPORT_COUNT);
    return kinds[kind].section;
}

int ps_report_status(enum ps_verdict verdict, int saved)
{
    return saved == PS_OK ? ps_verdict_status(verdict) : ps_verdict_status(PS_VERDICT_ABORTED);
}

/* The members in the order in which people read them: what the whole says first. */
static int reorder(json_t *document, json_t *head)
{
    json_t *old = json_copy(document);
    int err = old == NULL || head == NULL ? PS_ENOMEM : PS_OK;
    if (err == PS_OK && (json_object_clear(document) != 0 || json_object_update(document, head) != 0 ||
                         json_object_update_missing(document, old) != 0)) {
        err = PS_ENOMEM;
    }
    json_decref(old);
    return err;
}

int ps_report_put(json_t *document, const struct ps_report_section *section)
{
    json_t *made = ps_report_section_json(section);
    if (made == NULL || json_object_set_new(document, ps_report_section_name(section->kind), made) != 0) {
        return PS_ENOMEM;
    }
    char written[32] = "";
    time_t now = time(NULL);
    struct tm tm;
    if (gmtime_r(&now, &tm) != NULL) {
        strftime(written, sizeof written, "%Y-%m-%dT%H:%M:%SZ", &tm);
    }
    json_t *head = json_pack("{s:i, s:s, s:s, s:o, s:o}", "schema_version", PS_REPORT_SCHEMA, "generator",
                             "penstock " PS_VERSION, "written", written, "summary",
                             ps_report_summary_json(document), "environment", ps_environment_json());
    int err = reorder(document, head);
    json_decref(head);
    return err;
}
