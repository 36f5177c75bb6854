#include "gateway/envelope.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "base/le.h"

enum {
    HEAD_BYTES = 64,
    CHECK_BYTES = 16,
    FLAG_ZSTD = 1,
    FLAG_KEYED = 2,
    LEVEL = 1,                /* of compression: the request waits for it */
    KEEP_BYTES = 1024 * 1024, /* what a codec keeps between two values */
    TTL_MAX = INT32_MAX       /* seconds */
};

_Static_assert(HEAD_BYTES + CHECK_BYTES == PS_ENVELOPE_OVERHEAD, "the header promises it");

static const char magic[4] = {'P', 'S', 'V', 1};

struct ps_envelope_codec {
    struct ps_envelope_opts opts;
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
    struct ps_buf scratch; /* a body on its way in or out */
};

/* The head as numbers. */
struct head {
    uint32_t flags;
    uint32_t len;
    uint32_t plain_len;
    uint64_t stored_ms;
    uint32_t ttl_s;
    uint32_t tag;
};

int ps_envelope_codec_new(struct ps_envelope_codec **out, const struct ps_envelope_opts *opts)
{
    struct ps_envelope_codec *codec = calloc(1, sizeof *codec);
    if (codec == NULL) {
        return PS_ENOMEM;
    }
    codec->opts = *opts;
    codec->opts.max_body = opts->max_body < INT32_MAX ? opts->max_body : INT32_MAX;
    codec->scratch = ps_buf_make(ZSTD_compressBound((size_t)codec->opts.max_body));
    codec->compressor = ZSTD_createCCtx();
    codec->decompressor = ZSTD_createDCtx();
    if (codec->compressor == NULL || codec->decompressor == NULL) {
        ps_envelope_codec_free(codec);
        return PS_ENOMEM;
    }
    *out = codec;
    return PS_OK;
}

void ps_envelope_codec_free(struct ps_envelope_codec *codec)
{
    if (codec != NULL) {
        ZSTD_freeCCtx(codec->compressor);
        ZSTD_freeDCtx(codec->decompressor);
        ps_buf_fini(&codec->scratch);
        free(codec);
    }
}

/* An empty scratch with room for `len`; one that a large value grew is not kept. */
static int clear_scratch(struct ps_envelope_codec *codec, size_t len)
{
    if (codec->scratch.cap > KEEP_BYTES) {
        ps_buf_fini(&codec->scratch);
    }
    ps_buf_clear(&codec->scratch);
    return ps_buf_reserve(&codec->scratch, len);
}

/* The check of the bytes before it. */
static bool make_check(const struct ps_envelope_codec *codec, struct ps_str bytes,
                       unsigned char out[CHECK_BYTES])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    memset(out, 0, CHECK_BYTES);
    if (codec->opts.secret == NULL) {
        ps_le_put(out, crc32_z(crc32_z(0, NULL, 0), (const Bytef *)bytes.ptr, bytes.len), 4);
        return true;
    }
    struct ps_str secret = ps_str_from(codec->opts.secret);
    if (HMAC(EVP_sha256(), secret.ptr, (int)secret.len, (const unsigned char *)bytes.ptr, bytes.len,
             digest, NULL) == NULL) {
        return false;
    }
    memcpy(out, digest, CHECK_BYTES);
    return true;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* The body as it will be sent: compressed where that makes it shorter. */
static struct ps_str pack(struct ps_envelope_codec *codec, struct ps_str body, uint32_t *flags)
{
    bool wanted = codec->opts.compress_above > 0 && body.len > codec->opts.compress_above;
    size_t bound = ZSTD_compressBound(body.len);
    if (!wanted || clear_scratch(codec, bound) != PS_OK) {
        return body;
    }
    size_t len =
        ZSTD_compressCCtx(codec->compressor, codec->scratch.data, bound, body.ptr, body.len, LEVEL);
    if (ZSTD_isError(len) || len >= body.len) {
        return body;
    }
    *flags |= FLAG_ZSTD;
    return (struct ps_str){codec->scratch.data, len};
}

