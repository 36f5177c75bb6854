/* test_ws - what a client of a WebSocket sees on the wire: handshake, frames, goodbyes, slow readers, silence.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http/ws.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <zlib.h>

#include "../helpers/turns.h"
#include "http/h1.h"
#include "http/server.h"
#include "io/stream.h"

/* A WebSocket, a raw client, and a log of what was heard. */
struct bench {
    struct ps_clock clock;
    struct turns turns;
    struct raw client;
    struct ps_ws *ws;
    struct ps_ws_opts opts;
    struct ps_ws_tally tally;
    char heard[256];
    unsigned gone; /* the code */
    const char *want;
    size_t want_len;
};

static void on_message(void *ctx, bool is_text, struct ps_str message)
{
    struct bench *bench = ctx;
    size_t len = strlen(bench->heard);
    snprintf(bench->heard + len, sizeof bench->heard - len, "%s%.*s;", is_text ? "" : "#", PS_STR_ARG(message));
}

static void on_gone(void *ctx, unsigned code)
{
    struct bench *bench = ctx;
    assert_int_equal(bench->gone, 0);
    bench->gone = code;
    bench->ws = NULL;
}

static const struct ps_ws_ops ops = {on_message, on_gone};
static const struct ps_stream_ops no_ops = {.on_data = NULL};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    ps_clock_init_manual(&bench->clock, PS_HOUR, 784111777 * PS_SECOND);
    bench->opts = (struct ps_ws_opts){.ops = &ops,
                                      .ctx = bench,
                                      .tally = &bench->tally,
                                      .max_message = 1000,
                                      .max_waiting = 1,
                                      .skips = true,
                                      .ping_interval = 20 * PS_SECOND};
    raw_init(&bench->client, -1);
    bench->turns.raws[0] = &bench->client;
    *state = bench;
    return ps_loop_new(&bench->turns.loop, &bench->clock);
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    ps_ws_free(bench->ws);
    ps_loop_free(bench->turns.loop);
    raw_close(&bench->client);
    free(bench);
    return 0;
}

static void join(struct bench *bench)
{
    int pair[2];
    struct ps_stream *stream = NULL;
    struct ps_stream_opts opts = {.ops = &no_ops};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    raw_init(&bench->client, pair[1]);
    assert_int_equal(ps_stream_accept(&stream, bench->turns.loop, pair[0], &opts), PS_OK);
    assert_int_equal(ps_ws_open(&bench->ws, bench->turns.loop, stream, &bench->opts), PS_OK);
}

static void rest(struct bench *bench)
{
    turns_rest(&bench->turns);
}

static void pass(struct bench *bench, ps_span span)
{
    ps_clock_advance(&bench->clock, span);
    rest(bench);
}

