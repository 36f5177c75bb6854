/* report_text - a report for a terminal.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_REPORT_TEXT_H
#define PS_LOAD_REPORT_TEXT_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

/* Appends the verdict, its reason and a line for each test. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_report_write_summary(const json_t *document, struct ps_buf *out);

/* Appends the summary and the figures, thresholds and failures of each test. */
PS_MUST_CHECK int ps_report_write_text(const json_t *document, struct ps_buf *out);

#endif
