#include "export/otlp_metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <otlp.pb-c.h>

#include "base/check.h"
#include "export/naming.h"
#include "export/otlp_decode.h"
#include "export/otlp_stream.h"
#include "observe/metric_exponential.h"
#include "observe/metric_label.h"
#include "observe/metric_memo.h"

enum {
    MEMO_SERIES = 4096,
    IDENTITY_MOST = 64 * 1024, /* bytes of everything that names a stream */
    SIDE_MOST = 1024,          /* buckets of one side of an exponential histogram */
    NUMBER_ROOM = 32,
    DELTA = 1, /* AggregationTemporality */
    CUMULATIVE = 2,
    NO_VALUE = 1, /* DataPointFlags */
};

struct ps_otlp {
    struct ps_custom *custom;
    struct ps_metrics *metrics;
    struct ps_metric_memo *memo;
    struct ps_otlp_streams *streams;
    unsigned shard;
    uint64_t seeds[2];
    struct ps_buf identity;
    struct ps_counter *accepted, *rejected, *left_out, *failed;
    struct ps_gauge *known;
};

enum { ROW_POINTS, ROW_REQUESTS, ROW_ATTRIBUTES, ROW_STREAMS };

/* clang-format off */
const struct ps_metric_family ps_otlp_metric_families[] = {
    [ROW_POINTS] = {.name = "penstock_otlp_points_total", .type = PS_METRIC_COUNTER,
     .help = "Data points that came by OTLP, by what became of them: accepted, rejected (the answer says why)",
     .labels = {"result"}},
    [ROW_REQUESTS] = {.name = "penstock_otlp_failed_requests_total", .type = PS_METRIC_COUNTER,
     .help = "Requests of OTLP that could not be read: malformed, too large, or no memory"},
    [ROW_ATTRIBUTES] = {.name = "penstock_otlp_left_out_attributes_total", .type = PS_METRIC_COUNTER,
     .help = "Attributes that were left out of accepted points: more than 8, lists, or none that the metric has as a label"},
    [ROW_STREAMS] = {.name = "penstock_otlp_streams", .type = PS_METRIC_GAUGE,
     .help = "Streams of OTLP whose last point is remembered"},
    {0},
};
/* clang-format on */

/* ---- life */

static int bind_counters(struct ps_otlp *otlp)
{
    const struct ps_metric_family *rows = ps_otlp_metric_families;
    const char *bad = NULL;
    int err = ps_metrics_declare(otlp->metrics, rows, &bad);
    PS_CHECK(bad == NULL);
    err = err != PS_OK ? err
                       : ps_metric_counter(otlp->metrics, &rows[ROW_POINTS],
                                           PS_LABELS(PS_STR("accepted")), &otlp->accepted);
    err = err != PS_OK ? err
                       : ps_metric_counter(otlp->metrics, &rows[ROW_POINTS],
                                           PS_LABELS(PS_STR("rejected")), &otlp->rejected);
    err = err != PS_OK ? err
                       : ps_metric_counter(otlp->metrics, &rows[ROW_REQUESTS], NULL, &otlp->failed);
    err = err != PS_OK
              ? err
              : ps_metric_counter(otlp->metrics, &rows[ROW_ATTRIBUTES], NULL, &otlp->left_out);
    return err != PS_OK ? err
                        : ps_metric_gauge(otlp->metrics, &rows[ROW_STREAMS], NULL, &otlp->known);
}

int ps_otlp_new(struct ps_otlp **out, struct ps_custom *custom, struct ps_metrics *metrics)
{
    struct ps_otlp *otlp = calloc(1, sizeof *otlp);
    if (otlp == NULL) {
        return PS_ENOMEM;
    }
    otlp->custom = custom;
    otlp->metrics = metrics;
    otlp->identity = ps_buf_make(IDENTITY_MOST);
    int err = getrandom(otlp->seeds, sizeof otlp->seeds, 0) == sizeof otlp->seeds ? PS_OK : PS_EIO;
    err = err != PS_OK ? err : ps_metrics_shard_get(metrics, &otlp->shard);
    err = err != PS_OK ? err : bind_counters(otlp);
    err = err != PS_OK ? err : ps_metric_memo_new(&otlp->memo, metrics, MEMO_SERIES);
    err = err != PS_OK ? err : ps_otlp_streams_new(&otlp->streams, PS_OTLP_STREAMS);
    if (err != PS_OK) {
        ps_otlp_free(otlp);
        return err;
    }
    *out = otlp;
    return PS_OK;
}

