#include "http/ws.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/list.h"
#include "http/server.h"
#include "io/loop.h"
#include "io/stream.h"

enum {
    MOST_CONTROL = 125, /* payload of a control frame (RFC 6455, 5.5) */
    MOST_REASON = 123,
    HEAD_LIMIT = 4096,
    EVENT_COST = 512 /* bytes that a message or control frame counts as beside its own */
};

static const ps_span close_time = 2 * PS_SECOND; /* for the peer to answer a close frame */
static const ps_span rate_window = PS_SECOND;

struct waiting {
    struct ps_list link;
    struct ps_ws_frame *frame;
};

/* A control frame as it crosses the wire. */
struct control {
    uint8_t len; /* 0 = none */
    char bytes[2 + MOST_CONTROL];
};

struct ps_ws {
    struct ps_ws_opts opts;
    struct ps_loop *loop;
    struct ps_stream *stream;
    struct ps_ws_reader reader;
    struct ps_timer timer; /* fires at or before the next deadline */
    struct ps_task burial; /* it is never freed under somebody's feet */

    /* what is on its way: a message or a control frame; `sent` bytes of it are in the socket */
    struct ps_ws_frame *message;
    struct control control;
    size_t sent;

    struct ps_list waiting; /* messages */
    uint32_t waiting_count;
    struct control pong;  /* the newest that is owed */
    struct control close; /* to be sent last */

    ps_time heard;     /* the peer's last sign of life */
    ps_time pinged_at; /* 0 = no ping is out */
    ps_time close_by;  /* 0 = not closing */
    ps_time window;    /* when the count of `received` began */
    uint64_t received;
    unsigned code; /* for on_gone */
    bool blocked;  /* the socket was full */
    bool ping_due;
    bool held; /* not read, because it sent too much */
    bool closing;
    bool close_sent;
    bool gone;
};

/* --- the end ---------------------------------------------------------------------------------- */

static void drop_waiting(struct ps_ws *ws)
{
    while (!ps_list_is_empty(&ws->waiting)) {
        struct waiting *first = PS_LIST_FIRST(&ws->waiting, struct waiting, link);
        ps_list_remove(&first->link);
        ps_ws_frame_unref(first->frame);
        free(first);
    }
    ws->waiting_count = 0;
}

void ps_ws_free(struct ps_ws *ws)
{
    if (ws == NULL) {
        return;
    }
    ps_timer_clear(ws->loop, &ws->timer);
    ps_task_clear(&ws->burial);
    drop_waiting(ws);
    ps_ws_frame_unref(ws->message);
    ps_ws_reader_fini(&ws->reader);
    ps_stream_free(ws->stream);
    free(ws);
}

static void on_burial(struct ps_task *task)
{
    struct ps_ws *ws = PS_CONTAINER_OF(task, struct ps_ws, burial);
    void (*on_gone)(void *, unsigned) = ws->opts.ops->on_gone;
    void *ctx = ws->opts.ctx;
    unsigned code = ws->code;
    ps_ws_free(ws);
    on_gone(ctx, code);
}

/* The peer is let go at the end of this turn. */
static void leave(struct ps_ws *ws, unsigned code)
{
    if (!ws->gone) {
        ws->gone = true;
        ws->code = ws->code != 0 ? ws->code : code;
        ps_stream_pause(ws->stream);
        ps_loop_defer(ws->loop, &ws->burial);
    }
}

/* --- deadlines -------------------------------------------------------------------------------- */

static ps_time sooner(ps_time a, ps_time b)
{
    return a < b ? a : b;
}

static ps_time next_deadline(const struct ps_ws *ws)
{
    ps_time when = ws->close_by != 0 ? ws->close_by : PS_NEVER;
    if (ws->held) {
        when = sooner(when, ws->window + rate_window);
    }
    if (ws->opts.ping_interval > 0 && ws->close_by == 0) {
        ps_time since = ws->pinged_at != 0 ? ws->pinged_at : ws->heard;
        when = sooner(when, since + ws->opts.ping_interval);
    }
    return when;
}

