#include "gateway/canon.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"

enum { DIGEST_ENCODING = 1 + PS_CANON_DIGEST, HEAD = 5 /* tag and length of a string or number */ };

struct member {
    size_t at;       /* its encoding in `out`: name, value */
    size_t name_len; /* of the name's encoding */
    size_t len;      /* of both */
    bool left_out;
};

struct frame {
    bool object;
    bool items;          /* the array whose items are encoded one by one */
    size_t start;        /* of its encoding in `out` */
    size_t first_member; /* objects */
    EVP_MD_CTX *hash;    /* arrays, once they are longer than PS_CANON_INLINE */
};

/* Growing bytes that count against the budget. */
struct counted {
    struct ps_buf buf;
    size_t taken;
};

struct ps_canon {
    struct ps_canon_opts opts;
    EVP_MD_CTX *once; /* for digests that begin and end in one call */
    const char *reason;
    struct counted out;      /* encodings of what is open, one behind the other */
    struct counted members;  /* struct member */
    struct counted items;    /* encodings */
    struct counted item_end; /* size_t: where each ends */
    size_t item_numbers;     /* how many of the items are numbers */
    bool is_number;          /* the value that was just written is one */
    bool text_hashed;        /* the text being read is a long one: it goes into `once` */
    size_t text_start;       /* its encoding in `out` */
    bool item_member;        /* the member being read is the one with the items */
    bool ignoring;           /* the member being read is left out */
    uint32_t ignored_depth;  /* containers open inside it */
    uint32_t depth;
    struct frame frames[PS_CANON_DEPTH_MAX];
};

/* ---------------------------------------------------------------- bytes and digests */

static int append(struct ps_canon *canon, struct counted *to, const void *bytes, size_t len)
{
    size_t before = to->buf.cap;
    int err = ps_buf_append(&to->buf, bytes, len);
    size_t grown = to->buf.cap - before;
    if (err == PS_OK && grown > 0) {
        err = ps_budget_take(canon->opts.budget, grown);
        to->taken += err == PS_OK ? grown : 0;
    }
    return err;
}

static int put(struct ps_canon *canon, const void *bytes, size_t len)
{
    return append(canon, &canon->out, bytes, len);
}

static void counted_fini(struct ps_canon *canon, struct counted *counted)
{
    ps_budget_give(canon->opts.budget, counted->taken);
    ps_buf_fini(&counted->buf);
}

static int begin_hash(struct ps_canon *canon, EVP_MD_CTX *hash)
{
    return EVP_DigestInit_ex2(hash, canon->opts.sha256, NULL) == 1 ? PS_OK : PS_ENOMEM;
}

static void add_hash(EVP_MD_CTX *hash, const void *bytes, size_t len)
{
    PS_CHECK(EVP_DigestUpdate(hash, bytes, len) == 1);
}

/* Ends a digest and puts its encoding behind `out`. */
static int put_hash(struct ps_canon *canon, EVP_MD_CTX *hash)
{
    unsigned char encoding[DIGEST_ENCODING] = {'H'};
    PS_CHECK(EVP_DigestFinal_ex(hash, encoding + 1, NULL) == 1);
    return put(canon, encoding, sizeof encoding);
}

static int refuse(struct ps_canon *canon, const char *reason)
{
    canon->reason = reason;
    return PS_EPARSE;
}

static int limit(struct ps_canon *canon, const char *reason)
{
    canon->reason = reason;
    return PS_ELIMIT;
}

/* What stands in `out` from `start` on becomes its digest if it is long. */
static int shorten(struct ps_canon *canon, size_t start)
{
    size_t len = canon->out.buf.len - start;
    if (len <= PS_CANON_INLINE) {
        return PS_OK;
    }
    int err = begin_hash(canon, canon->once);
    if (err != PS_OK) {
        return err;
    }
    add_hash(canon->once, canon->out.buf.data + start, len);
    canon->out.buf.len = start;
    return put_hash(canon, canon->once);
}

/* ---------------------------------------------------------------- items */

static int add_item(struct ps_canon *canon, size_t start)
{
    canon->item_numbers += canon->is_number;
    struct ps_buf *out = &canon->out.buf;
    int err = append(canon, &canon->items, out->data + start, out->len - start);
    out->len = start;
    size_t end = canon->items.buf.len;
    return err != PS_OK ? err : append(canon, &canon->item_end, &end, sizeof end);
}

