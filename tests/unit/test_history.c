#include "observe/history.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rng.h"

#define START INT64_C(1800000000) /* a whole hour: 500000 of them */

static const char *const moods[] = {"calm", "busy", NULL};
static const double bounds[] = {1, 2, 4};

enum { GAUGE, COUNTER, EXPLICIT, EXPONENTIAL, STATES, INFO, LABELLED };

static const struct ps_metric_family rows[] = {
    [GAUGE] = {.name = "t_gauge", .type = PS_METRIC_GAUGE, .help = "h", .labels = {"a"}},
    [COUNTER] = {.name = "t_things_total", .type = PS_METRIC_COUNTER, .help = "h", .labels = {"a"}},
    [EXPLICIT] = {.name = "t_explicit", .type = PS_METRIC_HISTOGRAM, .help = "h", .bounds = bounds,
                  .bounds_count = 3},
    [EXPONENTIAL] = {.name = "t_exponential", .type = PS_METRIC_EXPONENTIAL, .help = "h"},
    [STATES] = {.name = "t_mood", .type = PS_METRIC_STATESET, .help = "h", .states = moods},
    [INFO] = {.name = "t_info", .type = PS_METRIC_INFO, .help = "h", .labels = {"a"}},
    [LABELLED] = {.name = "t_labelled", .type = PS_METRIC_GAUGE, .help = "h", .labels = {"x", "y"}},
    {0},
};

struct world {
    struct ps_clock clock;
    struct ps_metrics *metrics;
    struct ps_history *history;
};

static void open_world(struct world *world, size_t max_series)
{
    const struct ps_history_opts opts = {.max_series = max_series, .points = 300};
    ps_clock_init_manual(&world->clock, 0, START * PS_SECOND);
    struct ps_metrics_opts metrics = {.shards = 2, .clock = &world->clock};
    const char *bad;
    assert_int_equal(ps_metrics_new(&world->metrics, &metrics), PS_OK);
    assert_int_equal(ps_metrics_declare(world->metrics, rows, &bad), PS_OK);
    assert_int_equal(ps_history_new(&world->history, &opts), PS_OK);
}

static void close_world(struct world *world)
{
    ps_history_free(world->history);
    ps_metrics_free(world->metrics);
}

static int64_t now(const struct world *world)
{
    return ps_clock_wall(&world->clock) / PS_SECOND;
}

/* A second passes; what the registry says is written down. */
static void tick(struct world *world)
{
    ps_clock_advance(&world->clock, PS_SECOND);
    assert_true(ps_history_begin(world->history, now(world)));
    assert_int_equal(ps_history_collect(world->history, world->metrics, SIZE_MAX), PS_OK);
}

static double last(const struct world *world, const char *key)
{
    const struct ps_history_track *track = ps_history_find(world->history, ps_str_from(key));
    if (track == NULL) {
        fail_msg("there is no track %s", key);
    }
    return ps_history_at(world->history, track, ps_history_second(world->history));
}

static void assert_last(const struct world *world, const char *key, double expected)
{
    double value = last(world, key);
    if (isnan(expected) ? !isnan(value) : !(fabs(value - expected) < 1e-9)) {
        fail_msg("%s is %g, not %g", key, value, expected);
    }
}

static struct ps_history *new_history(size_t max_series)
{
    const struct ps_history_opts opts = {.max_series = max_series, .points = 300};
    struct ps_history *history;
    assert_int_equal(ps_history_new(&history, &opts), PS_OK);
    return history;
}

static void put(struct ps_history *history, const char *key, double value)
{
    assert_int_equal(ps_history_put(history, ps_str_from(key), value), PS_OK);
}

/* --- points ----------------------------------------------------------------------------------- */

