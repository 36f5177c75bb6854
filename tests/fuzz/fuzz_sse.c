/* fuzz_sse - no byte is lost, and events are the same however the stream is cut.
 *
 * Input: one byte of options (bound of an event), one byte that seeds the cuts, then the stream.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "http/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct ps_sse sse;
    struct ps_buf raw;    /* all raw bytes */
    struct ps_buf events; /* data and names of the events that have some */
};

static void run_init(struct run *run, size_t bound)
{
    *run = (struct run){.raw = ps_buf_make(1u << 24), .events = ps_buf_make(1u << 24)};
    ps_sse_init(&run->sse, bound);
}

static void run_fini(struct run *run)
{
    ps_sse_fini(&run->sse);
    ps_buf_fini(&run->raw);
    ps_buf_fini(&run->events);
}

static void add(struct ps_buf *buf, struct ps_str text)
{
    PS_CHECK(ps_buf_append_str(buf, text) == PS_OK);
}

static void feed(struct run *run, const uint8_t *bytes, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    PS_CHECK(copy != NULL);
    memcpy(copy, bytes, len);
    struct ps_str input = {copy, len};
    struct ps_sse_event event;
    for (;;) {
        enum ps_sse_result result = ps_sse_next(&run->sse, &input, &event);
        if (result == PS_SSE_MORE) {
            break;
        }
        PS_CHECK(event.raw.len > 0);
        add(&run->raw, event.raw);
        if (result == PS_SSE_EVENT && event.has_data) {
            add(&run->events, event.event);
            add(&run->events, PS_STR("\x01"));
            add(&run->events, event.data);
            add(&run->events, PS_STR("\x02"));
        }
    }
    PS_CHECK(input.len == 0);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return -1;
    }
    bool bounded = (data[0] & 1) != 0;
    size_t bound = bounded ? data[0] >> 1 : SIZE_MAX;
    uint64_t random = data[1] * UINT64_C(0x9e3779b97f4a7c15) + 1;
    size_t mask = ((size_t)2 << (data[1] & 7)) - 1;
    const uint8_t *stream = data + 2;
    size -= 2;

    struct run whole;
    run_init(&whole, SIZE_MAX);
    feed(&whole, stream, size);
    add(&whole.raw, ps_sse_rest(&whole.sse));

    struct run pieces;
    run_init(&pieces, bound);
    for (size_t at = 0; at < size;) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        size_t piece = ((size_t)(random >> 40) & mask) + 1;
        piece = piece < size - at ? piece : size - at;
        feed(&pieces, stream + at, piece);
        PS_CHECK(pieces.sse.held.len <= bound);
        at += piece;
    }
    add(&pieces.raw, ps_sse_rest(&pieces.sse));

    const struct ps_str all = {(const char *)stream, size};
    PS_CHECK(ps_str_eq(ps_buf_str(&whole.raw), all));
    PS_CHECK(ps_str_eq(ps_buf_str(&pieces.raw), all));
    PS_CHECK(bounded || ps_str_eq(ps_buf_str(&whole.events), ps_buf_str(&pieces.events)));
    run_fini(&whole);
    run_fini(&pieces);
    return 0;
}
