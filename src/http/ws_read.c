#include "http/ws_read.h"

#include <string.h>
#include <wslay/wslay.h>
#include <zlib.h>

#include "base/check.h"

enum { MOST_CONTROL = 125, RAW_WINDOW = -15 };

/* --- small rules ------------------------------------------------------------------------------ */

bool ps_ws_code_is_valid(unsigned code)
{
    bool registered = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
    return registered || (code >= 3000 && code <= 4999);
}

static bool is_utf8(struct ps_str text)
{
    while (text.len > 0) {
        size_t len = ps_str_utf8_length(text);
        if (len == 0) {
            return false;
        }
        text = ps_str_skip(text, len);
    }
    return true;
}

static enum ps_ws_event fail(struct ps_ws_reader *reader, enum ps_ws_code code, const char *reason)
{
    reader->code = (uint16_t)code;
    reader->reason = reason;
    reader->over = true;
    return PS_WS_ERROR;
}

/* --- inflating -------------------------------------------------------------------------------- */

static int inflate_part(struct ps_ws_reader *reader, z_stream *z, struct ps_str part)
{
    unsigned char piece[4096];
    int err = PS_OK;
    z->next_in = (unsigned char *)(uintptr_t)part.ptr;
    z->avail_in = (uInt)part.len;
    do {
        z->next_out = piece;
        z->avail_out = sizeof piece;
        int status = inflate(z, Z_SYNC_FLUSH);
        if (status == Z_STREAM_END) {
            status = inflateReset(z); /* a final block is allowed, and more may follow (RFC 7692, 7.2.3.4) */
        }
        if (status != Z_OK && status != Z_BUF_ERROR) {
            return status == Z_MEM_ERROR ? PS_ENOMEM : PS_EPARSE;
        }
        err = ps_buf_append(&reader->inflated, piece, sizeof piece - z->avail_out);
    } while (err == PS_OK && (z->avail_in > 0 || z->avail_out == 0));
    return err;
}

/* The message as it was before it was compressed. Each stands alone: no context is taken over. */
static int inflate_message(struct ps_ws_reader *reader)
{
    z_stream z = {.next_in = NULL};
    if (inflateInit2(&z, RAW_WINDOW) != Z_OK) {
        return PS_ENOMEM;
    }
    int err = inflate_part(reader, &z, ps_buf_str(&reader->message));
    err = err != PS_OK ? err : inflate_part(reader, &z, (struct ps_str){"\x00\x00\xff\xff", 4});
    inflateEnd(&z);
    return err;
}

/* --- frames ----------------------------------------------------------------------------------- */

static ssize_t on_recv(uint8_t *into, size_t len, int flags, void *user_data)
{
    struct ps_ws_reader *reader = user_data;
    (void)flags;
    if (reader->input->len == 0) {
        return -1; /* wslay asks again later */
    }
    struct ps_str part = ps_str_first(*reader->input, len);
    memcpy(into, part.ptr, part.len);
    *reader->input = ps_str_skip(*reader->input, part.len);
    reader->pending += part.len;
    return (ssize_t)part.len;
}

/* Bytes of a frame's head, which never uses more than it needs. */
static uint64_t head_size(const struct wslay_frame_iocb *frame)
{
    uint64_t length = frame->payload_length;
    return 2 + (length < 126 ? 0 : length < 65536 ? 2 : 8) + (frame->mask != 0 ? 4 : 0);
}

/* What a data frame may be now, by what came before. NULL: all is well. */
static const char *check_order(struct ps_ws_reader *reader, const struct wslay_frame_iocb *frame)
{
    if (frame->opcode == WSLAY_CONTINUATION_FRAME) {
        return reader->opcode == 0 ? "a continuation of nothing" : NULL;
    }
    if (reader->opcode != 0) {
        return "a message inside another";
    }
    reader->opcode = frame->opcode;
    reader->compressed = frame->rsv != 0;
    return NULL;
}

static enum ps_ws_event begin_frame(struct ps_ws_reader *reader, const struct wslay_frame_iocb *frame)
{
    bool control = wslay_is_ctrl_frame(frame->opcode) != 0;
    bool first = frame->opcode == WSLAY_TEXT_FRAME || frame->opcode == WSLAY_BINARY_FRAME;
    bool known = frame->opcode <= WSLAY_BINARY_FRAME || (control && frame->opcode <= WSLAY_PONG);
    if (frame->mask == 0) {
        return fail(reader, PS_WS_PROTOCOL, "a frame of a client must be masked");
    }
    if (frame->rsv != 0 && !(frame->rsv == WSLAY_RSV1_BIT && first && reader->deflate)) {
        return fail(reader, PS_WS_PROTOCOL, "a reserved bit is set");
    }
    if (!known) {
        return fail(reader, PS_WS_PROTOCOL, "an unknown opcode");
    }
    const char *wrong = control ? NULL : check_order(reader, frame);
    if (wrong != NULL) {
        return fail(reader, PS_WS_PROTOCOL, wrong);
    }
    if (!control && frame->payload_length > reader->message.limit - reader->message.len) {
        return fail(reader, PS_WS_TOO_BIG, "the message is too long");
    }
    reader->in_frame = true;
    reader->frame_done = 0;
    ps_buf_clear(&reader->control);
    return PS_WS_MORE;
}

