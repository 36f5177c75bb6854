/* metric_memo - the series that one thread has looked up lately, found again without a lock.
 *
 * A look-up in the registry takes a lock, which is nothing at start and too much for every request.
 * A memo answers from a table of its own, in which label values stand as they were asked for; what
 * it has not, or is too long for it, goes to the registry once. When the registry drops series the
 * memo forgets everything and begins anew.
 *
 * Thread: one at a time. Free it before the registry.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OBSERVE_METRIC_MEMO_H
#define PS_OBSERVE_METRIC_MEMO_H

#include "base/err.h"
#include "observe/metric.h"

struct ps_metric_memo;

/* A memo of about `entries` series, rounded up to a power of two (about 150 bytes each).
 * PS_OK, PS_EINVAL (0 or over 2^20) or PS_ENOMEM. */
PS_MUST_CHECK int ps_metric_memo_new(struct ps_metric_memo **out, struct ps_metrics *metrics,
                                     size_t entries);
void ps_metric_memo_free(struct ps_metric_memo *memo); /* NULL is fine */

/* As ps_metric_any(), but the handle is the memo's: it is valid until the next look-up, and the
 * caller gives nothing back. */
PS_MUST_CHECK int ps_metric_memo_find(struct ps_metric_memo *memo,
                                      const struct ps_metric_family *family,
                                      const struct ps_metric_labels *labels,
                                      struct ps_metric_handle **out);

/* The same for one type. PS_EINVAL when the row is of another. */
static inline int ps_metric_memo_counter(struct ps_metric_memo *memo,
                                         const struct ps_metric_family *family,
                                         const struct ps_metric_labels *labels,
                                         struct ps_counter **out)
{
    struct ps_metric_handle *handle;
    int err = family->type == PS_METRIC_COUNTER ? ps_metric_memo_find(memo, family, labels, &handle)
                                                : PS_EINVAL;
    if (err == PS_OK) {
        *out = (struct ps_counter *)handle;
    }
    return err;
}

static inline int ps_metric_memo_histogram(struct ps_metric_memo *memo,
                                           const struct ps_metric_family *family,
                                           const struct ps_metric_labels *labels,
                                           struct ps_histogram **out)
{
    struct ps_metric_handle *handle;
    bool sound = family->type == PS_METRIC_HISTOGRAM || family->type == PS_METRIC_EXPONENTIAL;
    int err = sound ? ps_metric_memo_find(memo, family, labels, &handle) : PS_EINVAL;
    if (err == PS_OK) {
        *out = (struct ps_histogram *)handle;
    }
    return err;
}

#endif
