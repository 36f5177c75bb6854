/* Log lines, read back from standard error. */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char text[8192];
static int saved = -1;
static int ends[2];

static int divert(void **state)
{
    (void)state;
    saved = dup(STDERR_FILENO);
    return saved < 0 || pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0 ? -1 : 0;
}

static int restore(void **state)
{
    (void)state;
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[0]);
    close(ends[1]);
    ps_log_set_level(PS_LOG_INFO);
    return 0;
}

/* What was logged since the last call, behind the time. Nothing logged would block: a mark is
 * written. */
static const char *logged(void)
{
    assert_int_equal(write(STDERR_FILENO, "$", 1), 1);
    ssize_t n = read(ends[0], text, sizeof text - 1);
    assert_true(n > 0 && text[n - 1] == '$');
    text[n > 0 ? n - 1 : 0] = '\0';
    return n > 25 ? text + 24 : text;
}

static void a_line_is_time_level_event_and_pairs(void **state)
{
    int year, month, day, hour, minute, second, millisecond;
    (void)state;
    ps_log(PS_LOG_INFO, "listening", "address", "127.0.0.1:5000", "name", "a b", NULL);
    assert_string_equal(logged(), " info  listening address=127.0.0.1:5000 name=\"a b\"\n");
    assert_int_equal(sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ", &year, &month, &day, &hour,
                            &minute, &second, &millisecond),
                     7);
    ps_log(PS_LOG_ERROR, "x", "empty", "", "null", (const char *)NULL, NULL);
    assert_string_equal(logged(), " error x empty=\"\" null=\"\"\n");
}

static void nobody_can_forge_a_line_or_a_pair(void **state)
{
    (void)state;
    ps_log(PS_LOG_WARN, "a\nb", "v", "x\ny=\"1\"\\", NULL);
    assert_string_equal(logged(), " warn  a\\x0ab v=\"x\\x0ay=\\\"1\\\"\\\\\"\n");
    ps_log(PS_LOG_WARN, "e", "v", "a\x1b[31m", NULL);
    assert_string_equal(logged(), " warn  e v=\"a\\x1b[31m\"\n");
}

static void lines_below_the_level_are_dropped(void **state)
{
    (void)state;
    ps_log(PS_LOG_DEBUG, "unseen", NULL);
    assert_string_equal(logged(), "");
    ps_log_set_level(PS_LOG_DEBUG);
    ps_log(PS_LOG_DEBUG, "seen", NULL);
    assert_string_equal(logged(), " debug seen\n");
    ps_log_set_level(PS_LOG_ERROR);
    ps_log(PS_LOG_WARN, "unseen", NULL);
    assert_string_equal(logged(), "");
}

static void a_long_line_is_cut_but_ends(void **state)
{
    char longest[5000];
    (void)state;
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    ps_log(PS_LOG_INFO, longest, "more", longest, NULL);
    size_t len = strlen(logged());
    assert_true(len > 1900 && len < 2048);
    assert_int_equal(text[24 + len - 1], '\n');
}

struct heard {
    int lines;
    enum ps_log_level level;
    char text[128];
};

static void on_line(void *ctx, enum ps_log_level level, const char *event,
                    const struct ps_log_pair *pairs, size_t count)
{
    struct heard *heard = ctx;
    heard->lines++;
    heard->level = level;
    snprintf(heard->text, sizeof heard->text, "%s %s=%s", event, count > 0 ? pairs[0].key : "",
             count > 0 ? pairs[0].value : "");
}

static void a_tap_hears_what_counts_whatever_is_written(void **state)
{
    struct heard heard = {0};
    (void)state;
    ps_log_set_tap(on_line, &heard);
    ps_log_set_level(PS_LOG_ERROR);
    ps_log(PS_LOG_WARN, "endpoint is unhealthy", "endpoint", "a b", NULL);
    assert_string_equal(logged(), "");
    assert_int_equal(heard.lines, 1);
    assert_int_equal(heard.level, PS_LOG_WARN);
    assert_string_equal(heard.text, "endpoint is unhealthy endpoint=a b");
    ps_log_set_level(PS_LOG_DEBUG);
    ps_log(PS_LOG_DEBUG, "details", NULL);
    assert_int_equal(heard.lines, 1); /* below info it hears nothing */
    ps_log_set_tap(NULL, NULL);
    ps_log(PS_LOG_WARN, "nobody hears", NULL);
    assert_int_equal(heard.lines, 1);
    (void)logged();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_is_time_level_event_and_pairs, divert, restore),
        cmocka_unit_test_setup_teardown(nobody_can_forge_a_line_or_a_pair, divert, restore),
        cmocka_unit_test_setup_teardown(lines_below_the_level_are_dropped, divert, restore),
        cmocka_unit_test_setup_teardown(a_long_line_is_cut_but_ends, divert, restore),
        cmocka_unit_test_setup_teardown(a_tap_hears_what_counts_whatever_is_written, divert, restore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
