/* test_ws_read - every rule of RFC 6455 that a client can break, and every cut of the bytes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http/ws_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <zlib.h>

#include "base/check.h"

enum { MOST = 1000, MOST_EVENTS = 16, ROOM = 64 * 1024 };

/* Frames in a row, as a client would send them. */
struct script {
    struct ps_buf bytes;
    struct {
        enum ps_ws_event event;
        unsigned code;
        char text[MOST + 1];
        size_t len;
    } got[MOST_EVENTS];
    size_t count;
};

static void add_raw(struct script *script, const void *bytes, size_t len)
{
    PS_CHECK(ps_buf_append(&script->bytes, bytes, len) == PS_OK);
}

#define RAW(script, literal) add_raw(script, literal, sizeof(literal) - 1)

/* first: FIN, reserved bits and opcode. */
static void add(struct script *script, unsigned first, struct ps_str payload)
{
    static const unsigned char mask[4] = {0x11, 0x80, 0xff, 0x05};
    unsigned char head[4] = {(unsigned char)first, (unsigned char)(0x80 | (payload.len < 126 ? payload.len : 126)),
                             (unsigned char)(payload.len >> 8), (unsigned char)payload.len};
    add_raw(script, head, payload.len < 126 ? 2 : 4);
    add_raw(script, mask, 4);
    for (size_t i = 0; i < payload.len; i++) {
        char byte = (char)((unsigned char)payload.ptr[i] ^ mask[i % 4]);
        add_raw(script, &byte, 1);
    }
}

static void feed(struct script *script, struct ps_ws_reader *reader, struct ps_str part)
{
    enum ps_ws_event event;
    while ((event = ps_ws_read(reader, &part)) != PS_WS_MORE) {
        assert_true(script->count < MOST_EVENTS);
        assert_true(reader->payload.len <= MOST);
        size_t n = script->count++;
        script->got[n].event = event;
        script->got[n].code = event == PS_WS_CLOSE || event == PS_WS_ERROR ? reader->code : 0;
        script->got[n].len = reader->payload.len;
        memcpy(script->got[n].text, reader->payload.len > 0 ? reader->payload.ptr : "", reader->payload.len);
        script->got[n].text[reader->payload.len] = '\0';
        if (event == PS_WS_ERROR) {
            assert_non_null(reader->reason);
        }
    }
    assert_int_equal(part.len, 0);
}

/* Plays the script, cut into pieces of `cut` bytes. */
static void play(struct script *script, size_t cut, bool deflate)
{
    struct ps_ws_reader reader;
    ps_ws_reader_init(&reader, MOST, deflate);
    script->count = 0;
    for (size_t at = 0; at < script->bytes.len; at += cut) {
        feed(script, &reader, ps_str_first(ps_str_skip(ps_buf_str(&script->bytes), at), cut));
    }
    ps_ws_reader_fini(&reader);
}

static void assert_event(const struct script *script, size_t n, enum ps_ws_event event, const char *text)
{
    assert_true(n < script->count);
    assert_int_equal(script->got[n].event, event);
    assert_string_equal(script->got[n].text, text);
}

/* Whatever the cut, the script ends with an error of this code, after `before` events. */
static void assert_fails(struct script *script, bool deflate, size_t before, unsigned code)
{
    for (size_t cut = 1; cut <= script->bytes.len; cut++) {
        play(script, cut, deflate);
        assert_int_equal(script->count, before + 1);
        assert_int_equal(script->got[before].event, PS_WS_ERROR);
        assert_int_equal(script->got[before].code, code);
    }
    ps_buf_clear(&script->bytes);
}

static int setup(void **state)
{
    struct script *script = calloc(1, sizeof *script);
    script->bytes = ps_buf_make(1 << 20);
    *state = script;
    return 0;
}

static int teardown(void **state)
{
    struct script *script = *state;
    ps_buf_fini(&script->bytes);
    free(script);
    return 0;
}

/* --- cases ------------------------------------------------------------------------------------ */

