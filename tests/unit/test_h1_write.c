/* test_h1_write - what is written can be read, and nobody can smuggle a line into it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "http/h1.h"
#include "http/h1_write.h"

static void assert_buf(const struct ps_buf *buf, const char *want)
{
    assert_int_equal(buf->len, strlen(want));
    assert_memory_equal(buf->data, want, buf->len);
}

static void heads_are_written(void **state)
{
    (void)state;
    struct ps_buf out = ps_buf_make(4096);
    assert_int_equal(ps_h1_write_request_line(&out, PS_STR("GET"), PS_STR("/a?b")), PS_OK);
    assert_int_equal(ps_h1_write_header(&out, PS_STR("Host"), PS_STR("a")), PS_OK);
    assert_int_equal(ps_h1_write_header_u64(&out, PS_STR("Content-Length"), 0), PS_OK);
    assert_int_equal(ps_h1_write_header_u64(&out, PS_STR("X"), UINT64_MAX), PS_OK);
    assert_int_equal(ps_h1_write_head_end(&out), PS_OK);
    assert_buf(&out, "GET /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n"
                     "X: 18446744073709551615\r\n\r\n");
    ps_buf_clear(&out);
    assert_int_equal(ps_h1_write_status_line(&out, 404, PS_STR("")), PS_OK);
    assert_int_equal(ps_h1_write_status_line(&out, 299, PS_STR("Fine so")), PS_OK);
    assert_buf(&out, "HTTP/1.1 404 Not Found\r\nHTTP/1.1 299 Fine so\r\n");
    ps_buf_fini(&out);
}

static void nothing_forbidden_is_written(void **state)
{
    (void)state;
    struct ps_buf out = ps_buf_make(4096);
    const struct ps_str bad_values[] = {PS_STR("a\r\nX: b"), PS_STR("a\rb"), PS_STR("a\nb"),
                                        PS_STR("a\0b"), PS_STR("\x7f")};
    for (size_t i = 0; i < PS_ARRAY_LEN(bad_values); i++) {
        assert_int_equal(ps_h1_write_header(&out, PS_STR("X"), bad_values[i]), PS_EINVAL);
        assert_int_equal(ps_h1_write_status_line(&out, 200, bad_values[i]), PS_EINVAL);
    }
    assert_int_equal(ps_h1_write_header(&out, PS_STR(""), PS_STR("a")), PS_EINVAL);
    assert_int_equal(ps_h1_write_header(&out, PS_STR("X:"), PS_STR("a")), PS_EINVAL);
    assert_int_equal(ps_h1_write_header(&out, PS_STR("X "), PS_STR("a")), PS_EINVAL);
    assert_int_equal(ps_h1_write_request_line(&out, PS_STR("G T"), PS_STR("/")), PS_EINVAL);
    assert_int_equal(ps_h1_write_request_line(&out, PS_STR("GET"), PS_STR("/ HTTP/1.1")),
                     PS_EINVAL);
    assert_int_equal(ps_h1_write_request_line(&out, PS_STR("GET"), PS_STR("")), PS_EINVAL);
    assert_int_equal(ps_h1_write_status_line(&out, 99, PS_STR("")), PS_EINVAL);
    assert_int_equal(ps_h1_write_status_line(&out, 600, PS_STR("")), PS_EINVAL);
    assert_int_equal(out.len, 0);
    ps_buf_fini(&out);
}

static void a_full_buffer_stays_as_it_was(void **state)
{
    (void)state;
    struct ps_buf out = ps_buf_make(12);
    const struct ps_h1_header trailer = {.name = PS_STR("Name"), .value = PS_STR("value")};
    assert_int_equal(ps_h1_write_header(&out, PS_STR("A"), PS_STR("b")), PS_OK);
    assert_int_equal(ps_h1_write_header(&out, PS_STR("Name"), PS_STR("b")), PS_ELIMIT);
    assert_int_equal(ps_h1_write_chunk(&out, PS_STR("12345")), PS_ELIMIT);
    assert_int_equal(ps_h1_write_last_chunk(&out, &trailer, 1), PS_ELIMIT);
    assert_buf(&out, "A: b\r\n");
    ps_buf_fini(&out);
}

/* What of the headers of a request is copied. */
static void check_copy(struct ps_str text, uint64_t skip, unsigned flags, const char *want)
{
    struct ps_h1_scratch scratch;
    struct ps_h1 h1;
    struct ps_buf out = ps_buf_make(4096);
    assert_int_equal(ps_h1_scratch_init(&scratch, 0), PS_OK);
    ps_h1_init(&h1, PS_H1_REQUEST, NULL, &scratch);
    assert_int_equal(ps_h1_next(&h1, &text), PS_H1_HEAD);
    assert_int_equal(ps_h1_copy_end_to_end(&out, ps_h1_head(&h1), skip, flags), PS_OK);
    assert_buf(&out, want);
    ps_buf_fini(&out);
    ps_h1_fini(&h1);
    ps_h1_scratch_fini(&scratch);
}

