/* test_penstock_metric - the metrics of the library, through its public header alone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <penstock/penstock.h>

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char text[1 << 20];

static const char *render(struct ps_metric_page *page, enum ps_metric_format format)
{
    size_t len;
    assert_int_equal(ps_metric_render(page, format, text, sizeof text - 1, &len), PS_OK);
    text[len] = '\0';
    return text;
}

static void assert_shows(struct ps_metric_page *page, const char *line)
{
    if (strstr(render(page, PS_METRIC_FORMAT_OPENMETRICS), line) == NULL) {
        fail_msg("missing %s", line);
    }
}

static int setup(void **state)
{
    return ps_metric_page_new((struct ps_metric_page **)state);
}

static int teardown(void **state)
{
    ps_metric_page_free(*state);
    return 0;
}

static struct ps_metric *metric_of(struct ps_metric_page *page, const char *name,
                                   enum ps_metric_kind kind, const char *const *labels)
{
    const struct ps_metric_about about = {
        .name = name, .kind = kind, .help = "x", .labels = labels};
    struct ps_metric *metric = NULL;
    assert_int_equal(ps_metric_register(page, &about, &metric), PS_OK);
    return metric;
}

static struct ps_metric_bound *bound_of(struct ps_metric_page *page, const char *name,
                                        enum ps_metric_kind kind)
{
    struct ps_metric_bound *bound = NULL;
    assert_int_equal(ps_metric_bind(metric_of(page, name, kind, NULL), NULL, &bound), PS_OK);
    return bound;
}

/* ---- cases */

static void each_kind_is_moved_by_its_own_calls(void **state)
{
    struct ps_metric_page *page = *state;
    struct ps_metric_bound *counter = bound_of(page, "c_total", PS_METRIC_KIND_COUNTER);
    struct ps_metric_bound *gauge = bound_of(page, "g", PS_METRIC_KIND_GAUGE);
    struct ps_metric_bound *waits = bound_of(page, "h", PS_METRIC_KIND_HISTOGRAM);
    struct ps_metric_bound *spread = bound_of(page, "e", PS_METRIC_KIND_EXPONENTIAL);
    ps_metric_add(counter, 1.5);
    ps_metric_add(counter, -1);
    ps_metric_add(counter, NAN);
    ps_metric_set(counter, 7);
    ps_metric_observe(counter, 7);
    assert_shows(page, "\nc_total 1.5\n");
    ps_metric_add(gauge, 2);
    ps_metric_add(gauge, -5);
    assert_shows(page, "\ng -3\n");
    ps_metric_set(gauge, NAN);
    assert_null(strstr(render(page, PS_METRIC_FORMAT_TEXT), "\ng "));
    ps_metric_observe(waits, 0.3);
    ps_metric_observe(waits, INFINITY);
    assert_shows(page, "\nh_count 1\n");
    ps_metric_observe(spread, 3);
    assert_shows(page, "\ne_count 1\n");
}

static void label_values_are_in_the_order_of_the_names_that_were_given(void **state)
{
    static const char *const names[] = {"z", "a", NULL}, *const other[] = {"a", "z", NULL};
    static const char *const values[] = {"last", "first"}, *const turned[] = {"first", "last"};
    struct ps_metric_bound *bound, *same;
    struct ps_metric *metric = metric_of(*state, "jobs_total", PS_METRIC_KIND_COUNTER, names);
    struct ps_metric *again = metric_of(*state, "jobs_total", PS_METRIC_KIND_COUNTER, other);
    assert_int_equal(ps_metric_bind(metric, values, &bound), PS_OK);
    ps_metric_add(bound, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ps_metric_find(again, turned, &same), PS_OK);
        ps_metric_add(same, 1);
    }
    assert_shows(*state, "\njobs_total{a=\"first\",z=\"last\"} 4\n");
}

static void states_and_infos_are_shown(void **state)
{
    static const char *const states[] = {"on", "off", NULL}, *const labels[] = {"version", NULL};
    static const char *const one[] = {"1\"2"};
    const struct ps_metric_about about = {
        .name = "valve", .kind = PS_METRIC_KIND_STATESET, .states = states};
    struct ps_metric_bound *bound;
    struct ps_metric *metric;
    assert_int_equal(ps_metric_register(*state, &about, &metric), PS_OK);
    assert_int_equal(ps_metric_bind(metric, NULL, &bound), PS_OK);
    ps_metric_state(bound, 2);
    assert_shows(*state, "\nvalve{valve=\"off\"} 1\n");
    assert_int_equal(
        ps_metric_bind(metric_of(*state, "app_info", PS_METRIC_KIND_INFO, labels), one, &bound),
        PS_OK);
    assert_shows(*state, "\napp_info{version=\"1\\\"2\"} 1\n");
}

static void a_trace_leads_from_a_bucket(void **state)
{
    static const unsigned char trace[16] = {0x4b, 0xf9}, none[16] = {0};
    struct ps_metric_bound *waits = bound_of(*state, "h", PS_METRIC_KIND_HISTOGRAM);
    ps_metric_observe(waits, 0.3);
    ps_metric_trace(waits, 0.3, none, NULL);
    assert_null(strstr(render(*state, PS_METRIC_FORMAT_OPENMETRICS), "trace_id"));
    ps_metric_trace(waits, 0.3, trace, NULL);
    assert_shows(*state, "# {trace_id=\"4bf90000000000000000000000000000\"} 0.3 ");
}

