#include "gateway/entry.h"

#include <stdlib.h>

#include "base/check.h"

enum { ALLOCATOR_BYTES = 16 }; /* what malloc takes beside a block: its header and rounding */

static bool spec_is_valid(const struct ps_entry_spec *spec)
{
    bool valid = spec->route.len <= PS_ENTRY_NAME_MAX && spec->model.len <= PS_ENTRY_NAME_MAX &&
                 spec->tenant.len <= PS_ENTRY_NAME_MAX && spec->tags_count <= PS_ENTRY_TAGS_MAX &&
                 spec->head.len <= UINT32_MAX && spec->status >= 100 && spec->status <= 999;
    for (size_t i = 0; valid && i < spec->tags_count; i++) {
        valid = spec->tags[i].len <= PS_ENTRY_NAME_MAX;
    }
    return valid;
}

static uint16_t tags_bytes(const struct ps_entry_spec *spec)
{
    size_t len = 0;
    for (size_t i = 0; i < spec->tags_count; i++) {
        len += 2 + spec->tags[i].len;
    }
    return (uint16_t)len;
}

static char *put(char *at, struct ps_str text)
{
    if (text.len > 0) {
        memcpy(at, text.ptr, text.len);
    }
    return at + text.len;
}

static char *put_tags(char *at, const struct ps_entry_spec *spec)
{
    for (size_t i = 0; i < spec->tags_count; i++) {
        *at++ = (char)(spec->tags[i].len & 0xff);
        *at++ = (char)(spec->tags[i].len >> 8);
        at = put(at, spec->tags[i]);
    }
    return at;
}

static void put_texts(struct ps_entry *entry, const struct ps_entry_spec *spec)
{
    char *at = put(entry->text, spec->route);
    at = put(at, spec->model);
    at = put(at, spec->tenant);
    at = put_tags(at, spec);
    at = put(at, spec->head);
    if (spec->release == NULL) {
        entry->body = at;
        put(at, spec->body);
    }
}

static uint32_t cut(uint64_t number)
{
    return number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
}

static size_t text_bytes(const struct ps_entry *entry)
{
    size_t names = (size_t)entry->route_len + entry->model_len + entry->tenant_len;
    return names + entry->tags_len + entry->head_len;
}

int ps_entry_new(struct ps_entry **out, const struct ps_entry_spec *spec)
{
    struct ps_entry made = {
        .born = spec->born,
        .stored = spec->stored,
        .fresh = spec->fresh,
        .while_revalidate = spec->while_revalidate,
        .if_error = spec->if_error,
        .prompt_tokens = cut(spec->prompt_tokens),
        .completion_tokens = cut(spec->completion_tokens),
        .seconds = spec->seconds > 0 ? (float)spec->seconds : 0,
        .status = (uint16_t)spec->status,
        .kind = (uint8_t)spec->kind,
        .tags_count = (uint8_t)spec->tags_count,
        .refs = 1,
        .head_len = (uint32_t)spec->head.len,
        .route_len = (uint16_t)spec->route.len,
        .model_len = (uint16_t)spec->model.len,
        .tenant_len = (uint16_t)spec->tenant.len,
        .body_len = spec->body.len,
        .body = spec->body.ptr,
        .release = spec->release,
        .release_ctx = spec->release_ctx,
    };
    int err = spec_is_valid(spec) ? PS_OK : PS_EINVAL;
    struct ps_entry *entry = NULL;
    if (err == PS_OK) {
        made.tags_len = tags_bytes(spec);
        size_t own = spec->release == NULL ? spec->body.len : 0;
        entry = malloc(sizeof *entry + text_bytes(&made) + own);
        err = entry == NULL ? PS_ENOMEM : PS_OK;
    }
    if (err != PS_OK) {
        if (spec->release != NULL) {
            spec->release(spec->release_ctx);
        }
        return err;
    }
    memcpy(entry, &made, sizeof made);
    put_texts(entry, spec);
    *out = entry;
    return PS_OK;
}

struct ps_entry *ps_entry_ref(struct ps_entry *entry)
{
    atomic_fetch_add_explicit(&entry->refs, 1, memory_order_relaxed);
    return entry;
}

void ps_entry_unref(struct ps_entry *entry)
{
    if (entry == NULL || atomic_fetch_sub_explicit(&entry->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    if (entry->release != NULL) {
        entry->release(entry->release_ctx);
    }
    free(entry);
}

size_t ps_entry_bytes(const struct ps_entry *entry)
{
    return sizeof *entry + text_bytes(entry) + entry->body_len + ALLOCATOR_BYTES;
}

struct ps_str ps_entry_route(const struct ps_entry *entry)
{
    return (struct ps_str){entry->text, entry->route_len};
}

struct ps_str ps_entry_model(const struct ps_entry *entry)
{
    return (struct ps_str){entry->text + entry->route_len, entry->model_len};
}

struct ps_str ps_entry_tenant(const struct ps_entry *entry)
{
    return (struct ps_str){entry->text + entry->route_len + entry->model_len, entry->tenant_len};
}

static const char *tags_of(const struct ps_entry *entry)
{
    return entry->text + entry->route_len + entry->model_len + entry->tenant_len;
}

struct ps_str ps_entry_head(const struct ps_entry *entry)
{
    return (struct ps_str){tags_of(entry) + entry->tags_len, entry->head_len};
}

struct ps_str ps_entry_body(const struct ps_entry *entry)
{
    return (struct ps_str){entry->body, entry->body_len};
}

bool ps_entry_next_tag(const struct ps_entry *entry, size_t *at, struct ps_str *tag)
{
    if (*at >= entry->tags_len) {
        return false;
    }
    const unsigned char *len = (const unsigned char *)tags_of(entry) + *at;
    *tag = (struct ps_str){tags_of(entry) + *at + 2, (size_t)len[0] | (size_t)len[1] << 8};
    *at += 2 + tag->len;
    return true;
}

/* a + b for spans that are not negative, without overflow. */
static ps_span add(ps_span a, ps_span b)
{
    return a > PS_NEVER - b ? PS_NEVER : a + b;
}

enum ps_freshness ps_entry_freshness(const struct ps_entry *entry, ps_time now)
{
    ps_span age = ps_entry_age(entry, now);
    if (age < entry->fresh) {
        return PS_FRESH;
    }
    if (age < add(entry->fresh, entry->while_revalidate)) {
        return PS_STALE_USABLE;
    }
    return age < add(entry->fresh, entry->if_error) ? PS_STALE_ON_ERROR : PS_STALE_GONE;
}

ps_span ps_entry_age(const struct ps_entry *entry, ps_time now)
{
    return now > entry->stored ? now - entry->stored : 0;
}
