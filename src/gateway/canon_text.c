/* The pieces of canon that look at text: numbers and escapes. Pure. */
#include "gateway/canon.h"

#include <string.h>

/* ---------------------------------------------------------------- numbers */

struct decimal {
    char digits[PS_CANON_NUMBER_MAX];
    size_t len;
    int64_t exponent; /* value = digits * 10^exponent */
    bool negative;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static struct ps_str take_digits(struct ps_str text, struct decimal *out)
{
    while (text.len > 0 && is_digit(text.ptr[0])) {
        /* Zeros in front say nothing. */
        if (out->len > 0 || text.ptr[0] != '0') {
            out->digits[out->len++] = text.ptr[0];
        }
        text = ps_str_skip(text, 1);
    }
    return text;
}

/* False when the exponent is beyond any sense. */
static bool take_exponent(struct ps_str text, struct decimal *out)
{
    bool negative = text.len > 0 && text.ptr[0] == '-';
    text = ps_str_skip(text, negative || (text.len > 0 && text.ptr[0] == '+') ? 1 : 0);
    while (text.len > 1 && text.ptr[0] == '0') {
        text = ps_str_skip(text, 1);
    }
    uint64_t exponent = 0;
    if (text.len > 15 || ps_str_to_u64(text, &exponent) != PS_OK) {
        return false;
    }
    out->exponent += negative ? -(int64_t)exponent : (int64_t)exponent;
    return true;
}

static bool read_decimal(struct ps_str text, struct decimal *out)
{
    if (text.len == 0 || text.len > PS_CANON_NUMBER_MAX) {
        return false;
    }
    out->negative = text.ptr[0] == '-';
    text = take_digits(ps_str_skip(text, out->negative ? 1 : 0), out);
    if (text.len > 0 && text.ptr[0] == '.') {
        size_t before = text.len - 1;
        text = take_digits(ps_str_skip(text, 1), out);
        out->exponent -= (int64_t)(before - text.len);
    }
    if (text.len > 0) {
        return (text.ptr[0] | 0x20) == 'e' && take_exponent(ps_str_skip(text, 1), out);
    }
    return true;
}

static size_t write_integer(int64_t number, char *out)
{
    char digits[20];
    size_t at = sizeof digits;
    uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    size_t len = 0;
    if (number < 0) {
        out[len++] = '-';
    }
    memcpy(out + len, digits + at, sizeof digits - at);
    return len + sizeof digits - at;
}

size_t ps_canon_write_number(struct ps_str text, char out[PS_CANON_NUMBER_MAX + 32])
{
    struct decimal decimal = {.len = 0};
    if (!read_decimal(text, &decimal)) {
        return 0;
    }
    while (decimal.len > 0 && decimal.digits[decimal.len - 1] == '0') {
        decimal.len--;
        decimal.exponent++;
    }
    if (decimal.len == 0) {
        out[0] = '0';
        return 1;
    }
    size_t len = 0;
    if (decimal.negative) {
        out[len++] = '-';
    }
    memcpy(out + len, decimal.digits, decimal.len);
    len += decimal.len;
    out[len++] = 'e';
    return len + write_integer(decimal.exponent, out + len);
}

/* ---------------------------------------------------------------- escapes */

enum { TEXT, BACKSLASH, HEX1, HEX2, HEX3, HEX4 };

/* -1 for what is no hex digit. */
static int hex_value(char c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Four digits are complete. */
static int on_code(struct ps_escape *escape)
{
    bool low = (escape->code & 0xfc00) == 0xdc00;
    if (low != escape->high) {
        return PS_EPARSE;
    }
    escape->high = (escape->code & 0xfc00) == 0xd800;
    escape->state = TEXT;
    return PS_OK;
}

static int on_hex(struct ps_escape *escape, char c)
{
    int value = hex_value(c);
    if (value < 0) {
        return PS_EPARSE;
    }
    escape->code = (uint16_t)(escape->code << 4 | value);
    if (escape->state == HEX4) {
        return on_code(escape);
    }
    escape->state++;
    return PS_OK;
}

/* One byte of an escape, or the one behind the first half of a pair. */
static int on_byte(struct ps_escape *escape, char c)
{
    switch (escape->state) {
    case TEXT:
        escape->state = c == '\\' ? BACKSLASH : TEXT;
        return escape->high && c != '\\' ? PS_EPARSE : PS_OK;
    case BACKSLASH:
        escape->state = c == 'u' ? HEX1 : TEXT;
        escape->code = 0;
        return escape->high && c != 'u' ? PS_EPARSE : PS_OK;
    default:
        return on_hex(escape, c);
    }
}

int ps_escape_feed(struct ps_escape *escape, struct ps_str text)
{
    size_t i = 0;
    while (i < text.len) {
        if (escape->state == TEXT && !escape->high) {
            i += ps_str_find(ps_str_skip(text, i), '\\');
            if (i == text.len) {
                break;
            }
        }
        int err = on_byte(escape, text.ptr[i++]);
        if (err != PS_OK) {
            return err;
        }
    }
    return PS_OK;
}

int ps_escape_end(const struct ps_escape *escape)
{
    return escape->state == TEXT && !escape->high ? PS_OK : PS_EPARSE;
}