static void frames_may_be_cut_anywhere(void **state)
{
    struct script *script = *state;
    char text[301] = "";
    memset(text, 'x', 300);
    add(script, 0x81, ps_str_from(text));
    add(script, 0x89, PS_STR("Hello"));
    add(script, 0x82, PS_STR("b\xff"));
    add(script, 0x88, PS_STR("\x03\xe8" "bye"));
    for (size_t cut = 1; cut <= script->bytes.len; cut++) {
        play(script, cut, false);
        assert_int_equal(script->count, 4);
        assert_event(script, 0, PS_WS_TEXT, text);
        assert_event(script, 1, PS_WS_PING, "Hello");
        assert_event(script, 2, PS_WS_BINARY, "b\xff");
        assert_event(script, 3, PS_WS_CLOSE, "bye");
        assert_int_equal(script->got[3].code, 1000);
    }
}

static void pieces_are_put_together_with_control_frames_between(void **state)
{
    struct script *script = *state;
    add(script, 0x01, PS_STR("one \xe2"));
    add(script, 0x89, PS_STR("?"));
    add(script, 0x00, PS_STR("\x82"));
    add(script, 0x8a, PS_STR("!"));
    add(script, 0x00, PS_STR(""));
    add(script, 0x80, PS_STR("\xac two")); /* the sign of the euro, over three frames */
    add(script, 0x81, PS_STR(""));
    for (size_t cut = 1; cut <= script->bytes.len; cut++) {
        play(script, cut, false);
        assert_int_equal(script->count, 4);
        assert_event(script, 0, PS_WS_PING, "?");
        assert_event(script, 1, PS_WS_PONG, "!");
        assert_event(script, 2, PS_WS_TEXT, "one \xe2\x82\xac two");
        assert_event(script, 3, PS_WS_TEXT, "");
    }
}

static void frames_against_the_protocol_end_it(void **state)
{
    struct script *script = *state;
    static const struct {
        struct ps_str bytes;
    } rows[] = {
        {PS_STR_INIT("\x81\x01x")},                             /* no mask */
        {PS_STR_INIT("\x89\x00")},                              /* no mask, nothing inside */
        {PS_STR_INIT("\xc1\x81mmmmx")},                         /* reserved bits */
        {PS_STR_INIT("\xa1\x81mmmmx")},
        {PS_STR_INIT("\x91\x81mmmmx")},
        {PS_STR_INIT("\xc9\x80mmmm")},
        {PS_STR_INIT("\x83\x81mmmmx")},                         /* opcodes that don't exist */
        {PS_STR_INIT("\x87\x80mmmm")},
        {PS_STR_INIT("\x8b\x80mmmm")},
        {PS_STR_INIT("\x8f\x80mmmm")},
        {PS_STR_INIT("\x09\x80mmmm")},                          /* control frames in pieces */
        {PS_STR_INIT("\x08\x80mmmm")},
        {PS_STR_INIT("\x89\xfe\x00\x7emmmm")},                  /* control frames over 125 bytes */
        {PS_STR_INIT("\x88\xff\x00\x00\x00\x00\x00\x01\x00\x00mmmm")},
        {PS_STR_INIT("\x81\xfe\x00\x7dmmmm")},                  /* a length in more bytes than it needs */
        {PS_STR_INIT("\x81\xff\x00\x00\x00\x00\x00\x00\xff\xffmmmm")},
        {PS_STR_INIT("\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00mmmm")}, /* over 2^63 */
        {PS_STR_INIT("\x80\x80mmmm")},                          /* continuations of nothing */
        {PS_STR_INIT("\x00\x80mmmm")},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        add(script, 0x81, PS_STR("before"));
        add_raw(script, rows[i].bytes.ptr, rows[i].bytes.len);
        assert_fails(script, false, 1, PS_WS_PROTOCOL);
    }
}

static void a_message_inside_another_ends_it(void **state)
{
    struct script *script = *state;
    add(script, 0x01, PS_STR("one"));
    add(script, 0x81, PS_STR("two"));
    assert_fails(script, false, 0, PS_WS_PROTOCOL);
    add(script, 0x02, PS_STR("one"));
    add(script, 0x80, PS_STR("end"));
    add(script, 0x80, PS_STR("once more"));
    assert_fails(script, false, 1, PS_WS_PROTOCOL);
}

