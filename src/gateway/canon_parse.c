#include "gateway/canon_parse.h"

#include <stddef.h>
#include <string.h>

#include "base/check.h"

enum state {
    START, /* only an object may come */
    VALUE,
    VALUE_OR_END, /* behind '[' */
    NAME,
    NAME_OR_END, /* behind '{' */
    COLON,
    COMMA_OR_END,
    STRING,
    ESCAPE, /* behind a backslash */
    HEX,
    NUMBER,
    WORD,
    DONE
};

void ps_canon_parser_init(struct ps_canon_parser *parser, struct ps_canon *canon)
{
    memset(parser, 0, offsetof(struct ps_canon_parser, number));
    parser->canon = canon;
    parser->state = START;
}

static int refuse(struct ps_canon_parser *parser, const char *reason)
{
    parser->reason = reason;
    return PS_EPARSE;
}

/* ---------------------------------------------------------------- containers */

static bool in_object(const struct ps_canon_parser *parser)
{
    uint32_t top = parser->depth - 1;
    return (parser->objects[top / 64] >> top % 64 & 1) != 0;
}

static void after_value(struct ps_canon_parser *parser)
{
    parser->state = parser->depth == 0 ? DONE : COMMA_OR_END;
}

static int open_container(struct ps_canon_parser *parser, bool object)
{
    int err = ps_canon_open(parser->canon, object); /* bounds the depth */
    if (err != PS_OK) {
        return err;
    }
    uint64_t bit = UINT64_C(1) << parser->depth % 64;
    uint64_t *word = &parser->objects[parser->depth / 64];
    *word = object ? *word | bit : *word & ~bit;
    parser->depth++;
    parser->state = object ? NAME_OR_END : VALUE_OR_END;
    return PS_OK;
}

static int close_container(struct ps_canon_parser *parser, char c)
{
    if (in_object(parser) != (c == '}')) {
        return refuse(parser, "a bracket without its like");
    }
    parser->depth--;
    after_value(parser);
    return ps_canon_close(parser->canon);
}

/* ---------------------------------------------------------------- strings */

static int flush_text(struct ps_canon_parser *parser)
{
    struct ps_str text = {parser->text, parser->text_len};
    parser->text_len = 0;
    return ps_canon_text(parser->canon, text);
}

/* Short pieces are collected; a long one goes by itself, behind what was collected before it. */
static int add_text(struct ps_canon_parser *parser, struct ps_str text)
{
    bool alone = text.len > sizeof parser->text / 2;
    if (alone || parser->text_len + text.len > sizeof parser->text) {
        int err = flush_text(parser);
        if (err != PS_OK || alone) {
            return err != PS_OK ? err : ps_canon_text(parser->canon, text);
        }
    }
    memcpy(parser->text + parser->text_len, text.ptr, text.len);
    parser->text_len += text.len;
    return PS_OK;
}

static void begin_string(struct ps_canon_parser *parser, bool is_name)
{
    parser->is_name = is_name;
    parser->state = STRING;
    parser->text_len = 0;
    ps_canon_begin_text(parser->canon);
}

static int end_string(struct ps_canon_parser *parser)
{
    int err = flush_text(parser);
    if (err != PS_OK) {
        return err;
    }
    if (parser->is_name) {
        parser->state = COLON;
        return ps_canon_end_name(parser->canon);
    }
    after_value(parser);
    return ps_canon_end_string(parser->canon);
}

static uint64_t has_zero(uint64_t word)
{
    return (word - UINT64_C(0x0101010101010101)) & ~word & UINT64_C(0x8080808080808080);
}