static void say(struct bench *bench, const void *bytes, size_t len)
{
    ssize_t n = send(bench->client.fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    assert_int_equal(n, (ssize_t)len);
    rest(bench);
}

#define SAY(bench, literal) say(bench, literal, sizeof(literal) - 1)
#define M0                  "\0\0\0\0" /* a mask that changes nothing */

static void assert_got(const struct bench *bench, const void *bytes, size_t len)
{
    assert_int_equal(bench->client.got.len, len);
    assert_memory_equal(bench->client.got.data, bytes, len);
}

#define ASSERT_GOT(bench, literal) assert_got(bench, literal, sizeof(literal) - 1)

static void forget(struct bench *bench)
{
    ps_buf_clear(&bench->client.got);
}

static bool has_left(void *ctx)
{
    struct bench *bench = ctx;
    return bench->gone != 0;
}

static void await_gone(struct bench *bench, unsigned code)
{
    assert_true(turns_until(&bench->turns, has_left, bench));
    assert_int_equal(bench->gone, code);
}

/* --- handshake -------------------------------------------------------------------------------- */

#define ASK    "GET /ws/metrics HTTP/1.1\r\nHost: a\r\n"
#define WANTS  "Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
#define V13    "Sec-WebSocket-Version: 13\r\n"
#define KEY    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define OFFERS "Sec-WebSocket-Extensions: "

static struct ps_ws_handshake shake(const char *request, struct ps_buf *answer)
{
    struct ps_h1 h1;
    struct ps_h1_scratch scratch;
    struct ps_h1_limits limits = {.max_head_bytes = 16384, .max_headers = 64};
    struct ps_ws_handshake handshake;
    struct ps_str input = ps_str_from(request);
    assert_int_equal(ps_h1_scratch_init(&scratch, limits.max_headers), PS_OK);
    ps_h1_init(&h1, PS_H1_REQUEST, &limits, &scratch);
    assert_int_equal(ps_h1_next(&h1, &input), PS_H1_HEAD);
    ps_ws_handshake_read(&handshake, ps_h1_head(&h1));
    if (handshake.status == 101 && answer != NULL) {
        assert_int_equal(ps_ws_handshake_write(answer, &handshake, PS_STR("X-A: 1\r\n")), PS_OK);
    }
    handshake.key = PS_STR("");
    ps_h1_fini(&h1);
    ps_h1_scratch_fini(&scratch);
    return handshake;
}

static void the_key_of_the_standard_gets_its_answer(void **state)
{
    struct ps_buf answer = ps_buf_make(4096);
    (void)state;
    assert_int_equal(shake(ASK WANTS V13 KEY "\r\n", &answer).status, 101);
    assert_true(ps_str_eq(ps_buf_str(&answer),
                          PS_STR("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-A: 1\r\n\r\n")));
    ps_buf_fini(&answer);
}

static void other_requests_are_told_what_is_missing(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        int status;
    } rows[] = {
        {ASK "\r\n", 426},
        {ASK "Upgrade: websocket\r\n" V13 KEY "\r\n", 426},
        {ASK "Upgrade: h2c\r\nConnection: Upgrade\r\n" V13 KEY "\r\n", 426},
        {"GET / HTTP/1.0\r\nHost: a\r\n" WANTS V13 KEY "\r\n", 426},
        {ASK WANTS KEY "\r\n", 426},
        {ASK WANTS "Sec-WebSocket-Version: 8\r\n" KEY "\r\n", 426},
        {ASK WANTS V13 "\r\n", 400},
        {ASK WANTS V13 "Sec-WebSocket-Key: dG9vIHNob3J0\r\n\r\n", 400},
        {ASK WANTS V13 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=_\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n" WANTS V13 KEY "\r\n", 405},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        struct ps_ws_handshake handshake = shake(rows[i].request, NULL);
        assert_int_equal(handshake.status, rows[i].status);
        assert_true(strlen(handshake.reason) > 0);
        assert_false(handshake.deflate);
    }
}

static void compression_is_agreed_on_where_it_can_be_shared(void **state)
{
    (void)state;
    static const struct {
        const char *offers;
        bool taken;
    } rows[] = {
        {"permessage-deflate", true},
        {"permessage-deflate; client_max_window_bits", true},
        {"Permessage-Deflate ; client_max_window_bits=\"10\";server_no_context_takeover", true},
        {"permessage-deflate; server_max_window_bits=15", true},
        {"permessage-deflate; server_max_window_bits=10", false},
        {"permessage-deflate; server_max_window_bits=10, permessage-deflate", true},
        {"x-webkit-deflate-frame, permessage-deflate", true},
        {"x-webkit-deflate-frame", false},
        {"permessage-deflate; unknown", false},
        {"permessage-deflate; server_no_context_takeover=1", false},
        {"permessage-deflate; client_max_window_bits=16", false},
        {"permessage-deflate; client_max_window_bits=08", false},
        {"permessage-deflate; client_no_context_takeover; client_no_context_takeover", false},
        {"permessage-deflate; server_max_window_bits", false},
        {"", false},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        char request[600];
        struct ps_buf answer = ps_buf_make(4096);
        snprintf(request, sizeof request, "%s%s%s\r\n\r\n", ASK WANTS V13 KEY, OFFERS, rows[i].offers);
        assert_int_equal(shake(request, &answer).deflate, rows[i].taken);
        assert_int_equal(ps_str_contains(ps_buf_str(&answer), PS_STR("Sec-WebSocket-Extensions: permessage-deflate; "
                                                                     "server_no_context_takeover; "
                                                                     "client_no_context_takeover\r\n")),
                         rows[i].taken);
        ps_buf_fini(&answer);
    }
}

/* --- frames ----------------------------------------------------------------------------------- */

static void frames_of_every_length_have_the_right_head(void **state)
{
    (void)state;
    static const struct {
        size_t len, head;
        const char *bytes;
    } rows[] = {
        {0, 2, "\x81\x00"}, {125, 2, "\x81\x7d"}, {126, 4, "\x81\x7e\x00\x7e"}, {65535, 4, "\x81\x7e\xff\xff"},
        {65536, 10, "\x81\x7f\0\0\0\0\0\1\0\0"}};
    static char payload[65536];
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        struct ps_ws_frame *frame = NULL;
        assert_int_equal(ps_ws_frame_new(&frame, PS_WS_OPCODE_TEXT, (struct ps_str){payload, rows[i].len}), PS_OK);
        struct ps_str bytes = ps_ws_frame_bytes(frame, false);
        assert_int_equal(bytes.len, rows[i].head + rows[i].len);
        assert_memory_equal(bytes.ptr, rows[i].bytes, rows[i].head);
        ps_ws_frame_unref(frame);
    }
}

