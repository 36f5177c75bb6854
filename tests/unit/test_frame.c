#include "export/frame.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "../helpers/nomem.h"
#include "base/check.h"
#include "export/board.h"
#include "observe/event.h"
#include "observe/history.h"

#define START 1767323045

static const char *const both[] = {"a", "b{x=\"1,\\\"2\"}"};

struct scene {
    struct ps_history *history;
    struct ps_events *events;
    struct ps_frame *frame;
    int64_t second;
};

static void open_scene(struct scene *scene)
{
    struct ps_history_opts opts = {.max_series = 100, .points = 300};
    *scene = (struct scene){.second = START - 1};
    assert_int_equal(ps_history_new(&scene->history, &opts), PS_OK);
    assert_int_equal(ps_events_new(&scene->events, 10), PS_OK);
    struct ps_frame_opts frame = {scene->history, scene->events, true};
    assert_int_equal(ps_frame_new(&scene->frame, &frame), PS_OK);
}

static void close_scene(struct scene *scene)
{
    ps_frame_free(scene->frame);
    ps_events_free(scene->events);
    ps_history_free(scene->history);
}

/* A second later, with these values; NAN = nobody knows. */
static void pass(struct scene *scene, int64_t by, double a, double b)
{
    scene->second += by;
    assert_true(ps_history_begin(scene->history, scene->second));
    assert_int_equal(ps_history_put(scene->history, ps_str_from(both[0]), a), PS_OK);
    assert_int_equal(ps_history_put(scene->history, ps_str_from(both[1]), b), PS_OK);
    assert_int_equal(ps_frame_second(scene->frame, (double)scene->second, both, 2), PS_OK);
}

static json_t *parse(struct ps_buf *out)
{
    json_error_t error;
    json_t *json = json_loadb(out->data, out->len, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        fail_msg("%s in %.*s", error.text, (int)out->len, out->data);
    }
    ps_buf_fini(out);
    return json;
}

static json_t *frame_of(struct scene *scene, const char *const *keys, size_t count, bool first)
{
    struct ps_buf out = ps_buf_make(16 * 1024 * 1024);
    assert_int_equal(ps_frame_write(scene->frame, keys, count, first, &out), PS_OK);
    return parse(&out);
}

static json_t *member(const json_t *json, const char *first, const char *second)
{
    json_t *inner = json_object_get(json, first);
    return second == NULL ? inner : json_object_get(inner, second);
}

static void assert_number(const json_t *json, double want)
{
    assert_true(json_is_number(json));
    assert_true(fabs(json_number_value(json) - want) <= 1e-9 * fabs(want));
}

/* --- frames ----------------------------------------------------------------------------------- */

static void a_frame_says_what_is_known(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    pass(&scene, 1, 1.5, NAN);
    json_t *frame = frame_of(&scene, NULL, 0, false);
    assert_string_equal(json_string_value(member(frame, "type", NULL)), "metrics_update");
    assert_number(member(frame, "seq", NULL), 1);
    assert_number(member(frame, "time", NULL), START);
    assert_number(member(frame, "metrics", "a"), 1.5);
    assert_null(member(frame, "metrics", both[1]));
    assert_int_equal(json_array_size(member(frame, "alerts", NULL)), 0);
    assert_null(member(frame, "history", NULL));
    assert_null(member(frame, "board", NULL));
    json_decref(frame);
    close_scene(&scene);
}

static void the_first_frame_brings_the_past(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    pass(&scene, 1, 1, 10);
    pass(&scene, 1, NAN, 11);
    pass(&scene, 1, 3, 12);
    json_t *frame = frame_of(&scene, NULL, 0, true);
    json_t *time = member(frame, "history", "time");
    json_t *a = member(member(frame, "history", NULL), "series", "a");
    json_t *b = member(member(frame, "history", NULL), "series", both[1]);
    assert_int_equal(json_array_size(time), 3);
    assert_int_equal(json_array_size(a), 3);
    assert_number(json_array_get(time, 0), START);
    assert_number(json_array_get(a, 0), 1);
    assert_true(json_is_null(json_array_get(a, 1)));
    assert_number(json_array_get(b, 2), 12);
    assert_int_equal(json_array_size(member(frame, "board", NULL)), ps_board_row_count);
    json_decref(frame);
    close_scene(&scene);
}

