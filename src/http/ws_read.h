/* ws_read - bytes from a WebSocket client become messages (RFC 6455, with RFC 7692 where it was agreed on).
 *
 * Frames are taken apart by wslay. What they may be, one after the other, is decided here, and what breaks the rules
 * ends the connection with the code that the RFC names for it:
 *
 *   1002 protocol error    no mask; reserved bits and opcodes; a control frame in pieces or over 125 bytes; a length
 *                          in more bytes than it needs, or over 2^63; a continuation of nothing, a message inside
 *                          another; a close frame of one byte, or with a code that must not be sent
 *   1007 invalid data      text or a close reason that is not UTF-8; compressed data that is none
 *   1009 too big           a message over the bound, before or after it is inflated; told by the frame's head, so that
 *                          nothing of it is kept
 *
 * A reader between two messages owns no memory: ten thousand silent clients cost a few bytes each.
 *
 *      while ((event = ps_ws_read(&reader, &input)) != PS_WS_MORE) ...
 *
 * Thread: pure; one thread at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_WS_READ_H
#define PS_HTTP_WS_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

struct wslay_frame_context;

/* RFC 6455 section 7.4.1, those that a server has a use for. */
enum ps_ws_code {
    PS_WS_NORMAL = 1000,
    PS_WS_GOING_AWAY = 1001,
    PS_WS_PROTOCOL = 1002,
    PS_WS_UNSUPPORTED = 1003,
    PS_WS_NO_CODE = 1005, /* never sent: a close frame without one */
    PS_WS_LOST = 1006,    /* never sent: no close frame came */
    PS_WS_INVALID_DATA = 1007,
    PS_WS_POLICY = 1008,
    PS_WS_TOO_BIG = 1009,
    PS_WS_INTERNAL = 1011,
    PS_WS_TRY_LATER = 1013
};

enum ps_ws_event {
    PS_WS_MORE,   /* all input is used */
    PS_WS_TEXT,   /* a whole message: payload, valid UTF-8 */
    PS_WS_BINARY, /* a whole message: payload */
    PS_WS_PING,   /* payload is to be sent back */
    PS_WS_PONG,   /* payload */
    PS_WS_CLOSE,  /* code (or PS_WS_NO_CODE), payload is the reason; nothing follows */
    PS_WS_ERROR   /* code says why the connection ends, reason in words; nothing follows */
};

struct ps_ws_reader {
    struct ps_str payload; /* of the event; valid until the next call */
    const char *reason;    /* of PS_WS_ERROR, static */
    uint16_t code;         /* of PS_WS_CLOSE and PS_WS_ERROR */

    /* the reader's own */
    struct wslay_frame_context *wslay; /* NULL between frames */
    struct ps_str *input;              /* while ps_ws_read() runs */
    uint64_t pending;                  /* bytes that wslay has and that belong to no complete frame */
    uint64_t frame_done;               /* payload bytes of the frame that have come */
    struct ps_buf message;
    struct ps_buf inflated;
    struct ps_buf control;
    uint8_t opcode; /* of the message under way; 0 = none */
    bool in_frame;
    bool compressed; /* the message under way is */
    bool deflate;    /* compressed messages are allowed */
    bool over;       /* after CLOSE or ERROR */
};

/* `max_message` bounds a message, in bytes; `deflate`: permessage-deflate was agreed on. */
void ps_ws_reader_init(struct ps_ws_reader *reader, size_t max_message, bool deflate);
void ps_ws_reader_fini(struct ps_ws_reader *reader);

/* Uses a part of the input and says what it was; to be called until PS_WS_MORE. Once over, all input is dropped. */
enum ps_ws_event ps_ws_read(struct ps_ws_reader *reader, struct ps_str *input);

/* May a close frame carry this code (RFC 6455 section 7.4; IANA's registry up to 1014; 3000 to 4999)? */
bool ps_ws_code_is_valid(unsigned code);

#endif
