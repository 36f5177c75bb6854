#include "http/client.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/list.h"
#include "http/h1_write.h"
#include "io/loop.h"
#include "io/stream.h"
#include "io/tls.h"

enum { TRAILERS_LIMIT = 16 * 1024 };

struct ps_client_pool {
    struct ps_loop *loop;
    struct ps_pool_opts opts;
    char *server_name;
    struct ps_h1_scratch scratch;
    struct ps_list idle; /* newest last */
    size_t idle_count;
    size_t refs; /* one for the owner, one for each connection */
    uint64_t begun; /* connections, so far */
    bool freed;
};

/* A connection, which carries one call at a time; without a call it is idle in its pool. */
struct ps_call {
    struct ps_list link;
    struct ps_client_pool *pool;
    struct ps_stream *stream; /* NULL after a connect that failed at once, and when handed over */
    struct ps_h1 h1;
    struct ps_timer timer; /* fires at or before the deadline; see call_deadline() */
    struct ps_task burial;
    struct ps_task failure; /* tells of a connect that failed at once */
    struct ps_task pump;    /* after a pause: the end may be known without another byte */
    struct ps_buf trailers;
    const struct ps_call_ops *ops; /* NULL when idle */
    void *ctx;
    uint64_t written; /* bytes of this call handed to the stream */
    ps_time since;    /* when the call began, its request was sent, or the connection became idle */
    ps_time came;     /* of the bytes that are looked at; for pools that stamp */
    ps_time resumed;  /* the server's time for the next byte counts from here */
    ps_span head_timeout;
    ps_span idle_timeout;
    int connect_error;
    bool connected;
    bool reused;
    bool body_done;
    bool chunked;
    bool paused;
    bool headed; /* the final head is in */
    bool in_on_data;
    bool dead;
};

const char *ps_call_phase_text(enum ps_call_phase phase)
{
    switch (phase) {
    case PS_CALL_CONNECT:
        return "connect";
    case PS_CALL_SEND:
        return "send";
    case PS_CALL_HEAD:
        return "head";
    case PS_CALL_BODY:
        return "body";
    }
    return "";
}

void ps_pool_opts_init(struct ps_pool_opts *opts)
{
    *opts = (struct ps_pool_opts){
        .limits = {.max_head_bytes = 64 * 1024, .max_headers = 200},
        .max_idle = 64,
        .connect_timeout = 3 * PS_SECOND,
        .head_timeout = 600 * PS_SECOND,
        .idle_timeout = 120 * PS_SECOND,
        .send_timeout = 60 * PS_SECOND,
        .keep_alive = 55 * PS_SECOND,
    };
}

/* --- the pool --------------------------------------------------------------------------------- */

static void pool_unref(struct ps_client_pool *pool)
{
    if (--pool->refs == 0) {
        ps_h1_scratch_fini(&pool->scratch);
        ps_tls_unref(pool->opts.tls);
        free(pool->server_name);
        free(pool);
    }
}

int ps_pool_new(struct ps_client_pool **out, struct ps_loop *loop, const struct ps_pool_opts *opts)
{
    struct ps_client_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return PS_ENOMEM;
    }
    int err = ps_h1_scratch_init(&pool->scratch, opts->limits.max_headers);
    if (err == PS_OK && opts->server_name != NULL) {
        pool->server_name = ps_str_dup(ps_str_from(opts->server_name));
        err = pool->server_name == NULL ? PS_ENOMEM : PS_OK;
    }
    if (err != PS_OK) {
        ps_h1_scratch_fini(&pool->scratch);
        free(pool);
        return err;
    }
    pool->loop = loop;
    pool->opts = *opts;
    ps_tls_ref(pool->opts.tls);
    ps_list_init(&pool->idle);
    pool->refs = 1;
    *out = pool;
    return PS_OK;
}

static void on_burial(struct ps_task *task)
{
    struct ps_call *call = PS_CONTAINER_OF(task, struct ps_call, burial);
    pool_unref(call->pool);
    free(call);
}