/* A deadline that moves later is not set anew: the timer fires early, looks, and goes back to sleep. */
static void arm(struct ps_ws *ws)
{
    ps_time when = next_deadline(ws);
    bool set = ps_heap_holds(&ws->timer.node) && ws->timer.node.key <= when;
    if (when != PS_NEVER && !set && ps_timer_set(ws->loop, &ws->timer, when) != PS_OK) {
        leave(ws, PS_WS_INTERNAL);
    }
}

/* --- what leaves ------------------------------------------------------------------------------ */

static void put_control(struct control *control, enum ps_ws_opcode opcode, struct ps_str payload)
{
    payload = ps_str_first(payload, MOST_CONTROL);
    char head[PS_WS_HEAD_MOST];
    size_t len = ps_ws_frame_head(head, opcode, false, payload.len);
    memcpy(control->bytes, head, len);
    if (payload.len > 0) {
        memcpy(control->bytes + len, payload.ptr, payload.len);
    }
    control->len = (uint8_t)(len + payload.len);
}

/* Takes what is to be sent next; false: nothing is. */
static bool choose(struct ps_ws *ws)
{
    ws->sent = 0;
    if (ws->closing) {
        ws->control = ws->close;
        ws->close.len = 0;
    } else if (ws->pong.len > 0) {
        ws->control = ws->pong;
        ws->pong.len = 0;
    } else if (ws->ping_due) {
        put_control(&ws->control, PS_WS_OPCODE_PING, PS_STR(""));
        ws->ping_due = false;
    } else if (ws->waiting_count > 0) {
        struct waiting *first = PS_LIST_FIRST(&ws->waiting, struct waiting, link);
        ps_list_remove(&first->link);
        ws->message = first->frame;
        ws->waiting_count--;
        free(first);
    }
    return ws->message != NULL || ws->control.len > 0;
}

static struct ps_str on_its_way(const struct ps_ws *ws)
{
    if (ws->message != NULL) {
        return ps_ws_frame_bytes(ws->message, ws->opts.deflate);
    }
    return (struct ps_str){ws->control.bytes, ws->control.len};
}

static void count_sent(struct ps_ws *ws, size_t bytes)
{
    if (ws->opts.tally != NULL) {
        ws->opts.tally->frames += ws->message != NULL && ws->sent == 0 && bytes > 0 ? 1 : 0;
        ws->opts.tally->bytes += bytes;
    }
}

/* Sends the rest of what is on its way. False: the socket is full. */
static bool send_rest(struct ps_ws *ws)
{
    struct ps_str bytes = ps_str_skip(on_its_way(ws), ws->sent);
    size_t sent = ps_stream_send(ws->stream, bytes);
    count_sent(ws, sent);
    ws->sent += sent;
    if (sent < bytes.len) {
        ws->blocked = true;
        return false;
    }
    bool closed = ws->message == NULL && ((unsigned char)ws->control.bytes[0] & 0x0f) == PS_WS_OPCODE_CLOSE;
    ps_ws_frame_unref(ws->message);
    ws->message = NULL;
    ws->control.len = 0;
    if (closed) {
        ws->close_sent = true;
        ps_stream_shutdown(ws->stream);
    }
    return true;
}

static void pump(struct ps_ws *ws)
{
    while (!ws->gone && !ws->blocked && !ws->close_sent && (ws->message != NULL || ws->control.len > 0 || choose(ws))) {
        if (!send_rest(ws)) {
            return;
        }
    }
}

static void on_drain(void *ctx)
{
    struct ps_ws *ws = ctx;
    if (ws->blocked) { /* the peer has read: it lives */
        ws->blocked = false;
        ws->heard = ps_loop_now(ws->loop);
        ws->pinged_at = 0;
    }
    pump(ws);
}

