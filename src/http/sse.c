/* sse - see sse.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http/sse.h"

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* A buffer larger than this is given back to the system after its event: most streams are idle. */
#define KEPT_BYTES 4096u

void ps_sse_init(struct ps_sse *sse, size_t max_event_bytes)
{
    *sse = (struct ps_sse){.held = ps_buf_make(max_event_bytes), .joined = ps_buf_make(SIZE_MAX)};
}

void ps_sse_fini(struct ps_sse *sse)
{
    ps_buf_fini(&sse->held);
    ps_buf_fini(&sse->joined);
}

/* The first CR or LF in [p, end), or end. */
static const char *find_line_end(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i cr = _mm_set1_epi8('\r');
    const __m128i lf = _mm_set1_epi8('\n');
    for (; end - p >= 16; p += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(bytes, cr), _mm_cmpeq_epi8(bytes, lf));
        unsigned hits = (unsigned)_mm_movemask_epi8(hit);
        if (hits != 0) {
            return p + __builtin_ctz(hits);
        }
    }
#endif
    while (p < end && *p != '\r' && *p != '\n') {
        p++;
    }
    return p;
}

/* Behind the line end at p: CR LF counts as one if both are there. */
static const char *skip_line_end(const char *p, const char *end)
{
    bool pair = *p == '\r' && end - p >= 2 && p[1] == '\n';
    return p + (pair ? 2 : 1);
}

/* Looks for the blank line that ends the event. Returns the bytes up to and with it, or 0 when the
 * input ends before; the state goes on from piece to piece. */
static size_t find_event_end(struct ps_sse *sse, struct ps_str input)
{
    const char *p = input.ptr;
    const char *end = input.ptr + input.len;
    if (sse->after_cr && p < end && *p == '\n') {
        p++;
        sse->after_cr = false;
    }
    while (p < end) {
        const char *feed = find_line_end(p, end);
        sse->line_has_bytes = sse->line_has_bytes || feed > p;
        sse->after_cr = false;
        if (feed == end) {
            return 0;
        }
        bool blank = !sse->line_has_bytes;
        p = skip_line_end(feed, end);
        sse->line_has_bytes = false;
        sse->after_cr = p == end && p[-1] == '\r';
        if (blank) {
            return (size_t)(p - input.ptr);
        }
    }
    return 0;
}

/* "name: value" of a line; a comment has an empty name. */
static struct ps_str field_name(struct ps_str line, struct ps_str *value)
{
    size_t colon = ps_str_find(line, ':');
    *value = ps_str_skip(line, colon + 1);
    if (value->len > 0 && value->ptr[0] == ' ') {
        *value = ps_str_skip(*value, 1);
    }
    return ps_str_first(line, colon);
}

/* One more data line: a view while it is the only one. */
static int add_data(struct ps_sse *sse, struct ps_str value, struct ps_sse_event *out)
{
    if (!out->has_data) {
        out->has_data = true;
        out->data = value;
        return PS_OK;
    }
    int err = PS_OK;
    if (sse->joined.len == 0) {
        err = ps_buf_append_str(&sse->joined, out->data);
    }
    if (err == PS_OK) {
        err = ps_buf_append(&sse->joined, "\n", 1);
    }
    if (err == PS_OK) {
        err = ps_buf_append_str(&sse->joined, value);
    }
    out->data = ps_buf_str(&sse->joined);
    return err;
}

static struct ps_str skip_mark(struct ps_sse *sse, struct ps_str raw)
{
    bool mark = !sse->started && ps_str_starts_with(raw, PS_STR("\xef\xbb\xbf"));
    sse->started = true;
    return ps_str_skip(raw, mark ? 3 : 0);
}