/* Closes the connection; its memory goes at the end of the turn. */
static void bury(struct ps_call *call)
{
    if (call->dead) {
        return;
    }
    call->dead = true;
    if (call->ops == NULL && call->link.next != NULL && !ps_list_is_empty(&call->link)) {
        ps_list_remove(&call->link);
        call->pool->idle_count--;
    }
    call->ops = NULL;
    ps_timer_clear(call->pool->loop, &call->timer);
    ps_task_clear(&call->failure);
    ps_task_clear(&call->pump);
    ps_h1_fini(&call->h1);
    ps_buf_fini(&call->trailers);
    ps_stream_free(call->stream);
    call->stream = NULL;
    ps_loop_defer(call->pool->loop, &call->burial);
}

void ps_pool_close_idle(struct ps_client_pool *pool)
{
    while (!ps_list_is_empty(&pool->idle)) {
        bury(PS_LIST_FIRST(&pool->idle, struct ps_call, link));
    }
}

void ps_pool_free(struct ps_client_pool *pool)
{
    if (pool != NULL) {
        pool->freed = true;
        ps_pool_close_idle(pool);
        pool_unref(pool);
    }
}

size_t ps_pool_idle(const struct ps_client_pool *pool)
{
    return pool->idle_count;
}

size_t ps_pool_open(const struct ps_client_pool *pool)
{
    return pool->refs - 1;
}

uint64_t ps_pool_begun(const struct ps_client_pool *pool)
{
    return pool->begun;
}

/* --- the end of a call ------------------------------------------------------------------------ */

static enum ps_call_phase phase_of(const struct ps_call *call)
{
    if (!call->connected) {
        return PS_CALL_CONNECT;
    }
    if (call->headed) {
        return PS_CALL_BODY;
    }
    bool sent = call->body_done && (call->stream == NULL || ps_stream_queued(call->stream) == 0);
    return sent ? PS_CALL_HEAD : PS_CALL_SEND;
}

/* Closes the connection and tells why. */
static void fail(struct ps_call *call, int err, const char *detail)
{
    const struct ps_call_ops *ops = call->ops;
    void *ctx = call->ctx;
    size_t queued = call->stream == NULL ? 0 : ps_stream_queued(call->stream);
    struct ps_call_error error = {
        .err = err,
        .phase = phase_of(call),
        .reused = call->reused,
        .sent_some = call->connected && call->written > queued,
        .detail = detail,
    };
    char text[256];
    if (err == PS_ETLS && call->stream != NULL) {
        const char *reason = ps_stream_tls_error(call->stream);
        size_t len = strlen(reason);
        len = len < sizeof text ? len : sizeof text - 1;
        memcpy(text, reason, len);
        text[len] = '\0';
        error.detail = len > 0 ? text : detail;
    }
    bury(call);
    if (ops != NULL) {
        ops->on_error(ctx, &error);
    }
}

static void arm_by(struct ps_call *call, ps_time when);

/* The answer is complete: the connection goes back to the pool, if it can. */
static void complete(struct ps_call *call, bool at_end_of_input)
{
    const struct ps_call_ops *ops = call->ops;
    void *ctx = call->ctx;
    struct ps_client_pool *pool = call->pool;
    struct ps_buf trailers = call->trailers;
    call->trailers = ps_buf_make(TRAILERS_LIMIT);
    bool sent = call->body_done && ps_stream_queued(call->stream) == 0;
    bool keep = sent && at_end_of_input && ps_h1_keep_alive(&call->h1) && !pool->freed &&
                pool->idle_count < pool->opts.max_idle;
    if (keep) {
        call->ops = NULL;
        call->reused = true;
        call->since = ps_loop_now(pool->loop);
        ps_h1_reset(&call->h1);
        ps_list_push(&pool->idle, &call->link);
        pool->idle_count++;
        arm_by(call, call->since + pool->opts.keep_alive);
    } else {
        bury(call);
    }
    ops->on_end(ctx, ps_buf_str(&trailers));
    ps_buf_fini(&trailers);
}

/* --- deadlines -------------------------------------------------------------------------------- */

static ps_time after(ps_time from, ps_span span)
{
    return span == 0 ? PS_NEVER : from + span;
}

