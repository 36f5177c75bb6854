/* test_threshold - k6's words read strictly, and what they say of figures.
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

#include "base/rng.h"
#include "load/threshold.h"

static struct ps_thresholds thresholds;
static char why[256];

static int parse(const char *text)
{
    memset(&thresholds, 0, sizeof thresholds);
    return ps_thresholds_parse(&thresholds, ps_str_from(text), why, sizeof why);
}

static void a_condition_is_read(void **state)
{
    (void)state;
    assert_int_equal(parse("http_req_duration: p(95)<500"), PS_OK);
    assert_int_equal(thresholds.count, 1);
    assert_string_equal(thresholds.rows[0].metric, "http_req_duration");
    assert_string_equal(thresholds.rows[0].expression, "p(95)<500");
    assert_float_equal(thresholds.rows[0].share, 0.95, 1e-12);
    assert_float_equal(thresholds.rows[0].bound, 500, 0);
    assert_int_equal(thresholds.rows[0].operator, PS_BELOW);
    assert_false(thresholds.rows[0].abort);
}

static void several_conditions_share_what_is_said_of_aborting(void **state)
{
    (void)state;
    assert_int_equal(parse("http_req_duration: p(95) < 500, p(99.9) <= 1.5s, abortOnFail, delayAbortEval=10s"), PS_OK);
    assert_int_equal(thresholds.count, 2);
    assert_float_equal(thresholds.rows[1].bound, 1500, 0);
    assert_float_equal(thresholds.rows[1].share, 0.999, 1e-12);
    for (size_t i = 0; i < 2; i++) {
        assert_true(thresholds.rows[i].abort);
        assert_int_equal(thresholds.rows[i].delay, 10 * PS_SECOND);
    }
}

static void k6s_own_forms_are_read(void **state)
{
    (void)state;
    assert_int_equal(parse("http_req_failed: ['rate<0.01']"), PS_OK);
    assert_int_equal(thresholds.count, 1);
    assert_int_equal(parse("http_req_duration: ['p(95)<200','max<2000',"
                           "{threshold:'p(99)<500',abortOnFail:true,delayAbortEval:'10s'}]"), PS_OK);
    assert_int_equal(thresholds.count, 3);
    assert_string_equal(thresholds.rows[2].expression, "p(99)<500");
    assert_true(thresholds.rows[2].abort);
    assert_int_equal(parse("http_reqs: count >= 100, abortOnFail: false"), PS_OK);
    assert_false(thresholds.rows[0].abort);
}

static void units_and_aliases_are_read(void **state)
{
    (void)state;
    assert_int_equal(parse("ttft:p(95)<250us"), PS_OK);
    assert_string_equal(thresholds.rows[0].metric, "time_to_first_token");
    assert_float_equal(thresholds.rows[0].bound, 0.25, 1e-12);
    assert_int_equal(parse("error_rate: rate<1%"), PS_OK);
    assert_float_equal(thresholds.rows[0].bound, 0.01, 1e-12);
    assert_true(ps_thresholds_have(&thresholds, "http_req_failed"));
    assert_false(ps_thresholds_have(&thresholds, "http_reqs"));
}

static void nonsense_is_refused_and_nothing_is_added(void **state)
{
    static const char *const bad[] = {
        "", ":", "http_req_duration", "http_req_duration:", "http_req_duration: ,", "nope: rate<1",
        "http_req_duration: rate<1", "http_req_failed: p(95)<1", "http_reqs: avg<1", "http_req_duration: p(95)",
        "http_req_duration: p(95)<", "http_req_duration: p(95)<x", "http_req_duration: p(101)<5",
        "http_req_duration: p()<5", "http_req_duration: p(95<5", "http_req_duration: 95<5",
        "http_req_duration{name:a}: p(95)<5", "http_req_duration: p(95)<5, abortOnFail: maybe",
        "http_req_duration: p(95)<5, delayAbortEval", "http_req_duration: p(95)<5, delayAbortEval: soon",
        "http_req_duration: abortOnFail", "http_req_duration: p(95)<5%", "http_req_failed: rate<5ms",
        "http_req_duration: p(95)=5", "http_req_duration: p(95)<5 and more", "http_req_duration: p(nan)<5",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        why[0] = '\0';
        assert_int_not_equal(parse(bad[i]), PS_OK);
        assert_int_equal(thresholds.count, 0);
        assert_int_not_equal(why[0], '\0');
    }
}

static void there_is_a_bound_on_them(void **state)
{
    (void)state;
    assert_int_equal(parse("http_reqs: count>0"), PS_OK);
    for (int i = 1; i < PS_THRESHOLDS_MAX; i++) {
        assert_int_equal(ps_thresholds_parse(&thresholds, PS_STR("http_reqs: rate>0"), why, sizeof why), PS_OK);
    }
    assert_int_equal(ps_thresholds_parse(&thresholds, PS_STR("http_reqs: rate>0"), why, sizeof why), PS_ELIMIT);
    assert_int_equal(thresholds.count, PS_THRESHOLDS_MAX);
}

static double value_of(const char *text, const struct ps_threshold_facts *facts)
{
    assert_int_equal(parse(text), PS_OK);
    return ps_threshold_value(&thresholds.rows[0], facts);
}

static void values_come_from_the_figures(void **state)
{
    (void)state;
    struct ps_hist *hist = calloc(1, sizeof *hist);
    for (int i = 1; i <= 100; i++) {
        ps_hist_record(hist, i * PS_MILLISECOND);
    }
    const struct ps_threshold_facts facts = {
        .duration = hist, .succeeded = 90, .failed = 10, .good = 45, .output_tokens = 500, .seconds = 50};
    assert_float_equal(value_of("http_req_duration: avg<1", &facts), 50.5, 0.01);
    assert_float_equal(value_of("http_req_duration: min<1", &facts), 1, 0);
    assert_float_equal(value_of("http_req_duration: max<1", &facts), 100, 0);
    assert_float_equal(value_of("http_req_duration: med<1", &facts), 50, 0.2);
    assert_float_equal(value_of("http_req_duration: p(95)<1", &facts), 95, 0.3);
    assert_float_equal(value_of("http_req_failed: rate<1", &facts), 0.1, 1e-12);
    assert_float_equal(value_of("goodput: rate>0.9", &facts), 0.45, 1e-12);
    assert_float_equal(value_of("http_reqs: count>0", &facts), 100, 0);
    assert_float_equal(value_of("http_reqs: rate>0", &facts), 2, 1e-12);
    assert_float_equal(value_of("output_tokens: rate>0", &facts), 10, 1e-12);
    assert_true(isnan(value_of("time_to_first_token: p(95)<5", &facts)));
    free(hist);
}

static void what_was_not_measured_keeps_nothing(void **state)
{
    static const char *const all[] = {"ttft: p(95)<5", "ttft: p(95)>=5", "ttft: avg==5", "ttft: avg!=5"};
    const struct ps_threshold_facts nothing = {.seconds = 0};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        double value = value_of(all[i], &nothing);
        assert_false(ps_threshold_passes(&thresholds.rows[0], value));
    }
}

static void operators_compare(void **state)
{
    static const struct {
        const char *text;
        bool below, at, above; /* for 4, 5, 6 */
    } cases[] = {
        {"http_reqs: count<5", true, false, false},  {"http_reqs: count<=5", true, true, false},
        {"http_reqs: count>5", false, false, true},  {"http_reqs: count>=5", false, true, true},
        {"http_reqs: count==5", false, true, false}, {"http_reqs: count===5", false, true, false},
        {"http_reqs: count!=5", true, false, true},  {"http_reqs: count!==5", true, false, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(parse(cases[i].text), PS_OK);
        assert_int_equal(ps_threshold_passes(&thresholds.rows[0], 4), cases[i].below);
        assert_int_equal(ps_threshold_passes(&thresholds.rows[0], 5), cases[i].at);
        assert_int_equal(ps_threshold_passes(&thresholds.rows[0], 6), cases[i].above);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_condition_is_read),
        cmocka_unit_test(several_conditions_share_what_is_said_of_aborting),
        cmocka_unit_test(k6s_own_forms_are_read),
        cmocka_unit_test(units_and_aliases_are_read),
        cmocka_unit_test(nonsense_is_refused_and_nothing_is_added),
        cmocka_unit_test(there_is_a_bound_on_them),
        cmocka_unit_test(values_come_from_the_figures),
        cmocka_unit_test(what_was_not_measured_keeps_nothing),
        cmocka_unit_test(operators_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