static void a_frame_is_compressed_once_where_that_helps(void **state)
{
    (void)state;
    char text[3000];
    char back[4096];
    struct ps_ws_frame *frame = NULL;
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = "0123456789,"[i % 11];
    }
    assert_int_equal(ps_ws_frame_new(&frame, PS_WS_OPCODE_TEXT, (struct ps_str){text, sizeof text}), PS_OK);
    struct ps_str plain = ps_ws_frame_bytes(frame, false);
    struct ps_str bytes = ps_ws_frame_bytes(frame, true);
    assert_true(bytes.len < 200);
    assert_ptr_equal(ps_ws_frame_bytes(frame, true).ptr, bytes.ptr);
    assert_ptr_equal(ps_ws_frame_bytes(frame, false).ptr, plain.ptr);
    assert_int_equal((unsigned char)bytes.ptr[0], 0xc1);
    char tailed[300];
    memcpy(tailed, bytes.ptr + 2, bytes.len - 2);
    memcpy(tailed + bytes.len - 2, "\0\0\xff\xff", 4);
    z_stream z = {.next_in = (unsigned char *)tailed, .avail_in = (uInt)bytes.len + 2};
    assert_int_equal(inflateInit2(&z, -15), Z_OK);
    z.next_out = (unsigned char *)back;
    z.avail_out = sizeof back;
    assert_int_equal(inflate(&z, Z_SYNC_FLUSH), Z_OK);
    assert_int_equal(sizeof back - z.avail_out, sizeof text);
    assert_memory_equal(back, text, sizeof text);
    inflateEnd(&z);
    ps_ws_frame_unref(frame);

    assert_int_equal(ps_ws_frame_new(&frame, PS_WS_OPCODE_TEXT, PS_STR("short")), PS_OK);
    assert_ptr_equal(ps_ws_frame_bytes(frame, true).ptr, ps_ws_frame_bytes(frame, false).ptr);
    ps_ws_frame_unref(frame);
    uint32_t noise = 1;
    for (size_t i = 0; i < sizeof text; i++) {
        noise = noise * 1664525u + 1013904223u;
        text[i] = (char)(noise >> 24);
    }
    assert_int_equal(ps_ws_frame_new(&frame, PS_WS_OPCODE_BINARY, (struct ps_str){text, sizeof text}), PS_OK);
    assert_ptr_equal(ps_ws_frame_bytes(frame, true).ptr, ps_ws_frame_bytes(frame, false).ptr);
    ps_ws_frame_unref(frame);
}

/* --- conversations ---------------------------------------------------------------------------- */