static uint64_t ttl_seconds(ps_span ttl)
{
    uint64_t seconds = (uint64_t)(ttl / PS_SECOND) + (ttl % PS_SECOND != 0);
    return seconds < TTL_MAX ? seconds : TTL_MAX;
}

static void write_head(unsigned char *at, const uint8_t *key, const struct head *head)
{
    memcpy(at, magic, sizeof magic);
    ps_le_put(at + 4, head->flags, 4);
    memcpy(at + 8, key, PS_ENVELOPE_KEY_BYTES);
    ps_le_put(at + 40, head->len, 4);
    ps_le_put(at + 44, head->plain_len, 4);
    ps_le_put(at + 48, head->stored_ms, 8);
    ps_le_put(at + 56, head->ttl_s, 4);
    ps_le_put(at + 60, head->tag, 4);
}

int ps_envelope_write(struct ps_envelope_codec *codec, const uint8_t key[PS_ENVELOPE_KEY_BYTES],
                      const struct ps_envelope *value, struct ps_buf *out)
{
    if (value->body.len > codec->opts.max_body) {
        return PS_ELIMIT;
    }
    if (value->ttl <= 0 || value->stored < 0) {
        return PS_EINVAL;
    }
    uint32_t flags = codec->opts.secret == NULL ? 0 : FLAG_KEYED;
    struct ps_str body = pack(codec, value->body, &flags);
    int err = ps_buf_reserve(out, body.len + PS_ENVELOPE_OVERHEAD);
    if (err != PS_OK) {
        return err;
    }
    struct head head = {.flags = flags,
                        .len = (uint32_t)body.len,
                        .plain_len = (uint32_t)value->body.len,
                        .stored_ms = (uint64_t)(value->stored / PS_MILLISECOND),
                        .ttl_s = (uint32_t)ttl_seconds(value->ttl),
                        .tag = value->tag};
    unsigned char *at = (unsigned char *)out->data + out->len;
    write_head(at, key, &head);
    if (body.len > 0) {
        memcpy(at + HEAD_BYTES, body.ptr, body.len);
    }
    struct ps_str checked = {(const char *)at, HEAD_BYTES + body.len};
    if (!make_check(codec, checked, at + checked.len)) {
        return PS_ENOMEM;
    }
    out->len += body.len + PS_ENVELOPE_OVERHEAD;
    return PS_OK;
}

/* --- reading ---------------------------------------------------------------------------------- */

static const char *const fault_texts[PS_ENVELOPE_FAULTS] = {
    [PS_ENVELOPE_FINE] = "fine",       [PS_ENVELOPE_SHORT] = "short",
    [PS_ENVELOPE_FOREIGN] = "foreign", [PS_ENVELOPE_KEY] = "key",
    [PS_ENVELOPE_LARGE] = "large",     [PS_ENVELOPE_CHECK] = "check",
    [PS_ENVELOPE_BODY] = "body",       [PS_ENVELOPE_EXPIRED] = "expired",
};

const char *ps_envelope_fault_text(enum ps_envelope_fault fault)
{
    return fault < PS_ENVELOPE_FAULTS ? fault_texts[fault] : "";
}

static struct head read_head(const char *at)
{
    return (struct head){.flags = (uint32_t)ps_le_take(at + 4, 4),
                         .len = (uint32_t)ps_le_take(at + 40, 4),
                         .plain_len = (uint32_t)ps_le_take(at + 44, 4),
                         .stored_ms = ps_le_take(at + 48, 8),
                         .ttl_s = (uint32_t)ps_le_take(at + 56, 4),
                         .tag = (uint32_t)ps_le_take(at + 60, 4)};
}