static void the_latest_300_of_310_are_kept(void **state)
{
    (void)state;
    struct ps_history *history = new_history(10);
    for (int64_t i = 0; i < 310; i++) {
        assert_true(ps_history_begin(history, START + i));
        put(history, "gpu", (double)i);
    }
    const struct ps_history_track *track = ps_history_find(history, PS_STR("gpu"));
    for (int64_t i = 0; i < 310; i++) {
        double value = ps_history_at(history, track, START + i);
        i < 10 ? assert_true(isnan(value)) : assert_true(value == (double)i);
    }
    assert_true(isnan(ps_history_at(history, track, START + 310)));
    double values[300];
    ps_history_read(history, track, START + 10, 300, values);
    assert_true(values[0] == 10 && values[299] == 309);
    ps_history_free(history);
}

static void seconds_that_were_left_out_are_gaps(void **state)
{
    (void)state;
    struct ps_history *history = new_history(10);
    assert_true(ps_history_begin(history, START));
    put(history, "gpu", 1);
    assert_false(ps_history_begin(history, START));
    assert_true(ps_history_begin(history, START + 4));
    put(history, "gpu", 2);
    assert_true(ps_history_begin(history, START + 5)); /* nobody says anything */
    assert_true(ps_history_begin(history, START + 6));
    put(history, "gpu", NAN);
    assert_true(ps_history_begin(history, START + 7));
    put(history, "gpu", INFINITY);
    double values[8];
    ps_history_read(history, ps_history_find(history, PS_STR("gpu")), START, 8, values);
    for (int i = 0; i < 8; i++) {
        i == 0   ? assert_true(values[i] == 1)
        : i == 4 ? assert_true(values[i] == 2)
                 : assert_true(isnan(values[i]));
    }
    assert_true(ps_history_begin(history, START + 5000));
    ps_history_read(history, ps_history_find(history, PS_STR("gpu")), START + 4993, 8, values);
    for (int i = 0; i < 8; i++) {
        assert_true(isnan(values[i]));
    }
    ps_history_free(history);
}

static void time_set_back_forgets_what_lies_behind(void **state)
{
    (void)state;
    struct ps_history *history = new_history(10);
    for (int64_t i = 0; i < 20; i++) {
        assert_true(ps_history_begin(history, START + i));
        put(history, "gpu", (double)i);
    }
    assert_true(ps_history_begin(history, START + 10));
    put(history, "gpu", 100);
    const struct ps_history_track *track = ps_history_find(history, PS_STR("gpu"));
    assert_true(ps_history_at(history, track, START + 9) == 9);
    assert_true(ps_history_at(history, track, START + 10) == 100);
    assert_true(ps_history_begin(history, START + 12));
    track = ps_history_find(history, PS_STR("gpu"));
    assert_true(isnan(ps_history_at(history, track, START + 11)));
    assert_true(isnan(ps_history_at(history, track, START + 15)));
    assert_true(ps_history_begin(history, START - 100000));
    put(history, "gpu", 7);
    track = ps_history_find(history, PS_STR("gpu"));
    assert_true(ps_history_at(history, track, START - 100000) == 7);
    ps_history_free(history);
}

static void what_is_no_key_is_refused(void **state)
{
    (void)state;
    static const char *const good[] = {
        "gpu", "a:b", "x{a=\"v\"}", "rate(x{a=\"v\",b=\"w\"})", "p95(x)", "x{a=\"\\\\ \\\" \\n, } =\"}",
        "x{a=\"\xc3\xa4\"}", "rate"};
    static const char *const bad[] = {
        "", "1x", "x{", "x{}", "x{a}", "x{a=}", "x{a=\"v}", "x{a=\"v\"", "x{a=\"v\",}", "x{a=\"v\"} ",
        " x", "x{a=\"\\t\"}", "x{a=\"\n\"}", "x{a=\"\xff\"}", "sum(x)", "rate(rate(x))", "rate(x", "rate()",
        "x{a=\"v\"b=\"w\"}", "x{a:b=\"v\"}", "x)", "x{a=\"v\\"};
    struct ps_history *history = new_history(20);
    assert_true(ps_history_begin(history, START));
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        put(history, good[i], 1);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (ps_history_put(history, ps_str_from(bad[i]), 1) != PS_EINVAL) {
            fail_msg("taken for a key: %s", bad[i]);
        }
    }
    char *big = malloc(PS_HISTORY_KEY_MAX + 2);
    memset(big, 'a', PS_HISTORY_KEY_MAX + 1);
    assert_int_equal(ps_history_put(history, (struct ps_str){big, PS_HISTORY_KEY_MAX}, 1), PS_OK);
    assert_int_equal(ps_history_put(history, (struct ps_str){big, PS_HISTORY_KEY_MAX + 1}, 1),
                     PS_EINVAL);
    free(big);
    const struct ps_history_track *track = ps_history_find(history, PS_STR("rate(x{a=\"v\",b=\"w\"})"));
    assert_int_equal(track->of, PS_HISTORY_RATE);
    assert_true(ps_str_eq(track->name, PS_STR("x")));
    assert_true(ps_str_eq(track->labels, PS_STR("a=\"v\",b=\"w\"")));
    ps_history_free(history);
}

