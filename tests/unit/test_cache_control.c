/* test_cache_control - what is a directive, what only looks like one, and what is out of bounds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/cache_control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../helpers/heads.h"

#define BIT(name) PS_CC_BIT(PS_CC_##name)

/* What a row expects of one timed directive: -1 = not looked at. */
struct row {
    const char *lines;
    unsigned set, invalid;
    int64_t max_age; /* seconds */
    bool broken;
};

static void check(const struct row *rows, size_t count, bool answer)
{
    for (size_t i = 0; i < count; i++) {
        struct heads heads;
        struct ps_cache_control cc;
        const struct ps_h1_head *head = heads_answer(&heads, 200, rows[i].lines);
        if (answer) {
            ps_cache_control_read_answer(&cc, head);
        } else {
            ps_cache_control_read(&cc, head);
        }
        if (cc.set != rows[i].set || cc.invalid != rows[i].invalid || cc.broken != rows[i].broken) {
            print_message("row %zu: %s", i, rows[i].lines);
        }
        assert_int_equal(cc.set, rows[i].set);
        assert_int_equal(cc.invalid, rows[i].invalid);
        assert_int_equal(cc.broken, rows[i].broken);
        if ((cc.set & BIT(MAX_AGE)) != 0) {
            assert_int_equal(cc.seconds[PS_CC_MAX_AGE] / PS_SECOND, rows[i].max_age);
        }
        heads_fini(&heads);
    }
}

static void directives_are_read(void **state)
{
    static const struct row rows[] = {
        {"X: y\n", 0, 0, 0, false},
        {"Cache-Control: \n", 0, 0, 0, false},
        {"Cache-Control: max-age=3600\n", BIT(MAX_AGE), 0, 3600, false},
        {"Cache-Control: MaX-aGe=3600\n", BIT(MAX_AGE), 0, 3600, false},
        {"Cache-Control: max-age=\"3600\"\n", BIT(MAX_AGE), 0, 3600, false},
        {"Cache-Control: max-age=003600\n", BIT(MAX_AGE), 0, 3600, false},
        {"Cache-Control: ,, max-age=1 ,\t, public,\n", BIT(MAX_AGE) | BIT(PUBLIC), 0, 1, false},
        {"Cache-Control: public\nX: y\nCache-Control: max-age=7\n", BIT(MAX_AGE) | BIT(PUBLIC), 0,
         7, false},
        {"Cache-Control: no-store, no-cache, private, public, must-revalidate, proxy-revalidate,"
         "must-understand, only-if-cached\n",
         BIT(NO_STORE) | BIT(NO_CACHE) | BIT(PRIVATE) | BIT(PUBLIC) | BIT(MUST_REVALIDATE) |
             BIT(PROXY_REVALIDATE) | BIT(MUST_UNDERSTAND) | BIT(ONLY_IF_CACHED),
         0, 0, false},
        {"Cache-Control: s-maxage=1, stale-while-revalidate=2, stale-if-error=3, min-fresh=4,"
         "max-stale=5\n",
         BIT(S_MAXAGE) | BIT(STALE_WHILE_REVALIDATE) | BIT(STALE_IF_ERROR) | BIT(MIN_FRESH) |
             BIT(MAX_STALE),
         0, 0, false},
        {"Cache-Control: foobar, foo=bar, foo=\"b,a\\\"r\", max-age=1\n", BIT(MAX_AGE), 0, 1,
         false},
        /* nothing in a string is a directive */
        {"Cache-Control: x=\"max-age=3600\", max-age=1\n", BIT(MAX_AGE), 0, 1, false},
        {"Cache-Control: max-age=1, x=\"max-age=3600, no-store\"\n", BIT(MAX_AGE), 0, 1, false},
        {"Cache-Control: x=\"\\\", no-store\", max-age=1\n", BIT(MAX_AGE), 0, 1, false},
        {"Cache-Control: \"no-store\", max-age=1\n", BIT(MAX_AGE), 0, 1, false},
        /* the first of two holds */
        {"Cache-Control: max-age=1, max-age=3600\n", BIT(MAX_AGE), 0, 1, false},
        {"Cache-Control: max-age=3600\nCache-Control: max-age=1\n", BIT(MAX_AGE), 0, 3600, false},
        {"Cache-Control: max-age=x, max-age=1\n", 0, BIT(MAX_AGE), 0, false},
        /* out of bounds */
        {"Cache-Control: max-age=2147483647\n", BIT(MAX_AGE), 0, 2147483647, false},
        {"Cache-Control: max-age=2147483648\n", BIT(MAX_AGE), 0, 2147483648, false},
        {"Cache-Control: max-age=99999999999\n", BIT(MAX_AGE), 0, 2147483648, false},
        {"Cache-Control: max-age=99999999999999999999999999\n", BIT(MAX_AGE), 0, 2147483648, false},
        /* no seconds */
        {"Cache-Control: max-age\n", 0, BIT(MAX_AGE), 0, false},
        {"Cache-Control: max-age=\n", 0, BIT(MAX_AGE), 0, false},
        {"Cache-Control: max-age=\"\"\n", 0, BIT(MAX_AGE), 0, false},
        {"Cache-Control: max-age=-1\n", 0, BIT(MAX_AGE), 0, false},
        {"Cache-Control: max-age=+1\n", 0, BIT(MAX_AGE), 0, false},
        {"Cache-Control: max-age=1.5\n", 0, BIT(MAX_AGE), 0, false},
        {"Cache-Control: max-age=1s\n", 0, BIT(MAX_AGE), 0, false},
        {"Cache-Control: max-age='3600'\n", 0, BIT(MAX_AGE), 0, false},
        {"Cache-Control: max-age=\"3600\\0\"\n", 0, BIT(MAX_AGE), 0, false},
        {"Cache-Control: max-age =1\n", 0, BIT(MAX_AGE), 0, false},
        {"Cache-Control: max-age= 1\n", 0, BIT(MAX_AGE), 0, false},
        {"Cache-Control: max-age=1 2\n", 0, BIT(MAX_AGE), 0, false},
        {"Cache-Control: max-age=1;foo\n", 0, BIT(MAX_AGE), 0, false},
        /* junk: what forbids forbids, what permits does not */
        {"Cache-Control: no-store;x, private y, public z, must-understand w\n",
         BIT(NO_STORE) | BIT(PRIVATE), 0, 0, false},
        {"Cache-Control: no-store=1, max-age=1\n", BIT(NO_STORE) | BIT(MAX_AGE), 0, 1, false},
        {"Cache-Control: =1, ;no-store, max-age=1\n", BIT(MAX_AGE), 0, 1, false},
        {"Cache-Control: max-age=1, x=\"no end, no-store\n", BIT(MAX_AGE), 0, 1, true},
        {"Cache-Control: max-age=1, \"no-store\n", BIT(MAX_AGE), 0, 1, true},
        {"Cache-Control: max-age=1, x=\"\\\n", BIT(MAX_AGE), 0, 1, true},
        {"Cache-Control: max-age=\"1\n", 0, BIT(MAX_AGE), 0, true},
    };
    (void)state;
    check(rows, sizeof rows / sizeof *rows, false);
}

