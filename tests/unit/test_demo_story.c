/* test_demo_story - answers of the gateway become sentences; what it does not say is not told.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/demo_story.h"

static struct ps_demo_story story;
static ps_time now;

static int set_up(void **state)
{
    (void)state;
    story = (struct ps_demo_story){0};
    story.gauges[0].address = "127.0.0.1:8001";
    story.gauges[2].address = "127.0.0.1:8003";
    now = 0;
    return 0;
}

/* A second passes, then the third server is like this. */
static void look(double percent, const char *level, const char *prediction)
{
    char json[512];
    now += PS_SECOND;
    int len = snprintf(json, sizeof json,
                       "{\"engines\":[{\"endpoint\":\"http://127.0.0.1:8003\",\"simulated\":true,"
                       "\"effective_percent\":%f,\"basis\":\"device\",\"pressure_level\":\"%s\","
                       "\"prediction\":%s}]}",
                       percent, level, prediction);
    ps_demo_story_profile(&story, now, (struct ps_str){json, (size_t)len});
}

static void report(const char *json)
{
    ps_demo_story_report(&story, now, ps_str_from(json));
}

static const char *told(uint64_t n)
{
    const struct ps_demo_event *event = ps_demo_story_event(&story, n);
    assert_non_null(event);
    assert_int_equal(event->server, 2);
    assert_true(event->simulated);
    return event->text;
}

#define CALM "{\"cleanup_needed\":false,\"basis\":\"forecast\"}"

static void a_climb_is_told_with_when_it_is_full(void **state)
{
    (void)state;
    look(41, "low", CALM);
    look(52, "low", CALM);
    look(63, "low",
         "{\"cleanup_needed\":true,\"basis\":\"forecast\",\"seconds_to_critical\":33.6,"
         "\"probability\":"
         "0.8}");
    assert_int_equal(story.count, 1);
    assert_string_equal(
        told(0), "cleanup foreseen: memory 41 % -> 63 % in 2 s, full in 34 s (probability 0.80)");
    look(64, "high", "{\"cleanup_needed\":true,\"seconds_to_critical\":30}");
    assert_string_equal(told(1), "memory 41 % -> 64 % in 3 s, full in 30 s: level low -> high");
    look(65, "high", "{\"cleanup_needed\":true,\"seconds_to_critical\":30}");
    assert_int_equal(story.count, 2);
}

static void a_level_that_falls_is_told(void **state)
{
    (void)state;
    look(70, "high", CALM);
    look(50, "low", CALM);
    assert_int_equal(story.count, 2);
    assert_string_equal(told(1), "level high -> low: memory at 50 %");
}

static void what_was_not_said_is_not_told(void **state)
{
    (void)state;
    look(63, "low", "{\"cleanup_needed\":true}");
    assert_string_equal(told(0), "cleanup foreseen: memory 63 %");
    assert_true(isnan(story.gauges[2].until) && isnan(story.gauges[2].probability));
    assert_false(story.gauges[0].known);
    ps_demo_story_profile(&story, now,
                          PS_STR("{\"engines\":[{\"endpoint\":\"http://127.0.0.1:8001\"}]}"));
    assert_false(story.gauges[0].known);
}

#define STEP                                                                                \
    "{\"server\":\"shared "                                                                 \
    "http://127.0.0.1:8003\",\"rung\":\"unload\",\"model\":\"b\",\"verdict\":\"%s\","       \
    "\"expected_mb\":12288,\"freed_mb\":%s,\"answered_after_seconds\":0.2,\"verdict_after_" \
    "seconds\":1}"