void ps_otlp_free(struct ps_otlp *otlp)
{
    if (otlp == NULL) {
        return;
    }
    struct ps_counter *counters[] = {otlp->accepted, otlp->rejected, otlp->left_out, otlp->failed};
    for (size_t i = 0; i < PS_ARRAY_LEN(counters); i++) {
        ps_metric_put(otlp->metrics, counters[i] == NULL ? NULL : &counters[i]->handle);
    }
    ps_metric_put(otlp->metrics, otlp->known == NULL ? NULL : &otlp->known->handle);
    ps_otlp_streams_free(otlp->streams);
    ps_metric_memo_free(otlp->memo);
    if (otlp->shard != 0) {
        ps_metrics_shard_put(otlp->metrics, otlp->shard);
    }
    ps_buf_fini(&otlp->identity);
    free(otlp);
}

/* ---- one request */

static struct ps_str view(ProtobufCBinaryData data)
{
    return (struct ps_str){data.len == 0 ? "" : (const char *)data.data, data.len};
}

/* Where we are, and what has become of it so far. */
struct taking {
    struct ps_otlp *otlp;
    const Ps__Otlp__Resource *resource;          /* or NULL */
    const Ps__Otlp__InstrumentationScope *scope; /* or NULL */
    const Ps__Otlp__Metric *metric;
    ps_time now;
    uint64_t accepted, rejected, left_out;
    char reason[640]; /* of the first that was rejected */
};

static void reject(struct taking *taking, uint64_t points, const char *why)
{
    if (points > 0 && taking->reason[0] == '\0') {
        struct ps_str name = ps_str_first(view(taking->metric->name), 100);
        snprintf(taking->reason, sizeof taking->reason, "%.*s: %s", PS_STR_ARG(name), why);
    }
    taking->rejected += points;
}

/* ---- what tells a stream from another */

static int add_text(struct ps_buf *identity, struct ps_str text)
{
    uint32_t len = (uint32_t)text.len;
    int err = ps_buf_append(identity, &len, sizeof len);
    return err == PS_OK ? ps_buf_append_str(identity, text) : err;
}

/* A value as text; what it is not of the scalar kinds is false. `room` holds what is no text. */
static bool text_of(const Ps__Otlp__AnyValue *value, char room[NUMBER_ROOM], struct ps_str *out)
{
    int len = 0;
    switch (value == NULL ? PS__OTLP__ANY_VALUE__VALUE__NOT_SET : value->value_case) {
    case PS__OTLP__ANY_VALUE__VALUE_STRING_VALUE:
        *out = view(value->string_value);
        return true;
    case PS__OTLP__ANY_VALUE__VALUE_BOOL_VALUE:
        *out = value->bool_value ? PS_STR("true") : PS_STR("false");
        return true;
    case PS__OTLP__ANY_VALUE__VALUE_INT_VALUE:
        len = snprintf(room, NUMBER_ROOM, "%lld", (long long)value->int_value);
        break;
    case PS__OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE:
        len = snprintf(room, NUMBER_ROOM, "%.15g", value->double_value);
        break;
    default:
        return false;
    }
    *out = (struct ps_str){room, (size_t)len};
    return true;
}

static int add_attributes(struct ps_buf *identity, Ps__Otlp__KeyValue *const *items, size_t count)
{
    int err = PS_OK;
    for (size_t i = 0; i < count && err == PS_OK; i++) {
        char room[NUMBER_ROOM];
        struct ps_str text = PS_STR("");
        err = add_text(identity, view(items[i]->key));
        bool known = text_of(items[i]->value, room, &text);
        err = err == PS_OK && known ? add_text(identity, text) : err;
    }
    return err;
}

