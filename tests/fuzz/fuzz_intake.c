/* fuzz_intake - whatever somebody hands in, the page stays a page.
 *
 * The input is a document of POST /api/metrics. Taken or refused, with a reason that needs no
 * escaping; afterwards each format can still be written, and a refused document moved nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/check.h"
#include "export/intake.h"
#include "export/listing.h"
#include "export/prometheus.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int no_family(void *context, const struct ps_metric_family *family)
{
    (void)context;
    (void)family;
    return PS_OK;
}

/* Adds up everything of custom metrics that only a value moves. */
static int add_up(void *context, const struct ps_metric_sample *sample)
{
    bool own = ps_str_starts_with(ps_str_from(sample->family->name), PS_STR("penstock_"));
    bool info = sample->family->type == PS_METRIC_INFO;
    *(double *)context += own || info ? 0 : sample->value + (double)sample->count;
    return PS_OK;
}

static void check_reason(const char *reason)
{
    PS_CHECK(reason[0] != '\0');
    for (const char *at = reason; *at != '\0'; at++) {
        PS_CHECK(*at >= ' ' && *at < 127 && *at != '"' && *at != '\\');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_metrics *metrics;
    struct ps_custom *custom;
    struct ps_metrics_opts opts = {.shards = 1};
    size_t accepted = 0;
    char reason[640] = "";
    PS_CHECK(ps_metrics_new(&metrics, &opts) == PS_OK);
    PS_CHECK(ps_custom_new(&custom, metrics, 8) == PS_OK);
    int err = ps_intake_json(custom, metrics, (struct ps_str){(const char *)data, size}, PS_SECOND,
                             &accepted, reason, sizeof reason);
    if (err != PS_OK) {
        double moved = 0;
        struct ps_metric_visitor visitor = {no_family, add_up, &moved, false};
        check_reason(reason);
        PS_CHECK(ps_metrics_collect(metrics, &visitor) == PS_OK && moved == 0);
    }
    struct ps_buf out = ps_buf_make(1 << 24);
    for (int format = PS_PROMETHEUS_TEXT; format <= PS_PROMETHEUS_PROTOBUF; format++) {
        PS_CHECK(ps_prometheus_write(metrics, (enum ps_prometheus_format)format, &out) == PS_OK);
    }
    PS_CHECK(ps_listing_write(metrics, &out) == PS_OK);
    ps_buf_fini(&out);
    ps_metrics_free(metrics);
    ps_custom_free(custom);
    return 0;
}