/* --- places ----------------------------------------------------------------------------------- */

static size_t times_full;

static void on_full(void *ctx, struct ps_str key)
{
    (void)ctx;
    assert_true(ps_str_eq(key, PS_STR("k3")));
    times_full++;
}

static void what_does_not_fit_is_counted_and_told_once(void **state)
{
    (void)state;
    struct ps_history *history = new_history(3);
    times_full = 0;
    ps_history_on_full(history, on_full, NULL);
    assert_true(ps_history_begin(history, START));
    for (int i = 0; i < 10; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(ps_history_put(history, ps_str_from(key), i), i < 3 ? PS_OK : PS_ELIMIT);
    }
    assert_int_equal(ps_history_count(history), 3);
    assert_int_equal(ps_history_refused(history), 7);
    assert_int_equal(times_full, 1);
    ps_history_free(history);
}

static void take_all_minutes(struct ps_history *history)
{
    struct ps_history_minute minute;
    struct ps_history_hour hour;
    do {
        while (ps_history_take_minute(history, &minute)) {
        }
    } while (ps_history_take_hour(history, &hour));
}

static void a_track_that_is_gone_gives_its_place_back(void **state)
{
    (void)state;
    struct ps_history *history = new_history(2);
    assert_true(ps_history_begin(history, START));
    put(history, "gone", 1);
    put(history, "here", 1);
    for (int64_t i = 1; i < 300; i++) {
        assert_true(ps_history_begin(history, START + i));
        put(history, "here", NAN); /* known, though its value is not */
        take_all_minutes(history);
    }
    assert_true(ps_history_at(history, ps_history_find(history, PS_STR("gone")), START) == 1);
    assert_int_equal(ps_history_put(history, PS_STR("new"), 1), PS_ELIMIT);
    for (int64_t i = 300; i < 320; i++) {
        assert_true(ps_history_begin(history, START + i));
        put(history, "here", NAN);
        take_all_minutes(history);
    }
    assert_null(ps_history_find(history, PS_STR("gone")));
    put(history, "new", 5);
    const struct ps_history_track *track = ps_history_find(history, PS_STR("new"));
    for (int64_t i = 0; i < 319; i++) { /* nothing of its predecessor shows */
        assert_true(isnan(ps_history_at(history, track, START + i)));
    }
    assert_non_null(ps_history_find(history, PS_STR("here")));
    ps_history_free(history);
}

/* --- the registry ----------------------------------------------------------------------------- */

