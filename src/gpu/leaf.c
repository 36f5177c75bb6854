#include "gpu/leaf.h"

#include <stdbool.h>
#include <string.h>

/* What is open: where its path ends, and for an array which element comes. */
struct level {
    size_t path;
    bool array;
    size_t next;
};

struct walk {
    struct ps_str text;
    size_t at;
    char path[PS_LEAF_PATH];
    size_t path_len;
    size_t index[PS_LEAF_DEPTH];
    size_t indexes;
    struct level levels[PS_LEAF_DEPTH];
    size_t depth;
    ps_leaf_fn *on_leaf;
    void *ctx;
};

static char peek(const struct walk *walk)
{
    return walk->at < walk->text.len ? walk->text.ptr[walk->at] : '\0';
}

static void skip_space(struct walk *walk)
{
    for (char c = peek(walk); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(walk)) {
        walk->at++;
    }
}

static bool take(struct walk *walk, char c)
{
    if (walk->at >= walk->text.len || walk->text.ptr[walk->at] != c) {
        return false;
    }
    walk->at++;
    return true;
}

static void tell(const struct walk *walk, enum ps_leaf_type type, struct ps_str text)
{
    struct ps_leaf leaf = {.path = {walk->path, walk->path_len},
                           .index = walk->index,
                           .indexes = walk->indexes,
                           .type = type,
                           .text = text};
    walk->on_leaf(walk->ctx, &leaf);
}

static int extend(struct walk *walk, struct ps_str part)
{
    if (part.len > sizeof walk->path - walk->path_len) {
        return PS_ELIMIT;
    }
    if (part.len > 0) {
        memcpy(walk->path + walk->path_len, part.ptr, part.len);
    }
    walk->path_len += part.len;
    return PS_OK;
}

/* --- scalars ---------------------------------------------------------------------------------- */

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Behind a backslash. */
static bool skip_escape(struct walk *walk)
{
    char c = peek(walk);
    walk->at++;
    if (c != 'u') {
        return c != '\0' && strchr("\"\\/bfnrt", c) != NULL;
    }
    for (size_t i = 0; i < 4; i++, walk->at++) {
        if (!is_hex(peek(walk))) {
            return false;
        }
    }
    return true;
}

static int read_string(struct walk *walk, struct ps_str *out)
{
    if (!take(walk, '"')) {
        return PS_EPARSE;
    }
    size_t start = walk->at;
    while (walk->at < walk->text.len && walk->text.ptr[walk->at] != '"') {
        char c = walk->text.ptr[walk->at++];
        if ((unsigned char)c < 0x20 || (c == '\\' && !skip_escape(walk))) {
            return PS_EPARSE;
        }
    }
    *out = (struct ps_str){walk->text.ptr + start, walk->at - start};
    return take(walk, '"') ? PS_OK : PS_EPARSE;
}

static int read_number(struct walk *walk)
{
    size_t start = walk->at;
    double value;
    for (char c = peek(walk); c != '\0' && strchr("+-.eE0123456789", c) != NULL; c = peek(walk)) {
        walk->at++;
    }
    struct ps_str text = {walk->text.ptr + start, walk->at - start};
    if (ps_str_to_double(text, &value) != PS_OK) {
        return PS_EPARSE;
    }
    tell(walk, PS_LEAF_NUMBER, text);
    return PS_OK;
}

static int read_word(struct walk *walk, struct ps_str word, enum ps_leaf_type type)
{
    struct ps_str rest = ps_str_skip(walk->text, walk->at);
    if (!ps_str_starts_with(rest, word)) {
        return PS_EPARSE;
    }
    walk->at += word.len;
    tell(walk, type, word);
    return PS_OK;
}

static int read_text(struct walk *walk)
{
    struct ps_str text;
    int err = read_string(walk, &text);
    if (err == PS_OK) {
        tell(walk, PS_LEAF_STRING, text);
    }
    return err;
}

/* --- what opens and closes -------------------------------------------------------------------- */

static int open_level(struct walk *walk, bool array)
{
    if (walk->depth == PS_LEAF_DEPTH) {
        return PS_ELIMIT;
    }
    walk->at++;
    tell(walk, array ? PS_LEAF_ARRAY : PS_LEAF_OBJECT, (struct ps_str){"", 0});
    walk->levels[walk->depth++] = (struct level){.path = walk->path_len, .array = array};
    return PS_OK;
}

static int read_value(struct walk *walk)
{
    skip_space(walk);
    switch (peek(walk)) {
    case '{':
        return open_level(walk, false);
    case '[':
        return open_level(walk, true);
    case '"':
        return read_text(walk);
    case 't':
        return read_word(walk, PS_STR("true"), PS_LEAF_TRUE);
    case 'f':
        return read_word(walk, PS_STR("false"), PS_LEAF_FALSE);
    case 'n':
        return read_word(walk, PS_STR("null"), PS_LEAF_NULL);
    default:
        return read_number(walk);
    }
}

/* Back to the path of what is open. */
static void cut_back(struct walk *walk, const struct level *level)
{
    walk->path_len = level->path;
    walk->indexes = 0;
    for (size_t i = 0; i < walk->depth; i++) {
        walk->indexes += walk->levels[i].array ? 1 : 0;
    }
    walk->indexes -= level->array ? 1 : 0;
}

static int read_element(struct walk *walk, struct level *level)
{
    walk->index[walk->indexes++] = level->next++;
    int err = extend(walk, PS_STR("[]"));
    return err != PS_OK ? err : read_value(walk);
}

static int read_member(struct walk *walk, struct level *level)
{
    struct ps_str name;
    int err = read_string(walk, &name);
    level->next++;
    err = err == PS_OK && walk->path_len > 0 ? extend(walk, PS_STR(".")) : err;
    err = err != PS_OK ? err : extend(walk, name);
    if (err != PS_OK) {
        return err;
    }
    skip_space(walk);
    return take(walk, ':') ? read_value(walk) : PS_EPARSE;
}

/* The next part of the innermost that is open, or its end. */
static int step(struct walk *walk)
{
    struct level *level = &walk->levels[walk->depth - 1];
    bool first = level->next == 0;
    cut_back(walk, level);
    skip_space(walk);
    if (take(walk, level->array ? ']' : '}')) {
        walk->depth--;
        return PS_OK;
    }
    if (!first && !take(walk, ',')) {
        return PS_EPARSE;
    }
    skip_space(walk);
    return level->array ? read_element(walk, level) : read_member(walk, level);
}

int ps_leaf_walk(struct ps_str text, ps_leaf_fn *on_leaf, void *ctx, size_t *offset)
{
    struct walk walk;
    walk.text = text;
    walk.at = walk.path_len = walk.indexes = walk.depth = 0;
    walk.on_leaf = on_leaf;
    walk.ctx = ctx;
    int err = read_value(&walk);
    while (err == PS_OK && walk.depth > 0) {
        err = step(&walk);
    }
    skip_space(&walk);
    err = err == PS_OK && walk.at < text.len ? PS_EPARSE : err;
    if (err != PS_OK) {
        *offset = walk.at < text.len ? walk.at : text.len;
    }
    return err;
}