/* Everything but the point's own attributes. PS_OK, PS_ELIMIT or PS_ENOMEM. */
static int name_metric(struct taking *taking)
{
    struct ps_buf *identity = &taking->otlp->identity;
    const Ps__Otlp__Resource *resource = taking->resource;
    unsigned char kind = (unsigned char)taking->metric->data_case;
    ps_buf_clear(identity);
    int err = resource == NULL
                  ? PS_OK
                  : add_attributes(identity, resource->attributes, resource->n_attributes);
    if (err == PS_OK && taking->scope != NULL) {
        err = add_text(identity, view(taking->scope->name));
        err = err == PS_OK ? add_text(identity, view(taking->scope->version)) : err;
    }
    err = err == PS_OK ? ps_buf_append(identity, &kind, sizeof kind) : err;
    return err == PS_OK ? add_text(identity, view(taking->metric->name)) : err;
}

/* The stream of a point; NULL where there is no room. */
static struct ps_otlp_stream *stream_of(struct taking *taking, Ps__Otlp__KeyValue *const *items,
                                        size_t count)
{
    struct ps_otlp *otlp = taking->otlp;
    size_t before = otlp->identity.len;
    if (add_attributes(&otlp->identity, items, count) != PS_OK) {
        otlp->identity.len = before;
        return NULL;
    }
    struct ps_otlp_key key;
    for (size_t i = 0; i < 2; i++) {
        key.hash[i] = ps_str_hash(ps_buf_str(&otlp->identity), otlp->seeds[i]);
    }
    otlp->identity.len = before;
    return ps_otlp_streams_at(otlp->streams, key, taking->now);
}

/* ---- labels */

struct labels {
    struct ps_custom_definition definition;
    struct ps_str values[PS_METRIC_LABELS_MAX];
    char numbers[PS_METRIC_LABELS_MAX][NUMBER_ROOM];
    char names[PS_METRIC_LABELS_MAX][PS_CUSTOM_NAME_MAX];
    uint64_t left_out;
};

static bool is_there(const struct ps_custom_definition *definition, struct ps_str name)
{
    for (size_t i = 0; i < definition->label_count; i++) {
        if (ps_str_eq(definition->labels[i], name)) {
            return true;
        }
    }
    return false;
}

static bool add_label(struct labels *labels, struct ps_str name, const Ps__Otlp__AnyValue *value)
{
    size_t at = labels->definition.label_count;
    if (at == PS_METRIC_LABELS_MAX) {
        return false;
    }
    struct ps_str label = {labels->names[at],
                           ps_naming_label(name, labels->names[at], PS_CUSTOM_NAME_MAX)};
    if (label.len == 0 || is_there(&labels->definition, label) ||
        !text_of(value, labels->numbers[at], &labels->values[at])) {
        return false;
    }
    labels->definition.labels[at] = label;
    labels->definition.label_count++;
    return true;
}

static void add_from_resource(struct labels *labels, const Ps__Otlp__Resource *resource,
                              struct ps_str name)
{
    for (size_t i = 0; resource != NULL && i < resource->n_attributes; i++) {
        const Ps__Otlp__KeyValue *item = resource->attributes[i];
        if (ps_str_eq(view(item->key), name)) {
            labels->left_out += add_label(labels, name, item->value) ? 0 : 1;
            return;
        }
    }
}

static void add_scope(struct labels *labels, const Ps__Otlp__InstrumentationScope *scope)
{
    if (scope != NULL && scope->name.len > 0) {
        Ps__Otlp__AnyValue value;
        ps__otlp__any_value__init(&value);
        value.value_case = PS__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
        value.string_value = scope->name;
        labels->left_out += add_label(labels, PS_STR("otel_scope_name"), &value) ? 0 : 1;
    }
}

static void add_labels(struct taking *taking, struct labels *labels,
                       Ps__Otlp__KeyValue *const *items, size_t count)
{
    add_from_resource(labels, taking->resource, PS_STR("service.name"));
    add_from_resource(labels, taking->resource, PS_STR("service.instance.id"));
    for (size_t i = 0; i < count; i++) {
        labels->left_out += add_label(labels, view(items[i]->key), items[i]->value) ? 0 : 1;
    }
    add_scope(labels, taking->scope);
}

/* ---- series */

/* What a metric becomes. */
struct kind {
    enum ps_metric_type type;
    const double *bounds;
    size_t bounds_count;
};

