/* otlp_histogram - histograms of OTLP, with bounds and exponential, added to those of the registry.
 *
 * A histogram keeps the bounds that it was sent with; an exponential one is no finer than it was
 * sent. What does not add up is rejected, point by point.
 *
 * Thread: one at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_OTLP_HISTOGRAM_H
#define PS_EXPORT_OTLP_HISTOGRAM_H

#include "export/otlp_point.h"

/* The points of taking->metric, after ps_otlp_begin_metric(). */
void ps_otlp_take_histogram(struct ps_otlp_taking *taking, const Ps__Otlp__Histogram *histogram);
void ps_otlp_take_exponential(struct ps_otlp_taking *taking,
                              const Ps__Otlp__ExponentialHistogram *histogram);

#endif
