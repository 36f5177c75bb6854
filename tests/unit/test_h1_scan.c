/* test_h1_scan - the byte table against the words of the RFCs, and the fast loops against it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/h1_scan.h"

static bool is_alnum(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_one_of(int c, const char *set)
{
    return c != 0 && c < 128 && strchr(set, c) != NULL;
}

static void the_table_says_what_the_rfcs_say(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        bool token = is_alnum(c) || is_one_of(c, "!#$%&'*+-.^_`|~");
        bool value = c == '\t' || (c >= ' ' && c != 0x7f);
        bool target = c > ' ' && c < 0x7f && c != '#';
        bool host = is_alnum(c) || is_one_of(c, "-._~%!$&'()*+;=");
        assert_int_equal(ps_h1_is_class((char)c, PS_H1_CLASS_TOKEN), token);
        assert_int_equal(ps_h1_is_class((char)c, PS_H1_CLASS_VALUE), value);
        assert_int_equal(ps_h1_is_class((char)c, PS_H1_CLASS_TARGET), target);
        assert_int_equal(ps_h1_is_class((char)c, PS_H1_CLASS_HOST), host);
    }
}

/* Every byte at every place of runs of 0 to 40 bytes, in a heap block of that size. */
static void the_fast_loops_stop_where_the_table_says(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 40; len++) {
        char *run = malloc(len + 1);
        assert_non_null(run);
        char *bytes = run + 1;
        for (size_t at = 0; at < len; at++) {
            for (int c = 0; c < 256; c++) {
                memset(bytes, 'a', len);
                bytes[at] = (char)c;
                const char *end = bytes + len;
                const char *value = ps_h1_scan_class(bytes, end, PS_H1_CLASS_VALUE);
                const char *target = ps_h1_scan_class(bytes, end, PS_H1_CLASS_TARGET);
                assert_ptr_equal(ps_h1_scan_value(bytes, end), value);
                assert_ptr_equal(ps_h1_scan_target(bytes, end), target);
            }
        }
        free(run);
    }
}

static void empty_text_is_a_value_but_no_token(void **state)
{
    (void)state;
    assert_true(ps_h1_is_value(PS_STR("")));
    assert_false(ps_h1_is_token(PS_STR("")));
    assert_false(ps_h1_is_target(PS_STR("")));
    assert_true(ps_h1_is_token(PS_STR("x-Name_1")));
    assert_false(ps_h1_is_token(PS_STR("x name")));
    assert_false(ps_h1_is_value(PS_STR("a\r\nb: c")));
    assert_false(ps_h1_is_value(PS_STR("a\0b")));
    assert_false(ps_h1_is_target(PS_STR("/a b")));
    assert_true(ps_h1_is_target(PS_STR("/a?b=c%20")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_says_what_the_rfcs_say),
        cmocka_unit_test(the_fast_loops_stop_where_the_table_says),
        cmocka_unit_test(empty_text_is_a_value_but_no_token),
    };
    return cmocka_run_group_tests_name("h1_scan", tests, NULL, NULL);
}
