/* test_vary - markers, and which requests mean the same variant.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/vary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../helpers/heads.h"

#define MARK UINT64_C(0x0123456789abcdef)

static const struct ps_key primary = {{1, 2, 3}};

static void names_are_read_into_a_marker(void **state)
{
    static const struct {
        const char *lines, *marker;
    } rows[] = {
        {"Vary: Accept-Encoding\n", "0123456789abcdef accept-encoding"},
        {"Vary: b, A ,c,, a\nVary: B\nVary: \n", "0123456789abcdef a,b,c"},
        {"Vary: ab, a, abc\n", "0123456789abcdef a,ab,abc"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct heads heads;
        struct ps_vary vary = {.count = 0};
        struct ps_vary back;
        uint64_t mark;
        char marker[PS_VARY_MARKER_MAX];
        assert_int_equal(ps_vary_add(&vary, heads_answer(&heads, 200, rows[i].lines)), PS_OK);
        size_t len = ps_vary_write_marker(&vary, MARK, marker);
        assert_true(ps_str_eq((struct ps_str){marker, len}, ps_str_from(rows[i].marker)));
        assert_int_equal(ps_vary_read_marker((struct ps_str){marker, len}, &back, &mark), PS_OK);
        assert_true(ps_vary_equal(&vary, &back));
        assert_true(mark == MARK);
        heads_fini(&heads);
    }
}

static void what_fits_nothing_is_refused(void **state)
{
    static const char *const rows[] = {"Vary: *\n", "Vary: a, *\n", "Vary: a b\n",
                                       "Vary: \nVary: *\n"};
    static const char *const markers[] = {"",
                                          "0123456789abcdef",
                                          "0123456789abcdef ",
                                          "0123456789abcdef *",
                                          "0123456789abcdeg a",
                                          "0123456789ABCDEF a",
                                          "123456789abcdef a",
                                          "0123456789abcdef,a",
                                          "0123456789abcdef a b"};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct heads heads;
        struct ps_vary vary = {.count = 0};
        assert_int_equal(ps_vary_add(&vary, heads_answer(&heads, 200, rows[i])), PS_EINVAL);
        heads_fini(&heads);
    }
    for (size_t i = 0; i < sizeof markers / sizeof *markers; i++) {
        struct ps_vary vary;
        uint64_t mark;
        assert_int_equal(ps_vary_read_marker(ps_str_from(markers[i]), &vary, &mark), PS_EPARSE);
    }
}

static void names_are_bounded(void **state)
{
    (void)state;
    struct ps_vary vary = {.count = 0};
    struct ps_vary one = {.count = 0};
    for (unsigned i = 0; i <= PS_VARY_NAMES_MAX; i++) {
        char lines[32];
        struct heads heads;
        snprintf(lines, sizeof lines, "Vary: f%u\n", i);
        one = (struct ps_vary){.count = 0};
        assert_int_equal(ps_vary_add(&one, heads_answer(&heads, 200, lines)), PS_OK);
        assert_int_equal(ps_vary_join(&vary, &one), i < PS_VARY_NAMES_MAX ? PS_OK : PS_ELIMIT);
        heads_fini(&heads);
    }
    char lines[1100] = "Vary: ";
    memset(lines + 6, 'x', PS_VARY_TEXT_MAX + 1);
    strcat(lines, "\n");
    struct heads heads;
    one = (struct ps_vary){.count = 0};
    assert_int_equal(ps_vary_add(&one, heads_answer(&heads, 200, lines)), PS_ELIMIT);
    heads_fini(&heads);
}

static struct ps_key key_of(const char *names, const char *request, uint64_t mark)
{
    struct heads a;
    struct heads b;
    struct ps_vary vary = {.count = 0};
    struct ps_key key;
    assert_int_equal(ps_vary_add(&vary, heads_answer(&a, 200, names)), PS_OK);
    const struct ps_h1_head *head = heads_request(&b, "GET /", request);
    assert_int_equal(ps_vary_key(&vary, mark, &primary, head, &key), PS_OK);
    heads_fini(&a);
    heads_fini(&b);
    return key;
}

static void requests_are_told_apart_by_what_counts(void **state)
{
    static const struct {
        const char *names, *one, *other;
        bool same;
    } rows[] = {
        {"Vary: Foo\n", "Foo: 1\n", "foo: 1\n", true},
        {"Vary: Foo\n", "Foo: 1\n", "Foo: 2\n", false},
        {"Vary: Foo\n", "Foo: a\n", "Foo: A\n", false},
        {"Vary: Foo\n", "Foo: 1\nBar: 1\n", "Foo: 1\nBar: 2\n", true},
        {"Vary: Foo\n", "", "Foo: 1\n", false},
        {"Vary: Foo\n", "", "Foo:\n", false},
        {"Vary: Foo\n", "", "Bar: 1\n", true},
        {"Vary: Foo, Bar\n", "Foo: 1\nBar: 2\n", "Bar: 2\nFoo: 1\n", true},
        {"Vary: Foo, Bar\n", "Foo: 1\n", "Bar: 1\n", false},
        {"Vary: Foo, Bar\n", "Foo: ab\nBar: c\n", "Foo: a\nBar: bc\n", false},
        {"Vary: Foo\n", "Foo: 1, 2\n", "Foo: 1\nFoo: 2\n", true},
        {"Vary: Foo\n", "Foo: 1,2\n", "Foo:  1 ,\t2 \n", true},
        {"Vary: Foo\n", "Foo: 1, 2\n", "Foo: 2, 1\n", false},
        {"Vary: Foo\n", "Foo: 1 2\n", "Foo: 12\n", false},
        {"Vary: Foo\n", "Foo: \"a , b\"\n", "Foo: \"a, b\"\n", false},
        {"Vary: Foo\n", "Foo: \"a\\\" , b\"\n", "Foo: \"a\\\", b\"\n", false},
        {"Vary: Accept-Language\n", "Accept-Language: en, de\n", "Accept-Language: eN,De\n", true},
        {"Vary: Accept-Language\n", "Accept-Language: en, de\n", "Accept-Language: de, en\n",
         false},
        {"Vary: Accept-Encoding\n", "Accept-Encoding: gzip, br\n", "Accept-Encoding: BR,GZIP\n",
         true},
        {"Vary: Accept-Encoding\n", "Accept-Encoding: gzip\n", "Accept-Encoding: gzip, br\n",
         false},
        {"Vary: Accept\n", "Accept: a/b\n", "Accept: A/B\n", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_key one = key_of(rows[i].names, rows[i].one, MARK);
        struct ps_key other = key_of(rows[i].names, rows[i].other, MARK);
        if (ps_key_eq(&one, &other) != rows[i].same) {
            print_message("row %zu\n", i);
        }
        assert_int_equal(ps_key_eq(&one, &other), rows[i].same);
        assert_false(ps_key_eq(&one, &primary));
        other = key_of(rows[i].names, rows[i].one, MARK + 1);
        assert_false(ps_key_eq(&one, &other));
    }
}

static void long_lists_are_taken_as_they_are(void **state)
{
    (void)state;
    char lines[1024] = "Accept-Encoding: z";
    for (int i = 0; i < 80; i++) {
        strcat(lines, ",a");
    }
    strcat(lines, "\n");
    struct ps_key one = key_of("Vary: Accept-Encoding\n", lines, MARK);
    struct ps_key other = key_of("Vary: Accept-Encoding\n", lines, MARK);
    assert_true(ps_key_eq(&one, &other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_read_into_a_marker),
        cmocka_unit_test(what_fits_nothing_is_refused),
        cmocka_unit_test(names_are_bounded),
        cmocka_unit_test(requests_are_told_apart_by_what_counts),
        cmocka_unit_test(long_lists_are_taken_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
