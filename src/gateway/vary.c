#include "gateway/vary.h"

#include <openssl/evp.h>

#include "base/check.h"
#include "http/h1_scan.h"

enum { MEMBERS_MAX = 64 }; /* of a list that is sorted; longer ones are taken as they are */

#define VALUES_MAX ((size_t)256 << 10) /* more than any head that is let in */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static int compare(struct ps_str a, struct ps_str b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len == 0 ? 0 : memcmp(a.ptr, b.ptr, len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* Where a name is or would be. */
static size_t place_of(const struct ps_vary *vary, struct ps_str name, bool *there)
{
    size_t i = 0;
    int order = 1;
    while (i < vary->count && (order = compare(ps_vary_name(vary, i), name)) < 0) {
        i++;
    }
    *there = i < vary->count && order == 0;
    return i;
}

/* The name is written behind the others first, so that it is compared in lower case. */
static int add_name(struct ps_vary *vary, struct ps_str name)
{
    if (name.len > sizeof vary->text - vary->len || vary->count == PS_VARY_NAMES_MAX) {
        return PS_ELIMIT;
    }
    for (size_t i = 0; i < name.len; i++) {
        vary->text[vary->len + i] = lower(name.ptr[i]);
    }
    bool there;
    size_t at = place_of(vary, (struct ps_str){vary->text + vary->len, name.len}, &there);
    if (there) {
        return PS_OK;
    }
    memmove(&vary->names[at + 1], &vary->names[at], (vary->count - at) * sizeof *vary->names);
    vary->names[at].at = (uint16_t)vary->len;
    vary->names[at].len = (uint16_t)name.len;
    vary->len += name.len;
    vary->count++;
    return PS_OK;
}

static int add_list(struct ps_vary *vary, struct ps_str list)
{
    struct ps_str name;
    while (ps_str_next_member(&list, &name)) {
        if (!ps_h1_is_token(name) || ps_str_eq(name, PS_STR("*"))) {
            return PS_EINVAL;
        }
        int err = add_name(vary, name);
        if (err != PS_OK) {
            return err;
        }
    }
    return PS_OK;
}

int ps_vary_add(struct ps_vary *vary, const struct ps_h1_head *answer)
{
    int err = PS_OK;
    for (size_t i = 0; i < answer->header_count && err == PS_OK; i++) {
        if (answer->headers[i].id == PS_H1_VARY) {
            err = add_list(vary, answer->headers[i].value);
        }
    }
    return err;
}

int ps_vary_join(struct ps_vary *vary, const struct ps_vary *other)
{
    int err = PS_OK;
    for (size_t i = 0; i < other->count && err == PS_OK; i++) {
        err = add_name(vary, ps_vary_name(other, i));
    }
    return err;
}

bool ps_vary_equal(const struct ps_vary *a, const struct ps_vary *b)
{
    bool equal = a->count == b->count;
    for (size_t i = 0; equal && i < a->count; i++) {
        equal = ps_str_eq(ps_vary_name(a, i), ps_vary_name(b, i));
    }
    return equal;
}

size_t ps_vary_write_marker(const struct ps_vary *vary, uint64_t mark, char out[PS_VARY_MARKER_MAX])
{
    size_t len = 0;
    for (int shift = 60; shift >= 0; shift -= 4) {
        out[len++] = "0123456789abcdef"[mark >> shift & 15];
    }
    for (size_t i = 0; i < vary->count; i++) {
        struct ps_str name = ps_vary_name(vary, i);
        out[len++] = i == 0 ? ' ' : ',';
        memcpy(out + len, name.ptr, name.len);
        len += name.len;
    }
    return len;
}

static int read_mark(struct ps_str text, uint64_t *mark)
{
    *mark = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool letter = c >= 'a' && c <= 'f';
        if (!letter && (c < '0' || c > '9')) {
            return PS_EPARSE;
        }
        *mark = *mark << 4 | (uint64_t)(letter ? c - 'a' + 10 : c - '0');
    }
    return text.len == 16 ? PS_OK : PS_EPARSE;
}

int ps_vary_read_marker(struct ps_str body, struct ps_vary *vary, uint64_t *mark)
{
    *vary = (struct ps_vary){.count = 0};
    struct ps_str names = ps_str_skip(body, 17);
    bool sound = read_mark(ps_str_first(body, 16), mark) == PS_OK && body.len > 17 &&
                 body.ptr[16] == ' ' && add_list(vary, names) == PS_OK;
    return sound && vary->count > 0 ? PS_OK : PS_EPARSE;
}

