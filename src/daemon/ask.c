#include "daemon/ask.h"

#include <stdlib.h>

#include "base/chunk.h"
#include "daemon/live.h"
#include "gateway/answer.h"
#include "http/h1_field.h"
#include "http/server.h"

enum { BODY_LIMIT = 1024 * 1024, REPLY_LIMIT = 64 * 1024 * 1024, HEADERS_LIMIT = 16 * 1024 };

static void free_ask(struct ps_ask *ask)
{
    ps_budget_give(ask->budget, ask->body.len);
    ps_buf_fini(&ask->text);
    ps_buf_fini(&ask->body);
    ps_buf_fini(&ask->headers);
    ps_buf_fini(&ask->reply);
    free(ask);
}

static int take_body(struct ps_ask *ask, struct ps_str data)
{
    int err = ps_budget_take(ask->budget, data.len);
    if (err != PS_OK) {
        return PS_ENOMEM;
    }
    err = ps_buf_append_str(&ask->body, data);
    if (err != PS_OK) {
        ps_budget_give(ask->budget, data.len);
    }
    return err;
}

static void on_body(void *ctx, struct ps_str data)
{
    struct ps_ask *ask = ctx;
    int err = take_body(ask, data);
    if (err != PS_OK) {
        bool large = err == PS_ELIMIT;
        struct ps_exchange *exchange = ask->exchange;
        struct ps_answer answer = {.status = large ? 413 : 503,
                                   .code = large ? "body_too_large" : "no_memory",
                                   .retry_after = large ? 0 : PS_SECOND};
        ps_exchange_handle(exchange, NULL, NULL);
        free_ask(ask);
        ps_answer_errorf(exchange, &answer,
                         large ? "the request body is larger than 1 MiB" : "too much is buffered at present");
    }
}

/* Still collecting: nobody else knows the ask. */
static void on_abort_collecting(void *ctx)
{
    free_ask(ctx);
}

/* On its way: it comes back and finds no exchange. */
static void on_abort_away(void *ctx)
{
    struct ps_ask *ask = ctx;
    ask->exchange = NULL;
}

static const struct ps_exchange_ops away = {NULL, NULL, NULL, on_abort_away};

static void on_body_end(void *ctx)
{
    struct ps_ask *ask = ctx;
    ps_exchange_handle(ask->exchange, &away, ask);
    ask->on_complete(ask->ctx, ask);
}

static const struct ps_exchange_ops collecting = {on_body, on_body_end, NULL, on_abort_collecting};

/* Copies a view behind the text; the offset is turned into a pointer when the text no longer moves. */
static void take(struct ps_buf *text, struct ps_str value, struct ps_str *out, int *err)
{
    size_t at = text->len;
    if (*err == PS_OK) {
        *err = ps_buf_append_str(text, value);
        *out = (struct ps_str){text->data + at, value.len};
    }
}

static int copy_request(struct ps_ask *ask, const struct ps_exchange *exchange)
{
    const struct ps_h1_head *head = ps_exchange_head(exchange);
    int err = ps_buf_reserve(&ask->text, head->raw.len); /* all parts fit: views stay valid */
    take(&ask->text, head->method, &ask->method, &err);
    take(&ask->text, ps_exchange_path(exchange), &ask->path, &err);
    take(&ask->text, ps_exchange_query(exchange), &ask->query, &err);
    take(&ask->text, head->host, &ask->host, &err);
    static const struct {
        enum ps_h1_field id;
        size_t offset;
    } rows[] = {
        {PS_H1_ORIGIN, offsetof(struct ps_ask, origin)},
        {PS_H1_AUTHORIZATION, offsetof(struct ps_ask, authorization)},
        {PS_H1_COOKIE, offsetof(struct ps_ask, cookie)},
        {PS_H1_CONTENT_TYPE, offsetof(struct ps_ask, content_type)},
        {PS_H1_ACCEPT, offsetof(struct ps_ask, accept)},
        {PS_H1_ACCEPT_ENCODING, offsetof(struct ps_ask, accept_encoding)},
        {PS_H1_IF_NONE_MATCH, offsetof(struct ps_ask, if_none_match)},
        {PS_H1_CONTENT_ENCODING, offsetof(struct ps_ask, content_encoding)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct ps_h1_header *header = ps_h1_head_find(head, rows[i].id);
        if (header != NULL) {
            take(&ask->text, header->value, (struct ps_str *)(void *)((char *)ask + rows[i].offset), &err);
        }
    }
    return err;
}

void ps_ask_begin(struct ps_exchange *exchange, struct ps_budget *budget,
                  void (*on_complete)(void *ctx, struct ps_ask *ask), void *ctx)
{
    struct ps_answer answer = {.status = 503, .code = "no_memory", .retry_after = PS_SECOND};
    struct ps_ask *ask = calloc(1, sizeof *ask);
    if (ask == NULL) {
        ps_answer_errorf(exchange, &answer, "out of memory");
        return;
    }
    ask->exchange = exchange;
    ask->budget = budget;
    ask->on_complete = on_complete;
    ask->ctx = ctx;
    ask->peer = *ps_exchange_peer(exchange);
    ask->is_tls = ps_exchange_is_tls(exchange);
    ask->text = ps_buf_make(1024 * 1024);
    ask->body = ps_buf_make(BODY_LIMIT);
    ask->headers = ps_buf_make(HEADERS_LIMIT);
    ask->reply = ps_buf_make(REPLY_LIMIT);
    if (copy_request(ask, exchange) != PS_OK) {
        free_ask(ask);
        ps_answer_errorf(exchange, &answer, "out of memory");
        return;
    }
    ps_exchange_handle(exchange, &collecting, ask);
}

void ps_ask_type(struct ps_ask *ask, int status, const char *type)
{
    ask->status = status;
    ask->reply_type = type;
}

void ps_ask_problem(struct ps_ask *ask, int status, const char *code, const char *detail)
{
    struct ps_buf *reply = &ask->reply;
    ps_buf_clear(reply);
    ps_ask_type(ask, status, "application/problem+json");
    PS_IGNORE(ps_buf_printf(reply, "{\"type\":\"about:blank\",\"title\":\"%.*s\",\"status\":%d,\"detail\":\"",
                            PS_STR_ARG(ps_h1_reason(status)), status));
    PS_IGNORE(ps_buf_append_json(reply, ps_str_from(detail)));
    PS_IGNORE(ps_buf_printf(reply, "\",\"code\":\"%s\"}\n", code));
}

void ps_ask_finish(struct ps_ask *ask)
{
    struct ps_exchange *exchange = ask->exchange;
    if (exchange != NULL) {
        ps_exchange_handle(exchange, NULL, NULL);
    }
    if (exchange != NULL && ask->status == 101) {
        ps_live_take(ask->live, exchange, ask->counter);
    } else if (exchange != NULL) {
        ps_exchange_respond(exchange, ask->status, ps_buf_str(&ask->headers), ps_str_from(ask->reply_type),
                            ps_buf_str(&ask->reply));
    }
    free_ask(ask);
}
