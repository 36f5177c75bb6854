/* h1_write - see h1_write.h.
 *
 * Each function reserves what it needs first, so that nothing is left half written.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http/h1_write.h"

#include <stdbool.h>
#include <string.h>

#include "base/check.h"
#include "http/h1_scan.h"

#define CRLF PS_STR("\r\n")

/* Appends parts to a buffer that has room for all of them, or nothing. */
static int append_all(struct ps_buf *out, const struct ps_str *parts, size_t count)
{
    size_t need = 0;
    for (size_t i = 0; i < count; i++) {
        need += parts[i].len;
    }
    int err = ps_buf_reserve(out, need);
    if (err != PS_OK) {
        return err;
    }
    for (size_t i = 0; i < count; i++) {
        if (parts[i].len > 0) {
            memcpy(out->data + out->len, parts[i].ptr, parts[i].len);
            out->len += parts[i].len;
        }
    }
    return PS_OK;
}

int ps_h1_write_request_line(struct ps_buf *out, struct ps_str method, struct ps_str target)
{
    if (!ps_h1_is_token(method) || !ps_h1_is_target(target)) {
        return PS_EINVAL;
    }
    const struct ps_str parts[] = {method, PS_STR(" "), target, PS_STR(" HTTP/1.1\r\n")};
    return append_all(out, parts, PS_ARRAY_LEN(parts));
}

int ps_h1_write_status_line(struct ps_buf *out, int status, struct ps_str reason)
{
    if (status < 100 || status > 599 || !ps_h1_is_value(reason)) {
        return PS_EINVAL;
    }
    const char code[] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10),
                         (char)('0' + status % 10), ' '};
    const struct ps_str parts[] = {PS_STR("HTTP/1.1 "),
                                   {code, sizeof code},
                                   reason.len > 0 ? reason : ps_h1_reason(status),
                                   CRLF};
    return append_all(out, parts, PS_ARRAY_LEN(parts));
}

int ps_h1_write_header(struct ps_buf *out, struct ps_str name, struct ps_str value)
{
    if (!ps_h1_is_token(name) || !ps_h1_is_value(value)) {
        return PS_EINVAL;
    }
    const struct ps_str parts[] = {name, PS_STR(": "), value, CRLF};
    return append_all(out, parts, PS_ARRAY_LEN(parts));
}

int ps_h1_write_header_u64(struct ps_buf *out, struct ps_str name, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return ps_h1_write_header(out, name, (struct ps_str){digits + at, sizeof digits - at});
}

int ps_h1_write_head_end(struct ps_buf *out)
{
    return ps_buf_append_str(out, CRLF);
}

/* `dropped`: never copied; `kept`: copied although Connection names them. */
static bool is_copied(const struct ps_h1_head *head, const struct ps_h1_header *header,
                      uint64_t dropped, uint64_t kept)
{
    uint64_t bit = PS_H1_BIT(header->id);
    if ((dropped & bit) != 0) {
        return false;
    }
    return !head->connection_names || (kept & bit) != 0 ||
           !ps_h1_head_connection_has(head, header->name);
}

/* Where the line of header i ends: where the next one begins. */
static const char *line_end(const struct ps_h1_head *head, size_t i)
{
    return i + 1 < head->header_count ? head->headers[i + 1].name.ptr
                                      : head->raw.ptr + head->raw.len - 2;
}

int ps_h1_copy_end_to_end(struct ps_buf *out, const struct ps_h1_head *head, uint64_t skip,
                          unsigned flags)
{
    uint64_t dropped = PS_H1_HOP_BY_HOP | skip;
    uint64_t kept = PS_H1_BIT(PS_H1_HOST) | PS_H1_BIT(PS_H1_CONTENT_LENGTH);
    if ((flags & PS_H1_COPY_UPGRADE) != 0) {
        dropped &= ~(PS_H1_BIT(PS_H1_UPGRADE) & ~skip);
        kept |= PS_H1_BIT(PS_H1_UPGRADE);
    }
    int err = ps_buf_reserve(out, head->raw.len);
    if (err != PS_OK) {
        return err;
    }
    for (size_t i = 0; i < head->header_count;) {
        size_t first = i;
        while (i < head->header_count && is_copied(head, &head->headers[i], dropped, kept)) {
            i++;
        }
        if (i > first) {
            const char *from = head->headers[first].name.ptr;
            size_t len = (size_t)(line_end(head, i - 1) - from);
            memcpy(out->data + out->len, from, len);
            out->len += len;
        }
        i++; /* the one that is not copied */
    }
    return PS_OK;
}

size_t ps_h1_format_chunk_header(char *out, uint64_t size)
{
    static const char hex[] = "0123456789abcdef";
    PS_CHECK(size > 0);
    size_t digits = (size_t)(67 - __builtin_clzll(size)) / 4;
    for (size_t i = digits; i > 0; i--) {
        out[i - 1] = hex[size & 15];
        size >>= 4;
    }
    out[digits] = '\r';
    out[digits + 1] = '\n';
    return digits + 2;
}

int ps_h1_write_chunk_header(struct ps_buf *out, uint64_t size)
{
    char header[PS_H1_CHUNK_HEADER_MAX];
    return ps_buf_append(out, header, ps_h1_format_chunk_header(header, size));
}

int ps_h1_write_chunk_footer(struct ps_buf *out)
{
    return ps_buf_append_str(out, CRLF);
}

int ps_h1_write_chunk(struct ps_buf *out, struct ps_str data)
{
    if (data.len == 0) {
        return PS_OK;
    }
    char header[PS_H1_CHUNK_HEADER_MAX];
    const struct ps_str parts[] = {
        {header, ps_h1_format_chunk_header(header, data.len)}, data, CRLF};
    return append_all(out, parts, PS_ARRAY_LEN(parts));
}

int ps_h1_write_last_chunk(struct ps_buf *out, const struct ps_h1_header *trailers, size_t count)
{
    size_t before = out->len;
    int err = ps_buf_append_str(out, PS_STR("0\r\n"));
    for (size_t i = 0; i < count && err == PS_OK; i++) {
        err = ps_h1_write_header(out, trailers[i].name, trailers[i].value);
    }
    if (err == PS_OK) {
        err = ps_buf_append_str(out, CRLF);
    }
    if (err != PS_OK) {
        out->len = before;
    }
    return err;
}
