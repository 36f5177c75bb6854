#include "export/intake.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "export/prometheus.h"

/* ---- help for the cases */

struct place {
    struct ps_metrics *metrics;
    struct ps_custom *custom;
    char reason[640];
    size_t accepted;
};

static int setup(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    struct ps_metrics_opts opts = {.shards = 1};
    *state = place;
    return place == NULL || ps_metrics_new(&place->metrics, &opts) != PS_OK ||
           ps_custom_new(&place->custom, place->metrics, 0) != PS_OK;
}

static int teardown(void **state)
{
    struct place *place = *state;
    ps_metrics_free(place->metrics);
    ps_custom_free(place->custom);
    free(place);
    return 0;
}

static int hand_in(struct place *place, const char *document)
{
    return ps_intake_json(place->custom, place->metrics, ps_str_from(document), PS_SECOND,
                          &place->accepted, place->reason, sizeof place->reason);
}

static void assert_shows(struct place *place, const char *line)
{
    struct ps_buf out = ps_buf_make(1 << 20);
    assert_int_equal(ps_prometheus_write(place->metrics, PS_PROMETHEUS_OPENMETRICS, &out), PS_OK);
    if (!ps_str_contains(ps_buf_str(&out), ps_str_from(line))) {
        print_message("missing %s in %.*s\n", line, PS_STR_ARG(ps_buf_str(&out)));
        fail();
    }
    ps_buf_fini(&out);
}

/* ---- cases */

static void one_value_or_many(void **state)
{
    struct place *place = *state;
    assert_int_equal(hand_in(place, "{\"name\":\"app_a\",\"type\":\"gauge\",\"value\":1}"), PS_OK);
    assert_int_equal(place->accepted, 1);
    assert_int_equal(hand_in(place, "[]"), PS_OK);
    assert_int_equal(place->accepted, 0);
    assert_int_equal(
        hand_in(
            place,
            "[{\"name\":\"app_a\",\"type\":\"gauge\",\"value\":2e3},"
            "{\"name\":\"app_b_total\",\"type\":\"counter\",\"labels\":{\"z\":\"1\",\"y\":\"2\"},"
            "\"value\":3,\"help\":\"Bees\"},"
            "{\"name\":\"app_b_total\",\"type\":\"counter\",\"labels\":{\"y\":\"2\",\"z\":\"1\"},"
            "\"value\":0.25,\"exemplar\":{\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\"}}]"),
        PS_OK);
    assert_int_equal(place->accepted, 3);
    assert_shows(place, "\napp_a 2000\n");
    assert_shows(place, "# HELP app_b Bees\napp_b_total{y=\"2\",z=\"1\"} 3.25 # "
                        "{trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"} 0.25 1.000\n");
}

static void all_or_nothing(void **state)
{
    struct place *place = *state;
    assert_int_equal(hand_in(place, "{\"name\":\"app_a\",\"type\":\"gauge\",\"value\":1}"), PS_OK);
    assert_int_equal(hand_in(place, "[{\"name\":\"app_a\",\"type\":\"gauge\",\"value\":2},"
                                    "{\"name\":\"app_a\",\"type\":\"gauge\",\"value\":null}]"),
                     PS_EINVAL);
    assert_string_equal(place->reason, "[1].value: has to be a number");
    assert_shows(place, "\napp_a 1\n");
}

#define GAUGE(name) "{\"name\":\"" name "\",\"type\":\"gauge\",\"value\":1}"
#define TOTAL(name) "{\"name\":\"" name "\",\"type\":\"counter\",\"value\":1}"

