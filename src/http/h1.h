/* h1 - strict incremental HTTP/1.1 codec, both directions. Pure: bytes in, events out.
 *
 * The caller pulls: each ps_h1_next() uses a part of the input and returns one event, so it can
 * stop anywhere (back-pressure) and nothing calls back. What is ambiguous is refused: h1_head.h
 * lists the rules for heads; for bodies:
 *
 *   chunk size        1 to 15 hex digits (leading zeros count), no space around them
 *   chunk extension   ;name or ;name=token or ;name="quoted", no spaces around; checked and then
 *                     dropped; at most PS_H1_MAX_CHUNK_EXTENSION bytes in one message
 *   trailers          like header lines, with the limits of a head; headers that frame, route or
 *                     authenticate the message are refused there
 *   before a request  one empty line (CR LF) is tolerated, as RFC 9112 (2.2) asks; before a
 *                     response none
 *
 *              +--------------------------- ps_h1_reset() ----------------------------+
 *              v                                                                      |
 *   idle -> start line -> headers -> HEAD -+-> (DATA)* -+-------------+-> END -> done +
 *                                          |            +-> TRAILERS -+
 *                                          +-> tunnel: bytes after END are not ours (CONNECT, 101)
 *
 * A head that arrives in one piece is parsed where it lies: no copy, no allocation. Otherwise the
 * parser keeps the lines in a buffer of its own, each line parsed once, until the head is done. The
 * array of headers and the parsed head live in a scratch that many parsers share (one per loop and
 * direction), so that an idle connection costs only sizeof(struct ps_h1).
 *
 * A line is judged when it is complete: first by the limits, then by its bytes. So the events do
 * not depend on how the bytes were cut. Only the first byte of a message is judged at once, so that
 * a TLS hello on a plain port does not wait for a time-out.
 *
 * Thread: a parser and its scratch belong to one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_H1_H
#define PS_HTTP_H1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "http/h1_chunk.h"
#include "http/h1_field.h"
#include "http/h1_head.h"

enum ps_h1_kind { PS_H1_REQUEST, PS_H1_RESPONSE };

enum ps_h1_event {
    PS_H1_MORE,     /* all input is used up; call again with more */
    PS_H1_HEAD,     /* ps_h1_head() is valid */
    PS_H1_DATA,     /* ps_h1_data() is valid: a part of the body, never empty */
    PS_H1_TRAILERS, /* ps_h1_trailers() is valid; only if there is at least one */
    PS_H1_END,      /* the message is complete; stays so until ps_h1_reset() */
    PS_H1_ERROR,    /* ps_h1_error() is valid; stays so, the connection must be closed */
};

/* Bounds of a head (and again of the trailers). A zero means the default. Body sizes are the
 * caller's business. */
struct ps_h1_limits {
    uint32_t max_head_bytes;   /* start line to empty line; default 32768 */
    uint32_t max_headers;      /* default 100; a scratch with less room bounds it further */
    uint32_t max_target_bytes; /* default 16384 */
};

/* What parsers of one loop share: room for the head that was parsed last. */
struct ps_h1_scratch {
    struct ps_h1_header *headers; /* owned */
    size_t header_room;
    struct ps_h1_head head;
};

/* Gets room for max_headers headers (0: the default). PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_h1_scratch_init(struct ps_h1_scratch *scratch, uint32_t max_headers);

/* Frees the room; no parser may use the scratch any more. A zeroed scratch is fine. */
void ps_h1_scratch_fini(struct ps_h1_scratch *scratch);

struct ps_h1_split; /* opaque: a head that arrives in pieces */

