#include "gateway/outdate.h"

#include <string.h>

#include "http/h1_scan.h"

static struct ps_str without_fragment(struct ps_str text)
{
    return ps_str_first(text, ps_str_find(text, '#'));
}

/* The default ports say nothing. */
static struct ps_str without_port(struct ps_str host)
{
    static const struct ps_str ports[] = {PS_STR_INIT(":80"), PS_STR_INIT(":443")};
    for (size_t i = 0; i < 2; i++) {
        if (ps_str_ends_with(host, ports[i])) {
            return ps_str_first(host, host.len - ports[i].len);
        }
    }
    return host;
}

/* Takes "//host" and what may stand before it off; false when it is not `host`. */
static bool take_authority(struct ps_str *rest, struct ps_str host)
{
    static const struct ps_str schemes[] = {PS_STR_INIT("http:"), PS_STR_INIT("https:")};
    for (size_t i = 0; i < 2; i++) {
        if (ps_str_istarts_with(*rest, schemes[i])) {
            *rest = ps_str_skip(*rest, schemes[i].len);
            break;
        }
    }
    if (!ps_str_starts_with(*rest, PS_STR("//"))) {
        return false;
    }
    *rest = ps_str_skip(*rest, 2);
    size_t len = ps_str_find(*rest, '/');
    size_t query = ps_str_find(*rest, '?');
    struct ps_str named = ps_str_first(*rest, len < query ? len : query);
    *rest = ps_str_skip(*rest, named.len);
    return host.len > 0 && ps_str_ieq(without_port(named), without_port(host));
}

static bool has_scheme(struct ps_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == ':') {
            return i > 0;
        }
        if (c == '/' || c == '?') {
            return false;
        }
    }
    return false;
}

static bool has_dot_segment(struct ps_str path)
{
    struct ps_str segment;
    while (ps_str_split(&path, '/', &segment)) {
        if (ps_str_eq(segment, PS_STR(".")) || ps_str_eq(segment, PS_STR(".."))) {
            return true;
        }
    }
    return false;
}

static struct ps_str path_of(struct ps_str target)
{
    return ps_str_first(target, ps_str_find(target, '?'));
}

/* What of the target stays before a relative reference (RFC 3986, 5.2.3). */
static struct ps_str base_of(struct ps_str target, struct ps_str reference)
{
    struct ps_str path = path_of(target);
    if (reference.len == 0) {
        return target;
    }
    if (reference.ptr[0] == '?') {
        return path;
    }
    while (path.len > 0 && path.ptr[path.len - 1] != '/') {
        path.len--;
    }
    return path;
}

int ps_outdate_resolve(struct ps_buf *out, struct ps_str host, struct ps_str target,
                       struct ps_str reference)
{
    struct ps_str rest = without_fragment(reference);
    struct ps_str base = PS_STR("");
    if (has_scheme(rest) || ps_str_starts_with(rest, PS_STR("//"))) {
        if (!take_authority(&rest, host)) {
            return PS_ENOTFOUND;
        }
        base = rest.len == 0 || rest.ptr[0] == '?' ? PS_STR("/") : base;
    } else if (!ps_str_starts_with(rest, PS_STR("/"))) {
        base = base_of(target, rest);
    }
    if ((rest.len > 0 && !ps_h1_is_target(rest)) || has_dot_segment(path_of(rest))) {
        return PS_ENOTFOUND;
    }
    int err = ps_buf_append_str(out, base);
    return err != PS_OK ? err : ps_buf_append_str(out, rest);
}
