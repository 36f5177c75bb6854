/* test_server - what a client sees on the wire, and what a handler hears, in every order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http/server.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../helpers/turns.h"

struct bench;
typedef void act_fn(struct bench *bench);

/* One server, one raw client, and a handler that logs events and does `act` at one of them. */
struct bench {
    struct ps_clock clock;
    struct turns turns;
    struct ps_server *server;
    struct ps_server_opts opts;
    struct raw client;
    struct ps_exchange *exchange; /* the latest */
    struct ps_stream *upgraded;
    struct ps_buf body;
    char log[256]; /* r request, b body, e end, d drain, a abort, g gone, R refused, i idle */
    size_t log_len;
    char act_at;
    act_fn *act;
    int acted;
    const char *want;
    int refused;
};

static void note(struct bench *bench, char what)
{
    if (bench->log_len < sizeof bench->log - 1) {
        bench->log[bench->log_len++] = what;
    }
    if (what == bench->act_at && bench->act != NULL) {
        bench->acted++;
        bench->act(bench);
    }
}

static void on_body(void *ctx, struct ps_str data)
{
    struct bench *bench = ctx;
    PS_CHECK(data.len > 0 && ps_buf_append_str(&bench->body, data) == PS_OK);
    note(bench, 'b');
}

static void on_body_end(void *ctx)
{
    note(ctx, 'e');
}

static void on_drain(void *ctx)
{
    note(ctx, 'd');
}

static void on_abort(void *ctx)
{
    struct bench *bench = ctx;
    bench->exchange = NULL;
    note(bench, 'a');
}

static const struct ps_exchange_ops handler_ops = {on_body, on_body_end, on_drain, on_abort};

static void on_request(void *ctx, struct ps_exchange *exchange)
{
    struct bench *bench = ctx;
    bench->exchange = exchange;
    ps_exchange_handle(exchange, &handler_ops, bench);
    note(bench, 'r');
}

static void on_gone(void *ctx, const struct ps_address *peer)
{
    (void)peer;
    note(ctx, 'g');
}

static void on_refused(void *ctx, int status, const struct ps_address *peer)
{
    (void)peer;
    struct bench *bench = ctx;
    bench->refused = status;
    note(bench, 'R');
}

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    ps_clock_init_manual(&bench->clock, PS_HOUR, 784111777 * PS_SECOND);
    ps_server_opts_init(&bench->opts);
    bench->opts.on_request = on_request;
    bench->opts.on_gone = on_gone;
    bench->opts.on_refused = on_refused;
    bench->opts.ctx = bench;
    bench->body = ps_buf_make(64u << 20);
    raw_init(&bench->client, -1);
    bench->turns.raws[0] = &bench->client;
    *state = bench;
    int err = ps_loop_new(&bench->turns.loop, &bench->clock);
    return err != PS_OK ? err : ps_server_new(&bench->server, bench->turns.loop, &bench->opts);
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    bench->act = NULL;
    ps_server_free(bench->server);
    ps_stream_free(bench->upgraded);
    ps_loop_free(bench->turns.loop);
    raw_close(&bench->client);
    ps_buf_fini(&bench->body);
    free(bench);
    return 0;
}

static void set_opts(struct bench *bench)
{
    ps_server_set_opts(bench->server, &bench->opts);
}

static void dial_raw(struct bench *bench, struct raw *raw)
{
    int pair[2];
    struct ps_address peer;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(ps_address_parse(PS_STR("192.0.2.9:1234"), &peer), PS_OK);
    raw_init(raw, pair[1]);
    ps_server_adopt(bench->server, pair[0], &peer, NULL);
}

static void dial(struct bench *bench)
{
    raw_close(&bench->client);
    dial_raw(bench, &bench->client);
}

static void rest(struct bench *bench)
{
    turns_rest(&bench->turns);
}

static bool has_wanted(void *ctx)
{
    struct bench *bench = ctx;
    return raw_has(&bench->client, bench->want);
}

static void await(struct bench *bench, const char *text)
{
    bench->want = text;
    if (!turns_until(&bench->turns, has_wanted, bench)) {
        print_message("got: %.*s\n", PS_STR_ARG(ps_buf_str(&bench->client.got)));
        fail_msg("never came: %s", text);
    }
}

static bool has_ended(void *ctx)
{
    struct bench *bench = ctx;
    return bench->client.ended;
}

