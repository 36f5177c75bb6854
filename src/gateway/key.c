#include "gateway/key.h"

#include <assert.h>
#include <stdlib.h>

#include <openssl/evp.h>

#include "base/buf.h"
#include "base/check.h"
#include "gateway/canon.h"
#include "gateway/canon_parse.h"

static_assert(PS_CANON_DIGEST == PS_KEY_BYTES, "both are SHA-256");

/* ---------------------------------------------------------------- the keyer and its memo */

enum { WAYS = 4 };

/* What was seen (scope and raw body), and the key that came of it. */
struct known {
    struct ps_key seen;
    struct ps_key key;
};

struct ps_keyer {
    EVP_MD *sha256;
    EVP_MD_CTX *hash;
    struct known *memo; /* sets of WAYS, newest first; NULL = none */
    size_t sets;        /* a power of two */
    uint64_t memo_hits;
};

int ps_keyer_new(struct ps_keyer **out, size_t memo)
{
    struct ps_keyer *keyer = calloc(1, sizeof *keyer);
    if (keyer == NULL) {
        return PS_ENOMEM;
    }
    keyer->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    keyer->hash = EVP_MD_CTX_new();
    for (keyer->sets = 1; keyer->sets * WAYS < memo;) {
        keyer->sets *= 2;
    }
    if (memo > 0) {
        keyer->memo = calloc(keyer->sets * WAYS, sizeof *keyer->memo);
    }
    bool made = keyer->sha256 != NULL && keyer->hash != NULL && (memo == 0 || keyer->memo != NULL);
    /* The first use takes the context's memory; later ones need none. */
    if (!made || EVP_DigestInit_ex2(keyer->hash, keyer->sha256, NULL) != 1) {
        ps_keyer_free(keyer);
        return PS_ENOMEM;
    }
    *out = keyer;
    return PS_OK;
}

void ps_keyer_free(struct ps_keyer *keyer)
{
    if (keyer != NULL) {
        EVP_MD_CTX_free(keyer->hash);
        EVP_MD_free(keyer->sha256);
        free(keyer->memo);
        free(keyer);
    }
}

uint64_t ps_keyer_memo_hits(const struct ps_keyer *keyer)
{
    return keyer->memo_hits;
}

static struct known *memo_set(const struct ps_keyer *keyer, const struct ps_key *seen)
{
    uint64_t hash;
    memcpy(&hash, seen->bytes, sizeof hash);
    return keyer->memo + (hash & (keyer->sets - 1)) * WAYS;
}

static bool recall(struct ps_keyer *keyer, const struct ps_key *seen, struct ps_key *out)
{
    struct known *set = memo_set(keyer, seen);
    for (size_t i = 0; i < WAYS; i++) {
        if (ps_key_eq(&set[i].seen, seen)) {
            struct known known = set[i];
            memmove(set + 1, set, i * sizeof *set);
            set[0] = known;
            *out = known.key;
            keyer->memo_hits++;
            return true;
        }
    }
    return false;
}

static void remember(struct ps_keyer *keyer, const struct ps_key *seen, const struct ps_key *key)
{
    struct known *set = memo_set(keyer, seen);
    memmove(set + 1, set, (WAYS - 1) * sizeof *set);
    set[0] = (struct known){*seen, *key};
}

/* ---------------------------------------------------------------- digests of parts */

static void begin(const struct ps_keyer *keyer, EVP_MD_CTX *hash)
{
    PS_CHECK(EVP_DigestInit_ex2(hash, keyer->sha256, NULL) == 1);
}

static void add(EVP_MD_CTX *hash, struct ps_str text)
{
    PS_CHECK(EVP_DigestUpdate(hash, text.len == 0 ? "" : text.ptr, text.len) == 1);
}

/* A part stands behind its length. */
static void add_part(EVP_MD_CTX *hash, struct ps_str part)
{
    unsigned char len[8];
    for (unsigned i = 0; i < sizeof len; i++) {
        len[i] = (unsigned char)((uint64_t)part.len >> (8 * i));
    }
    PS_CHECK(EVP_DigestUpdate(hash, len, sizeof len) == 1);
    add(hash, part);
}

