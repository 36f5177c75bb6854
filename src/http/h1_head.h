/* h1_head - the lines of a message head: start line, header lines, and what they mean together.
 *
 * Pure functions over whole lines. The strictness of RFC 9112 lives here: what can be read in two
 * ways is refused, because a proxy that guesses is a proxy that can be smuggled through.
 *
 *   line ends         CR LF only; a bare CR or LF is an error, never a line end
 *   request line      METHOD SP TARGET SP HTTP/1.x, single spaces, registered methods only
 *   target            /origin?form, http://absolute/form, host:port (CONNECT), * (OPTIONS); visible
 *                     ASCII without '#'; the absolute form must name the same host as Host does
 *   version           HTTP/1.0 or HTTP/1.1; another HTTP/x.y is 505, anything else 400
 *   status line       HTTP/1.x SP 3DIGIT SP [reason]; the second space is required, 100 to 599
 *   header line       token ":" OWS value OWS; no space before the colon, no folding, no control
 *                     character but TAB in the value, bytes from 0x80 on are allowed
 *   Host              exactly one in HTTP/1.1 requests, at most one in HTTP/1.0; never empty
 *   Content-Length    digits only, once, below 2^63, no TAB beside the value
 *   Transfer-Encoding exactly "chunked", once, not in HTTP/1.0, never beside Content-Length, no TAB
 *                     beside the value; not in a response without a body by its status (1xx, 204)
 *   Connection        a list of tokens
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_H1_HEAD_H
#define PS_HTTP_H1_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "http/h1_field.h"

/* X(NAME, suggested answer to the client, text). A response that breaks a rule is a 502 whatever
 * stands here. */
/* clang-format off */
#define PS_H1_ERROR_TABLE(X)                                                                       \
    X(NONE, 0, "no error")                                                                         \
    X(NOMEM, 503, "out of memory")                                                                 \
    X(START_BYTE, 400, "the first byte cannot start a message")                                    \
    X(LINE_END, 400, "a line must end in CR LF")                                                   \
    X(METHOD_SYNTAX, 400, "malformed method")                                                      \
    X(METHOD_UNKNOWN, 501, "unknown method")                                                       \
    X(TARGET, 400, "malformed request target")                                                     \
    X(TARGET_TOO_LONG, 414, "the request target is too long")                                      \
    X(VERSION_SYNTAX, 400, "malformed protocol version")                                           \
    X(VERSION, 505, "unsupported protocol version")                                                \
    X(STATUS_LINE, 400, "malformed status line")                                                   \
    X(HEAD_TOO_LARGE, 431, "the head is too large")                                                \
    X(TOO_MANY_HEADERS, 431, "too many headers")                                                   \
    X(FOLDING, 400, "a header line must not start with a space")                                   \
    X(HEADER_NAME, 400, "malformed header name")                                                   \
    X(HEADER_VALUE, 400, "forbidden byte in a header value")                                       \
    X(HOST_MISSING, 400, "a HTTP/1.1 request needs a Host header")                                 \
    X(HOST_TWICE, 400, "more than one Host header")                                                \
    X(HOST, 400, "malformed Host header")                                                          \
    X(HOST_MISMATCH, 400, "the request target and the Host header name different hosts")           \
    X(CONTENT_LENGTH, 400, "malformed Content-Length")                                             \
    X(CONTENT_LENGTH_TWICE, 400, "more than one Content-Length header")                            \
    X(TRANSFER_ENCODING, 501, "unsupported Transfer-Encoding")                                     \
    X(TRANSFER_ENCODING_TWICE, 400, "more than one Transfer-Encoding header")                      \
    X(FRAMING, 400, "Transfer-Encoding and Content-Length in one message")                         \
    X(TRANSFER_ENCODING_VERSION, 400, "Transfer-Encoding in a HTTP/1.0 message")                   \
    X(BODY_FORBIDDEN, 400, "a body where none may be")                                             \
    X(CONNECTION, 400, "malformed Connection header")                                              \
    X(CHUNK_SIZE, 400, "malformed chunk size")                                                     \
    X(CHUNK_EXTENSION, 400, "malformed or too long chunk extension")                               \
    X(CHUNK_END, 400, "a chunk must end in CR LF")                                                 \
    X(TRAILER, 400, "a header that must not be in a trailer")                                      \
    X(TRUNCATED, 400, "the connection closed in the middle of a message")