/* ... and what there is of it stands beside its time, whatever could not be remembered. */
static void each_allocation_of_a_second_may_fail(void **state)
{
    (void)state;
    long n = 0;
    do {
        struct scene scene;
        open_scene(&scene);
        for (int i = 0; i < 100; i++) {
            pass(&scene, 1, i / 3.0, i / 7.0);
        }
        nomem_failed = false;
        nomem_left = n++;
        scene.second += 130; /* the texts grow */
        assert_true(ps_history_begin(scene.history, scene.second));
        int err = ps_frame_second(scene.frame, (double)scene.second, both, 2);
        nomem_left = -1;
        assert_int_equal(err, nomem_failed ? PS_ENOMEM : PS_OK);
        pass(&scene, 1, 1, 2);
        pass(&scene, 290, 3, 4);
        json_t *frame = frame_of(&scene, NULL, 0, true);
        size_t points = json_array_size(member(frame, "history", "time"));
        json_t *series = member(frame, "history", "series");
        assert_int_equal(json_object_size(series), 2);
        assert_int_equal(json_array_size(json_object_get(series, "a")), points);
        assert_int_equal(json_array_size(json_object_get(series, both[1])), points);
        json_decref(frame);
        close_scene(&scene);
    } while (nomem_failed && n < 100);
    assert_true(n > 2 && n < 100);
}

static void of_310_seconds_exactly_the_latest_300_are_kept(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    for (int i = 0; i < 310; i++) {
        pass(&scene, 1, i, 1e6 - 1.0 / (i + 1));
    }
    json_t *frame = frame_of(&scene, NULL, 0, true);
    json_t *time = member(frame, "history", "time");
    json_t *a = member(member(frame, "history", NULL), "series", "a");
    json_t *b = member(member(frame, "history", NULL), "series", both[1]);
    assert_int_equal(json_array_size(time), 300);
    assert_int_equal(json_array_size(a), 300);
    assert_int_equal(json_array_size(b), 300);
    for (size_t i = 0; i < 300; i++) {
        assert_number(json_array_get(time, i), START + 10 + (double)i);
        assert_number(json_array_get(a, i), 10 + (double)i);
    }
    json_decref(frame);
    close_scene(&scene);
}

static void seconds_that_were_missed_are_gaps(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    pass(&scene, 1, 1, 1);
    pass(&scene, 4, 2, 2);
    json_t *frame = frame_of(&scene, NULL, 0, true);
    json_t *a = member(member(frame, "history", NULL), "series", "a");
    json_t *time = member(frame, "history", "time");
    assert_int_equal(json_array_size(a), 5);
    for (size_t i = 1; i < 4; i++) {
        assert_true(json_is_null(json_array_get(a, i)));
        assert_number(json_array_get(time, i), START + (double)i);
    }
    assert_number(json_array_get(a, 4), 2);
    json_decref(frame);
    pass(&scene, 1000, 3, 3); /* nothing of before is in sight */
    frame = frame_of(&scene, NULL, 0, true);
    assert_int_equal(json_array_size(member(frame, "history", "time")), 1);
    json_decref(frame);
    scene.second -= 500; /* somebody sets the clock back */
    pass(&scene, 1, 4, 4);
    frame = frame_of(&scene, NULL, 0, true);
    assert_int_equal(json_array_size(member(frame, "history", "time")), 1);
    assert_number(member(frame, "metrics", "a"), 4);
    json_decref(frame);
    close_scene(&scene);
}

