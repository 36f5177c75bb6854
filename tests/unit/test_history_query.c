#include "export/history_query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW INT64_C(1800000123)

static struct ps_history_query query;
static char reason[400];

static int parse(const char *text)
{
    reason[0] = '\0';
    return ps_history_query_parse(&query, ps_str_from(text), NOW, reason, sizeof reason);
}

static struct ps_history_grid plan(const char *text, bool kept)
{
    const struct ps_history_reach reach = {NOW, 300, kept, 172800, 400 * 86400};
    struct ps_history_grid grid = {0};
    if (parse(text) != PS_OK) {
        fail_msg("%s: %s", text, reason);
    }
    if (ps_history_query_plan(&query, &reach, &grid, reason, sizeof reason) != PS_OK) {
        grid.count = 0;
    }
    return grid;
}

/* --- reading ---------------------------------------------------------------------------------- */

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *says;
    } rows[] = {
        {"range=5m", "'name' is missing"},
        {"route=chat", "'name' is missing"},
        {"name=", "'name' is a metric's name"},
        {"name=a%20b", "'name' is a metric's name"},
        {"name=x&name=1", "'name' is a metric's name"},
        {"name=x&range=5x", "'range' is a length of time"},
        {"name=x&range=", "'range' is a length of time"},
        {"name=x&range=0", "'range' is a length of time"},
        {"name=x&range=-5m", "'range' is a length of time"},
        {"name=x&range=500ms", "'range' is a length of time"},
        {"name=x&step=1.5s", "'step' is a length of time"},
        {"name=x&from=yesterday", "'from' is a number of seconds"},
        {"name=x&to=1e9", "'to' is a number of seconds"},
        {"name=x&to=99999999999999999999", "'to' is a number of seconds"},
        {"name=x&range=5m&from=-1h", "either 'range' or 'from'"},
        {"name=x&from=-1h&to=-2h", "'from' lies behind 'to'"},
        {"name=x&from=1800000124", "'from' lies behind now"},
        {"name=x&of=max", "'of' is one of"},
        {"name=x&of=rate&of=rate", "'of' stands there twice"},
        {"name=x&range=1h&range=2h", "'range' stands there twice"},
        {"name=x&a=1&a=2", "'a' stands there twice"},
        {"name=x&a-b=1", "a parameter is name"},
        {"name=x&=1", "a parameter is name"},
        {"name=x&%zz=1", "percent-encoded"},
        {"name=x%00", "percent-encoded"},
        {"name=x&a=1&b=1&c=1&d=1&e=1&f=1&g=1&h=1&i=1", "more than 8 labels"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (parse(rows[i].text) != PS_EINVAL || strstr(reason, rows[i].says) == NULL) {
            fail_msg("%s: '%s', not '%s'", rows[i].text, reason, rows[i].says);
        }
    }
    char *longest = malloc(3000);
    (void)snprintf(longest, 3000, "name=%0*d", 260, 0);
    assert_int_equal(parse(longest), PS_EINVAL);
    longest[0] = '\0';
    for (int i = 0; i <= PS_HISTORY_SELECTORS; i++) {
        strcat(longest, "&name=x");
    }
    assert_int_equal(parse(longest), PS_EINVAL);
    free(longest);
}

static void what_is_left_out_is_the_last_five_minutes(void **state)
{
    (void)state;
    assert_int_equal(parse(""), PS_OK);
    assert_int_equal(query.selector_count, 0);
    assert_int_equal(parse("name=x"), PS_OK);
    assert_true(query.to == NOW && query.from == NOW - 299);
    assert_int_equal(parse("name=x&from=-1h"), PS_OK);
    assert_true(query.to == NOW && query.from == NOW - 3600);
    assert_int_equal(parse("name=x&from=1700000000&to=now"), PS_OK);
    assert_true(query.to == NOW && query.from == 1700000000);
    assert_int_equal(parse("name=x&to=4000000000"), PS_OK); /* nobody knows what will be */
    assert_true(query.to == NOW);
}

/* --- the grid --------------------------------------------------------------------------------- */

static void assert_plan(const char *text, bool kept, enum ps_history_resolution resolution,
                        int64_t step, size_t count)
{
    struct ps_history_grid grid = plan(text, kept);
    if (grid.resolution != resolution || grid.step != step || grid.count != count) {
        fail_msg("%s: %s, step %d, %zu points", text, ps_history_resolution_names[grid.resolution],
                 (int)grid.step, grid.count);
    }
    assert_true(grid.from % step == 0);
    assert_true(count == 0 || (grid.from + (int64_t)(count - 1) * step <= query.to &&
                               grid.from + (int64_t)count * step > query.to));
}