static void a_counter_is_a_rate(void **state)
{
    (void)state;
    struct world world;
    struct ps_counter *old;
    struct ps_counter *young;
    open_world(&world, 100);
    assert_int_equal(ps_metric_counter(world.metrics, &rows[COUNTER], PS_LABELS(PS_STR("old")), &old), PS_OK);
    ps_counter_add_shared(old, 1000);
    ps_clock_advance(&world.clock, 5 * PS_SECOND);
    tick(&world);
    assert_last(&world, "rate(t_things_total{a=\"old\"})", NAN); /* how many of them in this second? */
    ps_counter_add_shared(old, 7);
    tick(&world);
    assert_last(&world, "rate(t_things_total{a=\"old\"})", 7);
    assert_int_equal(ps_metric_counter(world.metrics, &rows[COUNTER], PS_LABELS(PS_STR("young")), &young), PS_OK);
    ps_counter_add_shared(young, 3);
    tick(&world);
    assert_last(&world, "rate(t_things_total{a=\"old\"})", 0);
    assert_last(&world, "rate(t_things_total{a=\"young\"})", 3); /* it began within the second */
    ps_counter_add_shared(old, 40);
    ps_clock_advance(&world.clock, 3 * PS_SECOND); /* held up: four seconds in all */
    tick(&world);
    assert_last(&world, "rate(t_things_total{a=\"old\"})", 10);
    close_world(&world);
}

static double counted;

static double read_counted(void *context)
{
    (void)context;
    return counted;
}

static void a_counter_that_begins_anew_is_a_gap(void **state)
{
    (void)state;
    static const double values[] = {500, 510, 3, 5, NAN, 9, 10};
    static const double rates[] = {NAN, 10, NAN, 2, NAN, NAN, 1};
    struct world world;
    struct ps_metric_handle *handle;
    open_world(&world, 100);
    counted = NAN;
    assert_int_equal(ps_metric_watch(world.metrics, &rows[COUNTER], PS_LABELS(PS_STR("w")), read_counted, &world, &handle), PS_OK);
    tick(&world);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        counted = values[i];
        tick(&world);
        assert_last(&world, "rate(t_things_total{a=\"w\"})", rates[i]);
    }
    ps_metric_unwatch(world.metrics, handle, &world);
    close_world(&world);
}

static void gauges_and_states_are_as_they_are(void **state)
{
    (void)state;
    struct world world;
    struct ps_gauge *gauge;
    struct ps_gauge *labelled;
    struct ps_stateset *mood;
    struct ps_metric_handle *info;
    open_world(&world, 100);
    assert_int_equal(ps_metric_gauge(world.metrics, &rows[GAUGE], PS_LABELS(PS_STR("a\"b\\c\nd")), &gauge), PS_OK);
    assert_int_equal(ps_metric_gauge(world.metrics, &rows[LABELLED], PS_LABELS(PS_STR(""), PS_STR("2")), &labelled), PS_OK);
    assert_int_equal(ps_metric_stateset(world.metrics, &rows[STATES], NULL, &mood), PS_OK);
    assert_int_equal(ps_metric_info(world.metrics, &rows[INFO], PS_LABELS(PS_STR("v")), &info), PS_OK);
    ps_gauge_set(gauge, 12345678901.25);
    ps_gauge_set(labelled, -3);
    ps_stateset_set(mood, 2);
    tick(&world);
    assert_last(&world, "t_gauge{a=\"a\\\"b\\\\c\\nd\"}", 12345678901.25);
    assert_last(&world, "t_labelled{y=\"2\"}", -3);
    assert_last(&world, "t_mood{t_mood=\"calm\"}", 0);
    assert_last(&world, "t_mood{t_mood=\"busy\"}", 1);
    assert_null(ps_history_find(world.history, PS_STR("t_info{a=\"v\"}")));
    assert_int_equal(ps_metrics_drop(world.metrics, "y", PS_STR("2")), 1);
    tick(&world);
    assert_last(&world, "t_labelled{y=\"2\"}", NAN);
    const struct ps_history_track *track = ps_history_find(world.history, PS_STR("t_gauge{a=\"a\\\"b\\\\c\\nd\"}"));
    assert_true(ps_history_key_has(track->labels, PS_STR("a"), PS_STR("a\"b\\c\nd")));
    assert_false(ps_history_key_has(track->labels, PS_STR("a"), PS_STR("a")));
    close_world(&world);
}

