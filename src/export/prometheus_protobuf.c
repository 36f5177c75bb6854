#include "export/prometheus_protobuf.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <prometheus.pb-c.h>

enum {
    FAMILY_MAX = 256 * 1024 * 1024, /* bytes of one family */
    GAP = 2, /* empty buckets that cost less as zeros than as a span of their own */
};

struct page {
    struct ps_buf *out;
    struct ps_buf family; /* the present one, as far as it goes */
};

/* ---- messages: everything that one Metric needs, on the stack of the visitor */

struct marks {
    Ps__Prometheus__Exemplar exemplar;
    Ps__Prometheus__Timestamp when;
    Ps__Prometheus__LabelPair pairs[2];
    Ps__Prometheus__LabelPair *list[2];
    char trace[33], span[17];
};

struct side {
    Ps__Prometheus__BucketSpan spans[PS_EXPONENTIAL_ABOVE];
    Ps__Prometheus__BucketSpan *list[PS_EXPONENTIAL_ABOVE];
    size_t count;
    int64_t deltas[PS_EXPONENTIAL_ABOVE];
    size_t deltas_count;
};

struct parts {
    Ps__Prometheus__Metric metric;
    Ps__Prometheus__LabelPair pairs[PS_METRIC_LABELS_MAX + 1];
    Ps__Prometheus__LabelPair *labels[PS_METRIC_LABELS_MAX + 1];
    Ps__Prometheus__Gauge gauge;
    Ps__Prometheus__Counter counter;
    Ps__Prometheus__Histogram histogram;
    Ps__Prometheus__Timestamp created;
    Ps__Prometheus__Bucket buckets[PS_METRIC_BOUNDS_MAX + 1];
    Ps__Prometheus__Bucket *bucket_list[PS_METRIC_BOUNDS_MAX + 1];
    struct marks marks[PS_METRIC_BOUNDS_MAX + 1];
    struct side sides[2];
};

/* The generated structs want char *, and only read. */
static char *unconst(const char *text)
{
    return (char *)(uintptr_t)text;
}

static int pack(struct ps_buf *out, const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    int err = ps_buf_reserve(out, len);
    if (err == PS_OK) {
        out->len += protobuf_c_message_pack(message, (uint8_t *)out->data + out->len);
    }
    return err;
}

/* ---- families. Encodings of one message behind each other read as one that holds all their
 * fields, so a family grows by one series at a time and is never in memory as a tree. */

static int put_varint(struct ps_buf *out, uint64_t number)
{
    unsigned char bytes[10];
    size_t len = 0;
    for (; number >= 0x80; number >>= 7) {
        bytes[len++] = (unsigned char)(number | 0x80);
    }
    bytes[len++] = (unsigned char)number;
    return ps_buf_append(out, bytes, len);
}

static int end_family(struct page *page)
{
    if (page->family.len == 0) {
        return PS_OK;
    }
    int err = put_varint(page->out, page->family.len);
    if (err == PS_OK) {
        err = ps_buf_append_str(page->out, ps_buf_str(&page->family));
    }
    ps_buf_clear(&page->family);
    return err;
}

static Ps__Prometheus__MetricType type_of(enum ps_metric_type type)
{
    return type == PS_METRIC_COUNTER ? PS__PROMETHEUS__METRIC_TYPE__COUNTER
           : type == PS_METRIC_HISTOGRAM || type == PS_METRIC_EXPONENTIAL
               ? PS__PROMETHEUS__METRIC_TYPE__HISTOGRAM
               : PS__PROMETHEUS__METRIC_TYPE__GAUGE;
}

static int on_family(void *context, const struct ps_metric_family *family)
{
    struct page *page = context;
    int err = end_family(page);
    if (err != PS_OK) {
        return err;
    }
    Ps__Prometheus__MetricFamily message = PS__PROMETHEUS__METRIC_FAMILY__INIT;
    message.name = unconst(family->name);
    message.help = unconst(family->help);
    message.has_type = true;
    message.type = type_of(family->type);
    message.unit = family->unit == NULL || family->unit[0] == '\0' ? NULL : unconst(family->unit);
    return pack(&page->family, &message.base);
}

static int put_metric(struct page *page, Ps__Prometheus__Metric *metric)
{
    Ps__Prometheus__MetricFamily message = PS__PROMETHEUS__METRIC_FAMILY__INIT;
    message.n_metric = 1;
    message.metric = &metric;
    return pack(&page->family, &message.base);
}

