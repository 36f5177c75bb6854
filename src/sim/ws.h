/* ws - a WebSocket that a simulated server pushes text into (RFC 6455, the server's side).
 *
 * What the client sends is checked and dropped, but for ping and close, which are answered. A
 * client that doesn't read is let go.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_WS_H
#define PS_SIM_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct ps_exchange;
struct ps_sim_ws;

/* --- pure parts ------------------------------------------------------------------------------- */

#define PS_SIM_WS_CONTROL 125u /* most bytes of a control frame (RFC 6455, 5.5) */

/* What arrives from a client, frame by frame; zero-initialise. */
struct ps_sim_ws_reader {
    uint8_t head[14];
    size_t head_len;
    uint64_t left; /* payload bytes that are still to come */
    uint64_t done; /* payload bytes that have come */
    bool in_payload;
    uint8_t opcode;
    uint8_t mask[4];
    char control[PS_SIM_WS_CONTROL];
    size_t control_len;
};

enum ps_sim_ws_event {
    PS_SIM_WS_MORE, /* all input is used */
    PS_SIM_WS_DATA, /* a text or binary frame, or a part of a message, is complete (and dropped) */
    PS_SIM_WS_PING, /* control[] is to be sent back */
    PS_SIM_WS_PONG,
    PS_SIM_WS_CLOSE, /* control[] holds code and reason */
    PS_SIM_WS_ERROR  /* against the protocol */
};

/* Uses a part of the input and says what it was; call again until MORE. */
enum ps_sim_ws_event ps_sim_ws_read(struct ps_sim_ws_reader *reader, struct ps_str *input);

/* Appends a frame of a server: not masked, whole. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_ws_frame(struct ps_buf *out, uint8_t opcode, struct ps_str payload);

/* Appends the value of Sec-WebSocket-Accept for a key. PS_OK, PS_EINVAL (not a key) or PS_ENOMEM.
 */
PS_MUST_CHECK int ps_sim_ws_accept_key(struct ps_buf *out, struct ps_str key);

/* --- a connection ----------------------------------------------------------------------------- */

/* Takes an exchange whose request asks for a WebSocket. on_gone comes once, when the client has
 * left or was let go; the socket is gone then. PS_OK; PS_EINVAL: the request asks for no such
 * thing, the exchange is as it was; PS_EIO or PS_ENOMEM: the exchange is over. */
PS_MUST_CHECK int ps_sim_ws_open(struct ps_sim_ws **out, struct ps_exchange *exchange,
                                 void (*on_gone)(void *ctx, struct ps_sim_ws *ws), void *ctx);

/* Sends a text message, or notes that the client is to be let go. */
void ps_sim_ws_send(struct ps_sim_ws *ws, struct ps_str text);

/* Closes at once; on_gone is not called. NULL is fine. */
void ps_sim_ws_free(struct ps_sim_ws *ws);

#endif
