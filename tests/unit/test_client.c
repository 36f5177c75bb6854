/* test_client - calls to a scripted server: what is sent, what is heard, and how it ends.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http/client.h"

#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../helpers/turns.h"
#include "http/server.h"
#include "io/stream.h"

struct bench;
typedef void act_fn(struct bench *bench);

struct bench {
    struct ps_clock clock;
    struct turns turns;
    struct ps_client_pool *pool;
    struct ps_server *server;
    struct ps_pool_opts opts;
    int listening;
    struct raw far; /* the latest accepted connection */
    struct raw older;
    struct ps_call *call;
    struct ps_stream *upgraded;
    struct ps_buf body;
    struct ps_buf trailers;
    struct ps_call_error error;
    char log[128]; /* i interim, h head, b body, e end, x error, t batch, d drain, s stream data, c its close */
    size_t log_len;
    char act_at;
    act_fn *act;
    int acted;
    int status;
    const char *want;
    bool quiet_batches;
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

static void on_interim(void *ctx, const struct ps_h1_head *head)
{
    struct bench *bench = ctx;
    bench->status = head->status;
    note(bench, 'i');
}

static void on_head(void *ctx, const struct ps_h1_head *head)
{
    struct bench *bench = ctx;
    bench->status = head->status;
    note(bench, 'h');
}

static void on_body(void *ctx, struct ps_str data)
{
    struct bench *bench = ctx;
    PS_CHECK(ps_buf_append_str(&bench->body, data) == PS_OK);
    note(bench, 'b');
}

static void on_end(void *ctx, struct ps_str trailers)
{
    struct bench *bench = ctx;
    bench->call = NULL;
    PS_CHECK(ps_buf_append_str(&bench->trailers, trailers) == PS_OK);
    note(bench, 'e');
}

static void on_error(void *ctx, const struct ps_call_error *error)
{
    struct bench *bench = ctx;
    bench->call = NULL;
    bench->error = *error;
    bench->error.detail = NULL;
    note(bench, 'x');
}

static void on_batch(void *ctx)
{
    struct bench *bench = ctx;
    if (!bench->quiet_batches) {
        note(bench, 't');
    }
}

static void on_drain(void *ctx)
{
    struct bench *bench = ctx;
    if (bench->act_at == 'd') {
        note(bench, 'd');
    }
}

static const struct ps_call_ops call_ops = {on_interim, on_head, on_body, on_end, on_error, on_batch, on_drain};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    ps_clock_init_manual(&bench->clock, PS_HOUR, PS_HOUR);
    bench->body = ps_buf_make(64u << 20);
    bench->trailers = ps_buf_make(64u << 10);
    bench->quiet_batches = true;
    raw_init(&bench->far, -1);
    raw_init(&bench->older, -1);
    bench->turns.raws[0] = &bench->far;
    bench->turns.raws[1] = &bench->older;
    ps_pool_opts_init(&bench->opts);
    struct ps_address at;
    int err = ps_address_parse(PS_STR("127.0.0.1:0"), &at);
    err = err != PS_OK ? err : ps_listen(&at, &bench->listening);
    at.len = sizeof at.storage;
    getsockname(bench->listening, (struct sockaddr *)&at.storage, &at.len);
    bench->opts.address = at;
    *state = bench;
    err = err != PS_OK ? err : ps_loop_new(&bench->turns.loop, &bench->clock);
    return err != PS_OK ? err : ps_pool_new(&bench->pool, bench->turns.loop, &bench->opts);
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    bench->act = NULL;
    ps_call_cancel(bench->call);
    ps_pool_free(bench->pool);
    ps_server_free(bench->server);
    ps_stream_free(bench->upgraded);
    ps_loop_free(bench->turns.loop);
    raw_close(&bench->far);
    raw_close(&bench->older);
    if (bench->listening >= 0) {
        close(bench->listening);
    }
    ps_buf_fini(&bench->body);
    ps_buf_fini(&bench->trailers);
    free(bench);
    return 0;
}