/* ---- series */

static void set_time(Ps__Prometheus__Timestamp *message, ps_time wall)
{
    ps__prometheus__timestamp__init(message);
    message->has_seconds = true;
    message->seconds = wall / PS_SECOND;
    message->has_nanos = true;
    message->nanos = (int32_t)(wall % PS_SECOND);
}

static void set_pair(Ps__Prometheus__LabelPair *pair, const char *name, struct ps_str value)
{
    ps__prometheus__label_pair__init(pair);
    pair->name = unconst(name);
    pair->has_value = true;
    pair->value = (ProtobufCBinaryData){value.len, (uint8_t *)unconst(value.ptr)};
}

static void add_label(struct parts *parts, const char *name, struct ps_str value)
{
    size_t at = parts->metric.n_label++;
    set_pair(&parts->pairs[at], name, value);
    parts->labels[at] = &parts->pairs[at];
}

static void set_labels(struct parts *parts, const struct ps_metric_sample *sample)
{
    ps__prometheus__metric__init(&parts->metric);
    parts->metric.label = parts->labels;
    for (size_t i = 0; i < PS_METRIC_LABELS_MAX && sample->family->labels[i] != NULL; i++) {
        struct ps_str value = sample->labels[i];
        if (value.len > 0) {
            add_label(parts, sample->family->labels[i], value);
        }
    }
}

static void write_hex(const unsigned char *bytes, size_t count, char *out)
{
    for (size_t i = 0; i < count; i++) {
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    }
}

static Ps__Prometheus__Exemplar *exemplar_of(struct marks *marks, const struct ps_exemplar *from)
{
    if (from == NULL || ps_exemplar_is_none(from)) {
        return NULL;
    }
    bool span = ps_exemplar_has_span(from);
    ps__prometheus__exemplar__init(&marks->exemplar);
    write_hex(from->trace_id, sizeof from->trace_id, marks->trace);
    write_hex(from->span_id, sizeof from->span_id, marks->span);
    for (size_t i = 0; i < (span ? 2u : 1u); i++) {
        set_pair(&marks->pairs[i], i == 0 ? "trace_id" : "span_id",
                 ps_str_from(i == 0 ? marks->trace : marks->span));
        marks->list[i] = &marks->pairs[i];
    }
    marks->exemplar.n_label = span ? 2 : 1;
    marks->exemplar.label = marks->list;
    marks->exemplar.has_value = true;
    marks->exemplar.value = from->value;
    set_time(&marks->when, from->wall);
    marks->exemplar.timestamp = &marks->when;
    return &marks->exemplar;
}

static int put_gauge(struct page *page, struct parts *parts, double value)
{
    ps__prometheus__gauge__init(&parts->gauge);
    parts->gauge.has_value = true;
    parts->gauge.value = value;
    parts->metric.gauge = &parts->gauge;
    return put_metric(page, &parts->metric);
}

/* A gauge for each state, which is the value of a label that is called like the family. */
static int put_states(struct page *page, struct parts *parts, const struct ps_metric_sample *sample)
{
    const char *const *states = sample->family->states;
    size_t labels = parts->metric.n_label;
    int err = PS_OK;
    for (size_t i = 0; states[i] != NULL && err == PS_OK; i++) {
        parts->metric.n_label = labels;
        add_label(parts, sample->family->name, ps_str_from(states[i]));
        err = put_gauge(page, parts, sample->states >> i & 1);
    }
    return err;
}

static Ps__Prometheus__Timestamp *created_of(struct parts *parts,
                                             const struct ps_metric_sample *sample)
{
    set_time(&parts->created, sample->created);
    return sample->created > 0 ? &parts->created : NULL;
}

static int put_counter(struct page *page, struct parts *parts,
                       const struct ps_metric_sample *sample)
{
    ps__prometheus__counter__init(&parts->counter);
    parts->counter.has_value = true;
    parts->counter.value = sample->value;
    parts->counter.exemplar = exemplar_of(&parts->marks[0], sample->exemplars);
    parts->counter.created_timestamp = created_of(parts, sample);
    parts->metric.counter = &parts->counter;
    return put_metric(page, &parts->metric);
}

