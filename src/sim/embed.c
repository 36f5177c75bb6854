#include "sim/embed.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/check.h"
#include "base/rng.h"

#define COMPONENTS_PER_WORD 16
#define UNIT                10000000 /* 1 / 1e-7 */

static bool is_word_byte(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c >= 0x80;
}

static void add_word(struct ps_str word, uint64_t seed, double *vector, size_t dimensions)
{
    struct ps_rng rng = ps_rng_make(ps_str_hash(word, seed));
    for (int i = 0; i < COMPONENTS_PER_WORD; i++) {
        size_t at = ps_rng_below(&rng, dimensions);
        vector[at] += ps_rng_next(&rng) & 1 ? 1.0 : -1.0;
    }
}

static void add_words(struct ps_str text, uint64_t seed, double *vector, size_t dimensions)
{
    size_t i = 0;
    while (i < text.len) {
        size_t begin = i;
        while (i < text.len && is_word_byte((unsigned char)text.ptr[i])) {
            i++;
        }
        if (i > begin) {
            add_word((struct ps_str){text.ptr + begin, i - begin}, seed, vector, dimensions);
        } else {
            i++;
        }
    }
}

/* Small beside the words, but never zero: a text without words has a direction too. */
static void add_trace(struct ps_str text, uint64_t seed, double *vector, size_t dimensions)
{
    struct ps_rng rng = ps_rng_make(ps_str_hash(text, ~seed));
    for (size_t i = 0; i < dimensions; i++) {
        vector[i] += (ps_rng_unit(&rng) - 0.5) * 0.1 + (i == 0 ? 1e-3 : 0);
    }
}

void ps_sim_embed(struct ps_str text, uint64_t seed, int32_t *units, size_t dimensions)
{
    PS_CHECK(dimensions > 0 && dimensions <= PS_SIM_MOST_DIMENSIONS);
    static _Thread_local double vector[PS_SIM_MOST_DIMENSIONS]; /* too large for the stack */
    memset(vector, 0, dimensions * sizeof *vector);
    add_words(text, seed, vector, dimensions);
    add_trace(text, seed, vector, dimensions);
    double square = 0;
    for (size_t i = 0; i < dimensions; i++) {
        square += vector[i] * vector[i];
    }
    double scale = UNIT / sqrt(square > 0 ? square : 1);
    for (size_t i = 0; i < dimensions; i++) {
        units[i] = (int32_t)lround(vector[i] * scale);
    }
}

/* "-0.0123456": at most 10 bytes; about ten times as fast as printf, and there are a million. */
static size_t write_unit(char *at, int32_t unit)
{
    char *begin = at;
    uint32_t size = unit < 0 ? (uint32_t)-unit : (uint32_t)unit;
    if (unit < 0) {
        *at++ = '-';
    }
    *at++ = (char)('0' + size / UNIT);
    *at++ = '.';
    size %= UNIT;
    for (uint32_t digit = UNIT / 10; digit > 0; digit /= 10) {
        *at++ = (char)('0' + size / digit);
        size %= digit;
    }
    return (size_t)(at - begin);
}

int ps_sim_embed_json(struct ps_buf *out, const int32_t *units, size_t dimensions)
{
    int err = ps_buf_reserve(out, dimensions * 11 + 2);
    if (err != PS_OK) {
        return err;
    }
    char *at = out->data + out->len;
    for (size_t i = 0; i < dimensions; i++) {
        *at++ = i == 0 ? '[' : ',';
        at += write_unit(at, units[i]);
    }
    *at++ = ']';
    out->len = (size_t)(at - out->data);
    return PS_OK;
}

int ps_sim_base64(struct ps_buf *out, const void *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int err = ps_buf_reserve(out, (len + 2) / 3 * 4);
    if (err != PS_OK) {
        return err;
    }
    const unsigned char *from = bytes;
    char *at = out->data + out->len;
    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        uint32_t group = (uint32_t)from[i] << 16 | (n > 1 ? (uint32_t)from[i + 1] << 8 : 0) |
                         (n > 2 ? from[i + 2] : 0);
        *at++ = digits[group >> 18];
        *at++ = digits[group >> 12 & 63];
        *at++ = n > 1 ? digits[group >> 6 & 63] : '=';
        *at++ = n > 2 ? digits[group & 63] : '=';
    }
    out->len = (size_t)(at - out->data);
    return PS_OK;
}

static void put_float(unsigned char *at, float value)
{
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    for (int i = 0; i < 4; i++) {
        at[i] = (unsigned char)(bits >> (8 * i));
    }
}

int ps_sim_embed_base64(struct ps_buf *out, const int32_t *units, size_t dimensions)
{
    static _Thread_local unsigned char bytes[PS_SIM_MOST_DIMENSIONS * 4];
    PS_CHECK(dimensions <= PS_SIM_MOST_DIMENSIONS);
    for (size_t i = 0; i < dimensions; i++) {
        put_float(bytes + 4 * i, (float)(units[i] / (double)UNIT));
    }
    int err = ps_buf_append(out, "\"", 1);
    if (err == PS_OK) {
        err = ps_sim_base64(out, bytes, dimensions * 4);
    }
    return err == PS_OK ? ps_buf_append(out, "\"", 1) : err;
}