static enum ps_ws_event end_close(struct ps_ws_reader *reader)
{
    struct ps_str body = ps_buf_str(&reader->control);
    if (body.len == 1) {
        return fail(reader, PS_WS_PROTOCOL, "a close code has two bytes");
    }
    unsigned code = body.len == 0 ? PS_WS_NO_CODE : (unsigned)(uint8_t)body.ptr[0] << 8 | (uint8_t)body.ptr[1];
    if (body.len > 0 && !ps_ws_code_is_valid(code)) {
        return fail(reader, PS_WS_PROTOCOL, "a close code that must not be sent");
    }
    reader->payload = ps_str_skip(body, 2);
    if (!is_utf8(reader->payload)) {
        return fail(reader, PS_WS_INVALID_DATA, "the close reason is not UTF-8");
    }
    reader->code = (uint16_t)code;
    reader->over = true;
    return PS_WS_CLOSE;
}

static enum ps_ws_event end_message(struct ps_ws_reader *reader)
{
    enum ps_ws_event event = reader->opcode == WSLAY_TEXT_FRAME ? PS_WS_TEXT : PS_WS_BINARY;
    reader->payload = ps_buf_str(&reader->message);
    reader->opcode = 0;
    if (reader->compressed) {
        int err = inflate_message(reader);
        if (err == PS_ELIMIT) {
            return fail(reader, PS_WS_TOO_BIG, "the message is too long when it is inflated");
        }
        if (err != PS_OK) {
            return err == PS_ENOMEM ? fail(reader, PS_WS_INTERNAL, "out of memory")
                                    : fail(reader, PS_WS_INVALID_DATA, "the message can't be inflated");
        }
        reader->payload = ps_buf_str(&reader->inflated);
    }
    if (event == PS_WS_TEXT && !is_utf8(reader->payload)) {
        return fail(reader, PS_WS_INVALID_DATA, "the text is not UTF-8");
    }
    return event;
}

static enum ps_ws_event end_frame(struct ps_ws_reader *reader, const struct wslay_frame_iocb *frame)
{
    reader->in_frame = false;
    reader->pending -= head_size(frame) + frame->payload_length;
    switch (frame->opcode) {
    case WSLAY_CONNECTION_CLOSE:
        return end_close(reader);
    case WSLAY_PING:
    case WSLAY_PONG:
        reader->payload = ps_buf_str(&reader->control);
        return frame->opcode == WSLAY_PING ? PS_WS_PING : PS_WS_PONG;
    default:
        return frame->fin != 0 ? end_message(reader) : PS_WS_MORE;
    }
}

/* A part of a frame has come, maybe its head alone. */
static enum ps_ws_event take_part(struct ps_ws_reader *reader, const struct wslay_frame_iocb *frame)
{
    if (!reader->in_frame && begin_frame(reader, frame) != PS_WS_MORE) {
        return PS_WS_ERROR;
    }
    struct ps_buf *into = wslay_is_ctrl_frame(frame->opcode) ? &reader->control : &reader->message;
    if (ps_buf_append(into, frame->data, frame->data_length) != PS_OK) {
        return fail(reader, PS_WS_INTERNAL, "out of memory");
    }
    reader->frame_done += frame->data_length;
    return reader->frame_done == frame->payload_length ? end_frame(reader, frame) : PS_WS_MORE;
}

/* --- the reader ------------------------------------------------------------------------------- */

void ps_ws_reader_init(struct ps_ws_reader *reader, size_t max_message, bool deflate)
{
    *reader = (struct ps_ws_reader){.deflate = deflate};
    reader->message = ps_buf_make(max_message);
    reader->inflated = ps_buf_make(max_message);
    reader->control = ps_buf_make(MOST_CONTROL);
}

static void drop_frames(struct ps_ws_reader *reader)
{
    if (reader->wslay != NULL) {
        wslay_frame_context_free(reader->wslay);
        reader->wslay = NULL;
    }
}

void ps_ws_reader_fini(struct ps_ws_reader *reader)
{
    drop_frames(reader);
    ps_buf_fini(&reader->message);
    ps_buf_fini(&reader->inflated);
    ps_buf_fini(&reader->control);
}

static int open_frames(struct ps_ws_reader *reader)
{
    static const struct wslay_frame_callbacks callbacks = {.recv_callback = on_recv};
    if (reader->wslay != NULL) {
        return PS_OK;
    }
    return wslay_frame_context_init(&reader->wslay, &callbacks, reader) == 0 ? PS_OK : PS_ENOMEM;
}

/* What the last event showed is used up. */
static void forget(struct ps_ws_reader *reader)
{
    reader->payload = PS_STR("");
    if (reader->opcode == 0) {
        ps_buf_fini(&reader->message);
    }
    ps_buf_fini(&reader->inflated);
    if (!reader->in_frame) {
        ps_buf_fini(&reader->control);
    }
    if (reader->pending == 0) {
        drop_frames(reader);
    }
}

enum ps_ws_event ps_ws_read(struct ps_ws_reader *reader, struct ps_str *input)
{
    enum ps_ws_event event = PS_WS_MORE;
    forget(reader);
    if (reader->over) {
        *input = ps_str_skip(*input, input->len);
        return PS_WS_MORE;
    }
    if (reader->pending == 0 && input->len == 0) {
        return PS_WS_MORE;
    }
    if (open_frames(reader) != PS_OK) {
        return fail(reader, PS_WS_INTERNAL, "out of memory");
    }
    reader->input = input;
    while (event == PS_WS_MORE) {
        struct wslay_frame_iocb frame;
        ssize_t n = wslay_frame_recv(reader->wslay, &frame);
        if (n == WSLAY_ERR_WANT_READ) {
            break;
        }
        event = n < 0 ? fail(reader, PS_WS_PROTOCOL, "a malformed frame") : take_part(reader, &frame);
    }
    reader->input = NULL;
    return event;
}