static void messages_come_and_go_and_pings_are_answered(void **state)
{
    struct bench *bench = *state;
    join(bench);
    SAY(bench, "\x81\x82" M0 "hi\x82\x81" M0 "b\x89\x85" M0 "Hello");
    assert_string_equal(bench->heard, "hi;#b;");
    ASSERT_GOT(bench, "\x8a\x05Hello");
    forget(bench);
    ps_ws_send_text(bench->ws, PS_STR("good day"));
    rest(bench);
    ASSERT_GOT(bench, "\x81\x08good day");
    assert_int_equal(bench->tally.frames, 1);
    assert_int_equal(bench->tally.bytes, 7 + 10);
}

static void of_many_pings_the_newest_is_answered(void **state)
{
    struct bench *bench = *state;
    join(bench);
    SAY(bench, "\x89\x81" M0 "1\x89\x81" M0 "2\x89\x81" M0 "3");
    ASSERT_GOT(bench, "\x8a\x01" "3");
}

static void a_goodbye_is_answered_with_its_code(void **state)
{
    struct bench *bench = *state;
    join(bench);
    SAY(bench, "\x88\x85" M0 "\x0f\xa1" "bye\x81\x82" M0 "no");
    ASSERT_GOT(bench, "\x88\x02\x0f\xa1");
    assert_string_equal(bench->heard, "");
    raw_close(&bench->client);
    await_gone(bench, 4001);
}

static void a_goodbye_without_code_is_answered_without(void **state)
{
    struct bench *bench = *state;
    join(bench);
    SAY(bench, "\x88\x80" M0);
    ASSERT_GOT(bench, "\x88\x00");
    assert_int_equal(bench->gone, 0);
    pass(bench, 2 * PS_SECOND); /* the client keeps the connection open: it is closed for it */
    await_gone(bench, PS_WS_NO_CODE);
}

static void who_breaks_the_rules_hears_why_and_is_let_go(void **state)
{
    struct bench *bench = *state;
    join(bench);
    SAY(bench, "\x81\x02hi");
    struct ps_str got = ps_buf_str(&bench->client.got);
    assert_memory_equal(got.ptr, "\x88", 1);
    assert_memory_equal(got.ptr + 2, "\x03\xea", 2);
    assert_true(ps_str_contains(got, PS_STR("masked")));
    assert_true(bench->client.ended); /* nothing more will come from us */
    SAY(bench, "\x81\x82" M0 "hi");
    assert_string_equal(bench->heard, "");
    pass(bench, 2 * PS_SECOND);
    await_gone(bench, PS_WS_PROTOCOL);
}

static void our_goodbye_waits_for_theirs(void **state)
{
    struct bench *bench = *state;
    join(bench);
    ps_ws_close(bench->ws, PS_WS_GOING_AWAY, PS_STR("restart"));
    ps_ws_close(bench->ws, PS_WS_NORMAL, PS_STR("")); /* once is enough */
    ps_ws_send_text(bench->ws, PS_STR("late"));
    rest(bench);
    ASSERT_GOT(bench, "\x88\x09\x03\xe9restart");
    assert_int_equal(bench->gone, 0);
    SAY(bench, "\x88\x82" M0 "\x03\xe9");
    await_gone(bench, PS_WS_GOING_AWAY);
}

static void who_leaves_without_a_word_is_lost(void **state)
{
    struct bench *bench = *state;
    join(bench);
    raw_close(&bench->client);
    await_gone(bench, PS_WS_LOST);
}

static void silence_is_asked_about_and_then_the_end(void **state)
{
    struct bench *bench = *state;
    join(bench);
    pass(bench, 19 * PS_SECOND);
    assert_int_equal(bench->client.got.len, 0);
    pass(bench, PS_SECOND);
    ASSERT_GOT(bench, "\x89\x00");
    SAY(bench, "\x8a\x80" M0);
    forget(bench);
    pass(bench, 19 * PS_SECOND);
    assert_int_equal(bench->client.got.len, 0);
    pass(bench, PS_SECOND);
    ASSERT_GOT(bench, "\x89\x00");
    pass(bench, 20 * PS_SECOND);
    await_gone(bench, PS_WS_LOST);
}

