/* fuzz_ws - bytes of any kind are messages within bounds or the end, however they are cut.
 *
 * Input: one byte of choices (compression; a whole request head instead), then the bytes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "http/h1.h"
#include "http/ws_frame.h"
#include "http/ws_handshake.h"
#include "http/ws_read.h"

enum { MOST = 4096 };

static uint64_t add(uint64_t hash, enum ps_ws_event event, const struct ps_ws_reader *reader)
{
    hash = hash * 31 + (uint64_t)event + reader->payload.len;
    for (size_t i = 0; i < reader->payload.len; i++) {
        hash = hash * 31 + (unsigned char)reader->payload.ptr[i];
    }
    return hash;
}

static void check(enum ps_ws_event event, const struct ps_ws_reader *reader)
{
    bool control = event == PS_WS_PING || event == PS_WS_PONG || event == PS_WS_CLOSE;
    PS_CHECK(reader->payload.len <= (control ? 125 : MOST));
    PS_CHECK(event != PS_WS_ERROR || (reader->reason != NULL && ps_ws_code_is_valid(reader->code)));
    PS_CHECK(event != PS_WS_CLOSE || reader->code == PS_WS_NO_CODE || ps_ws_code_is_valid(reader->code));
}

/* The events may not depend on how the bytes were cut. */
static uint64_t read_frames(struct ps_str input, size_t cut, bool deflate)
{
    struct ps_ws_reader reader;
    uint64_t hash = 0;
    ps_ws_reader_init(&reader, MOST, deflate);
    while (input.len > 0) {
        struct ps_str part = ps_str_first(input, cut);
        enum ps_ws_event event;
        input = ps_str_skip(input, part.len);
        while ((event = ps_ws_read(&reader, &part)) != PS_WS_MORE) {
            check(event, &reader);
            hash = add(hash, event, &reader);
        }
        PS_CHECK(part.len == 0);
    }
    ps_ws_reader_fini(&reader);
    return hash;
}

static void read_handshake(struct ps_str text)
{
    struct ps_h1 h1;
    struct ps_h1_scratch scratch;
    struct ps_h1_limits limits = {.max_head_bytes = 16384, .max_headers = 64};
    struct ps_ws_handshake handshake;
    struct ps_buf out = ps_buf_make(4096);
    PS_CHECK(ps_h1_scratch_init(&scratch, limits.max_headers) == PS_OK);
    ps_h1_init(&h1, PS_H1_REQUEST, &limits, &scratch);
    if (ps_h1_next(&h1, &text) == PS_H1_HEAD) {
        ps_ws_handshake_read(&handshake, ps_h1_head(&h1));
        PS_CHECK(handshake.status == 101 || handshake.reason[0] != '\0');
        PS_CHECK(handshake.status != 101 || ps_ws_handshake_write(&out, &handshake, PS_STR("")) == PS_OK);
    }
    ps_buf_fini(&out);
    ps_h1_fini(&h1);
    ps_h1_scratch_fini(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    char *body = malloc(size - 1); /* its own allocation, so that reading beyond it is seen */
    PS_CHECK(body != NULL);
    memcpy(body, data + 1, size - 1);
    struct ps_str text = {body, size - 1};
    bool deflate = (data[0] & 1) != 0;
    if ((data[0] & 2) != 0 && data[0] < 'a') { /* letters are frames, so that a corpus can be read */
        read_handshake(text);
    } else {
        PS_CHECK(read_frames(text, 1, deflate) == read_frames(text, SIZE_MAX, deflate));
    }
    free(body);
    return 0;
}
