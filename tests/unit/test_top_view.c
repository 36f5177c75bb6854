/* test_top_view - what `penstock top` makes of a summary, row by row.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/top_view.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char summary[] =
    "{\"time\":1700000000,\"current_metrics\":{\"requests\":41.25,\"gpu_level\":3,\"gpu\":97,"
    "\"upstream_healthy{upstream=\\\"a\\\",endpoint=\\\"127.0.0.1:8000\\\"}\":0,"
    "\"rate(app_total{q=\\\"x\\\\\\\"y\\\"})\":2000000,\"big\":1234.5},"
    "\"history\":{\"time\":[1,2,3,4],\"series\":{\"requests\":[0,null,21,42],\"errors\":[1,1,1,"
    "null]}},"
    "\"board\":[{\"name\":\"requests\",\"unit\":\"requests/s\",\"group\":\"traffic\"},"
    "{\"name\":\"errors\",\"unit\":\"requests/s\",\"group\":\"traffic\"},"
    "{\"name\":\"gpu\",\"unit\":\"%\",\"group\":\"gpu\"},{\"name\":\"gpu_level\",\"unit\":"
    "\"level\",\"group\":\"gpu\"},"
    "{\"name\":\"upstream_healthy\",\"unit\":\"0 or "
    "1\",\"group\":\"upstreams\",\"labels\":[\"upstream\",\"endpoint\"]}],"
    "\"events\":[{\"time\":1700000000,\"level\":\"warn\",\"text\":\"bad \\u001b[31m "
    "thing\\u009b\",\"fields\":{\"a\":\"b\"}},"
    "{\"time\":1700000001,\"level\":\"info\",\"text\":\"good\"}]}";

struct place {
    struct ps_top_data data;
    struct ps_top_view view;
    struct ps_buf out;
    char text[65536];
};

static int setup(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    *state = place;
    place->view = (struct ps_top_view){.url = "http://x", .width = 80, .height = 24, .utf8 = true};
    place->out = ps_buf_make(1 << 20);
    return ps_top_data_read(&place->data, ps_str_from(summary));
}

static int teardown(void **state)
{
    struct place *place = *state;
    ps_top_data_fini(&place->data);
    ps_buf_fini(&place->out);
    free(place);
    return 0;
}

static const char *draw(struct place *place)
{
    ps_buf_clear(&place->out);
    assert_int_equal(ps_top_view_write(&place->view, &place->data, &place->out), PS_OK);
    memcpy(place->text, place->out.data, place->out.len);
    place->text[place->out.len] = '\0';
    return place->text;
}

static void assert_shows(struct place *place, const char *what)
{
    if (strstr(draw(place), what) == NULL) {
        fail_msg("missing %s in\n%s", what, place->text);
    }
}

static void series_stand_under_their_section(void **state)
{
    struct place *place = *state;
    assert_shows(
        place, "=TRAFFIC\n.  requests                            41.2 requests/s  ▁ ▄█\n-  errors");
    assert_shows(place, "=GPU\nx  gpu                                   97 %");
    assert_shows(place, "x  gpu_level                       critical ");
    assert_shows(place, "=UPSTREAMS\nx  upstream_healt… 127.0.0.1:8000        no");
    assert_shows(place, "=CUSTOM\n.  big                                 1234 ");
    assert_shows(place, ".  rate(app_total x\"y)                2.00M");
}

static void what_comes_from_the_network_moves_no_terminal(void **state)
{
    struct place *place = *state;
    assert_shows(place, "warn  bad ?[31m thing? a=b\n");
    assert_null(strchr(draw(place), '\x1b'));
}

static void there_are_as_many_rows_as_the_terminal_has(void **state)
{
    struct place *place = *state;
    for (unsigned height = 1; height < 40; height++) {
        for (unsigned width = 1; width < 120; width += 7) {
            place->view.height = height;
            place->view.width = width;
            place->view.scroll = 1000;
            const char *text = draw(place);
            unsigned rows = 0;
            for (const char *at = text; *at != '\0'; at++) {
                rows += *at == '\n' ? 1 : 0;
            }
            assert_int_equal(rows, height);
            assert_true(place->view.scroll < 1000);
        }
    }
}

static void a_key_that_is_too_long_lacks_its_middle(void **state)
{
    struct place *place = *state;
    place->view.width = 60;
    assert_shows(place, "x  upstream_h….0.0.1:8000        no");
    place->view.utf8 = false;
    assert_shows(place, "x  upstream_h~.0.0.1:8000        no");
    assert_shows(place, "requests/s  _ ~#");
}

static void sections_help_and_trouble(void **state)
{
    struct place *place = *state;
    place->view.section = PS_TOP_GPU;
    assert_null(strstr(draw(place), "TRAFFIC"));
    assert_shows(place, "[gpu]  t section");
    place->view.section = PS_TOP_CACHE;
    assert_shows(place, "nothing is known of this");
    place->view.section = PS_TOP_EVENTS;
    assert_shows(place, "=EVENTS\n.");
    place->view.help = true;
    assert_shows(place, "=KEYS\n");
    place->view.paused = true;
    place->view.trouble = "no answer for 3 s";
    assert_shows(place, "xpenstock top  http://x");
    assert_shows(place, "PAUSED  no answer for 3 s");
}

static void lines_are_plain(void **state)
{
    struct place *place = *state;
    assert_int_equal(ps_top_view_lines(&place->data, &place->out), PS_OK);
    struct ps_str text = ps_buf_str(&place->out);
    assert_true(ps_str_starts_with(
        text, PS_STR("traffic   requests                                 41.25 requests/s\n")));
    assert_true(ps_str_contains(
        text,
        PS_STR("upstreams upstream_healthy{upstream=\"a\",endpoint=\"127.0.0.1:8000\"} 0\n")));
    assert_false(ps_str_contains(text, PS_STR("errors")));
    assert_true(ps_str_contains(text, PS_STR(" info  good\n")));
}

static void what_is_no_summary_is_refused(void **state)
{
    static const char *const wrong[] = {"", "[]", "{}", "{\"current_metrics\":7}", "{", "null"};
    struct ps_top_data data;
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(ps_top_data_read(&data, ps_str_from(wrong[i])), PS_EPARSE);
    }
    const char *odd = "{\"current_metrics\":{\"a\":\"x\",\"b\":{}},\"history\":[],\"board\":{},"
                      "\"events\":[1,{}],\"time\":\"t\"}";
    assert_int_equal(ps_top_data_read(&data, ps_str_from(odd)), PS_OK);
    struct ps_top_view view = {.url = "", .width = 80, .height = 24};
    struct ps_buf out = ps_buf_make(1 << 20);
    assert_int_equal(ps_top_view_write(&view, &data, &out), PS_OK);
    ps_buf_fini(&out);
    ps_top_data_fini(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(series_stand_under_their_section, setup, teardown),
        cmocka_unit_test_setup_teardown(what_comes_from_the_network_moves_no_terminal, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(there_are_as_many_rows_as_the_terminal_has, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_key_that_is_too_long_lacks_its_middle, setup, teardown),
        cmocka_unit_test_setup_teardown(sections_help_and_trouble, setup, teardown),
        cmocka_unit_test_setup_teardown(lines_are_plain, setup, teardown),
        cmocka_unit_test(what_is_no_summary_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
