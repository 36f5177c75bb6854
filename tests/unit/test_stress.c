/* test_stress - the search finds how much a service carries, whose curve is known, and never more than that.
 *
 * Services in virtual time (helpers/service.h): a search of ten minutes takes a few milliseconds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "load/stress.h"
#include "../helpers/service.h"

static const struct service_opts queue = {.kind = SERVICE_QUEUE, .servers = 16, .mean = 0.04, .shape = 1};
static const struct service_opts batch = {.kind = SERVICE_BATCH, .servers = 32, .mean = 0.05, .each = 0.002, .shape = 4};
static const struct service_opts crowd = {.kind = SERVICE_CROWD, .mean = 0.4, .each = 1e-5};
static const struct service_opts loss = {
    .kind = SERVICE_LOSS, .servers = 50, .mean = 0.1, .shape = 2, .poisson = true, .max_error = 0.01};
static const struct service_opts limit = {
    .kind = SERVICE_LIMIT, .servers = 230, .mean = 0.02, .shape = 1, .max_error = 0.01};

static const struct ps_stress_opts by_default = {.from = 10, .most = 100000, .max_error = 0.01, .min_good = 0.95};

struct found {
    struct ps_stress_result result;
    double seconds;
    size_t levels;
    struct ps_stress_level level[PS_STRESS_LEVELS_MAX];
};

/* Searches; at `until` seconds (0 = never) it is ended early. */
static struct found search(const struct service_opts *opts, const struct ps_stress_opts *how, unsigned seed, double until)
{
    struct service_opts seeded = *opts;
    seeded.seed = seed;
    struct service service;
    service_init(&service, &seeded);
    struct ps_stress *stress = NULL;
    assert_int_equal(ps_stress_new(&stress, how), PS_OK);
    while (!ps_stress_is_over(stress)) {
        struct ps_second row = service_second(&service, ps_stress_rate(stress));
        ps_stress_push(stress, &row);
        if (until > 0 && row.at >= until) {
            ps_stress_end(stress);
        }
    }
    struct found found = {.result = ps_stress_result(stress), .seconds = service.now};
    const struct ps_stress_level *levels = ps_stress_levels(stress, &found.levels);
    memcpy(found.level, levels, found.levels * sizeof *levels);
    assert_true(ps_stress_rate(stress) == 0);
    ps_stress_free(stress);
    service_fini(&service);
    return found;
}

struct score {
    unsigned close, covered, runs;
    double longest;
    enum ps_stress_signal signal; /* of the last */
    size_t fewest;
};

static struct score score(const struct service_opts *opts, bool quick, unsigned seeds, double within)
{
    struct ps_stress_opts how = by_default;
    how.quick = quick;
    struct score score = {.fewest = SIZE_MAX};
    double truth = service_most(opts);
    for (unsigned seed = 1; seed <= seeds; seed++) {
        struct found found = search(opts, &how, seed, 0);
        score.runs++;
        score.close += fabs(found.result.breaking_point / truth - 1) <= within;
        score.covered += found.result.low <= truth && truth <= found.result.high;
        score.longest = fmax(score.longest, found.seconds);
        score.signal = found.result.signal;
        score.fewest = found.levels < score.fewest ? found.levels : score.fewest;
    }
    return score;
}

static void check(const struct service_opts *opts)
{
    struct score thorough = score(opts, false, 20, 0.05);
    assert_int_equal(thorough.close, thorough.runs);
    assert_true(thorough.longest <= 600);
    assert_true(thorough.fewest >= PS_STRESS_LEAST);
    assert_true(thorough.covered * 100 >= thorough.runs * 65);
    struct score quick = score(opts, true, 100, 0.1);
    assert_true(quick.close * 100 >= quick.runs * 94);
    assert_true(quick.longest < 60);
}

static void a_queue_with_servers(void **state)
{
    (void)state;
    check(&queue);
}

static void a_server_of_batches(void **state)
{
    (void)state;
    check(&batch);
}

static void a_crowd_that_hinders_itself(void **state)
{
    (void)state;
    check(&crowd);
}

