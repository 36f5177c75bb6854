/* h1_chunk - the line in front of a chunk: its size and its extensions.
 *
 * Read byte by byte, so nothing is buffered and every byte is judged when it arrives. Extensions
 * are checked and dropped: no known peer needs them, and forwarding them would let them disagree
 * with what we read.
 *
 *      1a ;name ;name=token ;name="quoted \" text" CR LF
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_HTTP_H1_CHUNK_H
#define PS_HTTP_H1_CHUNK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "http/h1_head.h"

/* Hex digits of a chunk size, leading zeros included: sizes stay below 2^60. */
#define PS_H1_MAX_CHUNK_DIGITS 15u

/* Chunk extension bytes that one message may carry, semicolons included. */
#define PS_H1_MAX_CHUNK_EXTENSION 1024u

/* One line after the other of one message. */
struct ps_h1_chunk {
    uint64_t size;           /* of the line that was read last */
    uint32_t extension_left; /* extension bytes still allowed in this message */
    uint8_t state;
    uint8_t digits;
};

/* Prepares for the first line of a message. */
void ps_h1_chunk_init(struct ps_h1_chunk *chunk);

/* Reads until the line is complete (*done is set, chunk->size is valid, ready for the next line) or
 * the input is used up. Moves *input behind what it used. Returns PS_H1_ERR_NONE, or what is wrong
 * with the first byte that is left. */
enum ps_h1_error_code ps_h1_chunk_read(struct ps_h1_chunk *chunk, struct ps_str *input, bool *done);

#endif
