/* otlp_point - see otlp_point.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "export/otlp_point.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "export/naming.h"

enum {
    MEMO_SERIES = 4096,
    IDENTITY_MOST = 64 * 1024, /* bytes of everything that names a stream */
    NUMBER_ROOM = 32,
    DELTA = 1, /* AggregationTemporality */
    CUMULATIVE = 2,
    NO_VALUE = 1, /* DataPointFlags */
};

/* ---- life */

int ps_otlp_points_init(struct ps_otlp_points *points, struct ps_custom *custom,
                        struct ps_metrics *metrics)
{
    *points = (struct ps_otlp_points){
        .custom = custom, .metrics = metrics, .identity = ps_buf_make(IDENTITY_MOST)};
    ssize_t len = getrandom(points->seeds, sizeof points->seeds, 0);
    int err = len == sizeof points->seeds ? PS_OK : PS_EIO;
    err = err != PS_OK ? err : ps_metrics_shard_get(metrics, &points->shard);
    err = err != PS_OK ? err : ps_metric_memo_new(&points->memo, metrics, MEMO_SERIES);
    return err != PS_OK ? err : ps_otlp_streams_new(&points->streams, PS_OTLP_STREAMS);
}

void ps_otlp_points_fini(struct ps_otlp_points *points)
{
    ps_otlp_streams_free(points->streams);
    ps_metric_memo_free(points->memo);
    if (points->shard != 0) {
        ps_metrics_shard_put(points->metrics, points->shard);
    }
    ps_buf_fini(&points->identity);
}

/* ---- refusals */

static struct ps_str view(ProtobufCBinaryData data)
{
    return (struct ps_str){data.len == 0 ? "" : (const char *)data.data, data.len};
}

void ps_otlp_reject(struct ps_otlp_taking *taking, uint64_t points, const char *why)
{
    if (points > 0 && taking->reason[0] == '\0') {
        struct ps_str name = ps_str_first(view(taking->metric->name), 100);
        snprintf(taking->reason, sizeof taking->reason, "%.*s: %s", PS_STR_ARG(name), why);
    }
    taking->rejected += points;
}

bool ps_otlp_is_cumulative(int32_t temporality)
{
    return temporality == CUMULATIVE;
}

bool ps_otlp_check_temporality(struct ps_otlp_taking *taking, int32_t temporality, size_t points)
{
    bool known = temporality == DELTA || temporality == CUMULATIVE;
    if (!known) {
        ps_otlp_reject(taking, points,
                       "the aggregation temporality is neither delta nor cumulative");
    }
    return known;
}

bool ps_otlp_is_empty(uint32_t flags)
{
    return (flags & NO_VALUE) != 0;
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

int ps_otlp_begin_metric(struct ps_otlp_taking *taking)
{
    struct ps_buf *identity = &taking->points->identity;
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
static struct ps_otlp_stream *stream_of(struct ps_otlp_taking *taking,
                                        const struct ps_otlp_point *point)
{
    struct ps_otlp_points *points = taking->points;
    size_t before = points->identity.len;
    if (add_attributes(&points->identity, point->attributes, point->attribute_count) != PS_OK) {
        points->identity.len = before;
        return NULL;
    }
    struct ps_otlp_key key;
    for (size_t i = 0; i < 2; i++) {
        key.hash[i] = ps_str_hash(ps_buf_str(&points->identity), points->seeds[i]);
    }
    points->identity.len = before;
    return ps_otlp_streams_at(points->streams, key, taking->now);
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

static void add_labels(struct ps_otlp_taking *taking, struct labels *labels,
                       Ps__Otlp__KeyValue *const *items, size_t count)
{
    add_from_resource(labels, taking->resource, PS_STR("service.name"));
    add_from_resource(labels, taking->resource, PS_STR("service.instance.id"));
    for (size_t i = 0; i < count; i++) {
        labels->left_out += add_label(labels, view(items[i]->key), items[i]->value) ? 0 : 1;
    }
    add_scope(labels, taking->scope);
}

/* ---- the place of a point */

/* Valid until the next; NULL: rejected. */
static struct ps_metric_handle *find_series(struct ps_otlp_taking *taking,
                                            const struct ps_otlp_kind *kind,
                                            const struct ps_otlp_point *point)
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
        ps_otlp_reject(taking, 1, "no metric may be called that");
        return NULL;
    }
    labels.definition.name = naming.name;
    labels.definition.unit = naming.unit;
    add_labels(taking, &labels, point->attributes, point->attribute_count);
    if (ps_custom_fit(taking->points->custom, &labels.definition, &row, order, &misfits, why,
                      sizeof why) != PS_OK) {
        ps_otlp_reject(taking, 1, why);
        return NULL;
    }
    for (size_t i = 0; i < PS_METRIC_LABELS_MAX && row->labels[i] != NULL; i++) {
        values.values[i] = order[i] == PS_CUSTOM_NONE ? PS_STR("") : labels.values[order[i]];
    }
    if (ps_metric_memo_find(taking->points->memo, row, &values, &handle) != PS_OK) {
        ps_otlp_reject(taking, 1, "out of memory");
        return NULL;
    }
    taking->left_out += labels.left_out + misfits;
    return handle;
}

/* The stream of a point when it is the next of it; NULL: rejected. */
static struct ps_otlp_stream *next_of_stream(struct ps_otlp_taking *taking,
                                             const struct ps_otlp_point *point)
{
    struct ps_otlp_stream *stream = stream_of(taking, point);
    if (stream == NULL) {
        ps_otlp_reject(taking, 1, "more streams, or longer names, than are kept");
        return NULL;
    }
    if (!ps_otlp_stream_advance(stream, point->start, point->time)) {
        ps_otlp_reject(taking, 1, "not later than the last point of its stream");
        return NULL;
    }
    return stream;
}

struct ps_metric_handle *ps_otlp_place(struct ps_otlp_taking *taking,
                                       const struct ps_otlp_kind *kind,
                                       const struct ps_otlp_point *point,
                                       struct ps_otlp_stream **stream)
{
    struct ps_metric_handle *handle = find_series(taking, kind, point);
    *stream = handle == NULL ? NULL : next_of_stream(taking, point);
    return *stream == NULL ? NULL : handle;
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

void ps_otlp_accept(struct ps_otlp_taking *taking, struct ps_metric_handle *handle,
                    Ps__Otlp__Exemplar *const *exemplars, size_t count)
{
    show_exemplars(handle, exemplars, count);
    taking->accepted++;
}