static void add_key(EVP_MD_CTX *hash, const struct ps_key *key)
{
    PS_CHECK(EVP_DigestUpdate(hash, key->bytes, sizeof key->bytes) == 1);
}

static void end(EVP_MD_CTX *hash, struct ps_key *out)
{
    PS_CHECK(EVP_DigestFinal_ex(hash, out->bytes, NULL) == 1);
}

/* ---------------------------------------------------------------- the job */

struct ps_key_job {
    struct ps_keyer *keyer;
    enum ps_key_body body;
    struct ps_key scope; /* digest of everything but the body */
    EVP_MD_CTX *raw;     /* PS_KEY_RAW: of scope and body so far */
    struct ps_budget *budget;
    struct ps_buf held; /* a body that the memo may know: not parsed yet; counts against budget */
    bool memo;          /* it may */
    struct ps_canon *canon;
    int err; /* sticky */
    const char *reason;
    size_t items;
    struct ps_key whole;           /* once it is known; with one item its key as well */
    struct ps_canon_parser parser; /* the last member: not zeroed at the start */
};

static const struct ps_str ignored[] = {
    PS_STR_INIT("user"),
    PS_STR_INIT("metadata"),
    PS_STR_INIT("store"),
    PS_STR_INIT("safety_identifier"),
    PS_STR_INIT("service_tier"),
    PS_STR_INIT("prompt_cache_key"),
    PS_STR_INIT("prompt_cache_retention"),
    PS_STR_INIT("stream"),
    PS_STR_INIT("stream_options"),
    {NULL, 0},
};

/* ---------------------------------------------------------------- the scope */

static bool is_utf8_charset(struct ps_str parameter)
{
    struct ps_str value = parameter;
    if (!ps_str_istarts_with(value, PS_STR("charset="))) {
        return false;
    }
    value = ps_str_skip(value, 8);
    return ps_str_ieq(value, PS_STR("utf-8")) || ps_str_ieq(value, PS_STR("\"utf-8\""));
}

/* The media type in lower case; parameters as they are, but for the charset that JSON has anyway.
 */
static void add_content_type(EVP_MD_CTX *hash, struct ps_str text)
{
    struct ps_str part = {NULL, 0};
    char type[128] = {0};
    bool first = true;
    bool json = false;
    while (ps_str_split(&text, ';', &part)) {
        part = ps_str_trim(part);
        if (first && part.len <= sizeof type) {
            for (size_t i = 0; i < part.len; i++) {
                bool upper = part.ptr[i] >= 'A' && part.ptr[i] <= 'Z';
                type[i] = (char)(upper ? part.ptr[i] | 0x20 : part.ptr[i]);
            }
            part.ptr = part.len == 0 ? part.ptr : type;
            json = ps_str_eq(part, PS_STR("application/json"));
        }
        if (first || !(json && is_utf8_charset(part))) {
            add_part(hash, part);
        }
        first = false;
    }
    add_part(hash, PS_STR(""));
}

static void digest_scope(const struct ps_keyer *keyer, const struct ps_key_scope *scope,
                         enum ps_key_body body, struct ps_key *out)
{
    const struct ps_str parts[] = {scope->route,  scope->upstream, scope->revision,
                                   scope->method, scope->path,     scope->query};
    unsigned char head[] = {PS_KEY_VERSION, (unsigned char)body, scope->any_tenant};
    begin(keyer, keyer->hash);
    add_part(keyer->hash, PS_STR("penstock key"));
    add_part(keyer->hash, (struct ps_str){(const char *)head, sizeof head});
    add_part(keyer->hash, scope->any_tenant ? PS_STR("") : scope->tenant);
    for (size_t i = 0; i < PS_ARRAY_LEN(parts); i++) {
        add_part(keyer->hash, parts[i]);
    }
    add_content_type(keyer->hash, scope->content_type);
    end(keyer->hash, out);
}

/* ---------------------------------------------------------------- life of a job */

/* The member with the items, for bodies that have one. */
static struct ps_str items_name(enum ps_key_body body)
{
    return body == PS_KEY_EMBEDDINGS ? PS_STR("input")
           : body == PS_KEY_EMBED    ? PS_STR("inputs")
                                     : PS_STR("");
}

