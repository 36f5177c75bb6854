#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "http/h1_write.h"
#include "http/server_private.h"

enum {
    HEAD_OUT_LIMIT = 256 * 1024,
    DISCARD_BYTES = 64 * 1024 /* a rest of a body worth reading to keep the connection */
};

/* --- the request ------------------------------------------------------------------------------ */

static void on_flush(struct ps_task *task);

struct ps_exchange *ps_exchange_new(struct ps_connection *connection, const struct ps_h1_head *head)
{
    struct ps_exchange *exchange =
        malloc(sizeof *exchange + ps_h1_head_copy_size(head));
    if (exchange == NULL) {
        return NULL;
    }
    *exchange = (struct ps_exchange){.connection = connection};
    ps_h1_head_copy(&exchange->head, head, exchange + 1);
    exchange->keep_alive = head->keep_alive;
    exchange->continue_due = head->expect_continue;
    exchange->head_out = ps_buf_make(HEAD_OUT_LIMIT);
    exchange->flush.on_turn = on_flush;
    return exchange;
}

void ps_exchange_free(struct ps_exchange *exchange)
{
    ps_task_clear(&exchange->flush);
    ps_buf_fini(&exchange->head_out);
    free(exchange);
}

void ps_exchange_handle(struct ps_exchange *exchange, const struct ps_exchange_ops *ops, void *ctx)
{
    exchange->ops = ops;
    exchange->ctx = ctx;
}

const struct ps_h1_head *ps_exchange_head(const struct ps_exchange *exchange)
{
    return &exchange->head;
}

struct ps_str ps_exchange_header(const struct ps_exchange *exchange, struct ps_str name)
{
    const struct ps_h1_header *header = ps_h1_head_find_name(&exchange->head, name);
    return header == NULL ? (struct ps_str){NULL, 0} : header->value;
}

struct ps_str ps_exchange_path(const struct ps_exchange *exchange)
{
    return ps_str_first(exchange->head.path, ps_str_find(exchange->head.path, '?'));
}

struct ps_str ps_exchange_query(const struct ps_exchange *exchange)
{
    return ps_str_skip(exchange->head.path, ps_str_find(exchange->head.path, '?') + 1);
}

const struct ps_address *ps_exchange_peer(const struct ps_exchange *exchange)
{
    return &exchange->connection->peer;
}

bool ps_exchange_is_tls(const struct ps_exchange *exchange)
{
    return exchange->connection->is_tls;
}

struct ps_server *ps_exchange_server(const struct ps_exchange *exchange)
{
    return exchange->connection->server;
}

struct ps_loop *ps_exchange_loop(const struct ps_exchange *exchange)
{
    return exchange->connection->server->loop;
}

ps_time ps_exchange_started(const struct ps_exchange *exchange)
{
    return exchange->started_at;
}

void ps_exchange_pause(struct ps_exchange *exchange)
{
    exchange->paused = true;
    if (!exchange->connection->in_on_data) {
        ps_stream_pause(exchange->connection->stream);
    }
}

static void resume_reading(struct ps_connection *connection)
{
    if (!connection->in_on_data) {
        ps_loop_defer(connection->server->loop, &connection->pump);
        ps_stream_resume(connection->stream);
    }
}

void ps_exchange_resume(struct ps_exchange *exchange)
{
    if (exchange->paused) {
        exchange->paused = false;
        ps_exchange_continue(exchange);
        ps_connection_watch_body(exchange->connection);
        resume_reading(exchange->connection);
    }
}

bool ps_exchange_body_done(const struct ps_exchange *exchange)
{
    return exchange->request_done;
}

/* --- the answer ------------------------------------------------------------------------------- */

static int send_parts(struct ps_exchange *exchange, const struct ps_str *parts, size_t count)
{
    int err = ps_stream_write(exchange->connection->stream, parts, count);
    ps_connection_watch_output(exchange->connection);
    return err;
}

static int uncork(struct ps_exchange *exchange)
{
    int err = ps_stream_uncork(exchange->connection->stream);
    ps_connection_watch_output(exchange->connection);
    return err;
}

void ps_exchange_continue(struct ps_exchange *exchange)
{
    if (exchange->continue_due && !exchange->paused && !exchange->started && exchange->ops != NULL) {
        exchange->continue_due = false;
        PS_IGNORE(ps_exchange_interim(exchange, 100, PS_STR("")));
    }
}

