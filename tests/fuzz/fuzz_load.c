/* fuzz_load - what users write for a load test: thresholds and requests, a text each.
 *
 * What is accepted must hold: a threshold names a metric and compares with a finite bound, and what it says of figures is a
 * number or unknown; a request has a method and a path that a head can carry. What is refused says why and
 * leaves nothing behind.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "load/template.h"
#include "load/threshold.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_thresholds(struct ps_str text)
{
    static struct ps_thresholds thresholds;
    static struct ps_hist hist;
    char why[256] = "";
    memset(&thresholds, 0, sizeof thresholds);
    ps_hist_clear(&hist);
    ps_hist_record(&hist, 5000000);
    const struct ps_threshold_facts facts = {
        .duration = &hist, .lag = &hist, .succeeded = 3, .failed = 1, .good = 2, .seconds = 2};
    int err = ps_thresholds_parse(&thresholds, text, why, sizeof why);
    PS_CHECK(err == PS_OK ? thresholds.count > 0 : thresholds.count == 0 && why[0] != '\0');
    for (size_t i = 0; i < thresholds.count; i++) {
        const struct ps_threshold *threshold = &thresholds.rows[i];
        double value = ps_threshold_value(threshold, &facts);
        PS_CHECK(isfinite(threshold->bound) && threshold->metric[0] != '\0' && threshold->expression[0] != '\0');
        PS_CHECK(threshold->share >= 0 && threshold->share <= 1 && threshold->delay >= 0);
        PS_CHECK(isnan(value) || isfinite(value));
        PS_CHECK(!isnan(value) || !ps_threshold_passes(threshold, value));
        PS_CHECK(ps_thresholds_have(&thresholds, threshold->metric));
    }
}

static void try_template(struct ps_str text)
{
    struct ps_templates templates = {0};
    const struct ps_template_defaults defaults = {.path = "/base"};
    const char *reason = "";
    int err = ps_templates_parse(&templates, text, &defaults, &reason);
    PS_CHECK(err == PS_OK ? templates.count == 1 : templates.count == 0 && reason[0] != '\0');
    if (err == PS_OK) {
        const struct ps_template *row = &templates.rows[0];
        PS_CHECK(row->method[0] != '\0' && row->path[0] == '/' && row->content_type != NULL);
        PS_CHECK(row->has_body || row->body.len == 0);
        for (size_t i = 0; i < row->header_count; i++) {
            PS_CHECK(strpbrk(row->headers[i].value, "\r\n") == NULL);
        }
    }
    ps_templates_fini(&templates);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_str text = {size == 0 ? "" : (const char *)data, size};
    try_thresholds(text);
    try_template(text);
    return 0;
}
