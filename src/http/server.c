#include "http/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "http/server_private.h"
#include "io/tls.h"

enum { LINGER_BYTES = 256 * 1024 }; /* of a body that nobody wants, read to let the answer through */

static const ps_span linger_time = 2 * PS_SECOND;

void ps_server_opts_init(struct ps_server_opts *opts)
{
    *opts = (struct ps_server_opts){
        .limits = {.max_head_bytes = 32 * 1024, .max_headers = 100},
        .max_body = 32u * 1024 * 1024,
        .head_timeout = 10 * PS_SECOND,
        .body_timeout = 30 * PS_SECOND,
        .keep_alive_timeout = 75 * PS_SECOND,
        .send_timeout = 60 * PS_SECOND,
        .refusal_headers = PS_STR_INIT(""),
    };
}

struct ps_str ps_server_date(struct ps_server *server)
{
    ps_time second = ps_clock_wall(ps_loop_clock(server->loop)) / PS_SECOND;
    if (second != server->date_second) {
        time_t at = (time_t)second;
        struct tm utc;
        gmtime_r(&at, &utc);
        strftime(server->date, sizeof server->date, "%a, %d %b %Y %H:%M:%S GMT", &utc);
        server->date_second = second;
    }
    return (struct ps_str){server->date, PS_SERVER_DATE_LEN};
}

/* --- deadlines -------------------------------------------------------------------------------- */

static ps_time sooner(ps_time a, ps_time b)
{
    return a < b ? a : b;
}

/* What a connection in this state may wait for, and until when. Deadlines that move later are not set
 * anew: the timer fires early, looks here, and goes back to sleep. */
static ps_time connection_deadline(const struct ps_connection *connection)
{
    const struct ps_server_opts *opts = &connection->server->opts;
    const struct ps_exchange *exchange = connection->exchange;
    ps_time deadline = PS_NEVER;
    if (ps_stream_queued(connection->stream) > 0) {
        deadline = ps_stream_last_write(connection->stream) + opts->send_timeout;
    }
    if (connection->lingering) { /* its time begins when the answer is out: see on_drain() */
        return deadline == PS_NEVER ? connection->since + linger_time : deadline;
    }
    if (exchange == NULL) {
        bool idle = connection->proven && ps_h1_is_idle(&connection->h1);
        return sooner(deadline, connection->since + (idle ? opts->keep_alive_timeout : opts->head_timeout));
    }
    if (!exchange->request_done && !exchange->paused) {
        ps_time since = ps_stream_last_read(connection->stream);
        since = since > exchange->resumed_at ? since : exchange->resumed_at;
        deadline = sooner(deadline, since + opts->body_timeout);
    }
    return deadline;
}

static void arm_by(struct ps_connection *connection, ps_time when)
{
    if (ps_heap_holds(&connection->timer.node) && connection->timer.node.key <= when) {
        return;
    }
    if (ps_timer_set(connection->server->loop, &connection->timer, when) != PS_OK) {
        ps_connection_kill(connection);
    }
}

void ps_connection_watch_body(struct ps_connection *connection)
{
    ps_time now = ps_loop_now(connection->server->loop);
    if (!connection->exchange->request_done) {
        connection->exchange->resumed_at = now;
        arm_by(connection, now + connection->server->opts.body_timeout);
    }
}

void ps_connection_watch_output(struct ps_connection *connection)
{
    if (ps_stream_queued(connection->stream) == 0) {
        return;
    }
    ps_time when = ps_stream_last_write(connection->stream) + connection->server->opts.send_timeout;
    if (!ps_heap_holds(&connection->timer.node) || connection->timer.node.key > when) {
        /* Without memory the timer that is set looks at it later. */
        PS_IGNORE(ps_timer_set(connection->server->loop, &connection->timer, when));
    }
}

/* How long a connection without a deadline may go unwatched: one may have come up meanwhile. */
static ps_span watch_span(const struct ps_server_opts *opts)
{
    return opts->send_timeout < opts->keep_alive_timeout ? opts->send_timeout : opts->keep_alive_timeout;
}

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct ps_connection *connection = PS_CONTAINER_OF(timer, struct ps_connection, timer);
    ps_time deadline = connection_deadline(connection);
    if (deadline > now) {
        arm_by(connection, sooner(deadline, now + watch_span(&connection->server->opts)));
        return;
    }
    bool stuck = ps_stream_queued(connection->stream) > 0;
    bool began = connection->exchange != NULL ? !connection->exchange->started
                                              : !ps_h1_is_idle(&connection->h1);
    if (!stuck && !connection->lingering && began) {
        ps_connection_refuse(connection, 408, "the request did not arrive in time");
    } else {
        ps_connection_kill(connection);
    }
}

