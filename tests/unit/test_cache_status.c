/* test_cache_status - the lines Cache-Status and Age, byte for byte.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/cache_status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void each_story_has_its_line(void **state)
{
    static const struct {
        struct ps_cache_status status;
        const char *line;
    } rows[] = {
        {{.hit = false}, "Cache-Status: Penstock\r\n"},
        {{.hit = true}, "Cache-Status: Penstock; hit\r\n"},
        {{.hit = true, .has_ttl = true, .ttl = 41 * PS_SECOND + 1, .detail = PS_STR_INIT("L1")},
         "Cache-Status: Penstock; hit; ttl=41; detail=L1\r\n"},
        {{.hit = true, .has_ttl = true, .ttl = -1}, "Cache-Status: Penstock; hit; ttl=-1\r\n"},
        {{.hit = true, .has_ttl = true, .ttl = -3 * PS_SECOND},
         "Cache-Status: Penstock; hit; ttl=-3\r\n"},
        {{.fwd = PS_CACHE_FWD_URI_MISS, .collapsed = true, .stored = true},
         "Cache-Status: Penstock; fwd=uri-miss; stored; collapsed\r\n"},
        {{.fwd = PS_CACHE_FWD_STALE, .fwd_status = 304},
         "Cache-Status: Penstock; fwd=stale; fwd-status=304\r\n"},
        {{.fwd = PS_CACHE_FWD_BYPASS, .detail = PS_STR_INIT("no key: a member is given twice")},
         "Cache-Status: Penstock; fwd=bypass; detail=\"no key: a member is given twice\"\r\n"},
        {{.fwd = PS_CACHE_FWD_METHOD}, "Cache-Status: Penstock; fwd=method\r\n"},
        {{.fwd = PS_CACHE_FWD_VARY_MISS}, "Cache-Status: Penstock; fwd=vary-miss\r\n"},
        {{.fwd = PS_CACHE_FWD_MISS}, "Cache-Status: Penstock; fwd=miss\r\n"},
        {{.fwd = PS_CACHE_FWD_REQUEST}, "Cache-Status: Penstock; fwd=request\r\n"},
        {{.fwd = PS_CACHE_FWD_PARTIAL}, "Cache-Status: Penstock; fwd=partial\r\n"},
        {{.hit = true, .key = PS_STR_INIT("5f\"\\")},
         "Cache-Status: Penstock; hit; key=\"5f\\\"\\\\\"\r\n"},
        {{.hit = true, .key = PS_STR_INIT("abc")}, "Cache-Status: Penstock; hit; key=\"abc\"\r\n"},
        {{.hit = true, .detail = PS_STR_INIT("1st")},
         "Cache-Status: Penstock; hit; detail=\"1st\"\r\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_buf out = ps_buf_make(256);
        assert_int_equal(ps_cache_status_write(&out, &rows[i].status), PS_OK);
        assert_int_equal(out.len, strlen(rows[i].line));
        assert_memory_equal(out.data, rows[i].line, out.len);
        ps_buf_fini(&out);
    }
}

static void a_hit_was_not_forwarded(void **state)
{
    (void)state;
    struct ps_buf out = ps_buf_make(256);
    struct ps_cache_status status = {.hit = true,
                                     .fwd = PS_CACHE_FWD_STALE,
                                     .fwd_status = 200,
                                     .stored = true,
                                     .collapsed = true};
    assert_int_equal(ps_cache_status_write(&out, &status), PS_OK);
    assert_true(ps_str_eq(ps_buf_str(&out), PS_STR("Cache-Status: Penstock; hit\r\n")));
    ps_buf_fini(&out);
}

static void nothing_can_start_a_line_of_its_own(void **state)
{
    static const char *const rows[] = {"a\r\nX: y", "\t", "\x7f", "caf\xc3\xa9"};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_buf out = ps_buf_make(256);
        struct ps_cache_status status = {.hit = true, .detail = ps_str_from(rows[i])};
        assert_int_equal(ps_cache_status_write(&out, &status), PS_EINVAL);
        assert_int_equal(out.len, 0);
        status = (struct ps_cache_status){.hit = true, .key = ps_str_from(rows[i])};
        assert_int_equal(ps_cache_status_write(&out, &status), PS_EINVAL);
        assert_int_equal(out.len, 0);
        ps_buf_fini(&out);
    }
}

static void what_does_not_fit_leaves_the_buffer_alone(void **state)
{
    (void)state;
    struct ps_buf out = ps_buf_make(40);
    assert_int_equal(ps_buf_append_str(&out, PS_STR("Via: x\r\n")), PS_OK);
    struct ps_cache_status status = {.hit = true, .detail = PS_STR("much longer than that")};
    assert_int_equal(ps_cache_status_write(&out, &status), PS_ELIMIT);
    assert_true(ps_str_eq(ps_buf_str(&out), PS_STR("Via: x\r\n")));
    ps_buf_fini(&out);
}

static void age_is_in_whole_seconds(void **state)
{
    static const struct {
        ps_span age;
        const char *line;
    } rows[] = {
        {-1, "Age: 0\r\n"},
        {0, "Age: 0\r\n"},
        {PS_SECOND - 1, "Age: 0\r\n"},
        {90 * PS_SECOND, "Age: 90\r\n"},
        {PS_NEVER, "Age: 2147483648\r\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_buf out = ps_buf_make(64);
        assert_int_equal(ps_cache_status_write_age(&out, rows[i].age), PS_OK);
        assert_true(ps_str_eq(ps_buf_str(&out), ps_str_from(rows[i].line)));
        ps_buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_story_has_its_line),
        cmocka_unit_test(a_hit_was_not_forwarded),
        cmocka_unit_test(nothing_can_start_a_line_of_its_own),
        cmocka_unit_test(what_does_not_fit_leaves_the_buffer_alone),
        cmocka_unit_test(age_is_in_whole_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