int ps_exchange_interim(struct ps_exchange *exchange, int status, struct ps_str headers)
{
    if (exchange->started || exchange->head.minor == 0) {
        return PS_OK;
    }
    struct ps_buf head = ps_buf_make(HEAD_OUT_LIMIT);
    int err = ps_h1_write_status_line(&head, status, PS_STR(""));
    err = err != PS_OK ? err : ps_buf_append_str(&head, headers);
    err = err != PS_OK ? err : ps_h1_write_head_end(&head);
    if (err == PS_OK) {
        struct ps_str part = ps_buf_str(&head);
        bool corked = ps_stream_is_corked(exchange->connection->stream);
        err = send_parts(exchange, &part, 1);
        if (err == PS_OK && corked) { /* the bytes die with this function */
            err = ps_stream_uncork(exchange->connection->stream);
            ps_stream_cork(exchange->connection->stream);
        }
    }
    ps_buf_fini(&head);
    return err;
}

/* Is the rest of the request short enough to be read and dropped after the answer? */
static bool rest_is_small(const struct ps_exchange *exchange)
{
    const struct ps_h1_head *head = &exchange->head;
    if (exchange->request_done) {
        return true;
    }
    if (exchange->continue_due) {
        return false; /* the client may or may not send its body now */
    }
    return head->has_content_length && head->content_length - exchange->body_received <= DISCARD_BYTES;
}

static int write_framing(struct ps_exchange *exchange)
{
    struct ps_buf *out = &exchange->head_out;
    int err = PS_OK;
    if (exchange->known_length) {
        err = ps_h1_write_header_u64(out, PS_STR("Content-Length"), exchange->length_left);
    } else if (exchange->chunked) {
        err = ps_buf_append_str(out, PS_STR("Transfer-Encoding: chunked\r\n"));
    }
    if (err == PS_OK && !exchange->keep_alive) {
        err = ps_buf_append_str(out, PS_STR("Connection: close\r\n"));
    } else if (err == PS_OK && exchange->head.minor == 0) {
        err = ps_buf_append_str(out, PS_STR("Connection: keep-alive\r\n"));
    }
    return err == PS_OK ? ps_h1_write_head_end(out) : err;
}

int ps_exchange_start(struct ps_exchange *exchange, int status, struct ps_str reason,
                      struct ps_str headers, uint64_t length)
{
    PS_CHECK(!exchange->started);
    struct ps_buf *out = &exchange->head_out;
    bool is_head = exchange->head.method_id == PS_H1_METHOD_HEAD;
    bool bodiless = status == 204 || status == 304 || status < 200;
    exchange->no_body = is_head || bodiless;
    exchange->known_length = length != PS_LENGTH_UNKNOWN && !bodiless;
    exchange->length_left = exchange->known_length ? length : 0;
    exchange->chunked = !exchange->known_length && !exchange->no_body && exchange->head.minor >= 1;
    exchange->until_close = !exchange->known_length && !exchange->no_body && !exchange->chunked;
    if (exchange->until_close || !rest_is_small(exchange) || exchange->connection->server->draining) {
        exchange->keep_alive = false;
    }
    int err = ps_buf_reserve(out, headers.len + 256);
    err = err != PS_OK ? err : ps_h1_write_status_line(out, status, reason);
    err = err != PS_OK ? err : ps_buf_append_str(out, headers);
    err = err != PS_OK ? err : write_framing(exchange);
    if (err == PS_OK) {
        exchange->started = true;
        ps_loop_defer(exchange->connection->server->loop, &exchange->flush);
    }
    return err;
}

/* Puts the unsent head in front; it is sent once. */
static size_t put_head(struct ps_exchange *exchange, struct ps_str *parts)
{
    if (exchange->flush.link.next == NULL || ps_list_is_empty(&exchange->flush.link)) {
        return 0;
    }
    ps_task_clear(&exchange->flush);
    parts[0] = ps_buf_str(&exchange->head_out);
    return 1;
}

static void on_flush(struct ps_task *task)
{
    struct ps_exchange *exchange = PS_CONTAINER_OF(task, struct ps_exchange, flush);
    struct ps_str head = ps_buf_str(&exchange->head_out);
    if (send_parts(exchange, &head, 1) != PS_OK) {
        ps_exchange_reset(exchange);
    }
}