static void set_buckets(struct parts *parts, const struct ps_metric_sample *sample)
{
    size_t count;
    const double *bounds = ps_metric_bounds(sample->family, &count);
    uint64_t below = 0;
    for (size_t i = 0; i <= count; i++) {
        Ps__Prometheus__Bucket *bucket = &parts->buckets[i];
        below += sample->buckets[i];
        ps__prometheus__bucket__init(bucket);
        bucket->has_cumulative_count = true;
        bucket->cumulative_count = below;
        bucket->has_upper_bound = true;
        bucket->upper_bound = i < count ? bounds[i] : INFINITY;
        bucket->exemplar =
            exemplar_of(&parts->marks[i], sample->exemplars == NULL ? NULL : &sample->exemplars[i]);
        parts->bucket_list[i] = bucket;
    }
    parts->histogram.n_bucket = count + 1;
    parts->histogram.bucket = parts->bucket_list;
}

/* Begins a span behind `gap` buckets that are left out. */
static void add_span(struct side *side, int32_t gap)
{
    Ps__Prometheus__BucketSpan *span = &side->spans[side->count];
    ps__prometheus__bucket_span__init(span);
    span->has_offset = true;
    span->offset = gap;
    span->has_length = true;
    side->list[side->count++] = span;
}

/* Spans and deltas of one side. A bucket that Prometheus calls i ends where our i - 1 does. */
static void set_side(struct side *side, const struct ps_exponential_side *from)
{
    int64_t last = 0;
    int32_t next = 0; /* the first index that is not written yet */
    side->count = 0;
    side->deltas_count = 0;
    for (uint32_t i = 0; i < from->count; i++) {
        int32_t index = from->low + (int32_t)i + 1;
        if (from->buckets[i] == 0) {
            continue;
        }
        if (side->count == 0 || index - next > GAP) {
            add_span(side, index - next);
            next = index;
        }
        for (; next <= index; next++) {
            int64_t n = next == index ? (int64_t)from->buckets[i] : 0;
            side->deltas[side->deltas_count++] = n - last;
            side->spans[side->count - 1].length++;
            last = n;
        }
    }
}

static void set_native(struct parts *parts, const struct ps_exponential *from)
{
    Ps__Prometheus__Histogram *to = &parts->histogram;
    to->has_schema = true;
    to->schema = from->scale;
    to->has_zero_threshold = true;
    to->zero_threshold = PS_EXPONENTIAL_ZERO;
    to->has_zero_count = true;
    to->zero_count = from->zeros;
    set_side(&parts->sides[0], &from->sides[0]);
    set_side(&parts->sides[1], &from->sides[1]);
    to->n_positive_span = parts->sides[0].count;
    to->positive_span = parts->sides[0].list;
    to->n_positive_delta = parts->sides[0].deltas_count;
    to->positive_delta = parts->sides[0].deltas;
    to->n_negative_span = parts->sides[1].count;
    to->negative_span = parts->sides[1].list;
    to->n_negative_delta = parts->sides[1].deltas_count;
    to->negative_delta = parts->sides[1].deltas;
}

static int put_histogram(struct page *page, struct parts *parts,
                         const struct ps_metric_sample *sample)
{
    ps__prometheus__histogram__init(&parts->histogram);
    parts->histogram.has_sample_count = true;
    parts->histogram.sample_count = sample->count;
    parts->histogram.has_sample_sum = true;
    parts->histogram.sample_sum = sample->sum;
    parts->histogram.created_timestamp = created_of(parts, sample);
    set_buckets(parts, sample);
    if (sample->exponential != NULL) {
        set_native(parts, sample->exponential);
    }
    parts->metric.histogram = &parts->histogram;
    return put_metric(page, &parts->metric);
}

static int on_sample(void *context, const struct ps_metric_sample *sample)
{
    struct page *page = context;
    struct parts parts;
    set_labels(&parts, sample);
    if (sample->buckets != NULL) {
        return put_histogram(page, &parts, sample);
    }
    if (sample->family->type == PS_METRIC_STATESET) {
        return put_states(page, &parts, sample);
    }
    return sample->family->type == PS_METRIC_COUNTER ? put_counter(page, &parts, sample)
                                                     : put_gauge(page, &parts, sample->value);
}

int ps_prometheus_write_protobuf(struct ps_metrics *metrics, struct ps_buf *out)
{
    struct page page = {.out = out, .family = ps_buf_make(FAMILY_MAX)};
    struct ps_metric_visitor visitor = {on_family, on_sample, &page, false};
    int err = ps_metrics_collect(metrics, &visitor);
    if (err == PS_OK) {
        err = end_family(&page);
    }
    ps_buf_fini(&page.family);
    return err;
}