/* Fills the socket; returns the messages that it takes. Each begins with its number. */
static void flood(struct bench *bench, unsigned count)
{
    static char text[20000];
    bench->turns.raws[0] = NULL; /* the client does not read */
    for (unsigned i = 0; i < count; i++) {
        memset(text, 'x', sizeof text);
        snprintf(text, 5, "%04u", i);
        ps_ws_send_text(bench->ws, (struct ps_str){text, sizeof text});
    }
}

static bool all_is_there(void *ctx)
{
    const struct bench *bench = ctx;
    return bench->tally.frames + bench->tally.skipped == 100 && bench->tally.bytes == bench->client.got.len;
}

static bool client_ended(void *ctx)
{
    const struct bench *bench = ctx;
    return bench->client.ended;
}

static void a_slow_reader_misses_messages_and_gets_the_newest_whole(void **state)
{
    struct bench *bench = *state;
    join(bench);
    flood(bench, 100);
    assert_true(bench->tally.skipped > 50);
    size_t held = 100 - (size_t)(bench->tally.frames + bench->tally.skipped);
    assert_in_range(held, 1, 2); /* one waits, and one may not have begun */
    SAY(bench, "\x89\x82" M0 "ok");
    bench->turns.raws[0] = &bench->client;
    assert_true(turns_until(&bench->turns, all_is_there, bench));
    struct ps_str got = ps_buf_str(&bench->client.got);
    size_t seen = 0;
    size_t pongs = 0;
    char last[5] = "";
    while (got.len > 0) { /* every frame is whole */
        bool pong = (unsigned char)got.ptr[0] == 0x8a;
        assert_memory_equal(got.ptr, pong ? "\x8a\x02ok" : "\x81\x7e\x4e\x20", 4);
        memcpy(last, got.ptr + 4, pong ? 0 : 4);
        pongs += pong ? 1 : 0;
        seen += pong ? 0 : 1;
        got = ps_str_skip(got, pong ? 4 : 20004);
    }
    assert_string_equal(last, "0099");
    assert_int_equal(seen, bench->tally.frames);
    assert_int_equal(pongs, 1);
}

static void a_reader_that_must_miss_nothing_is_let_go(void **state)
{
    struct bench *bench = *state;
    bench->opts.skips = false;
    bench->opts.max_waiting = 5;
    join(bench);
    flood(bench, 100);
    await_gone(bench, PS_WS_POLICY);
    assert_int_equal(bench->tally.skipped, 0);
}

static void who_does_not_read_at_all_is_let_go_in_time(void **state)
{
    struct bench *bench = *state;
    join(bench);
    flood(bench, 100);
    pass(bench, 20 * PS_SECOND);
    assert_int_equal(bench->gone, 0);
    pass(bench, 20 * PS_SECOND);
    await_gone(bench, PS_WS_LOST);
}

static void a_goodbye_follows_what_is_on_its_way(void **state)
{
    struct bench *bench = *state;
    join(bench);
    flood(bench, 100);
    ps_ws_close(bench->ws, PS_WS_GOING_AWAY, PS_STR(""));
    bench->turns.raws[0] = &bench->client;
    assert_true(turns_until(&bench->turns, client_ended, bench));
    struct ps_str got = ps_buf_str(&bench->client.got);
    assert_int_equal(got.len % 20004, 4);
    assert_memory_equal(got.ptr + got.len - 4, "\x88\x02\x03\xe9", 4);
    assert_true(bench->client.ended);
}

static void who_sends_too_much_is_read_on_a_second_later(void **state)
{
    struct bench *bench = *state;
    bench->opts.max_rate = 20;
    join(bench);
    SAY(bench, "\x82\x8f" M0 "123456789012345");
    assert_string_equal(bench->heard, "#123456789012345;");
    SAY(bench, "\x81\x81" M0 "a");
    assert_string_equal(bench->heard, "#123456789012345;");
    pass(bench, PS_SECOND);
    assert_string_equal(bench->heard, "#123456789012345;a;");
}

