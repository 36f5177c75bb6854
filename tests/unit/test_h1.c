/* test_h1 - what the codec accepts, what it refuses, and where it says the fault is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../helpers/h1_transcript.h"

static struct ps_h1_scratch scratch;

static int setup(void **state)
{
    (void)state;
    return ps_h1_scratch_init(&scratch, 0);
}

static int teardown(void **state)
{
    (void)state;
    ps_h1_scratch_fini(&scratch);
    return 0;
}

/* A parser that has read the head of `text`; *rest gets what follows. */
static struct ps_h1 read_head(enum ps_h1_kind kind, struct ps_str text, struct ps_str *rest)
{
    struct ps_h1 h1;
    ps_h1_init(&h1, kind, NULL, &scratch);
    *rest = text;
    assert_int_equal(ps_h1_next(&h1, rest), PS_H1_HEAD);
    return h1;
}

static void assert_text(struct ps_str got, const char *want)
{
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.ptr, want, got.len);
}

/* The error of the first fault in `text`; every cut of it must give the same. */
static struct ps_h1_error error_of(enum ps_h1_kind kind, struct ps_str text,
                                   const struct ps_h1_limits *limits)
{
    struct ps_h1_error error = {0};
    struct ps_str whole = {NULL, 0};
    struct ps_buf kept = ps_buf_make(1u << 20);
    for (size_t cut = 0; cut <= text.len; cut++) {
        struct transcript t;
        transcript_init(&t, kind, PS_H1_METHOD_GET, limits, &scratch);
        transcript_feed(&t, text.ptr, cut);
        transcript_feed(&t, text.ptr + cut, text.len - cut);
        transcript_eof(&t);
        if (cut == 0) {
            error = ps_h1_error(&t.h1);
            PS_CHECK(ps_buf_append_str(&kept, ps_buf_str(&t.text)) == PS_OK);
            whole = ps_buf_str(&kept);
        }
        assert_true(ps_str_eq(ps_buf_str(&t.text), whole));
        transcript_fini(&t);
    }
    ps_buf_fini(&kept);
    return error;
}

static void request_head_tells_everything(void **state)
{
    (void)state;
    struct ps_str rest;
    struct ps_h1 h1 = read_head(PS_H1_REQUEST,
                                PS_STR("POST /v1/chat?x=1 HTTP/1.1\r\nHOST: a.example:5000\r\n"
                                       "content-length: 5\r\nX-Empty:\r\nX-Tab: \t a\tb \t\r\n"
                                       "Expect: 100-Continue\r\n\r\nhelloGET"),
                                &rest);
    const struct ps_h1_head *head = ps_h1_head(&h1);
    assert_int_equal(head->method_id, PS_H1_METHOD_POST);
    assert_text(head->method, "POST");
    assert_text(head->target, "/v1/chat?x=1");
    assert_text(head->path, "/v1/chat?x=1");
    assert_text(head->host, "a.example:5000");
    assert_int_equal(head->header_count, 5);
    assert_int_equal(head->headers[0].id, PS_H1_HOST);
    assert_text(ps_h1_head_find_name(head, PS_STR("x-tab"))->value, "a\tb");
    assert_text(ps_h1_head_find_name(head, PS_STR("X-EMPTY"))->value, "");
    assert_null(ps_h1_head_find(head, PS_H1_UPGRADE));
    assert_null(ps_h1_head_find_name(head, PS_STR("x-none")));
    assert_text(ps_h1_head_find(head, PS_H1_CONTENT_LENGTH)->value, "5");
    assert_true(head->keep_alive && head->has_content_length && head->expect_continue);
    assert_false(head->chunked || head->upgrade);
    assert_int_equal(head->content_length, 5);
    assert_true(ps_h1_has_body(&h1));
    assert_int_equal(ps_h1_next(&h1, &rest), PS_H1_DATA);
    assert_text(ps_h1_data(&h1), "hello");
    assert_int_equal(ps_h1_next(&h1, &rest), PS_H1_END);
    assert_int_equal(ps_h1_next(&h1, &rest), PS_H1_END);
    assert_text(rest, "GET");
    ps_h1_fini(&h1);
}

