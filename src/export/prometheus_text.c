#include "export/prometheus_text.h"

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
    struct ps_buf state;  /* the present one, escaped */
    bool open;            /* OpenMetrics */
    struct ps_str stem;   /* sample name without the suffix that the format adds */
    struct ps_str suffix; /* of the family's samples, but for those of histograms */
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

/* Most values are whole numbers, and printf takes longer than all the rest of a line. */
static void write_integer(int64_t value, char out[NUMBER_MAX])
{
    char digits[NUMBER_MAX];
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    digits[--at] = '\0';
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0) {
        digits[--at] = '-';
    }
    memcpy(out, digits + at, sizeof digits - at);
}

/* A sample's value. Both formats read all of these. */
static void write_number(double value, char out[NUMBER_MAX])
{
    if (isinf(value)) {
        snprintf(out, NUMBER_MAX, "%s", value > 0 ? "+Inf" : "-Inf");
    } else if (isnan(value)) {
        snprintf(out, NUMBER_MAX, "NaN");
    } else if (value == floor(value) && fabs(value) < 0x1p53) {
        write_integer((int64_t)value, out);
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

/* A line up to its value: stem, suffix, labels, one more label when it has a name, value. */
static void put_line(struct page *page, struct ps_str suffix, struct ps_str name,
                     struct ps_str more, const char *value)
{
    put(page, page->stem);
    put(page, suffix);
    if (page->labels.len > 0 || name.len > 0) {
        put(page, PS_STR("{"));
        put(page, ps_buf_str(&page->labels));
        if (name.len > 0) {
            put(page, page->labels.len > 0 ? PS_STR(",") : PS_STR(""));
            put(page, name);
            put(page, PS_STR("=\""));
            put(page, more);
            put(page, PS_STR("\""));
        }
        put(page, PS_STR("}"));
    }
    put(page, PS_STR(" "));
    put_text(page, value);
}

static void put_sample(struct page *page, struct ps_str suffix, const char *value)
{
    put_line(page, suffix, PS_STR(""), PS_STR(""), value);
    put(page, PS_STR("\n"));
}

/* Seconds since 1970, to the millisecond. */
static void write_instant(ps_time wall, char out[NUMBER_MAX])
{
    snprintf(out, NUMBER_MAX, "%.3f", ps_span_seconds(wall));
}

static void put_hex(struct page *page, const unsigned char *bytes, size_t count)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < count; i++) {
        char pair[2] = {hex[bytes[i] >> 4], hex[bytes[i] & 15]};
        put(page, (struct ps_str){pair, sizeof pair});
    }
}

/* " # {trace_id="...",span_id="..."} value instant": OpenMetrics' alone. */
static void put_exemplar(struct page *page, const struct ps_exemplar *exemplar)
{
    char number[NUMBER_MAX];
    if (!page->open || exemplar == NULL || ps_exemplar_is_none(exemplar)) {
        return;
    }
    put(page, PS_STR(" # {trace_id=\""));
    put_hex(page, exemplar->trace_id, sizeof exemplar->trace_id);
    if (ps_exemplar_has_span(exemplar)) {
        put(page, PS_STR("\",span_id=\""));
        put_hex(page, exemplar->span_id, sizeof exemplar->span_id);
    }
    put(page, PS_STR("\"} "));
    write_number(exemplar->value, number);
    put_text(page, number);
    put(page, PS_STR(" "));
    write_instant(exemplar->wall, number);
    put_text(page, number);
}

/* ---- families */

