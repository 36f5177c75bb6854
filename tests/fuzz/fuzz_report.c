/* fuzz_report - whatever may be in a report or a journal: read, shown in all ways, compared with itself.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "load/compare.h"
#include "load/journal_line.h"
#include "load/report_document.h"
#include "load/report_html.h"
#include "load/report_junit.h"
#include "load/report_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int add(void *ctx, const struct ps_second *second)
{
    return ps_figures_add(ctx, second);
}

/* As lines of a journal. */
static void read_lines(struct ps_str text)
{
    static const struct ps_journal_ops ops = {.on_second = add};
    struct ps_journal_reading *reading = NULL;
    struct ps_figures *figures = NULL;
    struct ps_report_error error;
    struct ps_str line;
    if (ps_journal_reading_new(&reading) == PS_OK && ps_figures_new(&figures) == PS_OK) {
        for (int i = 0; i < 64 && ps_str_split(&text, '\n', &line); i++) {
            PS_IGNORE(ps_journal_read_line(reading, line, &ops, figures, &error));
        }
    }
    ps_figures_free(figures);
    ps_journal_reading_free(reading);
}

static void show(json_t *document)
{
    struct ps_buf out = ps_buf_make(64 << 20);
    json_t *result = NULL;
    PS_CHECK(ps_report_write_html(document, &out) == PS_OK);
    PS_CHECK(ps_report_write_junit(document, &out) == PS_OK);
    PS_CHECK(ps_report_write_text(document, &out) == PS_OK);
    PS_CHECK(ps_report_print(document, &out) == PS_OK);
    PS_CHECK(ps_compare(&result, document, document, &(struct ps_compare_opts){0.05, 0.95, "a", "b"}) == PS_OK);
    PS_CHECK(ps_compare_text(result, &out) == PS_OK);
    PS_CHECK(ps_compare_html(result, document, document, &out) == PS_OK);
    json_decref(result);
    ps_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_str text = {(const char *)data, size};
    struct ps_report_error error;
    json_t *document = NULL;
    if (ps_report_parse(&document, text, &error) == PS_OK) {
        show(document);
        json_decref(document);
    }
    read_lines(text);
    return 0;
}