static void a_histogram_tells_of_the_second_alone(void **state)
{
    (void)state;
    struct world world;
    struct ps_histogram *histogram;
    open_world(&world, 100);
    assert_int_equal(ps_metric_histogram(world.metrics, &rows[EXPLICIT], NULL, &histogram), PS_OK);
    for (int i = 0; i < 1000; i++) {
        ps_histogram_observe_shared(histogram, 100);
    }
    ps_clock_advance(&world.clock, 5 * PS_SECOND);
    tick(&world);
    assert_last(&world, "rate(t_explicit)", NAN);
    tick(&world);
    assert_last(&world, "rate(t_explicit)", 0);
    assert_last(&world, "mean(t_explicit)", NAN); /* nothing was observed: there is no mean, nor 0 */
    assert_last(&world, "p95(t_explicit)", NAN);
    for (int i = 0; i < 100; i++) {
        ps_histogram_observe_shared(histogram, i < 50 ? 0.5 : i < 98 ? 3 : 10);
    }
    tick(&world);
    assert_last(&world, "rate(t_explicit)", 100);
    assert_last(&world, "mean(t_explicit)", (50 * 0.5 + 48 * 3 + 2 * 10) / 100);
    assert_last(&world, "p50(t_explicit)", 1);
    assert_last(&world, "p95(t_explicit)", 2 + 2 * 45.0 / 48);
    assert_last(&world, "p99(t_explicit)", 4); /* beyond the last bound nobody knows more */
    close_world(&world);
}

static void an_exponential_histogram_is_near(void **state)
{
    (void)state;
    struct world world;
    struct ps_histogram *histogram;
    open_world(&world, 100);
    assert_int_equal(ps_metric_histogram(world.metrics, &rows[EXPONENTIAL], NULL, &histogram), PS_OK);
    ps_histogram_observe_shared(histogram, 1e6);
    tick(&world);
    for (int i = 1; i <= 1000; i++) {
        ps_histogram_observe_shared(histogram, i);
    }
    tick(&world);
    assert_last(&world, "rate(t_exponential)", 1000);
    assert_last(&world, "mean(t_exponential)", 500.5);
    assert_true(fabs(last(&world, "p50(t_exponential)") - 500) < 500 * 0.1);
    assert_true(fabs(last(&world, "p99(t_exponential)") - 990) < 990 * 0.1);
    for (int i = 0; i < 100; i++) {
        ps_histogram_observe_shared(histogram, i < 90 ? -5 : 1e-9); /* the scale falls */
    }
    tick(&world);
    assert_last(&world, "rate(t_exponential)", 100);
    assert_true(fabs(last(&world, "p50(t_exponential)") + 5) < 5 * 0.2);
    assert_true(fabs(last(&world, "p95(t_exponential)") - 1e-9) < 1e-9 * 0.2);
    close_world(&world);
}

static void a_walk_in_slices_sees_the_same(void **state)
{
    (void)state;
    struct world world;
    struct ps_gauge *gauge[500];
    open_world(&world, 1000);
    for (int i = 0; i < 500; i++) {
        char text[8];
        snprintf(text, sizeof text, "%d", i);
        assert_int_equal(ps_metric_gauge(world.metrics, &rows[GAUGE], PS_LABELS(ps_str_from(text)), &gauge[i]), PS_OK);
        ps_gauge_set(gauge[i], i);
    }
    ps_clock_advance(&world.clock, PS_SECOND);
    assert_true(ps_history_begin(world.history, now(&world)));
    int slices = 1;
    while (ps_history_collect(world.history, world.metrics, 100) == PS_EBUSY) {
        if (slices++ == 2) { /* the one where the walk stands goes, and others */
            for (int i = 120; i < 140; i++) {
                char text[8];
                snprintf(text, sizeof text, "%d", i);
                assert_int_equal(ps_metrics_drop(world.metrics, "a", ps_str_from(text)), 1);
            }
        }
    }
    assert_true(slices >= 4);
    for (int i = 0; i < 500; i++) {
        char key[32];
        snprintf(key, sizeof key, "t_gauge{a=\"%d\"}", i);
        if (i < 100 || i > 260) {
            assert_last(&world, key, i);
        }
    }
    ps_clock_advance(&world.clock, PS_SECOND);
    assert_true(ps_history_begin(world.history, now(&world)));
    assert_int_equal(ps_history_collect(world.history, world.metrics, 100), PS_EBUSY); /* and is left there */
    for (int i = 0; i < 500; i++) {
        ps_metric_put(world.metrics, &gauge[i]->handle);
    }
    close_world(&world);
}

