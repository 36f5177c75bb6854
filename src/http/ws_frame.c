#include "http/ws_frame.h"

#include <stdlib.h>
#include <zlib.h>

#include "base/check.h"

enum {
    WORTH_IT = 200, /* bytes below which nothing is compressed */
    LEVEL = 4,      /* JSON of figures: most of what 9 gives, at a third of the time */
    RAW_WINDOW = -15,
    MEMORY_LEVEL = 8,
    TAIL = 4 /* 00 00 ff ff, which the message leaves out (RFC 7692, 7.2.1) */
};

struct ps_ws_frame {
    struct ps_buf plain;
    struct ps_buf deflated; /* empty: not tried, or not shorter */
    size_t head;            /* bytes of plain's head */
    unsigned refs;
    enum ps_ws_opcode opcode;
    bool tried;
};

size_t ps_ws_frame_head(char head[PS_WS_HEAD_MOST], enum ps_ws_opcode opcode, bool compressed, size_t payload)
{
    size_t more = payload < 126 ? 0 : payload < 65536 ? 2 : 8;
    head[0] = (char)(0x80 | (compressed ? 0x40 : 0) | (unsigned)opcode);
    head[1] = (char)(more == 0 ? payload : more == 2 ? 126 : 127);
    for (size_t i = 0; i < more; i++) {
        head[2 + i] = (char)((uint64_t)payload >> (8 * (more - 1 - i)));
    }
    return 2 + more;
}

static int put_together(struct ps_buf *out, enum ps_ws_opcode opcode, bool compressed, struct ps_str payload)
{
    char head[PS_WS_HEAD_MOST];
    size_t len = ps_ws_frame_head(head, opcode, compressed, payload.len);
    int err = ps_buf_reserve(out, len + payload.len);
    err = err != PS_OK ? err : ps_buf_append(out, head, len);
    return err != PS_OK ? err : ps_buf_append_str(out, payload);
}

int ps_ws_frame_new(struct ps_ws_frame **out, enum ps_ws_opcode opcode, struct ps_str payload)
{
    struct ps_ws_frame *frame = calloc(1, sizeof *frame);
    if (frame == NULL) {
        return PS_ENOMEM;
    }
    frame->refs = 1;
    frame->opcode = opcode;
    frame->plain = ps_buf_make(SIZE_MAX);
    frame->deflated = ps_buf_make(SIZE_MAX);
    int err = put_together(&frame->plain, opcode, false, payload);
    if (err != PS_OK) {
        ps_ws_frame_unref(frame);
        return err;
    }
    frame->head = frame->plain.len - payload.len;
    *out = frame;
    return PS_OK;
}

struct ps_ws_frame *ps_ws_frame_ref(struct ps_ws_frame *frame)
{
    frame->refs++;
    return frame;
}

void ps_ws_frame_unref(struct ps_ws_frame *frame)
{
    if (frame != NULL && --frame->refs == 0) {
        ps_buf_fini(&frame->plain);
        ps_buf_fini(&frame->deflated);
        free(frame);
    }
}

/* Fills `into` with the payload, compressed; nothing when it does not get shorter. */
static int deflate_payload(struct ps_str payload, struct ps_buf *into)
{
    z_stream z = {.next_in = NULL};
    int err = ps_buf_reserve(into, payload.len + TAIL);
    if (err != PS_OK || deflateInit2(&z, LEVEL, Z_DEFLATED, RAW_WINDOW, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK) {
        return PS_ENOMEM;
    }
    z.next_in = (unsigned char *)(uintptr_t)payload.ptr;
    z.avail_in = (uInt)payload.len;
    z.next_out = (unsigned char *)into->data;
    z.avail_out = (uInt)(payload.len + TAIL);
    bool complete = deflate(&z, Z_SYNC_FLUSH) == Z_OK && z.avail_in == 0 && z.avail_out > 0;
    into->len = complete ? payload.len - z.avail_out : 0; /* without the tail */
    deflateEnd(&z);
    return PS_OK;
}

static void try_deflate(struct ps_ws_frame *frame)
{
    struct ps_str payload = ps_str_skip(ps_buf_str(&frame->plain), frame->head);
    struct ps_buf compressed = ps_buf_make(SIZE_MAX);
    frame->tried = true;
    if (payload.len >= WORTH_IT && payload.len < UINT32_MAX / 2 && deflate_payload(payload, &compressed) == PS_OK &&
        compressed.len > 0) {
        PS_IGNORE(put_together(&frame->deflated, frame->opcode, true, ps_buf_str(&compressed)));
    }
    ps_buf_fini(&compressed);
}

struct ps_str ps_ws_frame_bytes(struct ps_ws_frame *frame, bool deflate)
{
    if (deflate && !frame->tried) {
        try_deflate(frame);
    }
    return ps_buf_str(deflate && frame->deflated.len > 0 ? &frame->deflated : &frame->plain);
}
