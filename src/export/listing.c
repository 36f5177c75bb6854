#include "export/listing.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>

#include "base/writer.h"

struct page {
    struct ps_writer out;
    bool family; /* one is open */
    bool series; /* it has some */
};

/* ---- pieces */

static void put_number(struct ps_writer *out, double value)
{
    if (isnan(value)) {
        ps_writer_text(out, "null");
    } else if (isinf(value)) {
        ps_writer_text(out, value > 0 ? "\"+Inf\"" : "\"-Inf\"");
    } else {
        ps_writer_printf(out, "%.17g", value);
    }
}

/* ---- families */

static void end_family(struct page *page)
{
    ps_writer_text(&page->out, page->family ? "]}" : "");
    page->family = false;
}

static int on_family(void *context, const struct ps_metric_family *family)
{
    struct page *page = context;
    struct ps_writer *out = &page->out;
    ps_writer_text(out, page->family ? "]},{\"name\":" : "{\"name\":");
    ps_writer_string(out, ps_str_from(family->name));
    ps_writer_text(out, ",\"type\":");
    ps_writer_string(out, ps_str_from(ps_metric_type_name(family->type)));
    ps_writer_text(out, ",\"help\":");
    ps_writer_string(out, ps_str_from(family->help));
    if (family->unit != NULL && family->unit[0] != '\0') {
        ps_writer_text(out, ",\"unit\":");
        ps_writer_string(out, ps_str_from(family->unit));
    }
    ps_writer_text(out, ",\"labels\":[");
    for (size_t i = 0; i < PS_METRIC_LABELS_MAX && family->labels[i] != NULL; i++) {
        ps_writer_text(out, i == 0 ? "" : ",");
        ps_writer_string(out, ps_str_from(family->labels[i]));
    }
    ps_writer_text(out, "],\"series\":[");
    page->family = true;
    page->series = false;
    return out->err;
}

/* ---- series */

static void put_labels(struct ps_writer *out, const struct ps_metric_sample *sample)
{
    bool some = false;
    ps_writer_text(out, "{\"labels\":{");
    for (size_t i = 0; i < PS_METRIC_LABELS_MAX && sample->family->labels[i] != NULL; i++) {
        if (sample->labels[i].len > 0) {
            ps_writer_text(out, some ? "," : "");
            ps_writer_string(out, ps_str_from(sample->family->labels[i]));
            ps_writer_text(out, ":");
            ps_writer_string(out, sample->labels[i]);
            some = true;
        }
    }
    ps_writer_text(out, "},");
}

static void put_side(struct ps_writer *out, const char *name,
                     const struct ps_exponential_side *side)
{
    ps_writer_text(out, name);
    ps_writer_printf(out, "%" PRId32, side->low);
    ps_writer_text(out, ",\"counts\":[");
    for (uint32_t i = 0; i < side->count; i++) {
        ps_writer_text(out, i == 0 ? "" : ",");
        ps_writer_u64(out, side->buckets[i]);
    }
    ps_writer_text(out, "]}");
}

static void put_exponential(struct ps_writer *out, const struct ps_exponential *exponential)
{
    ps_writer_text(out, ",\"exponential\":{\"scale\":");
    ps_writer_printf(out, "%" PRId32, exponential->scale);
    ps_writer_text(out, ",\"zeros\":");
    ps_writer_u64(out, exponential->zeros);
    put_side(out, ",\"above\":{\"low\":", &exponential->sides[0]);
    put_side(out, ",\"below\":{\"low\":", &exponential->sides[1]);
    ps_writer_text(out, "}");
}

static void put_histogram(struct ps_writer *out, const struct ps_metric_sample *sample)
{
    size_t count;
    const double *bounds = ps_metric_bounds(sample->family, &count);
    ps_writer_text(out, "\"count\":");
    ps_writer_u64(out, sample->count);
    ps_writer_text(out, ",\"sum\":");
    put_number(out, sample->sum);
    ps_writer_text(out, ",\"buckets\":[");
    for (size_t i = 0; i <= count; i++) {
        ps_writer_text(out, i == 0 ? "{" : ",{");
        if (i < count) {
            ps_writer_text(out, "\"le\":");
            put_number(out, bounds[i]);
            ps_writer_text(out, ",");
        }
        ps_writer_text(out, "\"count\":");
        ps_writer_u64(out, sample->buckets[i]);
        ps_writer_text(out, "}");
    }
    ps_writer_text(out, "]");
    if (sample->exponential != NULL) {
        put_exponential(out, sample->exponential);
    }
}

static void put_states(struct ps_writer *out, const struct ps_metric_sample *sample)
{
    const char *const *states = sample->family->states;
    ps_writer_text(out, "\"states\":{");
    for (size_t i = 0; states[i] != NULL; i++) {
        ps_writer_text(out, i == 0 ? "" : ",");
        ps_writer_string(out, ps_str_from(states[i]));
        ps_writer_text(out, sample->states >> i & 1 ? ":true" : ":false");
    }
    ps_writer_text(out, "}");
}

static int on_sample(void *context, const struct ps_metric_sample *sample)
{
    struct page *page = context;
    struct ps_writer *out = &page->out;
    ps_writer_text(out, page->series ? "," : "");
    page->series = true;
    put_labels(out, sample);
    if (sample->buckets != NULL) {
        put_histogram(out, sample);
    } else if (sample->family->type == PS_METRIC_STATESET) {
        put_states(out, sample);
    } else {
        ps_writer_text(out, "\"value\":");
        put_number(out, sample->value);
    }
    ps_writer_text(out, "}");
    return out->err;
}

int ps_listing_write(struct ps_metrics *metrics, struct ps_buf *out)
{
    struct page page = {.out = {out, PS_OK}};
    struct ps_metric_visitor visitor = {on_family, on_sample, &page, true};
    size_t before = out->len;
    ps_writer_text(&page.out, "{\"metrics\":[");
    int err = page.out.err != PS_OK ? page.out.err : ps_metrics_collect(metrics, &visitor);
    if (err == PS_OK) {
        end_family(&page);
        ps_writer_text(&page.out, "]}\n");
        err = page.out.err;
    }
    if (err != PS_OK) {
        out->len = before;
    }
    return err;
}
