#include "gateway/json.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/list.h"

/* yajl reads a token that is cut by the edge of a feed again from its start with every feed. Small
 * pieces of a large string would cost the square of its length; so bytes are held back until there
 * are as many as were parsed already, at least this many. That makes it linear. */
#define HOLD_MIN ((size_t)64 << 10)

/* In front of every block that yajl owns. */
struct block {
    struct ps_list node;
    size_t size;
    _Alignas(max_align_t) char bytes[];
};

/* What yajl needs for a usual document fits here: one allocation instead of eight. */
enum { ARENA_BYTES = 1280 };

struct ps_json {
    yajl_handle yajl;
    size_t arena_used;
    struct ps_list blocks;
    struct ps_budget *budget;
    struct ps_buf held; /* not parsed yet; counted against the budget */
    uint64_t before;    /* bytes of earlier feeds */
    uint64_t failed_at;
    const char *reason;
    int err;    /* sticky */
    bool armed; /* `out` may be jumped to */
    jmp_buf out;
    _Alignas(max_align_t) char arena[ARENA_BYTES]; /* the last member: not zeroed at the start */
};

_Noreturn static void bail(struct ps_json *json, int err)
{
    PS_CHECK(json->armed);
    json->err = err;
    longjmp(json->out, 1);
}

/* Space in the arena, or NULL when it is full. It is given back as a whole. */
static struct block *arena_take(struct ps_json *json, size_t size)
{
    size_t align = _Alignof(max_align_t);
    size_t need = (sizeof(struct block) + size + align - 1) / align * align;
    if (size > ARENA_BYTES || need > ARENA_BYTES - json->arena_used) {
        return NULL;
    }
    struct block *block = (void *)(json->arena + json->arena_used);
    json->arena_used += need;
    ps_list_init(&block->node);
    block->size = size;
    return block;
}

static bool in_arena(const struct ps_json *json, const struct block *block)
{
    const char *at = (const char *)block;
    return at >= json->arena && at < json->arena + ARENA_BYTES;
}

static void block_free(struct ps_json *json, struct block *block)
{
    if (in_arena(json, block)) {
        return;
    }
    ps_list_remove(&block->node);
    ps_budget_give(json->budget, block->size);
    free(block);
}

static void *json_alloc(void *ctx, size_t size)
{
    struct ps_json *json = ctx;
    struct block *small = arena_take(json, size);
    if (small != NULL) {
        return small->bytes;
    }
    if (ps_budget_take(json->budget, size) != PS_OK) {
        bail(json, PS_ELIMIT);
    }
    struct block *block = malloc(sizeof *block + size);
    if (block == NULL) {
        ps_budget_give(json->budget, size);
        bail(json, PS_ENOMEM);
    }
    block->size = size;
    ps_list_push(&json->blocks, &block->node);
    return block->bytes;
}

static void json_free(void *ctx, void *bytes)
{
    if (bytes != NULL) {
        block_free(ctx, PS_CONTAINER_OF(bytes, struct block, bytes));
    }
}

static void *json_realloc(void *ctx, void *bytes, size_t size)
{
    void *grown = json_alloc(ctx, size);
    if (bytes != NULL) {
        struct block *old = PS_CONTAINER_OF(bytes, struct block, bytes);
        memcpy(grown, bytes, old->size < size ? old->size : size);
        block_free(ctx, old);
    }
    return grown;
}

static void make_yajl(struct ps_json *json, const yajl_callbacks *calls, void *ctx)
{
    yajl_alloc_funcs afs = {json_alloc, json_realloc, json_free, json};
    json->armed = true;
    if (setjmp(json->out) == 0) {
        json->yajl = yajl_alloc(calls, &afs, ctx);
    }
    json->armed = false;
}

static void drop_held(struct ps_json *json)
{
    ps_budget_give(json->budget, json->held.len);
    ps_buf_fini(&json->held);
}

int ps_json_new(struct ps_json **out, const yajl_callbacks *calls, void *ctx,
                struct ps_budget *budget)
{
    struct ps_json *json = malloc(sizeof *json);
    if (json == NULL) {
        return PS_ENOMEM;
    }
    memset(json, 0, offsetof(struct ps_json, arena));
    ps_list_init(&json->blocks);
    json->budget = budget;
    json->held = ps_buf_make(SIZE_MAX);
    make_yajl(json, calls, ctx);
    int err = json->err;
    if (err != PS_OK) {
        ps_json_free(json);
        return err;
    }
    *out = json;
    return PS_OK;
}