static ps_time call_deadline(const struct ps_call *call)
{
    const struct ps_pool_opts *opts = &call->pool->opts;
    if (call->ops == NULL) {
        return call->since + opts->keep_alive;
    }
    switch (phase_of(call)) {
    case PS_CALL_CONNECT:
        return call->since + opts->connect_timeout;
    case PS_CALL_SEND:
        if (ps_stream_queued(call->stream) == 0) {
            return PS_NEVER; /* the caller has not given more */
        }
        return after(ps_stream_last_write(call->stream), opts->send_timeout);
    case PS_CALL_HEAD: {
        ps_time sent = ps_stream_last_write(call->stream);
        return after(sent > call->since ? sent : call->since, call->head_timeout);
    }
    case PS_CALL_BODY: {
        ps_time read = ps_stream_last_read(call->stream);
        ps_time since = read > call->resumed ? read : call->resumed;
        return call->paused ? PS_NEVER : after(since, call->idle_timeout);
    }
    }
    return PS_NEVER;
}

static void arm_by(struct ps_call *call, ps_time when)
{
    if (when == PS_NEVER || (ps_heap_holds(&call->timer.node) && call->timer.node.key <= when)) {
        return;
    }
    PS_IGNORE(ps_timer_set(call->pool->loop, &call->timer, when)); /* the heap is full: no deadline */
}

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct ps_call *call = PS_CONTAINER_OF(timer, struct ps_call, timer);
    ps_time deadline = call_deadline(call);
    if (deadline > now) {
        /* A phase without a deadline is looked at again: it may end without telling. */
        arm_by(call, deadline == PS_NEVER ? now + PS_SECOND : deadline);
    } else if (call->ops == NULL) {
        bury(call);
    } else {
        fail(call, PS_ETIMEOUT, "no progress in time");
    }
}

/* --- bytes become answers --------------------------------------------------------------------- */

static bool head_event(struct ps_call *call)
{
    const struct ps_h1_head *head = ps_h1_head(&call->h1);
    if (head->status < 200 && head->status != 101) {
        if (call->ops->on_interim != NULL) {
            call->ops->on_interim(call->ctx, head);
        }
        return !call->dead;
    }
    call->headed = true;
    if (call->idle_timeout > 0) {
        arm_by(call, ps_loop_now(call->pool->loop) + call->idle_timeout);
    }
    call->ops->on_head(call->ctx, head);
    return !call->dead;
}

static void keep_trailers(struct ps_call *call)
{
    size_t count = 0;
    const struct ps_h1_header *trailers = ps_h1_trailers(&call->h1, &count);
    for (size_t i = 0; i < count; i++) {
        PS_IGNORE(ps_h1_write_header(&call->trailers, trailers[i].name, trailers[i].value));
    }
}

/* Handles one event; returns false when the input must not be read on. */
static bool step(struct ps_call *call, struct ps_str *input)
{
    switch (ps_h1_next(&call->h1, input)) {
    case PS_H1_HEAD:
        return head_event(call);
    case PS_H1_DATA:
        call->ops->on_body(call->ctx, ps_h1_data(&call->h1));
        return !call->dead;
    case PS_H1_TRAILERS:
        keep_trailers(call);
        return true;
    case PS_H1_END:
        if (!call->headed) { /* the end of an interim answer */
            ps_h1_reset(&call->h1);
            return true;
        }
        complete(call, input->len == 0);
        return false;
    case PS_H1_ERROR:
        fail(call, PS_EPARSE, ps_h1_error(&call->h1).text);
        return false;
    case PS_H1_MORE:
        return false;
    }
    return false;
}

static size_t on_data(void *ctx, struct ps_str data)
{
    struct ps_call *call = ctx;
    struct ps_str input = data;
    if (call->ops == NULL) {
        bury(call); /* a server that talks without being asked is not to be trusted with a request */
        return data.len;
    }
    call->in_on_data = true;
    call->came = call->pool->opts.stamp ? ps_stream_came(call->stream) : 0;
    while (!call->paused && call->ops != NULL && step(call, &input)) {
    }
    call->in_on_data = false;
    if (!call->dead && call->ops != NULL && call->paused) {
        ps_stream_pause(call->stream);
    }
    if (!call->dead && call->ops != NULL && call->ops->on_batch != NULL) {
        call->ops->on_batch(call->ctx);
    }
    return data.len - input.len;
}

