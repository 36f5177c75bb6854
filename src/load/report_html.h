/* report_html - a report as one page that stands alone: no script, nothing fetched, made to be sent.
 *
 * Its policy (a <meta> element) allows nothing but the style sheet inside it, named by its SHA-256; charts are
 * SVG in the page. Everything that came from outside is escaped. Figures that are shown carry what they are in
 * data-path and data-value, so that a program can compare them with the JSON.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_REPORT_HTML_H
#define PS_LOAD_REPORT_HTML_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

/* Appends the page. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_report_write_html(const json_t *document, struct ps_buf *out);

#endif
