/* The part of items that puts answers together; see items.h. */
#include "gateway/items.h"

#include <stdlib.h>

#include "base/check.h"
#include "gateway/items_frame.h"

/* What of an item is sent: its number stands between the two. */
struct slot {
    struct ps_str before; /* ptr NULL = not put yet */
    struct ps_str behind;
};

/* What comes next. */
enum step { AT_HEAD, AT_COMMA, AT_BEFORE, AT_INDEX, AT_BEHIND, AT_TAIL, AT_END };

struct ps_items_join {
    enum ps_items_form form;
    bool framed;                 /* a piece was put */
    struct ps_items_frame frame; /* of the piece that was put first */
    uint64_t counts[PS_ITEMS_COUNTS_MAX];
    struct ps_buf head; /* with the sums */
    struct ps_buf tail;
    enum step step;
    size_t at; /* the item that is being sent */
    char digits[24];
    size_t count;
    size_t put;
    struct slot slots[]; /* count */
};

int ps_items_join_new(struct ps_items_join **out, enum ps_items_form form, size_t count)
{
    PS_CHECK(count >= 1 && count <= PS_ITEMS_MAX);
    struct ps_items_join *join = calloc(1, sizeof *join + count * sizeof join->slots[0]);
    if (join == NULL) {
        return PS_ENOMEM;
    }
    join->form = form;
    join->count = count;
    /* A count may become longer, but not by more than its digits. */
    size_t limit = PS_ITEMS_FRAME_MAX + PS_ITEMS_COUNTS_MAX * sizeof join->digits;
    join->head = ps_buf_make(limit);
    join->tail = ps_buf_make(limit);
    *out = join;
    return PS_OK;
}

void ps_items_join_free(struct ps_items_join *join)
{
    if (join != NULL) {
        ps_buf_fini(&join->head);
        ps_buf_fini(&join->tail);
        free(join);
    }
}

/* ---------------------------------------------------------------- putting */

/* The one item of a piece. */
static int read_piece(const struct ps_items_join *join, struct ps_str piece,
                      struct ps_items_frame *frame, struct ps_items_one *one)
{
    int err = ps_items_frame_read(frame, join->form, piece);
    if (err != PS_OK) {
        return err;
    }
    struct ps_str rest = frame->list;
    bool alone = ps_items_frame_next(join->form, &rest, true, one) && rest.len == 0;
    return alone && one->index == 0 ? PS_OK : PS_EPARSE;
}

static int add_counts(struct ps_items_join *join, const struct ps_items_frame *frame)
{
    for (size_t k = 0; k < frame->blanks_count; k++) {
        join->counts[k] += frame->blanks[k].count;
        if (join->counts[k] > PS_ITEMS_COUNT_MAX) {
            return PS_EPARSE;
        }
    }
    return PS_OK;
}

int ps_items_join_put(struct ps_items_join *join, size_t i, struct ps_str piece)
{
    PS_CHECK(i < join->count && join->slots[i].before.ptr == NULL);
    struct ps_items_frame frame;
    struct ps_items_one one;
    int err = read_piece(join, piece, &frame, &one);
    if (err == PS_OK && !join->framed) {
        err = ps_items_frame_check(&frame);
        join->frame = frame;
        join->framed = true;
    } else if (err == PS_OK && !ps_items_frame_agree(&join->frame, &frame)) {
        err = PS_EPARSE;
    }
    err = err != PS_OK ? err : add_counts(join, &frame);
    if (err == PS_OK) {
        join->slots[i] = (struct slot){one.before, one.behind};
        join->put++;
    }
    return err;
}

/* ---------------------------------------------------------------- the answer */

static size_t digits_of(uint64_t number)
{
    size_t digits = 1;
    while (number >= 10) {
        number /= 10;
        digits++;
    }
    return digits;
}

int ps_items_join_end(struct ps_items_join *join, uint64_t *length)
{
    PS_CHECK(join->put == join->count && join->head.len == 0);
    int err = ps_items_frame_write(&join->frame, join->frame.head, join->counts, &join->head);
    err = err != PS_OK
              ? err
              : ps_items_frame_write(&join->frame, join->frame.tail, join->counts, &join->tail);
    if (err != PS_OK) {
        return err;
    }
    uint64_t sum = join->head.len + join->tail.len + join->count - 1;
    for (size_t i = 0; i < join->count; i++) {
        sum += join->slots[i].before.len + join->slots[i].behind.len;
        sum += join->form == PS_ITEMS_OPENAI ? digits_of(i) : 0;
    }
    *length = sum;
    return PS_OK;
}

static struct ps_str write_index(struct ps_items_join *join)
{
    if (join->form != PS_ITEMS_OPENAI) {
        return PS_STR("");
    }
    size_t len = digits_of(join->at);
    size_t number = join->at;
    for (size_t i = len; i-- > 0; number /= 10) {
        join->digits[i] = (char)('0' + number % 10);
    }
    return (struct ps_str){join->digits, len};
}

/* One step; some have nothing to send. */
static struct ps_str step(struct ps_items_join *join)
{
    switch (join->step++) {
    case AT_HEAD:
        return ps_buf_str(&join->head);
    case AT_COMMA:
        return join->at > 0 ? PS_STR(",") : PS_STR("");
    case AT_BEFORE:
        return join->slots[join->at].before;
    case AT_INDEX:
        return write_index(join);
    case AT_BEHIND:
        break;
    case AT_TAIL:
        return ps_buf_str(&join->tail);
    case AT_END:
        join->step = AT_END;
        return PS_STR("");
    }
    struct ps_str behind = join->slots[join->at].behind;
    join->at++;
    join->step = join->at < join->count ? AT_COMMA : AT_TAIL;
    return behind;
}

bool ps_items_join_next(struct ps_items_join *join, struct ps_str *view)
{
    while (join->step != AT_END) {
        *view = step(join);
        if (view->len > 0) {
            return true;
        }
    }
    return false;
}