static void text_that_is_not_utf8_ends_it(void **state)
{
    struct script *script = *state;
    static const struct ps_str rows[] = {
        PS_STR_INIT("\xff"),         PS_STR_INIT("a\x80"),        PS_STR_INIT("\xc0\xaf"),
        PS_STR_INIT("\xe2\x82"),     PS_STR_INIT("\xed\xa0\x80"), PS_STR_INIT("\xf4\x90\x80\x80"),
        PS_STR_INIT("\xf8\x88\x80"), PS_STR_INIT("\xe0\x80\xaf"),
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        add(script, 0x81, rows[i]);
        assert_fails(script, false, 0, PS_WS_INVALID_DATA);
        add(script, 0x01, ps_str_first(rows[i], 1)); /* over two frames */
        add(script, 0x80, ps_str_skip(rows[i], 1));
        assert_fails(script, false, 0, PS_WS_INVALID_DATA);
        struct ps_buf reason = ps_buf_make(20);
        PS_CHECK(ps_buf_append(&reason, "\x03\xe8", 2) == PS_OK && ps_buf_append_str(&reason, rows[i]) == PS_OK);
        add(script, 0x88, ps_buf_str(&reason));
        assert_fails(script, false, 0, PS_WS_INVALID_DATA);
        ps_buf_fini(&reason);
        add(script, 0x82, rows[i]); /* binary may be anything */
        play(script, 3, false);
        assert_int_equal(script->got[0].event, PS_WS_BINARY);
        ps_buf_clear(&script->bytes);
    }
}

static void close_codes_are_those_that_may_be_sent(void **state)
{
    struct script *script = *state;
    for (unsigned code = 0; code < 5200; code++) {
        char body[2] = {(char)(code >> 8), (char)code};
        bool valid = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code < 5000);
        add(script, 0x88, (struct ps_str){body, 2});
        play(script, SIZE_MAX / 2, false);
        assert_int_equal(script->count, 1);
        assert_int_equal(script->got[0].event, valid ? PS_WS_CLOSE : PS_WS_ERROR);
        assert_int_equal(script->got[0].code, valid ? code : (unsigned)PS_WS_PROTOCOL);
        ps_buf_clear(&script->bytes);
    }
}

static void a_close_without_a_code_is_one_and_a_byte_is_none(void **state)
{
    struct script *script = *state;
    add(script, 0x88, PS_STR(""));
    play(script, 1, false);
    assert_int_equal(script->got[0].event, PS_WS_CLOSE);
    assert_int_equal(script->got[0].code, PS_WS_NO_CODE);
    ps_buf_clear(&script->bytes);
    add(script, 0x88, PS_STR("\x03"));
    assert_fails(script, false, 0, PS_WS_PROTOCOL);
}

static void nothing_is_heard_after_the_end(void **state)
{
    struct script *script = *state;
    add(script, 0x88, PS_STR("\x03\xe9"));
    add(script, 0x81, PS_STR("still here"));
    RAW(script, "\xff\xff\xff\xff");
    for (size_t cut = 1; cut <= script->bytes.len; cut++) {
        play(script, cut, false);
        assert_int_equal(script->count, 1);
        assert_int_equal(script->got[0].code, 1001);
    }
}

static void messages_over_the_bound_end_it_before_they_arrive(void **state)
{
    struct script *script = *state;
    char text[MOST + 1] = "";
    memset(text, 'x', sizeof text);
    add(script, 0x81, (struct ps_str){text, MOST});
    play(script, 7, false);
    assert_int_equal(script->got[0].event, PS_WS_TEXT);
    ps_buf_clear(&script->bytes);
    RAW(script, "\x81\xfe\x03\xe9mmmmx"); /* 1001 */
    assert_fails(script, false, 0, PS_WS_TOO_BIG);
    RAW(script, "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffmmmmx"); /* all but 2^63 */
    assert_fails(script, false, 0, PS_WS_TOO_BIG);
    add(script, 0x01, (struct ps_str){text, MOST / 2});
    add(script, 0x00, (struct ps_str){text, MOST / 2});
    add(script, 0x80, PS_STR("x"));
    assert_fails(script, false, 0, PS_WS_TOO_BIG);
}

/* --- compression ------------------------------------------------------------------------------ */

static struct ps_str compress_raw(char *out, struct ps_str text, int flush)
{
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)text.ptr, .avail_in = (uInt)text.len};
    PS_CHECK(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    z.next_out = (unsigned char *)out;
    z.avail_out = ROOM;
    PS_CHECK(deflate(&z, flush) >= Z_OK);
    size_t len = ROOM - z.avail_out;
    deflateEnd(&z);
    if (flush == Z_FINISH) {
        out[len++] = 0;
        return (struct ps_str){out, len};
    }
    return (struct ps_str){out, len - 4};
}

