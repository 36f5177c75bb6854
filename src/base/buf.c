#include "base/buf.h"

#include <float.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum { SMALLEST = 256 };

void ps_buf_fini(struct ps_buf *buf)
{
    free(buf->data);
    *buf = ps_buf_make(buf->limit);
}

int ps_buf_reserve(struct ps_buf *buf, size_t more)
{
    if (buf->cap - buf->len >= more) {
        return PS_OK;
    }
    if (more > buf->limit || buf->len > buf->limit - more) {
        return PS_ELIMIT;
    }
    size_t need = buf->len + more;
    size_t cap = buf->cap < SMALLEST ? SMALLEST : buf->cap * 2;
    cap = cap < need ? need : cap;
    cap = cap > buf->limit ? buf->limit : cap;
    char *data = realloc(buf->data, cap);
    if (data == NULL) {
        return PS_ENOMEM;
    }
    buf->data = data;
    buf->cap = cap;
    return PS_OK;
}

int ps_buf_append(struct ps_buf *buf, const void *bytes, size_t len)
{
    int err = ps_buf_reserve(buf, len);
    if (err == PS_OK && len > 0) {
        memcpy(buf->data + buf->len, bytes, len);
        buf->len += len;
    }
    return err;
}

int ps_buf_append_str(struct ps_buf *buf, struct ps_str text)
{
    return ps_buf_append(buf, text.ptr, text.len);
}

int ps_buf_append_u64(struct ps_buf *buf, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return ps_buf_append(buf, digits + at, sizeof digits - at);
}

/* A positive number of which `decimals` digits behind the point are wanted. */
static size_t write_fixed(char *text, double number, unsigned decimals)
{
    static const double powers[] = {1,   1e1, 1e2, 1e3,  1e4,  1e5, 1e6,
                                    1e7, 1e8, 1e9, 1e10, 1e11, 1e12};
    char digits[24];
    size_t at = 0;
    double wanted = number * powers[decimals];
    uint64_t scaled = (uint64_t)wanted;
    scaled += wanted - (double)scaled >= 0.5 ? 1 : 0; /* adding a half first would round it twice */
    for (; decimals > 0 && scaled % 10 == 0; decimals--) {
        scaled /= 10;
    }
    for (size_t i = 0; scaled > 0 || i <= decimals; i++, scaled /= 10) {
        digits[at++] = (char)('0' + scaled % 10);
        if (i + 1 == decimals) {
            digits[at++] = '.';
        }
    }
    for (size_t i = 0; i < at; i++) {
        text[i] = digits[at - 1 - i];
    }
    return at;
}

/* So many digits behind the point that there are nine in all, or for a fraction a few more. */
static unsigned decimals_of(double number)
{
    unsigned decimals = number < 0.01 ? 11 : 10;
    for (double bound = 0.1; decimals > 0 && bound <= number; bound *= 10) {
        decimals--;
    }
    return decimals;
}

int ps_buf_append_double(struct ps_buf *buf, double number)
{
    char text[32];
    double size = number < 0 ? -number : number;
    size_t at = 0;
    if (!(size <= DBL_MAX)) {
        return ps_buf_append(buf, "null", 4);
    }
    if (size != 0 && (size < 1e-3 || size >= 0x1p53)) {
        return ps_buf_printf(buf, "%.9g", number);
    }
    text[0] = '-';
    at = number < 0 ? 1 : 0;
    bool whole = size == (double)(uint64_t)size;
    at += write_fixed(text + at, size, whole ? 0 : decimals_of(size));
    return ps_buf_append(buf, text, at);
}

int ps_buf_printf(struct ps_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int err = ps_buf_vprintf(buf, format, args);
    va_end(args);
    return err;
}

int ps_buf_vprintf(struct ps_buf *buf, const char *format, va_list args)
{
    char small[512];
    va_list again;
    va_copy(again, args);
    int err = PS_EINVAL;
    int len = vsnprintf(small, sizeof small, format, args);
    if (len < 0) {
        goto out;
    }
    if ((size_t)len < sizeof small) {
        err = ps_buf_append(buf, small, (size_t)len);
        goto out;
    }
    char *large = malloc((size_t)len + 1);
    if (large == NULL) {
        err = PS_ENOMEM;
        goto out;
    }
    vsnprintf(large, (size_t)len + 1, format, again);
    err = ps_buf_append(buf, large, (size_t)len);
    free(large);
out:
    va_end(again);
    return err;
}

void ps_buf_drop(struct ps_buf *buf, size_t n)
{
    PS_CHECK(n <= buf->len);
    if (n > 0) {
        memmove(buf->data, buf->data + n, buf->len - n);
        buf->len -= n;
    }
}

int ps_buf_splice(struct ps_buf *buf, size_t at, size_t len, struct ps_str with)
{
    PS_CHECK(at <= buf->len && len <= buf->len - at);
    int err = with.len > len ? ps_buf_reserve(buf, with.len - len) : PS_OK;
    if (err != PS_OK) {
        return err;
    }
    size_t tail = buf->len - at - len;
    if (tail > 0) {
        memmove(buf->data + at + with.len, buf->data + at + len, tail);
    }
    if (with.len > 0) {
        memcpy(buf->data + at, with.ptr, with.len);
    }
    buf->len = at + with.len + tail;
    return PS_OK;
}

static int append_json_char(struct ps_buf *buf, char c)
{
    static const char *const shorts = "\"\\\b\f\n\r\t";
    static const char *const letters = "\"\\bfnrt";
    const char *hit = c == '\0' ? NULL : strchr(shorts, c);
    if (hit != NULL) {
        char pair[2] = {'\\', letters[hit - shorts]};
        return ps_buf_append(buf, pair, 2);
    }
    if ((unsigned char)c < 0x20) {
        return ps_buf_printf(buf, "\\u%04x", (unsigned)(unsigned char)c);
    }
    return ps_buf_append(buf, &c, 1);
}

int ps_buf_append_json(struct ps_buf *buf, struct ps_str text)
{
    int err = PS_OK;
    while (text.len > 0 && err == PS_OK) {
        size_t len = ps_str_utf8_length(text);
        if (len == 1) {
            err = append_json_char(buf, text.ptr[0]);
        } else if (len == 0) {
            err = ps_buf_append(buf, "\xef\xbf\xbd", 3);
            len = 1;
        } else {
            err = ps_buf_append(buf, text.ptr, len);
        }
        text = ps_str_skip(text, len);
    }
    return err;
}
