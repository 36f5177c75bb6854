/* session - see session.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "http/h1_field.h"
#include "load/answer.h"
#include "load/session_private.h"
#include "load/target.h"

#define EVENT_MAX (256u * 1024u) /* bytes of an event or line that can be looked at */

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

/* When the bytes that are looked at came: waking up and what was looked at before them is no server's time. Never before the
 * request, as a wall clock that is set could have it. */
static ps_time came(const struct ps_session *session)
{
    ps_time at = ps_call_came(session->call);
    return at > session->result.sent ? at : session->result.sent;
}

static void destroy(struct ps_session *session)
{
    ps_timer_clear(session->loop, &session->deadline);
    ps_list_remove(&session->link);
    ps_session_job_free(session->job);
    ps_sse_fini(&session->sse);
    ps_buf_fini(&session->line);
    free(session);
}

void ps_session_finish(struct ps_session *session, enum ps_failure failure)
{
    struct ps_session_result *result = &session->result;
    result->end = session->call != NULL ? came(session) : clock_now(session);
    result->failure = result->failure != PS_FAILURE_NONE ? result->failure : failure;
    result->output_tokens = result->counted ? result->output_tokens : result->texts;
    session->detail[session->detail_len] = '\0';
    result->detail = session->detail;
    session->ops->on_done(session->ctx, result);
    destroy(session);
}

void ps_session_explain(struct ps_session *session, const char *text)
{
    int len = snprintf(session->detail, sizeof session->detail, "%s", text);
    session->detail_len = (size_t)len < PS_SESSION_DETAIL_MAX ? (size_t)len : PS_SESSION_DETAIL_MAX - 1;
}

/* ------------------------------------------------------------------------------- the answer */

/* Where a redirect leads goes into the report; nobody goes there. */
static void note_redirect(struct ps_session *session, const struct ps_h1_head *head)
{
    char text[PS_SESSION_DETAIL_MAX];
    const struct ps_h1_header *to = ps_h1_head_find(head, PS_H1_LOCATION);
    struct ps_str where = to == NULL ? PS_STR("nowhere") : ps_str_first(to->value, sizeof text / 2);
    session->result.failure = PS_FAILURE_REDIRECT;
    snprintf(text, sizeof text, "%d to %.*s", head->status, PS_STR_ARG(where));
    ps_session_explain(session, text);
}

void ps_session_note_head(struct ps_session *session, const struct ps_h1_head *head)
{
    struct ps_session_result *result = &session->result;
    bool wanted = session->status > 0 ? head->status == session->status
                                      : head->status >= 200 && head->status <= 299;
    result->status = head->status;
    result->first_byte = result->first_byte == 0 ? came(session) : result->first_byte;
    if (wanted) {
        return;
    }
    if (head->status >= 300 && head->status <= 399 && head->status != 304) {
        note_redirect(session, head);
    } else {
        result->failure = PS_FAILURE_STATUS;
    }
}

static struct ps_str type_of(enum ps_framing framing)
{
    return framing == PS_FRAMING_EVENTS  ? PS_STR("text/event-stream")
           : framing == PS_FRAMING_LINES ? PS_STR("application/x-ndjson")
                                         : PS_STR("");
}

/* Where any answer will do, its content type says how it is cut. */
static enum ps_framing framing_of(const struct ps_h1_header *type)
{
    bool known = type != NULL;
    return known && ps_str_istarts_with(type->value, type_of(PS_FRAMING_EVENTS))  ? PS_FRAMING_EVENTS
           : known && ps_str_istarts_with(type->value, type_of(PS_FRAMING_LINES)) ? PS_FRAMING_LINES
                                                                                  : PS_FRAMING_WHOLE;
}

/* Ends a request that was to be broken off, when control is back at the loop. */
static void cancel_soon(struct ps_session *session)
{
    session->result.cancelled = true;
    PS_IGNORE(ps_timer_set(session->loop, &session->deadline, 0)); /* it is set: no memory is needed */
}

