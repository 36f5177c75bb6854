/* Who gets the live page, in which encoding, and what comes with it. */
#include "daemon/page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "daemon/ask.h"

static const struct ps_page page = {
    .plain = PS_STR_INIT("<html>plain</html>"),
    .gzip = PS_STR_INIT("packed"),
    .policy = "default-src 'none'",
    .tag = "0123",
};

static double type_wish(const char *accept, const char *type)
{
    return ps_page_wish(ps_str_from(accept), ps_str_from(type), PS_STR("text/*"), PS_STR("*/*"), 1);
}

static void the_most_exact_member_counts(void **state)
{
    (void)state;
    assert_float_equal(type_wish("", "text/html"), 1, 1e-6);
    assert_float_equal(type_wish("*/*;q=0.5", "text/html"), 0.5, 1e-6);
    assert_float_equal(type_wish("text/html;q=0.2, */*", "text/html"), 0.2, 1e-6);
    assert_float_equal(type_wish("text/*;q=0.3, */*;q=0.9", "text/html"), 0.3, 1e-6);
    assert_float_equal(type_wish("application/json", "text/html"), 0, 1e-6);
    assert_float_equal(type_wish("text/html;level=1;q=2", "text/html"), 0, 1e-6);
    assert_float_equal(type_wish(" Text/HTML ; Q=0.7", "text/html"), 0.7, 1e-6);
}

static bool wanted(const struct ps_page *of, const char *accept)
{
    struct ps_ask ask = {.accept = ps_str_from(accept)};
    return ps_page_is_wanted(of, &ask);
}

static void a_browser_gets_it_and_a_terminal_that_asks_for_text_does_not(void **state)
{
    (void)state;
    static const struct ps_page none = {0};
    assert_true(wanted(&page, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
    assert_true(wanted(&page, "*/*"));
    assert_true(wanted(&page, ""));
    assert_false(wanted(&page, "text/plain"));
    assert_false(wanted(&page, "text/html;q=0.1, text/plain"));
    assert_false(wanted(&none, "text/html"));
}

/* The headers, and behind them the body. */
static const char *answer(struct ps_ask *ask, int status, char text[1024])
{
    ask->headers = ps_buf_make(4096);
    ask->reply = ps_buf_make(4096);
    ps_page_answer(&page, ask, status);
    snprintf(text, 1024, "%d\n%.*s\n%.*s", ask->status, (int)ask->headers.len, ask->headers.data,
             (int)ask->reply.len, ask->reply.len > 0 ? ask->reply.data : "");
    ps_buf_fini(&ask->headers);
    ps_buf_fini(&ask->reply);
    return text;
}

static void gzip_goes_to_those_who_take_it(void **state)
{
    (void)state;
    char text[1024];
    struct ps_ask packed = {.accept_encoding = PS_STR_INIT("br, gzip;q=0.5")};
    assert_non_null(strstr(answer(&packed, 200, text), "Content-Encoding: gzip\r\n"));
    assert_non_null(strstr(text, "ETag: \"0123-gzip\"\r\n"));
    assert_non_null(strstr(text, "\npacked"));
    struct ps_ask plain = {.accept_encoding = PS_STR_INIT("gzip;q=0")};
    assert_null(strstr(answer(&plain, 200, text), "Content-Encoding"));
    assert_non_null(strstr(text, "<html>plain</html>"));
    assert_non_null(strstr(text, "Content-Security-Policy: default-src 'none'\r\n"));
}

static void who_has_it_already_gets_304_without_a_body(void **state)
{
    (void)state;
    char text[1024];
    struct ps_ask same = {.if_none_match = PS_STR_INIT("\"x\", W/\"0123\"")};
    assert_memory_equal(answer(&same, 200, text), "304", 3);
    assert_null(strstr(text, "plain</html>"));
    struct ps_ask other = {.if_none_match = PS_STR_INIT("\"0123-gzip\"")};
    assert_memory_equal(answer(&other, 200, text), "200", 3);
}

static void the_form_to_sign_in_is_never_kept(void **state)
{
    (void)state;
    char text[1024];
    struct ps_ask ask = {.if_none_match = PS_STR_INIT("*")};
    assert_memory_equal(answer(&ask, 401, text), "401", 3);
    assert_non_null(strstr(text, "Cache-Control: no-store\r\n"));
    assert_null(strstr(text, "ETag"));
    assert_non_null(strstr(text, "<html>plain</html>"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_exact_member_counts),
        cmocka_unit_test(a_browser_gets_it_and_a_terminal_that_asks_for_text_does_not),
        cmocka_unit_test(gzip_goes_to_those_who_take_it),
        cmocka_unit_test(who_has_it_already_gets_304_without_a_body),
        cmocka_unit_test(the_form_to_sign_in_is_never_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