/* The series of a point, valid until the next; NULL: rejected. */
static struct ps_metric_handle *find_series(struct taking *taking, const struct kind *kind,
                                            Ps__Otlp__KeyValue *const *items, size_t count)
{
    struct ps_naming naming;
    struct labels labels;
    const struct ps_metric_family *row;
    size_t order[PS_METRIC_LABELS_MAX];
    size_t misfits = 0;
    struct ps_metric_labels values = {0};
    struct ps_metric_handle *handle;
    char why[512];
    struct ps_str help = ps_str_first(view(taking->metric->description), PS_CUSTOM_HELP_MAX);
    labels.left_out = 0;
    labels.definition = (struct ps_custom_definition){.type = kind->type,
                                                      .help = help,
                                                      .bounds = kind->bounds,
                                                      .bounds_count = kind->bounds_count};
    if (ps_naming_metric(&naming, view(taking->metric->name), view(taking->metric->unit),
                         kind->type) != PS_OK) {
        reject(taking, 1, "no metric may be called that");
        return NULL;
    }
    labels.definition.name = naming.name;
    labels.definition.unit = naming.unit;
    add_labels(taking, &labels, items, count);
    if (ps_custom_fit(taking->otlp->custom, &labels.definition, &row, order, &misfits, why,
                      sizeof why) != PS_OK) {
        reject(taking, 1, why);
        return NULL;
    }
    for (size_t i = 0; i < PS_METRIC_LABELS_MAX && row->labels[i] != NULL; i++) {
        values.values[i] = order[i] == PS_CUSTOM_NONE ? PS_STR("") : labels.values[order[i]];
    }
    if (ps_metric_memo_find(taking->otlp->memo, row, &values, &handle) != PS_OK) {
        reject(taking, 1, "out of memory");
        return NULL;
    }
    taking->left_out += labels.left_out + misfits;
    return handle;
}

/* The stream of a point when it is the next of it; NULL: rejected. */
static struct ps_otlp_stream *next_of_stream(struct taking *taking,
                                             Ps__Otlp__KeyValue *const *items, size_t count,
                                             uint64_t start, uint64_t time)
{
    struct ps_otlp_stream *stream = stream_of(taking, items, count);
    if (stream == NULL) {
        reject(taking, 1, "more streams, or longer names, than are kept");
        return NULL;
    }
    if (!ps_otlp_stream_advance(stream, start, time)) {
        reject(taking, 1, "not later than the last point of its stream");
        return NULL;
    }
    return stream;
}

static void show_exemplars(struct ps_metric_handle *handle, Ps__Otlp__Exemplar *const *items,
                           size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const Ps__Otlp__Exemplar *item = items[i];
        struct ps_exemplar exemplar = {.wall = (ps_time)item->time_unix_nano};
        bool real = item->value_case == PS__OTLP__EXEMPLAR__VALUE_AS_DOUBLE;
        if (item->trace_id.len != sizeof exemplar.trace_id || item->time_unix_nano > INT64_MAX) {
            continue;
        }
        memcpy(exemplar.trace_id, item->trace_id.data, sizeof exemplar.trace_id);
        if (item->span_id.len == sizeof exemplar.span_id) {
            memcpy(exemplar.span_id, item->span_id.data, sizeof exemplar.span_id);
        }
        exemplar.value = real ? item->as_double : (double)item->as_int;
        if (isfinite(exemplar.value) && !ps_exemplar_is_none(&exemplar)) {
            ps_metric_exemplar(handle, &exemplar);
        }
    }
}

/* ---- numbers */

enum way { ADD, STEP, SET, MOVE };

static double number_of(const Ps__Otlp__NumberDataPoint *point)
{
    return point->value_case == PS__OTLP__NUMBER_DATA_POINT__VALUE_AS_DOUBLE ? point->as_double
           : point->value_case == PS__OTLP__NUMBER_DATA_POINT__VALUE_AS_INT  ? (double)point->as_int
                                                                             : NAN;
}

static void move_number(struct taking *taking, struct ps_metric_handle *handle, enum way way,
                        struct ps_otlp_stream *stream, double value)
{
    struct ps_gauge *gauge = PS_CONTAINER_OF(handle, struct ps_gauge, handle);
    if (way == SET) {
        ps_gauge_set(gauge, value);
    } else if (way == MOVE) {
        ps_gauge_add(gauge, value);
    } else {
        double step = way == STEP ? ps_otlp_stream_step(stream, value) : value;
        ps_counter_add_double(PS_CONTAINER_OF(handle, struct ps_counter, handle),
                              taking->otlp->shard, step);
    }
}