/* --- the end of a connection ------------------------------------------------------------------ */

static void on_burial(struct ps_task *task)
{
    free(PS_CONTAINER_OF(task, struct ps_connection, burial));
}

static void on_server_idle(struct ps_task *task)
{
    struct ps_server *server = PS_CONTAINER_OF(task, struct ps_server, idle_task);
    if (server->connection_count == 0 && server->on_idle != NULL) {
        void (*on_idle)(void *) = server->on_idle;
        server->on_idle = NULL;
        on_idle(server->on_idle_ctx);
    }
}

/* Takes the connection out of its server; its memory goes at the end of the turn. */
static void bury(struct ps_connection *connection, bool broken)
{
    struct ps_server *server = connection->server;
    if (connection->dead) {
        return;
    }
    connection->dead = true;
    if (broken) {
        ps_stream_abort(connection->stream);
        connection->stream = NULL;
    }
    ps_list_remove(&connection->link);
    server->connection_count--;
    ps_timer_clear(server->loop, &connection->timer);
    ps_task_clear(&connection->pump);
    ps_h1_fini(&connection->h1);
    ps_stream_free(connection->stream);
    connection->stream = NULL;
    if (connection->counted && server->opts.on_gone != NULL) {
        server->opts.on_gone(server->opts.ctx, &connection->peer);
    }
    if (server->draining && server->connection_count == 0) {
        ps_loop_defer(server->loop, &server->idle_task);
    }
    ps_loop_defer(server->loop, &connection->burial);
}

void ps_connection_kill(struct ps_connection *connection)
{
    struct ps_exchange *exchange = connection->exchange;
    if (connection->dead) {
        return;
    }
    /* Where the end of the connection would look like the end of the answer, it must look broken. */
    bool cut = exchange != NULL && exchange->started && !exchange->ended && exchange->until_close;
    bool unsent = connection->stream != NULL && ps_stream_queued(connection->stream) > 0;
    connection->exchange = NULL;
    bury(connection, cut || unsent);
    if (exchange != NULL) {
        const struct ps_exchange_ops *ops = exchange->ops;
        exchange->ops = NULL;
        if (ops != NULL) {
            ops->on_abort(exchange->ctx);
        }
        ps_exchange_free(exchange);
    }
}

/* Half-closes and drops what still comes, so that a reset does not overtake the answer. */
static void linger(struct ps_connection *connection)
{
    connection->lingering = true;
    connection->is_closing = true;
    connection->since = ps_loop_now(connection->server->loop);
    ps_stream_shutdown(connection->stream);
    ps_stream_resume(connection->stream);
    arm_by(connection, connection_deadline(connection));
}

void ps_connection_finish(struct ps_connection *connection)
{
    struct ps_exchange *exchange = connection->exchange;
    if (!exchange->ended) {
        return;
    }
    if (!exchange->request_done && exchange->keep_alive && !connection->is_closing) {
        return; /* a small rest of the body is read and dropped, then the connection goes on */
    }
    bool close = !exchange->keep_alive || connection->is_closing || connection->server->draining;
    bool complete = exchange->request_done;
    connection->exchange = NULL;
    ps_exchange_free(exchange);
    if (close) {
        bool quiet = complete && !connection->in_on_data && !ps_stream_has_input(connection->stream);
        if (quiet && ps_stream_queued(connection->stream) == 0) {
            ps_stream_shutdown(connection->stream);
            ps_connection_kill(connection);
        } else {
            linger(connection);
        }
        return;
    }
    ps_h1_reset(&connection->h1);
    connection->since = ps_loop_now(connection->server->loop);
    arm_by(connection, connection_deadline(connection));
    if (!connection->dead && !connection->in_on_data) {
        ps_stream_resume(connection->stream);
    }
}