static void await_end(struct bench *bench)
{
    assert_true(turns_until(&bench->turns, has_ended, bench));
}

static void ask(struct bench *bench, const char *text)
{
    raw_write(&bench->client, text);
    rest(bench);
}

static void assert_log(const struct bench *bench, const char *want)
{
    assert_string_equal(bench->log, want);
}

static unsigned count_of(const struct bench *bench, const char *text)
{
    unsigned count = 0;
    struct ps_str rest_of = ps_buf_str(&bench->client.got);
    size_t len = strlen(text);
    for (; rest_of.len >= len; rest_of = ps_str_skip(rest_of, 1)) {
        count += memcmp(rest_of.ptr, text, len) == 0;
    }
    return count;
}

/* --- acts ------------------------------------------------------------------------------------- */

static void respond(struct bench *bench)
{
    struct ps_exchange *exchange = bench->exchange;
    bench->exchange = NULL;
    ps_exchange_respond(exchange, 200, PS_STR("X-A: 1\r\n"), PS_STR("text/plain"), PS_STR("hello"));
}

static void reset(struct bench *bench)
{
    struct ps_exchange *exchange = bench->exchange;
    bench->exchange = NULL;
    if (exchange != NULL) {
        ps_exchange_reset(exchange);
    }
}

static void stream_answer(struct bench *bench)
{
    struct ps_exchange *exchange = bench->exchange;
    bench->exchange = NULL;
    assert_int_equal(ps_exchange_start(exchange, 200, PS_STR(""), PS_STR(""), PS_LENGTH_UNKNOWN), PS_OK);
    assert_int_equal(ps_exchange_write(exchange, PS_STR("first ")), PS_OK);
    assert_int_equal(ps_exchange_write(exchange, PS_STR("second")), PS_OK);
    ps_exchange_end(exchange, PS_STR("X-T: t\r\n"));
}

static void start_only(struct bench *bench)
{
    assert_int_equal(ps_exchange_start(bench->exchange, 200, PS_STR(""), PS_STR(""), PS_LENGTH_UNKNOWN), PS_OK);
}

static void pause_body(struct bench *bench)
{
    ps_exchange_pause(bench->exchange);
}

static void pause_and_resume(struct bench *bench)
{
    ps_exchange_pause(bench->exchange);
    ps_exchange_resume(bench->exchange);
}

static void free_server(struct bench *bench)
{
    struct ps_server *server = bench->server;
    bench->server = NULL;
    bench->exchange = NULL;
    ps_server_free(server);
}

/* --- answers ---------------------------------------------------------------------------------- */

