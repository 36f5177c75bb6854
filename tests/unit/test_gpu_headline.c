/* test_gpu_headline - which server stands for all of them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "operate/gpu_room.h"

enum { CALM, PRESSED, SERVERS };

static struct ps_vitals vitals[SERVERS];
static struct ps_optimizer_target targets[SERVERS];

static int set_up(void **state)
{
    for (size_t i = 0; i < SERVERS; i++) {
        vitals[i] = (struct ps_vitals){.simulated = true};
        targets[i] = (struct ps_optimizer_target){.id = (uint32_t)i + 1,
                                                  .adapter = PS_ADAPTER_VLLM,
                                                  .vitals = &vitals[i],
                                                  .effective = {.value = i == CALM ? 50 : 20, .known = true},
                                                  .fresh = true};
    }
    *state = ps_gpu_outlook_new();
    return *state == NULL;
}

static int tear_down(void **state)
{
    ps_gpu_outlook_free(*state);
    return 0;
}

/* A minute in which requests of one server lose their cache to others each second. */
static void push_a_minute(struct ps_gpu_outlook *outlook)
{
    const struct ps_gpu_crowd *nobody[SERVERS] = {NULL};
    for (int second = 0; second < 60; second++) {
        vitals[PRESSED].readings[PS_VITALS_PREEMPTIONS] =
            (struct ps_device_reading){.value = second, .known = true};
        ps_gpu_outlook_push(outlook, second * PS_SECOND, 75, targets, nobody, SERVERS);
    }
}

static void the_highest_level_comes_before_the_fullest(void **state)
{
    struct ps_gpu_view calm, pressed;
    assert_ptr_equal(ps_gpu_most_pressed(*state, targets, SERVERS), &targets[CALM]);
    push_a_minute(*state);
    assert_true(ps_gpu_outlook_read(*state, targets[CALM].id, &calm));
    assert_true(ps_gpu_outlook_read(*state, targets[PRESSED].id, &pressed));
    assert_true(calm.level == PS_PRESSURE_LOW && pressed.level >= PS_PRESSURE_HIGH);
    assert_ptr_equal(ps_gpu_most_pressed(*state, targets, SERVERS), &targets[PRESSED]);
}

static void who_is_not_heard_of_stands_for_nobody(void **state)
{
    push_a_minute(*state);
    targets[PRESSED].fresh = false;
    assert_ptr_equal(ps_gpu_most_pressed(*state, targets, SERVERS), &targets[CALM]);
    targets[CALM].effective.known = false;
    assert_null(ps_gpu_most_pressed(*state, targets, SERVERS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_highest_level_comes_before_the_fullest, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(who_is_not_heard_of_stands_for_nobody, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("gpu_headline", tests, NULL, NULL);
}
