/* Views of bytes. */
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct ps_str none = {NULL, 0};

static void the_empty_view_is_fine_everywhere(void **state)
{
    struct ps_str part;
    struct ps_str rest = none;
    uint64_t number;
    double real;
    (void)state;
    assert_true(ps_str_eq(none, PS_STR("")));
    assert_true(ps_str_ieq(none, PS_STR("")));
    assert_true(ps_str_starts_with(none, none));
    assert_true(ps_str_ends_with(none, none));
    assert_true(ps_str_contains(none, none));
    assert_false(ps_str_contains(none, PS_STR("a")));
    assert_int_equal(ps_str_find(none, 'a'), 0);
    assert_int_equal(ps_str_skip(none, 5).len, 0);
    assert_int_equal(ps_str_first(none, 5).len, 0);
    assert_int_equal(ps_str_trim(none).len, 0);
    assert_false(ps_str_split(&rest, ',', &part));
    assert_false(ps_str_next_member(&rest, &part));
    assert_int_equal(ps_str_to_u64(none, &number), PS_EPARSE);
    assert_int_equal(ps_str_to_double(none, &real), PS_EPARSE);
    assert_true(ps_str_eq_constant_time(none, PS_STR("")));
    assert_int_equal(ps_str_hash(none, 7), ps_str_hash(PS_STR(""), 7));
    char *copy = ps_str_dup(none);
    assert_string_equal(copy, "");
    free(copy);
    assert_int_equal(ps_str_from(NULL).len, 0);
}

static void bytes_are_compared_to_the_last_one(void **state)
{
    (void)state;
    assert_true(ps_str_eq(PS_STR("a\0b"), PS_STR("a\0b")));
    assert_false(ps_str_eq(PS_STR("a\0b"), PS_STR("a\0c")));
    assert_false(ps_str_eq(PS_STR("ab"), PS_STR("abc")));
    assert_true(ps_str_ieq(PS_STR("Content-TYPE"), PS_STR("content-type")));
    assert_false(ps_str_ieq(PS_STR("[\x40"), PS_STR("{`"))); /* only letters fold */
    assert_false(ps_str_ieq(PS_STR("\xc3\x89"), PS_STR("\xc3\xa9")));
    assert_true(ps_str_istarts_with(PS_STR("BEARER x"), PS_STR("bearer ")));
    assert_false(ps_str_istarts_with(PS_STR("bear"), PS_STR("bearer")));
    assert_true(ps_str_ends_with(PS_STR("key_file"), PS_STR("_file")));
    assert_false(ps_str_ends_with(PS_STR("file"), PS_STR("_file")));
    assert_true(ps_str_contains(PS_STR("a text/event-stream b"), PS_STR("event-stream")));
    assert_true(ps_str_eq_constant_time(PS_STR("secret"), PS_STR("secret")));
    assert_false(ps_str_eq_constant_time(PS_STR("secret"), PS_STR("secreT")));
    assert_false(ps_str_eq_constant_time(PS_STR("secret"), PS_STR("secre")));
}

static void split_gives_every_part_empty_ones_too(void **state)
{
    static const char *const parts[] = {"a", "", "b", ""};
    struct ps_str rest = PS_STR("a,,b,");
    struct ps_str part;
    size_t n = 0;
    (void)state;
    while (ps_str_split(&rest, ',', &part)) {
        assert_true(n < 4);
        assert_true(ps_str_eq(part, ps_str_from(parts[n++])));
    }
    assert_int_equal(n, 4);
}

static void members_are_trimmed_and_empty_ones_left_out(void **state)
{
    struct ps_str rest = PS_STR(" ,gzip ,\t, br;q=1\t,");
    struct ps_str member;
    (void)state;
    assert_true(ps_str_next_member(&rest, &member));
    assert_true(ps_str_eq(member, PS_STR("gzip")));
    assert_true(ps_str_next_member(&rest, &member));
    assert_true(ps_str_eq(member, PS_STR("br;q=1")));
    assert_false(ps_str_next_member(&rest, &member));
}

static void whole_numbers_are_digits_only(void **state)
{
    static const char *const bad[] = {"", " 1", "1 ", "+1", "-1", "0x1", "1a", "1.0"};
    uint64_t number = 7;
    (void)state;
    assert_int_equal(ps_str_to_u64(PS_STR("18446744073709551615"), &number), PS_OK);
    assert_true(number == UINT64_MAX);
    assert_int_equal(ps_str_to_u64(PS_STR("000"), &number), PS_OK);
    assert_int_equal(number, 0);
    assert_int_equal(ps_str_to_u64(PS_STR("18446744073709551616"), &number), PS_ELIMIT);
    assert_int_equal(ps_str_to_u64(PS_STR("99999999999999999999999"), &number), PS_ELIMIT);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(ps_str_to_u64(ps_str_from(bad[i]), &number), PS_EPARSE);
    }
    assert_int_equal(number, 0);
}

static void real_numbers_follow_json(void **state)
{
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0}, {"-0.5", -0.5}, {"1e3", 1000}, {"12.25E-2", 0.1225}, {"1e+2", 100}};
    static const char *const bad[] = {"01",  "1.",  ".5",    "1e",    "e1", "+1",  "--1",  "-",
                                      "nan", "inf", "1e999", "0x1p3", "1 ", "1,5", "1e5.5"};
    double value = 7;
    char longest[80];
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(ps_str_to_double(ps_str_from(good[i].text), &value), PS_OK);
        assert_true(value == good[i].value);
    }
    value = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(ps_str_to_double(ps_str_from(bad[i]), &value), PS_EPARSE);
    }
    memset(longest, '1', sizeof longest);
    assert_int_equal(ps_str_to_double((struct ps_str){longest, sizeof longest}, &value), PS_EPARSE);
    assert_true(value == 7);
}

static void hashes_depend_on_every_byte_the_length_and_the_seed(void **state)
{
    char text[64];
    uint64_t before = 0;
    (void)state;
    memset(text, 0, sizeof text);
    for (size_t len = 0; len <= sizeof text; len++) {
        struct ps_str view = {text, len};
        uint64_t hash = ps_str_hash(view, 1);
        assert_true(hash != before);
        assert_true(hash == ps_str_hash(view, 1));
        assert_true(hash != ps_str_hash(view, 2));
        for (size_t i = 0; i < len; i++) {
            text[i] = 1;
            assert_true(ps_str_hash(view, 1) != hash);
            text[i] = 0;
        }
        before = hash;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_empty_view_is_fine_everywhere),
        cmocka_unit_test(bytes_are_compared_to_the_last_one),
        cmocka_unit_test(split_gives_every_part_empty_ones_too),
        cmocka_unit_test(members_are_trimmed_and_empty_ones_left_out),
        cmocka_unit_test(whole_numbers_are_digits_only),
        cmocka_unit_test(real_numbers_follow_json),
        cmocka_unit_test(hashes_depend_on_every_byte_the_length_and_the_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