static void a_whole_answer_has_date_type_and_length(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'r';
    bench->act = respond;
    dial(bench);
    ask(bench, "GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n");
    struct ps_str want = PS_STR("HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                                "Content-Type: text/plain\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nhello");
    assert_true(ps_str_eq(ps_buf_str(&bench->client.got), want));
    assert_log(bench, "r");
}

static void the_request_can_be_read_piece_by_piece(void **state)
{
    struct bench *bench = *state;
    dial(bench);
    ask(bench, "POST /a?b=c HTTP/1.1\r\nHost: h\r\nX-B: v\r\nContent-Length: 2\r\n\r\n");
    assert_true(ps_str_eq(ps_exchange_path(bench->exchange), PS_STR("/a")));
    assert_true(ps_str_eq(ps_exchange_query(bench->exchange), PS_STR("b=c")));
    assert_true(ps_str_eq(ps_exchange_header(bench->exchange, PS_STR("x-b")), PS_STR("v")));
    assert_null(ps_exchange_header(bench->exchange, PS_STR("x-c")).ptr);
    assert_int_equal(ps_exchange_started(bench->exchange), PS_HOUR);
    assert_false(ps_exchange_is_tls(bench->exchange));
    assert_false(ps_exchange_body_done(bench->exchange));
    ask(bench, "xy");
    assert_true(ps_exchange_body_done(bench->exchange));
    assert_log(bench, "rbe");
    respond(bench);
    await(bench, "hello");
}

static void an_answer_of_unknown_length_is_chunked(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'r';
    bench->act = stream_answer;
    dial(bench);
    ask(bench, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(raw_has(&bench->client, "Transfer-Encoding: chunked\r\n\r\n6\r\nfirst \r\n6\r\nsecond\r\n0\r\nX-T: t\r\n\r\n"));
    assert_false(bench->client.ended);
}

static void http_1_0_gets_its_answer_until_close(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'r';
    bench->act = stream_answer;
    dial(bench);
    raw_write(&bench->client, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    await_end(bench);
    assert_true(raw_has(&bench->client, "Connection: close\r\n\r\nfirst second"));
    assert_false(raw_has(&bench->client, "chunked"));
}

static void http_1_0_may_keep_the_connection_for_a_known_length(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'r';
    bench->act = respond;
    dial(bench);
    ask(bench, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_true(raw_has(&bench->client, "Connection: keep-alive\r\n"));
    raw_write(&bench->client, "GET / HTTP/1.0\r\n\r\n");
    await_end(bench);
    assert_int_equal(count_of(bench, "hello"), 2);
}

static void head_gets_the_head_alone(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'r';
    bench->act = respond;
    dial(bench);
    ask(bench, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(raw_has(&bench->client, "Content-Length: 5\r\n\r\n"));
    assert_false(raw_has(&bench->client, "hello"));
    bench->act = stream_answer;
    ask(bench, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_false(raw_has(&bench->client, "first"));
    bench->act = respond;
    ask(bench, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(count_of(bench, "hello"), 1);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct bench *bench = *state;
    dial(bench);
    ask(bench, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n"
               "xGET /3 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_log(bench, "re");
    respond(bench);
    rest(bench);
    assert_log(bench, "rerbe");
    assert_true(ps_str_eq(ps_exchange_path(bench->exchange), PS_STR("/2")));
    respond(bench);
    rest(bench);
    assert_log(bench, "rerbere");
    bench->act_at = 'r';
    bench->act = respond;
    respond(bench);
    ask(bench, "GET /4 HTTP/1.1\r\nHost: h\r\n\r\nGET /5 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /6 ");
    await_end(bench);
    assert_int_equal(count_of(bench, "hello"), 5);
}

static void a_body_is_asked_for_when_the_client_waits(void **state)
{
    struct bench *bench = *state;
    dial(bench);
    ask(bench, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_true(ps_str_eq(ps_buf_str(&bench->client.got), PS_STR("HTTP/1.1 100 Continue\r\n\r\n")));
    ask(bench, "abc");
    assert_log(bench, "rbe");
    respond(bench);
    await(bench, "hello");
}

static void a_body_is_asked_for_only_when_it_is_wanted(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'r';
    bench->act = pause_body;
    dial(bench);
    ask(bench, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_int_equal(bench->client.got.len, 0);
    ps_exchange_resume(bench->exchange);
    await(bench, "100 Continue");
    bench->act = respond;
    dial(bench);
    raw_write(&bench->client, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    await_end(bench); /* answered without the body: nobody knows what comes next */
    assert_false(raw_has(&bench->client, "100 Continue"));
    assert_true(raw_has(&bench->client, "Connection: close"));
}

static void interim_answers_come_first(void **state)
{
    struct bench *bench = *state;
    dial(bench);
    ask(bench, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    ps_exchange_cork(bench->exchange);
    assert_int_equal(ps_exchange_interim(bench->exchange, 103, PS_STR("Link: <a>\r\n")), PS_OK);
    rest(bench);
    assert_true(ps_str_eq(ps_buf_str(&bench->client.got), PS_STR("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n")));
    respond(bench);
    await(bench, "hello");
}

static void an_answer_shorter_than_promised_breaks_the_connection(void **state)
{
    struct bench *bench = *state;
    dial(bench);
    ask(bench, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(ps_exchange_start(bench->exchange, 200, PS_STR(""), PS_STR(""), 10), PS_OK);
    assert_int_equal(ps_exchange_write(bench->exchange, PS_STR("123")), PS_OK);
    ps_exchange_end(bench->exchange, PS_STR(""));
    await_end(bench);
    assert_int_equal(ps_server_connections(bench->server), 0);
}

static void an_answer_never_exceeds_its_length(void **state)
{
    struct bench *bench = *state;
    dial(bench);
    ask(bench, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(ps_exchange_start(bench->exchange, 200, PS_STR(""), PS_STR(""), 4), PS_OK);
    assert_int_equal(ps_exchange_write(bench->exchange, PS_STR("1234567")), PS_OK);
    ps_exchange_end(bench->exchange, PS_STR(""));
    await(bench, "\r\n\r\n1234");
    rest(bench);
    assert_false(raw_has(&bench->client, "12345"));
}

static void a_head_without_a_body_leaves_at_the_end_of_the_turn(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'r';
    bench->act = start_only;
    dial(bench);
    ask(bench, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(raw_has(&bench->client, "chunked\r\n\r\n"));
    ps_exchange_end(bench->exchange, PS_STR(""));
    await(bench, "\r\n\r\n0\r\n\r\n");
}

static void a_corked_answer_leaves_whole(void **state)
{
    struct bench *bench = *state;
    dial(bench);
    ask(bench, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    ps_exchange_cork(bench->exchange);
    start_only(bench);
    static const char data[] = "0123456789012345678901234567890123456789";
    for (int i = 0; i < 40; i++) {
        assert_int_equal(ps_exchange_write(bench->exchange, (struct ps_str){data, 40}), PS_OK);
    }
    ps_exchange_end(bench->exchange, PS_STR(""));
    await(bench, "\r\n0\r\n\r\n");
    assert_int_equal(count_of(bench, "28\r\n0123456789012345678901234567890123456789\r\n"), 40);
}

/* --- early answers ---------------------------------------------------------------------------- */

static void an_early_answer_keeps_the_connection_for_a_small_rest(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'r';
    bench->act = respond;
    dial(bench);
    ask(bench, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345");
    assert_int_equal(count_of(bench, "hello"), 1);
    ask(bench, "67890GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(count_of(bench, "hello"), 2);
    assert_log(bench, "rr"); /* the dropped rest is not told */
}

static void an_early_answer_to_a_long_body_is_delivered_before_the_end(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'r';
    bench->act = respond;
    dial(bench);
    raw_write(&bench->client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n12345");
    await_end(bench);
    assert_true(raw_has(&bench->client, "Connection: close"));
    assert_true(raw_has(&bench->client, "hello"));
    assert_int_equal(ps_server_connections(bench->server), 1); /* lingers */
    raw_write(&bench->client, "more and more");
    rest(bench);
    assert_int_equal(ps_server_connections(bench->server), 1);
    ps_clock_advance(&bench->clock, 3 * PS_SECOND);
    rest(bench);
    assert_int_equal(ps_server_connections(bench->server), 0);
    assert_log(bench, "rg");
}

static void an_answer_in_the_middle_of_a_chunked_body_closes(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'b';
    bench->act = respond;
    dial(bench);
    raw_write(&bench->client, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n");
    await_end(bench);
    assert_true(raw_has(&bench->client, "hello"));
    assert_log(bench, "rb");
}

static void a_paused_body_is_dropped_after_the_answer(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'b';
    bench->act = pause_body;
    dial(bench);
    ask(bench, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc");
    assert_log(bench, "rb");
    respond(bench);
    ask(bench, "def");
    bench->act = NULL;
    ask(bench, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_log(bench, "rbre");
}

/* --- pausing ---------------------------------------------------------------------------------- */

static const char *const three_shapes[] = {
    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabcdef",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n0\r\nX: y\r\n\r\n",
};

/* Every event pauses; every pause is lifted a little later; at the end all is there. */
static void pausing_at_every_event_loses_nothing(void **state)
{
    struct bench *bench = *state;
    bench->act = pause_body;
    for (size_t shape = 0; shape < 3; shape++) {
        for (const char *at = "rb"; *at != '\0'; at++) {
            for (int pipelined = 0; pipelined < 2; pipelined++) {
                memset(bench->log, 0, sizeof bench->log);
                bench->log_len = 0;
                ps_buf_clear(&bench->body);
                bench->act_at = *at;
                dial(bench);
                raw_write(&bench->client, three_shapes[shape]);
                if (pipelined) {
                    raw_write(&bench->client, "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
                }
                rest(bench);
                for (int i = 0; i < 4 && strchr(bench->log, 'e') == NULL; i++) {
                    ps_exchange_resume(bench->exchange);
                    rest(bench);
                }
                bench->act_at = '-';
                assert_true(ps_str_eq(ps_buf_str(&bench->body), PS_STR("abcdef")));
                assert_non_null(strchr(bench->log, 'e'));
                respond(bench);
                await(bench, "hello");
                if (pipelined) {
                    rest(bench);
                    assert_true(ps_str_eq(ps_exchange_path(bench->exchange), PS_STR("/2")));
                    respond(bench);
                    rest(bench);
                }
            }
        }
    }
}

static void pausing_and_resuming_inside_loses_nothing(void **state)
{
    struct bench *bench = *state;
    bench->act = pause_and_resume;
    for (const char *at = "rb"; *at != '\0'; at++) {
        for (size_t shape = 0; shape < 3; shape++) {
            ps_buf_clear(&bench->body);
            bench->act_at = *at;
            dial(bench);
            ask(bench, three_shapes[shape]);
            assert_true(ps_str_eq(ps_buf_str(&bench->body), PS_STR("abcdef")));
            assert_true(ps_exchange_body_done(bench->exchange));
            respond(bench);
            await(bench, "hello");
        }
    }
}

/* --- endings in every callback ---------------------------------------------------------------- */

static void every_callback_may_answer_reset_or_free_the_server(void **state)
{
    static act_fn *const acts[] = {respond, stream_answer, reset, free_server};
    struct bench *bench = *state;
    for (const char *at = "rbe"; *at != '\0'; at++) {
        for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
            for (size_t shape = 0; shape < 3; shape++) {
                if (bench->server == NULL) {
                    assert_int_equal(ps_server_new(&bench->server, bench->turns.loop, &bench->opts), PS_OK);
                }
                bench->act_at = *at;
                bench->act = acts[i];
                bench->acted = 0;
                dial(bench);
                raw_write(&bench->client, three_shapes[shape]);
                rest(bench);
                assert_int_equal(bench->acted, 1);
                bool answered = raw_has(&bench->client, "hello") || raw_has(&bench->client, "second");
                assert_int_equal(answered, i < 2);
                assert_true(answered || bench->client.ended);
            }
        }
    }
}

static void a_drained_answer_may_end_inside_on_drain(void **state)
{
    struct bench *bench = *state;
    static char big[2 << 20];
    bench->act_at = 'd';
    bench->act = reset;
    dial(bench);
    ask(bench, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    bench->turns.raws[0] = NULL;
    start_only(bench);
    memset(big, 'x', sizeof big);
    assert_int_equal(ps_exchange_write(bench->exchange, (struct ps_str){big, sizeof big}), PS_OK);
    assert_true(ps_exchange_queued(bench->exchange) > 0);
    rest(bench);
    assert_log(bench, "re");
    bench->turns.raws[0] = &bench->client;
    await_end(bench);
    rest(bench);
    assert_log(bench, "redg");
}

static void a_client_that_leaves_aborts_the_exchange(void **state)
{
    struct bench *bench = *state;
    static const char *const stages[] = {
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabcdef",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabcdefGET / HTTP/1.1\r\n",
    };
    static const char *const logs[] = {"rga", "rbga", "rbega", "rbega"};
    for (size_t i = 0; i < 4; i++) {
        for (int paused = 0; paused < 2; paused++) {
            memset(bench->log, 0, sizeof bench->log);
            bench->log_len = 0;
            dial(bench);
            ask(bench, stages[i]);
            if (paused) {
                ps_exchange_pause(bench->exchange);
            }
            close(bench->client.fd);
            bench->client.fd = -1;
            rest(bench);
            assert_log(bench, logs[i]);
            assert_int_equal(ps_server_connections(bench->server), 0);
        }
    }
}

/* --- refusals --------------------------------------------------------------------------------- */

static void malformed_requests_are_refused_and_closed(void **state)
{
    static const struct {
        const char *text;
        const char *status;
    } rows[] = {
        {"\x16\x03\x01", "HTTP/1.1 400 "},
        {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
        {"GET / HTTP/3.0\r\nHost: h\r\n\r\n", "HTTP/1.1 505 "},
        {"BREW / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 501 "},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 400 "},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n", "HTTP/1.1 413 "},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "HTTP/1.1 400 "},
    };
    struct bench *bench = *state;
    char many[2001];
    for (int i = 0; i < 200; i++) {
        snprintf(many + i * 10, 11, "X-%03d: a\r\n", i);
    }
    bench->opts.refusal_headers = (struct ps_str){many, 2000}; /* longer than any room on a stack */
    set_opts(bench);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        dial(bench);
        raw_write(&bench->client, rows[i].text);
        await_end(bench);
        assert_true(raw_has(&bench->client, rows[i].status));
        assert_true(raw_has(&bench->client, "Connection: close\r\nX-000: a\r\n"));
        assert_true(raw_has(&bench->client, "X-199: a\r\n\r\n{\"type\""));
        close(bench->client.fd);
        bench->client.fd = -1;
        rest(bench);
        assert_int_equal(ps_server_connections(bench->server), 0);
    }
}

static void more_headers_may_be_allowed_later(void **state)
{
    struct bench *bench = *state;
    char head[2048] = "GET / HTTP/1.1\r\nHost: h\r\n";
    for (int i = 0; i < 120; i++) {
        strcat(head, "X-A: 1\r\n");
    }
    strcat(head, "\r\n");
    bench->act_at = 'r';
    bench->act = respond;
    dial(bench);
    raw_write(&bench->client, head);
    await(bench, "431 ");
    bench->opts.limits.max_headers = 200;
    set_opts(bench);
    dial(bench);
    raw_write(&bench->client, head);
    await(bench, "200 OK");
}

static void a_body_that_grows_too_long_is_cut_off(void **state)
{
    struct bench *bench = *state;
    bench->opts.max_body = 4;
    set_opts(bench);
    dial(bench);
    ask(bench, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n");
    await(bench, "HTTP/1.1 413 ");
    assert_log(bench, "rbRa");
    assert_int_equal(bench->refused, 413);
}

static void a_refusal_under_a_cork_is_sent(void **state)
{
    struct bench *bench = *state;
    dial(bench);
    ask(bench, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    ps_exchange_cork(bench->exchange);
    ask(bench, "rubbish\r\n");
    await(bench, "HTTP/1.1 400 ");
    assert_log(bench, "rRa");
}

static void more_connections_than_allowed_are_closed(void **state)
{
    struct bench *bench = *state;
    bench->opts.max_connections = 1;
    set_opts(bench);
    struct raw second;
    dial(bench);
    dial_raw(bench, &second);
    bench->turns.raws[1] = &second;
    rest(bench);
    assert_true(second.ended);
    assert_int_equal(ps_server_connections(bench->server), 1);
    bench->turns.raws[1] = NULL;
    raw_close(&second);
}

/* --- time ------------------------------------------------------------------------------------- */

static void pass(struct bench *bench, ps_span span)
{
    ps_clock_advance(&bench->clock, span);
    rest(bench);
}

static void a_slow_head_is_answered_408(void **state)
{
    struct bench *bench = *state;
    dial(bench);
    ask(bench, "GET / HT");
    pass(bench, 9 * PS_SECOND);
    ask(bench, "TP/1.1\r\n"); /* trickling does not help */
    assert_int_equal(bench->client.got.len, 0);
    pass(bench, 2 * PS_SECOND);
    await(bench, "HTTP/1.1 408 ");
    await_end(bench);
    assert_int_equal(bench->refused, 408);
}

static void a_slow_body_is_answered_408(void **state)
{
    struct bench *bench = *state;
    dial(bench);
    ask(bench, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
    pass(bench, 29 * PS_SECOND);
    ask(bench, "a");
    pass(bench, 29 * PS_SECOND);
    ask(bench, "b");
    assert_int_equal(bench->client.got.len, 0);
    pass(bench, 31 * PS_SECOND);
    await(bench, "HTTP/1.1 408 ");
    assert_log(bench, "rbbRa");
}

static void a_body_that_we_do_not_read_is_not_slow(void **state)
{
    struct bench *bench = *state;
    dial(bench);
    ask(bench, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
    ps_exchange_pause(bench->exchange);
    for (int i = 0; i < 30; i++) {
        pass(bench, 10 * PS_SECOND);
    }
    ps_exchange_resume(bench->exchange);
    pass(bench, 29 * PS_SECOND);
    assert_log(bench, "r");
    ask(bench, "123456789");
    assert_log(bench, "rbe");
    respond(bench);
    await(bench, "hello");
}

static void an_idle_connection_is_closed_in_silence(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'r';
    bench->act = respond;
    dial(bench);
    ask(bench, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    pass(bench, 74 * PS_SECOND);
    assert_false(bench->client.ended);
    ask(bench, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    pass(bench, 74 * PS_SECOND);
    assert_false(bench->client.ended);
    pass(bench, 2 * PS_SECOND);
    assert_true(bench->client.ended);
    assert_false(raw_has(&bench->client, "408"));
    assert_log(bench, "rrg");
}

static void a_slow_answer_of_ours_keeps_the_connection(void **state)
{
    struct bench *bench = *state;
    dial(bench);
    ask(bench, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        pass(bench, PS_MINUTE);
    }
    respond(bench);
    await(bench, "hello");
}

static void a_client_that_reads_nothing_is_cut_off(void **state)
{
    struct bench *bench = *state;
    static char big[2 << 20];
    dial(bench);
    ask(bench, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    bench->turns.raws[0] = NULL;
    start_only(bench);
    assert_int_equal(ps_exchange_write(bench->exchange, (struct ps_str){big, sizeof big}), PS_OK);
    rest(bench);
    for (int i = 0; i < 4 && strchr(bench->log, 'g') == NULL; i++) {
        pass(bench, 35 * PS_SECOND);
    }
    assert_log(bench, "rega");
}

static void the_last_answer_waits_for_a_client_that_reads_slowly(void **state)
{
    struct bench *bench = *state;
    static char big[2 << 20];
    dial(bench);
    ask(bench, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    bench->turns.raws[0] = NULL;
    start_only(bench);
    assert_int_equal(ps_exchange_write(bench->exchange, (struct ps_str){big, sizeof big}), PS_OK);
    ps_exchange_end(bench->exchange, PS_STR(""));
    pass(bench, 30 * PS_SECOND);
    assert_int_equal(ps_server_connections(bench->server), 1);
    bench->turns.raws[0] = &bench->client;
    await(bench, "0\r\n\r\n");
    await_end(bench);
    assert_true(bench->client.got.len > sizeof big);
    rest(bench); /* until the server has seen that all is out: from now on it only lingers */
    pass(bench, 3 * PS_SECOND);
    assert_int_equal(ps_server_connections(bench->server), 0);
}

/* --- draining --------------------------------------------------------------------------------- */

static void on_idle(void *ctx)
{
    note(ctx, 'i');
}

static void draining_closes_idle_and_finishes_busy_connections(void **state)
{
    struct bench *bench = *state;
    struct raw idle;
    struct raw half;
    dial_raw(bench, &idle);
    dial_raw(bench, &half);
    bench->turns.raws[1] = &idle;
    bench->turns.raws[2] = &half;
    dial(bench);
    raw_write(&half, "GET /half HTTP");
    ask(bench, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    ps_server_drain(bench->server, on_idle, bench);
    rest(bench);
    assert_true(idle.ended);
    assert_false(half.ended);
    assert_int_equal(ps_server_connections(bench->server), 2);
    respond(bench);
    await_end(bench);
    assert_true(raw_has(&bench->client, "Connection: close"));
    raw_write(&half, "/1.1\r\nHost: h\r\n\r\n");
    rest(bench);
    respond(bench);
    rest(bench);
    assert_true(half.ended && raw_has(&half, "Connection: close"));
    assert_log(bench, "reggregi");
    struct raw late;
    dial_raw(bench, &late);
    bench->turns.raws[3] = &late;
    rest(bench);
    assert_true(late.ended);
    memset(bench->turns.raws, 0, sizeof bench->turns.raws);
    raw_close(&idle);
    raw_close(&half);
    raw_close(&late);
}

static void draining_without_connections_is_idle_at_once(void **state)
{
    struct bench *bench = *state;
    ps_server_drain(bench->server, on_idle, bench);
    assert_log(bench, ""); /* from the loop, not from inside */
    rest(bench);
    assert_log(bench, "i");
}

/* --- upgrading -------------------------------------------------------------------------------- */

static size_t on_tunnel_data(void *ctx, struct ps_str data)
{
    struct bench *bench = ctx;
    PS_CHECK(ps_buf_append_str(&bench->body, data) == PS_OK);
    return data.len;
}

static void on_tunnel_close(void *ctx, int err)
{
    (void)err;
    note(ctx, 'x');
}

static const struct ps_stream_ops tunnel_ops = {NULL, on_tunnel_data, NULL, on_tunnel_close};

static void upgrade(struct bench *bench)
{
    bench->upgraded = ps_exchange_upgrade(bench->exchange, PS_STR("HTTP/1.1 101 Switching Protocols\r\n\r\n"));
    bench->exchange = NULL;
    assert_non_null(bench->upgraded);
    ps_stream_set_owner(bench->upgraded, &tunnel_ops, bench);
    ps_stream_resume(bench->upgraded);
}

static void an_upgraded_connection_hands_over_what_follows(void **state)
{
    struct bench *bench = *state;
    for (int inside = 0; inside < 2; inside++) {
        memset(bench->log, 0, sizeof bench->log);
        bench->log_len = 0;
        ps_buf_clear(&bench->body);
        bench->act_at = inside ? 'r' : '-';
        bench->act = upgrade;
        dial(bench);
        ask(bench, "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\npending");
        if (!inside) {
            upgrade(bench);
        }
        await(bench, "101 Switching");
        ask(bench, " bytes");
        assert_true(ps_str_eq(ps_buf_str(&bench->body), PS_STR("pending bytes")));
        assert_int_equal(ps_server_connections(bench->server), 0);
        close(bench->client.fd);
        bench->client.fd = -1;
        rest(bench);
        assert_string_equal(bench->log + bench->log_len - 1, "x");
        ps_stream_free(bench->upgraded);
        bench->upgraded = NULL;
        struct ps_address peer;
        assert_int_equal(ps_address_parse(PS_STR("192.0.2.9:1234"), &peer), PS_OK);
        ps_server_gone(bench->server, &peer);
        assert_string_equal(bench->log + bench->log_len - 2, "xg");
    }
}

static void an_upgraded_connection_counts_until_it_is_gone(void **state)
{
    struct bench *bench = *state;
    bench->opts.max_connections = 1;
    set_opts(bench);
    bench->act_at = 'r';
    bench->act = upgrade;
    dial(bench);
    ask(bench, "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    assert_log(bench, "r"); /* nobody is gone */
    struct raw second;
    dial_raw(bench, &second);
    bench->turns.raws[1] = &second;
    rest(bench);
    assert_true(second.ended);
    bench->turns.raws[1] = NULL;
    raw_close(&second);
    ps_stream_free(bench->upgraded);
    bench->upgraded = NULL;
    struct ps_address peer;
    assert_int_equal(ps_address_parse(PS_STR("192.0.2.9:1234"), &peer), PS_OK);
    ps_server_gone(bench->server, &peer);
    assert_log(bench, "rg");
    bench->act = NULL;
    dial(bench);
    ask(bench, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    respond(bench);
    await(bench, "hello");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_whole_answer_has_date_type_and_length),
        CASE(the_request_can_be_read_piece_by_piece),
        CASE(an_answer_of_unknown_length_is_chunked),
        CASE(http_1_0_gets_its_answer_until_close),
        CASE(http_1_0_may_keep_the_connection_for_a_known_length),
        CASE(head_gets_the_head_alone),
        CASE(pipelined_requests_are_answered_in_order),
        CASE(a_body_is_asked_for_when_the_client_waits),
        CASE(a_body_is_asked_for_only_when_it_is_wanted),
        CASE(interim_answers_come_first),
        CASE(an_answer_shorter_than_promised_breaks_the_connection),
        CASE(an_answer_never_exceeds_its_length),
        CASE(a_head_without_a_body_leaves_at_the_end_of_the_turn),
        CASE(a_corked_answer_leaves_whole),
        CASE(an_early_answer_keeps_the_connection_for_a_small_rest),
        CASE(an_early_answer_to_a_long_body_is_delivered_before_the_end),
        CASE(an_answer_in_the_middle_of_a_chunked_body_closes),
        CASE(a_paused_body_is_dropped_after_the_answer),
        CASE(pausing_at_every_event_loses_nothing),
        CASE(pausing_and_resuming_inside_loses_nothing),
        CASE(every_callback_may_answer_reset_or_free_the_server),
        CASE(a_drained_answer_may_end_inside_on_drain),
        CASE(a_client_that_leaves_aborts_the_exchange),
        CASE(malformed_requests_are_refused_and_closed),
        CASE(more_headers_may_be_allowed_later),
        CASE(a_body_that_grows_too_long_is_cut_off),
        CASE(a_refusal_under_a_cork_is_sent),
        CASE(more_connections_than_allowed_are_closed),
        CASE(a_slow_head_is_answered_408),
        CASE(a_slow_body_is_answered_408),
        CASE(a_body_that_we_do_not_read_is_not_slow),
        CASE(an_idle_connection_is_closed_in_silence),
        CASE(a_slow_answer_of_ours_keeps_the_connection),
        CASE(a_client_that_reads_nothing_is_cut_off),
        CASE(the_last_answer_waits_for_a_client_that_reads_slowly),
        CASE(draining_closes_idle_and_finishes_busy_connections),
        CASE(draining_without_connections_is_idle_at_once),
        CASE(an_upgraded_connection_hands_over_what_follows),
        CASE(an_upgraded_connection_counts_until_it_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
