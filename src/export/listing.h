/* listing - every metric as JSON: what it is, and what it says now (`GET /api/metrics`).
 *
 *      {"metrics":[{"name","type","help","unit"?,"labels":[name],"series":[
 *          {"labels":{},"value":1}                                        counter, gauge, info
 *          {"labels":{},"count":3,"sum":1.5,"buckets":[{"le":0.1,"count":2}]}     histogram
 *          {"labels":{},...,"exponential":{"scale","zeros","above":{"low","counts":[]},"below"}}
 *          {"labels":{},"states":{"open":true,"closed":false}}]}]}                stateset
 *
 * Buckets are not cumulative; the last has no "le". What JSON has no number for is text: "+Inf". A
 * metric that nobody has moved yet has no series.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_LISTING_H
#define PS_EXPORT_LISTING_H

#include "base/buf.h"
#include "base/err.h"
#include "observe/metric.h"

/* Appends the document. PS_OK, PS_ELIMIT or PS_ENOMEM; on failure `out` is as it was. */
PS_MUST_CHECK int ps_listing_write(struct ps_metrics *metrics, struct ps_buf *out);

#endif