void ps_json_free(struct ps_json *json)
{
    if (json == NULL) {
        return;
    }
    /* Not yajl_free(): after a jump its state is not to be trusted; the blocks are all it has. */
    while (!ps_list_is_empty(&json->blocks)) {
        block_free(json, PS_LIST_FIRST(&json->blocks, struct block, node));
    }
    drop_held(json);
    free(json);
}

/* yajl's sentences begin with "lexical error: " or "parse error: "; ours are the phrases behind. */
static const char *phrase(const char *text)
{
    static const char *const known[] = {
        "invalid bytes in UTF8 string.",
        "inside a string, '\\' occurs before a character which it may not.",
        "inside a string, '\\u' is followed by a non-hex digit.",
        "invalid character inside string.",
        "malformed number, a digit is required after the minus sign.",
        "malformed number, a digit is required after the decimal point.",
        "malformed number, a digit is required after the exponent.",
        "invalid string in json text.",
        "invalid char in json text.",
        "unallowed token at this point in JSON text",
        "trailing garbage",
        "premature EOF",
        "after key and value, inside map, I expect ',' or '}'",
        "after array element, I expect ',' or ']'",
        "object key and value must be separated by a colon (':')",
        "invalid object key (must be a string)",
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(known); i++) {
        if (strstr(text, known[i]) != NULL) {
            return known[i];
        }
    }
    return "malformed JSON";
}

static void fail(struct ps_json *json)
{
    json->err = PS_EPARSE;
    json->failed_at = json->before + yajl_get_bytes_consumed(json->yajl);
    unsigned char *text = yajl_get_error(json->yajl, 0, NULL, 0);
    json->reason = phrase((const char *)text);
    yajl_free_error(json->yajl, text);
}

static void settle(struct ps_json *json, yajl_status status)
{
    if (status == yajl_status_client_canceled) {
        json->err = PS_ECANCELED;
        json->failed_at = json->before + yajl_get_bytes_consumed(json->yajl);
    } else if (status == yajl_status_error) {
        fail(json);
    }
}

static void feed_piece(struct ps_json *json, struct ps_str piece)
{
    json->armed = true;
    if (setjmp(json->out) == 0) {
        settle(json, yajl_parse(json->yajl, (const unsigned char *)piece.ptr, piece.len));
    }
    json->armed = false;
    json->before += json->err == PS_OK ? piece.len : 0;
}

static int hold(struct ps_json *json, struct ps_str bytes)
{
    int err = ps_budget_take(json->budget, bytes.len);
    if (err != PS_OK) {
        return err;
    }
    err = ps_buf_append_str(&json->held, bytes);
    if (err != PS_OK) {
        ps_budget_give(json->budget, bytes.len);
    }
    return err;
}

static void flush(struct ps_json *json)
{
    if (json->held.len > 0) {
        feed_piece(json, ps_buf_str(&json->held));
        drop_held(json);
    }
}

int ps_json_feed(struct ps_json *json, struct ps_str bytes)
{
    if (json->err != PS_OK) {
        return json->err;
    }
    size_t need = json->before > HOLD_MIN ? (size_t)json->before : HOLD_MIN;
    if (json->held.len == 0 && bytes.len >= need) {
        feed_piece(json, bytes);
        return json->err;
    }
    json->err = hold(json, bytes);
    if (json->err == PS_OK && json->held.len >= need) {
        flush(json);
    }
    return json->err;
}

int ps_json_end(struct ps_json *json)
{
    if (json->err == PS_OK) {
        flush(json);
    }
    if (json->err != PS_OK) {
        return json->err;
    }
    json->armed = true;
    if (setjmp(json->out) == 0) {
        /* The space that yajl feeds itself here is not part of the text. */
        yajl_status status = yajl_complete_parse(json->yajl);
        /* Behind a document yajl lets a string pass that never ends. A quote ends it, and then it
         * is garbage; where there is none it begins one. */
        const unsigned char quote[] = {'"'};
        status = status == yajl_status_ok ? yajl_parse(json->yajl, quote, 1) : status;
        settle(json, status);
        json->failed_at = json->before;
    }
    json->armed = false;
    return json->err;
}

uint64_t ps_json_offset(const struct ps_json *json)
{
    return json->err == PS_OK ? json->before + yajl_get_bytes_consumed(json->yajl)
                              : json->failed_at;
}

const char *ps_json_reason(const struct ps_json *json)
{
    return json->reason == NULL ? "malformed JSON" : json->reason;
}
