/* glob - patterns, and that none of them takes for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/glob.h"

static void patterns_match_whole_texts(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool match;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "a/b", true},
        {"a", "a", true},
        {"a", "ab", false},
        {"?", "", false},
        {"?", "x", true},
        {"a*", "a", true},
        {"a*b", "ab", true},
        {"a*b", "acbcb", true},
        {"a*b", "acbc", false},
        {"*a*b*", "xxaxxb", true},
        {"**", "abc", true},
        {"a?c", "abc", true},
        {"a\\*", "a*", true},
        {"a\\*", "ab", false},
        {"\\?", "?", true},
        {"\\\\", "\\", true},
        {"a\\", "a\\", true},
        {"[a]", "a", false},
        {"A", "a", false},
        {"*.x", "a.x.y.x", true},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        bool match = ps_glob_match(ps_str_from(cases[i].pattern), ps_str_from(cases[i].text));
        if (match != cases[i].match) {
            fail_msg("%s and %s", cases[i].pattern, cases[i].text);
        }
    }
}

static void hostile_patterns_end(void **state)
{
    (void)state;
    char pattern[512];
    char text[1024];
    memset(text, 'a', sizeof text);
    for (size_t i = 0; i < sizeof pattern; i += 2) {
        pattern[i] = '*';
        pattern[i + 1] = 'a';
    }
    pattern[sizeof pattern - 1] = 'b';
    assert_false(ps_glob_match((struct ps_str){pattern, sizeof pattern},
                               (struct ps_str){text, sizeof text}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_whole_texts),
        cmocka_unit_test(hostile_patterns_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
