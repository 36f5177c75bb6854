#include "export/prometheus.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NUMBER_MAX = 32,    /* bytes of one number as text */
    LABELS_MAX = 32768, /* bytes of one rendered label set; values grow when escaped */
};

struct page {
    struct ps_buf *out;
    struct ps_buf labels; /* of the present sample, without braces */
    bool open;            /* OpenMetrics */
    struct ps_str stem;   /* sample name without the suffix that the format adds */
    char bounds[PS_METRIC_BOUNDS_MAX + 1][NUMBER_MAX]; /* le values of the present family */
    int err; /* the first failure; nothing is written after it */
};

/* ---- numbers */

/* The fewest digits that read back as the same number: "d.ddde[+-]xx". Returns their count. */
static int shortest(double value, char out[NUMBER_MAX])
{
    int digits = 1;
    do {
        snprintf(out, NUMBER_MAX, "%.*e", digits - 1, value);
    } while (strtod(out, NULL) != value && ++digits <= 17);
    return digits;
}

/* Shortest where that is cheap: 17 digits for what 15 do not tell. */
static void write_fraction(double value, char out[NUMBER_MAX])
{
    snprintf(out, NUMBER_MAX, "%.15g", value);
    if (strtod(out, NULL) != value) {
        snprintf(out, NUMBER_MAX, "%.17g", value);
    }
}

/* A sample's value. Both formats read all of these. */
static void write_number(double value, char out[NUMBER_MAX])
{
    if (isinf(value)) {
        snprintf(out, NUMBER_MAX, "%s", value > 0 ? "+Inf" : "-Inf");
    } else if (isnan(value)) {
        snprintf(out, NUMBER_MAX, "NaN");
    } else if (value == floor(value) && fabs(value) < 0x1p53) {
        snprintf(out, NUMBER_MAX, "%" PRId64, (int64_t)value);
    } else {
        write_fraction(value, out);
    }
}

/* A bound as a label value. OpenMetrics has one spelling for each number (1.0, 100000.0, 1e+06),
 * so that a series keeps its identity whoever writes it; text 0.0.4 drops the ".0". */
static void write_bound(double value, bool open, char out[NUMBER_MAX])
{
    char text[NUMBER_MAX];
    int digits = shortest(value, text);
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent < -4 || exponent >= 6) {
        memcpy(out, text, NUMBER_MAX);
        return;
    }
    int decimals = digits - 1 - exponent;
    snprintf(out, NUMBER_MAX, "%.*f", decimals > 0 ? decimals : open ? 1 : 0, value);
}

/* ---- pieces */

static void put(struct page *page, struct ps_str text)
{
    if (page->err == PS_OK) {
        page->err = ps_buf_append_str(page->out, text);
    }
}

static void put_text(struct page *page, const char *text)
{
    put(page, ps_str_from(text));
}

/* Appends text with a backslash before each byte of `special`, and line feeds as \n. */
static int escape(struct ps_buf *out, struct ps_str text, const char *special)
{
    int err = PS_OK;
    size_t from = 0;
    for (size_t i = 0; i < text.len && err == PS_OK; i++) {
        char c = text.ptr[i];
        if (c != '\n' && (c == '\0' || strchr(special, c) == NULL)) {
            continue;
        }
        char pair[2] = {'\\', c == '\n' ? 'n' : c};
        err = ps_buf_append(out, text.ptr + from, i - from);
        if (err == PS_OK) {
            err = ps_buf_append(out, pair, sizeof(pair));
        }
        from = i + 1;
    }
    return err == PS_OK ? ps_buf_append(out, text.ptr + from, text.len - from) : err;
}

/* Renders name="value" pairs; an empty value is the same as no label. */
static int render_labels(struct ps_buf *out, const struct ps_metric_sample *sample)
{
    int err = PS_OK;
    ps_buf_clear(out);
    for (size_t i = 0; i < PS_METRIC_LABELS_MAX && sample->family->labels[i] != NULL; i++) {
        if (sample->labels[i].len == 0) {
            continue;
        }
        err = err != PS_OK ? err : ps_buf_append_str(out, out->len > 0 ? PS_STR(",") : PS_STR(""));
        err = err != PS_OK ? err : ps_buf_append_str(out, ps_str_from(sample->family->labels[i]));
        err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR("=\""));
        err = err != PS_OK ? err : escape(out, sample->labels[i], "\\\"");
        err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\""));
    }
    return err;
}

/* One line: stem, suffix, labels, a bound when there is one, value. */
static void put_sample(struct page *page, struct ps_str suffix, const char *bound,
                       const char *value)
{
    put(page, page->stem);
    put(page, suffix);
    if (page->labels.len > 0 || bound != NULL) {
        put(page, PS_STR("{"));
        put(page, ps_buf_str(&page->labels));
        if (bound != NULL) {
            put(page, page->labels.len > 0 ? PS_STR(",le=\"") : PS_STR("le=\""));
            put_text(page, bound);
            put(page, PS_STR("\""));
        }
        put(page, PS_STR("}"));
    }
    put(page, PS_STR(" "));
    put_text(page, value);
    put(page, PS_STR("\n"));
}

