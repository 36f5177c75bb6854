/* Growable bytes: the cap holds, failure changes nothing. */
#include "base/buf.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

static void assert_holds(const struct ps_buf *buf, const char *text)
{
    assert_true(ps_str_eq(ps_buf_str(buf), ps_str_from(text)));
}

static void an_empty_buffer_owns_no_memory(void **state)
{
    (void)state;
    struct ps_buf buf = ps_buf_make(100);
    assert_null(buf.data);
    assert_int_equal(ps_buf_append(&buf, NULL, 0), PS_OK);
    assert_int_equal(ps_buf_append_str(&buf, (struct ps_str){NULL, 0}), PS_OK);
    ps_buf_drop(&buf, 0);
    assert_int_equal(ps_buf_splice(&buf, 0, 0, (struct ps_str){NULL, 0}), PS_OK);
    assert_null(buf.data);
    ps_buf_fini(&buf);
    assert_int_equal(buf.limit, 100);
}

static void the_limit_is_exact_and_failure_appends_nothing(void **state)
{
    (void)state;
    struct ps_buf buf = ps_buf_make(10);
    assert_int_equal(ps_buf_append(&buf, "12345678901", 11), PS_ELIMIT);
    assert_int_equal(ps_buf_append(&buf, "123456789", 9), PS_OK);
    assert_int_equal(ps_buf_append(&buf, "ab", 2), PS_ELIMIT);
    assert_int_equal(ps_buf_append_u64(&buf, 12), PS_ELIMIT);
    assert_int_equal(ps_buf_printf(&buf, "%s", "xy"), PS_ELIMIT);
    assert_int_equal(ps_buf_reserve(&buf, SIZE_MAX), PS_ELIMIT);
    assert_int_equal(ps_buf_splice(&buf, 0, 1, PS_STR("abc")), PS_ELIMIT);
    assert_holds(&buf, "123456789");
    assert_int_equal(ps_buf_append_u64(&buf, 0), PS_OK);
    assert_holds(&buf, "1234567890");
    ps_buf_fini(&buf);
}

static void numbers_and_formats_are_appended_without_terminator(void **state)
{
    (void)state;
    struct ps_buf buf = ps_buf_make(10000);
    char wide[1000];
    memset(wide, 'w', sizeof wide);
    wide[sizeof wide - 1] = '\0';
    assert_int_equal(ps_buf_append_u64(&buf, UINT64_MAX), PS_OK);
    assert_int_equal(ps_buf_printf(&buf, " %d %s", -5, "x"), PS_OK);
    assert_holds(&buf, "18446744073709551615 -5 x");
    ps_buf_clear(&buf);
    assert_int_equal(ps_buf_printf(&buf, "<%s>", wide), PS_OK);
    assert_int_equal(buf.len, sizeof wide + 1);
    assert_int_equal(buf.data[buf.len - 1], '>');
    ps_buf_fini(&buf);
}