static void take_number(struct taking *taking, const Ps__Otlp__NumberDataPoint *point, enum way way)
{
    struct kind kind = {.type = way == ADD || way == STEP ? PS_METRIC_COUNTER : PS_METRIC_GAUGE};
    double value = number_of(point);
    bool none = (point->flags & NO_VALUE) != 0;
    if (!none && (way == SET ? isnan(value) : !isfinite(value))) {
        none = way == SET && point->value_case != PS__OTLP__NUMBER_DATA_POINT__VALUE__NOT_SET;
        if (!none) {
            reject(taking, 1, "the value is missing or not finite");
            return;
        }
    }
    if (!none && kind.type == PS_METRIC_COUNTER && value < 0) {
        reject(taking, 1, "a monotonic sum does not fall");
        return;
    }
    struct ps_metric_handle *handle =
        find_series(taking, &kind, point->attributes, point->n_attributes);
    struct ps_otlp_stream *stream =
        handle == NULL ? NULL
                       : next_of_stream(taking, point->attributes, point->n_attributes,
                                        point->start_time_unix_nano, point->time_unix_nano);
    if (stream == NULL) {
        return;
    }
    if (!none) {
        move_number(taking, handle, way, stream, value);
        show_exemplars(handle, point->exemplars, point->n_exemplars);
    } else if (way == SET) {
        ps_gauge_set(PS_CONTAINER_OF(handle, struct ps_gauge, handle), NAN);
    }
    taking->accepted++;
}

static const char *const bad_temporality = "the aggregation temporality is neither delta nor "
                                           "cumulative";

static bool is_temporality(int32_t temporality)
{
    return temporality == DELTA || temporality == CUMULATIVE;
}

static void take_sum(struct taking *taking, const Ps__Otlp__Sum *sum)
{
    bool delta = sum->aggregation_temporality == DELTA;
    enum way way = sum->is_monotonic ? (delta ? ADD : STEP) : (delta ? MOVE : SET);
    if (!is_temporality(sum->aggregation_temporality)) {
        reject(taking, sum->n_data_points, bad_temporality);
        return;
    }
    for (size_t i = 0; i < sum->n_data_points; i++) {
        take_number(taking, sum->data_points[i], way);
    }
}

/* ---- histograms */

static bool add_up(const uint64_t *counts, size_t count, uint64_t *total)
{
    for (size_t i = 0; i < count; i++) {
        if (__builtin_add_overflow(*total, counts[i], total)) {
            return false;
        }
    }
    return true;
}

/* Turns totals into what is new, where they are totals. False: rejected. */
static bool step_counts(struct taking *taking, struct ps_otlp_stream *stream, int32_t temporality,
                        struct ps_otlp_counts *counts)
{
    int err = temporality == CUMULATIVE
                  ? ps_otlp_stream_step_counts(taking->otlp->streams, stream, counts)
                  : PS_OK;
    if (err != PS_OK) {
        reject(taking, 1, "more buckets than are kept");
    }
    return err == PS_OK;
}

/* Is there something to count? A point without a value is accepted and says nothing; one that is objected to is
 * rejected. */
static bool is_wanted(struct taking *taking, uint32_t flags, const char *objection)
{
    if ((flags & NO_VALUE) != 0) {
        taking->accepted++;
    } else if (objection != NULL) {
        reject(taking, 1, objection);
    }
    return (flags & NO_VALUE) == 0 && objection == NULL;
}

static const char *objection_to_histogram(const Ps__Otlp__HistogramDataPoint *point)
{
    uint64_t total = 0;
    if (point->n_explicit_bounds == 0 || point->n_explicit_bounds > PS_METRIC_BOUNDS_MAX) {
        return "a histogram has 1 to 64 bounds";
    }
    if (point->n_bucket_counts != point->n_explicit_bounds + 1) {
        return "a histogram has one bucket more than bounds";
    }
    if (!add_up(point->bucket_counts, point->n_bucket_counts, &total) || total != point->count) {
        return "the buckets don't add up to the count";
    }
    return point->has_sum && !isfinite(point->sum) ? "the sum is not finite" : NULL;
}