/* ---- families */

static const char *type_word(enum ps_metric_type type)
{
    switch (type) {
    case PS_METRIC_COUNTER:
        return "counter";
    case PS_METRIC_HISTOGRAM:
        return "histogram";
    case PS_METRIC_GAUGE:
    case PS_METRIC_UPDOWN:
        break;
    }
    return "gauge";
}

/* "# KEYWORD name rest\n" but for the rest. */
static void put_comment(struct page *page, struct ps_str keyword)
{
    put(page, PS_STR("# "));
    put(page, keyword);
    put(page, PS_STR(" "));
    put(page, page->stem);
    put(page, PS_STR(" "));
}

static void put_type(struct page *page, const struct ps_metric_family *family)
{
    put_comment(page, PS_STR("TYPE"));
    put_text(page, type_word(family->type));
    put(page, PS_STR("\n"));
}

static void put_help(struct page *page, const struct ps_metric_family *family)
{
    put_comment(page, PS_STR("HELP"));
    if (page->err == PS_OK) {
        page->err = escape(page->out, ps_str_from(family->help), page->open ? "\\\"" : "\\");
    }
    put(page, PS_STR("\n"));
}

static int on_family(void *context, const struct ps_metric_family *family)
{
    struct page *page = context;
    page->stem = ps_str_from(family->name);
    for (size_t i = 0; i < family->bounds_count; i++) {
        write_bound(family->bounds[i], page->open, page->bounds[i]);
    }
    if (!page->open) {
        put_help(page, family);
        put_type(page, family);
        return page->err;
    }
    if (family->type == PS_METRIC_COUNTER) {
        page->stem.len -= PS_STR("_total").len;
    }
    put_type(page, family);
    if (family->unit != NULL && family->unit[0] != '\0') {
        put_comment(page, PS_STR("UNIT"));
        put_text(page, family->unit);
        put(page, PS_STR("\n"));
    }
    put_help(page, family);
    return page->err;
}

/* ---- samples */

/* OpenMetrics forbids the sum of a histogram whose values may be negative. */
static void put_histogram(struct page *page, const struct ps_metric_sample *sample)
{
    const struct ps_metric_family *family = sample->family;
    char number[NUMBER_MAX];
    uint64_t below = 0;
    for (size_t i = 0; i <= family->bounds_count; i++) {
        below += sample->buckets[i];
        write_number((double)below, number);
        put_sample(page, PS_STR("_bucket"), i < family->bounds_count ? page->bounds[i] : "+Inf",
                   number);
    }
    if (!page->open || family->bounds[0] >= 0) {
        write_number(sample->sum, number);
        put_sample(page, PS_STR("_sum"), NULL, number);
    }
    write_number((double)sample->count, number);
    put_sample(page, PS_STR("_count"), NULL, number);
}

static int on_sample(void *context, const struct ps_metric_sample *sample)
{
    struct page *page = context;
    char number[NUMBER_MAX];
    page->err = render_labels(&page->labels, sample);
    if (sample->family->type == PS_METRIC_HISTOGRAM) {
        put_histogram(page, sample);
        return page->err;
    }
    bool total = page->open && sample->family->type == PS_METRIC_COUNTER;
    write_number(sample->value, number);
    put_sample(page, total ? PS_STR("_total") : PS_STR(""), NULL, number);
    return page->err;
}

int ps_prometheus_write(struct ps_metrics *metrics, enum ps_prometheus_format format,
                        struct ps_buf *out)
{
    struct page page = {
        .out = out,
        .labels = ps_buf_make(LABELS_MAX),
        .open = format == PS_PROMETHEUS_OPENMETRICS,
    };
    struct ps_metric_visitor visitor = {on_family, on_sample, &page};
    size_t before = out->len;
    int err = ps_metrics_collect(metrics, &visitor);
    if (err == PS_OK && page.open) {
        err = ps_buf_append_str(out, PS_STR("# EOF\n"));
    }
    if (err != PS_OK) {
        out->len = before;
    }
    ps_buf_fini(&page.labels);
    return err;
}

/* ---- negotiation */

struct wish {
    bool text, open; /* which of ours it names */
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
        .q = 1,
    };
    while (ps_str_split(&member, ';', &part)) {
        apply_parameter(&wish, part);
    }
    return wish;
}

enum ps_prometheus_format ps_prometheus_negotiate(struct ps_str accept)
{
    double text = 0;
    double open = 0;
    struct ps_str member;
    while (ps_str_next_member(&accept, &member)) {
        struct wish wish = read_wish(member);
        text = wish.text && wish.q > text ? wish.q : text;
        open = wish.open && wish.q > open ? wish.q : open;
    }
    return open > 0 && open >= text ? PS_PROMETHEUS_OPENMETRICS : PS_PROMETHEUS_TEXT;
}

const char *ps_prometheus_content_type(enum ps_prometheus_format format)
{
    return format == PS_PROMETHEUS_OPENMETRICS
               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
               : "text/plain; version=0.0.4; charset=utf-8";
}