/* One direction of one connection. The fields are private. */
struct ps_h1 {
    struct ps_h1_scratch *scratch; /* borrowed */
    struct ps_h1_split *split;     /* owned; NULL unless a head is in pieces */
    struct ps_str data;            /* of the last DATA event */
    uint64_t left;                 /* bytes left of the body or of the chunk */
    uint64_t used;                 /* bytes used since the message began */
    uint64_t error_offset;
    struct ps_h1_chunk chunk;
    struct ps_h1_limits limits;
    uint32_t trailer_count;
    uint16_t status; /* of the response head, for what follows it */
    uint8_t kind;    /* enum ps_h1_kind */
    uint8_t state;
    uint8_t error;          /* enum ps_h1_error_code */
    uint8_t request_method; /* enum ps_h1_method that a response answers */
    bool keep_alive;
    bool tunnel;
    bool blank_line_seen;
};

/* Prepares for the first message. `scratch` is borrowed until ps_h1_fini(); limits are copied and
 * may be NULL for the defaults. Allocates nothing. */
void ps_h1_init(struct ps_h1 *h1, enum ps_h1_kind kind, const struct ps_h1_limits *limits,
                struct ps_h1_scratch *scratch);

/* Frees what a head in pieces took; ps_h1_init() must come before further use. A zeroed parser is
 * fine. */
void ps_h1_fini(struct ps_h1 *h1);

/* Prepares for the next message on the same connection, at any point. What ps_h1_expect() said is
 * kept after an interim response (1xx but not 101), because the final one is still to come, and is
 * forgotten otherwise. */
void ps_h1_reset(struct ps_h1 *h1);

/* Responses only, before the head: the method of the request that is being answered. A response to
 * HEAD has no body; a 2xx to CONNECT starts a tunnel. */
void ps_h1_expect(struct ps_h1 *h1, enum ps_h1_method request_method);

/* Takes the next event out of *input and moves *input behind what it used. MORE means that *input
 * is empty now; END and ERROR may leave bytes, which belong to the next message or to a tunnel. */
enum ps_h1_event ps_h1_next(struct ps_h1 *h1, struct ps_str *input);

/* The head of the last HEAD event. Valid until the next ps_h1_next(), ps_h1_reset() or ps_h1_fini()
 * on ANY parser that shares the scratch, and not longer than the input that held it. */
const struct ps_h1_head *ps_h1_head(const struct ps_h1 *h1);

/* The bytes of the last DATA event: a view into the input. */
struct ps_str ps_h1_data(const struct ps_h1 *h1);

/* The trailers of the last TRAILERS event; *count gets their number. Same validity as the head. */
const struct ps_h1_header *ps_h1_trailers(const struct ps_h1 *h1, size_t *count);

/* What was wrong; code PS_H1_ERR_NONE if nothing was. */
struct ps_h1_error ps_h1_error(const struct ps_h1 *h1);

/* The peer has closed its side. PS_OK: it closed between messages, after END, or where closing ends
 * a response body (ps_h1_next() will return END). PS_ECLOSED: in the middle of a message
 * (ps_h1_next() will return ERROR with PS_H1_ERR_TRUNCATED). */
PS_MUST_CHECK int ps_h1_eof(struct ps_h1 *h1);

/* True between messages: nothing of the next one has arrived (a tolerated empty line is nothing).
 */
bool ps_h1_is_idle(const struct ps_h1 *h1);

/* True once END was returned and until ps_h1_reset(). */
bool ps_h1_is_done(const struct ps_h1 *h1);

/* After HEAD: may the connection carry another message after this one? Unlike the head this stays
 * valid until ps_h1_reset(). */
static inline bool ps_h1_keep_alive(const struct ps_h1 *h1)
{
    return h1->keep_alive;
}

/* After HEAD: is this a message after which the connection is no longer HTTP/1.1 (a response 101, a
 * 2xx to CONNECT, a request CONNECT)? For a request that asks for an upgrade see head->upgrade. */
static inline bool ps_h1_is_tunnel(const struct ps_h1 *h1)
{
    return h1->tunnel;
}

/* After HEAD: is the body ended by the closing of the connection? */
bool ps_h1_body_until_close(const struct ps_h1 *h1);

/* After HEAD: does a body follow (a Content-Length above 0, chunks, or until close)? */
bool ps_h1_has_body(const struct ps_h1 *h1);

#endif
