#include "gateway/json_view.h"

#include "gateway/json.h"

int ps_json_view_is_valid(struct ps_str text)
{
    static const yajl_callbacks none = {.yajl_null = NULL};
    struct ps_json *json = NULL;
    int err = ps_json_new(&json, &none, NULL, NULL);
    if (err == PS_OK) {
        err = ps_json_feed(json, text);
        err = err != PS_OK ? err : ps_json_end(json);
        ps_json_free(json);
    }
    return err;
}

struct ps_str ps_json_view_trim(struct ps_str text)
{
    text = ps_json_view_skip_space(text);
    while (text.len > 0 && ps_json_view_is_space(text.ptr[text.len - 1])) {
        text.len--;
    }
    return text;
}

char ps_json_view_type(struct ps_str value)
{
    return value.len == 0 ? '\0' : value.ptr[0];
}

struct ps_str ps_json_view_inside(struct ps_str value)
{
    return value.len < 2 ? ps_str_first(value, 0) : (struct ps_str){value.ptr + 1, value.len - 2};
}

/* Vectors of numbers and long texts are most of what is walked over: as long as a block holds none
 * of the bytes that matter it is stepped over as a whole. The compiler makes vector instructions of
 * the two loops. */
enum { BLOCK = 64 };

static bool ends_text(char c)
{
    return c == '"' || c == '\\';
}

/* A bracket is a brace without its sixth bit. */
static bool is_mark(char c)
{
    char folded = (char)(c | 0x20);
    return c == '"' || folded == '{' || folded == '}';
}

static bool block_has_end(const char *block)
{
    unsigned char found = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        found |= (unsigned char)ends_text(block[i]);
    }
    return found != 0;
}

static bool block_has_mark(const char *block)
{
    unsigned char found = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        found |= (unsigned char)is_mark(block[i]);
    }
    return found != 0;
}

/* Length of the string at the start, quotes included. */
static size_t string_length(struct ps_str text)
{
    size_t i = 1;
    while (i < text.len) {
        while (text.len - i >= BLOCK && !block_has_end(text.ptr + i)) {
            i += BLOCK;
        }
        while (i < text.len && !ends_text(text.ptr[i])) {
            i++;
        }
        if (i < text.len && text.ptr[i] == '"') {
            return i + 1;
        }
        i += 2;
    }
    return text.len;
}

/* The first quote, bracket or brace from `i` on. */
static size_t find_mark(struct ps_str text, size_t i)
{
    while (text.len - i >= BLOCK && !block_has_mark(text.ptr + i)) {
        i += BLOCK;
    }
    while (i < text.len && !is_mark(text.ptr[i])) {
        i++;
    }
    return i;
}

static size_t container_length(struct ps_str text)
{
    size_t depth = 0;
    for (size_t i = find_mark(text, 0); i < text.len; i = find_mark(text, i)) {
        char c = text.ptr[i];
        if (c == '"') {
            i += string_length(ps_str_skip(text, i));
            continue;
        }
        i++;
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        if (depth == 0) {
            return i;
        }
    }
    return text.len;
}

static size_t word_length(struct ps_str text)
{
    size_t i = 0;
    while (i < text.len && text.ptr[i] != ',' && text.ptr[i] != ']' && text.ptr[i] != '}' &&
           !ps_json_view_is_space(text.ptr[i])) {
        i++;
    }
    return i;
}

static struct ps_str take_value(struct ps_str *rest)
{
    size_t len = 0;
    switch (ps_json_view_type(*rest)) {
    case '"':
        len = string_length(*rest);
        break;
    case '{':
    case '[':
        len = container_length(*rest);
        break;
    default:
        len = word_length(*rest);
        break;
    }
    struct ps_str value = ps_str_first(*rest, len);
    *rest = ps_json_view_skip_space(ps_str_skip(*rest, len));
    return value;
}

/* Steps over one byte, a comma or colon, and the space around it. */
static struct ps_str skip_mark(struct ps_str rest, char mark)
{
    rest = ps_json_view_skip_space(rest);
    return rest.len > 0 && rest.ptr[0] == mark ? ps_json_view_skip_space(ps_str_skip(rest, 1))
                                               : rest;
}

bool ps_json_view_next_item(struct ps_str *rest, struct ps_str *item)
{
    *rest = skip_mark(*rest, ',');
    if (rest->len == 0) {
        return false;
    }
    *item = take_value(rest);
    return item->len > 0;
}

bool ps_json_view_next_member(struct ps_str *rest, struct ps_str *name, struct ps_str *value)
{
    *rest = skip_mark(*rest, ',');
    if (ps_json_view_type(*rest) != '"') {
        return false;
    }
    *name = ps_json_view_inside(take_value(rest));
    *rest = skip_mark(*rest, ':');
    *value = take_value(rest);
    return value->len > 0;
}
