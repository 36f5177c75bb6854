/* The dashboard of penstock.h, as a program that has only the header sees it. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "penstock/penstock.h"

static struct ps_dashboard *make(void)
{
    struct ps_dashboard *dashboard = NULL;
    assert_int_equal(ps_dashboard_new(&dashboard), PS_OK);
    return dashboard;
}

static void push(struct ps_dashboard *dashboard, const char *name, double value)
{
    struct ps_dashboard_value one = {name, value};
    assert_int_equal(ps_dashboard_broadcast(dashboard, &one, 1), PS_OK);
}

/* --- samples ---------------------------------------------------------------------------------- */

static void of_310_samples_exactly_the_latest_300_are_kept(void **state)
{
    static struct ps_dashboard_point points[400];
    struct ps_dashboard *dashboard = make();
    size_t count = 0;
    (void)state;
    for (int i = 0; i < 310; i++) {
        push(dashboard, "depth", i);
    }
    assert_int_equal(ps_dashboard_recent_history(dashboard, "depth", points, 400, &count), PS_OK);
    assert_int_equal(count, 300);
    for (size_t i = 0; i < 300; i++) {
        assert_true(points[i].value == 10 + (double)i);
        assert_true(i == 0 || points[i].time >= points[i - 1].time);
    }
    assert_int_equal(ps_dashboard_recent_history(dashboard, "depth", points, 5, &count), PS_OK);
    assert_int_equal(count, 5);
    assert_true(points[0].value == 305 && points[4].value == 309);
    struct ps_dashboard_stats stats;
    assert_int_equal(ps_dashboard_stats(dashboard, "depth", &stats), PS_OK);
    assert_int_equal(stats.count, 300);
    assert_true(stats.min == 10 && stats.max == 309 && stats.mean == 159.5 && stats.last == 309);
    assert_true(stats.p95 == 294);
    ps_dashboard_free(dashboard);
}

static void what_a_sample_does_not_bring_is_a_gap(void **state)
{
    struct ps_dashboard *dashboard = make();
    struct ps_dashboard_point points[3];
    double value = 7;
    size_t count;
    (void)state;
    push(dashboard, "a", 1);
    push(dashboard, "b{x=\"1\"}", 2);
    push(dashboard, "a", NAN);
    assert_int_equal(ps_dashboard_recent_history(dashboard, "a", points, 3, &count), PS_OK);
    assert_true(points[0].value == 1 && isnan(points[1].value) && isnan(points[2].value));
    assert_int_equal(ps_dashboard_current(dashboard, "a", &value), PS_ENOTFOUND);
    assert_true(value == 7); /* left alone */
    push(dashboard, "a", 5);
    assert_int_equal(ps_dashboard_current(dashboard, "a", &value), PS_OK);
    assert_true(value == 5);
    assert_int_equal(ps_dashboard_current(dashboard, "c", &value), PS_ENOTFOUND);
    assert_string_equal(ps_last_error(), "no sample has a value of 'c'");
    ps_dashboard_free(dashboard);
}

static void what_is_no_name_is_refused_whole(void **state)
{
    static const char *const wrong[] = {"", "a b", "a{", "a{x}", "1a", "a{x=\"1\"", "rate(", NULL};
    struct ps_dashboard *dashboard = make();
    double value;
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct ps_dashboard_value two[] = {{"good", 1}, {wrong[i], 2}};
        assert_int_equal(ps_dashboard_broadcast(dashboard, two, 2), PS_EINVAL);
    }
    assert_int_equal(ps_dashboard_current(dashboard, "good", &value), PS_ENOTFOUND);
    assert_int_equal(ps_dashboard_broadcast(dashboard, NULL, 0), PS_OK); /* a gap of everything */
    ps_dashboard_free(dashboard);
}

static void there_is_an_end_to_names(void **state)
{
    struct ps_dashboard *dashboard = make();
    char name[32];
    double value;
    (void)state;
    for (int i = 0; i < PS_DASHBOARD_NAMES; i++) {
        snprintf(name, sizeof name, "n%d", i);
        push(dashboard, name, i);
    }
    struct ps_dashboard_value two[] = {{"one_more", 1}, {"n7", 70}};
    assert_int_equal(ps_dashboard_broadcast(dashboard, two, 2), PS_ELIMIT);
    assert_int_equal(ps_dashboard_current(dashboard, "n7", &value), PS_OK); /* the rest is stored */
    assert_true(value == 70);
    ps_dashboard_free(dashboard);
}

/* --- subscribers ------------------------------------------------------------------------------ */

struct heard {
    struct ps_dashboard *dashboard;
    uint64_t id;
    size_t frames;
    size_t with_history;
    double last;
    size_t points;
    bool leave;
    int broadcast;
};

