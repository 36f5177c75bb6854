/* test_date - the three forms of HTTP's dates, and what only looks like one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http/date.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NOW INT64_C(1800000000) /* in January 2027 */

static void each_form_is_read(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } rows[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Wed, 31 Dec 1969 23:59:59 GMT", -1},
        {"Tue, 29 Feb 2000 12:00:00 GMT", 951825600},
        {"Thu, 29 Feb 2024 00:00:00 GMT", 1709164800},
        {"Tue, 19 Jan 2038 03:14:08 GMT", 2147483648},
        {"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799},
        {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800},
        {"Thu Aug 18 02:01:18 2050", 2544400878},
        {"Thursday, 18-Aug-50 02:01:18 GMT", 2544400878}, /* 24 years ahead */
        {"Friday, 01-Jan-77 00:00:00 GMT", 3376684800},   /* 50 years ahead */
        {"Sunday, 01-Jan-78 00:00:00 GMT", 252460800},    /* 51 would be too many */
        {"Mon, 06 Nov 1994 08:49:37 GMT", 784111777},     /* it was a Sunday: nobody minds */
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t seconds = 0;
        assert_int_equal(ps_date_parse(ps_str_from(rows[i].text), NOW, &seconds), PS_OK);
        assert_int_equal(seconds, rows[i].seconds);
    }
}

static void what_is_not_a_date_is_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "0",
        "-1",
        "Sun",
        "Sunday",
        "Sun,",
        "784111777",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 gmt",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "SUN, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 NOV 1994 08:49:37 GMT",
        "Sun 06 Nov 1994 08:49:37 GMT",
        "Sun, 06  Nov  1994 08:49:37 GMT",
        "Sun, 06-Nov-1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 08.49.37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT",
        "Sun, 29 Feb 2023 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov -994 08:49:37 GMT",
        "Sun, 06 Now 1994 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sunday, 06 Nov 94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov 06 08:49:37 94",
        "Sun Nov  6 08:49:37 1994 GMT",
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t seconds = 7;
        assert_int_equal(ps_date_parse(ps_str_from(rows[i]), NOW, &seconds), PS_EPARSE);
        assert_int_equal(seconds, 7);
    }
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    char text[PS_DATE_LEN + 1];
    assert_int_equal(ps_date_write(784111777, text), PS_OK);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    for (int64_t at = -62135596800; at <= 253402300799; at += 86400 * INT64_C(101) + 4242) {
        int64_t back;
        assert_int_equal(ps_date_write(at, text), PS_OK);
        assert_int_equal(ps_date_parse(ps_str_from(text), NOW, &back), PS_OK);
        assert_int_equal(back, at);
    }
    assert_int_equal(ps_date_write(-62135596801, text), PS_EINVAL);
    assert_int_equal(ps_date_write(253402300800, text), PS_EINVAL);
    assert_int_equal(ps_date_write(INT64_MIN, text), PS_EINVAL);
    assert_int_equal(ps_date_write(INT64_MAX, text), PS_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_is_read),
        cmocka_unit_test(what_is_not_a_date_is_refused),
        cmocka_unit_test(what_is_written_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