static int make_parser(struct ps_key_job *job)
{
    struct ps_canon_opts opts = {
        .sha256 = job->keyer->sha256,
        .budget = job->budget,
        .ignored = ignored,
        .items = items_name(job->body),
    };
    int err = ps_canon_new(&job->canon, &opts);
    if (err == PS_OK) {
        ps_canon_parser_init(&job->parser, job->canon);
    }
    return err;
}

static int make_raw(struct ps_key_job *job)
{
    job->raw = EVP_MD_CTX_new();
    if (job->raw == NULL || EVP_DigestInit_ex2(job->raw, job->keyer->sha256, NULL) != 1) {
        return PS_ENOMEM;
    }
    add_key(job->raw, &job->scope);
    return PS_OK;
}

int ps_key_job_new(struct ps_key_job **out, struct ps_keyer *keyer,
                   const struct ps_key_scope *scope, enum ps_key_body body,
                   struct ps_budget *budget)
{
    struct ps_key_job *job = malloc(sizeof *job);
    if (job == NULL) {
        return PS_ENOMEM;
    }
    memset(job, 0, offsetof(struct ps_key_job, parser));
    job->keyer = keyer;
    job->body = body;
    job->budget = budget;
    job->held = ps_buf_make(PS_KEY_MEMO_BODY);
    job->memo = body != PS_KEY_RAW && keyer->memo != NULL;
    digest_scope(keyer, scope, body, &job->scope);
    int err = body == PS_KEY_RAW ? make_raw(job) : make_parser(job);
    if (err != PS_OK) {
        ps_key_job_free(job);
        return err;
    }
    *out = job;
    return PS_OK;
}

static void drop_held(struct ps_key_job *job)
{
    ps_budget_give(job->budget, job->held.len);
    ps_buf_fini(&job->held);
}

void ps_key_job_free(struct ps_key_job *job)
{
    if (job != NULL) {
        EVP_MD_CTX_free(job->raw);
        drop_held(job);
        ps_canon_free(job->canon);
        free(job);
    }
}

static int parse(struct ps_key_job *job, struct ps_str bytes)
{
    job->err = ps_canon_parser_feed(&job->parser, bytes);
    return job->err;
}

/* The body is too long for the memo, or the memo did not know it. */
static int parse_held(struct ps_key_job *job)
{
    int err = parse(job, ps_buf_str(&job->held));
    drop_held(job);
    return err;
}

static int hold(struct ps_key_job *job, struct ps_str bytes)
{
    job->err = ps_budget_take(job->budget, bytes.len);
    if (job->err != PS_OK) {
        return job->err;
    }
    job->err = ps_buf_append_str(&job->held, bytes);
    if (job->err != PS_OK) {
        ps_budget_give(job->budget, bytes.len);
    }
    return job->err;
}

int ps_key_job_feed(struct ps_key_job *job, struct ps_str bytes)
{
    if (job->err != PS_OK) {
        return job->err;
    }
    if (job->body == PS_KEY_RAW) {
        add(job->raw, bytes);
        return PS_OK;
    }
    if (job->memo && bytes.len < PS_KEY_MEMO_BODY - job->held.len) {
        return hold(job, bytes);
    }
    if (job->memo) {
        job->memo = false;
        int err = parse_held(job);
        if (err != PS_OK) {
            return err;
        }
    }
    return parse(job, bytes);
}

static int end_parse(struct ps_key_job *job)
{
    job->err = ps_canon_parser_end(&job->parser);
    job->items = job->err == PS_OK ? ps_canon_items(job->canon) : 0;
    if (job->err == PS_OK && items_name(job->body).len > 0 && job->items == 0) {
        job->err = PS_EPARSE;
        job->reason = "there is no input";
    }
    return job->err;
}

static void key_of_encoding(struct ps_key_job *job, struct ps_str encoding, struct ps_key *out)
{
    begin(job->keyer, job->keyer->hash);
    add_key(job->keyer->hash, &job->scope);
    add_part(job->keyer->hash, ps_canon_encoding(job->canon));
    add_part(job->keyer->hash, encoding);
    end(job->keyer->hash, out);
}

