/* naming - what others call their metrics and labels, as the exposition formats want it.
 *
 *      http.server.request.duration, s, histogram  ->  http_server_request_duration_seconds
 *      page.views, counter                         ->  page_views_total
 *      queue.count, gauge                          ->  queue_count_value
 *
 * Letters and digits stay, everything else becomes `_`, several of which become one. The unit comes
 * at the end unless it is there already, as the compatibility specification of OpenTelemetry and
 * Prometheus asks.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_NAMING_H
#define PS_EXPORT_NAMING_H

#include <stddef.h>

#include "base/err.h"
#include "base/str.h"
#include "observe/custom.h"
#include "observe/metric.h"

struct ps_naming {
    char text[PS_CUSTOM_NAME_MAX];
    struct ps_str name; /* a view of text */
    struct ps_str unit; /* constant; empty = none */
};

/* The name of a metric; `unit` is a UCUM code such as "s", "ms", "By", "{request}" or "1", or
 * empty. A code that is not known gives no unit. PS_OK; PS_EINVAL: nothing of it is left, or it is
 * too long. */
PS_MUST_CHECK int ps_naming_metric(struct ps_naming *out, struct ps_str name, struct ps_str unit,
                                   enum ps_metric_type type);

/* The name of a label into out[size]; one that is reserved gets `tag_` in front. Returns its
 * length; 0: nothing of it is left, or it is too long. */
size_t ps_naming_label(struct ps_str name, char *out, size_t size);

#endif
