#include "gateway/answer.h"

#include <stdarg.h>
#include <stdio.h>

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
static int append_text(struct ps_buf *out, const char *text)
{
    if (text == NULL) {
        return ps_buf_append_str(out, PS_STR("null"));
    }
    int err = ps_buf_append_str(out, PS_STR("\""));
    err = err != PS_OK ? err : ps_buf_append_json(out, ps_str_from(text));
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\""));
}

static int openai_body(struct ps_buf *out, const struct ps_answer *answer, struct ps_str message)
{
    int err = ps_buf_append_str(out, PS_STR("{\"error\":{\"message\":\""));
    err = err != PS_OK ? err : ps_buf_append_json(out, message);
    err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\",\"type\":"));
    err = err != PS_OK ? err : append_text(out, answer->type != NULL ? answer->type : type_of(answer->status));
    err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR(",\"param\":null,\"code\":"));
    err = err != PS_OK ? err : append_text(out, answer->code);
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("}}\n"));
}

static int anthropic_body(struct ps_buf *out, const struct ps_answer *answer, struct ps_str message)
{
    int err = ps_buf_append_str(out, PS_STR("{\"type\":\"error\",\"error\":{\"type\":"));
    err = err != PS_OK ? err : append_text(out, answer->type != NULL ? answer->type : type_of(answer->status));
    err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR(",\"message\":\""));
    err = err != PS_OK ? err : ps_buf_append_json(out, message);
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\"}}\n"));
}

static int text_body(struct ps_buf *out, const struct ps_answer *answer, struct ps_str message)
{
    int err = ps_buf_append_str(out, PS_STR("{\"error\":\""));
    err = err != PS_OK ? err : ps_buf_append_json(out, message);
    err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\",\"error_type\":"));
    err = err != PS_OK ? err : append_text(out, answer->code != NULL ? answer->code : type_of(answer->status));
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("}\n"));
}

static int problem_body(struct ps_buf *out, const struct ps_answer *answer, struct ps_str message)
{
    int err = ps_buf_printf(out, "{\"type\":\"about:blank\",\"title\":\"%.*s\",\"status\":%d,\"detail\":\"",
                            PS_STR_ARG(ps_h1_reason(answer->status)), answer->status);
    err = err != PS_OK ? err : ps_buf_append_json(out, message);
    err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\",\"code\":"));
    err = err != PS_OK ? err : append_text(out, answer->code);
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("}\n"));
}

static int error_body(struct ps_buf *out, const struct ps_answer *answer, struct ps_str message)
{
    switch (answer->shape) {
    case PS_ERROR_OPENAI:
        return openai_body(out, answer, message);
    case PS_ERROR_ANTHROPIC:
        return anthropic_body(out, answer, message);
    case PS_ERROR_TEXT:
        return text_body(out, answer, message);
    case PS_ERROR_PROBLEM:
        break;
    }
    return problem_body(out, answer, message);
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