/* --- values */

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* Without white space around commas and at the ends, but for what is in quotes. */
static int append_tight(struct ps_buf *out, struct ps_str value, bool fold)
{
    size_t start = out->len;
    bool quoted = false;
    int err = ps_buf_reserve(out, value.len);
    for (size_t i = 0; i < value.len && err == PS_OK; i++) {
        char c = value.ptr[i];
        if (!quoted && c == ',') {
            while (out->len > start && is_space(out->data[out->len - 1])) {
                out->len--;
            }
        }
        bool behind_comma = out->len == start || out->data[out->len - 1] == ',';
        if (!quoted && is_space(c) && behind_comma) {
            continue;
        }
        bool escaped = quoted && i > 0 && value.ptr[i - 1] == '\\';
        quoted = c == '"' && !escaped ? !quoted : quoted;
        out->data[out->len++] = fold ? lower(c) : c;
    }
    return err;
}

/* Sorts the members of the list that begins at `start`. */
static int sort_members(struct ps_buf *out, size_t start)
{
    struct ps_str members[MEMBERS_MAX];
    struct ps_str rest = ps_str_skip(ps_buf_str(out), start);
    struct ps_buf sorted = ps_buf_make(VALUES_MAX);
    size_t count = 0;
    struct ps_str member;
    while (ps_str_next_member(&rest, &member)) {
        if (count == MEMBERS_MAX) {
            return PS_OK;
        }
        size_t at = count++;
        for (; at > 0 && compare(member, members[at - 1]) < 0; at--) {
            members[at] = members[at - 1];
        }
        members[at] = member;
    }
    int err = PS_OK;
    for (size_t i = 0; i < count && err == PS_OK; i++) {
        err = i == 0 ? PS_OK : ps_buf_append(&sorted, ",", 1);
        err = err != PS_OK ? err : ps_buf_append_str(&sorted, members[i]);
    }
    if (err == PS_OK) {
        out->len = start;
        err = ps_buf_append_str(out, ps_buf_str(&sorted));
    }
    ps_buf_fini(&sorted);
    return err;
}

static bool knows_no_case(struct ps_str name)
{
    return ps_str_eq(name, PS_STR("accept-language")) ||
           ps_str_eq(name, PS_STR("accept-encoding")) || ps_str_eq(name, PS_STR("accept-charset"));
}

/* A field's value, all lines of it; *there is false when it has none, which is not the same as an
 * empty one. */
static int append_value(struct ps_buf *out, struct ps_str name, const struct ps_h1_head *request,
                        bool *there)
{
    size_t start = out->len;
    int err = PS_OK;
    *there = false;
    for (size_t i = 0; i < request->header_count && err == PS_OK; i++) {
        if (!ps_str_ieq(request->headers[i].name, name)) {
            continue;
        }
        err = *there ? ps_buf_append(out, ",", 1) : PS_OK;
        err =
            err != PS_OK ? err : append_tight(out, request->headers[i].value, knows_no_case(name));
        *there = true;
    }
    bool unordered = err == PS_OK && ps_str_eq(name, PS_STR("accept-encoding"));
    return unordered ? sort_members(out, start) : err;
}

static int append_number(struct ps_buf *out, uint64_t number)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(number >> 8 * i);
    }
    return ps_buf_append(out, bytes, sizeof bytes);
}

/* Name and value, each behind its length; a field that is not there has no length at all. */
static int append_field(struct ps_buf *out, struct ps_str name, const struct ps_h1_head *request)
{
    int err = append_number(out, name.len);
    err = err != PS_OK ? err : ps_buf_append_str(out, name);
    size_t at = out->len;
    err = err != PS_OK ? err : append_number(out, 0);
    bool there;
    err = err != PS_OK ? err : append_value(out, name, request, &there);
    if (err != PS_OK) {
        return err;
    }
    uint64_t len = there ? out->len - at - 8 : UINT64_MAX;
    for (int i = 0; i < 8; i++) {
        out->data[at + (size_t)i] = (char)(unsigned char)(len >> 8 * i);
    }
    return PS_OK;
}

int ps_vary_key(const struct ps_vary *vary, uint64_t mark, const struct ps_key *primary,
                const struct ps_h1_head *request, struct ps_key *out)
{
    struct ps_buf text = ps_buf_make(VALUES_MAX);
    int err = ps_buf_append(&text, primary->bytes, sizeof primary->bytes);
    err = err != PS_OK ? err : append_number(&text, mark);
    for (size_t i = 0; i < vary->count && err == PS_OK; i++) {
        err = append_field(&text, ps_vary_name(vary, i), request);
    }
    if (err == PS_OK) {
        int done = EVP_Digest(text.data, text.len, out->bytes, NULL, EVP_sha256(), NULL);
        err = done == 1 ? PS_OK : PS_ENOMEM;
    }
    ps_buf_fini(&text);
    return err == PS_OK ? PS_OK : PS_ENOMEM;
}