static void compressed_messages_are_read_where_that_was_agreed_on(void **state)
{
    struct script *script = *state;
    static char out[ROOM];
    struct ps_str text = PS_STR("{\"subscribe\":[\"gpu\",\"gpu\",\"gpu\",\"gpu\"]}");
    struct ps_str once = compress_raw(out, text, Z_SYNC_FLUSH);
    add(script, 0xc1, once);
    add(script, 0x41, ps_str_first(once, 5)); /* in pieces: the bit is on the first */
    add(script, 0x89, PS_STR("-"));
    add(script, 0x80, ps_str_skip(once, 5));
    add(script, 0xc1, compress_raw(out, text, Z_FINISH)); /* with a final block */
    add(script, 0x81, PS_STR("plain"));
    add(script, 0xc1, PS_STR("\x00")); /* nothing */
    for (size_t cut = 1; cut <= script->bytes.len; cut++) {
        play(script, cut, true);
        assert_int_equal(script->count, 6);
        assert_event(script, 0, PS_WS_TEXT, text.ptr);
        assert_event(script, 1, PS_WS_PING, "-");
        assert_event(script, 2, PS_WS_TEXT, text.ptr);
        assert_event(script, 3, PS_WS_TEXT, text.ptr);
        assert_event(script, 4, PS_WS_TEXT, "plain");
        assert_event(script, 5, PS_WS_TEXT, "");
    }
    assert_fails(script, false, 0, PS_WS_PROTOCOL);
}

static void a_bomb_ends_it(void **state)
{
    struct script *script = *state;
    static char out[ROOM];
    static char zeros[500 * 1000];
    add(script, 0xc2, compress_raw(out, (struct ps_str){zeros, sizeof zeros}, Z_SYNC_FLUSH));
    play(script, SIZE_MAX / 2, true);
    assert_int_equal(script->count, 1);
    assert_int_equal(script->got[0].code, PS_WS_TOO_BIG);
}

static void what_cant_be_inflated_ends_it(void **state)
{
    struct script *script = *state;
    add(script, 0xc1, PS_STR("\xff\xff\xff\xff"));
    assert_fails(script, true, 0, PS_WS_INVALID_DATA);
    static char out[ROOM];
    add(script, 0xc1, compress_raw(out, PS_STR("\xff\xfe not text"), Z_SYNC_FLUSH));
    assert_fails(script, true, 0, PS_WS_INVALID_DATA);
    add(script, 0x01, PS_STR("a")); /* the bit on a continuation, and on a ping */
    add(script, 0xc0, PS_STR("b"));
    assert_fails(script, true, 0, PS_WS_PROTOCOL);
    add(script, 0xc9, PS_STR(""));
    assert_fails(script, true, 0, PS_WS_PROTOCOL);
}

static void a_reader_between_messages_owns_no_memory(void **state)
{
    struct script *script = *state;
    struct ps_ws_reader reader;
    ps_ws_reader_init(&reader, MOST, true);
    add(script, 0x81, PS_STR("hello"));
    add(script, 0x89, PS_STR("hello"));
    feed(script, &reader, ps_buf_str(&script->bytes));
    assert_int_equal(script->count, 2);
    assert_null(reader.wslay);
    assert_null(reader.message.data);
    assert_null(reader.control.data);
    ps_ws_reader_fini(&reader);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(frames_may_be_cut_anywhere),
        CASE(pieces_are_put_together_with_control_frames_between),
        CASE(frames_against_the_protocol_end_it),
        CASE(a_message_inside_another_ends_it),
        CASE(text_that_is_not_utf8_ends_it),
        CASE(close_codes_are_those_that_may_be_sent),
        CASE(a_close_without_a_code_is_one_and_a_byte_is_none),
        CASE(nothing_is_heard_after_the_end),
        CASE(messages_over_the_bound_end_it_before_they_arrive),
        CASE(compressed_messages_are_read_where_that_was_agreed_on),
        CASE(a_bomb_ends_it),
        CASE(what_cant_be_inflated_ends_it),
        CASE(a_reader_between_messages_owns_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
