/* report_plot - the charts of a section, from its series, histogram and points.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_REPORT_PLOT_H
#define PS_LOAD_REPORT_PLOT_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "load/report.h"

/* Appends the figures for which the section has data, as <figure> elements. PS_OK, PS_ELIMIT, PS_ENOMEM. */
PS_MUST_CHECK int ps_report_write_plots(const json_t *section, enum ps_report_kind kind, struct ps_buf *out);

/* Appends charts that lay two sections over each other. As above. */
PS_MUST_CHECK int ps_report_write_two(const json_t *a, const json_t *b, enum ps_report_kind kind, struct ps_buf *out);

#endif
