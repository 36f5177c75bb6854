/* prometheus_text - the two formats of text: Prometheus 0.0.4 and OpenMetrics 1.0.
 *
 * An exponential histogram shows with the fixed bounds of ps_metric_bounds(), as text knows no
 * other. Exemplars and `_created` lines are OpenMetrics' alone.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_PROMETHEUS_TEXT_H
#define PS_EXPORT_PROMETHEUS_TEXT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "observe/metric.h"

/* Appends the page. PS_OK, PS_ELIMIT or PS_ENOMEM; on failure `out` holds a part of it. */
PS_MUST_CHECK int ps_prometheus_write_text(struct ps_metrics *metrics, bool open,
                                           struct ps_buf *out);

#endif