static void a_key_that_comes_late_has_its_past(void **state)
{
    static const char *const three[] = {"a", "late", "b{x=\"1,\\\"2\"}"};
    struct scene scene;
    (void)state;
    open_scene(&scene);
    pass(&scene, 1, 1, 1);
    assert_int_equal(ps_history_put(scene.history, PS_STR("late"), 41), PS_OK);
    scene.second++;
    assert_true(ps_history_begin(scene.history, scene.second));
    assert_int_equal(ps_history_put(scene.history, PS_STR("late"), 42), PS_OK);
    assert_int_equal(ps_frame_second(scene.frame, (double)scene.second, three, 3), PS_OK);
    json_t *frame = frame_of(&scene, NULL, 0, true);
    json_t *late = member(member(frame, "history", NULL), "series", "late");
    assert_number(json_array_get(late, 0), 41);
    assert_number(json_array_get(late, 1), 42);
    assert_number(json_array_get(member(member(frame, "history", NULL), "series", "a"), 0), 1);
    json_decref(frame);
    pass(&scene, 1, 5, 6); /* the set has two again */
    frame = frame_of(&scene, NULL, 0, true);
    assert_null(member(member(frame, "history", NULL), "series", "late"));
    assert_int_equal(json_array_size(member(member(frame, "history", NULL), "series", both[1])), 3);
    json_decref(frame);
    close_scene(&scene);
}

/* --- subsets ---------------------------------------------------------------------------------- */

static void who_wants_some_keys_gets_these(void **state)
{
    static const char *const wanted[] = {"b", "b{x=\"1,\\\"2\"}", "other", "other", "nothing", ""};
    struct scene scene;
    (void)state;
    open_scene(&scene);
    pass(&scene, 1, 1, 10);
    assert_int_equal(ps_history_put(scene.history, PS_STR("other"), 5), PS_OK);
    json_t *frame = frame_of(&scene, wanted, PS_ARRAY_LEN(wanted), true);
    json_t *metrics = member(frame, "metrics", NULL);
    assert_int_equal(json_object_size(metrics), 2);
    assert_number(json_object_get(metrics, both[1]), 10); /* the name stands for all its tracks */
    assert_number(json_object_get(metrics, "other"), 5);  /* not in the default set, but known */
    assert_number(json_array_get(member(member(frame, "history", NULL), "series", "other"), 0), 5);
    json_decref(frame);
    close_scene(&scene);
}

static void what_does_not_fit_is_not_begun(void **state)
{
    struct scene scene;
    struct ps_buf out = ps_buf_make(64);
    (void)state;
    open_scene(&scene);
    pass(&scene, 1, 1, 10);
    assert_int_equal(ps_buf_append_str(&out, PS_STR("before")), PS_OK);
    assert_int_equal(ps_frame_write(scene.frame, NULL, 0, true, &out), PS_ELIMIT);
    assert_int_equal(out.len, 6);
    ps_buf_fini(&out);
    close_scene(&scene);
}

static void before_the_first_second_there_is_a_frame_without_numbers(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    json_t *frame = frame_of(&scene, NULL, 0, true);
    assert_int_equal(json_object_size(member(frame, "metrics", NULL)), 0);
    assert_int_equal(json_array_size(member(frame, "history", "time")), 0);
    json_decref(frame);
    close_scene(&scene);
}

/* --- events ----------------------------------------------------------------------------------- */

static void add_event(struct scene *scene, const char *text, const char *value)
{
    struct ps_log_pair pair = {"upstream", value};
    ps_events_add(scene->events, START * PS_SECOND + 250 * PS_MILLISECOND, PS_LOG_WARN, text, &pair,
                  1);
}

