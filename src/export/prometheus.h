/* prometheus - the registry as a page that a scraper reads.
 *
 * Three formats, chosen by the scraper's Accept header: Prometheus text 0.0.4, OpenMetrics 1.0 and
 * protobuf, which alone shows exponential histograms as they were counted ("native"). The two texts
 * differ in small ways that matter (where `_total` stands, how 1 is written, whether the page has
 * an end), so each has its own rendering over the same walk.
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

enum ps_prometheus_format { PS_PROMETHEUS_TEXT, PS_PROMETHEUS_OPENMETRICS, PS_PROMETHEUS_PROTOBUF };

/* The format that an Accept header asks for: the highest q among those that we write, on a tie
 * protobuf before OpenMetrics before text, text 0.0.4 when nothing fits or the header is empty.
 * Never fails: a page in the wrong format is more use to an operator than none. */
enum ps_prometheus_format ps_prometheus_negotiate(struct ps_str accept);

/* The Content-Type to send with it. Static text. */
const char *ps_prometheus_content_type(enum ps_prometheus_format format);

/* Appends the page. PS_OK, PS_ELIMIT or PS_ENOMEM; on failure `out` is as it was. */
PS_MUST_CHECK int ps_prometheus_write(struct ps_metrics *metrics, enum ps_prometheus_format format,
                                      struct ps_buf *out);

#endif