/* Fills in what the lines of a whole event say. */
static int read_event(struct ps_sse *sse, struct ps_str raw, struct ps_sse_event *out)
{
    struct ps_str rest = skip_mark(sse, raw);
    const char *end = rest.ptr + rest.len;
    for (const char *p = rest.ptr; p < end;) {
        const char *feed = find_line_end(p, end);
        struct ps_str value;
        struct ps_str name = field_name((struct ps_str){p, (size_t)(feed - p)}, &value);
        if (ps_str_eq(name, PS_STR("data"))) {
            int err = add_data(sse, value, out);
            if (err != PS_OK) {
                return err;
            }
        } else if (ps_str_eq(name, PS_STR("event"))) {
            out->event = value;
        }
        p = feed == end ? end : skip_line_end(feed, end);
    }
    return PS_OK;
}

static enum ps_sse_result event_result(struct ps_sse *sse, struct ps_str raw,
                                       struct ps_sse_event *out)
{
    out->raw = raw;
    if (read_event(sse, raw, out) == PS_OK) {
        return PS_SSE_EVENT;
    }
    *out = (struct ps_sse_event){.raw = raw, .last = true};
    return PS_SSE_PASS;
}

/* Bytes of an event that is larger than the bound; `len` is 0 when its end is not in the input. */
static enum ps_sse_result pass_result(struct ps_sse *sse, struct ps_str *input, size_t len,
                                      struct ps_sse_event *out)
{
    out->last = len > 0;
    out->raw = ps_str_first(*input, len > 0 ? len : input->len);
    *input = ps_str_skip(*input, out->raw.len);
    sse->passing = !out->last;
    sse->started = true;
    return PS_SSE_PASS;
}

static void drop_given(struct ps_sse *sse)
{
    if (sse->held_given) {
        ps_buf_clear(&sse->held);
        sse->held_given = false;
        if (sse->held.cap > KEPT_BYTES) {
            ps_buf_fini(&sse->held);
        }
    }
    ps_buf_clear(&sse->joined);
    if (sse->joined.cap > KEPT_BYTES) {
        ps_buf_fini(&sse->joined);
    }
}

/* Goes on with an event that is cut. */
static enum ps_sse_result hold(struct ps_sse *sse, struct ps_str *input, size_t len,
                               struct ps_sse_event *out)
{
    struct ps_str piece = ps_str_first(*input, len > 0 ? len : input->len);
    if (ps_buf_append_str(&sse->held, piece) != PS_OK) {
        sse->passing = true;
        if (sse->held.len == 0) {
            return pass_result(sse, input, len, out);
        }
        sse->held_given = true;
        out->raw = ps_buf_str(&sse->held);
        return PS_SSE_PASS;
    }
    *input = ps_str_skip(*input, piece.len);
    if (len == 0) {
        return PS_SSE_MORE;
    }
    sse->held_given = true;
    return event_result(sse, ps_buf_str(&sse->held), out);
}

enum ps_sse_result ps_sse_next(struct ps_sse *sse, struct ps_str *input, struct ps_sse_event *out)
{
    drop_given(sse);
    *out = (struct ps_sse_event){.event = PS_STR("")};
    if (input->len == 0) {
        return PS_SSE_MORE;
    }
    bool line_had_bytes = sse->line_has_bytes;
    bool was_after_cr = sse->after_cr;
    size_t len = find_event_end(sse, *input);
    if (sse->passing) {
        return pass_result(sse, input, len, out);
    }
    if (len > 0 && sse->held.len == 0) {
        struct ps_str raw = ps_str_first(*input, len);
        *input = ps_str_skip(*input, len);
        return event_result(sse, raw, out);
    }
    enum ps_sse_result result = hold(sse, input, len, out);
    if (sse->held_given && sse->passing) {
        /* The input was not used: it is looked at again, from where we were. */
        sse->line_has_bytes = line_had_bytes;
        sse->after_cr = was_after_cr;
    }
    return result;
}

struct ps_str ps_sse_rest(const struct ps_sse *sse)
{
    return sse->held_given ? PS_STR("") : ps_buf_str(&sse->held);
}