static void on_head(void *ctx, const struct ps_h1_head *head)
{
    struct ps_session *session = ctx;
    const struct ps_h1_header *type = ps_h1_head_find(head, PS_H1_CONTENT_TYPE);
    ps_session_note_head(session, head);
    if (session->result.failure != PS_FAILURE_NONE) {
        return;
    }
    session->framing = session->any ? framing_of(type) : session->framing;
    struct ps_str wanted = type_of(session->framing);
    session->streaming = wanted.len > 0 && type != NULL && ps_str_istarts_with(type->value, wanted);
    if (wanted.len > 0 && !session->streaming) {
        session->result.failure = PS_FAILURE_BAD_ANSWER;
        ps_session_explain(session, "asked for a stream, got another content type");
    } else if (session->cancel && !session->streaming) {
        cancel_soon(session);
    }
}

/* What an error's body says goes into the report: its message where all of it is here at once, as it
 * usually is; otherwise its beginning. */
void ps_session_keep_detail(struct ps_session *session, struct ps_str data)
{
    char message[PS_SESSION_DETAIL_MAX];
    if (session->detail_len == 0 && ps_answer_is_error(data, message, sizeof message)) {
        ps_session_explain(session, message);
        session->explained = true;
    }
    if (session->explained) {
        return;
    }
    for (size_t i = 0; i < data.len && session->detail_len < PS_SESSION_DETAIL_MAX - 1; i++) {
        unsigned char byte = (unsigned char)data.ptr[i];
        session->detail[session->detail_len++] = byte < 0x20 || byte == 0x7f ? ' ' : (char)byte;
    }
}

static void on_text(struct ps_session *session)
{
    struct ps_session_result *result = &session->result;
    ps_time now = came(session);
    ps_span gap = result->texts == 0 ? -1 : now - result->last_text;
    result->last_text = now;
    result->first_text = result->texts == 0 ? now : result->first_text;
    result->texts++;
    if (session->ops->on_text != NULL) {
        session->ops->on_text(session->ctx, gap);
    }
    if (session->cancel && !result->cancelled) {
        cancel_soon(session);
    }
}

static void look_at(struct ps_session *session, struct ps_str data)
{
    struct ps_session_result *result = &session->result;
    char message[PS_SESSION_DETAIL_MAX];
    if (ps_answer_is_done(data)) {
        session->done = true;
        return;
    }
    if (session->any) {
        on_text(session);
        return;
    }
    if (ps_answer_is_error(data, message, sizeof message)) {
        result->failure = PS_FAILURE_STREAM_ERROR;
        ps_session_explain(session, message);
    } else {
        if (ps_answer_has_text(data)) {
            on_text(session);
        }
        if (ps_answer_usage(data, &result->prompt_tokens, &result->output_tokens)) {
            result->counted = true;
        }
        session->done = session->done || ps_answer_says_done(data);
    }
}

static void look_at_events(struct ps_session *session, struct ps_str data)
{
    struct ps_sse_event event;
    enum ps_sse_result got;
    while ((got = ps_sse_next(&session->sse, &data, &event)) != PS_SSE_MORE) {
        if (got == PS_SSE_EVENT && event.has_data) {
            look_at(session, event.data);
        }
    }
}

/* A line that is longer than the bound can't be looked at; the rest of the answer goes on. */
static void look_at_lines(struct ps_session *session, struct ps_str data)
{
    while (data.len > 0) {
        size_t len = ps_str_find(data, '\n');
        bool whole = len < data.len;
        PS_IGNORE(ps_buf_append_str(&session->line, ps_str_first(data, len)));
        data = ps_str_skip(data, whole ? len + 1 : len);
        if (whole) {
            look_at(session, ps_buf_str(&session->line));
            ps_buf_clear(&session->line);
        }
    }
}

