/* ws_handshake - a request that asks for a WebSocket, and the answer to it (RFC 6455 section 4.2).
 *
 * permessage-deflate (RFC 7692) is agreed on only with a context of its own for every message, in both directions:
 * then one compressed frame can be sent to all, and a client's silence costs no memory. Offers that want another
 * window than zlib's largest from us are passed over.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_WS_HANDSHAKE_H
#define PS_HTTP_WS_HANDSHAKE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct ps_h1_head;

#define PS_WS_ACCEPT_LEN 28 /* characters of Sec-WebSocket-Accept */

struct ps_ws_handshake {
    int status;         /* 101: go ahead; 400, 405 or 426: no */
    const char *reason; /* why not, in words; static */
    struct ps_str key;  /* view into the head */
    bool deflate;       /* the client offers permessage-deflate in a way that we take */
};

/* Looks at a request. An answer 426 must carry PS_WS_UPGRADE_HEADERS. */
void ps_ws_handshake_read(struct ps_ws_handshake *out, const struct ps_h1_head *head);

#define PS_WS_UPGRADE_HEADERS "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"

/* Appends the whole head of the 101. `headers` are more whole lines, or empty. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_ws_handshake_write(struct ps_buf *out, const struct ps_ws_handshake *handshake,
                                        struct ps_str headers);

/* The value of Sec-WebSocket-Accept for a key. PS_OK or PS_ENOMEM (no SHA-1 in this OpenSSL either). */
PS_MUST_CHECK int ps_ws_accept_key(char out[PS_WS_ACCEPT_LEN + 1], struct ps_str key);

#endif
