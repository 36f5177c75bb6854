#include "daemon/machine.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void processors_are_busy_or_idle(void **state)
{
    double busy;
    double idle;
    struct ps_str text = PS_STR("cpu  100 20 30 4000 500 6 7 8 90 10\ncpu0 1 2 3 4\n");
    (void)state;
    assert_true(ps_machine_parse_stat(text, 100, &busy, &idle));
    assert_true(fabs(busy - 1.71) < 1e-9); /* a guest's time is in the user's already */
    assert_true(fabs(idle - 45) < 1e-9);   /* waiting for a disk is idle */
}

static void memory_is_used_where_it_is_not_available(void **state)
{
    double used;
    struct ps_str text =
        PS_STR("MemTotal:       1000 kB\nMemFree:  100 kB\nMemAvailable:  250 kB\n");
    (void)state;
    assert_true(ps_machine_parse_memory(text, &used));
    assert_true(used == 0.75);
}

static void what_is_not_what_the_manual_says_is_not_known(void **state)
{
    static const char *const stats[] = {"",
                                        "cpu",
                                        "cpu  1 2 3",
                                        "cpu  1 2 3 x 5 6 7 8",
                                        "intr 1 2 3 4 5 6 7 8",
                                        "cpu0 1 2 3 4 5 6 7 8"};
    static const char *const memories[] = {
        "", "MemTotal: 5 kB\n", "MemTotal: 0 kB\nMemAvailable: 0 kB\n",
        "MemTotal: 5 kB\nMemAvailable: 6 kB\n", "MemTotal: kB\nMemAvailable: 6 kB\n"};
    double busy;
    double idle;
    (void)state;
    for (size_t i = 0; i < sizeof stats / sizeof stats[0]; i++) {
        assert_false(ps_machine_parse_stat(ps_str_from(stats[i]), 100, &busy, &idle));
    }
    for (size_t i = 0; i < sizeof memories / sizeof memories[0]; i++) {
        assert_false(ps_machine_parse_memory(ps_str_from(memories[i]), &busy));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processors_are_busy_or_idle),
        cmocka_unit_test(memory_is_used_where_it_is_not_available),
        cmocka_unit_test(what_is_not_what_the_manual_says_is_not_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
