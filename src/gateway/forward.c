#include "gateway/forward.h"

#include <string.h>

#include "http/h1_write.h"

enum { LOOKALIKE_MAX = 64 }; /* longer than every name that is known */

/* Never taken from the client: replaced, or a secret, or decided here. */
#define NEVER_UP                                                                                   \
    (PS_H1_BIT(PS_H1_HOST) | PS_H1_BIT(PS_H1_CONTENT_LENGTH) | PS_H1_BIT(PS_H1_EXPECT) |           \
     PS_H1_BIT(PS_H1_AUTHORIZATION) | PS_H1_BIT(PS_H1_X_API_KEY) | PS_H1_BIT(PS_H1_API_KEY) |      \
     PS_H1_BIT(PS_H1_X_REQUEST_ID) | PS_H1_BIT(PS_H1_COOKIE))

/* Written anew below, or dropped when the peer is not trusted. */
#define FORWARDED                                                                                  \
    (PS_H1_BIT(PS_H1_X_FORWARDED_FOR) | PS_H1_BIT(PS_H1_X_FORWARDED_HOST) |                        \
     PS_H1_BIT(PS_H1_X_FORWARDED_PROTO) | PS_H1_BIT(PS_H1_X_FORWARDED_PORT) |                      \
     PS_H1_BIT(PS_H1_FORWARDED) | PS_H1_BIT(PS_H1_X_REAL_IP))

#define TRACE (PS_H1_BIT(PS_H1_TRACEPARENT) | PS_H1_BIT(PS_H1_TRACESTATE))

#define CORS_ANSWERS                                                                               \
    (PS_H1_BIT(PS_H1_ACCESS_CONTROL_ALLOW_ORIGIN) | PS_H1_BIT(PS_H1_ACCESS_CONTROL_EXPOSE_HEADERS))

static bool has_our_prefix(struct ps_str name)
{
    return ps_str_istarts_with(name, PS_STR("x-penstock-"));
}

/* Servers that know headers as variables (CGI, WSGI) take X_Forwarded_For for X-Forwarded-For: what may not
 * pass under its name may not under that one either. */
static bool is_lookalike(struct ps_str name, uint64_t skip)
{
    char plain[LOOKALIKE_MAX];
    if (name.len > sizeof plain || memchr(name.ptr, '_', name.len) == NULL) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        plain[i] = name.ptr[i] == '_' ? '-' : name.ptr[i];
    }
    struct ps_str meant = {plain, name.len};
    enum ps_h1_field id = ps_h1_field_find(meant);
    bool skipped = id != PS_H1_FIELD_OTHER && ((skip | PS_H1_HOP_BY_HOP) & PS_H1_BIT(id)) != 0;
    return skipped || has_our_prefix(meant);
}

static bool is_ours(const struct ps_h1_header *header, uint64_t skip)
{
    return header->id == PS_H1_FIELD_OTHER && (has_our_prefix(header->name) || is_lookalike(header->name, skip));
}

static bool has_ours(const struct ps_h1_head *head, uint64_t skip)
{
    for (size_t i = 0; i < head->header_count; i++) {
        if (is_ours(&head->headers[i], skip)) {
            return true;
        }
    }
    return false;
}

/* The slow way, for a client that sent x-penstock-* or a lookalike: line by line. */
static int copy_without_ours(struct ps_buf *out, const struct ps_h1_head *head, uint64_t skip)
{
    int err = PS_OK;
    for (size_t i = 0; i < head->header_count && err == PS_OK; i++) {
        const struct ps_h1_header *header = &head->headers[i];
        bool dropped = ((skip | PS_H1_HOP_BY_HOP) & PS_H1_BIT(header->id)) != 0 &&
                       header->id != PS_H1_FIELD_OTHER;
        if (dropped || is_ours(header, skip) ||
            (head->connection_names && ps_h1_head_connection_has(head, header->name))) {
            continue;
        }
        err = ps_h1_write_header(out, header->name, header->value);
    }
    return err;
}

/* A Cookie line without our own session; nothing when that was all. Cookies don't know ports: a page of an
 * upstream on this machine has cookies beside ours. */