static void new_pool(struct bench *bench)
{
    ps_pool_free(bench->pool);
    assert_int_equal(ps_pool_new(&bench->pool, bench->turns.loop, &bench->opts), PS_OK);
}

static void rest(struct bench *bench)
{
    turns_rest(&bench->turns);
}

static bool has_connection(void *ctx)
{
    struct bench *bench = ctx;
    if (bench->far.fd < 0) {
        bench->far.fd = accept4(bench->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
    return bench->far.fd >= 0;
}

/* Takes the next connection in; the one before goes on as `older`. */
static void accept_next(struct bench *bench)
{
    raw_close(&bench->older);
    bench->older = bench->far;
    raw_init(&bench->far, -1);
    assert_true(turns_until(&bench->turns, has_connection, bench));
}

static const struct ps_call_request get = {
    .head = {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 27},
};

static void start(struct bench *bench, const struct ps_call_request *request)
{
    assert_int_equal(ps_call_start(&bench->call, bench->pool, request, &call_ops, bench), PS_OK);
}

static void answer(struct bench *bench, const char *text)
{
    raw_write(&bench->far, text);
    rest(bench);
}

static void forget(struct bench *bench)
{
    memset(bench->log, 0, sizeof bench->log);
    bench->log_len = 0;
    ps_buf_clear(&bench->body);
    ps_buf_clear(&bench->trailers);
}

static void assert_log(const struct bench *bench, const char *want)
{
    assert_string_equal(bench->log, want);
}

static void assert_body(const struct bench *bench, const char *want)
{
    assert_true(ps_str_eq(ps_buf_str(&bench->body), ps_str_from(want)));
}

static void assert_failed(const struct bench *bench, int err, enum ps_call_phase phase)
{
    assert_null(bench->call);
    assert_int_equal(bench->error.err, err);
    assert_string_equal(ps_call_phase_text(bench->error.phase), ps_call_phase_text(phase));
}

static void pass(struct bench *bench, ps_span span)
{
    ps_clock_advance(&bench->clock, span);
    rest(bench);
}

#define OK_2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/* --- answers ---------------------------------------------------------------------------------- */

static void a_connection_is_used_again(void **state)
{
    struct bench *bench = *state;
    start(bench, &get);
    accept_next(bench);
    answer(bench, OK_2);
    assert_log(bench, "hbe");
    assert_body(bench, "ok");
    assert_int_equal(ps_pool_idle(bench->pool), 1);
    start(bench, &get);
    assert_int_equal(ps_pool_idle(bench->pool), 0);
    rest(bench);
    answer(bench, OK_2);
    assert_log(bench, "hbehbe");
    assert_int_equal(ps_pool_idle(bench->pool), 1);
    struct ps_call_request fresh = get;
    fresh.fresh = true;
    start(bench, &fresh);
    accept_next(bench);
    answer(bench, OK_2);
    assert_int_equal(ps_pool_idle(bench->pool), 2);
    ps_pool_close_idle(bench->pool);
    rest(bench);
    assert_int_equal(ps_pool_idle(bench->pool), 0);
    assert_true(bench->far.ended && bench->older.ended);
}

static void the_pool_keeps_no_more_than_it_may(void **state)
{
    struct bench *bench = *state;
    bench->opts.max_idle = 0;
    new_pool(bench);
    start(bench, &get);
    accept_next(bench);
    answer(bench, OK_2);
    assert_int_equal(ps_pool_idle(bench->pool), 0);
    assert_true(bench->far.ended);
}

static void answers_of_every_framing_are_read(void **state)
{
    static const struct {
        const char *text;
        const char *body;
        const char *trailers;
        bool kept;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", "", true},
        {"HTTP/1.1 204 No Content\r\n\r\n", "", "", true},
        {"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "", "", true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok", "", true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\nX-T: t\r\n\r\n", "ok",
         "X-T: t\r\n", true},
        {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "ok", "", false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", "", false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokrubbish", "ok", "", false},
    };
    struct bench *bench = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        forget(bench);
        new_pool(bench);
        start(bench, &get);
        accept_next(bench);
        answer(bench, rows[i].text);
        assert_null(bench->call);
        assert_body(bench, rows[i].body);
        assert_true(ps_str_eq(ps_buf_str(&bench->trailers), ps_str_from(rows[i].trailers)));
        assert_int_equal(ps_pool_idle(bench->pool), rows[i].kept);
    }
}

static void an_answer_may_end_with_the_connection(void **state)
{
    struct bench *bench = *state;
    start(bench, &get);
    accept_next(bench);
    answer(bench, "HTTP/1.1 200 OK\r\n\r\nto the ");
    answer(bench, "end");
    shutdown(bench->far.fd, SHUT_WR);
    rest(bench);
    assert_body(bench, "to the end");
    assert_log(bench, "hbbe");
    assert_int_equal(ps_pool_idle(bench->pool), 0);
}

static void head_has_no_body_even_after_an_interim_answer(void **state)
{
    struct bench *bench = *state;
    struct ps_call_request head = {.head = PS_STR("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"), .is_head = true};
    start(bench, &head);
    accept_next(bench);
    answer(bench, "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n");
    assert_int_equal(bench->status, 103);
    answer(bench, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    assert_log(bench, "ihe");
    assert_int_equal(ps_pool_idle(bench->pool), 1);
    start(bench, &get);
    rest(bench);
    answer(bench, OK_2);
    assert_body(bench, "ok"); /* what was said of HEAD is forgotten */
}

static void batches_are_told_after_each_read(void **state)
{
    struct bench *bench = *state;
    bench->quiet_batches = false;
    start(bench, &get);
    accept_next(bench);
    answer(bench, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n");
    assert_log(bench, "hbbt");
    answer(bench, "0\r\n\r\n");
    assert_log(bench, "hbbte");
}

/* --- requests --------------------------------------------------------------------------------- */

static bool far_has_wanted(void *ctx)
{
    struct bench *bench = ctx;
    return raw_has(&bench->far, bench->want);
}

static void await_far(struct bench *bench, const char *text)
{
    bench->want = text;
    if (!turns_until(&bench->turns, far_has_wanted, bench)) {
        print_message("got: %.*s\n", PS_STR_ARG(ps_buf_str(&bench->far.got)));
        fail_msg("never came: %s", text);
    }
}

static void bodies_are_sent_in_every_shape(void **state)
{
    struct bench *bench = *state;
    struct ps_str head = PS_STR("POST / HTTP/1.1\r\nHost: h\r\n\r\n");
    struct ps_str pieces[3] = {PS_STR("one "), PS_STR(""), PS_STR("two")};
    struct ps_call_request request = {.head = head, .pieces = pieces, .piece_count = 3, .fresh = true};
    start(bench, &request);
    accept_next(bench);
    await_far(bench, "\r\n\r\none two");
    answer(bench, OK_2);

    request = (struct ps_call_request){.head = head, .body = PS_STR("abc"), .chunked = true, .fresh = true};
    start(bench, &request);
    accept_next(bench);
    await_far(bench, "\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    answer(bench, OK_2);

    request = (struct ps_call_request){.head = head, .chunked = true, .fresh = true};
    start(bench, &request);
    accept_next(bench);
    await_far(bench, "\r\n\r\n0\r\n\r\n");
    answer(bench, OK_2);

    request = (struct ps_call_request){
        .head = head, .body = PS_STR("a"), .chunked = true, .body_follows = true, .fresh = true};
    start(bench, &request);
    assert_int_equal(ps_call_write(bench->call, PS_STR("bc")), PS_OK); /* before it is connected */
    accept_next(bench);
    assert_int_equal(ps_call_write(bench->call, PS_STR("")), PS_OK);
    assert_int_equal(ps_call_write(bench->call, PS_STR("def")), PS_OK);
    ps_call_end(bench->call);
    await_far(bench, "\r\n\r\n1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n");
    answer(bench, OK_2);
    assert_int_equal(ps_pool_idle(bench->pool), 2); /* the others were closed over there */
}

static void an_early_answer_leaves_a_connection_that_nobody_may_use(void **state)
{
    struct bench *bench = *state;
    struct ps_call_request request = {
        .head = PS_STR("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n"), .body_follows = true};
    start(bench, &request);
    accept_next(bench);
    answer(bench, OK_2);
    assert_log(bench, "hbe");
    assert_int_equal(ps_pool_idle(bench->pool), 0); /* half a request is in it */
    assert_true(bench->far.ended);
}

/* --- errors ----------------------------------------------------------------------------------- */

static void a_refused_connection_is_an_error_of_connecting(void **state)
{
    struct bench *bench = *state;
    close(bench->listening);
    bench->listening = -1;
    start(bench, &get);
    assert_log(bench, ""); /* never from inside */
    rest(bench);
    assert_log(bench, "x");
    assert_failed(bench, PS_EREFUSED, PS_CALL_CONNECT);
    assert_false(bench->error.sent_some);
    assert_false(bench->error.reused);
}

static void a_stale_connection_is_told_as_reused(void **state)
{
    struct bench *bench = *state;
    start(bench, &get);
    accept_next(bench);
    answer(bench, OK_2);
    start(bench, &get); /* and in the same moment the server closes */
    raw_close(&bench->far);
    rest(bench);
    assert_log(bench, "hbex");
    assert_true(bench->error.reused);
    assert_null(bench->call);
}

static void an_idle_connection_that_closes_or_talks_leaves_the_pool(void **state)
{
    struct bench *bench = *state;
    for (int talks = 0; talks < 2; talks++) {
        start(bench, &get);
        accept_next(bench);
        answer(bench, OK_2);
        assert_int_equal(ps_pool_idle(bench->pool), 1);
        if (talks) {
            answer(bench, OK_2);
        } else {
            raw_close(&bench->far);
            rest(bench);
        }
        assert_int_equal(ps_pool_idle(bench->pool), 0);
    }
}

static void broken_answers_are_told_with_their_phase(void **state)
{
    static const struct {
        const char *text;
        int err;
        enum ps_call_phase phase;
    } rows[] = {
        {"rubbish\r\n", PS_EPARSE, PS_CALL_HEAD},
        {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", PS_EPARSE, PS_CALL_HEAD},
        {"HTTP/1.1 200 OK\r\nContent-Le", PS_ECLOSED, PS_CALL_HEAD},
        {"HTTP/1.1 100 Continue\r\n\r\n", PS_ECLOSED, PS_CALL_HEAD},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", PS_ECLOSED, PS_CALL_BODY},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", PS_ECLOSED, PS_CALL_BODY},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", PS_EPARSE, PS_CALL_BODY},
        {"", PS_ECLOSED, PS_CALL_HEAD},
    };
    struct bench *bench = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        forget(bench);
        start(bench, &get);
        accept_next(bench);
        await_far(bench, "\r\n\r\n");
        if (rows[i].text[0] != '\0') {
            raw_write(&bench->far, rows[i].text);
        }
        shutdown(bench->far.fd, SHUT_WR);
        rest(bench);
        assert_failed(bench, rows[i].err, rows[i].phase);
        assert_true(bench->error.sent_some);
        assert_int_equal(ps_pool_idle(bench->pool), 0);
    }
}

static void an_answer_before_a_reset_is_heard(void **state)
{
    struct bench *bench = *state;
    static char big[4 << 20];
    struct ps_call_request request = {
        .head = PS_STR("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4194304\r\n\r\n"),
        .body = {big, sizeof big}};
    start(bench, &request);
    bench->turns.raws[0] = NULL; /* reads nothing */
    accept_next(bench);
    raw_write(&bench->far, "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
    raw_close(&bench->far); /* with bytes unread: a reset */
    rest(bench);
    assert_null(bench->call);
    assert_int_equal(bench->status, 413);
    assert_body(bench, "no");
    assert_log(bench, "hbe");
}

/* --- time ------------------------------------------------------------------------------------- */

static void connecting_takes_no_longer_than_allowed(void **state)
{
    struct bench *bench = *state;
    /* A backlog that is full leaves further SYNs unanswered. */
    close(bench->listening);
    bench->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct ps_address at;
    assert_int_equal(ps_address_parse(PS_STR("127.0.0.1:0"), &at), PS_OK);
    assert_int_equal(bind(bench->listening, (const struct sockaddr *)&at.storage, at.len), 0);
    assert_int_equal(listen(bench->listening, 0), 0);
    getsockname(bench->listening, (struct sockaddr *)&at.storage, &at.len);
    int fillers[4];
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)!connect(fillers[i], (const struct sockaddr *)&at.storage, at.len);
    }
    /* A busy kernel takes them later: it is full when one of them has got in. */
    struct pollfd in[4];
    for (int i = 0; i < 4; i++) {
        in[i] = (struct pollfd){.fd = fillers[i], .events = POLLOUT};
    }
    assert_true(poll(in, 4, 10000) > 0);
    bench->opts.address = at;
    new_pool(bench);
    start(bench, &get);
    pass(bench, 2 * PS_SECOND);
    assert_log(bench, "");
    pass(bench, 2 * PS_SECOND);
    assert_log(bench, "x");
    assert_failed(bench, PS_ETIMEOUT, PS_CALL_CONNECT);
    for (int i = 0; i < 4; i++) {
        close(fillers[i]);
    }
}

static void a_head_may_take_its_time_and_no_longer(void **state)
{
    struct bench *bench = *state;
    struct ps_call_request request = get;
    request.head_timeout = 20 * PS_SECOND;
    start(bench, &request);
    accept_next(bench);
    pass(bench, 19 * PS_SECOND);
    assert_log(bench, "");
    answer(bench, "HTTP/1.1 102 Processing\r\n\r\n"); /* is not the head */
    pass(bench, 2 * PS_SECOND);
    assert_log(bench, "ix");
    assert_failed(bench, PS_ETIMEOUT, PS_CALL_HEAD);
}

static void a_gap_in_an_answer_is_bounded(void **state)
{
    struct bench *bench = *state;
    struct ps_call_request request = get;
    request.idle_timeout = 10 * PS_SECOND;
    start(bench, &request);
    accept_next(bench);
    answer(bench, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    for (int i = 0; i < 4; i++) {
        pass(bench, 9 * PS_SECOND);
        answer(bench, "x");
    }
    assert_log(bench, "hbbbb");
    pass(bench, 9 * PS_SECOND);
    pass(bench, 2 * PS_SECOND);
    assert_failed(bench, PS_ETIMEOUT, PS_CALL_BODY);
}

static void a_pause_of_ours_is_no_gap(void **state)
{
    struct bench *bench = *state;
    struct ps_call_request request = get;
    request.idle_timeout = 10 * PS_SECOND;
    start(bench, &request);
    accept_next(bench);
    answer(bench, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    ps_call_pause(bench->call);
    for (int i = 0; i < 10; i++) {
        pass(bench, 10 * PS_SECOND);
    }
    ps_call_resume(bench->call);
    pass(bench, 9 * PS_SECOND);
    assert_non_null(bench->call);
    answer(bench, "k");
    assert_body(bench, "ok");
    assert_log(bench, "hbbe");
}

static void a_server_that_takes_no_body_is_given_up(void **state)
{
    struct bench *bench = *state;
    static char big[8 << 20];
    struct ps_call_request request = {
        .head = PS_STR("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8388608\r\n\r\n"),
        .body = {big, sizeof big}};
    start(bench, &request);
    bench->turns.raws[0] = NULL;
    accept_next(bench);
    rest(bench);
    assert_true(ps_call_queued(bench->call) > 0);
    pass(bench, 59 * PS_SECOND);
    assert_non_null(bench->call);
    pass(bench, 2 * PS_SECOND);
    assert_failed(bench, PS_ETIMEOUT, PS_CALL_SEND);
    assert_true(bench->error.sent_some);
    bench->turns.raws[0] = &bench->far;
}

static void an_idle_connection_is_closed_in_time(void **state)
{
    struct bench *bench = *state;
    start(bench, &get);
    accept_next(bench);
    answer(bench, OK_2);
    pass(bench, 54 * PS_SECOND);
    assert_int_equal(ps_pool_idle(bench->pool), 1);
    pass(bench, 2 * PS_SECOND);
    pass(bench, 2 * PS_SECOND);
    assert_int_equal(ps_pool_idle(bench->pool), 0);
}

/* --- in every callback ------------------------------------------------------------------------ */

#define ANSWER_ALL                                                                                 \
    "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"            \
    "3\r\nabc\r\n3\r\ndef\r\n0\r\nX: y\r\n\r\n"

static void cancel(struct bench *bench)
{
    struct ps_call *call = bench->call;
    bench->call = NULL;
    ps_call_cancel(call);
}

static void a_call_may_be_cancelled_in_every_callback(void **state)
{
    static const char *const logs[] = {"i", "ih", "ihb", "d"};
    static const char ats[] = "ihbd";
    struct bench *bench = *state;
    for (size_t i = 0; i < 4; i++) {
        forget(bench);
        bench->act_at = ats[i];
        bench->act = cancel;
        bench->acted = 0;
        start(bench, &get);
        accept_next(bench);
        await_far(bench, "");
        rest(bench);
        if (!bench->far.ended) {
            answer(bench, ANSWER_ALL);
        }
        rest(bench);
        assert_log(bench, logs[i]);
        assert_int_equal(bench->acted, 1);
        assert_true(bench->far.ended);
    }
    bench->act = NULL;
    ps_call_cancel(NULL);
    start(bench, &get); /* before it is connected */
    cancel(bench);
    rest(bench);
    assert_int_equal(ps_pool_idle(bench->pool), 0);
}

static void again(struct bench *bench)
{
    bench->act = NULL;
    start(bench, &get);
}

static void the_next_call_may_start_inside_on_end(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'e';
    bench->act = again;
    start(bench, &get);
    accept_next(bench);
    answer(bench, OK_2);
    assert_non_null(bench->call);
    answer(bench, OK_2);
    assert_log(bench, "hbehbe");
    assert_int_equal(ps_pool_idle(bench->pool), 1);
}

static void the_next_call_may_start_inside_on_error(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'x';
    bench->act = again;
    start(bench, &get);
    accept_next(bench);
    raw_close(&bench->far);
    accept_next(bench);
    answer(bench, OK_2);
    assert_non_null(strstr(bench->log, "hbe"));
    assert_null(bench->call);
}

static void free_pool(struct bench *bench)
{
    ps_pool_free(bench->pool);
    bench->pool = NULL;
}

static void the_pool_may_be_freed_in_every_callback(void **state)
{
    static const char ats[] = "ihbde";
    struct bench *bench = *state;
    for (size_t i = 0; i < sizeof ats - 1; i++) {
        forget(bench);
        bench->act = NULL;
        if (bench->pool == NULL) {
            new_pool(bench);
        }
        bench->act_at = ats[i];
        bench->act = free_pool;
        start(bench, &get);
        accept_next(bench);
        rest(bench);
        answer(bench, ANSWER_ALL);
        assert_log(bench, ats[i] == 'd' ? "dihbbe" : "ihbbe"); /* the call goes on to its end */
        assert_body(bench, "abcdef");
        assert_true(bench->far.ended);
    }
}

static void pause_call(struct bench *bench)
{
    ps_call_pause(bench->call);
}

static void pause_and_resume(struct bench *bench)
{
    ps_call_pause(bench->call);
    ps_call_resume(bench->call);
}

static void pausing_at_every_event_loses_nothing(void **state)
{
    static const char *const shapes[] = {
        ANSWER_ALL,
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n",
    };
    struct bench *bench = *state;
    for (const char *at = "ihb"; *at != '\0'; at++) {
        for (size_t shape = 0; shape < 3; shape++) {
            for (int inside = 0; inside < 2; inside++) {
                forget(bench);
                new_pool(bench);
                bench->act_at = *at;
                bench->act = inside ? pause_and_resume : pause_call;
                start(bench, &get);
                accept_next(bench);
                answer(bench, shapes[shape]);
                for (int i = 0; i < 5 && bench->call != NULL; i++) {
                    ps_call_resume(bench->call);
                    rest(bench);
                }
                assert_null(bench->call);
                assert_body(bench, "abcdef");
                assert_non_null(strchr(bench->log, 'e'));
                assert_int_equal(ps_pool_idle(bench->pool), 1);
            }
        }
    }
}

static void bytes_behind_an_answer_never_reach_the_next_call(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'b';
    bench->act = pause_call;
    start(bench, &get);
    accept_next(bench);
    answer(bench, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    assert_log(bench, "hb");
    bench->act_at = 'e';
    bench->act = again; /* takes a kept connection if there is one */
    ps_call_resume(bench->call);
    accept_next(bench);
    answer(bench, OK_2);
    assert_body(bench, "okok");
}

static void a_paused_answer_that_ends_with_the_connection_is_whole(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'h';
    bench->act = pause_call;
    start(bench, &get);
    accept_next(bench);
    raw_write(&bench->far, "HTTP/1.1 200 OK\r\n\r\nall of it");
    shutdown(bench->far.fd, SHUT_WR);
    rest(bench);
    assert_log(bench, "h");
    ps_call_resume(bench->call);
    rest(bench);
    assert_log(bench, "hbe");
    assert_body(bench, "all of it");
}

/* --- upgrading -------------------------------------------------------------------------------- */

static size_t on_tunnel_data(void *ctx, struct ps_str data)
{
    struct bench *bench = ctx;
    PS_CHECK(ps_buf_append_str(&bench->body, data) == PS_OK);
    note(bench, 's');
    return data.len;
}

static void on_tunnel_close(void *ctx, int err)
{
    (void)err;
    note(ctx, 'c');
}

static const struct ps_stream_ops tunnel_ops = {NULL, on_tunnel_data, NULL, on_tunnel_close};

static void upgrade(struct bench *bench)
{
    bench->upgraded = ps_call_upgrade(bench->call);
    bench->call = NULL;
    ps_stream_set_owner(bench->upgraded, &tunnel_ops, bench);
    ps_stream_resume(bench->upgraded);
}

static void an_upgrade_hands_over_what_follows_the_head(void **state)
{
    struct bench *bench = *state;
    bench->act_at = 'h';
    bench->act = upgrade;
    start(bench, &get);
    accept_next(bench);
    answer(bench, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nserver first");
    assert_log(bench, "hs");
    assert_body(bench, "server first");
    answer(bench, ", and more");
    assert_body(bench, "server first, and more");
    shutdown(bench->far.fd, SHUT_WR);
    rest(bench);
    assert_log(bench, "hssc");
}

/* --- with the server -------------------------------------------------------------------------- */

struct echo {
    struct ps_exchange *exchange;
};

static void on_echo_body(void *ctx, struct ps_str data)
{
    struct echo *echo = ctx;
    PS_CHECK(ps_exchange_write(echo->exchange, data) == PS_OK);
    if (ps_exchange_queued(echo->exchange) > 0) {
        ps_exchange_pause(echo->exchange);
    }
}

static void on_echo_drain(void *ctx)
{
    struct echo *echo = ctx;
    ps_exchange_resume(echo->exchange);
}

static void on_echo_end(void *ctx)
{
    struct echo *echo = ctx;
    ps_exchange_end(echo->exchange, PS_STR(""));
    free(echo);
}

static const struct ps_exchange_ops echo_ops = {on_echo_body, on_echo_end, on_echo_drain, free};

static void on_request(void *ctx, struct ps_exchange *exchange)
{
    struct echo *echo = calloc(1, sizeof *echo);
    (void)ctx;
    PS_CHECK(echo != NULL);
    echo->exchange = exchange;
    ps_exchange_handle(exchange, &echo_ops, echo);
    PS_CHECK(ps_exchange_start(exchange, 200, PS_STR(""), PS_STR(""), PS_LENGTH_UNKNOWN) == PS_OK);
}

static bool call_is_over(void *ctx)
{
    struct bench *bench = ctx;
    return bench->call == NULL;
}

static void an_echo_of_megabytes_comes_back_whole(void **state)
{
    struct bench *bench = *state;
    struct ps_server_opts opts;
    static char big[9 << 20];
    ps_server_opts_init(&opts);
    opts.on_request = on_request;
    assert_int_equal(ps_server_new(&bench->server, bench->turns.loop, &opts), PS_OK);
    assert_int_equal(ps_server_listen_fd(bench->server, dup(bench->listening), NULL), PS_OK);
    for (size_t i = 0; i < sizeof big; i++) {
        big[i] = (char)(i * 2654435761u >> 11);
    }
    struct ps_call_request request = {
        .head = PS_STR("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"),
        .body = {big, 1000}, .chunked = true, .body_follows = true};
    for (int round = 0; round < 2; round++) {
        forget(bench);
        start(bench, &request);
        assert_int_equal(ps_call_write(bench->call, (struct ps_str){big + 1000, sizeof big - 1000}), PS_OK);
        ps_call_end(bench->call);
        assert_true(turns_until(&bench->turns, call_is_over, bench));
        assert_int_equal(bench->body.len, sizeof big);
        assert_memory_equal(bench->body.data, big, sizeof big);
        assert_int_equal(ps_pool_idle(bench->pool), 0); /* an answer before a chunked body is whole closes */
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_connection_is_used_again),
        CASE(the_pool_keeps_no_more_than_it_may),
        CASE(answers_of_every_framing_are_read),
        CASE(an_answer_may_end_with_the_connection),
        CASE(head_has_no_body_even_after_an_interim_answer),
        CASE(batches_are_told_after_each_read),
        CASE(bodies_are_sent_in_every_shape),
        CASE(an_early_answer_leaves_a_connection_that_nobody_may_use),
        CASE(a_refused_connection_is_an_error_of_connecting),
        CASE(a_stale_connection_is_told_as_reused),
        CASE(an_idle_connection_that_closes_or_talks_leaves_the_pool),
        CASE(broken_answers_are_told_with_their_phase),
        CASE(an_answer_before_a_reset_is_heard),
        CASE(connecting_takes_no_longer_than_allowed),
        CASE(a_head_may_take_its_time_and_no_longer),
        CASE(a_gap_in_an_answer_is_bounded),
        CASE(a_pause_of_ours_is_no_gap),
        CASE(a_server_that_takes_no_body_is_given_up),
        CASE(an_idle_connection_is_closed_in_time),
        CASE(a_call_may_be_cancelled_in_every_callback),
        CASE(the_next_call_may_start_inside_on_end),
        CASE(the_next_call_may_start_inside_on_error),
        CASE(the_pool_may_be_freed_in_every_callback),
        CASE(pausing_at_every_event_loses_nothing),
        CASE(bytes_behind_an_answer_never_reach_the_next_call),
        CASE(a_paused_answer_that_ends_with_the_connection_is_whole),
        CASE(an_upgrade_hands_over_what_follows_the_head),
        CASE(an_echo_of_megabytes_comes_back_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
