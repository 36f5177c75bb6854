#include "http/url.h"

#include "io/address.h"

static bool is_host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
}

static bool is_host(struct ps_str host)
{
    for (size_t i = 0; i < host.len; i++) {
        if (!is_host_char(host.ptr[i])) {
            return false;
        }
    }
    return host.len > 0 && host.len <= 253;
}

/* "[v6]" or a name; *rest gets what follows. */
static int take_host(struct ps_str *rest, struct ps_str *host)
{
    struct ps_address literal;
    if (rest->len > 0 && rest->ptr[0] == '[') {
        size_t close = ps_str_find(*rest, ']');
        if (close == rest->len) {
            return PS_EPARSE;
        }
        *host = ps_str_skip(ps_str_first(*rest, close), 1);
        *rest = ps_str_skip(*rest, close + 1);
        bool is_v6 = ps_str_contains(*host, PS_STR(":")) && ps_address_parse_host(*host, 0, &literal) == PS_OK;
        return is_v6 ? PS_OK : PS_EPARSE;
    }
    size_t colon = ps_str_find(*rest, ':');
    *host = ps_str_first(*rest, colon);
    *rest = ps_str_skip(*rest, colon);
    return is_host(*host) ? PS_OK : PS_EPARSE;
}

/* Visible ASCII without fragment and what RFC 3986 wants escaped. */
static bool is_path(struct ps_str path)
{
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.ptr[i];
        if (c <= 0x20 || c >= 0x7f || strchr("#\"<>\\^`{|}", c) != NULL) {
            return false;
        }
    }
    return true;
}

int ps_url_parse(struct ps_str text, struct ps_url *out)
{
    struct ps_url url = {.tls = ps_str_istarts_with(text, PS_STR("https://"))};
    if (!url.tls && !ps_str_istarts_with(text, PS_STR("http://"))) {
        return PS_EPARSE;
    }
    struct ps_str rest = ps_str_skip(text, url.tls ? 8 : 7);
    size_t slash = 0;
    while (slash < rest.len && rest.ptr[slash] != '/' && rest.ptr[slash] != '?') {
        slash++;
    }
    url.path = ps_str_skip(rest, slash);
    url.authority = ps_str_first(rest, slash);
    struct ps_str after = url.authority;
    if (take_host(&after, &url.host) != PS_OK || !is_path(url.path) ||
        (url.path.len > 0 && url.path.ptr[0] == '?')) {
        return PS_EPARSE;
    }
    uint64_t port = url.tls ? 443 : 80;
    if (after.len > 0 && (after.ptr[0] != ':' || ps_str_to_u64(ps_str_skip(after, 1), &port) != PS_OK ||
                          port == 0 || port > UINT16_MAX)) {
        return PS_EPARSE;
    }
    url.port = (uint16_t)port;
    *out = url;
    return PS_OK;
}
