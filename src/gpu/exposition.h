/* exposition - reads a page of metrics in Prometheus' text format and hands over the samples
 * wanted.
 *
 * A page of an inference server is mostly buckets of histograms that nobody here asks for: a line
 * whose name is not wanted is skipped to its end and not looked at any further. A line that is
 * wanted is read strictly, and a page with one that is malformed is refused as a whole.
 *
 * Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text, 0.0.4); an exemplar
 * of OpenMetrics behind the value is passed over.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_EXPOSITION_H
#define PS_GPU_EXPOSITION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

#define PS_EXPOSITION_LABELS_MAX 32
#define PS_EXPOSITION_LINE_MAX   8192 /* bytes of a line that is wanted */

struct ps_exposition_label {
    struct ps_str name;
    struct ps_str value; /* as on the page, escapes and all */
};

struct ps_exposition_sample {
    struct ps_str name;
    const struct ps_exposition_label *labels;
    size_t label_count;
    bool finite; /* false: NaN or an infinity, and value is 0 */
    double value;
};

struct ps_exposition_reader {
    /* Is a sample of this name wanted? */
    bool (*want)(void *ctx, struct ps_str name);
    /* Views are valid during the call. */
    void (*on_sample)(void *ctx, const struct ps_exposition_sample *sample);
    void *ctx;
};

/* PS_OK; PS_EPARSE or PS_ELIMIT: *line says where, counted from 1; what came before was handed
 * over.
 */
PS_MUST_CHECK int ps_exposition_read(struct ps_str page, const struct ps_exposition_reader *reader,
                                     size_t *line);

/* The value of a label, empty when there is none. */
struct ps_str ps_exposition_label(const struct ps_exposition_sample *sample, struct ps_str name);

#endif