static void take_histogram_point(struct taking *taking, const Ps__Otlp__HistogramDataPoint *point,
                                 int32_t temporality)
{
    struct kind kind = {PS_METRIC_HISTOGRAM, point->explicit_bounds, point->n_explicit_bounds};
    if (!is_wanted(taking, point->flags, objection_to_histogram(point))) {
        return;
    }
    struct ps_metric_handle *handle =
        find_series(taking, &kind, point->attributes, point->n_attributes);
    struct ps_otlp_stream *stream =
        handle == NULL ? NULL
                       : next_of_stream(taking, point->attributes, point->n_attributes,
                                        point->start_time_unix_nano, point->time_unix_nano);
    struct ps_otlp_counts counts = {
        .sum = point->sum, .sides = {{0, (uint32_t)point->n_bucket_counts, point->bucket_counts}}};
    if (stream == NULL || !step_counts(taking, stream, temporality, &counts)) {
        return;
    }
    ps_histogram_add_buckets(PS_CONTAINER_OF(handle, struct ps_histogram, handle),
                             taking->otlp->shard, point->bucket_counts, counts.sum);
    show_exemplars(handle, point->exemplars, point->n_exemplars);
    taking->accepted++;
}

static void take_histogram(struct taking *taking, const Ps__Otlp__Histogram *histogram)
{
    if (!is_temporality(histogram->aggregation_temporality)) {
        reject(taking, histogram->n_data_points, bad_temporality);
        return;
    }
    for (size_t i = 0; i < histogram->n_data_points; i++) {
        take_histogram_point(taking, histogram->data_points[i], histogram->aggregation_temporality);
    }
}

/* ---- exponential histograms */

static struct ps_otlp_side side_of(const Ps__Otlp__Buckets *buckets)
{
    return buckets == NULL
               ? (struct ps_otlp_side){0}
               : (struct ps_otlp_side){buckets->offset, (uint32_t)buckets->n_bucket_counts,
                                       buckets->bucket_counts};
}

/* Do the outermost buckets lie where doubles are? Then all do. */
static bool is_within(int scale, const struct ps_otlp_side *side)
{
    double low = ldexp((double)side->offset + 1, -scale);
    double high = ldexp((double)side->offset + side->count, -scale);
    return side->count == 0 || (low >= -1074 && high <= 1024);
}

static const char *objection_to_exponential(const Ps__Otlp__ExponentialHistogramDataPoint *point,
                                            const struct ps_otlp_counts *counts)
{
    uint64_t total = point->zero_count;
    if (point->scale < PS_EXPONENTIAL_SCALE_LEAST || point->scale > PS_EXPONENTIAL_SCALE_MOST) {
        return "scales are -4 to 20";
    }
    for (size_t i = 0; i < 2; i++) {
        const struct ps_otlp_side *side = &counts->sides[i];
        if (side->count > SIDE_MOST || !is_within(point->scale, side)) {
            return "at most 1024 buckets on a side, where numbers are";
        }
        if (!add_up(side->counts, side->count, &total)) {
            return "the buckets don't add up to the count";
        }
    }
    if (total != point->count) {
        return "the buckets don't add up to the count";
    }
    return point->has_sum && !isfinite(point->sum) ? "the sum is not finite" : NULL;
}

static void add_exponential(struct taking *taking, struct ps_metric_handle *handle,
                            const struct ps_otlp_counts *counts)
{
    _Atomic uint64_t *cells = ps_metric_cell(handle, taking->otlp->shard);
    for (unsigned side = 0; side < 2; side++) {
        const struct ps_otlp_side *from = &counts->sides[side];
        for (uint32_t i = 0; i < from->count; i++) {
            if (from->counts[i] > 0) {
                bool added = ps_exponential_add(cells, counts->scale, side,
                                                from->offset + (int32_t)i, from->counts[i]);
                PS_CHECK(added);
            }
        }
    }
    ps_exponential_add_rest(cells, counts->zeros, counts->sum);
}

