/* h1_parse - see h1_parse.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http/h1_parse.h"

#include <string.h>

#include "http/h1_scan.h"

static const char *fail(struct ps_h1_fault *fault, enum ps_h1_error_code code, const char *at)
{
    *fault = (struct ps_h1_fault){code, at};
    return NULL;
}

static const char *need_more(struct ps_h1_fault *fault)
{
    return fail(fault, PS_H1_ERR_NONE, NULL);
}

static struct ps_str view(const char *from, const char *to)
{
    return (struct ps_str){from, (size_t)(to - from)};
}

/* What a byte that ended a part too early means: a line that ends wrongly, or `otherwise`. */
static const char *stray_byte(struct ps_h1_fault *fault, const char *p, const char *end,
                              enum ps_h1_error_code otherwise)
{
    if (p == end || (*p == '\r' && p + 1 == end)) {
        return need_more(fault);
    }
    bool bad_end = *p == '\n' || (*p == '\r' && p[1] != '\n');
    return fail(fault, bad_end ? PS_H1_ERR_LINE_END : otherwise, p);
}

/* CR LF at p. */
static const char *line_end(const char *p, const char *end, enum ps_h1_error_code otherwise,
                            struct ps_h1_fault *fault)
{
    if (end - p >= 2 && p[0] == '\r' && p[1] == '\n') {
        return p + 2;
    }
    return stray_byte(fault, p, end, otherwise);
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* "HTTP/1.0" or "HTTP/1.1"; the byte behind it. */
static const char *version(const char *p, const char *end, struct ps_h1_head *head,
                           struct ps_h1_fault *fault)
{
    static const char text[] = "HTTP/";
    const char *start = p;
    for (size_t i = 0; i < sizeof text - 1; i++, p++) {
        if (p == end || *p != text[i]) {
            return stray_byte(fault, p, end, PS_H1_ERR_VERSION_SYNTAX);
        }
    }
    for (int i = 0; i < 3; i++, p++) {
        if (p == end || (i == 1 ? *p != '.' : !is_digit(*p))) {
            return stray_byte(fault, p, end, PS_H1_ERR_VERSION_SYNTAX);
        }
    }
    if (p[-3] != '1' || (p[-1] != '0' && p[-1] != '1')) {
        return fail(fault, PS_H1_ERR_VERSION, start);
    }
    head->minor = (uint8_t)(p[-1] - '0');
    return p;
}

/* port of an authority: empty view, or ":" and 1 to 5 digits up to 65535. */
static bool is_port(struct ps_str text)
{
    uint64_t port;
    return text.len == 0 || (text.ptr[0] == ':' && text.len <= 6 &&
                             ps_str_to_u64(ps_str_skip(text, 1), &port) == PS_OK && port <= 65535);
}

static bool is_ipv6_byte(char byte)
{
    char lower = (char)(byte | 0x20);
    return is_digit(byte) || (lower >= 'a' && lower <= 'f') || byte == ':' || byte == '.';
}

/* host [":" port], without user information. */
static bool is_authority(struct ps_str text, bool port_required)
{
    const char *end = text.ptr + text.len;
    const char *p = text.ptr;
    if (text.len > 0 && *p == '[') {
        p++;
        while (p < end && is_ipv6_byte(*p)) {
            p++;
        }
        if (p == end || *p != ']' || p - text.ptr < 3) {
            return false;
        }
        p++;
    } else {
        p = ps_h1_scan_class(p, end, PS_H1_CLASS_HOST);
        if (p == text.ptr) {
            return false;
        }
    }
    struct ps_str port = view(p, end);
    return is_port(port) && (port.len > 0 || !port_required);
}

/* "http://host[:port][/path]". */
static bool absolute_target(struct ps_h1_head *head)
{
    struct ps_str rest = head->target;
    if (ps_str_istarts_with(rest, PS_STR("http://"))) {
        rest = ps_str_skip(rest, 7);
    } else if (ps_str_istarts_with(rest, PS_STR("https://"))) {
        rest = ps_str_skip(rest, 8);
    } else {
        return false;
    }
    size_t slash = ps_str_find(rest, '/');
    head->host = ps_str_first(rest, slash);
    head->path = ps_str_skip(rest, slash);
    if (head->path.len == 0) {
        head->path = head->method_id == PS_H1_METHOD_OPTIONS ? PS_STR("*") : PS_STR("/");
    }
    return is_authority(head->host, false);
}

/* Which of the four forms of RFC 9112, 3.2 it is, and is that form allowed with the method? */
static bool classify_target(struct ps_h1_head *head)
{
    struct ps_str target = head->target;
    if (head->method_id == PS_H1_METHOD_CONNECT) {
        return is_authority(target, true);
    }
    if (target.ptr[0] == '/') {
        head->path = target;
        return true;
    }
    if (target.ptr[0] == '*') {
        head->path = target;
        return target.len == 1 && head->method_id == PS_H1_METHOD_OPTIONS;
    }
    return absolute_target(head);
}

const char *ps_h1_parse_request_line(const char *p, const char *end, uint32_t max_target,
                                     struct ps_h1_head *head, struct ps_h1_fault *fault)
{
    const char *start = p;
    p = ps_h1_scan_token(p, end);
    if (p == end || *p != ' ' || p == start) {
        return stray_byte(fault, p, end, PS_H1_ERR_METHOD_SYNTAX);
    }
    head->method = view(start, p);
    head->method_id = ps_h1_method_find(head->method);
    if (head->method_id == PS_H1_METHOD_UNKNOWN) {
        return fail(fault, PS_H1_ERR_METHOD_UNKNOWN, start);
    }
    const char *target = ++p;
    p = ps_h1_scan_target(p, end);
    if (p == end || *p != ' ' || p == target) {
        return stray_byte(fault, p, end, PS_H1_ERR_TARGET);
    }
    head->target = view(target, p);
    if (head->target.len > max_target) {
        return fail(fault, PS_H1_ERR_TARGET_TOO_LONG, target);
    }
    if (!classify_target(head)) {
        return fail(fault, PS_H1_ERR_TARGET, target);
    }
    p = version(p + 1, end, head, fault);
    return p == NULL ? NULL : line_end(p, end, PS_H1_ERR_VERSION_SYNTAX, fault);
}

const char *ps_h1_parse_status_line(const char *p, const char *end, struct ps_h1_head *head,
                                    struct ps_h1_fault *fault)
{
    p = version(p, end, head, fault);
    if (p == NULL) {
        return NULL;
    }
    /* " 200 " */
    int status = 0;
    for (int i = 0; i < 5; i++, p++) {
        bool space = i == 0 || i == 4;
        if (p == end || (space ? *p != ' ' : !is_digit(*p))) {
            return stray_byte(fault, p, end, PS_H1_ERR_STATUS_LINE);
        }
        status = space ? status : status * 10 + (*p - '0');
    }
    if (status < 100 || status > 599) {
        return fail(fault, PS_H1_ERR_STATUS_LINE, p - 4);
    }
    const char *reason = p;
    p = ps_h1_scan_value(p, end);
    head->status = status;
    head->reason = view(reason, p);
    return line_end(p, end, PS_H1_ERR_STATUS_LINE, fault);
}

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t';
}

