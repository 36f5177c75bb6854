#include "gateway/answer.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/writer.h"
#include "http/h1_field.h"
#include "http/h1_write.h"
#include "http/server.h"

enum { BODY_LIMIT = 8 * 1024, HEADERS_LIMIT = 16 * 1024 };

static const char *type_of(int status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 429:
        return "rate_limit_error";
    default:
        return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

/* A JSON string or null. */
static void put_text(struct ps_writer *out, const char *text)
{
    if (text == NULL) {
        ps_writer_text(out, "null");
    } else {
        ps_writer_string(out, ps_str_from(text));
    }
}

static void openai_body(struct ps_writer *out, const struct ps_answer *answer, struct ps_str message)
{
    ps_writer_text(out, "{\"error\":{\"message\":");
    ps_writer_string(out, message);
    ps_writer_text(out, ",\"type\":");
    put_text(out, answer->type != NULL ? answer->type : type_of(answer->status));
    ps_writer_text(out, ",\"param\":null,\"code\":");
    put_text(out, answer->code);
    ps_writer_text(out, "}}\n");
}

static void anthropic_body(struct ps_writer *out, const struct ps_answer *answer, struct ps_str message)
{
    ps_writer_text(out, "{\"type\":\"error\",\"error\":{\"type\":");
    put_text(out, answer->type != NULL ? answer->type : type_of(answer->status));
    ps_writer_text(out, ",\"message\":");
    ps_writer_string(out, message);
    ps_writer_text(out, "}}\n");
}

static void text_body(struct ps_writer *out, const struct ps_answer *answer, struct ps_str message)
{
    ps_writer_text(out, "{\"error\":");
    ps_writer_string(out, message);
    ps_writer_text(out, ",\"error_type\":");
    put_text(out, answer->code != NULL ? answer->code : type_of(answer->status));
    ps_writer_text(out, "}\n");
}

static void problem_body(struct ps_writer *out, const struct ps_answer *answer, struct ps_str message)
{
    ps_writer_printf(out, "{\"type\":\"about:blank\",\"title\":\"%.*s\",\"status\":%d,\"detail\":",
                     PS_STR_ARG(ps_h1_reason(answer->status)), answer->status);
    ps_writer_string(out, message);
    ps_writer_text(out, ",\"code\":");
    put_text(out, answer->code);
    ps_writer_text(out, "}\n");
}

static int error_body(struct ps_buf *body, const struct ps_answer *answer, struct ps_str message)
{
    struct ps_writer out = {body, PS_OK};
    switch (answer->shape) {
    case PS_ERROR_OPENAI:
        openai_body(&out, answer, message);
        break;
    case PS_ERROR_ANTHROPIC:
        anthropic_body(&out, answer, message);
        break;
    case PS_ERROR_TEXT:
        text_body(&out, answer, message);
        break;
    case PS_ERROR_PROBLEM:
        problem_body(&out, answer, message);
        break;
    }
    return out.err;
}

static int all_headers(struct ps_buf *out, const struct ps_answer *answer)
{
    int err = ps_buf_append_str(out, answer->headers);
    if (err == PS_OK && answer->retry_after > 0) {
        uint64_t seconds = (uint64_t)((answer->retry_after + PS_SECOND - 1) / PS_SECOND);
        err = ps_h1_write_header_u64(out, PS_STR("Retry-After"), seconds);
    }
    return err;
}

void ps_answer_error(struct ps_exchange *exchange, const struct ps_answer *answer, struct ps_str message)
{
    struct ps_buf body = ps_buf_make(BODY_LIMIT);
    struct ps_buf headers = ps_buf_make(HEADERS_LIMIT);
    int err = all_headers(&headers, answer);
    if (err == PS_OK) {
        err = error_body(&body, answer, message);
    }
    if (err == PS_OK) {
        struct ps_str type = answer->shape == PS_ERROR_PROBLEM ? PS_STR("application/problem+json")
                                                                 : PS_STR("application/json");
        ps_exchange_respond(exchange, answer->status, ps_buf_str(&headers), type, ps_buf_str(&body));
    } else {
        ps_exchange_reset(exchange);
    }
    ps_buf_fini(&body);
    ps_buf_fini(&headers);
}

void ps_answer_errorf(struct ps_exchange *exchange, const struct ps_answer *answer, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t used = len < 0 ? 0 : (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
    ps_answer_error(exchange, answer, (struct ps_str){text, used});
}
