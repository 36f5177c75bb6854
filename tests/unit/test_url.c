/* test_url - the URLs of upstreams: what is read, and what is refused.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_text(struct ps_str got, const char *want)
{
    assert_true(ps_str_eq(got, ps_str_from(want)));
}

static void good_urls_fall_into_their_parts(void **state)
{
    static const struct {
        const char *text;
        bool tls;
        const char *host;
        unsigned port;
        const char *path;
        const char *authority;
    } rows[] = {
        {"http://a", false, "a", 80, "", "a"},
        {"https://a", true, "a", 443, "", "a"},
        {"HTTP://Example.COM:8080/v1?x=1", false, "Example.COM", 8080, "/v1?x=1", "Example.COM:8080"},
        {"http://127.0.0.1:1/", false, "127.0.0.1", 1, "/", "127.0.0.1:1"},
        {"https://[::1]:65535/a/b", true, "::1", 65535, "/a/b", "[::1]:65535"},
        {"http://[2001:db8::7]", false, "2001:db8::7", 80, "", "[2001:db8::7]"},
        {"http://gpu_1.rack-2.local/%7Ea", false, "gpu_1.rack-2.local", 80, "/%7Ea", "gpu_1.rack-2.local"},
        {"http://a/@b:c", false, "a", 80, "/@b:c", "a"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_url url;
        assert_int_equal(ps_url_parse(ps_str_from(rows[i].text), &url), PS_OK);
        assert_int_equal(url.tls, rows[i].tls);
        assert_text(url.host, rows[i].host);
        assert_int_equal(url.port, rows[i].port);
        assert_text(url.path, rows[i].path);
        assert_text(url.authority, rows[i].authority);
    }
}

static void hostile_urls_are_refused(void **state)
{
    static const struct ps_str rows[] = {
        PS_STR_INIT(""), PS_STR_INIT("http"), PS_STR_INIT("http:"), PS_STR_INIT("http://"),
        PS_STR_INIT("http:///x"), PS_STR_INIT("//a/"), PS_STR_INIT("a:80"), PS_STR_INIT("ftp://a"),
        PS_STR_INIT("httpx://a"), PS_STR_INIT(" http://a"), PS_STR_INIT("http://a "), PS_STR_INIT("http://a b"),
        PS_STR_INIT("http://user@a"), PS_STR_INIT("http://user:pw@a"), PS_STR_INIT("http://a:80@evil"),
        PS_STR_INIT("http://a:"), PS_STR_INIT("http://a:0"), PS_STR_INIT("http://a:65536"),
        PS_STR_INIT("http://a:8x"), PS_STR_INIT("http://a:-1"), PS_STR_INIT("http://a:80:80"),
        PS_STR_INIT("http://:80"), PS_STR_INIT("http://a#f"), PS_STR_INIT("http://a/#f"),
        PS_STR_INIT("http://a?x"), PS_STR_INIT("http://a/\r\nHost: b"), PS_STR_INIT("http://a\r\n/"),
        PS_STR_INIT("http://a/\0"), PS_STR_INIT("http://a\0b"), PS_STR_INIT("http://a/<>"),
        PS_STR_INIT("http://a/\\..\\"), PS_STR_INIT("http://a\\b"), PS_STR_INIT("http://[::1"),
        PS_STR_INIT("http://[::1/"), PS_STR_INIT("http://[]"), PS_STR_INIT("http://[::1]80"),
        PS_STR_INIT("http://[127.0.0.1]"), PS_STR_INIT("http://[::1]]"), PS_STR_INIT("http://::1/"),
        PS_STR_INIT("http://[x]"), PS_STR_INIT("http://a/\x7f"), PS_STR_INIT("http://a/\xc3\xa4"),
        PS_STR_INIT("http://\xc3\xa4/"), PS_STR_INIT("http://a%00/"), PS_STR_INIT("http://a,b/"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_url url = {.port = 7};
        assert_int_equal(ps_url_parse(rows[i], &url), PS_EPARSE);
        assert_int_equal(url.port, 7);
    }
    struct ps_url url;
    assert_int_equal(ps_url_parse((struct ps_str){NULL, 0}, &url), PS_EPARSE);
}

static void a_host_has_a_greatest_length(void **state)
{
    char text[7 + 254];
    struct ps_url url;
    (void)state;
    memcpy(text, "http://", 7);
    memset(text + 7, 'a', 254);
    assert_int_equal(ps_url_parse((struct ps_str){text, 7 + 253}, &url), PS_OK);
    assert_int_equal(ps_url_parse((struct ps_str){text, 7 + 254}, &url), PS_EPARSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_urls_fall_into_their_parts),
        cmocka_unit_test(hostile_urls_are_refused),
        cmocka_unit_test(a_host_has_a_greatest_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
