/* report_document - the document as a whole: its shape, its summary, its file.
 *
 * Thread: pure functions, but for those of report_file.c, which wait for the disk.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_REPORT_DOCUMENT_H
#define PS_LOAD_REPORT_DOCUMENT_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "load/report.h"

/* The name of a kind's section: "load_test". */
const char *ps_report_section_name(enum ps_report_kind kind);

/* The verdict of a word; PS_VERDICT_COUNT: there is none. */
enum ps_verdict ps_verdict_find(const char *word);

/* `summary` from the sections that are there; NULL when out of memory. */
json_t *ps_report_summary_json(const json_t *document);

/* Is it a document of this schema, with every known member of its type? PS_OK, or PS_EPARSE and *error says
 * which is not. */
PS_MUST_CHECK int ps_report_check(const json_t *document, struct ps_report_error *error);

/* The document as it is written to disk, with a line end. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_report_print(json_t *document, struct ps_buf *out);

/* Parses and checks text. As ps_report_load_file(). */
PS_MUST_CHECK int ps_report_parse(json_t **out, struct ps_str text, struct ps_report_error *error);

#endif