int ps_exchange_write(struct ps_exchange *exchange, struct ps_str data)
{
    struct ps_str parts[4];
    char size[PS_H1_CHUNK_HEADER_MAX];
    PS_CHECK(exchange->started && !exchange->ended);
    if (data.len == 0 || exchange->no_body) {
        return PS_OK;
    }
    size_t count = put_head(exchange, parts);
    if (exchange->chunked) {
        parts[count++] = (struct ps_str){size, ps_h1_format_chunk_header(size, data.len)};
        parts[count++] = data;
        parts[count++] = PS_STR("\r\n");
    } else {
        if (exchange->known_length) {
            data = ps_str_first(data, exchange->length_left);
            exchange->length_left -= data.len;
        }
        parts[count++] = data;
    }
    return send_parts(exchange, parts, count);
}

void ps_exchange_cork(struct ps_exchange *exchange)
{
    ps_stream_cork(exchange->connection->stream);
}

int ps_exchange_uncork(struct ps_exchange *exchange)
{
    return uncork(exchange);
}

size_t ps_exchange_queued(const struct ps_exchange *exchange)
{
    return ps_stream_queued(exchange->connection->stream);
}

bool ps_exchange_is_started(const struct ps_exchange *exchange)
{
    return exchange->started;
}

static int send_last(struct ps_exchange *exchange, struct ps_str trailers)
{
    struct ps_str parts[4];
    size_t count = put_head(exchange, parts);
    if (exchange->chunked) {
        parts[count++] = trailers.len == 0 ? PS_STR("0\r\n\r\n") : PS_STR("0\r\n");
        if (trailers.len > 0) {
            parts[count++] = trailers;
            parts[count++] = PS_STR("\r\n");
        }
    }
    int err = count > 0 ? send_parts(exchange, parts, count) : PS_OK;
    return err == PS_OK ? uncork(exchange) : err;
}

void ps_exchange_end(struct ps_exchange *exchange, struct ps_str trailers)
{
    bool cut_short = exchange->known_length && !exchange->no_body && exchange->length_left > 0;
    PS_CHECK(exchange->started && !exchange->ended);
    if (cut_short || send_last(exchange, trailers) != PS_OK) {
        ps_exchange_reset(exchange);
        return;
    }
    exchange->ended = true;
    exchange->ops = NULL;
    if (exchange->paused && !exchange->request_done) {
        exchange->paused = false;
        resume_reading(exchange->connection);
    }
    ps_connection_finish(exchange->connection);
}

void ps_exchange_respond(struct ps_exchange *exchange, int status, struct ps_str headers,
                         struct ps_str content_type, struct ps_str body)
{
    struct ps_buf all = ps_buf_make(HEAD_OUT_LIMIT);
    int err = ps_h1_write_header(&all, PS_STR("Date"), ps_server_date(exchange->connection->server));
    if (err == PS_OK && content_type.len > 0) {
        err = ps_h1_write_header(&all, PS_STR("Content-Type"), content_type);
    }
    err = err != PS_OK ? err : ps_buf_append_str(&all, headers);
    err = err != PS_OK ? err : ps_exchange_start(exchange, status, PS_STR(""), ps_buf_str(&all), body.len);
    ps_buf_fini(&all);
    err = err != PS_OK ? err : ps_exchange_write(exchange, body);
    if (err == PS_OK) {
        ps_exchange_end(exchange, PS_STR(""));
    } else {
        ps_exchange_reset(exchange);
    }
}

void ps_exchange_reset(struct ps_exchange *exchange)
{
    struct ps_connection *connection = exchange->connection;
    exchange->ops = NULL; /* the handler asked for it: it is not told */
    ps_connection_kill(connection);
}

struct ps_stream *ps_exchange_upgrade(struct ps_exchange *exchange, struct ps_str head)
{
    struct ps_connection *connection = exchange->connection;
    struct ps_stream *stream = connection->stream;
    if (ps_stream_uncork(stream) != PS_OK || ps_stream_write(stream, &head, 1) != PS_OK) {
        ps_exchange_reset(exchange);
        return NULL;
    }
    ps_stream_pause(stream);
    ps_stream_read_to_end(stream);
    connection->stream = NULL;
    connection->counted = false; /* ps_server_gone() is owed instead */
    connection->server->upgraded_count++;
    exchange->ops = NULL;
    ps_connection_kill(connection);
    return stream;
}