void ps_connection_refuse(struct ps_connection *connection, int status, const char *detail)
{
    struct ps_server *server = connection->server;
    struct ps_exchange *exchange = connection->exchange;
    if (server->opts.on_refused != NULL) {
        server->opts.on_refused(server->opts.ctx, status, &connection->peer);
    }
    if (exchange != NULL) {
        bool started = exchange->started;
        const struct ps_exchange_ops *ops = exchange->ops;
        exchange->ops = NULL;
        connection->exchange = NULL;
        if (ops != NULL) {
            ops->on_abort(exchange->ctx);
        }
        ps_exchange_free(exchange);
        if (started) {
            ps_connection_kill(connection);
            return;
        }
    }
    char body[512];
    char head[1024];
    struct ps_str reason = ps_h1_reason(status);
    /* Both shapes of error at once: nobody knows yet which kind of client this is. */
    int body_len = snprintf(body, sizeof body,
                            "{\"type\":\"about:blank\",\"title\":\"%.*s\",\"status\":%d,\"detail\":\"%s\","
                            "\"error\":{\"message\":\"%s\",\"type\":\"invalid_request_error\",\"code\":%d}}\n",
                            PS_STR_ARG(reason), status, detail, detail, status);
    int head_len = snprintf(head, sizeof head,
                            "HTTP/1.1 %d %.*s\r\nDate: %.*s\r\nContent-Type: application/problem+json\r\n"
                            "Content-Length: %d\r\nConnection: close\r\n",
                            status, PS_STR_ARG(reason), PS_STR_ARG(ps_server_date(server)), body_len);
    struct ps_str parts[4] = {{head, (size_t)head_len},
                              server->opts.refusal_headers,
                              PS_STR("\r\n"),
                              {body, (size_t)body_len}};
    if (ps_stream_uncork(connection->stream) != PS_OK || /* the parts die with this function */
        ps_stream_write(connection->stream, parts, 4) != PS_OK) {
        ps_connection_kill(connection);
        return;
    }
    linger(connection);
}

/* --- bytes become requests -------------------------------------------------------------------- */

/* The bytes of a head were just completed. Returns false when the connection can't go on. */
static bool begin_exchange(struct ps_connection *connection, struct ps_str *input)
{
    struct ps_server *server = connection->server;
    struct ps_exchange *exchange = ps_exchange_new(connection, ps_h1_head(&connection->h1));
    if (exchange == NULL) {
        ps_connection_refuse(connection, 503, "out of memory");
        return false;
    }
    connection->exchange = exchange;
    connection->proven = true;
    exchange->started_at = connection->since;
    uint64_t most = server->opts.max_body;
    if (most > 0 && exchange->head.has_content_length && exchange->head.content_length > most) {
        ps_connection_refuse(connection, 413, "the request body is too large");
        return false;
    }
    if (!ps_h1_has_body(&connection->h1)) {
        exchange->request_done = ps_h1_next(&connection->h1, input) == PS_H1_END;
        exchange->continue_due = false;
    } else {
        arm_by(connection, ps_loop_now(server->loop) + server->opts.body_timeout);
    }
    server->opts.on_request(server->opts.ctx, exchange);
    if (connection->dead || connection->exchange != exchange) {
        return !connection->dead;
    }
    if (exchange->request_done && exchange->ops != NULL && exchange->ops->on_body_end != NULL) {
        exchange->ops->on_body_end(exchange->ctx);
    } else {
        ps_exchange_continue(exchange);
    }
    return !connection->dead;
}

static bool body_data(struct ps_connection *connection, struct ps_str data)
{
    struct ps_exchange *exchange = connection->exchange;
    uint64_t most = connection->server->opts.max_body;
    exchange->body_received += data.len;
    exchange->continue_due = false;
    if (most > 0 && exchange->body_received > most) {
        ps_connection_refuse(connection, 413, "the request body is too large");
        return false;
    }
    if (exchange->ended && exchange->body_received > LINGER_BYTES) {
        connection->is_closing = true;
        ps_connection_finish(connection);
        return false;
    }
    if (exchange->ops != NULL && exchange->ops->on_body != NULL) {
        exchange->ops->on_body(exchange->ctx, data);
    }
    return !connection->dead;
}

static bool body_end(struct ps_connection *connection)
{
    struct ps_exchange *exchange = connection->exchange;
    if (exchange == NULL || exchange->request_done) {
        return true;
    }
    exchange->request_done = true;
    if (exchange->ended) {
        ps_connection_finish(connection);
    } else if (exchange->ops != NULL && exchange->ops->on_body_end != NULL) {
        exchange->ops->on_body_end(exchange->ctx);
    }
    return !connection->dead;
}

static bool must_wait(const struct ps_connection *connection)
{
    const struct ps_exchange *exchange = connection->exchange;
    return exchange != NULL && (exchange->request_done || exchange->paused);
}

