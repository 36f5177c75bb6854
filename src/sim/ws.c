#include "sim/ws.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/server.h"
#include "io/loop.h"
#include "io/stream.h"
#include "sim/embed.h"

enum { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

#define MOST_UNSENT ((size_t)4 << 20)
#define LONGEST_KEY 64
#define GUID        "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

struct ps_sim_ws {
    struct ps_loop *loop;
    struct ps_stream *stream;
    struct ps_sim_ws_reader reader;
    struct ps_buf out;
    struct ps_task burial; /* it is never freed under somebody's feet */
    void (*on_gone)(void *ctx, struct ps_sim_ws *ws);
    void *ctx;
    bool leaving;
};

/* --- frames that arrive ----------------------------------------------------------------------- */

static size_t length_bytes(uint8_t second)
{
    uint8_t length = second & 0x7f;
    return length == 126 ? 2 : length == 127 ? 8 : 0;
}

/* The size of the head as far as it is known. */
static size_t head_size(const struct ps_sim_ws_reader *reader)
{
    return reader->head_len < 2 ? 2 : 2 + length_bytes(reader->head[1]) + 4;
}

/* Reserved bits, unmasked frames, long or fragmented control frames and unknown opcodes are wrong.
 */
static bool is_sound(const struct ps_sim_ws_reader *reader)
{
    uint8_t first = reader->head[0];
    uint8_t opcode = first & 0x0f;
    bool control = opcode >= CLOSE;
    if ((first & 0x70) != 0 || (reader->head[1] & 0x80) == 0) {
        return false;
    }
    if (control && ((first & 0x80) == 0 || reader->left > PS_SIM_WS_CONTROL)) {
        return false;
    }
    return opcode <= 2 || (opcode >= CLOSE && opcode <= PONG);
}

static void open_payload(struct ps_sim_ws_reader *reader)
{
    size_t more = length_bytes(reader->head[1]);
    reader->left = more == 0 ? reader->head[1] & 0x7f : 0;
    for (size_t i = 0; i < more; i++) {
        reader->left = reader->left << 8 | reader->head[2 + i];
    }
    memcpy(reader->mask, reader->head + 2 + more, sizeof reader->mask);
    reader->opcode = reader->head[0] & 0x0f;
    reader->done = 0;
    reader->control_len = 0;
    reader->in_payload = true;
}

static enum ps_sim_ws_event event_of(uint8_t opcode)
{
    switch (opcode) {
    case CLOSE:
        return PS_SIM_WS_CLOSE;
    case PING:
        return PS_SIM_WS_PING;
    case PONG:
        return PS_SIM_WS_PONG;
    default:
        return PS_SIM_WS_DATA;
    }
}

static void take_payload(struct ps_sim_ws_reader *reader, struct ps_str *input)
{
    size_t part = input->len < reader->left ? input->len : (size_t)reader->left;
    for (size_t i = 0; i < part && reader->opcode >= CLOSE; i++) {
        uint8_t mask = reader->mask[(reader->done + i) % 4];
        reader->control[reader->control_len++] = (char)((uint8_t)input->ptr[i] ^ mask);
    }
    *input = ps_str_skip(*input, part);
    reader->left -= part;
    reader->done += part;
}

enum ps_sim_ws_event ps_sim_ws_read(struct ps_sim_ws_reader *reader, struct ps_str *input)
{
    while (!reader->in_payload && input->len > 0) {
        reader->head[reader->head_len++] = (uint8_t)input->ptr[0];
        *input = ps_str_skip(*input, 1);
        if (reader->head_len >= 2 && reader->head_len == head_size(reader)) {
            open_payload(reader);
            if (!is_sound(reader)) {
                return PS_SIM_WS_ERROR;
            }
        }
    }
    if (!reader->in_payload) {
        return PS_SIM_WS_MORE;
    }
    take_payload(reader, input);
    if (reader->left > 0) {
        return PS_SIM_WS_MORE;
    }
    reader->in_payload = false;
    reader->head_len = 0;
    return event_of(reader->opcode);
}

/* --- frames that leave ------------------------------------------------------------------------ */

int ps_sim_ws_frame(struct ps_buf *out, uint8_t opcode, struct ps_str payload)
{
    uint8_t head[10] = {(uint8_t)(0x80 | opcode)};
    size_t len = 2;
    size_t more = payload.len < 126 ? 0 : payload.len < 65536 ? 2 : 8;
    head[1] = more == 0 ? (uint8_t)payload.len : more == 2 ? 126 : 127;
    for (size_t i = 0; i < more; i++) {
        head[len++] = (uint8_t)((uint64_t)payload.len >> (8 * (more - 1 - i)));
    }
    int err = ps_buf_append(out, head, len);
    return err == PS_OK ? ps_buf_append_str(out, payload) : err;
}

int ps_sim_ws_accept_key(struct ps_buf *out, struct ps_str key)
{
    char text[LONGEST_KEY + sizeof GUID];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    if (key.len == 0 || key.len > LONGEST_KEY) {
        return PS_EINVAL;
    }
    memcpy(text, key.ptr, key.len);
    memcpy(text + key.len, GUID, sizeof GUID);
    if (EVP_Digest(text, key.len + sizeof GUID - 1, digest, &size, EVP_sha1(), NULL) != 1) {
        return PS_ENOMEM;
    }
    return ps_sim_base64(out, digest, size);
}

/* --- a connection ----------------------------------------------------------------------------- */

static void on_burial(struct ps_task *task)
{
    struct ps_sim_ws *ws = PS_CONTAINER_OF(task, struct ps_sim_ws, burial);
    if (ws->on_gone != NULL) {
        ws->on_gone(ws->ctx, ws);
    }
    ps_sim_ws_free(ws);
}

/* Lets the client go at the end of this turn. */
static void leave(struct ps_sim_ws *ws)
{
    ws->leaving = true;
    ps_loop_defer(ws->loop, &ws->burial);
}

static void send_frame(struct ps_sim_ws *ws, uint8_t opcode, struct ps_str payload)
{
    ps_buf_clear(&ws->out);
    int err = ps_sim_ws_frame(&ws->out, opcode, payload);
    struct ps_str frame = ps_buf_str(&ws->out);
    if (err == PS_OK && ps_stream_queued(ws->stream) < MOST_UNSENT) {
        err = ps_stream_write(ws->stream, &frame, 1);
    } else {
        err = PS_ELIMIT;
    }
    if (err != PS_OK) {
        leave(ws);
    }
}

static void on_event(struct ps_sim_ws *ws, enum ps_sim_ws_event event)
{
    struct ps_str control = {ws->reader.control, ws->reader.control_len};
    switch (event) {
    case PS_SIM_WS_MORE:
    case PS_SIM_WS_DATA:
    case PS_SIM_WS_PONG:
        break;
    case PS_SIM_WS_PING:
        send_frame(ws, PONG, control);
        break;
    case PS_SIM_WS_CLOSE:
        send_frame(ws, CLOSE, ps_str_first(control, 2));
        leave(ws);
        break;
    case PS_SIM_WS_ERROR:
        send_frame(ws, CLOSE, PS_STR("\x03\xea")); /* 1002, against the protocol */
        leave(ws);
        break;
    }
}

static size_t on_data(void *ctx, struct ps_str data)
{
    struct ps_sim_ws *ws = ctx;
    size_t len = data.len;
    enum ps_sim_ws_event event = PS_SIM_WS_DATA;
    while (!ws->leaving && event != PS_SIM_WS_MORE) {
        event = ps_sim_ws_read(&ws->reader, &data);
        on_event(ws, event);
    }
    return len;
}

static void on_close(void *ctx, int err)
{
    (void)err;
    leave(ctx);
}

static const struct ps_stream_ops stream_ops = {.on_data = on_data, .on_close = on_close};

static int write_head(struct ps_buf *out, struct ps_str key)
{
    int err = ps_buf_append_str(out, PS_STR("HTTP/1.1 101 Switching Protocols\r\n"
                                            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                                            "X-Simulated: true\r\nSec-WebSocket-Accept: "));
    err = err == PS_OK ? ps_sim_ws_accept_key(out, key) : err;
    return err == PS_OK ? ps_buf_append_str(out, PS_STR("\r\n\r\n")) : err;
}

static struct ps_sim_ws *new_ws(struct ps_exchange *exchange)
{
    struct ps_sim_ws *ws = calloc(1, sizeof *ws);
    if (ws != NULL) {
        ws->loop = ps_exchange_loop(exchange);
        ws->out = ps_buf_make(MOST_UNSENT);
        ws->burial.on_turn = on_burial;
    }
    return ws;
}

int ps_sim_ws_open(struct ps_sim_ws **out, struct ps_exchange *exchange,
                   void (*on_gone)(void *ctx, struct ps_sim_ws *ws), void *ctx)
{
    const struct ps_h1_head *head = ps_exchange_head(exchange);
    struct ps_str version = ps_exchange_header(exchange, PS_STR("sec-websocket-version"));
    struct ps_str key = ps_exchange_header(exchange, PS_STR("sec-websocket-key"));
    if (!head->upgrade || !ps_str_ieq(head->upgrade_protocol, PS_STR("websocket")) ||
        !ps_str_eq(version, PS_STR("13")) || key.len == 0 || key.len > LONGEST_KEY) {
        return PS_EINVAL;
    }
    struct ps_sim_ws *ws = new_ws(exchange);
    int err = ws == NULL ? PS_ENOMEM : write_head(&ws->out, key);
    if (err != PS_OK) {
        ps_sim_ws_free(ws);
        ps_exchange_reset(exchange);
        return err;
    }
    ws->stream = ps_exchange_upgrade(exchange, ps_buf_str(&ws->out));
    if (ws->stream == NULL) {
        ps_sim_ws_free(ws);
        return PS_EIO;
    }
    ws->on_gone = on_gone;
    ws->ctx = ctx;
    ps_stream_set_owner(ws->stream, &stream_ops, ws);
    ps_stream_resume(ws->stream);
    *out = ws;
    return PS_OK;
}

void ps_sim_ws_send(struct ps_sim_ws *ws, struct ps_str text)
{
    if (!ws->leaving) {
        send_frame(ws, TEXT, text);
    }
}

void ps_sim_ws_free(struct ps_sim_ws *ws)
{
    if (ws != NULL) {
        ps_task_clear(&ws->burial);
        ps_stream_free(ws->stream);
        ps_buf_fini(&ws->out);
        free(ws);
    }
}
