/* report_section - a section of the document from what a test found.
 *
 * Thread: pure functions; the environment is read from /proc.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_REPORT_SECTION_H
#define PS_LOAD_REPORT_SECTION_H

#include <jansson.h>

#include "load/report.h"
#include "load/report_json.h"

/* The section as an object; NULL when out of memory. */
json_t *ps_report_section_json(const struct ps_report_section *section);

/* What is only in sections of one kind: report_kinds.c. */
void ps_report_kind_json(struct ps_report_out *out, const struct ps_report_section *section);

/* A level of a stress test as an object; NULL when out of memory. */
json_t *ps_report_point_json(const struct ps_report_point *point);

#endif