/* Bytes from the start that are ASCII and end nothing: eight at a time. */
static size_t plain_run(struct ps_str text)
{
    size_t i = 0;
    for (; i + 8 <= text.len; i += 8) {
        uint64_t word;
        memcpy(&word, text.ptr + i, sizeof word);
        uint64_t control = (word - UINT64_C(0x2020202020202020)) & ~word;
        uint64_t high = word | control;
        if (((high & UINT64_C(0x8080808080808080)) | has_zero(word ^ UINT64_C(0x2222222222222222)) |
             has_zero(word ^ UINT64_C(0x5c5c5c5c5c5c5c5c))) != 0) {
            break;
        }
    }
    while (i < text.len && (unsigned char)text.ptr[i] >= 0x20 &&
           (unsigned char)text.ptr[i] < 0x80 && text.ptr[i] != '"' && text.ptr[i] != '\\') {
        i++;
    }
    return i;
}

/* Could the bytes be the start of a longer sequence? */
static bool is_cut(struct ps_str text)
{
    unsigned char first = (unsigned char)text.ptr[0];
    size_t wanted = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
    return text.len < wanted;
}

static bool continues(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* Sequences of more than one byte from the start. Two and three bytes, most of the world's letters,
 * are told here where no special case is near. */
static size_t letters_run(struct ps_str text)
{
    size_t at = 0;
    while (at < text.len && (unsigned char)text.ptr[at] >= 0x80) {
        const char *p = text.ptr + at;
        unsigned char first = (unsigned char)p[0];
        size_t left = text.len - at;
        size_t len = 0;
        if (first > 0xe0 && first < 0xed && left >= 3 && continues(p[1]) && continues(p[2])) {
            len = 3;
        } else if (first >= 0xc2 && first < 0xe0 && left >= 2 && continues(p[1])) {
            len = 2;
        } else {
            len = ps_str_utf8_length(ps_str_skip(text, at));
        }
        if (len == 0) {
            break;
        }
        at += len;
    }
    return at;
}

/* Plain bytes and whole sequences from the start; the rest ends the run. */
static size_t text_run(struct ps_str text)
{
    size_t at = 0;
    for (;;) {
        at += plain_run(ps_str_skip(text, at));
        size_t letters = letters_run(ps_str_skip(text, at));
        if (letters == 0) {
            return at;
        }
        at += letters;
    }
}

/* The rest of a sequence that was cut by the edge of a feed. Returns bytes used, 0 = it is none. */
static size_t join_cut(struct ps_canon_parser *parser, struct ps_str bytes, int *err)
{
    size_t used = 0;
    struct ps_str whole = {parser->carry, parser->carried};
    while (is_cut(whole) && used < bytes.len) {
        parser->carry[whole.len++] = bytes.ptr[used++];
    }
    parser->carried = (uint8_t)whole.len;
    if (is_cut(whole)) {
        return used; /* more to come */
    }
    parser->carried = 0;
    *err = ps_str_utf8_length(whole) == whole.len ? add_text(parser, whole)
                                                  : refuse(parser, "a string is not UTF-8");
    return used;
}

/* What stands behind a run. Returns bytes used. */
static size_t end_run(struct ps_canon_parser *parser, struct ps_str rest, int *err)
{
    if (rest.ptr[0] == '"') {
        *err = end_string(parser);
    } else if (rest.ptr[0] == '\\') {
        parser->state = ESCAPE;
    } else if ((unsigned char)rest.ptr[0] < 0x20) {
        *err = refuse(parser, "a control character inside a string");
    } else if (rest.len < 4 && is_cut(rest)) {
        memcpy(parser->carry, rest.ptr, rest.len);
        parser->carried = (uint8_t)rest.len;
        return rest.len;
    } else {
        *err = refuse(parser, "a string is not UTF-8");
    }
    return 1;
}

/* Reads on inside a string. Returns bytes used, at least 1. */
static size_t on_string(struct ps_canon_parser *parser, struct ps_str bytes, int *err)
{
    if (parser->carried > 0) {
        return join_cut(parser, bytes, err);
    }
    if (parser->high != 0 && bytes.ptr[0] != '\\') {
        *err = refuse(parser, "half a surrogate pair");
        return 1;
    }
    size_t run = text_run(bytes);
    if (run > 0) {
        *err = add_text(parser, ps_str_first(bytes, run));
        return run;
    }
    return end_run(parser, bytes, err);
}

static int on_escape(struct ps_canon_parser *parser, char c)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meant[] = "\"\\/\b\f\n\r\t";
    if (c == 'u') {
        parser->state = HEX;
        parser->hex_left = 4;
        parser->code = 0;
        return PS_OK;
    }
    if (parser->high != 0) {
        return refuse(parser, "half a surrogate pair");
    }
    const char *hit = c == '\0' ? NULL : strchr(letters, c);
    if (hit == NULL) {
        return refuse(parser, "an unknown escape");
    }
    parser->state = STRING;
    return add_text(parser, (struct ps_str){&meant[hit - letters], 1});
}

