/* The device's memory adds up, always, and is used again before it runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "sim/device.h"

#define GIB ((uint64_t)1 << 30)
#define MIB ((uint64_t)1 << 20)

static struct ps_sim_opts small(void)
{
    struct ps_sim_opts opts;
    ps_sim_opts_init(&opts);
    return opts;
}

static void check_sum(const struct ps_sim_device *device)
{
    struct ps_sim_usage u = ps_sim_device_usage(device);
    assert_int_equal(u.context + u.weights + u.activations + u.kv_cache + u.transient +
                         u.fragmentation + u.cached + u.free,
                     device->memory);
    assert_int_equal(u.used + u.free, device->memory);
}

static void start_takes_the_share_for_weights_and_cache(void **state)
{
    (void)state;
    struct ps_sim_opts opts = small();
    struct ps_sim_device device;
    uint64_t blocks = 0;
    assert_int_equal(ps_sim_device_init(&device, &opts, &blocks), PS_OK);
    assert_int_equal(device.kv_cache, blocks * 16 * opts.kv_bytes_per_token);
    struct ps_sim_usage usage = ps_sim_device_usage(&device);
    assert_true(usage.used <= (uint64_t)(0.9 * 24 * (double)GIB));
    assert_true(usage.used > (uint64_t)(0.899 * 24 * (double)GIB));
    check_sum(&device);
}

static void start_fails_when_the_weights_do_not_fit(void **state)
{
    (void)state;
    struct ps_sim_opts opts = small();
    struct ps_sim_device device;
    uint64_t blocks = 7;
    opts.weights = UINT64_MAX;
    assert_int_equal(ps_sim_device_init(&device, &opts, &blocks), PS_ELIMIT);
    opts.weights = 24 * GIB;
    assert_int_equal(ps_sim_device_init(&device, &opts, &blocks), PS_ELIMIT);
    assert_int_equal(blocks, 7);
}

static void freed_memory_stays_reserved_and_is_used_again(void **state)
{
    (void)state;
    struct ps_sim_opts opts = small();
    struct ps_sim_device device;
    uint64_t blocks = 0;
    size_t handle = 0;
    assert_int_equal(ps_sim_device_init(&device, &opts, &blocks), PS_OK);
    assert_int_equal(ps_sim_device_take(&device, GIB, &handle), PS_OK);
    ps_sim_device_give(&device, handle);
    assert_int_equal(ps_sim_device_usage(&device).cached, GIB);
    assert_int_equal(ps_sim_device_take(&device, GIB - 5 * MIB, &handle), PS_OK);
    struct ps_sim_usage usage = ps_sim_device_usage(&device);
    assert_int_equal(usage.cached, 0);
    assert_int_equal(usage.fragmentation, 5 * MIB);
    assert_int_equal(device.retries, 0);
    check_sum(&device);
}

static void unused_segments_are_given_back_before_it_fails(void **state)
{
    (void)state;
    struct ps_sim_opts opts = small();
    struct ps_sim_device device;
    uint64_t blocks = 0;
    size_t handle = 0;
    assert_int_equal(ps_sim_device_init(&device, &opts, &blocks), PS_OK);
    uint64_t room = ps_sim_device_usage(&device).free;
    assert_int_equal(ps_sim_device_take(&device, room / 2 + 4 * MIB, &handle), PS_OK);
    ps_sim_device_give(&device, handle);
    assert_int_equal(ps_sim_device_take(&device, room / 2 + 40 * MIB, &handle), PS_OK);
    assert_int_equal(device.retries, 1);
    assert_int_equal(device.out_of_memory, 0);
    check_sum(&device);
}

static void too_much_is_out_of_memory_and_changes_nothing(void **state)
{
    (void)state;
    struct ps_sim_opts opts = small();
    struct ps_sim_device device;
    uint64_t blocks = 0;
    size_t handle = 99;
    assert_int_equal(ps_sim_device_init(&device, &opts, &blocks), PS_OK);
    uint64_t room = ps_sim_device_usage(&device).free;
    assert_int_equal(ps_sim_device_take(&device, room + 1, &handle), PS_ELIMIT);
    assert_int_equal(ps_sim_device_take(&device, UINT64_MAX, &handle), PS_ELIMIT);
    assert_int_equal(handle, 99);
    assert_int_equal(device.out_of_memory, 2);
    assert_int_equal(ps_sim_device_usage(&device).free, room);
}

static void sums_hold_after_any_sequence_of_calls(void **state)
{
    (void)state;
    struct ps_sim_opts opts = small();
    struct ps_sim_device device;
    struct ps_rng rng = ps_rng_make(11);
    uint64_t blocks = 0;
    size_t held[PS_SIM_SEGMENTS];
    size_t count = 0;
    assert_int_equal(ps_sim_device_init(&device, &opts, &blocks), PS_OK);
    for (int i = 0; i < 20000; i++) {
        if (count > 0 && ps_rng_below(&rng, 2) == 0) {
            size_t at = ps_rng_below(&rng, count);
            ps_sim_device_give(&device, held[at]);
            held[at] = held[--count];
        } else if (ps_sim_device_take(&device, 1 + ps_rng_below(&rng, GIB / 4), &held[count]) ==
                   PS_OK) {
            count++;
        }
        check_sum(&device);
    }
    assert_true(device.retries > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_takes_the_share_for_weights_and_cache),
        cmocka_unit_test(start_fails_when_the_weights_do_not_fit),
        cmocka_unit_test(freed_memory_stays_reserved_and_is_used_again),
        cmocka_unit_test(unused_segments_are_given_back_before_it_fails),
        cmocka_unit_test(too_much_is_out_of_memory_and_changes_nothing),
        cmocka_unit_test(sums_hold_after_any_sequence_of_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
