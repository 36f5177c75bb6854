/* The part of items that takes answers apart; see items.h. */
#include "gateway/items.h"

#include <stdlib.h>

#include "base/check.h"
#include "gateway/items_frame.h"
#include "gateway/items_vector.h"

/* An item in the answer. Its number stands between the two. */
struct slot {
    struct ps_str before; /* ptr NULL = not found yet */
    struct ps_str behind;
};

struct ps_items_split {
    enum ps_items_form form;
    struct ps_budget *budget;
    size_t taken; /* from the budget */
    struct ps_buf answer;
    struct ps_items_frame frame; /* into the answer */
    int err;                     /* sticky */
    size_t count;
    struct slot *slots; /* count */
    uint64_t weights[]; /* count + 1: what all before it weigh */
};

/* ---------------------------------------------------------------- life */

static int make_slots(struct ps_items_split *split, const uint32_t *weights)
{
    split->slots = calloc(split->count, sizeof *split->slots);
    if (split->slots == NULL) {
        return PS_ENOMEM;
    }
    for (size_t i = 0; i < split->count; i++) {
        uint32_t weight = weights == NULL || weights[i] == 0 ? 1 : weights[i];
        split->weights[i + 1] = split->weights[i] + weight;
    }
    return PS_OK;
}

int ps_items_split_new(struct ps_items_split **out, enum ps_items_form form,
                       const uint32_t *weights, size_t count, size_t limit,
                       struct ps_budget *budget)
{
    PS_CHECK(count >= 1 && count <= PS_ITEMS_MAX);
    struct ps_items_split *split =
        calloc(1, sizeof *split + (count + 1) * sizeof split->weights[0]);
    if (split == NULL) {
        return PS_ENOMEM;
    }
    split->form = form;
    split->budget = budget;
    split->answer = ps_buf_make(limit);
    split->count = count;
    int err = make_slots(split, weights);
    if (err != PS_OK) {
        ps_items_split_free(split);
        return err;
    }
    *out = split;
    return PS_OK;
}

static void drop_answer(struct ps_items_split *split)
{
    ps_budget_give(split->budget, split->taken);
    split->taken = 0;
    ps_buf_fini(&split->answer);
}

void ps_items_split_free(struct ps_items_split *split)
{
    if (split != NULL) {
        drop_answer(split);
        free(split->slots);
        free(split);
    }
}

static int fail(struct ps_items_split *split, int err)
{
    split->err = err;
    drop_answer(split);
    return err;
}

int ps_items_split_feed(struct ps_items_split *split, struct ps_str bytes)
{
    if (split->err != PS_OK) {
        return split->err;
    }
    size_t before = split->answer.cap;
    int err = ps_buf_append_str(&split->answer, bytes);
    size_t grown = split->answer.cap - before;
    if (err == PS_OK && grown > 0) {
        err = ps_budget_take(split->budget, grown);
        split->taken += err == PS_OK ? grown : 0;
    }
    return err == PS_OK ? PS_OK : fail(split, err);
}

/* ---------------------------------------------------------------- reading */

/* An item says which it is; where it does not, its place does. Each comes exactly once. */
static int place(struct ps_items_split *split, const struct ps_items_one *one, size_t nth)
{
    uint64_t index = split->form == PS_ITEMS_OPENAI ? one->index : nth;
    if (index >= split->count || split->slots[index].before.ptr != NULL) {
        return PS_EPARSE;
    }
    split->slots[index] = (struct slot){one->before, one->behind};
    return PS_OK;
}

static int read_items(struct ps_items_split *split)
{
    struct ps_str rest = split->frame.list;
    struct ps_items_one one;
    size_t found = 0;
    while (ps_items_frame_next(split->form, &rest, found == 0, &one)) {
        if (found == split->count || place(split, &one, found) != PS_OK) {
            return PS_EPARSE;
        }
        found++;
    }
    return rest.len == 0 && found == split->count ? PS_OK : PS_EPARSE;
}

int ps_items_split_end(struct ps_items_split *split)
{
    int err = split->err;
    err = err != PS_OK
              ? err
              : ps_items_frame_read(&split->frame, split->form, ps_buf_str(&split->answer));
    err = err != PS_OK ? err : ps_items_frame_check(&split->frame);
    err = err != PS_OK ? err : read_items(split);
    return err == PS_OK ? PS_OK : fail(split, err);
}

/* ---------------------------------------------------------------- shares */

/* total * part / whole, rounded down; part <= whole < 2^48, total <= 2^53. */
static uint64_t scale(uint64_t total, uint64_t part, uint64_t whole)
{
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)((wide)total * part / whole);
}

/* What the items before the i-th get together: the difference of two of these is a share, so shares
 * add up whatever the rounding. Everyone gets 1 first, and what weighs more than 1 shares the rest,
 * so that weights that are the very counts come out as they are. */
static uint64_t share_before(const struct ps_items_split *split, uint64_t total, size_t i)
{
    uint64_t count = split->count;
    uint64_t whole = split->weights[count];
    if (total < count) {
        return scale(total, split->weights[i], whole);
    }
    uint64_t rest = total - count;
    return i + (whole > count ? scale(rest, split->weights[i] - i, whole - count)
                              : scale(rest, i, count));
}

uint64_t ps_items_split_share(const struct ps_items_split *split, uint64_t total, size_t i)
{
    PS_CHECK(i < split->count && total <= PS_ITEMS_COUNT_MAX);
    return share_before(split, total, i + 1) - share_before(split, total, i);
}

bool ps_items_split_tokens(const struct ps_items_split *split, uint64_t *out)
{
    if (split->frame.tokens == SIZE_MAX) {
        return false;
    }
    *out = split->frame.blanks[split->frame.tokens].count;
    return true;
}

/* ---------------------------------------------------------------- pieces */

static int write_item(const struct ps_items_split *split, size_t i, struct ps_buf *out)
{
    const struct slot *slot = &split->slots[i];
    size_t start = out->len;
    int err = ps_buf_append_str(out, slot->before);
    if (err == PS_OK && split->form == PS_ITEMS_OPENAI) {
        err = ps_buf_append_str(out, PS_STR("0"));
    }
    err = err != PS_OK ? err : ps_buf_append_str(out, slot->behind);
    return err != PS_OK ? err : ps_items_vector_check(ps_str_skip(ps_buf_str(out), start));
}

int ps_items_split_piece(const struct ps_items_split *split, size_t i, struct ps_buf *out)
{
    PS_CHECK(split->err == PS_OK && i < split->count);
    const struct ps_items_frame *frame = &split->frame;
    uint64_t counts[PS_ITEMS_COUNTS_MAX] = {0};
    for (size_t k = 0; k < frame->blanks_count; k++) {
        if (frame->blanks[k].counts) {
            counts[k] = ps_items_split_share(split, frame->blanks[k].count, i);
        }
    }
    size_t before = out->len;
    size_t most = frame->head.len + frame->tail.len + split->slots[i].before.len +
                  split->slots[i].behind.len + 1; /* a share is no longer than what is shared */
    int err = ps_buf_reserve(out, most);
    err = err != PS_OK ? err : ps_items_frame_write(frame, frame->head, counts, out);
    err = err != PS_OK ? err : write_item(split, i, out);
    err = err != PS_OK ? err : ps_items_frame_write(frame, frame->tail, counts, out);
    if (err != PS_OK) {
        out->len = before;
    }
    return err;
}
