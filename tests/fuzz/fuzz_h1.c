/* fuzz_h1 - the codec reads the same however the bytes are cut, and what it copies it can read.
 *
 * Input: one byte of options, one byte that seeds the cuts, then what a peer sends.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../helpers/h1_transcript.h"
#include "http/h1_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OPTION_RESPONSE 1u
#define OPTION_HEAD     2u
#define OPTION_CONNECT  4u
#define OPTION_SMALL    8u /* limits that are easily reached */
#define OPTION_STAY     16u

static struct ps_h1_scratch scratch;

static void start(struct transcript *t, unsigned options)
{
    static const struct ps_h1_limits small = {
        .max_head_bytes = 160, .max_headers = 4, .max_target_bytes = 20};
    enum ps_h1_method method = (options & OPTION_HEAD) != 0      ? PS_H1_METHOD_HEAD
                               : (options & OPTION_CONNECT) != 0 ? PS_H1_METHOD_CONNECT
                                                                 : PS_H1_METHOD_GET;
    bool response = (options & OPTION_RESPONSE) != 0;
    transcript_init(t, response ? PS_H1_RESPONSE : PS_H1_REQUEST, method,
                    (options & OPTION_SMALL) != 0 ? &small : NULL, &scratch);
    t->stay = (options & OPTION_STAY) != 0;
}

/* The pieces have 1 to 2^k bytes, k from the seed. */
static void feed_in_pieces(struct transcript *t, const char *bytes, size_t len, unsigned seed)
{
    uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    size_t mask = ((size_t)2 << (seed & 7)) - 1;
    for (size_t at = 0; at < len;) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        size_t piece = ((size_t)(random >> 40) & mask) + 1;
        piece = piece < len - at ? piece : len - at;
        transcript_feed(t, bytes + at, piece);
        at += piece;
    }
}

/* What we would send on must be readable, and free of what concerns one connection only. */
static void check_copy(const char *bytes, size_t len)
{
    struct ps_h1 h1;
    ps_h1_init(&h1, PS_H1_REQUEST, NULL, &scratch);
    struct ps_str input = {bytes, len};
    struct ps_buf out = ps_buf_make(1u << 20);
    if (ps_h1_next(&h1, &input) == PS_H1_HEAD && ps_h1_head(&h1)->minor == 1) {
        const struct ps_h1_head *head = ps_h1_head(&h1);
        PS_CHECK(ps_h1_write_request_line(&out, PS_STR("POST"), PS_STR("/")) == PS_OK);
        PS_CHECK(ps_h1_copy_end_to_end(&out, head, 0, 0) == PS_OK);
        PS_CHECK(ps_h1_write_head_end(&out) == PS_OK);
        bool absolute = head->target.ptr[0] != '/';
        uint64_t length = head->content_length;
        ps_h1_reset(&h1);
        input = ps_buf_str(&out);
        PS_CHECK(ps_h1_next(&h1, &input) == PS_H1_HEAD);
        PS_CHECK((ps_h1_head(&h1)->seen & PS_H1_HOP_BY_HOP) == 0);
        PS_CHECK(ps_h1_head(&h1)->content_length == length || absolute);
        PS_CHECK(input.len == 0);
    }
    ps_buf_fini(&out);
    ps_h1_fini(&h1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return -1;
    }
    if (scratch.headers == NULL && ps_h1_scratch_init(&scratch, 0) != PS_OK) {
        return -1;
    }
    unsigned options = data[0];
    const char *bytes = (const char *)data + 2;
    size_t len = size - 2;

    struct transcript whole;
    start(&whole, options);
    transcript_feed(&whole, bytes, len);
    transcript_eof(&whole);

    struct transcript pieces;
    start(&pieces, options);
    feed_in_pieces(&pieces, bytes, len, data[1]);
    transcript_eof(&pieces);

    PS_CHECK(ps_str_eq(ps_buf_str(&whole.text), ps_buf_str(&pieces.text)));
    if ((options & OPTION_RESPONSE) == 0) {
        check_copy(bytes, len);
    }
    transcript_fini(&whole);
    transcript_fini(&pieces);
    return 0;
}