/* Handles one event; returns false when the input must not be read on. */
static bool step(struct ps_connection *connection, struct ps_str *input)
{
    bool was_idle = connection->exchange == NULL && ps_h1_is_idle(&connection->h1);
    switch (ps_h1_next(&connection->h1, input)) {
    case PS_H1_HEAD:
        if (was_idle) {
            connection->since = ps_loop_now(connection->server->loop);
        }
        return begin_exchange(connection, input);
    case PS_H1_DATA:
        return body_data(connection, ps_h1_data(&connection->h1));
    case PS_H1_TRAILERS:
        return true; /* nobody upstream of us asked for them: dropped */
    case PS_H1_END:
        return body_end(connection);
    case PS_H1_ERROR: {
        struct ps_h1_error error = ps_h1_error(&connection->h1);
        ps_connection_refuse(connection, error.status, error.text);
        return false;
    }
    case PS_H1_MORE:
        if (was_idle && !ps_h1_is_idle(&connection->h1)) {
            connection->since = ps_loop_now(connection->server->loop);
            arm_by(connection, connection->since + connection->server->opts.head_timeout);
        }
        return false;
    }
    return false;
}

static size_t on_data(void *ctx, struct ps_str data)
{
    struct ps_connection *connection = ctx;
    struct ps_str input = data;
    if (connection->lingering) {
        return data.len;
    }
    connection->in_on_data = true;
    while (!must_wait(connection) && step(connection, &input)) {
        if (connection->dead || connection->lingering || connection->stream == NULL) {
            break;
        }
    }
    connection->in_on_data = false;
    if (!connection->dead && connection->exchange != NULL && connection->exchange->paused) {
        ps_stream_pause(connection->stream);
    }
    return connection->lingering ? data.len : data.len - input.len;
}

static void on_pump(struct ps_task *task)
{
    struct ps_connection *connection = PS_CONTAINER_OF(task, struct ps_connection, pump);
    on_data(connection, (struct ps_str){NULL, 0});
}

static void on_drain(void *ctx)
{
    struct ps_connection *connection = ctx;
    struct ps_exchange *exchange = connection->exchange;
    if (connection->lingering) {
        connection->since = ps_loop_now(connection->server->loop);
        arm_by(connection, connection->since + linger_time);
    }
    if (exchange != NULL && exchange->ops != NULL && exchange->ops->on_drain != NULL) {
        exchange->ops->on_drain(exchange->ctx);
    }
}

static void on_close(void *ctx, int err)
{
    (void)err;
    ps_connection_kill(ctx);
}

static const struct ps_stream_ops stream_ops = {NULL, on_data, on_drain, on_close};

/* --- connections ------------------------------------------------------------------------------ */

void ps_server_adopt(struct ps_server *server, int fd, const struct ps_address *peer, struct ps_tls *tls)
{
    const struct ps_server_opts *opts = &server->opts;
    size_t count = server->connection_count + server->upgraded_count;
    bool full = opts->max_connections > 0 && count >= opts->max_connections;
    if (full || server->draining || (opts->on_accept != NULL && !opts->on_accept(opts->ctx, peer))) {
        close(fd);
        return;
    }
    struct ps_connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        close(fd);
        if (opts->on_gone != NULL) {
            opts->on_gone(opts->ctx, peer);
        }
        return;
    }
    connection->server = server;
    connection->peer = *peer;
    connection->is_tls = tls != NULL;
    connection->counted = true;
    connection->since = ps_loop_now(server->loop);
    connection->timer.on_time = on_time;
    connection->burial.on_turn = on_burial;
    connection->pump.on_turn = on_pump;
    ps_h1_init(&connection->h1, PS_H1_REQUEST, &opts->limits, &server->scratch);
    ps_list_push(&server->connections, &connection->link);
    server->connection_count++;
    struct ps_stream_opts stream_opts = {
        .ops = &stream_ops, .ctx = connection, .budget = opts->budget, .tls = tls, .watch_hangup = true};
    if (ps_stream_accept(&connection->stream, server->loop, fd, &stream_opts) != PS_OK) {
        bury(connection, false);
        return;
    }
    /* The first head has less time than the next ones: nothing was asked of this client yet. */
    arm_by(connection, connection->since + opts->head_timeout);
}

void ps_server_moved(struct ps_server *server)
{
    server->upgraded_count--;
}

