#include "gateway/entry_wire.h"

#include <math.h>

#include "base/le.h"
#include "http/h1_field.h"
#include "http/h1_scan.h"

_Static_assert(sizeof(float) == 4, "seconds are an IEEE 754 single");

static const char magic[4] = {'P', 'S', 'E', 1};

/* What belongs to one message on one connection, and would make two of one. */
#define FRAMING (PS_H1_HOP_BY_HOP | PS_H1_BIT(PS_H1_CONTENT_LENGTH) | PS_H1_BIT(PS_H1_HOST))

/* ---------------------------------------------------------------- the head */

static bool line_is_valid(struct ps_str line)
{
    size_t colon = ps_str_find(line, ':');
    struct ps_str name = ps_str_first(line, colon);
    if (colon == line.len || !ps_h1_is_token(name) ||
        !ps_h1_is_value(ps_str_skip(line, colon + 1))) {
        return false;
    }
    enum ps_h1_field field = ps_h1_field_find(name);
    return field == PS_H1_FIELD_OTHER || (PS_H1_BIT(field) & FRAMING) == 0;
}

/* Nothing, or lines that end with CR LF. */
static bool head_is_valid(struct ps_str head)
{
    while (head.len > 0) {
        size_t end = ps_str_find(head, '\n');
        if (end == head.len || end == 0 || head.ptr[end - 1] != '\r' ||
            !line_is_valid(ps_str_first(head, end - 1))) {
            return false;
        }
        head = ps_str_skip(head, end + 1);
    }
    return true;
}

/* ---------------------------------------------------------------- writing */

static bool numbers_are_valid(const struct ps_entry *entry)
{
    return entry->born >= 0 && entry->stored >= 0 && entry->fresh >= 0 &&
           entry->while_revalidate >= 0 && entry->if_error >= 0 && isfinite(entry->seconds);
}

static void put_numbers(const struct ps_entry *entry, unsigned char at[PS_ENTRY_WIRE_OVERHEAD])
{
    uint32_t seconds;
    memcpy(&seconds, &entry->seconds, sizeof seconds);
    memcpy(at, magic, sizeof magic);
    ps_le_put(at + 4, entry->status, 2);
    at[6] = entry->kind;
    at[7] = entry->tags_count;
    ps_le_put(at + 8, (uint64_t)entry->born, 8);
    ps_le_put(at + 16, (uint64_t)entry->stored, 8);
    ps_le_put(at + 24, (uint64_t)entry->fresh, 8);
    ps_le_put(at + 32, (uint64_t)entry->while_revalidate, 8);
    ps_le_put(at + 40, (uint64_t)entry->if_error, 8);
    ps_le_put(at + 48, seconds, 4);
    ps_le_put(at + 52, entry->prompt_tokens, 4);
    ps_le_put(at + 56, entry->completion_tokens, 4);
    ps_le_put(at + 60, ps_entry_head(entry).len, 4);
    ps_le_put(at + 64, ps_entry_route(entry).len, 2);
    ps_le_put(at + 66, ps_entry_model(entry).len, 2);
    ps_le_put(at + 68, ps_entry_tenant(entry).len, 2);
    ps_le_put(at + 70, 0, 2);
}

static int put_tags(const struct ps_entry *entry, struct ps_buf *out)
{
    struct ps_str tag;
    size_t at = 0;
    int err = PS_OK;
    while (err == PS_OK && ps_entry_next_tag(entry, &at, &tag)) {
        unsigned char len[2];
        ps_le_put(len, tag.len, 2);
        err = ps_buf_append(out, len, sizeof len);
        err = err != PS_OK ? err : ps_buf_append_str(out, tag);
    }
    return err;
}

int ps_entry_wire_write(const struct ps_entry *entry, struct ps_buf *out)
{
    unsigned char numbers[PS_ENTRY_WIRE_OVERHEAD];
    size_t before = out->len;
    if (!numbers_are_valid(entry) || !head_is_valid(ps_entry_head(entry))) {
        return PS_EINVAL;
    }
    put_numbers(entry, numbers);
    int err = ps_buf_append(out, numbers, sizeof numbers);
    err = err != PS_OK ? err : ps_buf_append_str(out, ps_entry_route(entry));
    err = err != PS_OK ? err : ps_buf_append_str(out, ps_entry_model(entry));
    err = err != PS_OK ? err : ps_buf_append_str(out, ps_entry_tenant(entry));
    err = err != PS_OK ? err : put_tags(entry, out);
    err = err != PS_OK ? err : ps_buf_append_str(out, ps_entry_head(entry));
    err = err != PS_OK ? err : ps_buf_append_str(out, ps_entry_body(entry));
    if (err != PS_OK) {
        out->len = before;
    }
    return err;
}

