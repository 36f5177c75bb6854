/* The manual of all metrics, printed from the tables that declare them. */
#include "observe/metric.h"

/* "traffic" of penstock_traffic_requests_total: the second word of the name. */
static struct ps_str module_of(const char *name)
{
    struct ps_str rest = ps_str_from(name);
    struct ps_str first;
    struct ps_str second;
    (void)ps_str_split(&rest, '_', &first);
    return ps_str_split(&rest, '_', &second) ? second : first;
}

static int write_labels(const struct ps_metric_family *family, struct ps_buf *out)
{
    int err = PS_OK;
    for (size_t i = 0; i < PS_METRIC_LABELS_MAX && family->labels[i] != NULL && err == PS_OK; i++) {
        err = ps_buf_printf(out, "%s`%s`", i == 0 ? "" : ", ", family->labels[i]);
    }
    return err;
}

static int write_bounds(const struct ps_metric_family *family, struct ps_buf *out)
{
    int err = PS_OK;
    for (size_t i = 0; i < family->bounds_count && err == PS_OK; i++) {
        err = ps_buf_printf(out, "%s%g", i == 0 ? "; bounds " : ", ", family->bounds[i]);
    }
    return err;
}

static int write_row(const struct ps_metric_family *family, struct ps_buf *out)
{
    int err = ps_buf_printf(out, "| `%s` | %s | ", family->name, ps_metric_type_name(family->type));
    if (err == PS_OK) {
        err = write_labels(family, out);
    }
    if (err == PS_OK) {
        err = ps_buf_printf(out, " | %s | %s", family->unit == NULL ? "" : family->unit,
                            family->help);
    }
    if (err == PS_OK) {
        err = write_bounds(family, out);
    }
    return err == PS_OK ? ps_buf_append_str(out, PS_STR(" |\n")) : err;
}

static int write_table(const struct ps_metric_family *table, struct ps_buf *out)
{
    int err = ps_buf_printf(out,
                            "\n## %.*s\n\n"
                            "| Metric | Type | Labels | Unit | What it says |\n"
                            "|---|---|---|---|---|\n",
                            PS_STR_ARG(module_of(table->name)));
    for (; table->name != NULL && err == PS_OK; table++) {
        err = write_row(table, out);
    }
    return err;
}

int ps_metric_manual(const struct ps_metric_family *const *tables, struct ps_buf *out)
{
    size_t before = out->len;
    int err = ps_buf_append_str(
        out,
        PS_STR("# Metrics\n\n"
               "Printed from the tables in the source. What `GET /metrics` shows, in Prometheus\n"
               "text 0.0.4, OpenMetrics 1.0 or protobuf as the Accept header asks.\n"));
    for (; *tables != NULL && err == PS_OK; tables++) {
        err = (*tables)->name == NULL ? PS_OK : write_table(*tables, out);
    }
    if (err != PS_OK) {
        out->len = before;
    }
    return err;
}
