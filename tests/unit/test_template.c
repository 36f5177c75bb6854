/* test_template - requests as users write them, read strictly.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "load/template.h"

static struct ps_templates templates;
static const char *reason;

static int parse(const char *line)
{
    const struct ps_template_defaults defaults = {.path = "/base"};
    ps_templates_fini(&templates);
    reason = "";
    return ps_templates_parse(&templates, ps_str_from(line), &defaults, &reason);
}

static int end(void **state)
{
    (void)state;
    ps_templates_fini(&templates);
    return 0;
}

static void what_a_row_does_not_say_is_filled_in(void **state)
{
    (void)state;
    assert_int_equal(parse("{}"), PS_OK);
    const struct ps_template *row = &templates.rows[0];
    assert_string_equal(row->method, "GET");
    assert_string_equal(row->path, "/base");
    assert_false(row->has_body);
    assert_int_equal(parse("{\"body\":\"\"}"), PS_OK);
    assert_string_equal(templates.rows[0].method, "POST");
    assert_true(templates.rows[0].has_body);
}

static void a_whole_row_is_read(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"method\":\"PUT\",\"path\":\"/a?b=c\",\"headers\":{\"x-a\":\"b\"},"
                           "\"body\":{\"stream\": true, \"n\":1},\"key\":\"secret\",\"status\":201,\"name\":\"put\"}"),
                     PS_OK);
    const struct ps_template *row = &templates.rows[0];
    assert_string_equal(row->method, "PUT");
    assert_string_equal(row->path, "/a?b=c");
    assert_int_equal(row->header_count, 2);
    assert_string_equal(row->headers[0].value, "b");
    assert_string_equal(row->headers[1].name, "authorization");
    assert_string_equal(row->headers[1].value, "Bearer secret");
    assert_true(ps_str_eq(row->body, PS_STR("{\"stream\":true,\"n\":1}")));
    assert_int_equal(row->streams, PS_TEMPLATE_STREAM);
    assert_int_equal(row->status, 201);
}

static void text_bodies_are_sent_as_they_are(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"body\":\"{ \\\"stream\\\" : false }\"}"), PS_OK);
    assert_true(ps_str_eq(templates.rows[0].body, PS_STR("{ \"stream\" : false }")));
    assert_int_equal(templates.rows[0].streams, PS_TEMPLATE_NO_STREAM);
    assert_int_equal(parse("{\"body\":[1, 2]}"), PS_OK);
    assert_true(ps_str_eq(templates.rows[0].body, PS_STR("[1,2]")));
}

static void what_can_not_be_sent_is_refused(void **state)
{
    static const char *const bad[] = {
        "", "x", "[]", "1", "{\"a\":1}", "{\"path\":\"a\"}", "{\"path\":1}", "{\"method\":\"get\"}",
        "{\"method\":\"CONNECT\"}", "{\"method\":\"\"}", "{\"headers\":[]}", "{\"headers\":{\"a\":1}}",
        "{\"headers\":{\"a b\":\"c\"}}", "{\"headers\":{\"a\":\"b\\r\\nc: d\"}}",
        "{\"headers\":{\"content-length\":\"5\"}}", "{\"headers\":{\"Transfer-Encoding\":\"chunked\"}}",
        "{\"key\":1}", "{\"key\":\"a\\nb\"}", "{\"status\":99}", "{\"status\":600}", "{\"status\":\"200\"}",
        "{\"method\":\"GET\",\"method\":\"GET\"}", "{} {}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_not_equal(parse(bad[i]), PS_OK);
        assert_int_equal(templates.count, 0);
        assert_int_not_equal(reason[0], '\0');
    }
}

static void a_file_names_its_bad_line(void **state)
{
    char path[] = "/tmp/penstock-template-XXXXXX";
    char why[400];
    const struct ps_template_defaults defaults = {.path = "/"};
    (void)state;
    ps_templates_fini(&templates);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    const char text[] = "{\"path\":\"/1\"}\n\n{\"path\":\"/2\"}\n{\"path\":2}\n";
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    assert_int_equal(ps_templates_read(&templates, path, &defaults, why, sizeof why), PS_EPARSE);
    assert_non_null(strstr(why, ":4: path must begin with /"));
    assert_int_equal(ftruncate(fd, 29), 0);
    ps_templates_fini(&templates);
    assert_int_equal(ps_templates_read(&templates, path, &defaults, why, sizeof why), PS_OK);
    assert_int_equal(templates.count, 2);
    assert_int_equal(ftruncate(fd, 0), 0);
    ps_templates_fini(&templates);
    assert_int_equal(ps_templates_read(&templates, path, &defaults, why, sizeof why), PS_EPARSE);
    assert_int_equal(ps_templates_read(&templates, "/nowhere", &defaults, why, sizeof why), PS_ENOTFOUND);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_a_row_does_not_say_is_filled_in, NULL, end),
        cmocka_unit_test_setup_teardown(a_whole_row_is_read, NULL, end),
        cmocka_unit_test_setup_teardown(text_bodies_are_sent_as_they_are, NULL, end),
        cmocka_unit_test_setup_teardown(what_can_not_be_sent_is_refused, NULL, end),
        cmocka_unit_test_setup_teardown(a_file_names_its_bad_line, NULL, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
