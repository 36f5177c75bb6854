/* session - see session.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "http/client.h"
#include "http/sse.h"
#include "io/loop.h"
#include "load/answer.h"
#include "load/target.h"

#define EVENT_MAX (256u * 1024u) /* bytes of an event that can be looked at */
#define DETAIL_MAX 240u
#define HEAD_MAX (64u * 1024u)

struct ps_session {
    struct ps_list link;
    struct ps_timer deadline;
    struct ps_loop *loop;
    struct ps_call *call;
    const struct ps_session_ops *ops;
    void *ctx;
    struct ps_sse sse;
    struct ps_session_result result;
    bool streaming; /* the answer is an event stream */
    bool done;      /* [DONE] came */
    bool explained; /* detail is the message of an error's body, not its beginning */
    size_t detail_len;
    char detail[DETAIL_MAX];
};

const char *ps_failure_text(enum ps_failure failure)
{
    static const char *const texts[] = {
#define PS_FAILURE_TEXT(name, text) text,
        PS_FAILURE_TABLE(PS_FAILURE_TEXT)
#undef PS_FAILURE_TEXT
    };
    return texts[failure];
}

static ps_time clock_now(const struct ps_session *session)
{
    return ps_clock_now(ps_loop_clock(session->loop));
}

static void destroy(struct ps_session *session)
{
    ps_timer_clear(session->loop, &session->deadline);
    ps_list_remove(&session->link);
    ps_sse_fini(&session->sse);
    free(session);
}

/* Tells the result and ends the session. */
static void finish(struct ps_session *session, enum ps_failure failure)
{
    struct ps_session_result *result = &session->result;
    result->end = clock_now(session);
    result->failure = result->failure != PS_FAILURE_NONE ? result->failure : failure;
    result->output_tokens = result->counted ? result->output_tokens : result->texts;
    session->detail[session->detail_len] = '\0';
    result->detail = session->detail;
    session->ops->on_done(session->ctx, result);
    destroy(session);
}

static void set_detail(struct ps_session *session, const char *text)
{
    int len = snprintf(session->detail, sizeof session->detail, "%s", text);
    session->detail_len = (size_t)len < DETAIL_MAX ? (size_t)len : DETAIL_MAX - 1;
}

/* ------------------------------------------------------------------------------- the answer */

static void on_head(void *ctx, const struct ps_h1_head *head)
{
    struct ps_session *session = ctx;
    const struct ps_h1_header *type = ps_h1_head_find(head, PS_H1_CONTENT_TYPE);
    session->result.status = head->status;
    session->streaming =
        type != NULL && ps_str_istarts_with(type->value, PS_STR("text/event-stream"));
    if (head->status < 200 || head->status > 299) {
        session->result.failure = PS_FAILURE_STATUS;
        session->streaming = false;
    } else if (session->result.kind == PS_PLAN_CHAT && !session->streaming) {
        session->result.failure = PS_FAILURE_BAD_ANSWER;
        set_detail(session, "asked for a stream, got another content type");
    }
}

/* What an error's body says goes into the report: its message where all of it is here at once, as it
 * usually is; otherwise its beginning. */
static void keep_detail(struct ps_session *session, struct ps_str data)
{
    char message[DETAIL_MAX];
    if (session->detail_len == 0 && ps_answer_is_error(data, message, sizeof message)) {
        set_detail(session, message);
        session->explained = true;
    }
    if (session->explained) {
        return;
    }
    for (size_t i = 0; i < data.len && session->detail_len < DETAIL_MAX - 1; i++) {
        unsigned char byte = (unsigned char)data.ptr[i];
        session->detail[session->detail_len++] = byte < 0x20 || byte == 0x7f ? ' ' : (char)byte;
    }
}

static void on_text(struct ps_session *session)
{
    struct ps_session_result *result = &session->result;
    result->last_text = clock_now(session);
    result->first_text = result->texts == 0 ? result->last_text : result->first_text;
    result->texts++;
    if (session->ops->on_text != NULL) {
        session->ops->on_text(session->ctx);
    }
}

static void look_at(struct ps_session *session, struct ps_str data)
{
    struct ps_session_result *result = &session->result;
    char message[DETAIL_MAX];
    if (ps_answer_is_done(data)) {
        session->done = true;
    } else if (ps_answer_is_error(data, message, sizeof message)) {
        result->failure = PS_FAILURE_STREAM_ERROR;
        set_detail(session, message);
    } else {
        if (ps_answer_has_text(data)) {
            on_text(session);
        }
        if (ps_answer_usage(data, &result->prompt_tokens, &result->output_tokens)) {
            result->counted = true;
        }
    }
}

