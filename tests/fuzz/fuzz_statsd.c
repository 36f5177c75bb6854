/* fuzz_statsd - whatever a datagram holds, the page stays a page and every line is counted.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/check.h"
#include "export/prometheus.h"
#include "export/statsd.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t lines_of(struct ps_str text)
{
    size_t lines = 0;
    struct ps_str line;
    while (ps_str_split(&text, '\n', &line)) {
        lines += line.len > 0 && !ps_str_eq(line, PS_STR("\r")) ? 1 : 0;
    }
    return lines;
}

static int no_family(void *context, const struct ps_metric_family *family)
{
    (void)context;
    (void)family;
    return PS_OK;
}

static int count_lines(void *context, const struct ps_metric_sample *sample)
{
    bool lines =
        ps_str_eq(ps_str_from(sample->family->name), PS_STR("penstock_statsd_lines_total"));
    *(double *)context += lines ? sample->value : 0;
    return PS_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_metrics *metrics;
    struct ps_custom *custom;
    struct ps_statsd *statsd;
    struct ps_metrics_opts opts = {.shards = 2};
    struct ps_str datagram = {size == 0 ? "" : (const char *)data, size};
    double counted = 0;
    struct ps_metric_visitor visitor = {no_family, count_lines, &counted, false};
    PS_CHECK(ps_metrics_new(&metrics, &opts) == PS_OK);
    PS_CHECK(ps_custom_new(&custom, metrics, 8) == PS_OK);
    struct ps_statsd_opts own = {.custom = custom, .metrics = metrics, .interval = PS_SECOND};
    PS_CHECK(ps_metrics_shard_get(metrics, &own.shard) == PS_OK);
    PS_CHECK(ps_statsd_new(&statsd, &own) == PS_OK);
    ps_statsd_take(statsd, datagram, PS_SECOND);
    ps_statsd_tick(statsd, PS_SECOND);
    ps_statsd_tick(statsd, 3 * PS_SECOND);
    PS_CHECK(ps_metrics_collect(metrics, &visitor) == PS_OK);
    PS_CHECK(counted == (double)lines_of(datagram));
    struct ps_buf out = ps_buf_make(1 << 24);
    PS_CHECK(ps_prometheus_write(metrics, PS_PROMETHEUS_OPENMETRICS, &out) == PS_OK);
    ps_buf_fini(&out);
    ps_statsd_free(statsd);
    ps_metrics_free(metrics);
    ps_custom_free(custom);
    return 0;
}
