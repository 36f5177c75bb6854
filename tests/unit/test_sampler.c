/* test_sampler - a driver that hangs, and readers who must not notice.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../helpers/nvml_fake.h"
#include "gpu/nvml.h"

#define LOOKS_MOST 30000 /* a millisecond apart */
#define PATIENCE   (20 * PS_SECOND)

static struct nvml_fake fake;
static struct ps_sampler *sampler;
static struct ps_sampler_view view;

/* The hand-moved clock of the cases about age; time stands still for the sampler, too. */
static struct ps_clock still;

static void start_on(const struct ps_clock *watch)
{
    struct ps_nvml_opts opts;
    struct ps_nvml *nvml;
    char why[PS_SAMPLER_WHY];
    ps_nvml_opts_init(&opts);
    opts.library = fake.path;
    opts.clock = watch;
    opts.memory_every = 10 * PS_MILLISECOND;
    assert_int_equal(ps_nvml_open(&nvml, &opts, why), PS_OK);
    const struct ps_sampler_opts sampling = {.clock = watch,
                                             .stale_after = 2 * PS_SECOND,
                                             .hung_after = PS_SECOND,
                                             .retry_after = 10 * PS_MILLISECOND};
    assert_int_equal(ps_sampler_start_take(&sampler, &ps_nvml_source, nvml, &sampling), PS_OK);
}

/* Once: a thread that was left behind still reads it. */
static int start_clock(void **state)
{
    (void)state;
    ps_clock_init_manual(&still, PS_SECOND, PS_SECOND);
    return 0;
}

static int prepare(void **state)
{
    (void)state;
    nvml_fake_open(&fake, "nvidia-ml");
    return 0;
}

static int finish(void **state)
{
    (void)state;
    fake.knob("reset", 0); /* lets go whoever hangs */
    ps_device_snapshot_unref(view.snapshot);
    view.snapshot = NULL;
    bool ended = ps_sampler_stop(sampler, PATIENCE);
    sampler = NULL;
    nvml_fake_close(&fake);
    return ended ? 0 : -1;
}

static void look(ps_time now)
{
    ps_device_snapshot_unref(view.snapshot);
    ps_sampler_look(sampler, now, &view);
}

/* Looks until it is so. */
static void await_state(const struct ps_clock *watch, enum ps_sampler_state state)
{
    for (int i = 0; i < LOOKS_MOST; i++) {
        look(ps_clock_now(watch));
        if (view.state == state) {
            return;
        }
        (void)usleep(1000);
    }
    fail_msg("it is %s, not %s", ps_sampler_state_names[view.state], ps_sampler_state_names[state]);
}

static void await_call(const char *name)
{
    for (int i = 0; i < LOOKS_MOST; i++) {
        look(ps_clock_now(&still));
        if (view.call != NULL && strcmp(view.call, name) == 0) {
            return;
        }
        (void)usleep(1000);
    }
    fail_msg("nobody calls %s", name);
}

static void gives_snapshots_that_are_fresh(void **state)
{
    (void)state;
    start_on(&ps_clock_real);
    await_state(&ps_clock_real, PS_SAMPLER_FRESH);
    assert_int_equal(view.snapshot->device_count, 1);
    assert_string_equal(view.why, "");
    struct ps_device_snapshot *first = ps_device_snapshot_ref(view.snapshot);
    for (int i = 0; i < LOOKS_MOST && view.snapshot == first; i++) {
        (void)usleep(1000);
        look(ps_clock_now(&ps_clock_real));
    }
    assert_true(view.snapshot->taken > first->taken);
    ps_device_snapshot_unref(first); /* it lived as long as somebody had it */
}

static void says_which_call_hangs_and_keeps_the_last_snapshot(void **state)
{
    (void)state;
    start_on(&still);
    await_state(&still, PS_SAMPLER_FRESH);
    nvml_fake_set(&fake, "hang_memory", 1);
    ps_clock_advance(&still, 20 * PS_MILLISECOND);
    await_call("nvmlDeviceGetMemoryInfo_v2");
    assert_int_equal(view.state, PS_SAMPLER_FRESH);
    ps_clock_advance(&still, 10 * PS_SECOND);
    look(ps_clock_now(&still));
    assert_int_equal(view.state, PS_SAMPLER_HUNG);
    assert_string_equal(view.call, "nvmlDeviceGetMemoryInfo_v2");
    assert_true(view.call_took >= 10 * PS_SECOND);
    assert_true(view.age >= 10 * PS_SECOND);
    assert_non_null(view.snapshot);
    nvml_fake_set(&fake, "hang_memory", 0);
    await_state(&still, PS_SAMPLER_FRESH);
    assert_true(view.age < PS_SECOND);
}