/* Text 0.0.4 has no word for what OpenMetrics calls info and stateset. */
static const char *type_word(enum ps_metric_type type, bool open)
{
    switch (type) {
    case PS_METRIC_COUNTER:
        return "counter";
    case PS_METRIC_HISTOGRAM:
    case PS_METRIC_EXPONENTIAL:
        return "histogram";
    case PS_METRIC_INFO:
        return open ? "info" : "gauge";
    case PS_METRIC_STATESET:
        return open ? "stateset" : "gauge";
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
    put_text(page, type_word(family->type, page->open));
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
    if (family->native) {
        return PS_OK;
    }
    page->stem = ps_str_from(family->name);
    size_t count;
    const double *bounds = ps_metric_bounds(family, &count);
    for (size_t i = 0; i < count; i++) {
        write_bound(bounds[i], page->open, page->bounds[i]);
    }
    memcpy(page->bounds[count], "+Inf", sizeof "+Inf");
    page->suffix = PS_STR("");
    if (!page->open) {
        put_help(page, family);
        put_type(page, family);
        return page->err;
    }
    if (family->type == PS_METRIC_COUNTER || family->type == PS_METRIC_INFO) {
        page->suffix = family->type == PS_METRIC_COUNTER ? PS_STR("_total") : PS_STR("_info");
        page->stem.len -= page->suffix.len;
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
static bool shows_sum(const struct page *page, const struct ps_metric_sample *sample)
{
    bool negative = sample->exponential != NULL ? sample->exponential->sides[1].count > 0
                                                : sample->family->bounds[0] < 0;
    return !page->open || !negative;
}

static void put_histogram(struct page *page, const struct ps_metric_sample *sample)
{
    char number[NUMBER_MAX];
    uint64_t below = 0;
    size_t count;
    (void)ps_metric_bounds(sample->family, &count);
    for (size_t i = 0; i <= count; i++) {
        below += sample->buckets[i];
        write_integer((int64_t)below, number);
        put_line(page, PS_STR("_bucket"), PS_STR("le"), ps_str_from(page->bounds[i]), number);
        put_exemplar(page, sample->exemplars == NULL ? NULL : &sample->exemplars[i]);
        put(page, PS_STR("\n"));
    }
    if (shows_sum(page, sample)) {
        write_number(sample->sum, number);
        put_sample(page, PS_STR("_sum"), number);
    }
    write_integer((int64_t)sample->count, number);
    put_sample(page, PS_STR("_count"), number);
}

/* A line for each state, which is the value of a label that is called like the family. */
static void put_states(struct page *page, const struct ps_metric_sample *sample)
{
    const char *const *states = sample->family->states;
    for (size_t i = 0; states[i] != NULL && page->err == PS_OK; i++) {
        ps_buf_clear(&page->state);
        page->err = escape(&page->state, ps_str_from(states[i]), "\\\"");
        put_line(page, PS_STR(""), ps_str_from(sample->family->name), ps_buf_str(&page->state),
                 sample->states >> i & 1 ? "1" : "0");
        put(page, PS_STR("\n"));
    }
}

static void put_value(struct page *page, const struct ps_metric_sample *sample)
{
    char number[NUMBER_MAX];
    write_number(sample->value, number);
    put_line(page, page->suffix, PS_STR(""), PS_STR(""), number);
    put_exemplar(page, sample->exemplars);
    put(page, PS_STR("\n"));
}

/* Since when a counter or a histogram counts: OpenMetrics' alone. */
static void put_created(struct page *page, const struct ps_metric_sample *sample)
{
    char number[NUMBER_MAX];
    if (page->open && sample->created > 0 &&
        (sample->buckets != NULL || sample->family->type == PS_METRIC_COUNTER)) {
        write_instant(sample->created, number);
        put_sample(page, PS_STR("_created"), number);
    }
}

static int on_sample(void *context, const struct ps_metric_sample *sample)
{
    struct page *page = context;
    if (sample->family->native) {
        return PS_OK;
    }
    page->err = render_labels(&page->labels, sample);
    if (sample->buckets != NULL) {
        put_histogram(page, sample);
    } else if (sample->family->type == PS_METRIC_STATESET) {
        put_states(page, sample);
    } else {
        put_value(page, sample);
    }
    put_created(page, sample);
    return page->err;
}

int ps_prometheus_write_text(struct ps_metrics *metrics, bool open, struct ps_buf *out)
{
    struct page page = {
        .out = out,
        .labels = ps_buf_make(LABELS_MAX),
        .state = ps_buf_make(LABELS_MAX),
        .open = open,
    };
    struct ps_metric_visitor visitor = {on_family, on_sample, &page, false};
    int err = ps_metrics_collect(metrics, &visitor);
    if (err == PS_OK && page.open) {
        err = ps_buf_append_str(out, PS_STR("# EOF\n"));
    }
    ps_buf_fini(&page.labels);
    ps_buf_fini(&page.state);
    return err;
}
