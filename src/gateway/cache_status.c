#include "gateway/cache_status.h"

#include <inttypes.h>

#include "http/h1_scan.h"
#include "http/h1_write.h"

#define AGE_MAX (UINT64_C(1) << 31) /* seconds (RFC 9111, 1.2.2) */

struct ps_str ps_cache_fwd_token(enum ps_cache_fwd fwd)
{
    static const struct ps_str tokens[] = {
#define TOKEN(name, token) PS_STR_INIT(token),
        PS_CACHE_FWD_TABLE(TOKEN)
#undef TOKEN
    };
    return tokens[fwd];
}

static bool is_printable(struct ps_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < 0x20 || text.ptr[i] > 0x7e) {
            return false;
        }
    }
    return true;
}

/* A Token of structured fields begins with a letter or '*', and may hold ':' and '/'; ours keep to
 * what is a token of HTTP as well (RFC 8941, 3.3.4). */
static bool is_token(struct ps_str text)
{
    char first = text.len > 0 ? text.ptr[0] : '0';
    bool letter = (first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z');
    return letter && ps_h1_is_token(text);
}

static int append_string(struct ps_buf *out, struct ps_str text)
{
    int err = is_printable(text) ? ps_buf_append(out, "\"", 1) : PS_EINVAL;
    for (size_t i = 0; i < text.len && err == PS_OK; i++) {
        bool special = text.ptr[i] == '"' || text.ptr[i] == '\\';
        err = special ? ps_buf_append(out, "\\", 1) : PS_OK;
        err = err != PS_OK ? err : ps_buf_append(out, &text.ptr[i], 1);
    }
    return err != PS_OK ? err : ps_buf_append(out, "\"", 1);
}

static int append_named(struct ps_buf *out, struct ps_str before, struct ps_str text, bool token)
{
    if (text.len == 0) {
        return PS_OK;
    }
    int err = ps_buf_append_str(out, before);
    if (err != PS_OK) {
        return err;
    }
    return token && is_token(text) ? ps_buf_append_str(out, text) : append_string(out, text);
}

static int append_forward(struct ps_buf *out, const struct ps_cache_status *status)
{
    int err = append_named(out, PS_STR("; fwd="), ps_cache_fwd_token(status->fwd), true);
    if (err == PS_OK && status->fwd_status != 0) {
        err = ps_buf_printf(out, "; fwd-status=%d", status->fwd_status);
    }
    if (err == PS_OK && status->stored) {
        err = ps_buf_append_str(out, PS_STR("; stored"));
    }
    if (err == PS_OK && status->collapsed) {
        err = ps_buf_append_str(out, PS_STR("; collapsed"));
    }
    return err;
}

/* Rounded down, so that a lifetime of which nothing is left is never 0 of something. */
static int64_t whole_seconds(ps_span span)
{
    int64_t whole = span / PS_SECOND;
    return span % PS_SECOND < 0 ? whole - 1 : whole;
}

static int append_line(struct ps_buf *out, const struct ps_cache_status *status)
{
    int err = ps_buf_append_str(out, PS_STR("Cache-Status: Penstock"));
    if (err == PS_OK && status->hit) {
        err = ps_buf_append_str(out, PS_STR("; hit"));
    } else if (err == PS_OK && status->fwd != PS_CACHE_FWD_NONE) {
        err = append_forward(out, status);
    }
    if (err == PS_OK && status->has_ttl) {
        err = ps_buf_printf(out, "; ttl=%" PRId64, whole_seconds(status->ttl));
    }
    err = err != PS_OK ? err : append_named(out, PS_STR("; key="), status->key, false);
    err = err != PS_OK ? err : append_named(out, PS_STR("; detail="), status->detail, true);
    return err != PS_OK ? err : ps_buf_append_str(out, PS_STR("\r\n"));
}

int ps_cache_status_write(struct ps_buf *out, const struct ps_cache_status *status)
{
    size_t before = out->len;
    int err = append_line(out, status);
    if (err != PS_OK) {
        out->len = before;
    }
    return err;
}

int ps_cache_status_write_age(struct ps_buf *out, ps_span age)
{
    uint64_t seconds = age > 0 ? (uint64_t)(age / PS_SECOND) : 0;
    return ps_h1_write_header_u64(out, PS_STR("Age"), seconds < AGE_MAX ? seconds : AGE_MAX);
}