/* An array of numbers is one item: token ids. */
static int join_numbers(struct ps_canon *canon, size_t start)
{
    struct ps_buf *items = &canon->items.buf;
    int err = begin_hash(canon, canon->once);
    if (err != PS_OK) {
        return err;
    }
    if (items->len + 2 > PS_CANON_INLINE) {
        add_hash(canon->once, "[", 1);
        add_hash(canon->once, items->data, items->len);
        add_hash(canon->once, "]", 1);
        err = put_hash(canon, canon->once);
    } else {
        err = put(canon, "[", 1);
        err = err != PS_OK ? err : put(canon, items->data, items->len);
        err = err != PS_OK ? err : put(canon, "]", 1);
    }
    items->len = 0;
    canon->item_end.buf.len = 0;
    canon->is_number = false;
    return err != PS_OK ? err : add_item(canon, start);
}

static int close_items(struct ps_canon *canon, const struct frame *frame)
{
    size_t count = ps_canon_items(canon);
    canon->out.buf.len = frame->start;
    if (canon->item_numbers == 0) {
        return PS_OK;
    }
    if (canon->item_numbers < count) {
        return refuse(canon, "numbers among other items");
    }
    return join_numbers(canon, frame->start);
}

/* ---------------------------------------------------------------- values inside others */

static struct frame *top(struct ps_canon *canon)
{
    return canon->depth == 0 ? NULL : &canon->frames[canon->depth - 1];
}

static struct member *member_at(const struct ps_canon *canon, size_t i)
{
    return (struct member *)(void *)canon->members.buf.data + i;
}

static size_t members_count(const struct ps_canon *canon)
{
    return canon->members.buf.len / sizeof(struct member);
}

/* A long array is hashed as it comes. */
static int drain(struct ps_canon *canon, struct frame *frame)
{
    struct ps_buf *out = &canon->out.buf;
    size_t len = out->len - frame->start;
    if (frame->hash == NULL) {
        if (len <= PS_CANON_INLINE) {
            return PS_OK;
        }
        frame->hash = EVP_MD_CTX_new();
        if (frame->hash == NULL || begin_hash(canon, frame->hash) != PS_OK) {
            return PS_ENOMEM;
        }
    }
    add_hash(frame->hash, out->data + frame->start, len);
    out->len = frame->start;
    return PS_OK;
}

static int end_member(struct ps_canon *canon, size_t start, bool item_given)
{
    struct member *member = member_at(canon, members_count(canon) - 1);
    int err = PS_OK;
    if (canon->item_member && canon->depth == 1) {
        err = item_given ? PS_OK : add_item(canon, start);
        canon->item_member = false;
    }
    member->len = canon->out.buf.len - member->at;
    return err;
}

/* A value is complete; it stands in `out` from `start` on. */
static int end_value(struct ps_canon *canon, size_t start, bool item_given)
{
    int err = shorten(canon, start);
    struct frame *frame = top(canon);
    if (err != PS_OK || frame == NULL) {
        return err;
    }
    if (frame->object) {
        return end_member(canon, start, item_given);
    }
    return frame->items ? add_item(canon, start) : drain(canon, frame);
}

/* Is the event part of a member that is left out? Counts its containers. */
static bool is_ignored(struct ps_canon *canon, int opens)
{
    if (!canon->ignoring) {
        return false;
    }
    canon->ignored_depth += (uint32_t)opens;
    canon->ignoring = canon->ignored_depth > 0;
    return true;
}

static int put_scalar(struct ps_canon *canon, const void *bytes, size_t len)
{
    if (is_ignored(canon, 0)) {
        return PS_OK;
    }
    size_t start = canon->out.buf.len;
    canon->is_number = *(const char *)bytes == '#';
    int err = put(canon, bytes, len);
    return err != PS_OK ? err : end_value(canon, start, false);
}

/* ---------------------------------------------------------------- scalars */

int ps_canon_null(struct ps_canon *canon)
{
    return put_scalar(canon, "n", 1);
}

int ps_canon_boolean(struct ps_canon *canon, bool yes)
{
    return put_scalar(canon, yes ? "t" : "f", 1);
}

static void write_head(unsigned char *out, char tag, size_t len)
{
    out[0] = (unsigned char)tag;
    for (unsigned i = 0; i < HEAD - 1; i++) {
        out[1 + i] = (unsigned char)(len >> (8 * i));
    }
}

int ps_canon_number(struct ps_canon *canon, struct ps_str text)
{
    unsigned char encoding[HEAD + PS_CANON_NUMBER_MAX + 32];
    size_t len = ps_canon_write_number(text, (char *)encoding + HEAD);
    if (len == 0) {
        return refuse(canon, "a malformed number, or one with too many digits");
    }
    write_head(encoding, '#', len);
    return put_scalar(canon, encoding, HEAD + len);
}

/* ---------------------------------------------------------------- text */

void ps_canon_begin_text(struct ps_canon *canon)
{
    canon->text_hashed = false;
    canon->text_start = canon->out.buf.len;
}

static struct ps_str text_so_far(const struct ps_canon *canon)
{
    return ps_str_skip(ps_buf_str(&canon->out.buf), canon->text_start);
}

