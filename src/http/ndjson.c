#include "http/ndjson.h"

/* A buffer larger than this is given back to the system after its line: most streams are idle. */
#define KEPT_BYTES 4096u

void ps_ndjson_init(struct ps_ndjson *lines, size_t max_line)
{
    *lines = (struct ps_ndjson){.held = ps_buf_make(max_line)};
}

void ps_ndjson_fini(struct ps_ndjson *lines)
{
    ps_buf_fini(&lines->held);
}

static void drop_given(struct ps_ndjson *lines)
{
    if (lines->held_given) {
        ps_buf_clear(&lines->held);
        lines->held_given = false;
        if (lines->held.cap > KEPT_BYTES) {
            ps_buf_fini(&lines->held);
        }
    }
}

static struct ps_str without_cr(struct ps_str line)
{
    return ps_str_ends_with(line, PS_STR("\r")) ? ps_str_first(line, line.len - 1) : line;
}

/* Goes on with a line that is cut; over the bound it is given up, with what was held of it. */
static void hold(struct ps_ndjson *lines, struct ps_str piece)
{
    if (lines->skipping) {
        return;
    }
    bool fits = piece.len <= lines->held.limit - lines->held.len;
    if (!fits || ps_buf_append_str(&lines->held, piece) != PS_OK) {
        lines->skipping = true;
        ps_buf_fini(&lines->held);
    }
}

/* The line whose last bytes are `piece`; empty when it was given up. */
static struct ps_str complete(struct ps_ndjson *lines, struct ps_str piece)
{
    if (lines->held.len > 0 || piece.len > lines->held.limit) {
        hold(lines, piece);
        piece = ps_buf_str(&lines->held);
        lines->held_given = true;
    }
    bool given_up = lines->skipping;
    lines->skipping = false;
    return given_up ? PS_STR("") : without_cr(piece);
}

bool ps_ndjson_next(struct ps_ndjson *lines, struct ps_str *input, struct ps_str *out)
{
    drop_given(lines);
    while (input->len > 0) {
        size_t end = ps_str_find(*input, '\n');
        struct ps_str piece = ps_str_first(*input, end);
        bool whole = end < input->len;
        *input = ps_str_skip(*input, end + 1);
        if (!whole) {
            hold(lines, piece);
            return false;
        }
        *out = complete(lines, piece);
        if (out->len > 0) {
            return true;
        }
        drop_given(lines);
    }
    return false;
}

struct ps_str ps_ndjson_rest(const struct ps_ndjson *lines)
{
    return lines->held_given ? PS_STR("") : without_cr(ps_buf_str(&lines->held));
}