static void end_to_end_headers_are_copied_byte_for_byte(void **state)
{
    (void)state;
    check_copy(PS_STR("GET / HTTP/1.1\r\nHost: a\r\nX-A:1\r\nX-b:  2 \t\r\n\r\n"), 0, 0,
               "Host: a\r\nX-A:1\r\nX-b:  2 \t\r\n");
    check_copy(PS_STR("GET / HTTP/1.0\r\n\r\n"), 0, 0, "");
    check_copy(PS_STR("GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nAccept: b\r\nX-C: 3\r\n\r\n"),
               PS_H1_BIT(PS_H1_HOST) | PS_H1_BIT(PS_H1_ACCEPT), 0, "X-A: 1\r\nX-C: 3\r\n");
    check_copy(PS_STR("GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nAccept: b\r\n\r\n"),
               PS_H1_BIT(PS_H1_FIELD_OTHER), 0, "Host: a\r\nAccept: b\r\n");
}

static void hop_by_hop_headers_stay_here(void **state)
{
    (void)state;
    check_copy(PS_STR("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nKeep-Alive: 3\r\n"
                      "Proxy-Connection: x\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n"
                      "Trailer: X\r\nUpgrade: h2c\r\nProxy-Authorization: b\r\nX: y\r\n"
                      "Proxy-Authenticate: c\r\n\r\n"),
               0, 0, "Host: a\r\nX: y\r\n");
}

static void what_connection_names_stays_here(void **state)
{
    (void)state;
    struct ps_str text = PS_STR("POST / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nX-Two: 2\r\n"
                                "Content-Length: 1\r\nUpgrade: websocket\r\n"
                                "Connection: x-one, Upgrade\r\n"
                                "Connection: CONTENT-LENGTH, host\r\n\r\nx");
    check_copy(text, 0, 0, "Host: a\r\nX-Two: 2\r\nContent-Length: 1\r\n");
    check_copy(text, 0, PS_H1_COPY_UPGRADE,
               "Host: a\r\nX-Two: 2\r\nContent-Length: 1\r\nUpgrade: websocket\r\n");
    check_copy(text, PS_H1_BIT(PS_H1_UPGRADE), PS_H1_COPY_UPGRADE,
               "Host: a\r\nX-Two: 2\r\nContent-Length: 1\r\n");
}

static void chunks_are_written(void **state)
{
    (void)state;
    struct ps_buf out = ps_buf_make(4096);
    const struct ps_h1_header trailer = {.name = PS_STR("X-Sum"), .value = PS_STR("7")};
    assert_int_equal(ps_h1_write_chunk(&out, PS_STR("0123456789abcdef")), PS_OK);
    assert_int_equal(ps_h1_write_chunk(&out, PS_STR("")), PS_OK);
    assert_int_equal(ps_h1_write_chunk_header(&out, 3), PS_OK);
    assert_int_equal(ps_buf_append_str(&out, PS_STR("abc")), PS_OK);
    assert_int_equal(ps_h1_write_chunk_footer(&out), PS_OK);
    assert_int_equal(ps_h1_write_last_chunk(&out, &trailer, 1), PS_OK);
    assert_int_equal(ps_h1_write_last_chunk(&out, NULL, 0), PS_OK);
    assert_buf(&out, "10\r\n0123456789abcdef\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n0\r\n\r\n");
    ps_buf_fini(&out);
}

static void chunk_headers_have_every_length(void **state)
{
    (void)state;
    for (int bit = 0; bit < 64; bit++) {
        uint64_t size = UINT64_C(1) << bit;
        char got[PS_H1_CHUNK_HEADER_MAX + 1] = {0};
        char want[PS_H1_CHUNK_HEADER_MAX + 1];
        size_t len = ps_h1_format_chunk_header(got, size);
        snprintf(want, sizeof want, "%llx\r\n", (unsigned long long)size);
        assert_int_equal(len, strlen(want));
        assert_string_equal(got, want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_written),
        cmocka_unit_test(nothing_forbidden_is_written),
        cmocka_unit_test(a_full_buffer_stays_as_it_was),
        cmocka_unit_test(end_to_end_headers_are_copied_byte_for_byte),
        cmocka_unit_test(hop_by_hop_headers_stay_here),
        cmocka_unit_test(what_connection_names_stays_here),
        cmocka_unit_test(chunks_are_written),
        cmocka_unit_test(chunk_headers_have_every_length),
    };
    return cmocka_run_group_tests_name("h1_write", tests, NULL, NULL);
}
