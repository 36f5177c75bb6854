/* test_outdate - what Location and Content-Location name, and where we don't follow.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/outdate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void references_are_resolved_on_the_same_host(void **state)
{
    static const struct {
        const char *host, *target, *reference, *want; /* NULL = not followed */
    } rows[] = {
        {"a.example", "/d/x?q", "/y", "/y"},
        {"a.example", "/d/x?q", "/y?z#f", "/y?z"},
        {"a.example", "/d/x?q", "y", "/d/y"},
        {"a.example", "/d/x?q", "y/z?w", "/d/y/z?w"},
        {"a.example", "/d/x?q", "?w", "/d/x?w"},
        {"a.example", "/d/x?q", "", "/d/x?q"},
        {"a.example", "/d/x?q", "#f", "/d/x?q"},
        {"a.example", "/d/x?q=/r/", "y", "/d/y"},
        {"a.example", "/d/x", "http://a.example/y", "/y"},
        {"a.example", "/d/x", "HTTPS://A.Example/y", "/y"},
        {"a.example:80", "/d/x", "http://a.example/y", "/y"},
        {"a.example", "/d/x", "https://a.example:443/y", "/y"},
        {"a.example:8080", "/d/x", "http://a.example:8080/y", "/y"},
        {"a.example:8080", "/d/x", "http://a.example/y", NULL},
        {"a.example", "/d/x", "//a.example/y", "/y"},
        {"a.example", "/d/x", "http://a.example", "/"},
        {"a.example", "/d/x", "http://a.example?q", "/?q"},
        {"a.example", "/d/x", "http://a.example?q=/r", "/?q=/r"},
        {"a.example", "/d/x", "http://b.example/y", NULL},
        {"a.example", "/d/x", "//b.example/y", NULL},
        {"a.example", "/d/x", "http://user@a.example/y", NULL},
        {"a.example", "/d/x", "http:/y", NULL},
        {"a.example", "/d/x", "http:y", NULL},
        {"a.example", "/d/x", "ftp://a.example/y", NULL},
        {"a.example", "/d/x", "urn:y", NULL},
        {"a.example", "/d/x", "../y", NULL},
        {"a.example", "/d/x", "./y", NULL},
        {"a.example", "/d/x", "/a/../y", NULL},
        {"a.example", "/d/x", "/a/y..z?w=/../", "/a/y..z?w=/../"},
        {"a.example", "/d/x", "/a b", NULL},
        {"a.example", "/d/x", "/a\tb", NULL},
        {"", "/d/x", "http:///y", NULL},
        {"", "/d/x", "/y", "/y"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ps_buf out = ps_buf_make(256);
        int err = ps_outdate_resolve(&out, ps_str_from(rows[i].host), ps_str_from(rows[i].target),
                                     ps_str_from(rows[i].reference));
        if (err != (rows[i].want == NULL ? PS_ENOTFOUND : PS_OK)) {
            print_message("row %zu: %s\n", i, rows[i].reference);
        }
        assert_int_equal(err, rows[i].want == NULL ? PS_ENOTFOUND : PS_OK);
        assert_true(ps_str_eq(ps_buf_str(&out), ps_str_from(rows[i].want)));
        ps_buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references_are_resolved_on_the_same_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