static void many_small_messages_are_read_a_few_at_a_time(void **state)
{
    struct bench *bench = *state;
    bench->opts.max_rate = 1000; /* two of them */
    join(bench);
    SAY(bench, "\x81\x81" M0 "a\x81\x81" M0 "b\x81\x81" M0 "c\x81\x81" M0 "d\x81\x81" M0 "e");
    assert_string_equal(bench->heard, "a;b;");
    pass(bench, PS_SECOND);
    assert_string_equal(bench->heard, "a;b;c;d;");
    pass(bench, PS_SECOND);
    assert_string_equal(bench->heard, "a;b;c;d;e;");
    SAY(bench, "\x81\x81" M0 "f");
    assert_string_equal(bench->heard, "a;b;c;d;e;f;");
}

static void who_hangs_up_while_it_is_held_is_gone_at_once(void **state)
{
    struct bench *bench = *state;
    bench->opts.max_rate = 1000;
    join(bench);
    SAY(bench, "\x81\x81" M0 "a\x81\x81" M0 "b\x81\x81" M0 "c\x81\x81" M0 "d\x81\x81" M0 "e");
    raw_close(&bench->client);
    await_gone(bench, PS_WS_LOST);
    assert_string_equal(bench->heard, "a;b;");
}

/* --- through a server ------------------------------------------------------------------------- */

struct house {
    struct bench *bench;
    struct ps_server *server;
};

static void on_request(void *ctx, struct ps_exchange *exchange)
{
    struct house *house = ctx;
    struct bench *bench = house->bench;
    struct ps_ws_handshake handshake;
    ps_ws_handshake_read(&handshake, ps_exchange_head(exchange));
    assert_int_equal(handshake.status, 101);
    struct ps_stream *stream = ps_ws_accept(exchange, &handshake, PS_STR(""));
    assert_non_null(stream);
    assert_int_equal(ps_ws_open(&bench->ws, bench->turns.loop, stream, &bench->opts), PS_OK);
    ps_server_moved(house->server);
}

static void what_a_client_sends_before_the_answer_is_heard(void **state)
{
    struct bench *bench = *state;
    struct house house = {.bench = bench};
    struct ps_server_opts opts;
    struct ps_address peer;
    int pair[2];
    ps_server_opts_init(&opts);
    opts.on_request = on_request;
    opts.ctx = &house;
    assert_int_equal(ps_server_new(&house.server, bench->turns.loop, &opts), PS_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(ps_address_parse(PS_STR("127.0.0.1:1"), &peer), PS_OK);
    raw_init(&bench->client, pair[1]);
    ps_server_adopt(house.server, pair[0], &peer, NULL);
    SAY(bench, ASK WANTS V13 KEY "\r\n\x81\x82" M0 "hi");
    assert_true(raw_has(&bench->client, "101 Switching"));
    assert_string_equal(bench->heard, "hi;");
    ps_server_free(house.server);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_key_of_the_standard_gets_its_answer),
        cmocka_unit_test(other_requests_are_told_what_is_missing),
        cmocka_unit_test(compression_is_agreed_on_where_it_can_be_shared),
        cmocka_unit_test(frames_of_every_length_have_the_right_head),
        cmocka_unit_test(a_frame_is_compressed_once_where_that_helps),
        CASE(messages_come_and_go_and_pings_are_answered),
        CASE(of_many_pings_the_newest_is_answered),
        CASE(a_goodbye_is_answered_with_its_code),
        CASE(a_goodbye_without_code_is_answered_without),
        CASE(who_breaks_the_rules_hears_why_and_is_let_go),
        CASE(our_goodbye_waits_for_theirs),
        CASE(who_leaves_without_a_word_is_lost),
        CASE(silence_is_asked_about_and_then_the_end),
        CASE(a_slow_reader_misses_messages_and_gets_the_newest_whole),
        CASE(a_reader_that_must_miss_nothing_is_let_go),
        CASE(who_does_not_read_at_all_is_let_go_in_time),
        CASE(a_goodbye_follows_what_is_on_its_way),
        CASE(who_sends_too_much_is_read_on_a_second_later),
        CASE(many_small_messages_are_read_a_few_at_a_time),
        CASE(who_hangs_up_while_it_is_held_is_gone_at_once),
        CASE(what_a_client_sends_before_the_answer_is_heard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
