#include "export/prometheus.h"

#include <stdbool.h>

#include "export/prometheus_protobuf.h"
#include "export/prometheus_text.h"

int ps_prometheus_write(struct ps_metrics *metrics, enum ps_prometheus_format format,
                        struct ps_buf *out)
{
    size_t before = out->len;
    int err = format == PS_PROMETHEUS_PROTOBUF
                  ? ps_prometheus_write_protobuf(metrics, out)
                  : ps_prometheus_write_text(metrics, format == PS_PROMETHEUS_OPENMETRICS, out);
    if (err != PS_OK) {
        out->len = before;
    }
    return err;
}

/* ---- negotiation */

struct wish {
    bool text, open, proto; /* which of ours it names */
    bool family, delimited; /* protobuf comes in several kinds: both must be said */
    double q;
};

static struct ps_str unquote(struct ps_str value)
{
    bool quoted = value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"';
    return quoted ? (struct ps_str){value.ptr + 1, value.len - 2} : value;
}

/* One parameter: a version that we don't write or a q narrows the wish. */
static void apply_parameter(struct wish *wish, struct ps_str parameter)
{
    struct ps_str value = parameter;
    struct ps_str name;
    (void)ps_str_split(&value, '=', &name);
    name = ps_str_trim(name);
    value = unquote(ps_str_trim(value));
    if (ps_str_ieq(name, PS_STR("version"))) {
        wish->text = wish->text && ps_str_eq(value, PS_STR("0.0.4"));
        wish->open = wish->open && ps_str_eq(value, PS_STR("1.0.0"));
    } else if (ps_str_ieq(name, PS_STR("proto"))) {
        wish->family = ps_str_eq(value, PS_STR("io.prometheus.client.MetricFamily"));
    } else if (ps_str_ieq(name, PS_STR("encoding"))) {
        wish->delimited = ps_str_ieq(value, PS_STR("delimited"));
    } else if (ps_str_ieq(name, PS_STR("q"))) {
        double q = 0;
        bool sound = ps_str_to_double(value, &q) == PS_OK && q > 0 && q <= 1;
        wish->q = sound ? q : 0;
    }
}

/* One member of the header. Wildcards mean the format that every scraper knows. */
static struct wish read_wish(struct ps_str member)
{
    struct ps_str part;
    (void)ps_str_split(&member, ';', &part);
    part = ps_str_trim(part);
    struct wish wish = {
        .text = ps_str_ieq(part, PS_STR("text/plain")) || ps_str_eq(part, PS_STR("text/*")) ||
                ps_str_eq(part, PS_STR("*/*")),
        .open = ps_str_ieq(part, PS_STR("application/openmetrics-text")),
        .proto = ps_str_ieq(part, PS_STR("application/vnd.google.protobuf")),
        .q = 1,
    };
    while (ps_str_split(&member, ';', &part)) {
        apply_parameter(&wish, part);
    }
    wish.proto = wish.proto && wish.family && wish.delimited;
    return wish;
}

static void keep_best(bool named, double q, double *best)
{
    *best = named && q > *best ? q : *best;
}

enum ps_prometheus_format ps_prometheus_negotiate(struct ps_str accept)
{
    double text = 0;
    double open = 0;
    double proto = 0;
    struct ps_str member;
    while (ps_str_next_member(&accept, &member)) {
        struct wish wish = read_wish(member);
        keep_best(wish.text, wish.q, &text);
        keep_best(wish.open, wish.q, &open);
        keep_best(wish.proto, wish.q, &proto);
    }
    if (proto > 0 && proto >= open && proto >= text) {
        return PS_PROMETHEUS_PROTOBUF;
    }
    return open > 0 && open >= text ? PS_PROMETHEUS_OPENMETRICS : PS_PROMETHEUS_TEXT;
}

const char *ps_prometheus_content_type(enum ps_prometheus_format format)
{
    static const char *const types[] = {
        [PS_PROMETHEUS_TEXT] = "text/plain; version=0.0.4; charset=utf-8",
        [PS_PROMETHEUS_OPENMETRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
        [PS_PROMETHEUS_PROTOBUF] = "application/vnd.google.protobuf; "
                                   "proto=io.prometheus.client.MetricFamily; encoding=delimited",
    };
    return types[format];
}