static void on_body(void *ctx, struct ps_str data)
{
    struct ps_session *session = ctx;
    struct ps_sse_event event;
    if (session->result.failure == PS_FAILURE_STATUS) {
        keep_detail(session, data);
    }
    if (!session->streaming) {
        return;
    }
    for (;;) {
        enum ps_sse_result got = ps_sse_next(&session->sse, &data, &event);
        if (got == PS_SSE_MORE) {
            return;
        }
        if (got == PS_SSE_EVENT && event.has_data) {
            look_at(session, event.data);
        }
    }
}

static void on_end(void *ctx, struct ps_str trailers)
{
    struct ps_session *session = ctx;
    (void)trailers;
    session->call = NULL;
    finish(session, session->streaming && !session->done ? PS_FAILURE_STREAM_CUT : PS_FAILURE_NONE);
}

static enum ps_failure failure_of(const struct ps_call_error *error)
{
    switch (error->err) {
    case PS_EREFUSED:
        return PS_FAILURE_REFUSED;
    case PS_ETIMEOUT:
        return error->phase == PS_CALL_CONNECT ? PS_FAILURE_CONNECT_TIMEOUT : PS_FAILURE_TIMEOUT;
    case PS_EUNREACHABLE:
        return PS_FAILURE_UNREACHABLE;
    case PS_ETLS:
        return PS_FAILURE_TLS;
    case PS_EPARSE:
        return PS_FAILURE_BAD_ANSWER;
    case PS_ENOMEM:
    case PS_ELIMIT:
        return PS_FAILURE_GENERATOR;
    default:
        return PS_FAILURE_RESET;
    }
}

static void on_error(void *ctx, const struct ps_call_error *error)
{
    struct ps_session *session = ctx;
    char text[DETAIL_MAX];
    const char *detail = error->detail == NULL || error->detail[0] == '\0' ? ps_err_text(error->err)
                                                                           : error->detail;
    session->call = NULL;
    snprintf(text, sizeof text, "%s (%s)", detail, ps_call_phase_text(error->phase));
    set_detail(session, text);
    session->result.failure = PS_FAILURE_NONE; /* what ended it counts, not what it began with */
    finish(session, failure_of(error));
}

static void on_deadline(struct ps_timer *timer, ps_time now)
{
    struct ps_session *session = PS_CONTAINER_OF(timer, struct ps_session, deadline);
    (void)now;
    ps_call_cancel(session->call);
    session->call = NULL;
    set_detail(session, session->result.status == 0 ? "no answer in time" : "not whole in time");
    session->result.failure = PS_FAILURE_NONE;
    finish(session, PS_FAILURE_TIMEOUT);
}

static const struct ps_call_ops call_ops = {
    .on_head = on_head,
    .on_body = on_body,
    .on_end = on_end,
    .on_error = on_error,
};

/* -------------------------------------------------------------------------------------- life */

static int send_request(struct ps_session *session, struct ps_target *target,
                        const struct ps_session_request *request)
{
    bool chat = request->kind == PS_PLAN_CHAT;
    struct ps_buf head = ps_buf_make(HEAD_MAX);
    int err = ps_target_head(target,
                             chat ? PS_STR("/v1/chat/completions") : PS_STR("/v1/embeddings"),
                             chat ? PS_STR("text/event-stream") : PS_STR("application/json"),
                             request->body.len, &head);
    if (err == PS_OK) {
        err = ps_timer_set(session->loop, &session->deadline,
                           session->result.sent + request->timeout);
    }
    if (err == PS_OK) {
        struct ps_call_request call = {.head = ps_buf_str(&head), .body = request->body};
        err = ps_call_start(&session->call, ps_target_pool(target), &call, &call_ops, session);
    }
    ps_buf_fini(&head);
    return err;
}

int ps_session_start(struct ps_list *list, struct ps_loop *loop, struct ps_target *target,
                     const struct ps_session_request *request, const struct ps_session_ops *ops,
                     void *ctx)
{
    struct ps_session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        return PS_ENOMEM;
    }
    session->loop = loop;
    session->ops = ops;
    session->ctx = ctx;
    session->deadline.on_time = on_deadline;
    session->result.kind = request->kind;
    session->result.intended = request->intended;
    session->result.prompt_tokens = request->prompt_tokens;
    session->result.sent = clock_now(session);
    ps_sse_init(&session->sse, EVENT_MAX);
    ps_list_push(list, &session->link);
    int err = send_request(session, target, request);
    if (err != PS_OK) {
        destroy(session);
    }
    return err;
}

size_t ps_session_cancel_all(struct ps_list *list)
{
    size_t count = 0;
    while (!ps_list_is_empty(list)) {
        struct ps_session *session = PS_LIST_FIRST(list, struct ps_session, link);
        ps_call_cancel(session->call);
        destroy(session);
        count++;
    }
    return count;
}
