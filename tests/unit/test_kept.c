/* test_kept - which header lines are kept, and what a 304 makes of them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/kept.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../helpers/heads.h"

#define AT   (INT64_C(784111777) * PS_SECOND)
#define DATE "Date: Sun, 06 Nov 1994 08:49:37 GMT\n"

static void assert_lines(const struct ps_buf *got, const char *lines)
{
    struct heads want = {.text = ps_buf_make(1u << 16)};
    heads_add_lines(&want, lines);
    if (!ps_str_eq(ps_buf_str(got), ps_buf_str(&want.text))) {
        print_message("got:\n%.*s", PS_STR_ARG(ps_buf_str(got)));
    }
    assert_true(ps_str_eq(ps_buf_str(got), ps_buf_str(&want.text)));
    ps_buf_fini(&want.text);
}

static void what_concerns_the_answer_is_kept(void **state)
{
    static const struct {
        const char *lines, *kept;
    } rows[] = {
        {DATE "Content-Type: text/plain\nX-A: 1\nX-A: 2\nSet-Cookie: a=b\n",
         DATE "Content-Type: text/plain\nX-A: 1\nX-A: 2\nSet-Cookie: a=b\n"},
        {DATE "Connection: close, a\nA: 1\nB: 2\nKeep-Alive: x\nTE: x\nUpgrade: x\n",
         DATE "B: 2\n"},
        {DATE "Proxy-Authenticate: x\nProxy-Authorization: x\nProxy-Authentication-Info: x\nB: 2\n",
         DATE "B: 2\n"},
        {DATE "Age: 7\nContent-Length: 0\nX-Request-Id: q\nB: 2\n", DATE "B: 2\n"},
        {DATE "Cache-Control: no-cache=\"a\", private=\"b\"\nA: 1\nB: 2\nC: 3\n",
         DATE "Cache-Control: no-cache=\"a\", private=\"b\"\nC: 3\n"},
        {"B: 2\n", DATE "B: 2\n"},
        {"Date: now\nB: 2\n", DATE "B: 2\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct heads heads;
        struct ps_buf out = ps_buf_make(4096);
        assert_int_equal(ps_kept_write(&out, heads_answer(&heads, 200, rows[i].lines), AT), PS_OK);
        assert_lines(&out, rows[i].kept);
        ps_buf_fini(&out);
        heads_fini(&heads);
    }
}

static void read_lines(struct ps_kept *kept, struct heads *heads, const char *lines)
{
    *heads = (struct heads){.text = ps_buf_make(1u << 16)};
    heads_add_lines(heads, lines);
    assert_int_equal(ps_kept_read(kept, ps_buf_str(&heads->text), 200), PS_OK);
}

static void lines_are_read_again(void **state)
{
    (void)state;
    struct ps_kept kept;
    struct heads heads;
    read_lines(&kept, &heads, "ETag: \"a\"\nX-Other:\nVary: a\n");
    assert_int_equal(kept.head.header_count, 3);
    assert_int_equal(kept.head.status, 200);
    assert_true(ps_str_eq(ps_h1_head_find(&kept.head, PS_H1_ETAG)->value, PS_STR("\"a\"")));
    assert_non_null(ps_h1_head_find_name(&kept.head, PS_STR("x-other")));
    assert_null(ps_h1_head_find(&kept.head, PS_H1_AGE));
    ps_buf_fini(&heads.text);
    assert_int_equal(ps_kept_read(&kept, (struct ps_str){NULL, 0}, 200), PS_OK);
    assert_int_equal(kept.head.header_count, 0);
}

static void what_is_no_line_is_refused(void **state)
{
    static const char *const rows[] = {"A",       "A: 1",      "A: 1\r", "A: 1\n",      "A : 1\r\n",
                                       ": 1\r\n", "A: \1\r\n", "\r\n",   "A: 1\r\n\r\n"};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_kept kept;
        assert_int_equal(ps_kept_read(&kept, ps_str_from(rows[i]), 200), PS_EPARSE);
        assert_int_equal(kept.head.header_count, 0);
    }
    struct ps_buf many = ps_buf_make(1u << 16);
    for (unsigned i = 0; i <= PS_KEPT_HEADERS_MAX; i++) {
        assert_int_equal(ps_buf_append_str(&many, PS_STR("A: 1\r\n")), PS_OK);
    }
    struct ps_kept kept;
    assert_int_equal(ps_kept_read(&kept, ps_buf_str(&many), 200), PS_ELIMIT);
    many.len -= 6;
    assert_int_equal(ps_kept_read(&kept, ps_buf_str(&many), 200), PS_OK);
    ps_buf_fini(&many);
}

static void a_304_replaces_fields_but_not_the_body(void **state)
{
    static const struct {
        const char *kept, *news, *updated;
    } rows[] = {
        {"Date: Sun, 06 Nov 1984 08:49:37 GMT\nA: 1\nA: 2\nB: 1\n", "A: 3\n", DATE "B: 1\nA: 3\n"},
        {DATE "A: 1\nB: 1\n", "b: 2\nDate: Sun, 06 Nov 1994 08:49:38 GMT\nC: 2\n",
         "A: 1\nb: 2\nDate: Sun, 06 Nov 1994 08:49:38 GMT\nC: 2\n"},
        {DATE "Content-Type: a/b\nETag: \"a\"\n", DATE "Content-Type: c/d\nETag: \"b\"\n",
         "ETag: \"a\"\n" DATE "Content-Type: c/d\n"},
        {DATE "Content-Encoding: gzip\nContent-MD5: a\nContent-Range: a\n",
         DATE "Content-Encoding: br\nContent-MD5: b\nContent-Range: b\nContent-Length: 7\n",
         "Content-Encoding: gzip\nContent-MD5: a\nContent-Range: a\n" DATE},
        {DATE "A: 1\n", DATE "Connection: a\nA: 2\nKeep-Alive: x\nX-Request-Id: q\nAge: 3\n",
         "A: 1\n" DATE},
        {DATE "A: 1\n", DATE "Cache-Control: no-cache=\"a\"\nA: 2\n",
         "A: 1\n" DATE "Cache-Control: no-cache=\"a\"\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_kept kept;
        struct heads a;
        struct heads b;
        struct ps_buf out = ps_buf_make(4096);
        read_lines(&kept, &a, rows[i].kept);
        assert_int_equal(ps_kept_update(&out, &kept, heads_answer(&b, 304, rows[i].news), AT),
                         PS_OK);
        assert_lines(&out, rows[i].updated);
        ps_buf_fini(&out);
        ps_buf_fini(&a.text);
        heads_fini(&b);
    }
}

static void a_304_for_a_client_has_no_body_to_describe(void **state)
{
    (void)state;
    struct ps_kept kept;
    struct heads heads;
    struct ps_buf out = ps_buf_make(4096);
    read_lines(&kept, &heads,
               DATE "Content-Type: a/b\nContent-Encoding: gzip\nContent-Location: /x\nETag: \"a\"\n"
                    "Vary: a\nCache-Control: max-age=1\nContent-Language: en\n");
    assert_int_equal(ps_kept_write_not_modified(&out, &kept), PS_OK);
    assert_lines(&out,
                 DATE "Content-Location: /x\nETag: \"a\"\nVary: a\nCache-Control: max-age=1\n");
    ps_buf_fini(&out);
    ps_buf_fini(&heads.text);
}

static void what_does_not_fit_leaves_the_buffer_alone(void **state)
{
    (void)state;
    struct heads heads;
    struct ps_buf out = ps_buf_make(60);
    assert_int_equal(ps_buf_append_str(&out, PS_STR("V: x\r\n")), PS_OK);
    const struct ps_h1_head *head = heads_answer(&heads, 200, DATE "A: a value that is too long\n");
    assert_int_equal(ps_kept_write(&out, head, AT), PS_ELIMIT);
    assert_lines(&out, "V: x\n");
    ps_buf_fini(&out);
    heads_fini(&heads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_concerns_the_answer_is_kept),
        cmocka_unit_test(lines_are_read_again),
        cmocka_unit_test(what_is_no_line_is_refused),
        cmocka_unit_test(a_304_replaces_fields_but_not_the_body),
        cmocka_unit_test(a_304_for_a_client_has_no_body_to_describe),
        cmocka_unit_test(what_does_not_fit_leaves_the_buffer_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