static void the_finest_that_reaches_back_is_taken(void **state)
{
    (void)state;
    assert_plan("name=x", true, PS_HISTORY_SECOND, 1, 300);
    assert_plan("name=x&range=60", true, PS_HISTORY_SECOND, 1, 60);
    assert_plan("name=x&step=10", true, PS_HISTORY_SECOND, 10, 31);
    assert_plan("name=x&range=1h", true, PS_HISTORY_MINUTE, 60, 61);
    assert_plan("name=x&range=24h", true, PS_HISTORY_MINUTE, 180, 481);
    assert_plan("name=x&range=24h&step=60", true, PS_HISTORY_MINUTE, 60, 1441);
    assert_plan("name=x&range=24h&step=90", true, PS_HISTORY_MINUTE, 120, 721);
    assert_plan("name=x&range=24h&step=1h", true, PS_HISTORY_HOUR, 3600, 25);
    assert_plan("name=x&range=30d", true, PS_HISTORY_HOUR, 7200, 361);
    assert_plan("name=x&range=400d", true, PS_HISTORY_HOUR, 86400, 401);
    assert_plan("name=x&range=1h", false, PS_HISTORY_SECOND, 1, 300); /* all that there is */
    assert_plan("name=x&from=-3000d", true, PS_HISTORY_HOUR, 86400, 401);
    assert_plan("name=x&from=-3000d&to=-2999d", true, PS_HISTORY_HOUR, 3600, 1);
}

static void too_many_points_are_refused_with_a_step_that_does(void **state)
{
    (void)state;
    assert_int_equal(plan("name=x&range=47h&step=60", true).count, 2821);
    struct ps_history_grid grid = plan("name=x&range=400d&step=1h", true);
    assert_int_equal(grid.count, 0);
    assert_non_null(strstr(reason, "a step of 21600 or more"));
    assert_plan("name=x&range=400d&step=21600", true, PS_HISTORY_HOUR, 21600, 1601);
}

/* --- which ------------------------------------------------------------------------------------ */

static const char *const keys[] = {
    "gpu",
    "x{a=\"1\",b=\"q\"}",
    "x{a=\"2\",b=\"q\"}",
    "rate(y_total{a=\"1\"})",
    "rate(h{a=\"1\"})",
    "p95(h{a=\"1\"})",
    "p95(h{a=\"2\"})",
    "z{a=\"with \\\"quotes\\\" and \\\\\"}",
};

static void assert_wanted(const char *text, const char *wanted)
{
    struct ps_history_known known = {0};
    char have[16] = "";
    if (parse(text) != PS_OK) {
        fail_msg("%s: %s", text, reason);
    }
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        ps_history_query_meet(&query, ps_str_from(keys[i]), &known);
    }
    if (ps_history_query_judge(&query, &known, reason, sizeof reason) != PS_OK) {
        (void)snprintf(have, sizeof have, "!");
    } else {
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            char digit[2] = {(char)('0' + i), '\0'};
            strcat(have, ps_history_query_wants(&query, ps_str_from(keys[i])) ? digit : "");
        }
    }
    if (strcmp(have, wanted) != 0) {
        fail_msg("%s: '%s', not '%s'; %s", text, have, wanted, reason);
    }
}

static void a_key_a_metric_and_labels_select(void **state)
{
    (void)state;
    assert_wanted("name=gpu", "0");
    assert_wanted("name=x", "12");
    assert_wanted("name=x&a=1", "1");
    assert_wanted("name=x&a=1&b=q", "1");
    assert_wanted("name=x&a=3", "");
    assert_wanted("name=x{a=\"1\"}", "1");
    assert_wanted("name=x%7Ba%3D%222%22,b%3D%22q%22%7D", "2");
    assert_wanted("name=y_total", "3");
    assert_wanted("name=rate(y_total)", "3");
    assert_wanted("name=rate(y_total{a=\"1\"})", "3");
    assert_wanted("name=p95(y_total)", "");
    assert_wanted("name=h", "456");
    assert_wanted("name=h&of=p95", "56");
    assert_wanted("name=h&of=p95&a=2", "6");
    assert_wanted("name=p95(h)&name=gpu", "056");
    assert_wanted("name=z&a=with%20%22quotes%22+and+%5C", "7");
    assert_wanted("name=p95(h{a=\"1\"})&name=x", "125");
    assert_wanted("name=nothing", "!");
    assert_wanted("name=nothing&name=gpu", "0");
    assert_wanted("name=x&c=1", "!");
    assert_non_null(strstr(reason, "'c' is neither"));
    assert_wanted("name=x&rnge=1h", "!");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(what_is_left_out_is_the_last_five_minutes),
        cmocka_unit_test(the_finest_that_reaches_back_is_taken),
        cmocka_unit_test(too_many_points_are_refused_with_a_step_that_does),
        cmocka_unit_test(a_key_a_metric_and_labels_select),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