static void on_frame(void *ctx, const char *json, size_t len)
{
    struct heard *heard = ctx;
    assert_int_equal(strlen(json), len);
    json_t *frame = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(frame);
    assert_string_equal(json_string_value(json_object_get(frame, "type")), "metrics_update");
    json_t *history = json_object_get(frame, "history");
    heard->frames++;
    heard->with_history += history != NULL ? 1 : 0;
    heard->points = history != NULL ? json_array_size(json_object_get(history, "time")) : 0;
    heard->last = json_number_value(json_object_get(json_object_get(frame, "metrics"), "a"));
    json_decref(frame);
    if (heard->leave) {
        assert_int_equal(ps_dashboard_unsubscribe(heard->dashboard, heard->id), PS_OK);
    }
    struct ps_dashboard_value one = {"a", 1};
    heard->broadcast = ps_dashboard_broadcast(heard->dashboard, &one, 1);
}

static void a_subscriber_hears_the_past_and_then_each_sample(void **state)
{
    struct ps_dashboard *dashboard = make();
    struct heard early = {.dashboard = dashboard};
    struct heard late = {.dashboard = dashboard};
    (void)state;
    assert_int_equal(ps_dashboard_subscribe(dashboard, on_frame, &early, &early.id), PS_OK);
    assert_int_equal(early.frames, 0); /* there is no sample yet */
    push(dashboard, "a", 1);
    push(dashboard, "a", 2);
    assert_int_equal(early.frames, 2);
    assert_int_equal(early.with_history, 0);
    assert_true(early.last == 2);
    assert_int_equal(early.broadcast, PS_EINVAL); /* not from inside */
    assert_int_equal(ps_dashboard_subscribe(dashboard, on_frame, &late, &late.id), PS_OK);
    assert_int_equal(late.with_history, 1);
    assert_int_equal(late.points, 2);
    assert_int_not_equal(early.id, late.id);
    push(dashboard, "a", 3);
    assert_true(early.last == 3 && late.last == 3);
    assert_int_equal(ps_dashboard_unsubscribe(dashboard, early.id), PS_OK);
    assert_int_equal(ps_dashboard_unsubscribe(dashboard, early.id), PS_ENOTFOUND);
    push(dashboard, "a", 4);
    assert_int_equal(early.frames, 3);
    assert_true(late.last == 4);
    ps_dashboard_free(dashboard);
}

static void a_subscriber_may_leave_while_it_is_called(void **state)
{
    struct ps_dashboard *dashboard = make();
    struct heard heard[3] = {
        {.dashboard = dashboard}, {.dashboard = dashboard}, {.dashboard = dashboard}};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(ps_dashboard_subscribe(dashboard, on_frame, &heard[i], &heard[i].id),
                         PS_OK);
    }
    heard[1].leave = true;
    push(dashboard, "a", 1);
    push(dashboard, "a", 2);
    assert_int_equal(heard[0].frames, 2);
    assert_int_equal(heard[1].frames, 1);
    assert_int_equal(heard[2].frames, 2);
    ps_dashboard_free(dashboard);
}

static void there_is_an_end_to_subscribers(void **state)
{
    struct ps_dashboard *dashboard = make();
    struct heard heard = {.dashboard = dashboard};
    uint64_t id;
    (void)state;
    for (int i = 0; i < PS_DASHBOARD_SUBSCRIBERS; i++) {
        assert_int_equal(ps_dashboard_subscribe(dashboard, on_frame, &heard, &id), PS_OK);
    }
    assert_int_equal(ps_dashboard_subscribe(dashboard, on_frame, &heard, &id), PS_ELIMIT);
    assert_int_equal(ps_dashboard_unsubscribe(dashboard, id), PS_OK);
    assert_int_equal(ps_dashboard_subscribe(dashboard, on_frame, &heard, &id), PS_OK);
    ps_dashboard_free(dashboard);
}

static void the_summary_is_the_same_for_scripts(void **state)
{
    struct ps_dashboard *dashboard = make();
    struct heard heard = {.dashboard = dashboard};
    char *text = NULL;
    uint64_t id;
    (void)state;
    assert_int_equal(ps_dashboard_summary(dashboard, &text), PS_OK); /* of nothing yet */
    ps_free(text);
    push(dashboard, "a", 1);
    push(dashboard, "a", 3);
    assert_int_equal(ps_dashboard_subscribe(dashboard, on_frame, &heard, &id), PS_OK);
    assert_int_equal(ps_dashboard_summary(dashboard, &text), PS_OK);
    json_t *summary = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    json_t *stats = json_object_get(json_object_get(summary, "stats"), "a");
    assert_true(json_number_value(json_object_get(stats, "mean")) == 2);
    assert_int_equal(json_integer_value(json_object_get(summary, "subscribers")), 1);
    json_decref(summary);
    ps_free(text);
    ps_dashboard_free(dashboard);
}

