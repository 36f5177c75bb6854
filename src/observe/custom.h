/* custom - metrics that somebody outside names while the program runs.
 *
 * Our own metrics are rows of tables; these come over the network, so everything about them is
 * judged: names as the exposition formats want them, none that begins with `penstock_`, no more
 * metrics than `max_metrics`, no more series of each than the registry's bound. Who says the same
 * again gets the same metric; who contradicts gets told.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OBSERVE_CUSTOM_H
#define PS_OBSERVE_CUSTOM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "observe/metric.h"

#define PS_CUSTOM_NAME_MAX         200 /* bytes of a metric's or a label's name */
#define PS_CUSTOM_HELP_MAX         1024
#define PS_CUSTOM_STATE_MAX        64  /* bytes of a state's name */
#define PS_CUSTOM_METRICS          200 /* the bound when none is given */
#define PS_CUSTOM_HISTOGRAM_SERIES 500 /* series of one histogram: each takes a few KiB */

struct ps_custom;

/* A book of custom metrics in a registry. `max_metrics` 0 = PS_CUSTOM_METRICS. PS_OK or PS_ENOMEM.
 * The registry keeps pointers into it: free it after the registry. */
PS_MUST_CHECK int ps_custom_new(struct ps_custom **out, struct ps_metrics *metrics,
                                size_t max_metrics);
void ps_custom_free(struct ps_custom *custom); /* NULL is fine */

/* What somebody says of a metric. All borrowed. */
struct ps_custom_definition {
    struct ps_str name;
    enum ps_metric_type type; /* not updown */
    struct ps_str help;       /* empty = nothing said; only the first definition's counts */
    struct ps_str unit;       /* empty = none */
    struct ps_str labels[PS_METRIC_LABELS_MAX]; /* names, in any order */
    size_t label_count;
    const double *bounds; /* histogram; NULL = ps_metric_seconds for a new one, else as it is */
    size_t bounds_count;
    const char *const *states; /* stateset: as in a family */
};

/* The metric of this definition, made when there is none of the name; a counter is fractional, and
 * counters and histograms have exemplars. `order`, when not NULL, gets for each label of the row
 * its place among the definition's labels. PS_OK, PS_ENOMEM, PS_ELIMIT (as many metrics as may be),
 * PS_EBUSY (another kind of metric has the name) or PS_EINVAL; on all but PS_OK `reason` says why,
 * in printable ASCII without quotes. */
PS_MUST_CHECK int ps_custom_define(struct ps_custom *custom,
                                   const struct ps_custom_definition *definition,
                                   const struct ps_metric_family **out,
                                   size_t order[PS_METRIC_LABELS_MAX], char *reason, size_t size);

/* One of many definitions, and what came of it. */
struct ps_custom_request {
    struct ps_custom_definition definition;
    const struct ps_metric_family *row;
    size_t order[PS_METRIC_LABELS_MAX];
};

/* The same of many at once: either all are there afterwards, or none that was not there before (but
 * for PS_ENOMEM, which leaves those that still found room). *bad is the one that `reason` is about. */
PS_MUST_CHECK int ps_custom_define_all(struct ps_custom *custom, struct ps_custom_request *requests,
                                       size_t count, size_t *bad, char *reason, size_t size);

#define PS_CUSTOM_NONE SIZE_MAX

/* The same for those who can't know which labels a metric has: where one of the name and type is
 * there already, it is taken with its own labels. `order` is PS_CUSTOM_NONE where the definition
 * lacks one of them, and *left_out is the number of the definition's that the metric has no place
 * for. */
PS_MUST_CHECK int ps_custom_fit(struct ps_custom *custom,
                                const struct ps_custom_definition *definition,
                                const struct ps_metric_family **out,
                                size_t order[PS_METRIC_LABELS_MAX], size_t *left_out, char *reason,
                                size_t size);

/* May a series of this type be moved by this value? A counter by what is finite and not negative, a
 * histogram by what is finite, a gauge by any number. NULL, or why not. */
const char *ps_custom_objection(enum ps_metric_type type, double value);

/* Moves a series, found by ps_metric_any() or a memo: adds to a counter, sets a gauge, observes in
 * a histogram, and leaves out what there is an objection to. `shard` is the calling thread's, 0 =
 * none. */
void ps_custom_move(struct ps_metric_handle *handle, unsigned shard, double value);

#endif
