#include "export/listing.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>

struct page {
    struct ps_buf *out;
    bool family; /* one is open */
    bool series; /* it has some */
    int err;     /* the first failure; nothing is written after it */
};

/* ---- pieces */

static void put(struct page *page, const char *text)
{
    if (page->err == PS_OK) {
        page->err = ps_buf_append_str(page->out, ps_str_from(text));
    }
}

static void put_string(struct page *page, struct ps_str text)
{
    put(page, "\"");
    if (page->err == PS_OK) {
        page->err = ps_buf_append_json(page->out, text);
    }
    put(page, "\"");
}

static void put_number(struct page *page, double value)
{
    if (page->err == PS_OK) {
        page->err = isnan(value)   ? ps_buf_append_str(page->out, PS_STR("null"))
                    : isinf(value) ? ps_buf_printf(page->out, "\"%cInf\"", value > 0 ? '+' : '-')
                                   : ps_buf_printf(page->out, "%.17g", value);
    }
}

static void put_count(struct page *page, uint64_t count)
{
    if (page->err == PS_OK) {
        page->err = ps_buf_append_u64(page->out, count);
    }
}

static void put_index(struct page *page, int32_t index)
{
    if (page->err == PS_OK) {
        page->err = ps_buf_printf(page->out, "%" PRId32, index);
    }
}

/* ---- families */

static void end_family(struct page *page)
{
    put(page, page->family ? "]}" : "");
    page->family = false;
}

static int on_family(void *context, const struct ps_metric_family *family)
{
    struct page *page = context;
    put(page, page->family ? "]},{\"name\":" : "{\"name\":");
    put_string(page, ps_str_from(family->name));
    put(page, ",\"type\":");
    put_string(page, ps_str_from(ps_metric_type_name(family->type)));
    put(page, ",\"help\":");
    put_string(page, ps_str_from(family->help));
    if (family->unit != NULL && family->unit[0] != '\0') {
        put(page, ",\"unit\":");
        put_string(page, ps_str_from(family->unit));
    }
    put(page, ",\"labels\":[");
    for (size_t i = 0; i < PS_METRIC_LABELS_MAX && family->labels[i] != NULL; i++) {
        put(page, i == 0 ? "" : ",");
        put_string(page, ps_str_from(family->labels[i]));
    }
    put(page, "],\"series\":[");
    page->family = true;
    page->series = false;
    return page->err;
}

/* ---- series */

static void put_labels(struct page *page, const struct ps_metric_sample *sample)
{
    bool some = false;
    put(page, "{\"labels\":{");
    for (size_t i = 0; i < PS_METRIC_LABELS_MAX && sample->family->labels[i] != NULL; i++) {
        if (sample->labels[i].len > 0) {
            put(page, some ? "," : "");
            put_string(page, ps_str_from(sample->family->labels[i]));
            put(page, ":");
            put_string(page, sample->labels[i]);
            some = true;
        }
    }
    put(page, "},");
}

static void put_side(struct page *page, const char *name, const struct ps_exponential_side *side)
{
    put(page, name);
    put_index(page, side->low);
    put(page, ",\"counts\":[");
    for (uint32_t i = 0; i < side->count; i++) {
        put(page, i == 0 ? "" : ",");
        put_count(page, side->buckets[i]);
    }
    put(page, "]}");
}

static void put_exponential(struct page *page, const struct ps_exponential *exponential)
{
    put(page, ",\"exponential\":{\"scale\":");
    put_index(page, exponential->scale);
    put(page, ",\"zeros\":");
    put_count(page, exponential->zeros);
    put_side(page, ",\"above\":{\"low\":", &exponential->sides[0]);
    put_side(page, ",\"below\":{\"low\":", &exponential->sides[1]);
    put(page, "}");
}

static void put_histogram(struct page *page, const struct ps_metric_sample *sample)
{
    size_t count;
    const double *bounds = ps_metric_bounds(sample->family, &count);
    put(page, "\"count\":");
    put_count(page, sample->count);
    put(page, ",\"sum\":");
    put_number(page, sample->sum);
    put(page, ",\"buckets\":[");
    for (size_t i = 0; i <= count; i++) {
        put(page, i == 0 ? "{" : ",{");
        if (i < count) {
            put(page, "\"le\":");
            put_number(page, bounds[i]);
            put(page, ",");
        }
        put(page, "\"count\":");
        put_count(page, sample->buckets[i]);
        put(page, "}");
    }
    put(page, "]");
    if (sample->exponential != NULL) {
        put_exponential(page, sample->exponential);
    }
}

static void put_states(struct page *page, const struct ps_metric_sample *sample)
{
    const char *const *states = sample->family->states;
    put(page, "\"states\":{");
    for (size_t i = 0; states[i] != NULL; i++) {
        put(page, i == 0 ? "" : ",");
        put_string(page, ps_str_from(states[i]));
        put(page, sample->states >> i & 1 ? ":true" : ":false");
    }
    put(page, "}");
}

static int on_sample(void *context, const struct ps_metric_sample *sample)
{
    struct page *page = context;
    put(page, page->series ? "," : "");
    page->series = true;
    put_labels(page, sample);
    if (sample->buckets != NULL) {
        put_histogram(page, sample);
    } else if (sample->family->type == PS_METRIC_STATESET) {
        put_states(page, sample);
    } else {
        put(page, "\"value\":");
        put_number(page, sample->value);
    }
    put(page, "}");
    return page->err;
}

int ps_listing_write(struct ps_metrics *metrics, struct ps_buf *out)
{
    struct page page = {.out = out};
    struct ps_metric_visitor visitor = {on_family, on_sample, &page, true};
    size_t before = out->len;
    put(&page, "{\"metrics\":[");
    int err = page.err != PS_OK ? page.err : ps_metrics_collect(metrics, &visitor);
    if (err == PS_OK) {
        end_family(&page);
        put(&page, "]}\n");
        err = page.err;
    }
    if (err != PS_OK) {
        out->len = before;
    }
    return err;
}