static void make_item(struct ps_key_job *job, size_t i, struct ps_key *out)
{
    key_of_encoding(job, ps_canon_item(job->canon, i), out);
}

void ps_key_job_item(struct ps_key_job *job, size_t i, struct ps_key *out)
{
    PS_CHECK(i < job->items);
    if (job->items == 1) { /* which the memo may have known */
        *out = job->whole;
    } else {
        make_item(job, i, out);
    }
}

/* One more item behind those of *key. */
static void add_item(const struct ps_keyer *keyer, const struct ps_key *item, struct ps_key *key)
{
    begin(keyer, keyer->hash);
    add_part(keyer->hash, PS_STR("penstock items"));
    add_key(keyer->hash, key);
    add_key(keyer->hash, item);
    end(keyer->hash, key);
}

void ps_keyer_list(struct ps_keyer *keyer, const struct ps_key *items, size_t n, struct ps_key *out)
{
    struct ps_key key = items[0];
    for (size_t i = 1; i < n; i++) {
        add_item(keyer, &items[i], &key);
    }
    *out = key;
}

/* All items in their order; a single one is the whole request. */
static void key_of_items(struct ps_key_job *job)
{
    make_item(job, 0, &job->whole);
    for (size_t i = 1; i < job->items; i++) {
        struct ps_key item;
        make_item(job, i, &item);
        add_item(job->keyer, &item, &job->whole);
    }
}

/* What was parsed has a key, and several if it has items. */
static void key_of_parsed(struct ps_key_job *job)
{
    if (items_name(job->body).len > 0) {
        key_of_items(job);
    } else {
        key_of_encoding(job, PS_STR(""), &job->whole);
    }
}

/* What the memo knows is one question: of several it would have to know all keys. */
static int end_json(struct ps_key_job *job)
{
    struct ps_key seen;
    bool memo = job->memo;
    if (memo) {
        begin(job->keyer, job->keyer->hash);
        add_key(job->keyer->hash, &job->scope);
        add(job->keyer->hash, ps_buf_str(&job->held));
        end(job->keyer->hash, &seen);
        if (recall(job->keyer, &seen, &job->whole)) {
            job->items = items_name(job->body).len > 0 ? 1 : 0;
            return PS_OK;
        }
    }
    int err = memo ? parse_held(job) : PS_OK;
    err = err != PS_OK ? err : end_parse(job);
    if (err != PS_OK) {
        return err;
    }
    key_of_parsed(job);
    if (memo && job->items <= 1) {
        remember(job->keyer, &seen, &job->whole);
    }
    return PS_OK;
}

int ps_key_job_end(struct ps_key_job *job, struct ps_key *out)
{
    int err = job->err;
    if (err == PS_OK && job->body == PS_KEY_RAW) {
        end(job->raw, &job->whole);
    } else if (err == PS_OK) {
        err = end_json(job);
    }
    if (err == PS_OK) {
        *out = job->whole;
    }
    return err;
}

size_t ps_key_job_items(const struct ps_key_job *job)
{
    return job->items;
}

const char *ps_key_job_reason(const struct ps_key_job *job)
{
    return job->reason != NULL  ? job->reason
           : job->canon != NULL ? ps_canon_parser_reason(&job->parser)
                                : ps_err_text(job->err);
}

/* ---------------------------------------------------------------- hex */

void ps_key_hex(const struct ps_key *key, char out[2 * PS_KEY_BYTES + 1])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < PS_KEY_BYTES; i++) {
        out[2 * i] = digits[key->bytes[i] >> 4];
        out[2 * i + 1] = digits[key->bytes[i] & 15];
    }
    out[2 * PS_KEY_BYTES] = '\0';
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

int ps_key_from_hex(struct ps_str text, struct ps_key *out)
{
    struct ps_key key;
    if (text.len != 2 * (size_t)PS_KEY_BYTES) {
        return PS_EPARSE;
    }
    for (size_t i = 0; i < PS_KEY_BYTES; i++) {
        int high = nibble(text.ptr[2 * i]);
        int low = nibble(text.ptr[2 * i + 1]);
        if (high < 0 || low < 0) {
            return PS_EPARSE;
        }
        key.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *out = key;
    return PS_OK;
}