static void a_head_in_one_piece_allocates_nothing(void **state)
{
    (void)state;
    struct ps_str rest;
    struct ps_h1 h1 = read_head(PS_H1_REQUEST, PS_STR("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), &rest);
    assert_null(h1.split);
    assert_true(sizeof h1 <= 128);
    ps_h1_fini(&h1);
}

static void a_head_in_pieces_is_given_back_with_the_next_event(void **state)
{
    (void)state;
    struct ps_h1 h1;
    ps_h1_init(&h1, PS_H1_REQUEST, NULL, &scratch);
    struct ps_str first = PS_STR("GET http://a.example/x HTTP/1.1\r\nHost: a.exa");
    struct ps_str second = PS_STR("mple\r\nX-Long: ");
    struct ps_str third = PS_STR("0123456789012345678901234567890123456789\r\n\r\nGET");
    assert_int_equal(ps_h1_next(&h1, &first), PS_H1_MORE);
    assert_false(ps_h1_is_idle(&h1));
    assert_int_equal(ps_h1_next(&h1, &second), PS_H1_MORE);
    assert_int_equal(ps_h1_next(&h1, &third), PS_H1_HEAD);
    assert_non_null(h1.split);
    assert_text(ps_h1_head(&h1)->host, "a.example");
    assert_text(ps_h1_head(&h1)->path, "/x");
    assert_int_equal(ps_h1_next(&h1, &third), PS_H1_END);
    assert_null(h1.split);
    assert_text(third, "GET");
    ps_h1_fini(&h1);
}

static void pipelined_requests_come_one_by_one(void **state)
{
    (void)state;
    struct transcript t;
    struct ps_str text = PS_STR("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
                                "GET /b HTTP/1.1\r\nHost: a\r\n\r\n"
                                "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                                "3\r\nabc\r\n0\r\n\r\nGET /d HTTP/1.1\r\nHost: a\r\n\r\n");
    transcript_init(&t, PS_H1_REQUEST, PS_H1_METHOD_GET, NULL, &scratch);
    transcript_feed(&t, text.ptr, text.len);
    transcript_eof(&t);
    assert_int_equal(t.messages, 4);
    assert_true(ps_str_ends_with(ps_buf_str(&t.text), PS_STR("END\nIDLE\n")));
    transcript_fini(&t);
}

static void chunks_and_trailers_are_read(void **state)
{
    (void)state;
    struct ps_str rest;
    struct ps_h1 h1 = read_head(
        PS_H1_RESPONSE,
        PS_STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0A;x;y=z;q=\"a;\\\"\"\r\n"
               "0123456789\r\n0\r\nX-Sum: 7\r\netag: \"e\"\r\n\r\nrest"),
        &rest);
    assert_int_equal(ps_h1_next(&h1, &rest), PS_H1_DATA);
    assert_text(ps_h1_data(&h1), "0123456789");
    assert_int_equal(ps_h1_next(&h1, &rest), PS_H1_TRAILERS);
    size_t count = 0;
    const struct ps_h1_header *trailers = ps_h1_trailers(&h1, &count);
    assert_int_equal(count, 2);
    assert_text(trailers[0].name, "X-Sum");
    assert_int_equal(trailers[1].id, PS_H1_ETAG);
    assert_int_equal(ps_h1_next(&h1, &rest), PS_H1_END);
    assert_text(rest, "rest");
    ps_h1_fini(&h1);
}

static void responses_without_a_body_end_after_the_head(void **state)
{
    (void)state;
    const struct {
        struct ps_str text;
        enum ps_h1_method method;
        bool tunnel;
    } rows[] = {
        {PS_STR("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"), PS_H1_METHOD_GET, false},
        {PS_STR("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"), PS_H1_METHOD_GET, false},
        {PS_STR("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), PS_H1_METHOD_HEAD, false},
        {PS_STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), PS_H1_METHOD_HEAD, false},
        {PS_STR("HTTP/1.1 200 OK\r\n\r\n"), PS_H1_METHOD_HEAD, false},
        {PS_STR("HTTP/1.1 200 OK\r\n\r\n"), PS_H1_METHOD_CONNECT, true},
        {PS_STR("HTTP/1.1 101 Switching Protocols\r\n\r\n"), PS_H1_METHOD_GET, true},
        {PS_STR("HTTP/1.1 103 Early Hints\r\n\r\n"), PS_H1_METHOD_GET, false},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        struct ps_h1 h1;
        struct ps_str input = rows[i].text;
        ps_h1_init(&h1, PS_H1_RESPONSE, NULL, &scratch);
        ps_h1_expect(&h1, rows[i].method);
        assert_int_equal(ps_h1_next(&h1, &input), PS_H1_HEAD);
        assert_false(ps_h1_has_body(&h1));
        assert_int_equal(ps_h1_is_tunnel(&h1), rows[i].tunnel);
        assert_int_equal(ps_h1_keep_alive(&h1), !rows[i].tunnel);
        assert_int_equal(ps_h1_next(&h1, &input), PS_H1_END);
        ps_h1_fini(&h1);
    }
}

static void an_interim_response_keeps_what_is_expected(void **state)
{
    (void)state;
    struct ps_str rest = PS_STR("HTTP/1.1 100 Continue\r\n\r\n"
                                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
                                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody");
    struct ps_h1 h1;
    ps_h1_init(&h1, PS_H1_RESPONSE, NULL, &scratch);
    ps_h1_expect(&h1, PS_H1_METHOD_HEAD);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ps_h1_next(&h1, &rest), PS_H1_HEAD);
        assert_int_equal(ps_h1_next(&h1, &rest), PS_H1_END);
        ps_h1_reset(&h1);
    }
    assert_int_equal(ps_h1_next(&h1, &rest), PS_H1_HEAD);
    assert_int_equal(ps_h1_next(&h1, &rest), PS_H1_DATA);
    assert_text(ps_h1_data(&h1), "body");
    ps_h1_fini(&h1);
}

static void closing_ends_only_a_body_without_length(void **state)
{
    (void)state;
    struct ps_str rest;
    struct ps_h1 h1 = read_head(PS_H1_RESPONSE, PS_STR("HTTP/1.1 200 OK\r\n\r\nabc"), &rest);
    assert_true(ps_h1_body_until_close(&h1));
    assert_false(ps_h1_head(&h1)->keep_alive);
    assert_int_equal(ps_h1_next(&h1, &rest), PS_H1_DATA);
    assert_int_equal(ps_h1_next(&h1, &rest), PS_H1_MORE);
    assert_int_equal(ps_h1_eof(&h1), PS_OK);
    assert_int_equal(ps_h1_next(&h1, &rest), PS_H1_END);
    assert_true(ps_h1_is_done(&h1));
    ps_h1_fini(&h1);

    h1 =
        read_head(PS_H1_RESPONSE, PS_STR("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc"), &rest);
    assert_int_equal(ps_h1_next(&h1, &rest), PS_H1_DATA);
    assert_int_equal(ps_h1_eof(&h1), PS_ECLOSED);
    assert_int_equal(ps_h1_next(&h1, &rest), PS_H1_ERROR);
    assert_int_equal(ps_h1_error(&h1).code, PS_H1_ERR_TRUNCATED);
    assert_int_equal(ps_h1_error(&h1).status, 502);
    ps_h1_fini(&h1);
}

static void connection_options_decide_about_keep_alive_and_upgrade(void **state)
{
    (void)state;
    const struct {
        const char *version;
        const char *headers;
        bool keep_alive;
        bool upgrade;
        bool names;
    } rows[] = {
        {"1.1", "", true, false, false},
        {"1.0", "", false, false, false},
        {"1.0", "Connection: Keep-Alive\r\n", true, false, false},
        {"1.1", "Connection: close\r\n", false, false, false},
        {"1.1", "Connection: keep-alive, close\r\n", false, false, false},
        {"1.1", "Connection: keep-alive\r\nConnection: TE, , CLOSE\r\n", false, false, false},
        {"1.1", "Connection: upgrade\r\nUpgrade: websocket\r\n", true, true, false},
        {"1.1", "Connection: x-a, Upgrade\r\nUpgrade: websocket\r\n", true, true, true},
        {"1.1", "Upgrade: websocket\r\n", true, false, false},
        {"1.1", "Connection: upgrade\r\n", true, false, false},
        {"1.0", "Connection: upgrade\r\nUpgrade: websocket\r\n", false, false, false},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        char text[256];
        int len = snprintf(text, sizeof text, "GET / HTTP/%s\r\nHost: a\r\n%s\r\n", rows[i].version,
                           rows[i].headers);
        struct ps_str rest;
        struct ps_h1 h1 = read_head(PS_H1_REQUEST, (struct ps_str){text, (size_t)len}, &rest);
        assert_int_equal(ps_h1_head(&h1)->keep_alive, rows[i].keep_alive);
        assert_int_equal(ps_h1_head(&h1)->upgrade, rows[i].upgrade);
        assert_int_equal(ps_h1_head(&h1)->upgrade_protocol.len, rows[i].upgrade ? 9 : 0);
        assert_int_equal(ps_h1_head(&h1)->connection_names, rows[i].names);
        ps_h1_fini(&h1);
    }
}

#define LINE(text) "GET / HTTP/1.1\r\nHost: a\r\n" text "\r\n\r\n"
#define BODY(text) "POST / HTTP/1.1\r\nHost: a\r\n" text "\r\n\r\n"
#define TE         "Transfer-Encoding: chunked"

struct refusal {
    struct ps_str text;
    enum ps_h1_error_code code;
    int status;
};

static void check_refusals(enum ps_h1_kind kind, const struct refusal *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct ps_h1_error error = error_of(kind, rows[i].text, NULL);
        if (error.code != rows[i].code) {
            print_error("%s: %.*s\n", error.text, PS_STR_ARG(rows[i].text));
        }
        assert_int_equal(error.code, rows[i].code);
        assert_int_equal(error.status, rows[i].status);
        assert_true(error.offset <= rows[i].text.len);
    }
}

static void ambiguous_requests_are_refused(void **state)
{
    (void)state;
    /* clang-format off */
    static const struct refusal rows[] = {
        /* framing */
        {PS_STR_INIT(BODY("Content-Length: 4\r\n" TE)), PS_H1_ERR_FRAMING, 400},
        {PS_STR_INIT(BODY(TE "\r\nContent-Length: 4")), PS_H1_ERR_FRAMING, 400},
        {PS_STR_INIT(BODY("Content-Length: 4\r\nContent-Length: 4")), PS_H1_ERR_CONTENT_LENGTH_TWICE, 400},
        {PS_STR_INIT(BODY("Content-Length: 4, 4")), PS_H1_ERR_CONTENT_LENGTH, 400},
        {PS_STR_INIT(BODY("Content-Length: +4")), PS_H1_ERR_CONTENT_LENGTH, 400},
        {PS_STR_INIT(BODY("Content-Length: -1")), PS_H1_ERR_CONTENT_LENGTH, 400},
        {PS_STR_INIT(BODY("Content-Length: 0x4")), PS_H1_ERR_CONTENT_LENGTH, 400},
        {PS_STR_INIT(BODY("Content-Length: 9223372036854775808")), PS_H1_ERR_CONTENT_LENGTH, 400},
        {PS_STR_INIT(BODY("Content-Length: 18446744073709551620")), PS_H1_ERR_CONTENT_LENGTH, 400},
        {PS_STR_INIT(BODY("Content-Length:")), PS_H1_ERR_CONTENT_LENGTH, 400},
        {PS_STR_INIT(BODY("Transfer-Encoding: chunked, chunked")), PS_H1_ERR_TRANSFER_ENCODING, 501},
        {PS_STR_INIT(BODY("Transfer-Encoding: gzip, chunked")), PS_H1_ERR_TRANSFER_ENCODING, 501},
        {PS_STR_INIT(BODY("Transfer-Encoding: identity")), PS_H1_ERR_TRANSFER_ENCODING, 501},
        {PS_STR_INIT(BODY("Transfer-Encoding: xchunked")), PS_H1_ERR_TRANSFER_ENCODING, 501},
        {PS_STR_INIT(BODY("Transfer-Encoding: chunked;q=1")), PS_H1_ERR_TRANSFER_ENCODING, 501},
        {PS_STR_INIT(BODY("Transfer-Encoding: \"chunked\"")), PS_H1_ERR_TRANSFER_ENCODING, 501},
        {PS_STR_INIT(BODY("Transfer-Encoding: \x0b" "chunked")), PS_H1_ERR_HEADER_VALUE, 400},
        {PS_STR_INIT(BODY("Transfer-Encoding : chunked")), PS_H1_ERR_HEADER_NAME, 400},
        {PS_STR_INIT(BODY("Transfer-Encoding\t: chunked")), PS_H1_ERR_HEADER_NAME, 400},
        {PS_STR_INIT(BODY(" Transfer-Encoding: chunked")), PS_H1_ERR_FOLDING, 400},
        {PS_STR_INIT(BODY("Transfer-Encoding:\r\n chunked")), PS_H1_ERR_TRANSFER_ENCODING, 501},
        {PS_STR_INIT(BODY("Transfer-Encoding: chunked\t")), PS_H1_ERR_TRANSFER_ENCODING, 501},
        {PS_STR_INIT(BODY("Transfer-Encoding:\tchunked")), PS_H1_ERR_TRANSFER_ENCODING, 501},
        {PS_STR_INIT(BODY("Content-Length: 4 \t")), PS_H1_ERR_CONTENT_LENGTH, 400},
        {PS_STR_INIT(BODY(TE "\r\n" TE)), PS_H1_ERR_TRANSFER_ENCODING_TWICE, 400},
        {PS_STR_INIT("POST / HTTP/1.0\r\nHost: a\r\n" TE "\r\n\r\n"), PS_H1_ERR_TRANSFER_ENCODING_VERSION, 400},
        {PS_STR_INIT("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"), PS_H1_ERR_BODY_FORBIDDEN, 400},
        /* lines */
        {PS_STR_INIT("GET / HTTP/1.1\nHost: a\r\n\r\n"), PS_H1_ERR_LINE_END, 400},
        {PS_STR_INIT("GET / HTTP/1.1\r\nHost: a\n\r\n"), PS_H1_ERR_LINE_END, 400},
        {PS_STR_INIT("GET / HTTP/1.1\r\nHost: a\r\n\n"), PS_H1_ERR_LINE_END, 400},
        {PS_STR_INIT(LINE("X: a\rb")), PS_H1_ERR_LINE_END, 400},
        {PS_STR_INIT(LINE("X: a\r\r")), PS_H1_ERR_LINE_END, 400},
        {PS_STR_INIT(LINE("X: a\r\n\tb")), PS_H1_ERR_FOLDING, 400},
        {PS_STR_INIT(LINE("X: a\0b")), PS_H1_ERR_HEADER_VALUE, 400},
        {PS_STR_INIT(LINE("X: a\x7f")), PS_H1_ERR_HEADER_VALUE, 400},
        {PS_STR_INIT(LINE("X\0: a")), PS_H1_ERR_HEADER_NAME, 400},
        {PS_STR_INIT(LINE("X")), PS_H1_ERR_HEADER_NAME, 400},
        {PS_STR_INIT(LINE(": a")), PS_H1_ERR_HEADER_NAME, 400},
        {PS_STR_INIT(LINE("X(a): a")), PS_H1_ERR_HEADER_NAME, 400},
        {PS_STR_INIT(LINE("X\xc3\xa9: a")), PS_H1_ERR_HEADER_NAME, 400},
        {PS_STR_INIT(LINE("Connection: a b")), PS_H1_ERR_CONNECTION, 400},
        /* request line */
        {PS_STR_INIT("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_TARGET, 400},
        {PS_STR_INIT("GET /  HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_VERSION_SYNTAX, 400},
        {PS_STR_INIT("GET / HTTP/1.1 \r\nHost: a\r\n\r\n"), PS_H1_ERR_VERSION_SYNTAX, 400},
        {PS_STR_INIT("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_METHOD_SYNTAX, 400},
        {PS_STR_INIT("get / HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_METHOD_UNKNOWN, 501},
        {PS_STR_INIT("GET / http/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_VERSION_SYNTAX, 400},
        {PS_STR_INIT("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), PS_H1_ERR_VERSION, 505},
        {PS_STR_INIT("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), PS_H1_ERR_VERSION, 505},
        {PS_STR_INIT("GET / HTTP/1.10\r\nHost: a\r\n\r\n"), PS_H1_ERR_VERSION_SYNTAX, 400},
        {PS_STR_INIT("GET / HTTP/1\r\nHost: a\r\n\r\n"), PS_H1_ERR_VERSION_SYNTAX, 400},
        {PS_STR_INIT("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_TARGET, 400},
        {PS_STR_INIT("GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_TARGET, 400},
        {PS_STR_INIT("GET a HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_TARGET, 400},
        {PS_STR_INIT("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_TARGET, 400},
        {PS_STR_INIT("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_TARGET, 400},
        {PS_STR_INIT("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_TARGET, 400},
        {PS_STR_INIT("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_TARGET, 400},
        {PS_STR_INIT("CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_TARGET, 400},
        {PS_STR_INIT("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_TARGET, 400},
        {PS_STR_INIT("\x16\x03\x01\x02"), PS_H1_ERR_START_BYTE, 400},
        {PS_STR_INIT("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_START_BYTE, 400},
        {PS_STR_INIT("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_START_BYTE, 400},
        {PS_STR_INIT(" GET / HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_START_BYTE, 400},
        /* Host */
        {PS_STR_INIT("GET / HTTP/1.1\r\n\r\n"), PS_H1_ERR_HOST_MISSING, 400},
        {PS_STR_INIT(LINE("Host: a")), PS_H1_ERR_HOST_TWICE, 400},
        {PS_STR_INIT("GET / HTTP/1.1\r\nHost:\r\n\r\n"), PS_H1_ERR_HOST, 400},
        {PS_STR_INIT("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), PS_H1_ERR_HOST, 400},
        {PS_STR_INIT("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), PS_H1_ERR_HOST, 400},
        {PS_STR_INIT("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), PS_H1_ERR_HOST, 400},
        {PS_STR_INIT("GET / HTTP/1.1\r\nHost: a:\r\n\r\n"), PS_H1_ERR_HOST, 400},
        {PS_STR_INIT("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"), PS_H1_ERR_HOST, 400},
        {PS_STR_INIT("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"), PS_H1_ERR_HOST, 400},
        {PS_STR_INIT("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"), PS_H1_ERR_HOST_MISMATCH, 400},
        /* chunks */
        {PS_STR_INIT(BODY(TE) "\r\n"), PS_H1_ERR_CHUNK_SIZE, 400},
        {PS_STR_INIT(BODY(TE) " 1\r\nx\r\n"), PS_H1_ERR_CHUNK_SIZE, 400},
        {PS_STR_INIT(BODY(TE) "1 \r\nx\r\n"), PS_H1_ERR_CHUNK_SIZE, 400},
        {PS_STR_INIT(BODY(TE) "0x1\r\nx\r\n"), PS_H1_ERR_CHUNK_SIZE, 400},
        {PS_STR_INIT(BODY(TE) "-1\r\nx\r\n"), PS_H1_ERR_CHUNK_SIZE, 400},
        {PS_STR_INIT(BODY(TE) "g\r\n"), PS_H1_ERR_CHUNK_SIZE, 400},
        {PS_STR_INIT(BODY(TE) "0000000000000001\r\nx\r\n"), PS_H1_ERR_CHUNK_SIZE, 400},
        {PS_STR_INIT(BODY(TE) "1\nx\r\n"), PS_H1_ERR_CHUNK_SIZE, 400},
        {PS_STR_INIT(BODY(TE) "1\rx\r\n"), PS_H1_ERR_LINE_END, 400},
        {PS_STR_INIT(BODY(TE) "1\r\nxy\r\n"), PS_H1_ERR_CHUNK_END, 400},
        {PS_STR_INIT(BODY(TE) "1\r\nx\n"), PS_H1_ERR_CHUNK_END, 400},
        {PS_STR_INIT(BODY(TE) "1\r\nx\r\r"), PS_H1_ERR_CHUNK_END, 400},
        {PS_STR_INIT(BODY(TE) "1;\r\nx\r\n"), PS_H1_ERR_CHUNK_EXTENSION, 400},
        {PS_STR_INIT(BODY(TE) "1; a\r\nx\r\n"), PS_H1_ERR_CHUNK_EXTENSION, 400},
        {PS_STR_INIT(BODY(TE) "1;a\nx\r\n"), PS_H1_ERR_CHUNK_EXTENSION, 400},
        {PS_STR_INIT(BODY(TE) "1;a=\r\nx\r\n"), PS_H1_ERR_CHUNK_EXTENSION, 400},
        {PS_STR_INIT(BODY(TE) "1;a=\"b\r\nx\r\n"), PS_H1_ERR_CHUNK_EXTENSION, 400},
        {PS_STR_INIT(BODY(TE) "1;a=\"b\"c\r\nx\r\n"), PS_H1_ERR_CHUNK_EXTENSION, 400},
        {PS_STR_INIT(BODY(TE) "0\r\nContent-Length: 1\r\n\r\n"), PS_H1_ERR_TRAILER, 400},
        {PS_STR_INIT(BODY(TE) "0\r\nHost: b\r\n\r\n"), PS_H1_ERR_TRAILER, 400},
        {PS_STR_INIT(BODY(TE) "0\r\n" TE "\r\n\r\n"), PS_H1_ERR_TRAILER, 400},
        {PS_STR_INIT(BODY(TE) "0\r\nAuthorization: x\r\n\r\n"), PS_H1_ERR_TRAILER, 400},
        {PS_STR_INIT(BODY(TE) "0\r\nX: a\n\r\n"), PS_H1_ERR_LINE_END, 400},
        {PS_STR_INIT(BODY(TE) "0\r\n\n"), PS_H1_ERR_LINE_END, 400},
        {PS_STR_INIT(BODY(TE) "0\r\n X: a\r\n\r\n"), PS_H1_ERR_FOLDING, 400},
    };
    /* clang-format on */
    check_refusals(PS_H1_REQUEST, rows, PS_ARRAY_LEN(rows));
}

static void ambiguous_responses_are_refused(void **state)
{
    (void)state;
    /* clang-format off */
    static const struct refusal rows[] = {
        {PS_STR_INIT("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n" TE "\r\n\r\n"), PS_H1_ERR_FRAMING, 502},
        {PS_STR_INIT("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"), PS_H1_ERR_CONTENT_LENGTH_TWICE, 502},
        {PS_STR_INIT("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"), PS_H1_ERR_TRANSFER_ENCODING, 502},
        {PS_STR_INIT("HTTP/1.0 200 OK\r\n" TE "\r\n\r\n"), PS_H1_ERR_TRANSFER_ENCODING_VERSION, 502},
        {PS_STR_INIT("HTTP/1.1 204 No Content\r\n" TE "\r\n\r\n"), PS_H1_ERR_BODY_FORBIDDEN, 502},
        {PS_STR_INIT("HTTP/1.1 100 Continue\r\nContent-Length: 1\r\n\r\n"), PS_H1_ERR_BODY_FORBIDDEN, 502},
        {PS_STR_INIT("HTTP/1.1 200\r\n\r\n"), PS_H1_ERR_STATUS_LINE, 502},
        {PS_STR_INIT("HTTP/1.1 99 x\r\n\r\n"), PS_H1_ERR_STATUS_LINE, 502},
        {PS_STR_INIT("HTTP/1.1 099 x\r\n\r\n"), PS_H1_ERR_STATUS_LINE, 502},
        {PS_STR_INIT("HTTP/1.1 600 x\r\n\r\n"), PS_H1_ERR_STATUS_LINE, 502},
        {PS_STR_INIT("HTTP/1.1 2000 x\r\n\r\n"), PS_H1_ERR_STATUS_LINE, 502},
        {PS_STR_INIT("HTTP/1.1 200 O\0K\r\n\r\n"), PS_H1_ERR_STATUS_LINE, 502},
        {PS_STR_INIT("HTTP/1.1 200 OK\n\r\n"), PS_H1_ERR_LINE_END, 502},
        {PS_STR_INIT("HTTP/2.0 200 OK\r\n\r\n"), PS_H1_ERR_VERSION, 502},
        {PS_STR_INIT("<html>"), PS_H1_ERR_START_BYTE, 502},
        {PS_STR_INIT("\r\nHTTP/1.1 200 OK\r\n\r\n"), PS_H1_ERR_START_BYTE, 502},
    };
    /* clang-format on */
    check_refusals(PS_H1_RESPONSE, rows, PS_ARRAY_LEN(rows));
}

static void an_error_says_where(void **state)
{
    (void)state;
    struct ps_h1_error error = error_of(PS_H1_REQUEST, PS_STR(LINE("X: a\x01")), NULL);
    assert_int_equal(error.offset, sizeof("GET / HTTP/1.1\r\nHost: a\r\nX: a") - 1);
    error = error_of(PS_H1_REQUEST, PS_STR("\r\nGET / HTTP/3.0\r\n\r\n"), NULL);
    assert_int_equal(error.offset, 8);
    error = error_of(PS_H1_REQUEST, PS_STR(BODY(TE) "1\r\nxy"), NULL);
    assert_int_equal(error.offset, sizeof(BODY(TE) "1\r\nx") - 1);
    assert_string_equal(error.text, "a chunk must end in CR LF");
}

static void limits_are_exact(void **state)
{
    (void)state;
    const struct ps_h1_limits limits = {
        .max_head_bytes = 60, .max_headers = 2, .max_target_bytes = 8};
    const struct {
        struct ps_str text;
        enum ps_h1_error_code code;
        int status;
    } rows[] = {
        {PS_STR("GET /2345678 HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_NONE, 0},
        {PS_STR("GET /23456789 HTTP/1.1\r\nHost: a\r\n\r\n"), PS_H1_ERR_TARGET_TOO_LONG, 414},
        {PS_STR("GET / HTTP/1.1\r\nHost: a\r\nX: 6789012345678901234567890123\r\n\r\n"),
         PS_H1_ERR_NONE, 0},
        {PS_STR("GET / HTTP/1.1\r\nHost: a\r\nX: 67890123456789012345678901234\r\n\r\n"),
         PS_H1_ERR_HEAD_TOO_LARGE, 431},
        {PS_STR("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n"), PS_H1_ERR_NONE, 0},
        {PS_STR("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 1\r\n\r\n"), PS_H1_ERR_TOO_MANY_HEADERS,
         431},
        {PS_STR("GET /012345678901234567890123456789012345678901234567890123456789"),
         PS_H1_ERR_TARGET_TOO_LONG, 414},
        {PS_STR("GET / HTTP/1.1\r\nX012345678901234567890123456789012345678901234567890123456789"),
         PS_H1_ERR_HEAD_TOO_LARGE, 431},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        struct ps_h1_error error = error_of(PS_H1_REQUEST, rows[i].text, &limits);
        assert_int_equal(error.code, rows[i].code);
        assert_int_equal(error.status, rows[i].status);
    }
}

static void chunk_extensions_have_a_budget_per_message(void **state)
{
    (void)state;
    struct ps_buf text = ps_buf_make(1u << 20);
    PS_CHECK(ps_buf_append_str(&text, PS_STR(BODY(TE))) == PS_OK);
    for (unsigned i = 0; i < PS_H1_MAX_CHUNK_EXTENSION / 4; i++) {
        PS_CHECK(ps_buf_append_str(&text, PS_STR("1;a=b\r\nx\r\n")) == PS_OK);
    }
    size_t fits = text.len;
    PS_CHECK(ps_buf_append_str(&text, PS_STR("1;a=b\r\nx\r\n")) == PS_OK);
    for (int over = 0; over < 2; over++) {
        struct transcript t;
        transcript_init(&t, PS_H1_REQUEST, PS_H1_METHOD_GET, NULL, &scratch);
        transcript_feed(&t, text.data, over ? text.len : fits);
        assert_int_equal(ps_h1_error(&t.h1).code,
                         over ? PS_H1_ERR_CHUNK_EXTENSION : PS_H1_ERR_NONE);
        transcript_fini(&t);
    }
    ps_buf_fini(&text);
}

static void one_empty_line_before_a_request_is_nothing(void **state)
{
    (void)state;
    struct ps_h1 h1;
    ps_h1_init(&h1, PS_H1_REQUEST, NULL, &scratch);
    struct ps_str input = PS_STR("\r\n");
    assert_int_equal(ps_h1_next(&h1, &input), PS_H1_MORE);
    assert_true(ps_h1_is_idle(&h1));
    assert_int_equal(ps_h1_eof(&h1), PS_OK);
    input = PS_STR("GET / HTTP/1.0\r\n\r\n");
    assert_int_equal(ps_h1_next(&h1, &input), PS_H1_HEAD);
    assert_text(ps_h1_head(&h1)->host, "");
    ps_h1_fini(&h1);
}

static void absolute_targets_give_path_and_host(void **state)
{
    (void)state;
    const struct {
        struct ps_str text;
        const char *path;
        const char *host;
    } rows[] = {
        {PS_STR("GET http://a.b:80/x?y HTTP/1.1\r\nHost: A.B:80\r\n\r\n"), "/x?y", "A.B:80"},
        {PS_STR("GET HTTPS://a HTTP/1.1\r\nHost: a\r\n\r\n"), "/", "a"},
        {PS_STR("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n"), "*", "a"},
        {PS_STR("OPTIONS * HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"), "*", "[2001:db8::1]:443"},
        {PS_STR("GET http://old/ HTTP/1.0\r\n\r\n"), "/", "old"},
        {PS_STR("GET //a HTTP/1.1\r\nHost: a\r\n\r\n"), "//a", "a"},
        {PS_STR("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"), "", "a:443"},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        struct ps_str rest;
        struct ps_h1 h1 = read_head(PS_H1_REQUEST, rows[i].text, &rest);
        assert_text(ps_h1_head(&h1)->path, rows[i].path);
        assert_text(ps_h1_head(&h1)->host, rows[i].host);
        ps_h1_fini(&h1);
    }
}

static void every_known_name_is_found_in_any_case(void **state)
{
    (void)state;
    for (int id = 1; id < PS_H1_FIELD_COUNT; id++) {
        struct ps_str name = ps_h1_field_name((enum ps_h1_field)id);
        char upper[64];
        for (size_t i = 0; i < name.len; i++) {
            char c = name.ptr[i];
            upper[i] = c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
        }
        assert_true(name.len > 0);
        assert_int_equal(ps_h1_field_find(name), id);
        assert_int_equal(ps_h1_field_find((struct ps_str){upper, name.len}), id);
        upper[name.len / 2] = '_';
        assert_int_equal(ps_h1_field_find((struct ps_str){upper, name.len}), PS_H1_FIELD_OTHER);
    }
    assert_int_equal(ps_h1_field_find(PS_STR("x-unknown")), PS_H1_FIELD_OTHER);
    assert_int_equal(ps_h1_method_find(PS_STR("PROPFIND")), PS_H1_METHOD_OTHER);
    assert_int_equal(ps_h1_method_find(PS_STR("PATCH")), PS_H1_METHOD_PATCH);
    assert_int_equal(ps_h1_method_find(PS_STR("patch")), PS_H1_METHOD_UNKNOWN);
    assert_text(ps_h1_method_name(PS_H1_METHOD_HEAD), "HEAD");
    assert_text(ps_h1_reason(429), "Too Many Requests");
    assert_text(ps_h1_reason(599), "Unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_head_tells_everything),
        cmocka_unit_test(a_head_in_one_piece_allocates_nothing),
        cmocka_unit_test(a_head_in_pieces_is_given_back_with_the_next_event),
        cmocka_unit_test(pipelined_requests_come_one_by_one),
        cmocka_unit_test(chunks_and_trailers_are_read),
        cmocka_unit_test(responses_without_a_body_end_after_the_head),
        cmocka_unit_test(an_interim_response_keeps_what_is_expected),
        cmocka_unit_test(closing_ends_only_a_body_without_length),
        cmocka_unit_test(connection_options_decide_about_keep_alive_and_upgrade),
        cmocka_unit_test(ambiguous_requests_are_refused),
        cmocka_unit_test(ambiguous_responses_are_refused),
        cmocka_unit_test(an_error_says_where),
        cmocka_unit_test(limits_are_exact),
        cmocka_unit_test(chunk_extensions_have_a_budget_per_message),
        cmocka_unit_test(one_empty_line_before_a_request_is_nothing),
        cmocka_unit_test(absolute_targets_give_path_and_host),
        cmocka_unit_test(every_known_name_is_found_in_any_case),
    };
    return cmocka_run_group_tests_name("h1", tests, setup, teardown);
}
