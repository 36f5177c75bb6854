/* ws_frame - a message, ready to be sent to any number of WebSockets.
 *
 * Head and payload lie there as they cross the wire: a server's frames are not masked, so one copy serves all who
 * get the message. Compressed (RFC 7692) it is when the first one asks for it, and then once for all: the server
 * promised to carry no context from one message to the next, so each frame stands alone.
 *
 * Thread: one at a time; the reference count is not atomic.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_WS_FRAME_H
#define PS_HTTP_WS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum ps_ws_opcode {
    PS_WS_OPCODE_TEXT = 1,
    PS_WS_OPCODE_BINARY = 2,
    PS_WS_OPCODE_CLOSE = 8,
    PS_WS_OPCODE_PING = 9,
    PS_WS_OPCODE_PONG = 10
};

#define PS_WS_HEAD_MOST 10 /* bytes before the payload */

/* Writes the head of a whole frame, not masked. Returns its length. */
size_t ps_ws_frame_head(char head[PS_WS_HEAD_MOST], enum ps_ws_opcode opcode, bool compressed, size_t payload);

struct ps_ws_frame;

/* Makes a frame of a copy of the payload, with one reference. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_ws_frame_new(struct ps_ws_frame **out, enum ps_ws_opcode opcode, struct ps_str payload);

struct ps_ws_frame *ps_ws_frame_ref(struct ps_ws_frame *frame);
void ps_ws_frame_unref(struct ps_ws_frame *frame); /* NULL is fine */

/* The bytes to be sent; valid as long as the frame. `deflate`: the peer takes compressed messages; it gets one where
 * that is shorter and there is memory for it. */
struct ps_str ps_ws_frame_bytes(struct ps_ws_frame *frame, bool deflate);

#endif
