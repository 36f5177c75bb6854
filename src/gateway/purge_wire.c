#include "gateway/purge_wire.h"

#include "base/le.h"

enum { NUMBERS = 18 };

static const char magic[4] = {'P', 'S', 'P', 1};

static bool is_valid(const struct ps_purge *purge)
{
    bool text = purge->kind == PS_PURGE_KEY
                    ? purge->text.len == 0
                    : purge->text.len > 0 && purge->text.len <= PS_PURGE_TEXT_MAX;
    return text && purge->at >= 0 && purge->tenant.len <= PS_ENTRY_NAME_MAX &&
           (purge->has_tenant || purge->tenant.len == 0);
}

static char *put(char *at, struct ps_str text)
{
    if (text.len > 0) {
        memcpy(at, text.ptr, text.len);
    }
    return at + text.len;
}

int ps_purge_wire_write(const struct ps_purge *purge, char out[PS_PURGE_WIRE_MAX], size_t *len)
{
    struct ps_purge exact = *purge; /* without what its kind does not use */
    if (purge->kind == PS_PURGE_KEY) {
        exact.text.len = 0;
    }
    if (!purge->has_tenant) {
        exact.tenant.len = 0;
    }
    if (!is_valid(&exact)) {
        return PS_EINVAL;
    }
    memcpy(out, magic, sizeof magic);
    out[4] = (char)exact.kind;
    out[5] = (char)exact.has_tenant;
    ps_le_put(out + 6, exact.text.len, 2);
    ps_le_put(out + 8, (uint64_t)exact.at, 8);
    ps_le_put(out + 16, exact.tenant.len, 2);
    char *at = out + NUMBERS;
    if (exact.kind == PS_PURGE_KEY) {
        memcpy(at, exact.key.bytes, PS_KEY_BYTES);
        at += PS_KEY_BYTES;
    }
    *len = (size_t)(put(put(at, exact.text), exact.tenant) - out);
    return PS_OK;
}

/* The texts and the key, which must fill the rest. */
static bool take_rest(struct ps_str rest, size_t text_len, size_t tenant_len, struct ps_purge *out)
{
    size_t key_len = out->kind == PS_PURGE_KEY ? PS_KEY_BYTES : 0;
    if (rest.len != key_len + text_len + tenant_len) {
        return false;
    }
    memcpy(out->key.bytes, rest.ptr, key_len);
    out->text = ps_str_first(ps_str_skip(rest, key_len), text_len);
    out->tenant = ps_str_skip(rest, key_len + text_len);
    return is_valid(out);
}

int ps_purge_wire_read(struct ps_str record, struct ps_purge *out)
{
    if (record.len < NUMBERS || memcmp(record.ptr, magic, sizeof magic) != 0 ||
        (unsigned char)record.ptr[4] > PS_PURGE_KEY || (unsigned char)record.ptr[5] > 1) {
        return PS_EPARSE;
    }
    struct ps_purge purge = {
        .kind = (enum ps_purge_kind)record.ptr[4],
        .has_tenant = record.ptr[5] == 1,
        .at = (ps_time)ps_le_take(record.ptr + 8, 8),
    };
    if (!take_rest(ps_str_skip(record, NUMBERS), (size_t)ps_le_take(record.ptr + 6, 2),
                   (size_t)ps_le_take(record.ptr + 16, 2), &purge)) {
        return PS_EPARSE;
    }
    *out = purge;
    return PS_OK;
}