static void on_pump(struct ps_task *task)
{
    struct ps_call *call = PS_CONTAINER_OF(task, struct ps_call, pump);
    if (ps_stream_kept(call->stream) > 0) {
        return; /* the stream is about to offer it: only then the end of the input is known */
    }
    if (call->ops != NULL && !call->paused) {
        on_data(call, (struct ps_str){NULL, 0});
    }
}

static void on_connect(void *ctx)
{
    struct ps_call *call = ctx;
    call->connected = true;
    call->since = ps_loop_now(call->pool->loop);
    arm_by(call, call_deadline(call));
}

static void on_drain(void *ctx)
{
    struct ps_call *call = ctx;
    if (call->ops != NULL) {
        arm_by(call, call_deadline(call));
        if (call->ops->on_drain != NULL) {
            call->ops->on_drain(call->ctx);
        }
    }
}

static void on_close(void *ctx, int err)
{
    struct ps_call *call = ctx;
    struct ps_str nothing = {NULL, 0};
    if (call->ops == NULL) {
        bury(call);
        return;
    }
    bool closing_ends_it = err == PS_ECLOSED && call->headed && ps_h1_eof(&call->h1) == PS_OK;
    if (closing_ends_it && ps_h1_next(&call->h1, &nothing) == PS_H1_END) {
        call->came = ps_clock_now(ps_loop_clock(call->pool->loop));
        complete(call, false);
        return;
    }
    fail(call, err, ps_err_text(err));
}

static const struct ps_stream_ops stream_ops = {on_connect, on_data, on_drain, on_close};

/* --- calls ------------------------------------------------------------------------------------ */

static void on_failure(struct ps_task *task)
{
    struct ps_call *call = PS_CONTAINER_OF(task, struct ps_call, failure);
    fail(call, call->connect_error, ps_err_text(call->connect_error));
}

static struct ps_call *take_idle(struct ps_client_pool *pool)
{
    if (ps_list_is_empty(&pool->idle)) {
        return NULL;
    }
    struct ps_call *call = PS_CONTAINER_OF(pool->idle.prev, struct ps_call, link);
    ps_list_remove(&call->link);
    pool->idle_count--;
    return call;
}

static struct ps_call *new_connection(struct ps_client_pool *pool)
{
    struct ps_call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        return NULL;
    }
    call->pool = pool;
    call->timer.on_time = on_time;
    call->burial.on_turn = on_burial;
    call->failure.on_turn = on_failure;
    call->pump.on_turn = on_pump;
    call->trailers = ps_buf_make(TRAILERS_LIMIT);
    ps_list_init(&call->link);
    ps_h1_init(&call->h1, PS_H1_RESPONSE, &pool->opts.limits, &pool->scratch);
    pool->refs++;
    pool->begun++;
    struct ps_stream_opts opts = {.ops = &stream_ops,
                                  .ctx = call,
                                  .budget = pool->opts.budget,
                                  .tls = pool->opts.tls,
                                  .server_name = pool->server_name,
                                  .stamp = pool->opts.stamp};
    int err = ps_stream_connect(&call->stream, pool->loop, &pool->opts.address, &opts);
    if (err != PS_OK) {
        call->connect_error = err;
        ps_loop_defer(pool->loop, &call->failure);
    }
    return call;
}

/* Head and pieces leave in one system call. */
static int send_pieces(struct ps_call *call, const struct ps_call_request *request)
{
    struct ps_str parts[PS_CALL_PIECES_MAX + 1] = {request->head};
    PS_CHECK(request->piece_count <= PS_CALL_PIECES_MAX && !request->chunked);
    for (size_t i = 0; i < request->piece_count; i++) {
        parts[i + 1] = request->pieces[i];
        call->written += request->pieces[i].len;
    }
    return ps_stream_write(call->stream, parts, request->piece_count + 1);
}