static void a_service_without_a_queue_errs(void **state)
{
    (void)state;
    check(&loss);
    assert_int_equal(score(&loss, false, 1, 1).signal, PS_STRESS_ERRORS);
}

static void a_limit_of_the_rate_is_an_error(void **state)
{
    (void)state;
    check(&limit);
    assert_int_equal(score(&limit, false, 1, 1).signal, PS_STRESS_ERRORS);
}

static void a_level_begins_when_the_one_before_has_drained(void **state)
{
    (void)state;
    struct service service;
    service_init(&service, &queue);
    struct ps_stress *stress = NULL;
    assert_int_equal(ps_stress_new(&stress, &by_default), PS_OK);
    bool drained = false;
    bool crowded = false;
    double calm = 1;
    while (!ps_stress_is_over(stress)) {
        bool waits = strcmp(ps_stress_phase(stress), "drain") == 0;
        struct ps_second row = service_second(&service, ps_stress_rate(stress));
        crowded = crowded || row.in_flight > 100;
        ps_stress_push(stress, &row);
        size_t count = 0;
        const struct ps_stress_level *levels = ps_stress_levels(stress, &count);
        for (size_t i = 0; i < count; i++) {
            calm = levels[i].verdict == PS_STRESS_HOLDS ? fmax(calm, levels[i].in_flight) : calm;
        }
        if (waits && ps_stress_rate(stress) > 0) {
            assert_true((double)row.in_flight <= calm);
            drained = true;
        }
    }
    assert_true(crowded && drained);
    ps_stress_free(stress);
    service_fini(&service);
}

static void a_staircase_is_literal(void **state)
{
    (void)state;
    struct ps_stress_opts how = by_default;
    how.step = 50;
    how.every = 20;
    how.from = 50;
    struct found found = search(&queue, &how, 3, 0);
    assert_in_range(found.levels, 8, 9);
    for (size_t i = 0; i < found.levels; i++) {
        assert_true(fabs(found.level[i].rate - 50.0 * (double)(i + 1)) < 1e-9);
        assert_true(fabs(found.level[i].seconds - 20) < 1e-6);
    }
    assert_true(fabs(found.result.breaking_point / 400 - 1) < 0.1);
}

static void a_staircase_has_five_levels_even_if_the_first_breaks(void **state)
{
    (void)state;
    struct ps_stress_opts how = by_default;
    how.step = how.from = 500;
    how.every = 10;
    struct found found = search(&queue, &how, 3, 0);
    assert_int_equal(found.levels, PS_STRESS_LEAST);
    assert_true(isnan(found.result.breaking_point) && isnan(found.result.held) && found.result.broke == 500);
}

static void what_holds_to_the_end_has_no_breaking_point(void **state)
{
    (void)state;
    struct ps_stress_opts how = by_default;
    how.most = 200;
    struct found found = search(&queue, &how, 1, 0);
    assert_true(isnan(found.result.breaking_point) && found.result.held == 200 && isnan(found.result.high));
    assert_false(found.result.limited);
    assert_true(found.levels >= PS_STRESS_LEAST);
}

/* The generator sends no more than 150 a second. */
static void what_the_generator_did_not_drive_is_no_breaking_point(void **state)
{
    (void)state;
    struct service service;
    service_init(&service, &queue);
    struct ps_stress *stress = NULL;
    assert_int_equal(ps_stress_new(&stress, &by_default), PS_OK);
    while (!ps_stress_is_over(stress)) {
        double rate = ps_stress_rate(stress);
        struct ps_second row = service_second(&service, fmin(rate, 150));
        row.late = rate > 150 ? row.sent : 0;
        ps_stress_push(stress, &row);
    }
    struct ps_stress_result result = ps_stress_result(stress);
    assert_true(result.limited && isnan(result.breaking_point));
    assert_true(result.held <= 150 && result.held > 100 && result.broke > 150);
    ps_stress_free(stress);
    service_fini(&service);
}

