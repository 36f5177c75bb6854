/* fuzz_prometheus - whatever a label value is, the page says it back.
 *
 * The input is an Accept header up to the first line feed, and a label value behind it. The page is
 * written in the format that the header asks for; its one counter line must unescape to the value
 * as the registry mended it, in valid UTF-8.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/check.h"
#include "export/prometheus.h"
#include "observe/metric_label.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <prometheus.pb-c.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct ps_metric_family rows[] = {
    {.name = "penstock_fuzz_total", .type = PS_METRIC_COUNTER, .help = "Fuzz", .labels = {"value"}},
    {0},
};

/* The text behind the first `needle`. */
static struct ps_str behind(struct ps_str text, struct ps_str needle)
{
    while (!ps_str_starts_with(text, needle)) {
        PS_CHECK(text.len > 0);
        text = ps_str_skip(text, 1);
    }
    return ps_str_skip(text, needle.len);
}

/* Reads an escaped value up to its closing quote; returns what follows the quote. */
static struct ps_str check_value(struct ps_str line, struct ps_str value)
{
    while (line.len > 0 && line.ptr[0] != '"') {
        char c = line.ptr[0];
        PS_CHECK(c != '\n' && value.len > 0);
        if (c == '\\') {
            line = ps_str_skip(line, 1);
            PS_CHECK(line.len > 0);
            c = line.ptr[0] == 'n' ? '\n' : line.ptr[0];
        }
        PS_CHECK(c == value.ptr[0]);
        line = ps_str_skip(line, 1);
        value = ps_str_skip(value, 1);
    }
    PS_CHECK(value.len == 0);
    return ps_str_skip(line, 1);
}

static void check_utf8(struct ps_str text)
{
    while (text.len > 0) {
        size_t len = ps_str_utf8_length(text);
        PS_CHECK(len > 0);
        text = ps_str_skip(text, len);
    }
}

/* The one label of the one message about our counter, behind its length. */
static void check_messages(struct ps_str page, struct ps_str value)
{
    char clean[PS_METRIC_VALUE_MAX];
    struct ps_str mended = {clean, ps_metric_label_clean(value, clean)};
    bool found = false;
    while (page.len > 0) {
        size_t len = 0;
        for (unsigned shift = 0;; shift += 7) {
            unsigned char byte = (unsigned char)page.ptr[0];
            page = ps_str_skip(page, 1);
            len |= (size_t)(byte & 0x7f) << shift;
            if (byte < 0x80) {
                break;
            }
        }
        PS_CHECK(len <= page.len);
        Ps__Prometheus__MetricFamily *family =
            ps__prometheus__metric_family__unpack(NULL, len, (const uint8_t *)page.ptr);
        PS_CHECK(family != NULL && family->n_metric == 1);
        page = ps_str_skip(page, len);
        if (strcmp(family->name, rows[0].name) == 0) {
            const Ps__Prometheus__Metric *metric = family->metric[0];
            PS_CHECK(metric->n_label == (mended.len > 0 ? 1 : 0) && metric->counter->value == 7);
            PS_CHECK(mended.len == 0 ||
                     (metric->label[0]->value.len == mended.len &&
                      memcmp(metric->label[0]->value.data, clean, mended.len) == 0));
            found = true;
        }
        ps__prometheus__metric_family__free_unpacked(family, NULL);
    }
    PS_CHECK(found);
}

static void check_page(struct ps_str page, struct ps_str value)
{
    char clean[PS_METRIC_VALUE_MAX];
    struct ps_str mended = {clean, ps_metric_label_clean(value, clean)};
    check_utf8(page);
    struct ps_str rest = behind(page, PS_STR("\npenstock_fuzz_total"));
    if (mended.len > 0) {
        PS_CHECK(ps_str_starts_with(rest, PS_STR("{value=\"")));
        rest = check_value(ps_str_skip(rest, PS_STR("{value=\"").len), mended);
        PS_CHECK(ps_str_starts_with(rest, PS_STR("}")));
        rest = ps_str_skip(rest, 1);
    }
    PS_CHECK(ps_str_starts_with(rest, PS_STR(" 7\n")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ps_str value = {(const char *)data, size};
    struct ps_str accept = {"", 0};
    if (size > 0) {
        (void)ps_str_split(&value, '\n', &accept);
    }
    struct ps_metrics *metrics;
    struct ps_metrics_opts opts = {.shards = 1};
    struct ps_counter *counter;
    struct ps_buf out = ps_buf_make(1 << 20);
    PS_CHECK(ps_metrics_new(&metrics, &opts) == PS_OK);
    PS_CHECK(ps_metrics_declare(metrics, rows, NULL) == PS_OK);
    PS_CHECK(ps_metric_counter(metrics, rows, PS_LABELS(value), &counter) == PS_OK);
    ps_counter_add_shared(counter, 7);
    enum ps_prometheus_format format = ps_prometheus_negotiate(accept);
    PS_CHECK(ps_prometheus_write(metrics, format, &out) == PS_OK);
    format == PS_PROMETHEUS_PROTOBUF ? check_messages(ps_buf_str(&out), value)
                                     : check_page(ps_buf_str(&out), value);
    ps_buf_fini(&out);
    ps_metrics_free(metrics);
    return 0;
}