static void skip_oldest(struct ps_ws *ws)
{
    struct waiting *first = PS_LIST_FIRST(&ws->waiting, struct waiting, link);
    ps_list_remove(&first->link);
    ps_ws_frame_unref(first->frame);
    free(first);
    ws->waiting_count--;
    if (ws->opts.tally != NULL) {
        ws->opts.tally->skipped++;
    }
}

void ps_ws_send(struct ps_ws *ws, struct ps_ws_frame *frame)
{
    if (ws->closing || ws->gone) {
        return;
    }
    bool idle = ws->message == NULL && ws->control.len == 0 && ws->waiting_count == 0 && !ws->blocked;
    if (idle) {
        ws->sent = 0;
        ws->message = ps_ws_frame_ref(frame);
        pump(ws);
        return;
    }
    if (ws->waiting_count >= ws->opts.max_waiting) {
        if (!ws->opts.skips) {
            leave(ws, PS_WS_POLICY);
            return;
        }
        skip_oldest(ws);
    }
    struct waiting *last = malloc(sizeof *last);
    if (last == NULL) {
        leave(ws, PS_WS_INTERNAL);
        return;
    }
    last->frame = ps_ws_frame_ref(frame);
    ps_list_push(&ws->waiting, &last->link);
    ws->waiting_count++;
    pump(ws);
}

void ps_ws_send_text(struct ps_ws *ws, struct ps_str text)
{
    struct ps_ws_frame *frame = NULL;
    if (ps_ws_frame_new(&frame, PS_WS_OPCODE_TEXT, text) == PS_OK) {
        ps_ws_send(ws, frame);
        ps_ws_frame_unref(frame);
    }
}

/* Whatever is to be said last; `code` 0 or one that is never sent: a close frame without one. */
static void say_goodbye(struct ps_ws *ws, unsigned code, struct ps_str reason)
{
    char body[2 + MOST_REASON];
    if (ws->closing || ws->gone) {
        return;
    }
    reason = ps_str_first(reason, MOST_REASON);
    size_t len = ps_ws_code_is_valid(code) ? 2 + reason.len : 0;
    body[0] = (char)(code >> 8);
    body[1] = (char)(code & 0xff);
    if (len > 2) {
        memcpy(body + 2, reason.ptr, reason.len);
    }
    drop_waiting(ws);
    put_control(&ws->close, PS_WS_OPCODE_CLOSE, (struct ps_str){body, len});
    ws->closing = true;
    ws->code = code;
    ws->close_by = ps_loop_now(ws->loop) + close_time;
    pump(ws);
    arm(ws);
}

void ps_ws_close(struct ps_ws *ws, enum ps_ws_code code, struct ps_str reason)
{
    say_goodbye(ws, (unsigned)code, reason);
}

/* --- what arrives ----------------------------------------------------------------------------- */

static void on_peer_close(struct ps_ws *ws)
{
    bool asked = ws->closing;
    say_goodbye(ws, ws->reader.code, PS_STR(""));
    if (asked && ws->close_sent) {
        leave(ws, ws->code);
    }
}

static void on_event(struct ps_ws *ws, enum ps_ws_event event)
{
    switch (event) {
    case PS_WS_MORE:
    case PS_WS_PONG:
        break;
    case PS_WS_TEXT:
    case PS_WS_BINARY:
        if (ws->opts.ops->on_message != NULL && !ws->closing) {
            ws->opts.ops->on_message(ws->opts.ctx, event == PS_WS_TEXT, ws->reader.payload);
        }
        break;
    case PS_WS_PING:
        put_control(&ws->pong, PS_WS_OPCODE_PONG, ws->reader.payload);
        break;
    case PS_WS_CLOSE:
        on_peer_close(ws);
        break;
    case PS_WS_ERROR:
        say_goodbye(ws, ws->reader.code, ps_str_from(ws->reader.reason));
        break;
    }
}

/* Who sends more than it should is read on when its second is over; TCP holds it back meanwhile. */
static bool is_over_rate(struct ps_ws *ws, size_t bytes)
{
    ws->received += bytes;
    return ws->opts.max_rate > 0 && ws->received > ws->opts.max_rate;
}