/* One second in which the machine was busy with something else. */
static void one_hiccup_of_the_generator_costs_nothing(void **state)
{
    (void)state;
    struct service service;
    service_init(&service, &queue);
    struct ps_stress *stress = NULL;
    assert_int_equal(ps_stress_new(&stress, &by_default), PS_OK);
    while (!ps_stress_is_over(stress)) {
        struct ps_second row = service_second(&service, ps_stress_rate(stress));
        row.late = row.at >= 20 && row.at < 21 ? row.sent : 0;
        ps_stress_push(stress, &row);
    }
    assert_true(fabs(ps_stress_result(stress).breaking_point / 400 - 1) < 0.05);
    ps_stress_free(stress);
    service_fini(&service);
}

static void nothing_at_all_answers(void **state)
{
    (void)state;
    struct ps_stress *stress = NULL;
    assert_int_equal(ps_stress_new(&stress, &by_default), PS_OK);
    for (double at = 1; !ps_stress_is_over(stress); at++) {
        double rate = ps_stress_rate(stress);
        struct ps_second row = {.at = at, .span = 1, .sent = (uint64_t)rate, .failed = (uint64_t)rate};
        ps_stress_push(stress, &row);
        assert_true(at < 700);
    }
    struct ps_stress_result result = ps_stress_result(stress);
    assert_true(isnan(result.breaking_point) && result.signal == PS_STRESS_ERRORS && isnan(result.held));
    ps_stress_free(stress);
}

/* Slow answers miss their objective long before anything queues. */
static void an_objective_gives_way_first(void **state)
{
    (void)state;
    struct service service;
    service_init(&service, &queue);
    struct ps_stress *stress = NULL;
    assert_int_equal(ps_stress_new(&stress, &by_default), PS_OK);
    while (!ps_stress_is_over(stress)) {
        double rate = ps_stress_rate(stress);
        struct ps_second row = service_second(&service, rate);
        row.good = rate > 220 ? row.succeeded / 2 : row.succeeded;
        ps_stress_push(stress, &row);
    }
    struct ps_stress_result result = ps_stress_result(stress);
    assert_int_equal(result.signal, PS_STRESS_GOODPUT);
    assert_true(fabs(result.breaking_point / 220 - 1) < 0.05);
    ps_stress_free(stress);
    service_fini(&service);
}

/* Ctrl-C at any second. */
static void it_may_end_at_any_moment(void **state)
{
    (void)state;
    for (double until = 1; until < 130; until += 1 + (until > 60)) {
        struct found found = search(&queue, &by_default, 1, until);
        assert_true(found.result.ended && found.seconds <= until);
        assert_true(isnan(found.result.breaking_point) || fabs(found.result.breaking_point / 400 - 1) < 0.45);
        assert_true(found.levels > 0);
    }
}

static void senseless_options_are_refused(void **state)
{
    (void)state;
    struct ps_stress *stress = NULL;
    const struct ps_stress_opts bad[] = {
        {.from = 0, .most = 10}, {.from = 20, .most = 10}, {.from = 1, .most = 10, .step = 1, .every = 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(ps_stress_new(&stress, &bad[i]), PS_EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_queue_with_servers),
        cmocka_unit_test(a_server_of_batches),
        cmocka_unit_test(a_crowd_that_hinders_itself),
        cmocka_unit_test(a_service_without_a_queue_errs),
        cmocka_unit_test(a_limit_of_the_rate_is_an_error),
        cmocka_unit_test(a_level_begins_when_the_one_before_has_drained),
        cmocka_unit_test(a_staircase_is_literal),
        cmocka_unit_test(a_staircase_has_five_levels_even_if_the_first_breaks),
        cmocka_unit_test(what_holds_to_the_end_has_no_breaking_point),
        cmocka_unit_test(what_the_generator_did_not_drive_is_no_breaking_point),
        cmocka_unit_test(one_hiccup_of_the_generator_costs_nothing),
        cmocka_unit_test(nothing_at_all_answers),
        cmocka_unit_test(an_objective_gives_way_first),
        cmocka_unit_test(it_may_end_at_any_moment),
        cmocka_unit_test(senseless_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