/* It will not stand for itself: what came so far goes into the digest, and all that follows. */
static int begin_long_text(struct ps_canon *canon)
{
    int err = begin_hash(canon, canon->once);
    if (err != PS_OK) {
        return err;
    }
    struct ps_str held = text_so_far(canon);
    add_hash(canon->once, "\"", 1);
    add_hash(canon->once, held.ptr, held.len);
    canon->out.buf.len = canon->text_start;
    canon->text_hashed = true;
    return PS_OK;
}

int ps_canon_text(struct ps_canon *canon, struct ps_str piece)
{
    if (!canon->text_hashed) {
        if (HEAD + text_so_far(canon).len + piece.len <= PS_CANON_INLINE) {
            return put(canon, piece.ptr, piece.len);
        }
        int err = begin_long_text(canon);
        if (err != PS_OK) {
            return err;
        }
    }
    add_hash(canon->once, piece.ptr, piece.len);
    return PS_OK;
}

/* Makes the text's bytes its encoding. */
static int end_text(struct ps_canon *canon)
{
    if (canon->text_hashed) {
        return put_hash(canon, canon->once);
    }
    unsigned char head[HEAD];
    struct ps_buf *out = &canon->out.buf;
    size_t len = out->len - canon->text_start;
    write_head(head, '"', len);
    int err = put(canon, head, sizeof head); /* for the room */
    if (err == PS_OK) {
        char *at = out->data + canon->text_start;
        memmove(at + sizeof head, at, len);
        memcpy(at, head, sizeof head);
    }
    return err;
}

int ps_canon_end_string(struct ps_canon *canon)
{
    size_t start = canon->text_start;
    if (is_ignored(canon, 0)) {
        canon->out.buf.len = start;
        return PS_OK;
    }
    canon->is_number = false;
    int err = end_text(canon);
    return err != PS_OK ? err : end_value(canon, start, false);
}

/* ---------------------------------------------------------------- containers */

int ps_canon_open(struct ps_canon *canon, bool object)
{
    if (canon->depth + canon->ignored_depth == PS_CANON_DEPTH_MAX) {
        return limit(canon, "nested too deeply");
    }
    if (is_ignored(canon, 1)) {
        return PS_OK;
    }
    bool items = !object && canon->item_member && canon->depth == 1;
    canon->frames[canon->depth++] = (struct frame){
        .object = object,
        .items = items,
        .start = canon->out.buf.len,
        .first_member = members_count(canon),
    };
    return object || items ? PS_OK : put(canon, "[", 1);
}

static bool ignores(const struct ps_canon *canon, struct ps_str name)
{
    for (const struct ps_str *at = canon->opts.ignored; at != NULL && at->ptr != NULL; at++) {
        if (ps_str_eq(*at, name)) {
            return true;
        }
    }
    return false;
}

/* A top-level name: does its value count? Long names are none that we know. */
static void recognise(struct ps_canon *canon)
{
    struct ps_str name = text_so_far(canon);
    if (canon->text_hashed) {
        return;
    }
    canon->ignoring = ignores(canon, name);
    canon->item_member = canon->opts.items.len > 0 && ps_str_eq(canon->opts.items, name);
}

int ps_canon_end_name(struct ps_canon *canon)
{
    if (canon->ignoring) {
        canon->out.buf.len = canon->text_start;
        return PS_OK;
    }
    if (members_count(canon) == PS_CANON_MEMBERS_MAX) {
        return limit(canon, "too many members");
    }
    if (canon->depth == 1) {
        recognise(canon);
    }
    struct member member = {
        .at = canon->text_start,
        .left_out = canon->depth == 1 && (canon->ignoring || canon->item_member),
    };
    int err = end_text(canon);
    member.name_len = canon->out.buf.len - member.at;
    member.len = member.name_len;
    return err != PS_OK ? err : append(canon, &canon->members, &member, sizeof member);
}

static int compare_members(const void *a, const void *b, void *ctx)
{
    const struct member *left = a;
    const struct member *right = b;
    const char *out = ctx;
    size_t len = left->name_len < right->name_len ? left->name_len : right->name_len;
    int order = memcmp(out + left->at, out + right->at, len);
    return order != 0 ? order
                      : (left->name_len > right->name_len) - (left->name_len < right->name_len);
}

/* Most come in an order of their own that is no order; few are many. */
static int sort_members(struct ps_canon *canon, size_t first)
{
    size_t count = members_count(canon) - first;
    char *out = canon->out.buf.data;
    if (count < 2) {
        return PS_OK;
    }
    qsort_r(member_at(canon, first), count, sizeof(struct member), compare_members, out);
    for (size_t i = first + 1; i < first + count; i++) {
        if (compare_members(member_at(canon, i - 1), member_at(canon, i), out) == 0) {
            return refuse(canon, "a member is given twice");
        }
    }
    return PS_OK;
}