static void hold(struct ps_ws *ws)
{
    ws->held = true;
    ps_stream_pause(ws->stream);
    arm(ws);
}

/* Events until the input is used up or the second's measure is. Returns whether it is. */
static bool read_events(struct ps_ws *ws, struct ps_str *data)
{
    enum ps_ws_event event;
    bool over;
    do {
        size_t before = data->len;
        event = ps_ws_read(&ws->reader, data);
        on_event(ws, event);
        over = is_over_rate(ws, before - data->len + (event == PS_WS_MORE ? 0 : EVENT_COST));
    } while (event != PS_WS_MORE && !ws->gone && !over);
    return over;
}

static size_t on_data(void *ctx, struct ps_str data)
{
    struct ps_ws *ws = ctx;
    size_t len = data.len;
    ws->heard = ps_loop_now(ws->loop);
    ws->pinged_at = 0;
    if (ws->heard - ws->window >= rate_window) {
        ws->window = ws->heard;
        ws->received = 0;
    }
    bool over = read_events(ws, &data);
    if (!ws->gone) {
        pump(ws); /* the newest pong */
    }
    if (over && !ws->gone) {
        hold(ws);
    }
    return len - data.len;
}

static void on_close(void *ctx, int err)
{
    (void)err;
    leave(ctx, PS_WS_LOST);
}

static const struct ps_stream_ops stream_ops = {.on_data = on_data, .on_drain = on_drain, .on_close = on_close};

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct ps_ws *ws = PS_CONTAINER_OF(timer, struct ps_ws, timer);
    if (ws->gone) {
        return;
    }
    if (ws->held && now >= ws->window + rate_window) {
        ws->held = false;
        on_data(ws, PS_STR("")); /* what the reader has already */
        if (!ws->held && !ws->gone) {
            ps_stream_resume(ws->stream);
        }
    }
    bool silent = ws->pinged_at != 0 && now >= ws->pinged_at + ws->opts.ping_interval;
    if ((ws->close_by != 0 && now >= ws->close_by) || (silent && ws->close_by == 0 && ws->opts.ping_interval > 0)) {
        leave(ws, PS_WS_LOST);
        return;
    }
    if (ws->opts.ping_interval > 0 && ws->pinged_at == 0 && now >= ws->heard + ws->opts.ping_interval) {
        ws->ping_due = true;
        ws->pinged_at = now;
        pump(ws);
    }
    arm(ws);
}

/* --- the beginning ---------------------------------------------------------------------------- */

struct ps_stream *ps_ws_accept(struct ps_exchange *exchange, const struct ps_ws_handshake *handshake,
                               struct ps_str headers)
{
    struct ps_buf head = ps_buf_make(HEAD_LIMIT);
    struct ps_stream *stream = NULL;
    if (ps_ws_handshake_write(&head, handshake, headers) == PS_OK) {
        stream = ps_exchange_upgrade(exchange, ps_buf_str(&head));
    } else {
        ps_exchange_reset(exchange);
    }
    ps_buf_fini(&head);
    return stream;
}

int ps_ws_open(struct ps_ws **out, struct ps_loop *loop, struct ps_stream *stream, const struct ps_ws_opts *opts)
{
    struct ps_ws *ws = calloc(1, sizeof *ws);
    if (ws == NULL) {
        ps_stream_free(stream);
        return PS_ENOMEM;
    }
    ws->opts = *opts;
    ws->loop = loop;
    ws->stream = stream;
    ws->timer.on_time = on_time;
    ws->burial.on_turn = on_burial;
    ws->heard = ws->window = ps_loop_now(loop);
    ps_list_init(&ws->waiting);
    ps_ws_reader_init(&ws->reader, opts->max_message, opts->deflate);
    ps_stream_set_owner(stream, &stream_ops, ws);
    ps_stream_watch_hangup(stream); /* also while it is held, with much unread */
    ps_stream_resume(stream);
    *out = ws;
    arm(ws);
    return PS_OK;
}