static void take_exponential_point(struct taking *taking,
                                   const Ps__Otlp__ExponentialHistogramDataPoint *point,
                                   int32_t temporality)
{
    struct kind kind = {.type = PS_METRIC_EXPONENTIAL};
    struct ps_otlp_counts counts = {.scale = point->scale,
                                    .zeros = point->zero_count,
                                    .sum = point->sum,
                                    .sides = {side_of(point->positive), side_of(point->negative)}};
    if (!is_wanted(taking, point->flags, objection_to_exponential(point, &counts))) {
        return;
    }
    struct ps_metric_handle *handle =
        find_series(taking, &kind, point->attributes, point->n_attributes);
    struct ps_otlp_stream *stream =
        handle == NULL ? NULL
                       : next_of_stream(taking, point->attributes, point->n_attributes,
                                        point->start_time_unix_nano, point->time_unix_nano);
    if (stream == NULL || !step_counts(taking, stream, temporality, &counts)) {
        return;
    }
    add_exponential(taking, handle, &counts);
    show_exemplars(handle, point->exemplars, point->n_exemplars);
    taking->accepted++;
}

static void take_exponential(struct taking *taking, const Ps__Otlp__ExponentialHistogram *histogram)
{
    if (!is_temporality(histogram->aggregation_temporality)) {
        reject(taking, histogram->n_data_points, bad_temporality);
        return;
    }
    for (size_t i = 0; i < histogram->n_data_points; i++) {
        take_exponential_point(taking, histogram->data_points[i],
                               histogram->aggregation_temporality);
    }
}

/* ---- the whole of it */

static size_t points_of(const Ps__Otlp__Metric *metric)
{
    switch (metric->data_case) {
    case PS__OTLP__METRIC__DATA_GAUGE:
        return metric->gauge->n_data_points;
    case PS__OTLP__METRIC__DATA_SUM:
        return metric->sum->n_data_points;
    case PS__OTLP__METRIC__DATA_HISTOGRAM:
        return metric->histogram->n_data_points;
    case PS__OTLP__METRIC__DATA_EXPONENTIAL_HISTOGRAM:
        return metric->exponential_histogram->n_data_points;
    case PS__OTLP__METRIC__DATA_SUMMARY:
        return metric->summary->n_data_points;
    default:
        return 0;
    }
}

static void take_metric(struct taking *taking)
{
    const Ps__Otlp__Metric *metric = taking->metric;
    if (name_metric(taking) != PS_OK) {
        reject(taking, points_of(metric), "its names are longer than 64 KiB");
        return;
    }
    switch (metric->data_case) {
    case PS__OTLP__METRIC__DATA_GAUGE:
        for (size_t i = 0; i < metric->gauge->n_data_points; i++) {
            take_number(taking, metric->gauge->data_points[i], SET);
        }
        break;
    case PS__OTLP__METRIC__DATA_SUM:
        take_sum(taking, metric->sum);
        break;
    case PS__OTLP__METRIC__DATA_HISTOGRAM:
        take_histogram(taking, metric->histogram);
        break;
    case PS__OTLP__METRIC__DATA_EXPONENTIAL_HISTOGRAM:
        take_exponential(taking, metric->exponential_histogram);
        break;
    case PS__OTLP__METRIC__DATA_SUMMARY:
        reject(taking, points_of(metric), "summaries are not taken: send a histogram");
        break;
    default:
        break;
    }
}

static void take_all(struct taking *taking, const Ps__Otlp__ExportMetricsServiceRequest *request)
{
    for (size_t i = 0; i < request->n_resource_metrics; i++) {
        const Ps__Otlp__ResourceMetrics *resource = request->resource_metrics[i];
        taking->resource = resource->resource;
        for (size_t k = 0; k < resource->n_scope_metrics; k++) {
            const Ps__Otlp__ScopeMetrics *scope = resource->scope_metrics[k];
            taking->scope = scope->scope;
            for (size_t m = 0; m < scope->n_metrics; m++) {
                taking->metric = scope->metrics[m];
                take_metric(taking);
            }
        }
    }
}

/* ---- answers */

static void pack(struct ps_buf *reply, const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    if (ps_buf_reserve(reply, len + 1) == PS_OK) {
        reply->len += protobuf_c_message_pack(message, (uint8_t *)reply->data + reply->len);
    }
}