static int copy_other_cookies(struct ps_buf *out, struct ps_str cookies)
{
    struct ps_str pair;
    struct ps_str before = PS_STR("Cookie: ");
    int err = PS_OK;
    while (err == PS_OK && ps_str_split(&cookies, ';', &pair)) {
        pair = ps_str_trim(pair);
        if (pair.len == 0 || ps_str_starts_with(pair, PS_STR(PS_SESSION_COOKIE "="))) {
            continue;
        }
        err = ps_buf_append_str(out, before);
        err = err != PS_OK ? err : ps_buf_append_str(out, pair);
        before = PS_STR("; ");
    }
    bool any = before.len == 2;
    return err == PS_OK && any ? ps_buf_append_str(out, PS_STR("\r\n")) : err;
}

static int copy_cookies(struct ps_buf *out, const struct ps_h1_head *head)
{
    int err = PS_OK;
    for (size_t i = 0; i < head->header_count && err == PS_OK; i++) {
        const struct ps_h1_header *header = &head->headers[i];
        if (header->id != PS_H1_COOKIE) {
            continue;
        }
        err = ps_str_contains(header->value, PS_STR(PS_SESSION_COOKIE))
                  ? copy_other_cookies(out, header->value)
                  : ps_h1_write_header(out, header->name, header->value);
    }
    return err;
}

/* What a trusted proxy knew of those before it: one line or several (RFC 9110 section 5.3). */
static int write_forwarded_for(struct ps_buf *out, const struct ps_forward *forward)
{
    const struct ps_h1_head *head = forward->head;
    int err = ps_buf_append_str(out, PS_STR("X-Forwarded-For: "));
    for (size_t i = 0; forward->peer_trusted && i < head->header_count && err == PS_OK; i++) {
        const struct ps_h1_header *header = &head->headers[i];
        if (header->id == PS_H1_X_FORWARDED_FOR && header->value.len > 0) {
            err = ps_buf_append_str(out, header->value);
            err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR(", "));
        }
    }
    err = err != PS_OK ? err : ps_buf_append_str(out, forward->peer);
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\r\n"));
}

static int write_forwarded(struct ps_buf *out, const struct ps_forward *forward)
{
    int err = write_forwarded_for(out, forward);
    bool keep_proto = forward->peer_trusted &&
                      ps_h1_head_find(forward->head, PS_H1_X_FORWARDED_PROTO) != NULL;
    if (err == PS_OK && !keep_proto) {
        err = ps_buf_append_str(out, forward->client_tls ? PS_STR("X-Forwarded-Proto: https\r\n")
                                                         : PS_STR("X-Forwarded-Proto: http\r\n"));
    }
    bool keep_host = forward->peer_trusted && ps_h1_head_find(forward->head, PS_H1_X_FORWARDED_HOST) != NULL;
    if (err == PS_OK && !keep_host && forward->head->host.len > 0) {
        err = ps_h1_write_header(out, PS_STR("X-Forwarded-Host"), forward->head->host);
    }
    return err;
}

static int write_framing(struct ps_buf *out, const struct ps_forward *forward)
{
    if (forward->chunked) {
        return ps_buf_append_str(out, PS_STR("Transfer-Encoding: chunked\r\n"));
    }
    return forward->has_length ? ps_h1_write_header_u64(out, PS_STR("Content-Length"), forward->length)
                               : PS_OK;
}

/* What of the client's head is left out; the trusted proxy's words stay, but X-Forwarded-For, which grows. */
static uint64_t skip_set(const struct ps_forward *forward)
{
    uint64_t skip = NEVER_UP;
    skip |= forward->peer_trusted ? PS_H1_BIT(PS_H1_X_FORWARDED_FOR) : FORWARDED;
    skip |= forward->identity ? PS_H1_BIT(PS_H1_ACCEPT_ENCODING) : 0;
    const struct ps_h1_header *trace = ps_h1_head_find(forward->head, PS_H1_TRACEPARENT);
    if (trace == NULL || !ps_forward_is_traceparent(trace->value)) {
        skip |= TRACE;
    }
    return skip;
}

static int write_path(struct ps_buf *out, const struct ps_forward *forward)
{
    struct ps_str path = forward->head->path;
    if (forward->path_insert.len == 0) {
        return ps_buf_append_str(out, path);
    }
    int err = ps_buf_append_str(out, ps_str_first(path, forward->path_at));
    err = err != PS_OK ? err : ps_buf_append_str(out, forward->path_insert);
    return err != PS_OK ? err
                        : ps_buf_append_str(out, ps_str_skip(path, forward->path_at + forward->path_cut));
}

