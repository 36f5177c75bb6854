#include "daemon/numbers.h"

#include <stdbool.h>

#include "base/check.h"
#include "base/clock.h"
#include "daemon/ask.h"
#include "export/intake.h"
#include "export/listing.h"
#include "export/otlp_metrics.h"
#include "export/prometheus.h"

void ps_numbers_page(void *context, struct ps_ask *ask)
{
    const struct ps_numbers *numbers = context;
    enum ps_prometheus_format format = ps_prometheus_negotiate(ask->accept);
    ps_ask_type(ask, 200, ps_prometheus_content_type(format));
    if (ps_prometheus_write(numbers->metrics, format, &ask->reply) != PS_OK) {
        ps_ask_problem(ask, 503, "too_large", "the page does not fit");
    }
}

void ps_numbers_listing(void *context, struct ps_ask *ask)
{
    const struct ps_numbers *numbers = context;
    ps_ask_type(ask, 200, "application/json");
    if (ps_listing_write(numbers->metrics, &ask->reply) != PS_OK) {
        ps_ask_problem(ask, 503, "too_large", "the listing does not fit");
    }
}

void ps_numbers_intake(void *context, struct ps_ask *ask)
{
    const struct ps_numbers *numbers = context;
    char reason[640];
    size_t accepted;
    int err = ps_intake_json(numbers->custom, numbers->metrics, ps_buf_str(&ask->body),
                             ps_clock_wall(&ps_clock_real), &accepted, reason, sizeof reason);
    if (err == PS_EINVAL) {
        ps_ask_problem(ask, 400, "invalid_metric", reason);
    } else if (err == PS_EBUSY) {
        ps_ask_problem(ask, 409, "metric_differs", reason);
    } else if (err == PS_ELIMIT) {
        ps_ask_problem(ask, 422, "too_many_metrics", reason);
    } else if (err != PS_OK) {
        ps_ask_problem(ask, 503, "no_memory", "out of memory");
    } else {
        ps_ask_type(ask, 200, "application/json");
        PS_IGNORE(ps_buf_printf(&ask->reply, "{\"accepted\":%zu}\n", accepted));
    }
}

/* ---- OTLP: errors are in the encoding of the request, and 503 means: later */

static bool is_encoding(const struct ps_ask *ask, const char *name)
{
    return ps_str_ieq(ps_str_trim(ask->content_encoding), ps_str_from(name));
}

static int status_of(int err)
{
    return err == PS_OK ? 200 : err == PS_ELIMIT ? 413 : err == PS_ENOMEM ? 503 : 400;
}

void ps_numbers_otlp(void *context, struct ps_ask *ask)
{
    const struct ps_numbers *numbers = context;
    struct ps_otlp_body body = {
        .bytes = ps_buf_str(&ask->body),
        .json = ps_str_istarts_with(ask->content_type, PS_STR("application/json")),
        .gzip = is_encoding(ask, "gzip")};
    const char *type = body.json ? "application/json" : "application/x-protobuf";
    if (!body.gzip && !is_encoding(ask, "identity") && ask->content_encoding.len > 0) {
        ps_otlp_refuse(&body, PS_EINVAL, "the only Content-Encoding is gzip", &ask->reply);
        ps_ask_type(ask, 415, type);
        return;
    }
    int err = ps_otlp_take(numbers->otlp, &body, ps_clock_now(&ps_clock_real), &ask->reply);
    ps_ask_type(ask, status_of(err), type);
    if (err == PS_ENOMEM) {
        PS_IGNORE(ps_buf_append_str(&ask->headers, PS_STR("Retry-After: 1\r\n")));
    }
}