static ProtobufCBinaryData bytes_of(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static void answer(const struct taking *taking, bool json, struct ps_buf *reply)
{
    Ps__Otlp__ExportMetricsServiceResponse response =
        PS__OTLP__EXPORT_METRICS_SERVICE_RESPONSE__INIT;
    Ps__Otlp__ExportMetricsPartialSuccess partial = PS__OTLP__EXPORT_METRICS_PARTIAL_SUCCESS__INIT;
    char reason[PS_METRIC_VALUE_MAX]; /* as UTF-8 */
    struct ps_str text = {reason, ps_metric_label_clean(ps_str_from(taking->reason), reason)};
    if (json && taking->rejected == 0) {
        PS_IGNORE(ps_buf_append_str(reply, PS_STR("{}")));
    } else if (json) {
        PS_IGNORE(ps_buf_printf(reply,
                                "{\"partialSuccess\":{\"rejectedDataPoints\":\"%llu\","
                                "\"errorMessage\":\"",
                                (unsigned long long)taking->rejected));
        PS_IGNORE(ps_buf_append_json(reply, text));
        PS_IGNORE(ps_buf_append_str(reply, PS_STR("\"}}")));
    } else {
        partial.has_rejected_data_points = true;
        partial.rejected_data_points = (int64_t)taking->rejected;
        partial.has_error_message = true;
        partial.error_message = (ProtobufCBinaryData){text.len, (uint8_t *)(uintptr_t)text.ptr};
        response.partial_success = taking->rejected == 0 ? NULL : &partial;
        pack(reply, &response.base);
    }
}

void ps_otlp_refuse(const struct ps_otlp_body *body, int err, const char *why, struct ps_buf *reply)
{
    Ps__Otlp__Status status = PS__OTLP__STATUS__INIT;
    status.has_code = true;
    status.code = err == PS_ELIMIT ? 8 : err == PS_ENOMEM ? 14 : 3; /* codes of gRPC */
    status.has_message = true;
    status.message = bytes_of(why);
    if (body->json) {
        PS_IGNORE(ps_buf_printf(reply, "{\"code\":%d,\"message\":\"", (int)status.code));
        PS_IGNORE(ps_buf_append_json(reply, ps_str_from(why)));
        PS_IGNORE(ps_buf_append_str(reply, PS_STR("\"}")));
    } else {
        pack(reply, &status.base);
    }
}

static int decode(const struct ps_otlp_body *body, struct ps_otlp_request *out, char *reason,
                  size_t size)
{
    struct ps_buf plain = ps_buf_make(PS_OTLP_BODY_MOST);
    struct ps_str text = body->bytes;
    int err = PS_OK;
    if (body->gzip) {
        err = ps_otlp_gunzip(body->bytes, &plain);
        text = ps_buf_str(&plain);
        snprintf(reason, size, "%s",
                 err == PS_ELIMIT   ? "the body is larger than 8 MiB"
                 : err == PS_ENOMEM ? "out of memory"
                                    : "the body is not gzip");
    }
    if (err == PS_OK) {
        err = body->json ? ps_otlp_decode_json(out, text, reason, size)
                         : ps_otlp_decode_protobuf(out, text, reason, size);
    }
    ps_buf_fini(&plain);
    return err;
}

int ps_otlp_take(struct ps_otlp *otlp, const struct ps_otlp_body *body, ps_time now,
                 struct ps_buf *reply)
{
    struct ps_otlp_request request;
    struct taking taking = {.otlp = otlp, .now = now};
    char reason[256];
    int err = decode(body, &request, reason, sizeof reason);
    if (err != PS_OK) {
        ps_counter_add(otlp->failed, otlp->shard, 1);
        ps_otlp_refuse(body, err, reason, reply);
        return err;
    }
    take_all(&taking, request.message);
    ps_otlp_request_fini(&request);
    ps_counter_add(otlp->accepted, otlp->shard, taking.accepted);
    ps_counter_add(otlp->rejected, otlp->shard, taking.rejected);
    ps_counter_add(otlp->left_out, otlp->shard, taking.left_out);
    ps_gauge_set(otlp->known, (double)ps_otlp_streams_count(otlp->streams));
    answer(&taking, body->json, reply);
    return PS_OK;
}