static void a_flood_of_series_takes_no_more_than_there_is(void **state)
{
    (void)state;
    struct world world;
    open_world(&world, 50);
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < 600; i++) {
            char text[16];
            struct ps_gauge *gauge;
            snprintf(text, sizeof text, "%d-%d", turn, i);
            assert_int_equal(ps_metric_gauge(world.metrics, &rows[GAUGE], PS_LABELS(ps_str_from(text)), &gauge), PS_OK);
            ps_gauge_set(gauge, i);
        }
        tick(&world);
    }
    assert_int_equal(ps_history_count(world.history), 50);
    assert_true(ps_history_refused(world.history) >= 550 + 1150 + 1750);
    close_world(&world);
}

/* --- rollups ---------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

static void assert_roll(const double *values, size_t count, const struct ps_history_roll *roll)
{
    double known[300];
    size_t n = 0;
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            known[n++] = values[i];
            sum += values[i];
        }
    }
    double final = known[n - 1];
    qsort(known, n, sizeof known[0], ascending);
    assert_int_equal(roll->count, n);
    assert_true(roll->min == known[0] && roll->max == known[n - 1] && roll->last == final);
    assert_true(fabs(roll->mean - sum / (double)n) <= 1e-9 * fabs(sum));
    assert_true(roll->p95 == known[(size_t)ceil(0.95 * (double)n) - 1]);
}

static void minutes_are_exact(void **state)
{
    (void)state;
    struct ps_history *history = new_history(4);
    struct ps_rng rng = ps_rng_make(7);
    double values[60];
    size_t minutes = 0;
    for (int64_t second = START; second < START + 86400; second++) { /* a day */
        struct ps_history_minute minute;
        assert_true(ps_history_begin(history, second));
        while (ps_history_take_minute(history, &minute)) {
            assert_int_equal(minute.start, second - 60);
            assert_roll(values, 60, &minute.roll);
            minutes++;
        }
        struct ps_history_hour hour;
        while (ps_history_take_hour(history, &hour)) {
        }
        double value = ps_rng_unit(&rng) < 0.1 ? NAN : floor(ps_rng_unit(&rng) * 20) - 5;
        values[second % 60] = second % 60 == 0 ? 1 : value;
        put(history, "x", values[second % 60]);
        put(history, "never", NAN);
    }
    assert_int_equal(minutes, 1439);
    ps_history_finish(history);
    struct ps_history_minute minute;
    assert_true(ps_history_take_minute(history, &minute));
    assert_roll(values, 60, &minute.roll);
    assert_false(ps_history_take_minute(history, &minute));
    ps_history_free(history);
}

/* Values that lie within a factor, and how far off an hour's p95 may be then. */
static void walk_hour(struct ps_rng *rng, double spread, double most)
{
    struct ps_history *history = new_history(2);
    double *values = calloc(3600, sizeof *values);
    struct ps_history_minute minute;
    struct ps_history_hour hour;
    size_t hours = 0;
    for (int64_t i = 0; i < 3602; i++) {
        assert_true(ps_history_begin(history, START + i));
        while (ps_history_take_minute(history, &minute)) {
        }
        while (ps_history_take_hour(history, &hour)) {
            qsort(values, 3600, sizeof values[0], ascending);
            double exact = values[3420 - 1];
            hours++;
            assert_int_equal(hour.start, START);
            assert_int_equal(hour.count, 3600);
            assert_true(fabs(hour.p95 - exact) <= most * exact);
        }
        double value = pow(spread, ps_rng_unit(rng));
        if (i < 3600) {
            values[i] = value;
        }
        put(history, "x", value);
    }
    assert_int_equal(hours, 1);
    free(values);
    ps_history_free(history);
}