static int write_target(struct ps_buf *out, const struct ps_forward *forward)
{
    const struct ps_h1_head *head = forward->head;
    int err = ps_buf_append_str(out, head->method);
    err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR(" "));
    err = err != PS_OK ? err : ps_buf_append_str(out, forward->base_path);
    err = err != PS_OK ? err : write_path(out, forward);
    err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR(" HTTP/1.1\r\n"));
    return err != PS_OK ? err : ps_h1_write_header(out, PS_STR("Host"), forward->authority);
}

static int write_own(struct ps_buf *out, const struct ps_forward *forward)
{
    int err = copy_cookies(out, forward->head);
    err = err != PS_OK ? err : write_forwarded(out, forward);
    err = err != PS_OK ? err : ps_h1_write_header(out, PS_STR("X-Request-Id"), forward->request_id);
    if (err == PS_OK && forward->api_key.len > 0) {
        err = ps_buf_append_str(out, PS_STR("Authorization: Bearer "));
        err = err != PS_OK ? err : ps_buf_append_str(out, forward->api_key);
        err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\r\n"));
    }
    if (err == PS_OK && forward->upgrade) {
        err = ps_buf_append_str(out, PS_STR("Connection: Upgrade\r\n"));
    }
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("Via: 1.1 penstock\r\n"));
}

int ps_forward_request(struct ps_buf *out, const struct ps_forward *forward)
{
    const struct ps_h1_head *head = forward->head;
    uint64_t skip = skip_set(forward);
    int err = ps_buf_reserve(out, head->raw.len + 512);
    err = err != PS_OK ? err : write_target(out, forward);
    if (err == PS_OK) {
        err = has_ours(head, skip)
                  ? copy_without_ours(out, head, skip)
                  : ps_h1_copy_end_to_end(out, head, skip, forward->upgrade ? PS_H1_COPY_UPGRADE : 0);
    }
    err = err != PS_OK ? err : write_own(out, forward);
    err = err != PS_OK ? err : write_framing(out, forward);
    return err != PS_OK ? err : ps_h1_write_head_end(out);
}

int ps_forward_response(struct ps_buf *out, const struct ps_h1_head *head, struct ps_str request_id,
                        bool cors)
{
    uint64_t skip = PS_H1_BIT(PS_H1_CONTENT_LENGTH) | PS_H1_BIT(PS_H1_X_REQUEST_ID) | (cors ? CORS_ANSWERS : 0);
    int err = ps_buf_reserve(out, head->raw.len + 256);
    err = err != PS_OK ? err : ps_h1_copy_end_to_end(out, head, skip, 0);
    err = err != PS_OK ? err : ps_buf_append_str(out, PS_STR("Via: 1.1 penstock\r\n"));
    return err != PS_OK || request_id.len == 0
               ? err
               : ps_h1_write_header(out, PS_STR("X-Request-Id"), request_id);
}

struct ps_str ps_forward_request_id(const struct ps_h1_head *head)
{
    const struct ps_h1_header *header = ps_h1_head_find(head, PS_H1_X_REQUEST_ID);
    if (header == NULL || header->value.len == 0 || header->value.len > PS_REQUEST_ID_MAX) {
        return PS_STR("");
    }
    for (size_t i = 0; i < header->value.len; i++) {
        char c = header->value.ptr[i];
        if (c <= 0x20 || c >= 0x7f || c == '"' || c == '\\') {
            return PS_STR("");
        }
    }
    return header->value;
}

static bool is_hex(struct ps_str text, bool *all_zero)
{
    *all_zero = true;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
        *all_zero = *all_zero && c == '0';
    }
    return true;
}

bool ps_forward_is_traceparent(struct ps_str value)
{
    bool zero;
    if (value.len < 55 || value.ptr[2] != '-' || value.ptr[35] != '-' || value.ptr[52] != '-') {
        return false;
    }
    struct ps_str version = ps_str_first(value, 2);
    if (!is_hex(version, &zero) || ps_str_eq(version, PS_STR("ff")) || (zero && value.len != 55)) {
        return false;
    }
    if (!is_hex(ps_str_first(ps_str_skip(value, 3), 32), &zero) || zero) {
        return false;
    }
    if (!is_hex(ps_str_first(ps_str_skip(value, 36), 16), &zero) || zero) {
        return false;
    }
    return is_hex(ps_str_first(ps_str_skip(value, 53), 2), &zero) &&
           (value.len == 55 || value.ptr[55] == '-');
}
