/* test_json - documents that are read strictly, and what is said of those that are none.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "operate/json.h"

static void what_is_wrong_is_told_in_words(void **state)
{
    static const struct {
        struct ps_str text;
        const char *reason;
    } rows[] = {
        {{NULL, 0}, "not valid JSON: it ends too early, line 1, column 0"},
        {PS_STR_INIT("{\"a\":"), "not valid JSON: it ends too early, line 1, column 5"},
        {PS_STR_INIT("{} x"), "not valid JSON: more behind its end, line 1, column 4"},
        {PS_STR_INIT("{\"a\":1,\n\"a\":2}"), "a member that is there twice, line 2, column 3"},
        {PS_STR_INIT("[\"\xff\"]"), "not UTF-8, line 1, column 2"},
        {PS_STR_INIT("[1e999]"), "a number that is too large, line 1, column 6"},
        {PS_STR_INIT("[99999999999999999999]"), "a number that is too large, line 1, column 21"},
        {PS_STR_INIT("{\"a\\u0000\":1}"), "a NUL byte where none may be, line 1, column 10"},
        {PS_STR_INIT("[\"\\u0000\"]"), "a NUL byte where none may be, line 1, column 9"},
        {PS_STR_INIT("[NaN]"), "not valid JSON, line 1, column 4"},
    };
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        char reason[128] = "";
        assert_null(ps_json_read(rows[i].text, 0, reason, sizeof reason));
        assert_string_equal(reason, rows[i].reason);
    }
}

static void depth_is_bounded(void **state)
{
    char deep[8192], reason[128] = "";
    (void)state;
    memset(deep, '[', sizeof deep);
    assert_null(ps_json_read((struct ps_str){deep, sizeof deep}, 0, reason, sizeof reason));
    assert_non_null(strstr(reason, "nested too deep, line 1, column "));
}

static void a_value_of_any_type_is_a_document(void **state)
{
    char reason[128];
    (void)state;
    json_t *root = ps_json_read(PS_STR("\"a\\u0000\""), JSON_ALLOW_NUL, reason, sizeof reason);
    assert_int_equal(json_string_length(root), 2);
    json_decref(root);
    root = ps_json_read(PS_STR("null"), 0, reason, sizeof reason);
    assert_true(json_is_null(root));
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_is_told_in_words),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(a_value_of_any_type_is_a_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