static void the_p95_of_an_hour_is_as_near_as_promised(void **state)
{
    (void)state;
    struct ps_rng rng = ps_rng_make(11);
    for (int i = 0; i < 20; i++) {
        walk_hour(&rng, 30, 0.011);
        walk_hour(&rng, 1000, 0.022);
        walk_hour(&rng, 1e6, 0.044);
    }
}

static void a_stop_in_between_leaves_its_minutes_out(void **state)
{
    (void)state;
    struct ps_history *history = new_history(2);
    struct ps_history_minute minute;
    struct ps_history_hour hour;
    for (int64_t i = 0; i < 90; i++) {
        assert_true(ps_history_begin(history, START + i));
        put(history, "x", (double)i);
    }
    assert_true(ps_history_begin(history, START + 7250)); /* two hours and 50 s later */
    put(history, "x", 1);
    assert_false(ps_history_take_minute(history, &minute)); /* its rows are gone by now */
    while (ps_history_take_hour(history, &hour)) {
        fail_msg("of what no minute was taken there is no hour");
    }
    for (int64_t i = 7251; i < 7265; i++) {
        assert_true(ps_history_begin(history, START + i));
        put(history, "x", 2);
    }
    assert_false(ps_history_take_minute(history, &minute)); /* an hour is to be taken before */
    assert_false(ps_history_take_hour(history, &hour));
    assert_true(ps_history_take_minute(history, &minute));
    assert_int_equal(minute.start, START + 7200);
    assert_int_equal(minute.roll.count, 10);
    ps_history_free(history);
}

static void a_window_may_be_any(void **state)
{
    (void)state;
    struct ps_history *history = new_history(2);
    struct ps_history_roll roll;
    for (int64_t i = 0; i < 400; i++) {
        assert_true(ps_history_begin(history, START + i));
        put(history, "x", (double)i);
    }
    const struct ps_history_track *track = ps_history_find(history, PS_STR("x"));
    ps_history_roll(history, track, START + 390, START + 1000, &roll);
    assert_true(roll.count == 10 && roll.min == 390 && roll.max == 399 && roll.last == 399);
    ps_history_roll(history, track, 0, START + 101, &roll);
    assert_true(roll.count == 1 && roll.p95 == 100);
    ps_history_roll(history, track, 0, START + 100, &roll);
    assert_true(roll.count == 0 && isnan(roll.mean) && isnan(roll.p95));
    ps_history_free(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_latest_300_of_310_are_kept),
        cmocka_unit_test(seconds_that_were_left_out_are_gaps),
        cmocka_unit_test(time_set_back_forgets_what_lies_behind),
        cmocka_unit_test(what_is_no_key_is_refused),
        cmocka_unit_test(what_does_not_fit_is_counted_and_told_once),
        cmocka_unit_test(a_track_that_is_gone_gives_its_place_back),
        cmocka_unit_test(a_counter_is_a_rate),
        cmocka_unit_test(a_counter_that_begins_anew_is_a_gap),
        cmocka_unit_test(gauges_and_states_are_as_they_are),
        cmocka_unit_test(a_histogram_tells_of_the_second_alone),
        cmocka_unit_test(an_exponential_histogram_is_near),
        cmocka_unit_test(a_walk_in_slices_sees_the_same),
        cmocka_unit_test(a_flood_of_series_takes_no_more_than_there_is),
        cmocka_unit_test(minutes_are_exact),
        cmocka_unit_test(the_p95_of_an_hour_is_as_near_as_promised),
        cmocka_unit_test(a_stop_in_between_leaves_its_minutes_out),
        cmocka_unit_test(a_window_may_be_any),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
