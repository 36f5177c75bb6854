/* metric_label - names and label values, made fit for the wire once, when they come in.
 *
 * Names come from our tables and are judged; label values come from anywhere and are mended, so
 * that two values which would look alike on the page are one series from the start.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OBSERVE_METRIC_LABEL_H
#define PS_OBSERVE_METRIC_LABEL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"
#include "observe/metric.h"

/* Most bytes of a packed label set: per value two of length and the value. */
#define PS_METRIC_PACKED_MAX (PS_METRIC_LABELS_MAX * (2 + PS_METRIC_VALUE_MAX))

/* Is every part of the row as the exposition formats want it? */
bool ps_metric_family_is_sane(const struct ps_metric_family *family);

/* Does the name end as samples of another metric do (_total, _count, _sum...)? Then it is none. */
bool ps_metric_name_is_ambiguous(struct ps_str name);

/* Number of label names of the row. */
size_t ps_metric_label_count(const struct ps_metric_family *family);

/* Copies a value in valid UTF-8, at most PS_METRIC_VALUE_MAX bytes, cut between characters; what is
 * no character becomes U+FFFD. Returns its length. */
size_t ps_metric_label_clean(struct ps_str value, char out[PS_METRIC_VALUE_MAX]);

/* Packs `count` cleaned values as length and bytes, one behind the other: the key of a series.
 * Returns the length. */
size_t ps_metric_labels_pack(const struct ps_str *values, size_t count,
                             char out[PS_METRIC_PACKED_MAX]);

/* The views of a packed set, which they point into. */
void ps_metric_labels_unpack(const char *packed, size_t count, struct ps_str *values);

#endif