static void grows_stale_when_nothing_new_comes(void **state)
{
    (void)state;
    start_on(&still);
    await_state(&still, PS_SAMPLER_FRESH);
    look(ps_clock_now(&still) + 3 * PS_SECOND);
    assert_int_equal(view.state, PS_SAMPLER_STALE);
    assert_int_equal(view.age, 3 * PS_SECOND + ps_clock_now(&still) - view.snapshot->taken);
}

static void waits_for_nobody_who_hangs_in_init(void **state)
{
    (void)state;
    nvml_fake_set(&fake, "hang_init", 1);
    start_on(&still);
    await_call("nvmlInit_v2");
    assert_int_equal(view.state, PS_SAMPLER_STARTING);
    assert_null(view.snapshot);
    look(ps_clock_now(&still) + 2 * PS_SECOND);
    assert_int_equal(view.state, PS_SAMPLER_HUNG);
}

static void tries_again_after_a_driver_that_was_not_there(void **state)
{
    (void)state;
    nvml_fake_set(&fake, "init_code", 9);
    start_on(&ps_clock_real);
    await_state(&ps_clock_real, PS_SAMPLER_FAILED);
    assert_non_null(strstr(view.why, "not loaded"));
    nvml_fake_set(&fake, "init_code", 0);
    await_state(&ps_clock_real, PS_SAMPLER_FRESH);
    assert_string_equal(view.why, "");
}

static void leaves_a_thread_behind_that_hangs(void **state)
{
    (void)state;
    nvml_fake_set(&fake, "hang_processes", 1);
    start_on(&still);
    await_call("nvmlDeviceGetComputeRunningProcesses_v3");
    assert_false(ps_sampler_stop(sampler, 10 * PS_MILLISECOND));
    sampler = NULL;
    /* Let go, it frees what it had; the sanitizers see to it, so give it time. */
    nvml_fake_set(&fake, "hang_processes", 0);
    (void)usleep(500000);
}

static void counts_what_calls_take_and_holds_the_dear_ones_back(void **state)
{
    (void)state;
    nvml_fake_set(&fake, "memory_us", 3000);
    start_on(&ps_clock_real);
    ps_time began = ps_clock_now(&ps_clock_real);
    await_state(&ps_clock_real, PS_SAMPLER_FRESH);
    (void)usleep(300000);
    const struct ps_toll_book *book = ps_sampler_book(sampler);
    struct ps_toll toll = {0};
    for (size_t i = 0; i < book->count; i++) {
        struct ps_toll one;
        ps_toll_read(book, i, &one);
        toll = strcmp(one.name, "nvmlDeviceGetMemoryInfo_v2") == 0 ? one : toll;
    }
    ps_span passed = ps_clock_now(&ps_clock_real) - began;
    assert_true(toll.calls >= 1);
    assert_true((ps_span)toll.calls <=
                1 + passed / PS_SECOND); /* once a second instead of every 10 ms */
    assert_int_equal(toll.over_budget, toll.calls);
    assert_true(toll.longest >= 3 * PS_MILLISECOND);
    assert_true(toll.total >= toll.longest);
    assert_int_equal(toll.errors, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, prepare, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(gives_snapshots_that_are_fresh),
        CASE(says_which_call_hangs_and_keeps_the_last_snapshot),
        CASE(grows_stale_when_nothing_new_comes),
        CASE(waits_for_nobody_who_hangs_in_init),
        CASE(tries_again_after_a_driver_that_was_not_there),
        CASE(leaves_a_thread_behind_that_hangs),
        CASE(counts_what_calls_take_and_holds_the_dear_ones_back),
    };
    return cmocka_run_group_tests_name("sampler", tests, start_clock, NULL);
}