static void a_number_has_nine_digits_and_none_that_say_nothing(void **state)
{
    static const struct {
        double number;
        const char *text;
    } cases[] = {
        {0, "0"},
        {-0.0, "0"},
        {1, "1"},
        {-2.5, "-2.5"},
        {0.1, "0.1"},
        {1.0 / 3, "0.333333333"},
        {0.0123456789123, "0.0123456789"},
        {0.00123456789123, "0.00123456789"},
        {1e-5, "1e-05"},
        {99.9999999999, "100"},
        {123456.789012, "123456.789"},
        {12345678.95, "12345679"},
        {123456789.5, "123456790"},
        {1234567890.5, "1234567891"},
        {85899345920, "85899345920"},
        {9007199254740991, "9007199254740991"},
        {1e300, "1e+300"},
        {NAN, "null"},
        {INFINITY, "null"},
        {-INFINITY, "null"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ps_buf buf = ps_buf_make(64);
        assert_int_equal(ps_buf_append_double(&buf, cases[i].number), PS_OK);
        assert_holds(&buf, cases[i].text);
        ps_buf_fini(&buf);
    }
}

/* Read back, a number is within half of its ninth digit. */
static void a_number_that_is_read_back_is_the_same_to_nine_digits(void **state)
{
    struct ps_rng rng = ps_rng_make(7);
    (void)state;
    for (int i = 0; i < 200000; i++) {
        struct ps_buf buf = ps_buf_make(64);
        double number = ldexp(ps_rng_unit(&rng) - 0.5, (int)ps_rng_below(&rng, 120) - 60);
        double back;
        assert_int_equal(ps_buf_append_double(&buf, number), PS_OK);
        assert_int_equal(ps_str_to_double(ps_buf_str(&buf), &back), PS_OK);
        assert_true(fabs(back - number) <= 5.1e-9 * fabs(number));
        ps_buf_fini(&buf);
    }
}

static void drop_and_splice_move_the_rest(void **state)
{
    (void)state;
    struct ps_buf buf = ps_buf_make(100);
    assert_int_equal(ps_buf_append_str(&buf, PS_STR("hello world")), PS_OK);
    assert_int_equal(ps_buf_splice(&buf, 6, 5, PS_STR("everybody")), PS_OK);
    assert_holds(&buf, "hello everybody");
    assert_int_equal(ps_buf_splice(&buf, 0, 5, PS_STR("hi")), PS_OK);
    assert_holds(&buf, "hi everybody");
    assert_int_equal(ps_buf_splice(&buf, 2, 10, (struct ps_str){NULL, 0}), PS_OK);
    assert_holds(&buf, "hi");
    assert_int_equal(ps_buf_splice(&buf, 2, 0, PS_STR("!")), PS_OK);
    ps_buf_drop(&buf, 1);
    assert_holds(&buf, "i!");
    ps_buf_drop(&buf, 2);
    assert_int_equal(buf.len, 0);
    ps_buf_fini(&buf);
}

static void json_is_escaped_and_always_valid_utf8(void **state)
{
    static const struct {
        struct ps_str text;
        const char *json;
    } cases[] = {
        {PS_STR_INIT("plain"), "plain"},
        {PS_STR_INIT("\"\\/"), "\\\"\\\\/"},
        {PS_STR_INIT("\b\f\n\r\t"), "\\b\\f\\n\\r\\t"},
        {PS_STR_INIT("\x00\x1f\x7f"), "\\u0000\\u001f\x7f"},
        {PS_STR_INIT("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"),
         "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {PS_STR_INIT("\xc3"), "\xef\xbf\xbd"}, /* cut off */
        {PS_STR_INIT("\xff"
                     "a"),
         "\xef\xbf\xbd"
         "a"},                                                                 /* never a lead */
        {PS_STR_INIT("\xc0\x80"), "\xef\xbf\xbd\xef\xbf\xbd"},                 /* overlong */
        {PS_STR_INIT("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* surrogate */
        {PS_STR_INIT("\xf4\x90\x80\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {PS_STR_INIT("\xe0\x9f\xbf"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* overlong */
        {PS_STR_INIT("\xed\x9f\xbf\xee\x80\x80"), "\xed\x9f\xbf\xee\x80\x80"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ps_buf buf = ps_buf_make(1000);
        assert_int_equal(ps_buf_append_json(&buf, cases[i].text), PS_OK);
        assert_holds(&buf, cases[i].json);
        ps_buf_fini(&buf);
    }
}

static void random_operations_agree_with_a_plain_array(void **state)
{
    enum { LIMIT = 600, STEPS = 20000 };
    struct ps_rng rng = ps_rng_make(20260101);
    struct ps_buf buf = ps_buf_make(LIMIT);
    char model[LIMIT];
    size_t len = 0;
    char piece[64];
    (void)state;
    for (int step = 0; step < STEPS; step++) {
        size_t n = (size_t)ps_rng_below(&rng, sizeof piece);
        memset(piece, 'a' + (int)ps_rng_below(&rng, 26), sizeof piece);
        size_t at = (size_t)ps_rng_below(&rng, len + 1);
        size_t cut = (size_t)ps_rng_below(&rng, len - at + 1);
        if (ps_rng_below(&rng, 3) == 0) {
            cut = cut < 64 ? cut : 64;
        }
        int err = ps_buf_splice(&buf, at, cut, (struct ps_str){piece, n});
        if (len - cut + n > LIMIT) {
            assert_int_equal(err, PS_ELIMIT);
        } else {
            assert_int_equal(err, PS_OK);
            memmove(model + at + n, model + at + cut, len - at - cut);
            memcpy(model + at, piece, n);
            len = len - cut + n;
        }
        assert_true(buf.cap <= LIMIT);
        assert_true(ps_str_eq(ps_buf_str(&buf), (struct ps_str){model, len}));
    }
    ps_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_owns_no_memory),
        cmocka_unit_test(the_limit_is_exact_and_failure_appends_nothing),
        cmocka_unit_test(numbers_and_formats_are_appended_without_terminator),
        cmocka_unit_test(a_number_has_nine_digits_and_none_that_say_nothing),
        cmocka_unit_test(a_number_that_is_read_back_is_the_same_to_nine_digits),
        cmocka_unit_test(drop_and_splice_move_the_rest),
        cmocka_unit_test(json_is_escaped_and_always_valid_utf8),
        cmocka_unit_test(random_operations_agree_with_a_plain_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
