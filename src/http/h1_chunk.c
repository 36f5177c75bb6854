/* h1_chunk - see h1_chunk.h. One function per group of states; each returns the next state.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http/h1_chunk.h"

#include "http/h1_scan.h"

enum state {
    SIZE,         /* hex digits */
    NAME_FIRST,   /* behind ';' */
    NAME,         /* in an extension name */
    VALUE_FIRST,  /* behind '=' */
    TOKEN,        /* in a token value */
    QUOTED,       /* in a quoted value */
    QUOTED_PAIR,  /* behind a backslash in it */
    QUOTED_AFTER, /* behind the closing quote */
    LINE_FEED,    /* behind CR */
    COMPLETE,     /* behind LF */
    BAD_SIZE,
    BAD_EXTENSION,
    BAD_END,
};

void ps_h1_chunk_init(struct ps_h1_chunk *chunk)
{
    *chunk = (struct ps_h1_chunk){.state = SIZE, .extension_left = PS_H1_MAX_CHUNK_EXTENSION};
}

static int hex_digit(char byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    char lower = (char)(byte | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static enum state in_size(struct ps_h1_chunk *chunk, char byte)
{
    int digit = hex_digit(byte);
    if (digit >= 0 && chunk->digits < PS_H1_MAX_CHUNK_DIGITS) {
        chunk->size = chunk->size << 4 | (uint64_t)digit;
        chunk->digits++;
        return SIZE;
    }
    if (chunk->digits == 0 || (byte != '\r' && byte != ';')) {
        return BAD_SIZE;
    }
    return byte == '\r' ? LINE_FEED : NAME_FIRST;
}

/* Behind a whole extension or size: another one, or the end. */
static enum state after_part(char byte)
{
    if (byte == ';') {
        return NAME_FIRST;
    }
    return byte == '\r' ? LINE_FEED : BAD_EXTENSION;
}

static enum state in_name(enum state state, char byte)
{
    if (ps_h1_is_class(byte, PS_H1_CLASS_TOKEN)) {
        return NAME;
    }
    if (state == NAME_FIRST) {
        return BAD_EXTENSION;
    }
    return byte == '=' ? VALUE_FIRST : after_part(byte);
}

static enum state in_value(enum state state, char byte)
{
    if (ps_h1_is_class(byte, PS_H1_CLASS_TOKEN)) {
        return TOKEN;
    }
    if (state == VALUE_FIRST) {
        return byte == '"' ? QUOTED : BAD_EXTENSION;
    }
    return after_part(byte);
}

static enum state in_quoted(enum state state, char byte)
{
    if (!ps_h1_is_class(byte, PS_H1_CLASS_VALUE)) {
        return BAD_EXTENSION;
    }
    if (state == QUOTED_PAIR) {
        return QUOTED;
    }
    if (byte == '"') {
        return QUOTED_AFTER;
    }
    return byte == '\\' ? QUOTED_PAIR : QUOTED;
}

static enum state step(struct ps_h1_chunk *chunk, enum state state, char byte)
{
    switch (state) {
    case SIZE:
        return in_size(chunk, byte);
    case NAME_FIRST:
    case NAME:
        return in_name(state, byte);
    case VALUE_FIRST:
    case TOKEN:
        return in_value(state, byte);
    case QUOTED:
    case QUOTED_PAIR:
        return in_quoted(state, byte);
    case QUOTED_AFTER:
        return after_part(byte);
    case LINE_FEED:
        return byte == '\n' ? COMPLETE : BAD_END;
    case COMPLETE:
    case BAD_SIZE:
    case BAD_EXTENSION:
    case BAD_END:
        break;
    }
    return state;
}

static bool is_extension(enum state state)
{
    return state >= NAME_FIRST && state <= QUOTED_AFTER;
}

enum ps_h1_error_code ps_h1_chunk_read(struct ps_h1_chunk *chunk, struct ps_str *input, bool *done)
{
    enum state state = (enum state)chunk->state;
    if (state == SIZE && chunk->digits == 0) {
        chunk->size = 0;
    }
    for (; input->len > 0 && state != COMPLETE; *input = ps_str_skip(*input, 1)) {
        state = step(chunk, state, *input->ptr);
        if (is_extension(state) && chunk->extension_left-- == 0) {
            state = BAD_EXTENSION;
        }
        switch (state) {
        case BAD_SIZE:
            return PS_H1_ERR_CHUNK_SIZE;
        case BAD_EXTENSION:
            return PS_H1_ERR_CHUNK_EXTENSION;
        case BAD_END:
            return PS_H1_ERR_LINE_END;
        default:
            break;
        }
    }
    *done = state == COMPLETE;
    chunk->state = (uint8_t)(*done ? SIZE : state);
    chunk->digits = *done ? 0 : chunk->digits;
    return PS_H1_ERR_NONE;
}
