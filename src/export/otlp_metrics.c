#include "export/otlp_metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "export/otlp_decode.h"
#include "export/otlp_histogram.h"
#include "export/otlp_point.h"
#include "observe/metric_label.h"

struct ps_otlp {
    struct ps_metrics *metrics;
    struct ps_otlp_points points;
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
    otlp->metrics = metrics;
    int err = ps_otlp_points_init(&otlp->points, custom, metrics);
    err = err != PS_OK ? err : bind_counters(otlp);
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
    ps_otlp_points_fini(&otlp->points);
    free(otlp);
}

/* ---- numbers */

enum way { ADD, STEP, SET, MOVE };

static double number_of(const Ps__Otlp__NumberDataPoint *point)
{
    return point->value_case == PS__OTLP__NUMBER_DATA_POINT__VALUE_AS_DOUBLE ? point->as_double
           : point->value_case == PS__OTLP__NUMBER_DATA_POINT__VALUE_AS_INT  ? (double)point->as_int
                                                                             : NAN;
}

static void move_number(struct ps_otlp_taking *taking, struct ps_metric_handle *handle,
                        enum way way, struct ps_otlp_stream *stream, double value)
{
    struct ps_gauge *gauge = PS_CONTAINER_OF(handle, struct ps_gauge, handle);
    if (way == SET) {
        ps_gauge_set(gauge, value);
    } else if (way == MOVE) {
        ps_gauge_add(gauge, value);
    } else {
        double step = way == STEP ? ps_otlp_stream_step(stream, value) : value;
        ps_counter_add_double(PS_CONTAINER_OF(handle, struct ps_counter, handle),
                              taking->points->shard, step);
    }
}

static void take_number(struct ps_otlp_taking *taking, const Ps__Otlp__NumberDataPoint *point,
                        enum way way)
{
    struct ps_otlp_kind kind = {.type = way == ADD || way == STEP ? PS_METRIC_COUNTER
                                                                  : PS_METRIC_GAUGE};
    double value = number_of(point);
    bool none = ps_otlp_is_empty(point->flags);
    if (!none && (way == SET ? isnan(value) : !isfinite(value))) {
        none = way == SET && point->value_case != PS__OTLP__NUMBER_DATA_POINT__VALUE__NOT_SET;
        if (!none) {
            ps_otlp_reject(taking, 1, "the value is missing or not finite");
            return;
        }
    }
    if (!none && kind.type == PS_METRIC_COUNTER && value < 0) {
        ps_otlp_reject(taking, 1, "a monotonic sum does not fall");
        return;
    }
    struct ps_otlp_stream *stream;
    struct ps_metric_handle *handle = ps_otlp_place(taking, &kind, PS_OTLP_POINT(point), &stream);
    if (handle == NULL) {
        return;
    }
    if (!none) {
        move_number(taking, handle, way, stream, value);
    } else if (way == SET) {
        ps_gauge_set(PS_CONTAINER_OF(handle, struct ps_gauge, handle), NAN);
    }
    ps_otlp_accept(taking, handle, point->exemplars, none ? 0 : point->n_exemplars);
}

static void take_sum(struct ps_otlp_taking *taking, const Ps__Otlp__Sum *sum)
{
    bool total = ps_otlp_is_cumulative(sum->aggregation_temporality);
    enum way way = sum->is_monotonic ? (total ? STEP : ADD) : (total ? SET : MOVE);
    if (!ps_otlp_check_temporality(taking, sum->aggregation_temporality, sum->n_data_points)) {
        return;
    }
    for (size_t i = 0; i < sum->n_data_points; i++) {
        take_number(taking, sum->data_points[i], way);
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

static void take_metric(struct ps_otlp_taking *taking)
{
    const Ps__Otlp__Metric *metric = taking->metric;
    if (ps_otlp_begin_metric(taking) != PS_OK) {
        ps_otlp_reject(taking, points_of(metric), "its names are longer than 64 KiB");
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
        ps_otlp_take_histogram(taking, metric->histogram);
        break;
    case PS__OTLP__METRIC__DATA_EXPONENTIAL_HISTOGRAM:
        ps_otlp_take_exponential(taking, metric->exponential_histogram);
        break;
    case PS__OTLP__METRIC__DATA_SUMMARY:
        ps_otlp_reject(taking, points_of(metric), "summaries are not taken: send a histogram");
        break;
    default:
        break;
    }
}

static void take_all(struct ps_otlp_taking *taking,
                     const Ps__Otlp__ExportMetricsServiceRequest *request)
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

static void answer(const struct ps_otlp_taking *taking, bool json, struct ps_buf *reply)
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
    struct ps_otlp_taking taking = {.points = &otlp->points, .now = now};
    unsigned shard = otlp->points.shard;
    char reason[256];
    int err = decode(body, &request, reason, sizeof reason);
    if (err != PS_OK) {
        ps_counter_add(otlp->failed, shard, 1);
        ps_otlp_refuse(body, err, reason, reply);
        return err;
    }
    take_all(&taking, request.message);
    ps_otlp_request_fini(&request);
    ps_counter_add(otlp->accepted, shard, taking.accepted);
    ps_counter_add(otlp->rejected, shard, taking.rejected);
    ps_counter_add(otlp->left_out, shard, taking.left_out);
    ps_gauge_set(otlp->known, (double)ps_otlp_streams_count(otlp->points.streams));
    answer(&taking, body->json, reply);
    return PS_OK;
}
