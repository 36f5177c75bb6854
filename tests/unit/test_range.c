/* test_range - which part of a body a request means.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/range.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../helpers/heads.h"

static void one_range_is_read(void **state)
{
    static const struct {
        const char *value;
        uint64_t length;
        int err;
        uint64_t first, last;
    } rows[] = {
        {"bytes=0-1", 10, PS_OK, 0, 1},
        {"bytes=0-0", 10, PS_OK, 0, 0},
        {"Bytes= 2-5 ", 10, PS_OK, 2, 5},
        {"bytes=1-", 10, PS_OK, 1, 9},
        {"bytes=9-99", 10, PS_OK, 9, 9},
        {"bytes=9-99999999999999999999999", 10, PS_OK, 9, 9},
        {"bytes=-3", 10, PS_OK, 7, 9},
        {"bytes=-10", 10, PS_OK, 0, 9},
        {"bytes=-99", 10, PS_OK, 0, 9},
        {"bytes=10-", 10, PS_EINVAL, 0, 0},
        {"bytes=99999999999999999999999-", 10, PS_EINVAL, 0, 0},
        {"bytes=-0", 10, PS_EINVAL, 0, 0},
        {"bytes=0-", 0, PS_EINVAL, 0, 0},
        {"bytes=-1", 0, PS_EINVAL, 0, 0},
        {"bytes=5-2", 10, PS_EPARSE, 0, 0},
        {"bytes=0-1,3-4", 10, PS_EPARSE, 0, 0},
        {"bytes=", 10, PS_EPARSE, 0, 0},
        {"bytes=-", 10, PS_EPARSE, 0, 0},
        {"bytes=1", 10, PS_EPARSE, 0, 0},
        {"bytes=a-b", 10, PS_EPARSE, 0, 0},
        {"bytes=0-1-2", 10, PS_EPARSE, 0, 0},
        {"bytes 0-1", 10, PS_EPARSE, 0, 0},
        {"items=0-1", 10, PS_EPARSE, 0, 0},
        {"", 10, PS_EPARSE, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_range range = {0, 0};
        int err = ps_range_parse(ps_str_from(rows[i].value), rows[i].length, &range);
        if (err != rows[i].err) {
            print_message("row %zu: %s\n", i, rows[i].value);
        }
        assert_int_equal(err, rows[i].err);
        assert_int_equal(range.first, rows[i].first);
        assert_int_equal(range.last, rows[i].last);
    }
}

static void if_range_takes_the_very_answer(void **state)
{
    static const struct {
        const char *request, *answer;
        bool allowed;
    } rows[] = {
        {"X: y\n", "X: y\n", true},
        {"If-Range: \"a\"\n", "ETag: \"a\"\n", true},
        {"If-Range: \"b\"\n", "ETag: \"a\"\n", false},
        {"If-Range: W/\"a\"\n", "ETag: W/\"a\"\n", false},
        {"If-Range: W/\"a\"\n", "ETag: \"a\"\n", false},
        {"If-Range: a\n", "ETag: a\n", false},
        {"If-Range: Sun, 06 Nov 1994 08:49:37 GMT\n",
         "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\n", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct heads a;
        struct heads b;
        const struct ps_h1_head *request = heads_request(&a, "GET /", rows[i].request);
        const struct ps_h1_head *answer = heads_answer(&b, 200, rows[i].answer);
        assert_int_equal(ps_range_is_allowed(request, answer), rows[i].allowed);
        heads_fini(&a);
        heads_fini(&b);
    }
}

static void the_part_is_named(void **state)
{
    (void)state;
    struct ps_buf out = ps_buf_make(64);
    assert_int_equal(ps_range_write(&out, &(struct ps_range){2, 5}, 10), PS_OK);
    assert_true(ps_str_eq(ps_buf_str(&out), PS_STR("Content-Range: bytes 2-5/10\r\n")));
    ps_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_range_is_read),
        cmocka_unit_test(if_range_takes_the_very_answer),
        cmocka_unit_test(the_part_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