/* --- threads, forks, the default -------------------------------------------------------------- */

struct crowd {
    struct ps_dashboard *dashboard;
    atomic_int inside;
    atomic_bool gone;
};

static void on_crowd(void *ctx, const char *json, size_t len)
{
    struct crowd *crowd = ctx;
    (void)json;
    (void)len;
    assert_false(atomic_load(&crowd->gone));
    assert_int_equal(atomic_fetch_add(&crowd->inside, 1), 0); /* one after the other */
    atomic_fetch_sub(&crowd->inside, 1);
}

static void *push_many(void *ctx)
{
    struct crowd *crowd = ctx;
    for (int i = 0; i < 500; i++) {
        push(crowd->dashboard, "a", i);
    }
    return NULL;
}

static void *come_and_go(void *ctx)
{
    struct crowd *crowd = ctx;
    for (int i = 0; i < 300; i++) {
        struct crowd own = {.dashboard = crowd->dashboard};
        uint64_t id = 0;
        assert_int_equal(ps_dashboard_subscribe(crowd->dashboard, on_crowd, &own, &id), PS_OK);
        assert_int_equal(ps_dashboard_unsubscribe(crowd->dashboard, id), PS_OK);
        atomic_store(&own.gone, true); /* from here on its callback may not come */
    }
    return NULL;
}

static void *look_often(void *ctx)
{
    struct crowd *crowd = ctx;
    for (int i = 0; i < 200; i++) {
        struct ps_dashboard_stats stats;
        char *text;
        (void)ps_dashboard_stats(crowd->dashboard, "a", &stats);
        assert_int_equal(ps_dashboard_summary(crowd->dashboard, &text), PS_OK);
        ps_free(text);
    }
    return NULL;
}

static void all_threads_may_do_everything(void **state)
{
    void *(*const roles[])(void *) = {push_many, push_many, come_and_go, come_and_go, look_often};
    struct crowd crowd = {.dashboard = make()};
    pthread_t threads[5];
    uint64_t id;
    (void)state;
    assert_int_equal(ps_dashboard_subscribe(crowd.dashboard, on_crowd, &crowd, &id), PS_OK);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, roles[i], &crowd), 0);
    }
    for (size_t i = 0; i < 5; i++) {
        pthread_join(threads[i], NULL);
    }
    struct ps_dashboard_stats stats;
    assert_int_equal(ps_dashboard_stats(crowd.dashboard, "a", &stats), PS_OK);
    assert_int_equal(stats.count, 300);
    ps_dashboard_free(crowd.dashboard);
}

static void a_child_gets_nothing_of_its_parents(void **state)
{
    struct ps_dashboard *dashboard = ps_dashboard_default();
    int status = 0;
    (void)state;
    push(dashboard, "a", 1);
    pid_t child = fork();
    if (child == 0) {
        struct ps_dashboard_value one = {"a", 1};
        double value;
        bool closed = ps_dashboard_broadcast(dashboard, &one, 1) == PS_ECLOSED;
        bool fresh = ps_dashboard_default() != dashboard &&
                     ps_dashboard_current(ps_dashboard_default(), "a", &value) == PS_ENOTFOUND;
        _exit(closed && fresh ? 0 : 1);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ps_shutdown();
}

static void the_default_is_one_and_ends_with_the_library(void **state)
{
    double value;
    (void)state;
    assert_ptr_equal(ps_dashboard_default(), ps_dashboard_default());
    push(ps_dashboard_default(), "a", 1);
    ps_shutdown();
    assert_int_equal(ps_dashboard_current(ps_dashboard_default(), "a", &value), PS_ENOTFOUND);
    ps_shutdown();
    ps_dashboard_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_310_samples_exactly_the_latest_300_are_kept),
        cmocka_unit_test(what_a_sample_does_not_bring_is_a_gap),
        cmocka_unit_test(what_is_no_name_is_refused_whole),
        cmocka_unit_test(there_is_an_end_to_names),
        cmocka_unit_test(a_subscriber_hears_the_past_and_then_each_sample),
        cmocka_unit_test(a_subscriber_may_leave_while_it_is_called),
        cmocka_unit_test(there_is_an_end_to_subscribers),
        cmocka_unit_test(the_summary_is_the_same_for_scripts),
        cmocka_unit_test(all_threads_may_do_everything),
        cmocka_unit_test(a_child_gets_nothing_of_its_parents),
        cmocka_unit_test(the_default_is_one_and_ends_with_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
