#include "http/ws_handshake.h"

#include <openssl/evp.h>
#include <string.h>

#include "base/check.h"
#include "http/h1_head.h"

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

enum { KEY_LEN = 24 /* 16 bytes in base64 */, SHA1_LEN = 20 };

/* --- the request ------------------------------------------------------------------------------ */

static bool is_base64(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

static bool is_key(struct ps_str key)
{
    size_t digits = 0;
    while (digits < key.len && is_base64(key.ptr[digits])) {
        digits++;
    }
    return key.len == KEY_LEN && digits == KEY_LEN - 2 && ps_str_ends_with(key, PS_STR("=="));
}

/* The parameters of an offer (RFC 7692, 7.1). What we can't grant, don't know, or meet twice makes us pass it over. */
enum parameter { SERVER_ALONE = 1, CLIENT_ALONE = 2, SERVER_WINDOW = 4, CLIENT_WINDOW = 8, UNKNOWN = 0 };

static unsigned name_of(struct ps_str name)
{
    static const struct {
        struct ps_str name;
        unsigned parameter;
    } rows[] = {
        {PS_STR_INIT("server_no_context_takeover"), SERVER_ALONE},
        {PS_STR_INIT("client_no_context_takeover"), CLIENT_ALONE},
        {PS_STR_INIT("server_max_window_bits"), SERVER_WINDOW},
        {PS_STR_INIT("client_max_window_bits"), CLIENT_WINDOW},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        if (ps_str_ieq(name, rows[i].name)) {
            return rows[i].parameter;
        }
    }
    return UNKNOWN;
}

static bool can_grant(struct ps_str text, unsigned *seen)
{
    bool bare = ps_str_find(text, '=') == text.len;
    struct ps_str value = ps_str_trim(ps_str_skip(text, ps_str_find(text, '=') + 1));
    if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"') {
        value = (struct ps_str){value.ptr + 1, value.len - 2};
    }
    uint64_t bits = 0;
    bool sound = ps_str_to_u64(value, &bits) == PS_OK && bits >= 8 && bits <= 15 && value.ptr[0] != '0';
    unsigned parameter = name_of(ps_str_trim(ps_str_first(text, ps_str_find(text, '='))));
    bool again = (*seen & parameter) != 0;
    *seen |= parameter;
    switch (parameter) {
    case SERVER_ALONE:
    case CLIENT_ALONE:
        return bare && !again;
    case SERVER_WINDOW:
        return sound && bits == 15 && !again;
    case CLIENT_WINDOW: /* what the client may do: nothing is asked of it */
        return (bare || sound) && !again;
    default:
        return false;
    }
}

static bool is_taken(struct ps_str offer)
{
    struct ps_str part;
    unsigned seen = 0;
    bool taken = ps_str_split(&offer, ';', &part) && ps_str_ieq(ps_str_trim(part), PS_STR("permessage-deflate"));
    while (taken && ps_str_split(&offer, ';', &part)) {
        taken = can_grant(ps_str_trim(part), &seen);
    }
    return taken;
}

static struct ps_str value_of(const struct ps_h1_head *head, struct ps_str name)
{
    const struct ps_h1_header *header = ps_h1_head_find_name(head, name);
    return header == NULL ? PS_STR("") : header->value;
}

/* The header may come in several lines. */
static bool offers_deflate(const struct ps_h1_head *head)
{
    bool taken = false;
    for (size_t i = 0; i < head->header_count && !taken; i++) {
        struct ps_str rest = head->headers[i].value;
        struct ps_str offer;
        bool offers = ps_str_ieq(head->headers[i].name, PS_STR("sec-websocket-extensions"));
        while (offers && !taken && ps_str_next_member(&rest, &offer)) {
            taken = is_taken(offer);
        }
    }
    return taken;
}

static int status_of(const struct ps_h1_head *head, const struct ps_ws_handshake *handshake, const char **reason)
{
    if (head->method_id != PS_H1_METHOD_GET) {
        *reason = "a WebSocket begins with GET";
        return 405;
    }
    if (!head->upgrade || !ps_str_ieq(head->upgrade_protocol, PS_STR("websocket"))) {
        *reason = "this path is for WebSockets: the request must ask for one";
        return 426;
    }
    if (!ps_str_eq(value_of(head, PS_STR("sec-websocket-version")), PS_STR("13"))) {
        *reason = "only version 13 of the WebSocket protocol is spoken here";
        return 426;
    }
    if (!is_key(handshake->key)) {
        *reason = "Sec-WebSocket-Key must be 16 bytes in base64";
        return 400;
    }
    return 101;
}

void ps_ws_handshake_read(struct ps_ws_handshake *out, const struct ps_h1_head *head)
{
    *out = (struct ps_ws_handshake){.key = value_of(head, PS_STR("sec-websocket-key")), .reason = ""};
    out->status = status_of(head, out, &out->reason);
    out->deflate = out->status == 101 && offers_deflate(head);
}

/* --- the answer ------------------------------------------------------------------------------- */

int ps_ws_accept_key(char out[PS_WS_ACCEPT_LEN + 1], struct ps_str key)
{
    char text[KEY_LEN + sizeof GUID];
    unsigned char digest[SHA1_LEN];
    key = ps_str_first(key, KEY_LEN);
    memcpy(text, key.ptr, key.len);
    memcpy(text + key.len, GUID, sizeof GUID);
    if (EVP_Digest(text, key.len + sizeof GUID - 1, digest, NULL, EVP_sha1(), NULL) != 1) {
        return PS_ENOMEM;
    }
    EVP_EncodeBlock((unsigned char *)out, digest, sizeof digest);
    return PS_OK;
}

int ps_ws_handshake_write(struct ps_buf *out, const struct ps_ws_handshake *handshake, struct ps_str headers)
{
    char accept[PS_WS_ACCEPT_LEN + 1];
    int err = ps_ws_accept_key(accept, handshake->key);
    err = err != PS_OK ? err
                       : ps_buf_printf(out,
                                       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                       "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s%.*s\r\n",
                                       accept,
                                       handshake->deflate ? "Sec-WebSocket-Extensions: permessage-deflate; "
                                                            "server_no_context_takeover; client_no_context_takeover\r\n"
                                                          : "",
                                       PS_STR_ARG(headers));
    return err;
}