/* Everything that can be said without the body. */
static enum ps_envelope_fault judge(const struct ps_envelope_codec *codec, const uint8_t *key,
                                    struct ps_str bytes, const struct head *head)
{
    uint32_t keyed = codec->opts.secret == NULL ? 0 : FLAG_KEYED;
    if (head->flags > (FLAG_ZSTD | FLAG_KEYED)) {
        return PS_ENVELOPE_FOREIGN;
    }
    if (memcmp(bytes.ptr + 8, key, PS_ENVELOPE_KEY_BYTES) != 0) {
        return PS_ENVELOPE_KEY;
    }
    if (head->len != bytes.len - PS_ENVELOPE_OVERHEAD) {
        return PS_ENVELOPE_SHORT;
    }
    if (head->plain_len > codec->opts.max_body) {
        return PS_ENVELOPE_LARGE;
    }
    if ((head->flags & FLAG_ZSTD) == 0 && head->plain_len != head->len) {
        return PS_ENVELOPE_BODY;
    }
    return (head->flags & FLAG_KEYED) == keyed ? PS_ENVELOPE_FINE : PS_ENVELOPE_CHECK;
}

static bool check_fits(const struct ps_envelope_codec *codec, struct ps_str bytes)
{
    unsigned char check[CHECK_BYTES];
    struct ps_str checked = ps_str_first(bytes, bytes.len - CHECK_BYTES);
    struct ps_str ours = {(const char *)check, CHECK_BYTES};
    return make_check(codec, checked, check) &&
           ps_str_eq_constant_time(ours, ps_str_skip(bytes, checked.len));
}

/* Decompresses into the scratch, never beyond what the head says. */
static enum ps_envelope_fault unpack(struct ps_envelope_codec *codec, const struct head *head,
                                     struct ps_str *body)
{
    if (clear_scratch(codec, (size_t)head->plain_len + 1) != PS_OK) {
        return PS_ENVELOPE_LARGE;
    }
    size_t len = ZSTD_decompressDCtx(codec->decompressor, codec->scratch.data, head->plain_len,
                                     body->ptr, body->len);
    if (ZSTD_isError(len) || len != head->plain_len) {
        return PS_ENVELOPE_BODY;
    }
    *body = (struct ps_str){codec->scratch.data, len};
    return PS_ENVELOPE_FINE;
}

/* Nobody of us writes others. */
static bool times_are_ours(const struct head *head)
{
    return head->stored_ms <= INT64_MAX / PS_MILLISECOND && head->ttl_s > 0 &&
           head->ttl_s <= TTL_MAX;
}

/* A clock that is ahead of ours may have stored it a little in our future. */
static bool is_expired(const struct head *head, ps_time now)
{
    uint64_t now_ms = now > 0 ? (uint64_t)(now / PS_MILLISECOND) : 0;
    return now_ms > head->stored_ms && now_ms - head->stored_ms >= (uint64_t)head->ttl_s * 1000;
}

enum ps_envelope_fault ps_envelope_read(struct ps_envelope_codec *codec,
                                        const uint8_t key[PS_ENVELOPE_KEY_BYTES],
                                        struct ps_str bytes, ps_time now, struct ps_envelope *out)
{
    if (bytes.len < PS_ENVELOPE_OVERHEAD) {
        return PS_ENVELOPE_SHORT;
    }
    if (memcmp(bytes.ptr, magic, sizeof magic) != 0) {
        return PS_ENVELOPE_FOREIGN;
    }
    struct head head = read_head(bytes.ptr);
    struct ps_str body = ps_str_first(ps_str_skip(bytes, HEAD_BYTES), head.len);
    enum ps_envelope_fault fault = judge(codec, key, bytes, &head);
    if (fault == PS_ENVELOPE_FINE && !check_fits(codec, bytes)) {
        fault = PS_ENVELOPE_CHECK;
    }
    if (fault == PS_ENVELOPE_FINE && !times_are_ours(&head)) {
        fault = PS_ENVELOPE_FOREIGN;
    }
    if (fault == PS_ENVELOPE_FINE && is_expired(&head, now)) {
        fault = PS_ENVELOPE_EXPIRED;
    }
    if (fault == PS_ENVELOPE_FINE && (head.flags & FLAG_ZSTD) != 0) {
        fault = unpack(codec, &head, &body);
    }
    if (fault == PS_ENVELOPE_FINE) {
        *out = (struct ps_envelope){.body = body,
                                    .stored = (ps_time)head.stored_ms * PS_MILLISECOND,
                                    .ttl = (ps_span)head.ttl_s * PS_SECOND,
                                    .tag = head.tag};
    }
    return fault;
}
