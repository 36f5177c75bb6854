/* prometheus - the registry as a page of text that a scraper reads.
 *
 * Two formats, chosen by the scraper's Accept header: Prometheus text 0.0.4 and OpenMetrics 1.0.
 * They differ in small ways that matter (where `_total` stands, how 1 is written, whether the page
 * has an end), so each has its own renderer over the same walk. `_created` lines, which OpenMetrics
 * makes optional, are not written: scrapers store them as series of their own.
 *
 * Thread: any; writing a page never holds up a thread that counts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_PROMETHEUS_H
#define PS_EXPORT_PROMETHEUS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "observe/metric.h"

enum ps_prometheus_format { PS_PROMETHEUS_TEXT, PS_PROMETHEUS_OPENMETRICS };

/* The format that an Accept header asks for: the highest q among those that we write, OpenMetrics
 * on a tie, text 0.0.4 when nothing fits or the header is empty. Never fails: a page in the wrong
 * format is more use to an operator than none. */
enum ps_prometheus_format ps_prometheus_negotiate(struct ps_str accept);

/* The Content-Type to send with it. Static text. */
const char *ps_prometheus_content_type(enum ps_prometheus_format format);

/* Appends the page. PS_OK, PS_ELIMIT or PS_ENOMEM; on failure `out` is as it was. */
PS_MUST_CHECK int ps_prometheus_write(struct ps_metrics *metrics, enum ps_prometheus_format format,
                                      struct ps_buf *out);

#endif