const char *ps_h1_parse_field(const char *p, const char *end, struct ps_h1_header *out,
                              struct ps_h1_fault *fault)
{
    const char *name = p;
    p = ps_h1_scan_token(p, end);
    if (p == end || *p != ':' || p == name) {
        bool folded = p == name && p < end && is_space(*p);
        return stray_byte(fault, p, end, folded ? PS_H1_ERR_FOLDING : PS_H1_ERR_HEADER_NAME);
    }
    out->name = view(name, p);
    for (p++; p < end && is_space(*p); p++) {
    }
    const char *value = p;
    p = ps_h1_scan_value(p, end);
    const char *value_end = p;
    while (value_end > value && is_space(value_end[-1])) {
        value_end--;
    }
    out->value = view(value, value_end);
    out->id = (uint8_t)ps_h1_field_find(out->name);
    return line_end(p, end, PS_H1_ERR_HEADER_VALUE, fault);
}

/* Is there a TAB between the colon and the value or between the value and the CR? Parsers differ in
 * whether such a value is still the same one (Node reads "chunked TAB" as not chunked), so where
 * the length of a message depends on it, it is refused. */
static bool has_tab_around(struct ps_str value)
{
    const char *before = value.ptr - 1;
    const char *after = value.ptr + value.len;
    while (*before == ' ') {
        before--;
    }
    while (*after == ' ') {
        after++;
    }
    return *before != ':' || *after != '\r';
}

static enum ps_h1_error_code apply_content_length(struct ps_h1_head *head, struct ps_str value)
{
    if (head->has_content_length) {
        return PS_H1_ERR_CONTENT_LENGTH_TWICE;
    }
    uint64_t length;
    if (ps_str_to_u64(value, &length) != PS_OK || length > INT64_MAX || has_tab_around(value)) {
        return PS_H1_ERR_CONTENT_LENGTH;
    }
    head->content_length = length;
    head->has_content_length = true;
    return head->chunked ? PS_H1_ERR_FRAMING : PS_H1_ERR_NONE;
}

static enum ps_h1_error_code apply_transfer_encoding(struct ps_h1_head *head, struct ps_str value)
{
    if (head->chunked) {
        return PS_H1_ERR_TRANSFER_ENCODING_TWICE;
    }
    if (head->minor == 0) {
        return PS_H1_ERR_TRANSFER_ENCODING_VERSION;
    }
    if (!ps_str_ieq(value, PS_STR("chunked")) || has_tab_around(value)) {
        return PS_H1_ERR_TRANSFER_ENCODING;
    }
    head->chunked = true;
    return head->has_content_length ? PS_H1_ERR_FRAMING : PS_H1_ERR_NONE;
}