/* What is refused leaves no metric behind, so it contradicts nobody later and takes nobody's place. */
static void what_is_refused_registers_nothing(void **state)
{
    static const struct {
        const char *document;
        int err;
        const char *reason;
    } bad[] = {
        {"[" GAUGE("app_new") "," GAUGE("app_total") "]", PS_EINVAL, "[1]: a name has letters"},
        {"[" GAUGE("app_new") "," TOTAL("app_new_total") "]", PS_EBUSY,
         "[1]: another metric has this name already"},
        {"[" GAUGE("app_new") "," TOTAL("app_here_total") "]", PS_EBUSY,
         "[1]: another metric has this name already"},
        {"[" GAUGE("app_new") ",{\"name\":\"app_new\",\"type\":\"gauge\",\"value\":1,"
         "\"labels\":{\"a\":\"b\"}}]",
         PS_EBUSY, "[1]: app_new has other labels already"},
        {"[" GAUGE("app_new") "," TOTAL("penstock_a_total") "]", PS_EINVAL, "[1]: names that begin"},
        {"[" GAUGE("app_new") ",null]", PS_EINVAL, "[1]: has to be an object"},
    };
    struct place *place = *state;
    assert_int_equal(hand_in(place, GAUGE("app_here")), PS_OK);
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        assert_int_equal(hand_in(place, bad[i].document), bad[i].err);
        assert_non_null(strstr(place->reason, bad[i].reason));
        assert_null(ps_metrics_find(place->metrics, PS_STR("app_new")));
    }
    assert_int_equal(hand_in(place, "[" TOTAL("app_new_total") "," GAUGE("app_a") "]"), PS_OK);
    assert_shows(place, "\napp_new_total 1\n");
}

static int hand_in_gauges(struct place *place, unsigned count)
{
    char document[16384];
    size_t len = 0;
    for (unsigned i = 0; i < count; i++) {
        len += (size_t)snprintf(document + len, sizeof document - len,
                                "%c{\"name\":\"app_%u\",\"type\":\"gauge\",\"value\":1}",
                                i == 0 ? '[' : ',', i);
    }
    snprintf(document + len, sizeof document - len, "]");
    return hand_in(place, document);
}

/* Those that were counted on the way give their places back. */
static void a_document_beyond_the_bound_takes_no_place(void **state)
{
    struct place *place = *state;
    assert_int_equal(hand_in_gauges(place, PS_CUSTOM_METRICS + 1), PS_ELIMIT);
    assert_non_null(strstr(place->reason, "[200]: there are as many metrics as may be"));
    assert_null(ps_metrics_find(place->metrics, PS_STR("app_0")));
    assert_int_equal(hand_in_gauges(place, PS_CUSTOM_METRICS), PS_OK);
}

static void numbers_too_large_are_no_numbers(void **state)
{
    struct place *place = *state;
    assert_int_equal(hand_in(place, "{\"name\":\"app_a\",\"type\":\"gauge\",\"value\":1e999}"),
                     PS_EINVAL);
    assert_int_equal(
        hand_in(place, "{\"name\":\"app_a\",\"type\":\"gauge\",\"value\":99999999999999999999}"),
        PS_EINVAL);
    assert_int_equal(hand_in(place, "{\"name\":\"app_a\",\"type\":\"gauge\",\"value\":1} x"),
                     PS_EINVAL);
}

static void exemplars_are_strict(void **state)
{
    struct place *place = *state;
    static const char *const bad[] = {
        "null",
        "{}",
        "\"4bf92f3577b34da6a3ce929d0e0e4736\"",
        "{\"trace_id\":\"00000000000000000000000000000000\"}",
        "{\"trace_id\":\"4BF92f3577b34da6a3ce929d0e0e4736\"}",
        "{\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"span_id\":\"1\"}",
        "{\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"more\":\"1\"}",
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        char document[512];
        snprintf(document, sizeof document,
                 "{\"name\":\"app_a_total\",\"type\":\"counter\",\"value\":1,\"exemplar\":%s}",
                 bad[i]);
        assert_int_equal(hand_in(place, document), PS_EINVAL);
        assert_non_null(strstr(place->reason, "exemplar: "));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_value_or_many, setup, teardown),
        cmocka_unit_test_setup_teardown(all_or_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_refused_registers_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_document_beyond_the_bound_takes_no_place, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(numbers_too_large_are_no_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(exemplars_are_strict, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