static void on_body(void *ctx, struct ps_str data)
{
    struct ps_session *session = ctx;
    session->result.bytes += data.len;
    if (session->result.failure == PS_FAILURE_STATUS) {
        ps_session_keep_detail(session, data);
    } else if (session->streaming && session->framing == PS_FRAMING_LINES) {
        look_at_lines(session, data);
    } else if (session->streaming) {
        look_at_events(session, data);
    }
}

static void on_end(void *ctx, struct ps_str trailers)
{
    struct ps_session *session = ctx;
    (void)trailers;
    bool cut = session->streaming && !session->any && !session->done;
    session->result.cancelled = false; /* too late: it is whole */
    ps_session_finish(session, cut ? PS_FAILURE_STREAM_CUT : PS_FAILURE_NONE);
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
    case PS_EINUSE:
        return PS_FAILURE_PORTS;
    case PS_ENOMEM:
    case PS_ELIMIT:
        return PS_FAILURE_GENERATOR;
    default:
        return PS_FAILURE_RESET;
    }
}

void ps_session_fail_call(struct ps_session *session, const struct ps_call_error *error)
{
    char text[PS_SESSION_DETAIL_MAX];
    const char *detail = error->detail == NULL || error->detail[0] == '\0' ? ps_err_text(error->err)
                                                                           : error->detail;
    session->call = NULL;
    snprintf(text, sizeof text, "%s (%s)", detail, ps_call_phase_text(error->phase));
    ps_session_explain(session, text);
    session->result.cancelled = false;
    session->result.failure = PS_FAILURE_NONE; /* what ended it counts, not what it began with */
    ps_session_finish(session, failure_of(error));
}

static void on_error(void *ctx, const struct ps_call_error *error)
{
    ps_session_fail_call(ctx, error);
}

static void on_deadline(struct ps_timer *timer, ps_time now)
{
    struct ps_session *session = PS_CONTAINER_OF(timer, struct ps_session, deadline);
    (void)now;
    ps_call_cancel(session->call);
    session->call = NULL;
    if (session->result.cancelled) {
        ps_session_finish(session, PS_FAILURE_NONE);
        return;
    }
    ps_session_explain(session, session->result.status == 0 ? "no answer in time" : "not whole in time");
    session->result.failure = PS_FAILURE_NONE;
    ps_session_finish(session, PS_FAILURE_TIMEOUT);
}

static const struct ps_call_ops call_ops = {
    .on_head = on_head,
    .on_body = on_body,
    .on_end = on_end,
    .on_error = on_error,
};

/* -------------------------------------------------------------------------------------- life */

int ps_session_send(struct ps_session *session, const struct ps_call_request *request,
                    const struct ps_call_ops *ops)
{
    return ps_call_start(&session->call, ps_target_pool(session->target), request, ops, session);
}

static int begin(struct ps_session *session, const struct ps_session_request *request)
{
    const struct ps_call_request call = {
        .head = request->head, .body = request->body, .is_head = request->is_head};
    int err = ps_timer_set(session->loop, &session->deadline, session->result.sent + request->timeout);
    if (err != PS_OK) {
        return err;
    }
    return session->framing == PS_FRAMING_JOB ? ps_session_job_start(session, &call)
                                              : ps_session_send(session, &call, &call_ops);
}

static void prepare(struct ps_session *session, const struct ps_session_request *request)
{
    struct ps_session_result *result = &session->result;
    session->framing = request->framing;
    session->any = request->framing == PS_FRAMING_ANY;
    session->status = request->status;
    session->cancel = request->cancel;
    session->deadline.on_time = on_deadline;
    session->line = ps_buf_make(EVENT_MAX);
    ps_sse_init(&session->sse, EVENT_MAX);
    result->kind = request->kind;
    result->intended = request->intended;
    /* A job's prompt is no tokens. */
    result->prompt_tokens = request->framing == PS_FRAMING_JOB ? 0 : request->prompt_tokens;
    result->sent = clock_now(session);
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
    session->target = target;
    session->ops = ops;
    session->ctx = ctx;
    prepare(session, request);
    ps_list_push(list, &session->link);
    int err = begin(session, request);
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