static void what_is_wrong_is_said(void **state)
{
    static const double falling[] = {2, 1};
    static const char *const many[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", NULL};
    const struct {
        struct ps_metric_about about;
        int err;
        const char *why;
    } rows[] = {
        {{.name = "a b"}, PS_EINVAL, "_total"},
        {{.name = "x", .kind = PS_METRIC_KIND_COUNTER}, PS_EINVAL, "ends with _total"},
        {{.name = "penstock_x", .kind = PS_METRIC_KIND_GAUGE}, PS_EINVAL, "program's own"},
        {{.name = "x", .kind = PS_METRIC_KIND_GAUGE, .unit = "seconds"}, PS_EINVAL, "unit"},
        {{.name = "x", .kind = PS_METRIC_KIND_GAUGE, .labels = many}, PS_EINVAL, "8 labels"},
        {{.name = "x", .kind = PS_METRIC_KIND_HISTOGRAM, .bounds = falling, .bounds_count = 2},
         PS_EINVAL,
         "rise"},
        {{.name = "x", .kind = PS_METRIC_KIND_STATESET}, PS_EINVAL, "states"},
        {{.name = "x", .kind = (enum ps_metric_kind)99}, PS_EINVAL, "kind"},
        {{.name = NULL}, PS_EINVAL, "name"},
        {{.name = "g", .kind = PS_METRIC_KIND_HISTOGRAM}, PS_EBUSY, "type gauge"},
    };
    (void)bound_of(*state, "g", PS_METRIC_KIND_GAUGE);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ps_metric *metric = NULL;
        assert_int_equal(ps_metric_register(*state, &rows[i].about, &metric), rows[i].err);
        assert_null(metric);
        if (strstr(ps_last_error(), rows[i].why) == NULL) {
            fail_msg("row %zu says %s", i, ps_last_error());
        }
    }
}

static void a_page_that_is_too_large_tells_its_size(void **state)
{
    size_t len = 0, again = 0;
    ps_metric_add(bound_of(*state, "c_total", PS_METRIC_KIND_COUNTER), 1);
    assert_int_equal(ps_metric_render(*state, PS_METRIC_FORMAT_TEXT, text, 5, &len), PS_ELIMIT);
    assert_int_equal(ps_metric_render(*state, PS_METRIC_FORMAT_TEXT, text, len, &again), PS_OK);
    assert_int_equal(len, again);
    assert_int_equal(ps_metric_negotiate(NULL), PS_METRIC_FORMAT_TEXT);
    assert_int_equal(ps_metric_negotiate("application/openmetrics-text"),
                     PS_METRIC_FORMAT_OPENMETRICS);
    assert_non_null(strstr(ps_metric_content_type(PS_METRIC_FORMAT_PROTOBUF), "protobuf"));
}

/* ---- threads */

enum { THREADS = 200, MOVES = 500 }; /* more than there are shards */

static pthread_barrier_t all_here;

static void *move(void *context)
{
    struct ps_metric_bound **bound = context;
    ps_metric_add(bound[0], 1);
    pthread_barrier_wait(&all_here);
    for (int i = 1; i < MOVES; i++) {
        ps_metric_add(bound[0], 1);
        ps_metric_observe(bound[1], i);
    }
    return NULL;
}

static void no_move_of_any_thread_is_lost(void **state)
{
    pthread_t threads[THREADS];
    struct ps_metric_bound *bound[] = {bound_of(*state, "c_total", PS_METRIC_KIND_COUNTER),
                                       bound_of(*state, "e", PS_METRIC_KIND_EXPONENTIAL)};
    pthread_barrier_init(&all_here, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, move, bound), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&all_here);
    assert_shows(*state, "\nc_total 100000\n");
    assert_shows(*state, "\ne_count 99800\n");
}

static int in_a_child(struct ps_metric_page *page, struct ps_metric_bound *bound)
{
    size_t len;
    struct ps_metric_page *own = ps_metric_default();
    ps_metric_add(bound, 1);
    if (ps_metric_render(page, PS_METRIC_FORMAT_TEXT, text, sizeof text, &len) != PS_ECLOSED ||
        own == NULL) {
        return 1;
    }
    ps_metric_add(bound_of(own, "mine_total", PS_METRIC_KIND_COUNTER), 1);
    ps_metric_page_free(page);
    return strstr(render(own, PS_METRIC_FORMAT_TEXT), "\nmine_total 1\n") == NULL ? 2 : 0;
}

static void a_child_has_a_page_of_its_own(void **state)
{
    struct ps_metric_bound *bound = bound_of(*state, "c_total", PS_METRIC_KIND_COUNTER);
    int status;
    ps_metric_add(bound, 1);
    pid_t child = fork();
    if (child == 0) {
        _exit(in_a_child(*state, bound));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_shows(*state, "\nc_total 1\n");
}

static void the_default_page_is_one(void **state)
{
    (void)state;
    struct ps_metric_page *page = ps_metric_default();
    assert_non_null(page);
    assert_ptr_equal(ps_metric_default(), page);
    ps_metric_add(bound_of(page, "c_total", PS_METRIC_KIND_COUNTER), 1);
    ps_shutdown();
    assert_null(strstr(render(ps_metric_default(), PS_METRIC_FORMAT_TEXT), "c_total"));
    ps_shutdown();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_kind_is_moved_by_its_own_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(label_values_are_in_the_order_of_the_names_that_were_given,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(states_and_infos_are_shown, setup, teardown),
        cmocka_unit_test_setup_teardown(a_trace_leads_from_a_bucket, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(a_page_that_is_too_large_tells_its_size, setup, teardown),
        cmocka_unit_test_setup_teardown(no_move_of_any_thread_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(a_child_has_a_page_of_its_own, setup, teardown),
        cmocka_unit_test(the_default_page_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