static void events_are_told_once_and_to_whoever_comes(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    add_event(&scene, "one", "a\"\n\xff");
    pass(&scene, 1, 1, 1);
    json_t *frame = frame_of(&scene, NULL, 0, false);
    json_t *event = json_array_get(member(frame, "events", NULL), 0);
    assert_int_equal(json_array_size(member(frame, "events", NULL)), 1);
    assert_number(member(event, "time", NULL), START + 0.25);
    assert_string_equal(json_string_value(member(event, "level", NULL)), "warn");
    assert_string_equal(json_string_value(member(event, "text", NULL)), "one");
    assert_string_equal(json_string_value(member(event, "fields", "upstream")),
                        "a\"\n\xef\xbf\xbd");
    json_decref(frame);
    pass(&scene, 1, 1, 1);
    add_event(&scene, "two", "b"); /* in the second that is not over */
    frame = frame_of(&scene, NULL, 0, false);
    assert_int_equal(json_array_size(member(frame, "events", NULL)), 0);
    json_decref(frame);
    frame = frame_of(&scene, NULL, 0, true);
    assert_int_equal(json_array_size(member(frame, "events", NULL)), 1);
    json_decref(frame);
    pass(&scene, 1, 1, 1);
    frame = frame_of(&scene, NULL, 0, false);
    assert_int_equal(json_array_size(member(frame, "events", NULL)), 1);
    json_decref(frame);
    close_scene(&scene);
}

static void only_the_latest_events_are_kept(void **state)
{
    struct scene scene;
    char text[4000];
    (void)state;
    open_scene(&scene);
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < 25; i++) {
        add_event(&scene, "many", i == 24 ? text : "short"); /* the long field is left out */
    }
    pass(&scene, 1, 1, 1);
    json_t *frame = frame_of(&scene, NULL, 0, false);
    json_t *events = member(frame, "events", NULL);
    assert_int_equal(json_array_size(events), 10);
    assert_int_equal(json_object_size(member(json_array_get(events, 9), "fields", NULL)), 0);
    json_decref(frame);
    close_scene(&scene);
}

/* --- the summary ------------------------------------------------------------------------------ */

static void the_summary_has_what_each_number_did(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene);
    for (int i = 1; i <= 100; i++) {
        pass(&scene, 1, i, NAN);
    }
    struct ps_buf out = ps_buf_make(16 * 1024 * 1024);
    assert_int_equal(ps_frame_write_summary(scene.frame, NULL, 0, 3, &out), PS_OK);
    json_t *summary = parse(&out);
    json_t *stats = member(summary, "stats", "a");
    assert_number(member(summary, "current_metrics", "a"), 100);
    assert_number(member(stats, "min", NULL), 1);
    assert_number(member(stats, "max", NULL), 100);
    assert_number(member(stats, "mean", NULL), 50.5);
    assert_number(member(stats, "p95", NULL), 95);
    assert_null(member(summary, "stats", both[1])); /* never known */
    assert_number(member(summary, "subscribers", NULL), 3);
    assert_int_equal(json_array_size(member(summary, "history", "time")), 100);
    assert_true(json_is_array(member(summary, "alerts", NULL)));
    assert_true(json_is_array(member(summary, "events", NULL)));
    json_decref(summary);
    close_scene(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_says_what_is_known),
        cmocka_unit_test(the_first_frame_brings_the_past),
        cmocka_unit_test(each_allocation_of_a_second_may_fail),
        cmocka_unit_test(of_310_seconds_exactly_the_latest_300_are_kept),
        cmocka_unit_test(seconds_that_were_missed_are_gaps),
        cmocka_unit_test(a_key_that_comes_late_has_its_past),
        cmocka_unit_test(who_wants_some_keys_gets_these),
        cmocka_unit_test(what_does_not_fit_is_not_begun),
        cmocka_unit_test(before_the_first_second_there_is_a_frame_without_numbers),
        cmocka_unit_test(events_are_told_once_and_to_whoever_comes),
        cmocka_unit_test(only_the_latest_events_are_kept),
        cmocka_unit_test(the_summary_has_what_each_number_did),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
