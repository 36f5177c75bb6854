/* The one form of a number. Pure. */
#include "gateway/canon.h"

#include <string.h>

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

/* Takes digits off the front; *count is how many. */
static struct ps_str take_digits(struct ps_str text, struct decimal *out, size_t *count)
{
    size_t before = text.len;
    while (text.len > 0 && is_digit(text.ptr[0])) {
        /* Zeros in front say nothing. */
        if (out->len > 0 || text.ptr[0] != '0') {
            out->digits[out->len++] = text.ptr[0];
        }
        text = ps_str_skip(text, 1);
    }
    *count = before - text.len;
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

/* RFC 8259, section 6. */
static bool read_decimal(struct ps_str text, struct decimal *out)
{
    if (text.len == 0 || text.len > PS_CANON_NUMBER_MAX) {
        return false;
    }
    size_t count = 0;
    out->negative = text.ptr[0] == '-';
    text = ps_str_skip(text, out->negative ? 1 : 0);
    bool zero = text.len > 0 && text.ptr[0] == '0';
    text = take_digits(text, out, &count);
    if (count == 0 || (zero && count > 1)) {
        return false;
    }
    if (text.len > 0 && text.ptr[0] == '.') {
        text = take_digits(ps_str_skip(text, 1), out, &count);
        out->exponent -= (int64_t)count;
        if (count == 0) {
            return false;
        }
    }
    return text.len == 0 ||
           ((text.ptr[0] | 0x20) == 'e' && take_exponent(ps_str_skip(text, 1), out));
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