void ps_server_gone(struct ps_server *server, const struct ps_address *peer)
{
    server->upgraded_count--;
    if (server->opts.on_gone != NULL) {
        server->opts.on_gone(server->opts.ctx, peer);
    }
}

static void on_accept(void *ctx, int fd, const struct ps_address *peer)
{
    struct ps_server_listener *listener = ctx;
    ps_server_adopt(listener->server, fd, peer, listener->tls);
}

/* --- life ------------------------------------------------------------------------------------- */

int ps_server_new(struct ps_server **out, struct ps_loop *loop, const struct ps_server_opts *opts)
{
    struct ps_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        return PS_ENOMEM;
    }
    int err = ps_h1_scratch_init(&server->scratch, opts->limits.max_headers);
    if (err != PS_OK) {
        free(server);
        return err;
    }
    server->loop = loop;
    server->opts = *opts;
    server->date_second = -1;
    server->idle_task.on_turn = on_server_idle;
    ps_list_init(&server->connections);
    *out = server;
    return PS_OK;
}

static void close_listeners(struct ps_server *server)
{
    for (size_t i = 0; i < server->listener_count; i++) {
        ps_listener_free(server->listeners[i].listener);
        ps_tls_unref(server->listeners[i].tls);
    }
    server->listener_count = 0;
}

void ps_server_free(struct ps_server *server)
{
    if (server == NULL) {
        return;
    }
    server->on_idle = NULL;
    close_listeners(server);
    while (!ps_list_is_empty(&server->connections)) {
        ps_connection_kill(PS_LIST_FIRST(&server->connections, struct ps_connection, link));
    }
    ps_task_clear(&server->idle_task);
    ps_h1_scratch_fini(&server->scratch);
    free(server);
}

int ps_server_listen_fd(struct ps_server *server, int fd, struct ps_tls *tls)
{
    if (server->listener_count == PS_SERVER_MAX_LISTENERS) {
        close(fd);
        return PS_ELIMIT;
    }
    struct ps_server_listener *listener = &server->listeners[server->listener_count];
    *listener = (struct ps_server_listener){.server = server};
    int err = ps_listener_adopt(&listener->listener, server->loop, fd, on_accept, listener);
    if (err == PS_OK) {
        listener->tls = ps_tls_ref(tls);
        server->listener_count++;
    }
    return err;
}

int ps_server_listen(struct ps_server *server, const struct ps_address *at, struct ps_tls *tls)
{
    int fd;
    int err = ps_listen(at, &fd);
    return err == PS_OK ? ps_server_listen_fd(server, fd, tls) : err;
}

const struct ps_address *ps_server_address(const struct ps_server *server, size_t n)
{
    return n < server->listener_count ? ps_listener_address(server->listeners[n].listener) : NULL;
}

void ps_server_set_tls(struct ps_server *server, struct ps_tls *tls)
{
    for (size_t i = 0; i < server->listener_count; i++) {
        if (server->listeners[i].tls != NULL) {
            ps_tls_unref(server->listeners[i].tls);
            server->listeners[i].tls = ps_tls_ref(tls);
        }
    }
}

/* Room for more headers than before; without memory the old bound stays. */
static void grow_scratch(struct ps_h1_scratch *scratch, uint32_t max_headers)
{
    struct ps_h1_scratch larger;
    if (max_headers > scratch->header_room && ps_h1_scratch_init(&larger, max_headers) == PS_OK) {
        ps_h1_scratch_fini(scratch);
        *scratch = larger;
    }
}

void ps_server_set_opts(struct ps_server *server, const struct ps_server_opts *opts)
{
    server->opts = *opts;
    grow_scratch(&server->scratch, opts->limits.max_headers);
}

void ps_server_drain(struct ps_server *server, void (*on_idle)(void *ctx), void *ctx)
{
    server->draining = true;
    server->on_idle = on_idle;
    server->on_idle_ctx = ctx;
    close_listeners(server);
    struct ps_list *node = server->connections.next;
    while (node != &server->connections) {
        struct ps_connection *connection = PS_CONTAINER_OF(node, struct ps_connection, link);
        node = node->next;
        if (connection->exchange == NULL && ps_h1_is_idle(&connection->h1) && !connection->lingering) {
            ps_connection_kill(connection);
        }
    }
    if (server->connection_count == 0) {
        ps_loop_defer(server->loop, &server->idle_task);
    }
}

size_t ps_server_connections(const struct ps_server *server)
{
    return server->connection_count;
}