static int send_request(struct ps_call *call, const struct ps_call_request *request)
{
    call->written = request->head.len;
    if (request->piece_count > 0) {
        return send_pieces(call, request);
    }
    if (!request->chunked || request->body.len == 0) {
        struct ps_str parts[2] = {request->head, request->body};
        call->written += request->body.len;
        int err = ps_stream_write(call->stream, parts, 2);
        if (err == PS_OK && request->chunked && !request->body_follows) {
            ps_call_end(call);
        }
        return err;
    }
    char size[PS_H1_CHUNK_HEADER_MAX];
    size_t size_len = ps_h1_format_chunk_header(size, request->body.len);
    struct ps_str end = request->body_follows ? PS_STR("\r\n") : PS_STR("\r\n0\r\n\r\n");
    struct ps_str parts[4] = {request->head, {size, size_len}, request->body, end};
    call->written += size_len + request->body.len + end.len;
    return ps_stream_write(call->stream, parts, 4);
}

int ps_call_start(struct ps_call **out, struct ps_client_pool *pool, const struct ps_call_request *request,
                  const struct ps_call_ops *ops, void *ctx)
{
    struct ps_call *call = request->fresh ? NULL : take_idle(pool);
    if (call == NULL) {
        call = new_connection(pool);
    }
    if (call == NULL) {
        return PS_ENOMEM;
    }
    call->ops = ops;
    call->ctx = ctx;
    call->since = ps_loop_now(pool->loop);
    call->headed = false;
    call->paused = false;
    call->chunked = request->chunked;
    call->body_done = !request->body_follows;
    call->head_timeout = request->head_timeout > 0 ? request->head_timeout : pool->opts.head_timeout;
    call->idle_timeout = request->idle_timeout > 0 ? request->idle_timeout : pool->opts.idle_timeout;
    ps_h1_expect(&call->h1, request->is_head ? PS_H1_METHOD_HEAD : PS_H1_METHOD_POST);
    int err = call->stream == NULL ? PS_OK : send_request(call, request);
    if (err != PS_OK) {
        bury(call);
        return err;
    }
    if (call->stream != NULL) {
        arm_by(call, call_deadline(call));
    }
    *out = call;
    return PS_OK;
}

int ps_call_write(struct ps_call *call, struct ps_str data)
{
    if (data.len == 0 || call->stream == NULL) {
        return PS_OK;
    }
    char size[PS_H1_CHUNK_HEADER_MAX];
    size_t size_len = call->chunked ? ps_h1_format_chunk_header(size, data.len) : 0;
    struct ps_str parts[3] = {{size, size_len}, data, call->chunked ? PS_STR("\r\n") : PS_STR("")};
    call->written += size_len + data.len + parts[2].len;
    int err = ps_stream_write(call->stream, parts, 3);
    if (err == PS_OK && ps_stream_queued(call->stream) > 0) {
        arm_by(call, call_deadline(call));
    }
    return err;
}

void ps_call_end(struct ps_call *call)
{
    if (call->stream == NULL) {
        return;
    }
    if (call->chunked) {
        struct ps_str last = PS_STR("0\r\n\r\n");
        call->written += last.len;
        PS_IGNORE(ps_stream_write(call->stream, &last, 1)); /* no room for 5 bytes: the deadline ends it */
    }
    call->body_done = true;
    call->since = ps_loop_now(call->pool->loop);
    arm_by(call, call_deadline(call));
}

ps_time ps_call_came(const struct ps_call *call)
{
    return call->came;
}

size_t ps_call_queued(const struct ps_call *call)
{
    return call->stream == NULL ? 0 : ps_stream_queued(call->stream);
}

void ps_call_pause(struct ps_call *call)
{
    call->paused = true;
    if (!call->in_on_data && call->stream != NULL) {
        ps_stream_pause(call->stream);
    }
}

void ps_call_resume(struct ps_call *call)
{
    if (call->paused) {
        call->paused = false;
        call->resumed = ps_loop_now(call->pool->loop);
        if (!call->in_on_data && call->stream != NULL) {
            ps_loop_defer(call->pool->loop, &call->pump);
            ps_stream_resume(call->stream);
        }
    }
}

void ps_call_cancel(struct ps_call *call)
{
    if (call != NULL) {
        bury(call);
    }
}

struct ps_stream *ps_call_upgrade(struct ps_call *call)
{
    struct ps_stream *stream = call->stream;
    ps_stream_pause(stream);
    call->stream = NULL;
    bury(call);
    return stream;
}