static void max_stale_may_be_boundless(void **state)
{
    (void)state;
    struct heads heads;
    struct ps_cache_control cc;
    ps_cache_control_read(&cc, heads_request(&heads, "GET /", "Cache-Control: max-stale\n"));
    assert_true(ps_cc_has(&cc, PS_CC_MAX_STALE));
    assert_true(cc.seconds[PS_CC_MAX_STALE] == PS_NEVER);
    heads_fini(&heads);
}

static void fields_may_be_withheld(void **state)
{
    static const struct {
        const char *lines;
        bool fields;
        unsigned set;
        bool a, b;
    } rows[] = {
        {"Cache-Control: no-cache=\"A\"\n", true, 0, true, false},
        {"Cache-Control: no-cache=\"c, a ,B\", max-age=1\n", true, BIT(MAX_AGE), true, true},
        {"Cache-Control: private=a\nCache-Control: private=\"b\"\n", true, 0, true, true},
        {"Cache-Control: no-cache, no-cache=\"a\"\n", true, BIT(NO_CACHE), true, false},
        {"Cache-Control: no-cache=\"\"\n", false, BIT(NO_CACHE), false, false},
        {"Cache-Control: no-cache=\"a b\"\n", false, BIT(NO_CACHE), false, false},
        {"Cache-Control: private=\"a\\b\"\n", false, BIT(PRIVATE), false, false},
        {"Cache-Control: private=\"a\" b\n", false, BIT(PRIVATE), false, false},
        {"Cache-Control: max-age=a, x=\"a\"\n", false, 0, false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct heads heads;
        struct ps_cache_control cc;
        const struct ps_h1_head *head = heads_answer(&heads, 200, rows[i].lines);
        ps_cache_control_read(&cc, head);
        assert_int_equal(cc.fields, rows[i].fields);
        assert_int_equal(cc.set, rows[i].set);
        assert_int_equal(ps_cache_control_withholds(head, PS_STR("a")), rows[i].a);
        assert_int_equal(ps_cache_control_withholds(head, PS_STR("B")), rows[i].b);
        heads_fini(&heads);
    }
}

static void a_targeted_field_takes_the_place(void **state)
{
    static const struct row rows[] = {
        {"CDN-Cache-Control: max-age=9\nCache-Control: no-store\n", BIT(MAX_AGE), 0, 9, false},
        {"CDN-Cache-Control: max-age=9, foo=1.5, s-maxage=\"x\", b=?0, c=(1 \"a\" x;y);z, "
         "d=:Zm9v:, e\n",
         BIT(MAX_AGE), BIT(S_MAXAGE), 9, false},
        {"CDN-Cache-Control: no-store\nSurrogate-Control: max-age=1\nCache-Control: max-age=2\n",
         BIT(NO_STORE), 0, 0, false},
        {"Surrogate-Control: max-age=3\nCache-Control: max-age=2\n", BIT(MAX_AGE), 0, 3, false},
        {"Surrogate-Control: max-age=3;other, no-store;penstock\nCache-Control: max-age=2\n", 0, 0,
         0, false},
        {"CDN-Cache-Control: max-age=3;other\n", BIT(MAX_AGE), 0, 3, false},
        {"CDN-Cache-Control: max-age=3\nCDN-Cache-Control: max-age=4, no-store=?0, private=?1\n",
         BIT(MAX_AGE) | BIT(PRIVATE), 0, 4, false},
        {"CDN-Cache-Control: max-age=99999999999\n", BIT(MAX_AGE), 0, 2147483648, false},
        {"CDN-Cache-Control: max-age=-5\n", 0, BIT(MAX_AGE), 0, false},
        {"CDN-Cache-Control: max-age=5.5\n", 0, BIT(MAX_AGE), 0, false},
        {"CDN-Cache-Control: max-age=\"5\"\n", 0, BIT(MAX_AGE), 0, false},
        {"CDN-Cache-Control: max-age\n", 0, BIT(MAX_AGE), 0, false},
        /* void: as if it were not there */
        {"CDN-Cache-Control: \nCache-Control: max-age=2\n", BIT(MAX_AGE), 0, 2, false},
        {"CDN-Cache-Control: Max-Age=1\nCache-Control: max-age=2\n", BIT(MAX_AGE), 0, 2, false},
        {"CDN-Cache-Control: max-age =1\nCache-Control: max-age=2\n", BIT(MAX_AGE), 0, 2, false},
        {"CDN-Cache-Control: max-age= 1\nCache-Control: max-age=2\n", BIT(MAX_AGE), 0, 2, false},
        {"CDN-Cache-Control: max-age=1,\nCache-Control: max-age=2\n", BIT(MAX_AGE), 0, 2, false},
        {"CDN-Cache-Control: max-age=1 no-store\nCache-Control: max-age=2\n", BIT(MAX_AGE), 0, 2,
         false},
        {"CDN-Cache-Control: max-age=1, x=\"\\a\"\nCache-Control: max-age=2\n", BIT(MAX_AGE), 0, 2,
         false},
        {"CDN-Cache-Control: max-age=1, x=\"a\nCache-Control: max-age=2\n", BIT(MAX_AGE), 0, 2,
         false},
        {"CDN-Cache-Control: max-age=1, x=(\"a\"\"b\")\nCache-Control: max-age=2\n", BIT(MAX_AGE),
         0, 2, false},
        {"CDN-Cache-Control: max-age=1, x=(\nCache-Control: max-age=2\n", BIT(MAX_AGE), 0, 2,
         false},
        {"CDN-Cache-Control: max-age=1, x=:a\nCache-Control: max-age=2\n", BIT(MAX_AGE), 0, 2,
         false},
        {"CDN-Cache-Control: max-age=1, x=?2\nCache-Control: max-age=2\n", BIT(MAX_AGE), 0, 2,
         false},
        {"CDN-Cache-Control: max-age=1, x=1.\nCache-Control: max-age=2\n", BIT(MAX_AGE), 0, 2,
         false},
        {"CDN-Cache-Control: max-age=1, x;\nCache-Control: max-age=2\n", BIT(MAX_AGE), 0, 2, false},
        {"CDN-Cache-Control: max-age=1234567890123456\nCache-Control: max-age=2\n", BIT(MAX_AGE), 0,
         2, false},
    };
    (void)state;
    check(rows, sizeof rows / sizeof *rows, true);
}

static void requests_know_no_targeted_fields(void **state)
{
    static const struct row rows[] = {
        {"CDN-Cache-Control: no-store\nCache-Control: max-age=2\n", BIT(MAX_AGE), 0, 2, false},
    };
    (void)state;
    check(rows, 1, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(directives_are_read),
        cmocka_unit_test(max_stale_may_be_boundless),
        cmocka_unit_test(fields_may_be_withheld),
        cmocka_unit_test(a_targeted_field_takes_the_place),
        cmocka_unit_test(requests_know_no_targeted_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
