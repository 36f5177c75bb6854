#include "gateway/items_frame.h"

#include "gateway/json.h"
#include "gateway/json_view.h"

enum { DEPTH_MAX = 4 /* objects inside usage */ };

/* Which names of the top have been there: none may come twice. */
enum { SEEN_DATA = 1, SEEN_USAGE = 2, SEEN_ID = 4, SEEN_CREATED = 8 };

/* ---------------------------------------------------------------- reading */

static bool is_container(char type)
{
    return type == '{' || type == '[';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A whole number in its only spelling. */
static int read_count(struct ps_str text, uint64_t *out)
{
    uint64_t count = 0;
    if ((text.len > 1 && text.ptr[0] == '0') || ps_str_to_u64(text, &count) != PS_OK ||
        count > PS_ITEMS_COUNT_MAX) {
        return PS_EPARSE;
    }
    *out = count;
    return PS_OK;
}

static int add_blank(struct ps_items_frame *frame, struct ps_str text, bool counts)
{
    struct ps_items_blank blank = {.text = text, .counts = counts};
    int err = counts ? read_count(text, &blank.count) : PS_OK;
    if (err != PS_OK || frame->blanks_count == PS_ITEMS_COUNTS_MAX) {
        return PS_EPARSE;
    }
    frame->blanks[frame->blanks_count++] = blank;
    return PS_OK;
}

/* The prompts' tokens are what counts, the total is all there is where they are not told apart. */
static void note_tokens(struct ps_items_frame *frame, struct ps_str name)
{
    bool prompt =
        ps_str_eq(name, PS_STR("prompt_tokens")) || ps_str_eq(name, PS_STR("input_tokens"));
    if (prompt || (frame->tokens == SIZE_MAX && ps_str_eq(name, PS_STR("total_tokens")))) {
        frame->tokens = frame->blanks_count - 1;
    }
}

/* All numbers of usage are counts. A list has no sum. */
static int read_usage(struct ps_items_frame *frame, struct ps_str usage, unsigned depth)
{
    struct ps_str rest = ps_json_view_inside(usage);
    struct ps_str name;
    struct ps_str value;
    int err = depth < DEPTH_MAX ? PS_OK : PS_EPARSE;
    while (err == PS_OK && ps_json_view_next_member(&rest, &name, &value)) {
        char type = ps_json_view_type(value);
        if (type == '[') {
            err = PS_EPARSE;
        } else if (type == '{') {
            err = read_usage(frame, value, depth + 1);
        } else if (is_digit(type) || type == '-') {
            err = add_blank(frame, value, true);
            if (err == PS_OK && depth == 0) {
                note_tokens(frame, name);
            }
        }
    }
    return err;
}

static unsigned name_bit(struct ps_str name)
{
    static const struct {
        struct ps_str name;
        unsigned bit;
    } known[] = {
        {PS_STR_INIT("data"), SEEN_DATA},
        {PS_STR_INIT("usage"), SEEN_USAGE},
        {PS_STR_INIT("id"), SEEN_ID},
        {PS_STR_INIT("created"), SEEN_CREATED},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (ps_str_eq(name, known[i].name)) {
            return known[i].bit;
        }
    }
    return 0;
}

/* Cuts the answer around the list. */
static int cut(struct ps_items_frame *frame, struct ps_str answer, struct ps_str list)
{
    if (list.len < 2 || ps_json_view_type(list) != '[') {
        return PS_EPARSE;
    }
    size_t at = (size_t)(list.ptr - answer.ptr);
    frame->head = ps_str_first(answer, at + 1);
    frame->list = ps_json_view_trim(ps_json_view_inside(list));
    frame->tail = ps_str_skip(answer, at + list.len - 1);
    return frame->head.len + frame->tail.len <= PS_ITEMS_FRAME_MAX ? PS_OK : PS_EPARSE;
}

static int read_member(struct ps_items_frame *frame, struct ps_str answer, unsigned bit,
                       struct ps_str value)
{
    switch (bit) {
    case SEEN_DATA:
        return cut(frame, answer, value);
    case SEEN_USAGE:
        return ps_json_view_type(value) == '{' ? read_usage(frame, value, 0) : PS_OK;
    case SEEN_ID:
    case SEEN_CREATED:
        return is_container(ps_json_view_type(value)) ? PS_EPARSE : add_blank(frame, value, false);
    default:
        return PS_OK;
    }
}

static int read_object(struct ps_items_frame *frame, struct ps_str answer)
{
    struct ps_str rest = ps_json_view_inside(answer);
    struct ps_str name;
    struct ps_str value;
    unsigned seen = 0;
    int err = ps_json_view_type(answer) == '{' ? PS_OK : PS_EPARSE;
    while (err == PS_OK && ps_json_view_next_member(&rest, &name, &value)) {
        unsigned bit = name_bit(name);
        bool odd = (seen & bit) != 0 || ps_str_find(name, '\\') < name.len;
        seen |= bit;
        err = odd ? PS_EPARSE : read_member(frame, answer, bit, value);
    }
    return err == PS_OK && (seen & SEEN_DATA) == 0 ? PS_EPARSE : err;
}

int ps_items_frame_read(struct ps_items_frame *frame, enum ps_items_form form, struct ps_str answer)
{
    frame->blanks_count = 0;
    frame->tokens = SIZE_MAX;
    answer = ps_json_view_trim(answer);
    switch (form) {
    case PS_ITEMS_OPENAI:
        return read_object(frame, answer);
    case PS_ITEMS_TEI:
        return cut(frame, answer, answer);
    case PS_ITEMS_NONE:
        break;
    }
    return PS_EPARSE;
}

int ps_items_frame_check(const struct ps_items_frame *frame)
{
    static const yajl_callbacks none = {.yajl_null = NULL};
    struct ps_json *json = NULL;
    int err = ps_json_new(&json, &none, NULL, NULL);
    if (err == PS_OK) {
        err = ps_json_feed(json, frame->head);
        err = err != PS_OK ? err : ps_json_feed(json, frame->tail);
        err = err != PS_OK ? err : ps_json_end(json);
        ps_json_free(json);
    }
    return err;
}

/* ---------------------------------------------------------------- items */

/* Finds `index` in an item, and that it is a vector and no report of an error. */
static bool read_one(struct ps_items_one *one)
{
    struct ps_str rest = ps_json_view_inside(one->text);
    struct ps_str name;
    struct ps_str value;
    size_t indexes = 0;
    size_t vectors = 0;
    while (ps_json_view_next_member(&rest, &name, &value)) {
        if (ps_str_eq(name, PS_STR("index"))) {
            size_t at = (size_t)(value.ptr - one->text.ptr);
            one->before = ps_str_first(one->text, at);
            one->behind = ps_str_skip(one->text, at + value.len);
            indexes += read_count(value, &one->index) == PS_OK ? 1 : 2;
        } else if (ps_str_eq(name, PS_STR("embedding"))) {
            char type = ps_json_view_type(value);
            vectors += type == '[' || type == '"' ? 1 : 2;
        } else if (ps_str_find(name, '\\') < name.len || ps_str_eq(name, PS_STR("error"))) {
            return false;
        }
    }
    return indexes == 1 && vectors == 1;
}

bool ps_items_frame_next(enum ps_items_form form, struct ps_str *rest, bool first,
                         struct ps_items_one *one)
{
    struct ps_str after = *rest;
    bool comma = ps_json_view_type(*rest) == ',';
    if (rest->len == 0 || comma == first || !ps_json_view_next_item(&after, &one->text)) {
        return false;
    }
    one->index = 0;
    one->before = one->text;
    one->behind = PS_STR("");
    bool sound = form != PS_ITEMS_OPENAI || (ps_json_view_type(one->text) == '{' && read_one(one));
    *rest = sound ? after : *rest;
    return sound;
}

/* ---------------------------------------------------------------- two of them */

/* The next stretch of head or tail: fixed text, then a blank (or none, at the end). */
static const struct ps_items_blank *next_blank(const struct ps_items_frame *frame, size_t *at,
                                               struct ps_str *part, struct ps_str *fixed)
{
    const struct ps_items_blank *blank = &frame->blanks[*at];
    bool inside = *at < frame->blanks_count && blank->text.ptr >= part->ptr &&
                  blank->text.ptr < part->ptr + part->len;
    size_t len = inside ? (size_t)(blank->text.ptr - part->ptr) : part->len;
    *fixed = ps_str_first(*part, len);
    *part = ps_str_skip(*part, len + (inside ? blank->text.len : 0));
    *at += inside;
    return inside ? blank : NULL;
}

static bool agree_on(const struct ps_items_frame *a, struct ps_str part_a, size_t *at_a,
                     const struct ps_items_frame *b, struct ps_str part_b, size_t *at_b)
{
    for (;;) {
        struct ps_str fixed_a;
        struct ps_str fixed_b;
        const struct ps_items_blank *blank_a = next_blank(a, at_a, &part_a, &fixed_a);
        const struct ps_items_blank *blank_b = next_blank(b, at_b, &part_b, &fixed_b);
        if (!ps_str_eq(fixed_a, fixed_b) || (blank_a == NULL) != (blank_b == NULL)) {
            return false;
        }
        if (blank_a == NULL) {
            return true;
        }
        if (blank_a->counts != blank_b->counts) {
            return false;
        }
    }
}

bool ps_items_frame_agree(const struct ps_items_frame *a, const struct ps_items_frame *b)
{
    size_t at_a = 0;
    size_t at_b = 0;
    return agree_on(a, a->head, &at_a, b, b->head, &at_b) &&
           agree_on(a, a->tail, &at_a, b, b->tail, &at_b);
}

int ps_items_frame_write(const struct ps_items_frame *frame, struct ps_str part,
                         const uint64_t *counts, struct ps_buf *out)
{
    size_t at = 0;
    while (at < frame->blanks_count && frame->blanks[at].text.ptr < part.ptr) {
        at++;
    }
    for (;;) {
        struct ps_str fixed;
        size_t which = at;
        const struct ps_items_blank *blank = next_blank(frame, &at, &part, &fixed);
        int err = ps_buf_append_str(out, fixed);
        if (err != PS_OK || blank == NULL) {
            return err;
        }
        err = blank->counts ? ps_buf_append_u64(out, counts[which])
                            : ps_buf_append_str(out, blank->text);
        if (err != PS_OK) {
            return err;
        }
    }
}
