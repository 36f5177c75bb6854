#include "base/str.h"

#include <math.h>
#include <stdlib.h>

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool ps_str_ieq(struct ps_str a, struct ps_str b)
{
    return a.len == b.len && ps_str_istarts_with(a, b);
}

bool ps_str_starts_with(struct ps_str text, struct ps_str prefix)
{
    return text.len >= prefix.len && (prefix.len == 0 || memcmp(text.ptr, prefix.ptr, prefix.len) == 0);
}

bool ps_str_istarts_with(struct ps_str text, struct ps_str prefix)
{
    if (text.len < prefix.len) {
        return false;
    }
    for (size_t i = 0; i < prefix.len; i++) {
        if (lower(text.ptr[i]) != lower(prefix.ptr[i])) {
            return false;
        }
    }
    return true;
}

bool ps_str_ends_with(struct ps_str text, struct ps_str suffix)
{
    return text.len >= suffix.len && ps_str_eq(ps_str_skip(text, text.len - suffix.len), suffix);
}

size_t ps_str_find(struct ps_str text, char byte)
{
    const char *hit = text.len == 0 ? NULL : memchr(text.ptr, byte, text.len);
    return hit == NULL ? text.len : (size_t)(hit - text.ptr);
}

bool ps_str_contains(struct ps_str text, struct ps_str needle)
{
    return needle.len == 0 || (text.len >= needle.len && memmem(text.ptr, text.len, needle.ptr, needle.len) != NULL);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct ps_str ps_str_trim(struct ps_str text)
{
    while (text.len > 0 && is_blank(text.ptr[0])) {
        text = ps_str_skip(text, 1);
    }
    while (text.len > 0 && is_blank(text.ptr[text.len - 1])) {
        text.len--;
    }
    return text;
}

bool ps_str_split(struct ps_str *rest, char separator, struct ps_str *part)
{
    if (rest->ptr == NULL) {
        return false;
    }
    size_t at = ps_str_find(*rest, separator);
    *part = ps_str_first(*rest, at);
    *rest = at == rest->len ? (struct ps_str){NULL, 0} : ps_str_skip(*rest, at + 1);
    return true;
}

bool ps_str_next_member(struct ps_str *rest, struct ps_str *member)
{
    while (ps_str_split(rest, ',', member)) {
        *member = ps_str_trim(*member);
        if (member->len > 0) {
            return true;
        }
    }
    return false;
}

int ps_str_to_u64(struct ps_str text, uint64_t *out)
{
    uint64_t value = 0;
    if (text.len == 0) {
        return PS_EPARSE;
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned)(unsigned char)text.ptr[i] - '0';
        if (digit > 9) {
            return PS_EPARSE;
        }
        if (__builtin_mul_overflow(value, 10u, &value) || __builtin_add_overflow(value, digit, &value)) {
            return PS_ELIMIT;
        }
    }
    *out = value;
    return PS_OK;
}

/* Counts the digits at the start of text[*at..] and moves *at behind them. */
static size_t skip_digits(struct ps_str text, size_t *at)
{
    size_t start = *at;
    while (*at < text.len && text.ptr[*at] >= '0' && text.ptr[*at] <= '9') {
        (*at)++;
    }
    return *at - start;
}

/* RFC 8259 section 6: -? int frac? exp? */
static bool is_json_number(struct ps_str text)
{
    size_t at = text.len > 0 && text.ptr[0] == '-' ? 1 : 0;
    bool zero = at < text.len && text.ptr[at] == '0';
    size_t digits = skip_digits(text, &at);
    if (digits == 0 || (zero && digits > 1)) {
        return false;
    }
    if (at < text.len && text.ptr[at] == '.') {
        at++;
        if (skip_digits(text, &at) == 0) {
            return false;
        }
    }
    if (at < text.len && lower(text.ptr[at]) == 'e') {
        at++;
        at += at < text.len && (text.ptr[at] == '+' || text.ptr[at] == '-') ? 1 : 0;
        if (skip_digits(text, &at) == 0) {
            return false;
        }
    }
    return at == text.len;
}

int ps_str_to_double(struct ps_str text, double *out)
{
    char copy[64];
    if (text.len >= sizeof copy || !is_json_number(text)) {
        return PS_EPARSE;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    double value = strtod(copy, NULL);
    if (!isfinite(value)) {
        return PS_EPARSE;
    }
    *out = value;
    return PS_OK;
}

char *ps_str_dup(struct ps_str text)
{
    char *copy = malloc(text.len + 1);
    if (copy != NULL) {
        if (text.len > 0) {
            memcpy(copy, text.ptr, text.len);
        }
        copy[text.len] = '\0';
    }
    return copy;
}

bool ps_str_eq_constant_time(struct ps_str a, struct ps_str b)
{
    if (a.len != b.len) {
        return false;
    }
    volatile unsigned char difference = 0;
    for (size_t i = 0; i < a.len; i++) {
        difference = (unsigned char)(difference | (a.ptr[i] ^ b.ptr[i]));
    }
    return difference == 0;
}

static uint64_t rotate(uint64_t x, int by)
{
    return (x << by) | (x >> (64 - by));
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

uint64_t ps_str_hash(struct ps_str text, uint64_t seed)
{
    /* The second key word is the seed's complement: one secret is enough for a table. */
    uint64_t v[4] = {seed ^ 0x736f6d6570736575u, ~seed ^ 0x646f72616e646f6du,
                     seed ^ 0x6c7967656e657261u, ~seed ^ 0x7465646279746573u};
    size_t at = 0;
    for (; at + 8 <= text.len; at += 8) {
        uint64_t word;
        memcpy(&word, text.ptr + at, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)text.len << 56;
    for (size_t i = 0; at + i < text.len; i++) {
        last |= (uint64_t)(unsigned char)text.ptr[at + i] << (8 * i);
    }
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) {
        sip_round(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

size_t ps_str_utf8_length(struct ps_str text)
{
    static const unsigned char least[5] = {0, 0, 0x80, 0xa0, 0x90};
    if (text.len == 0) {
        return 0;
    }
    const unsigned char *byte = (const unsigned char *)text.ptr;
    size_t len = byte[0] < 0x80                      ? 1
                 : byte[0] >= 0xc2 && byte[0] < 0xe0 ? 2
                 : byte[0] >= 0xe0 && byte[0] < 0xf0 ? 3
                 : byte[0] >= 0xf0 && byte[0] < 0xf5 ? 4
                                                     : 0;
    if (len == 0 || len > text.len) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((byte[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool too_small = (byte[0] == 0xe0 || byte[0] == 0xf0) && byte[1] < least[len];
    bool surrogate = byte[0] == 0xed && byte[1] > 0x9f;
    bool too_large = byte[0] == 0xf4 && byte[1] > 0x8f;
    return too_small || surrogate || too_large ? 0 : len;
}