static int add_code(struct ps_canon_parser *parser, uint32_t code)
{
    char out[4];
    size_t len = 0;
    if (code < 0x80) {
        out[len++] = (char)code;
    } else if (code < 0x800) {
        out[len++] = (char)(0xc0 | code >> 6);
    } else if (code < 0x10000) {
        out[len++] = (char)(0xe0 | code >> 12);
        out[len++] = (char)(0x80 | (code >> 6 & 0x3f));
    } else {
        out[len++] = (char)(0xf0 | code >> 18);
        out[len++] = (char)(0x80 | (code >> 12 & 0x3f));
        out[len++] = (char)(0x80 | (code >> 6 & 0x3f));
    }
    if (code >= 0x80) {
        out[len++] = (char)(0x80 | (code & 0x3f));
    }
    return add_text(parser, (struct ps_str){out, len});
}

/* Four digits are complete. */
static int on_code(struct ps_canon_parser *parser)
{
    uint32_t code = parser->code;
    bool low = (code & 0xfc00) == 0xdc00;
    if (low != (parser->high != 0)) {
        return refuse(parser, "half a surrogate pair");
    }
    parser->state = STRING;
    if ((code & 0xfc00) == 0xd800) {
        parser->high = (uint16_t)code;
        return PS_OK;
    }
    if (low) {
        code = 0x10000 + ((uint32_t)(parser->high & 0x3ff) << 10) + (code & 0x3ff);
        parser->high = 0;
    }
    return add_code(parser, code);
}

static int on_hex(struct ps_canon_parser *parser, char c)
{
    char lower = (char)(c | 0x20);
    int digit = c >= '0' && c <= '9'           ? c - '0'
                : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10
                                               : -1;
    if (digit < 0) {
        return refuse(parser, "an escape without its four digits");
    }
    parser->code = (uint16_t)(parser->code << 4 | digit);
    return --parser->hex_left == 0 ? on_code(parser) : PS_OK;
}

/* ---------------------------------------------------------------- numbers and words */

