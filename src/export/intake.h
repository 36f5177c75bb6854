/* intake - values that others hand in as JSON (`POST /api/metrics`).
 *
 *      {"name","type","help"?,"unit"?,"labels"?:{},"value","buckets"?:[],"exemplar"?:{}}
 *
 * or an array of those. A metric is registered when it is first seen. A counter is moved by the
 * value, a gauge set to it, a histogram observes it; "value" of an info may be absent. "exemplar"
 * is {"trace_id":"32 hex digits","span_id"?:"16 hex digits"}.
 *
 * Everything is judged before anything moves: either all values of a document count or none.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_INTAKE_H
#define PS_EXPORT_INTAKE_H

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "observe/custom.h"

#define PS_INTAKE_VALUES 1000 /* most of one document: control reads it between two ticks */

/* Reads a document and moves what it says; `wall` dates exemplars. *accepted is the number of
 * values. PS_OK, PS_ENOMEM, PS_EINVAL (malformed, or a rule broken), PS_EBUSY (contradicts a metric
 * that is there) or PS_ELIMIT (too many metrics or values); then `reason` names the place, such as
 * "[3].labels: ...", in printable ASCII that JSON needs not escape. */
PS_MUST_CHECK int ps_intake_json(struct ps_custom *custom, struct ps_metrics *metrics,
                                 struct ps_str document, ps_time wall, size_t *accepted,
                                 char *reason, size_t size);

#endif
