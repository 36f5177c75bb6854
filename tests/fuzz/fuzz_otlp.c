/* fuzz_otlp - whatever an exporter sends, the page stays a page and the answer is one.
 *
 * The first byte says which encoding it is, and whether it is in gzip; the rest is the body, which
 * is taken twice.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/check.h"
#include "export/otlp_metrics.h"
#include "export/prometheus.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_metrics *metrics;
    struct ps_custom *custom;
    struct ps_otlp *otlp;
    struct ps_metrics_opts opts = {.shards = 2};
    if (size == 0) {
        return 0;
    }
    struct ps_otlp_body body = {.bytes = {(const char *)data + 1, size - 1},
                                .json = (data[0] & 1) != 0,
                                .gzip = (data[0] & 2) != 0};
    PS_CHECK(ps_metrics_new(&metrics, &opts) == PS_OK);
    PS_CHECK(ps_custom_new(&custom, metrics, 8) == PS_OK);
    PS_CHECK(ps_otlp_new(&otlp, custom, metrics) == PS_OK);
    struct ps_buf out = ps_buf_make(1 << 24);
    for (int i = 0; i < 2; i++) {
        ps_buf_clear(&out);
        int err = ps_otlp_take(otlp, &body, PS_SECOND * (i + 1), &out);
        PS_CHECK(err == PS_OK || err == PS_EPARSE || err == PS_ELIMIT || err == PS_ENOMEM);
        PS_CHECK(!body.json ||
                 (out.len >= 2 && out.data[0] == '{' && out.data[out.len - 1] == '}'));
    }
    for (int format = PS_PROMETHEUS_TEXT; format <= PS_PROMETHEUS_PROTOBUF; format++) {
        PS_CHECK(ps_prometheus_write(metrics, (enum ps_prometheus_format)format, &out) == PS_OK);
    }
    ps_buf_fini(&out);
    ps_otlp_free(otlp);
    ps_metrics_free(metrics);
    ps_custom_free(custom);
    return 0;
}