/* One name in Connection. */
static void apply_connection_option(struct ps_h1_head *head, struct ps_str option)
{
    if (ps_str_ieq(option, PS_STR("close"))) {
        head->connection |= PS_H1_CONNECTION_CLOSE;
    } else if (ps_str_ieq(option, PS_STR("keep-alive"))) {
        head->connection |= PS_H1_CONNECTION_KEEP_ALIVE;
    } else if (ps_str_ieq(option, PS_STR("upgrade"))) {
        head->connection |= PS_H1_CONNECTION_UPGRADE;
    } else if ((PS_H1_HOP_BY_HOP & PS_H1_BIT(ps_h1_field_find(option))) == 0) {
        head->connection_names = true;
    }
}

static enum ps_h1_error_code apply_connection(struct ps_h1_head *head, struct ps_str value)
{
    struct ps_str option;
    while (ps_str_next_member(&value, &option)) {
        if (!ps_h1_is_token(option)) {
            return PS_H1_ERR_CONNECTION;
        }
        apply_connection_option(head, option);
    }
    return PS_H1_ERR_NONE;
}

static enum ps_h1_error_code apply_host(struct ps_h1_head *head, struct ps_str value)
{
    if ((head->seen & PS_H1_BIT(PS_H1_HOST)) != 0) {
        return PS_H1_ERR_HOST_TWICE;
    }
    if (!is_authority(value, false)) {
        return PS_H1_ERR_HOST;
    }
    /* head->host is set already by a target in absolute form, and that one decides. */
    if (head->host.len > 0 && !ps_str_ieq(head->host, value)) {
        return PS_H1_ERR_HOST_MISMATCH;
    }
    head->host = value;
    return PS_H1_ERR_NONE;
}

enum ps_h1_error_code ps_h1_apply_field(struct ps_h1_head *head, const struct ps_h1_header *header,
                                        bool is_request)
{
    enum ps_h1_error_code error = PS_H1_ERR_NONE;
    switch (header->id) {
    case PS_H1_HOST:
        error = is_request ? apply_host(head, header->value) : PS_H1_ERR_NONE;
        break;
    case PS_H1_CONTENT_LENGTH:
        error = apply_content_length(head, header->value);
        break;
    case PS_H1_TRANSFER_ENCODING:
        error = apply_transfer_encoding(head, header->value);
        break;
    case PS_H1_CONNECTION:
        error = apply_connection(head, header->value);
        break;
    case PS_H1_UPGRADE:
        if (head->upgrade_protocol.len == 0) {
            head->upgrade_protocol = header->value;
        }
        break;
    case PS_H1_EXPECT:
        head->expect_continue =
            is_request && head->minor == 1 && ps_str_ieq(header->value, PS_STR("100-continue"));
        break;
    default:
        break;
    }
    head->seen |= PS_H1_BIT(header->id);
    return error;
}

bool ps_h1_is_trailer_allowed(enum ps_h1_field id)
{
    const uint64_t forbidden = PS_H1_HOP_BY_HOP | PS_H1_BIT(PS_H1_CONTENT_LENGTH) |
                               PS_H1_BIT(PS_H1_HOST) | PS_H1_BIT(PS_H1_EXPECT) |
                               PS_H1_BIT(PS_H1_AUTHORIZATION) | PS_H1_BIT(PS_H1_COOKIE) |
                               PS_H1_BIT(PS_H1_SET_COOKIE) | PS_H1_BIT(PS_H1_CONTENT_ENCODING) |
                               PS_H1_BIT(PS_H1_X_API_KEY) | PS_H1_BIT(PS_H1_API_KEY);
    return (forbidden & PS_H1_BIT(id)) == 0;
}

static enum ps_h1_error_code finish_request(const struct ps_h1_head *head)
{
    if (head->minor == 1 && (head->seen & PS_H1_BIT(PS_H1_HOST)) == 0) {
        return PS_H1_ERR_HOST_MISSING;
    }
    bool bodyless =
        head->method_id == PS_H1_METHOD_CONNECT || head->method_id == PS_H1_METHOD_TRACE;
    bool body = head->chunked || head->content_length > 0;
    return bodyless && body ? PS_H1_ERR_BODY_FORBIDDEN : PS_H1_ERR_NONE;
}

static enum ps_h1_error_code finish_response(const struct ps_h1_head *head)
{
    bool bodyless = head->status < 200 || head->status == 204;
    bool body = head->chunked || head->content_length > 0;
    return bodyless && body ? PS_H1_ERR_BODY_FORBIDDEN : PS_H1_ERR_NONE;
}

enum ps_h1_error_code ps_h1_finish_head(struct ps_h1_head *head, bool is_request)
{
    unsigned said = head->connection;
    head->keep_alive = (said & PS_H1_CONNECTION_CLOSE) == 0 &&
                       (head->minor == 1 || (said & PS_H1_CONNECTION_KEEP_ALIVE) != 0);
    head->upgrade = head->minor == 1 && (said & PS_H1_CONNECTION_UPGRADE) != 0 &&
                    head->upgrade_protocol.len > 0;
    if (!head->upgrade) {
        head->upgrade_protocol = PS_STR("");
    }
    return is_request ? finish_request(head) : finish_response(head);
}