static size_t object_bytes(const struct ps_canon *canon, size_t first)
{
    size_t len = 2;
    for (size_t i = first; i < members_count(canon); i++) {
        const struct member *member = member_at(canon, i);
        len += member->left_out ? 0 : member->len;
    }
    return len;
}

/* Short enough to stand for itself: put together beside `out`, then in its place. */
static int put_object(struct ps_canon *canon, const struct frame *frame)
{
    char encoding[PS_CANON_INLINE];
    size_t len = 0;
    encoding[len++] = '{';
    for (size_t i = frame->first_member; i < members_count(canon); i++) {
        const struct member *member = member_at(canon, i);
        if (!member->left_out) {
            memcpy(encoding + len, canon->out.buf.data + member->at, member->len);
            len += member->len;
        }
    }
    encoding[len++] = '}';
    canon->out.buf.len = frame->start;
    return put(canon, encoding, len);
}

static int hash_object(struct ps_canon *canon, const struct frame *frame)
{
    int err = begin_hash(canon, canon->once);
    if (err != PS_OK) {
        return err;
    }
    add_hash(canon->once, "{", 1);
    for (size_t i = frame->first_member; i < members_count(canon); i++) {
        const struct member *member = member_at(canon, i);
        if (!member->left_out) {
            add_hash(canon->once, canon->out.buf.data + member->at, member->len);
        }
    }
    add_hash(canon->once, "}", 1);
    canon->out.buf.len = frame->start;
    return put_hash(canon, canon->once);
}

static int close_object(struct ps_canon *canon, const struct frame *frame)
{
    int err = sort_members(canon, frame->first_member);
    if (err == PS_OK) {
        bool fits = object_bytes(canon, frame->first_member) <= PS_CANON_INLINE;
        err = fits ? put_object(canon, frame) : hash_object(canon, frame);
    }
    canon->members.buf.len = frame->first_member * sizeof(struct member);
    return err;
}

static int close_array(struct ps_canon *canon, struct frame *frame)
{
    if (frame->items) {
        return close_items(canon, frame);
    }
    int err = put(canon, "]", 1);
    if (err != PS_OK || frame->hash == NULL) {
        return err;
    }
    err = drain(canon, frame);
    err = err != PS_OK ? err : put_hash(canon, frame->hash);
    EVP_MD_CTX_free(frame->hash);
    frame->hash = NULL;
    return err;
}

int ps_canon_close(struct ps_canon *canon)
{
    if (is_ignored(canon, -1)) {
        return PS_OK;
    }
    struct frame *frame = top(canon);
    int err = frame->object ? close_object(canon, frame) : close_array(canon, frame);
    if (err != PS_OK) {
        return err;
    }
    canon->depth--;
    canon->is_number = false;
    return end_value(canon, frame->start, frame->items);
}

/* ---------------------------------------------------------------- life */

int ps_canon_new(struct ps_canon **out, const struct ps_canon_opts *opts)
{
    struct ps_canon *canon = malloc(sizeof *canon);
    if (canon == NULL) {
        return PS_ENOMEM;
    }
    memset(canon, 0, offsetof(struct ps_canon, frames));
    canon->opts = *opts;
    struct counted *buffers[] = {&canon->out, &canon->members, &canon->items, &canon->item_end};
    for (size_t i = 0; i < PS_ARRAY_LEN(buffers); i++) {
        buffers[i]->buf = ps_buf_make(SIZE_MAX);
    }
    canon->once = EVP_MD_CTX_new();
    if (canon->once == NULL) {
        free(canon);
        return PS_ENOMEM;
    }
    *out = canon;
    return PS_OK;
}

void ps_canon_free(struct ps_canon *canon)
{
    if (canon == NULL) {
        return;
    }
    for (uint32_t i = 0; i < canon->depth; i++) {
        EVP_MD_CTX_free(canon->frames[i].hash);
    }
    counted_fini(canon, &canon->out);
    counted_fini(canon, &canon->members);
    counted_fini(canon, &canon->items);
    counted_fini(canon, &canon->item_end);
    EVP_MD_CTX_free(canon->once);
    free(canon);
}

struct ps_str ps_canon_encoding(const struct ps_canon *canon)
{
    return ps_buf_str(&canon->out.buf);
}

size_t ps_canon_items(const struct ps_canon *canon)
{
    return canon->item_end.buf.len / sizeof(size_t);
}

struct ps_str ps_canon_item(const struct ps_canon *canon, size_t i)
{
    const size_t *ends = (const size_t *)(const void *)canon->item_end.buf.data;
    size_t start = i == 0 ? 0 : ends[i - 1];
    return (struct ps_str){canon->items.buf.data + start, ends[i] - start};
}

const char *ps_canon_reason(const struct ps_canon *canon)
{
    return canon->reason;
}