/* clang-format on */

enum ps_h1_error_code {
#define PS_H1_ERROR_ENUM(name, status, text) PS_H1_ERR_##name,
    PS_H1_ERROR_TABLE(PS_H1_ERROR_ENUM)
#undef PS_H1_ERROR_ENUM
        PS_H1_ERR_COUNT
};

/* What was wrong and where. */
struct ps_h1_error {
    enum ps_h1_error_code code;
    int status;      /* suggested status of the answer: 400, 414, 431, 501, 505; 502 in responses */
    uint64_t offset; /* bytes from the start of the message to the offending byte or line */
    const char *text; /* static */
};

/* One header line. Views into the head. */
struct ps_h1_header {
    struct ps_str name;  /* as it was written */
    struct ps_str value; /* without the spaces and tabs around it; may be empty */
    uint8_t id;          /* enum ps_h1_field */
};

/* A parsed head. Nothing here is owned. */
struct ps_h1_head {
    struct ps_str raw; /* the whole head, start line to empty line, as it was received */
    const struct ps_h1_header *headers;
    size_t header_count;

    /* requests */
    struct ps_str method;
    struct ps_str target; /* as it was written */
    struct ps_str path;   /* the target in origin form ("/a?b"), or "*"; empty for CONNECT */
    struct ps_str host;   /* Host, else the host of the absolute form; empty: HTTP/1.0 without */
    enum ps_h1_method method_id;

    /* responses */
    struct ps_str reason; /* may be empty */
    int status;

    /* both */
    struct ps_str upgrade_protocol; /* value of Upgrade when `upgrade` is set */
    uint64_t content_length;        /* valid if has_content_length */
    uint64_t seen;                  /* PS_H1_BIT() of every header that is present */
    uint8_t minor;                  /* HTTP/1.minor */
    bool keep_alive;                /* the connection may carry another message after this one */
    bool chunked;                   /* the message has Transfer-Encoding: chunked */
    bool has_content_length;        /* (a HEAD or 304 response has the length but not the body) */
    bool expect_continue;           /* HTTP/1.1 request with Expect: 100-continue */
    bool upgrade;                   /* HTTP/1.1, Connection: upgrade and an Upgrade header */
    bool connection_names; /* Connection names headers that PS_H1_HOP_BY_HOP does not have */
    uint8_t connection;    /* PS_H1_CONNECTION_* bits: what Connection says */
};

#define PS_H1_CONNECTION_CLOSE      (1u << 0)
#define PS_H1_CONNECTION_KEEP_ALIVE (1u << 1)
#define PS_H1_CONNECTION_UPGRADE    (1u << 2)

/* The first header with this id, or NULL. O(1) when there is none. */
const struct ps_h1_header *ps_h1_head_find(const struct ps_h1_head *head, enum ps_h1_field id);

/* The first header with this name in any case of letters, or NULL. */
const struct ps_h1_header *ps_h1_head_find_name(const struct ps_h1_head *head, struct ps_str name);

/* True if a Connection header names this header (in any case of letters). */
bool ps_h1_head_connection_has(const struct ps_h1_head *head, struct ps_str name);

/* Bytes that a copy needs: aligned as malloc() aligns. */
size_t ps_h1_head_copy_size(const struct ps_h1_head *head);

/* Copies a head with all that it views into `memory` of that size. */
void ps_h1_head_copy(struct ps_h1_head *out, const struct ps_h1_head *head, void *memory);

#endif
