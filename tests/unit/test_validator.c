/* test_validator - ETags and dates: compared, sent, and answered with a 304.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/validator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../helpers/heads.h"

#define LM "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\n" /* 784111777 */

static void etags_are_what_the_grammar_says(void **state)
{
    static const char *const good[] = {"\"\"",    "\"a\"",   "W/\"a\"",
                                       "\"a,b\"", "\"a\\\"", "\"\xc3\xbc\""};
    static const char *const bad[] = {"",       "a",   "\"",      "\"a",      "a\"", "w/\"a\"",
                                      "W\"a\"", "W/a", "\"a b\"", "\"a\"b\"", "W/",  "*"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(ps_validator_is_etag(ps_str_from(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(ps_validator_is_etag(ps_str_from(bad[i])));
        assert_false(ps_validator_same(ps_str_from(bad[i]), ps_str_from(bad[i])));
    }
    assert_true(ps_validator_same(PS_STR("W/\"1\""), PS_STR("W/\"1\"")));
    assert_true(ps_validator_same(PS_STR("W/\"1\""), PS_STR("\"1\"")));
    assert_true(ps_validator_same(PS_STR("\"1\""), PS_STR("\"1\"")));
    assert_false(ps_validator_same(PS_STR("W/\"1\""), PS_STR("W/\"2\"")));
    assert_false(ps_validator_same(PS_STR("\"a\""), PS_STR("\"A\"")));
}

static void upstream_is_asked_with_what_the_answer_has(void **state)
{
    static const struct {
        const char *answer, *lines;
    } rows[] = {
        {"X: y\n", ""},
        {"ETag: \"a\"\n", "If-None-Match: \"a\"\r\n"},
        {"ETag: W/\"a\"\n", "If-None-Match: W/\"a\"\r\n"},
        {LM, "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n"},
        {"ETag: \"a\"\n" LM,
         "If-None-Match: \"a\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n"},
        {"ETag: a\n", ""},
        {"ETag: a\n" LM, "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n"},
        {"Last-Modified: yesterday\n", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct heads heads;
        struct ps_buf out = ps_buf_make(1024);
        const struct ps_h1_head *head = heads_answer(&heads, 200, rows[i].answer);
        assert_int_equal(ps_validator_write(&out, head), PS_OK);
        assert_true(ps_str_eq(ps_buf_str(&out), ps_str_from(rows[i].lines)));
        assert_int_equal(ps_validator_has(head), rows[i].lines[0] != '\0');
        ps_buf_fini(&out);
        heads_fini(&heads);
    }
}

static void a_304_speaks_of_the_answer_with_its_etag(void **state)
{
    static const struct {
        const char *news, *answer;
        bool same;
    } rows[] = {
        {"ETag: \"a\"\n", "ETag: \"a\"\n", true},  {"ETag: W/\"a\"\n", "ETag: \"a\"\n", true},
        {"ETag: \"b\"\n", "ETag: \"a\"\n", false}, {"ETag: \"b\"\n", LM, false},
        {"X: y\n", "ETag: \"a\"\n", true},         {"ETag: junk\n", "ETag: \"a\"\n", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct heads a;
        struct heads b;
        const struct ps_h1_head *news = heads_answer(&a, 304, rows[i].news);
        const struct ps_h1_head *answer = heads_answer(&b, 200, rows[i].answer);
        assert_int_equal(ps_validator_confirms(news, answer), rows[i].same);
        heads_fini(&a);
        heads_fini(&b);
    }
}

static void clients_learn_whether_theirs_is_the_answer(void **state)
{
    static const struct {
        const char *request, *answer;
        bool unmodified;
    } rows[] = {
        {"If-None-Match: \"a\"\n", "ETag: \"a\"\n", true},
        {"If-None-Match: W/\"a\"\n", "ETag: \"a\"\n", true},
        {"If-None-Match: \"a\"\n", "ETag: W/\"a\"\n", true},
        {"If-None-Match: \"b\"\n", "ETag: \"a\"\n", false},
        {"If-None-Match: \"x\", \"y\" , \"a\"\n", "ETag: \"a\"\n", true},
        {"If-None-Match: \"x\",W/\"a\",\"y\"\n", "ETag: \"a\"\n", true},
        {"If-None-Match: \"x, \"a\"\n", "ETag: \"a\"\n", false},
        {"If-None-Match: \"x\",\nIf-None-Match: \"a\"\n", "ETag: \"a\"\n", true},
        {"If-None-Match: \"a,b\"\n", "ETag: \"a,b\"\n", true},
        {"If-None-Match: \"a,b\"\n", "ETag: \"b\"\n", false},
        {"If-None-Match: *\n", "ETag: \"a\"\n", true},
        {"If-None-Match: *\n", "X: y\n", true},
        {"If-None-Match: \"*\"\n", "ETag: \"a\"\n", false},
        {"If-None-Match: a\n", "ETag: a\n", false},
        {"If-None-Match: a\n", "ETag: \"a\"\n", false},
        {"If-None-Match: \"a\"\n", LM, false},
        /* the tag decides alone (RFC 9110, 13.2.2) */
        {"If-None-Match: \"b\"\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\n",
         "ETag: \"a\"\n" LM, false},
        {"If-None-Match: \"a\"\nIf-Modified-Since: Sun, 06 Nov 1984 08:49:37 GMT\n",
         "ETag: \"a\"\n" LM, true},
        {"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\n", LM, true},
        {"If-Modified-Since: Sun, 06 Nov 1994 08:49:38 GMT\n", LM, true},
        {"If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\n", LM, false},
        {"If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\n", LM, true},
        {"If-Modified-Since: Sun Nov  6 08:49:37 1994\n", LM, true},
        {"If-Modified-Since: yesterday\n", LM, false},
        {"If-Modified-Since: Sun, 06 Nov 1994 08:49:38 GMT\n",
         "Date: Sun, 06 Nov 1994 08:49:37 GMT\n", true},
        {"If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\n",
         "Date: Sun, 06 Nov 1994 08:49:37 GMT\n", false},
        {"If-Modified-Since: Fri, 15 Jan 2027 08:00:00 GMT\n", "X: y\n", true},
        {"If-Modified-Since: Fri, 15 Jan 2027 07:59:59 GMT\n", "X: y\n", false},
        {"X: y\n", "ETag: \"a\"\n" LM, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct heads a;
        struct heads b;
        const struct ps_h1_head *request = heads_request(&a, "GET /", rows[i].request);
        const struct ps_h1_head *answer = heads_answer(&b, 200, rows[i].answer);
        ps_time came = INT64_C(1800000000) * PS_SECOND; /* Fri, 15 Jan 2027 08:00:00 GMT */
        assert_int_equal(ps_validator_is_unmodified(request, answer, came), rows[i].unmodified);
        heads_fini(&a);
        heads_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(etags_are_what_the_grammar_says),
        cmocka_unit_test(upstream_is_asked_with_what_the_answer_has),
        cmocka_unit_test(a_304_speaks_of_the_answer_with_its_etag),
        cmocka_unit_test(clients_learn_whether_theirs_is_the_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