/* ---------------------------------------------------------------- reading */

/* Takes `len` bytes off *rest. */
static bool take(struct ps_str *rest, uint64_t len, struct ps_str *out)
{
    if (rest->len < len) {
        return false;
    }
    *out = ps_str_first(*rest, (size_t)len);
    *rest = ps_str_skip(*rest, (size_t)len);
    return true;
}

static bool take_tags(struct ps_str *rest, struct ps_str tags[PS_ENTRY_TAGS_MAX], size_t count)
{
    struct ps_str len;
    bool fine = count <= PS_ENTRY_TAGS_MAX;
    for (size_t i = 0; fine && i < count; i++) {
        fine = take(rest, 2, &len) && take(rest, ps_le_take(len.ptr, 2), &tags[i]) &&
               tags[i].len <= PS_ENTRY_NAME_MAX;
    }
    return fine;
}

static bool take_texts(const char *numbers, struct ps_str rest, struct ps_entry_spec *spec,
                       struct ps_str tags[PS_ENTRY_TAGS_MAX])
{
    spec->tags = tags;
    spec->tags_count = (size_t)ps_le_take(numbers + 7, 1);
    bool fine = take(&rest, ps_le_take(numbers + 64, 2), &spec->route) &&
                take(&rest, ps_le_take(numbers + 66, 2), &spec->model) &&
                take(&rest, ps_le_take(numbers + 68, 2), &spec->tenant) &&
                take_tags(&rest, tags, spec->tags_count) &&
                take(&rest, ps_le_take(numbers + 60, 4), &spec->head) && head_is_valid(spec->head);
    spec->body = rest;
    return fine && spec->route.len <= PS_ENTRY_NAME_MAX && spec->model.len <= PS_ENTRY_NAME_MAX &&
           spec->tenant.len <= PS_ENTRY_NAME_MAX;
}

static bool take_numbers(const char *at, struct ps_entry_spec *spec)
{
    float seconds;
    uint32_t bits = (uint32_t)ps_le_take(at + 48, 4);
    memcpy(&seconds, &bits, sizeof seconds);
    spec->status = (int)ps_le_take(at + 4, 2);
    spec->kind = (enum ps_entry_kind)ps_le_take(at + 6, 1);
    spec->born = (ps_time)ps_le_take(at + 8, 8);
    spec->stored = (ps_time)ps_le_take(at + 16, 8);
    spec->fresh = (ps_span)ps_le_take(at + 24, 8);
    spec->while_revalidate = (ps_span)ps_le_take(at + 32, 8);
    spec->if_error = (ps_span)ps_le_take(at + 40, 8);
    spec->seconds = (double)seconds;
    spec->prompt_tokens = ps_le_take(at + 52, 4);
    spec->completion_tokens = ps_le_take(at + 56, 4);
    return spec->status >= 100 && spec->status <= 999 && spec->kind <= PS_ENTRY_KIND_MAX &&
           spec->born >= 0 && spec->stored >= 0 && spec->fresh >= 0 &&
           spec->while_revalidate >= 0 && spec->if_error >= 0 && isfinite(seconds) &&
           !signbit(seconds) && ps_le_take(at + 70, 2) == 0;
}

int ps_entry_wire_read(struct ps_str bytes, struct ps_entry **out)
{
    struct ps_entry_spec spec = {.status = 0};
    struct ps_str tags[PS_ENTRY_TAGS_MAX];
    if (bytes.len < PS_ENTRY_WIRE_OVERHEAD || memcmp(bytes.ptr, magic, sizeof magic) != 0 ||
        !take_numbers(bytes.ptr, &spec) ||
        !take_texts(bytes.ptr, ps_str_skip(bytes, PS_ENTRY_WIRE_OVERHEAD), &spec, tags)) {
        return PS_EPARSE;
    }
    return ps_entry_new(out, &spec);
}