static void a_cleanup_is_told_step_by_step_and_once(void **state)
{
    char json[1024];
    (void)state;
    look(80, "low", CALM);
    snprintf(json, sizeof json,
             "{\"cleanups\":[{\"id\":7,\"outcome\":\"running\",\"steps\":[" STEP "]}]}",
             "measuring", "0");
    report(json);
    assert_int_equal(story.count, 0);
    snprintf(json, sizeof json,
             "{\"cleanups\":[{\"id\":7,\"outcome\":\"running\",\"steps\":[" STEP "]}]}", "freed",
             "12185.6");
    report(json);
    report(json);
    assert_int_equal(story.count, 1);
    assert_string_equal(told(0), "unload b: 12.0 GiB expected, 11.9 GiB freed in 1.2 s");
    snprintf(json, sizeof json,
             "{\"cleanups\":[{\"id\":7,\"outcome\":\"target_met\",\"percent_before\":80.2,"
             "\"percent_after\":31.4,\"target_percent\":75,\"steps\":[" STEP "," STEP "]}]}",
             "freed", "12185.6", "not_freed", "-3");
    report(json);
    report(json);
    assert_int_equal(story.count, 3);
    assert_string_equal(told(1), "unload b: 12.0 GiB expected, only 0.0 GiB freed in 1.2 s");
    assert_string_equal(told(2), "cleanup ended: 80 % -> 31 %, the target of 75 % is met");
}

static void what_only_the_server_says_is_told_as_that(void **state)
{
    char json[512];
    (void)state;
    look(80, "low", CALM);
    snprintf(json, sizeof json,
             "{\"cleanups\":[{\"id\":1,\"outcome\":\"running\",\"steps\":[" STEP "]}]}", "unproven",
             "-1456");
    report(json);
    assert_string_equal(told(0), "unload b: 12.0 GiB expected, gone by its own account in 1.2 s");
}

static void cleanups_that_came_between_two_looks_are_told_in_their_order(void **state)
{
    (void)state;
    look(80, "low", CALM);
    report("{\"cleanups\":[{\"id\":2,\"outcome\":\"running\",\"steps\":[{\"server\":\"a "
           "127.0.0.1:8003\",\"rung\":\"sleep\",\"verdict\":\"busy\",\"reason\":\"status 400\"}]},"
           "{\"id\":1,\"outcome\":\"no_rung\",\"steps\":[{\"server\":\"a "
           "127.0.0.1:8003\",\"rung\":\"unload\",\"model\":\"b\",\"verdict\":\"denied\"}]}]}");
    assert_int_equal(story.count, 2);
    assert_string_equal(told(0), "unload b: denied");
    assert_string_equal(told(1), "sleep: busy, status 400");
}

static void what_is_no_answer_is_passed_over(void **state)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "{\"engines\":7}",
                                        "{\"engines\":[7,null]}",
                                        "{\"cleanups\":[3,{\"id\":\"x\"},{\"id\":5,\"steps\":4}]}"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        ps_demo_story_profile(&story, now, ps_str_from(texts[i]));
        report(texts[i]);
    }
    assert_int_equal(story.count, 0);
    look(10, "odd", CALM);
    look(10, "low", CALM);
    assert_int_equal(story.count, 0);
}

static void old_events_are_let_go(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2 * PS_DEMO_EVENTS; i++) {
        look(50, i % 2 == 0 ? "high" : "low", CALM);
    }
    assert_int_equal(story.count, 2 * PS_DEMO_EVENTS);
    assert_null(ps_demo_story_event(&story, PS_DEMO_EVENTS - 1));
    assert_non_null(ps_demo_story_event(&story, PS_DEMO_EVENTS));
    assert_null(ps_demo_story_event(&story, 2 * PS_DEMO_EVENTS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_climb_is_told_with_when_it_is_full, set_up),
        cmocka_unit_test_setup(a_level_that_falls_is_told, set_up),
        cmocka_unit_test_setup(what_was_not_said_is_not_told, set_up),
        cmocka_unit_test_setup(a_cleanup_is_told_step_by_step_and_once, set_up),
        cmocka_unit_test_setup(what_only_the_server_says_is_told_as_that, set_up),
        cmocka_unit_test_setup(cleanups_that_came_between_two_looks_are_told_in_their_order,
                               set_up),
        cmocka_unit_test_setup(what_is_no_answer_is_passed_over, set_up),
        cmocka_unit_test_setup(old_events_are_let_go, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