static bool is_number_byte(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

static int end_number(struct ps_canon_parser *parser)
{
    after_value(parser);
    return ps_canon_number(parser->canon, (struct ps_str){parser->number, parser->number_len});
}

/* Returns bytes used; 0 when the number ends before. */
static size_t on_number(struct ps_canon_parser *parser, struct ps_str bytes, int *err)
{
    size_t used = 0;
    while (used < bytes.len && is_number_byte(bytes.ptr[used])) {
        if (parser->number_len == sizeof parser->number) {
            *err = refuse(parser, "a number with too many digits");
            return used;
        }
        parser->number[parser->number_len++] = bytes.ptr[used++];
    }
    if (used < bytes.len) {
        *err = end_number(parser);
    }
    return used;
}

static int begin_word(struct ps_canon_parser *parser, const char *word)
{
    parser->word = word;
    parser->word_left = (uint8_t)(strlen(word) - 1);
    parser->state = WORD;
    return PS_OK;
}

static int on_word(struct ps_canon_parser *parser, char c)
{
    size_t len = strlen(parser->word);
    if (c != parser->word[len - parser->word_left]) {
        return refuse(parser, "an unknown word");
    }
    if (--parser->word_left > 0) {
        return PS_OK;
    }
    after_value(parser);
    return parser->word[0] == 'n' ? ps_canon_null(parser->canon)
                                  : ps_canon_boolean(parser->canon, parser->word[0] == 't');
}

/* ---------------------------------------------------------------- between tokens */

static int on_value(struct ps_canon_parser *parser, char c)
{
    switch (c) {
    case '{':
        return open_container(parser, true);
    case '[':
        return open_container(parser, false);
    case '"':
        begin_string(parser, false);
        return PS_OK;
    case 't':
        return begin_word(parser, "true");
    case 'f':
        return begin_word(parser, "false");
    case 'n':
        return begin_word(parser, "null");
    default:
        break;
    }
    if (c != '-' && (c < '0' || c > '9')) {
        return refuse(parser, "no value where one was due");
    }
    parser->number[0] = c;
    parser->number_len = 1;
    parser->state = NUMBER;
    return PS_OK;
}

static int on_comma(struct ps_canon_parser *parser, char c)
{
    if (c == ',') {
        parser->state = in_object(parser) ? NAME : VALUE;
        return PS_OK;
    }
    return c == '}' || c == ']' ? close_container(parser, c)
                                : refuse(parser, "no comma or bracket");
}

static int on_name(struct ps_canon_parser *parser, char c)
{
    if (c == '}' && parser->state == NAME_OR_END) {
        return close_container(parser, c);
    }
    if (c != '"') {
        return refuse(parser, "no name where one was due");
    }
    begin_string(parser, true);
    return PS_OK;
}

static int between(struct ps_canon_parser *parser, char c)
{
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        return PS_OK;
    }
    switch ((enum state)parser->state) {
    case START:
        return c == '{' ? on_value(parser, c) : refuse(parser, "the body is no object");
    case VALUE_OR_END:
        if (c == ']') {
            return close_container(parser, c);
        }
        return on_value(parser, c);
    case VALUE:
        return on_value(parser, c);
    case NAME:
    case NAME_OR_END:
        return on_name(parser, c);
    case COLON:
        parser->state = VALUE;
        return c == ':' ? PS_OK : refuse(parser, "no colon behind a name");
    case COMMA_OR_END:
        return on_comma(parser, c);
    case DONE:
        return refuse(parser, "more behind the body");
    case STRING:
    case ESCAPE:
    case HEX:
    case NUMBER:
    case WORD:
        break;
    }
    return PS_OK;
}

/* One token or a part of it. Returns bytes used. */
static size_t step(struct ps_canon_parser *parser, struct ps_str bytes, int *err)
{
    char c = bytes.ptr[0];
    switch ((enum state)parser->state) {
    case STRING:
        return on_string(parser, bytes, err);
    case NUMBER:
        return on_number(parser, bytes, err);
    case ESCAPE:
        *err = on_escape(parser, c);
        return 1;
    case HEX:
        *err = on_hex(parser, c);
        return 1;
    case WORD:
        *err = on_word(parser, c);
        return 1;
    case START:
    case VALUE:
    case VALUE_OR_END:
    case NAME:
    case NAME_OR_END:
    case COLON:
    case COMMA_OR_END:
    case DONE:
        break;
    }
    *err = between(parser, c);
    return 1;
}

int ps_canon_parser_feed(struct ps_canon_parser *parser, struct ps_str bytes)
{
    while (bytes.len > 0 && parser->err == PS_OK) {
        bytes = ps_str_skip(bytes, step(parser, bytes, &parser->err));
    }
    return parser->err;
}

int ps_canon_parser_end(struct ps_canon_parser *parser)
{
    if (parser->err == PS_OK && parser->state != DONE) {
        parser->err = refuse(parser, "the body is cut");
    }
    return parser->err;
}

const char *ps_canon_parser_reason(const struct ps_canon_parser *parser)
{
    const char *reason = parser->reason != NULL ? parser->reason : ps_canon_reason(parser->canon);
    return reason != NULL ? reason : ps_err_text(parser->err);
}
