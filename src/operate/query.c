#include "operate/query.h"

#include <stddef.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The character at *at, decoded, and on behind it; -1: it can't be one. */
static int next_char(struct ps_str text, size_t *at)
{
    char c = text.ptr[(*at)++];
    if (c == '+') {
        return ' ';
    }
    if (c != '%') {
        return (unsigned char)c;
    }
    int high = text.len - *at < 2 ? -1 : hex_digit(text.ptr[*at]);
    int low = high < 0 ? -1 : hex_digit(text.ptr[*at + 1]);
    *at += 2;
    return low < 0 ? -1 : high * 16 + low;
}

static int decode(struct ps_str text, char *out, size_t size)
{
    size_t len = 0;
    for (size_t at = 0; at < text.len;) {
        int c = next_char(text, &at);
        if (c < ' ' || c == 0x7f) {
            return PS_EPARSE;
        }
        if (len + 1 >= size) {
            return PS_ELIMIT;
        }
        out[len++] = (char)c;
    }
    out[len] = '\0';
    return PS_OK;
}

int ps_query_next(struct ps_str *rest, struct ps_query_pair *pair)
{
    struct ps_str part = {"", 0};
    while (part.len == 0) {
        if (rest->len == 0 || !ps_str_split(rest, '&', &part)) {
            return PS_ENOTFOUND;
        }
    }
    size_t equals = ps_str_find(part, '=');
    bool has_value = equals < part.len;
    int err = decode(ps_str_first(part, equals), pair->name, sizeof pair->name);
    struct ps_str value = has_value ? ps_str_skip(part, equals + 1) : (struct ps_str){"", 0};
    return err != PS_OK ? err : decode(value, pair->value, sizeof pair->value);
}

int ps_query_value(struct ps_str query, struct ps_str name, char *out, size_t size)
{
    struct ps_str part;
    while (query.len > 0 && ps_str_split(&query, '&', &part)) {
        size_t equals = ps_str_find(part, '=');
        if (equals < part.len && ps_str_eq(ps_str_first(part, equals), name)) {
            return decode(ps_str_skip(part, equals + 1), out, size);
        }
    }
    return PS_ENOTFOUND;
}
