/* Models leave the device and come back, honestly or not, and the bytes always add up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sim/lag.h"
#include "sim/memory.h"

#define GIB   ((uint64_t)1 << 30)
#define START (100 * PS_SECOND)

struct bench {
    struct ps_sim_opts opts;
    struct ps_sim_device device;
    struct ps_sim_memory memory;
};

/* Ten of a GiB each: nine of weights and one of cache for each model. */
static void open_bench(struct bench *bench, size_t slots, bool loaded)
{
    uint64_t blocks = 0;
    bench->opts.memory = 32 * GIB;
    bench->opts.context = GIB;
    bench->opts.weights = 9 * GIB;
    bench->opts.activations = 0;
    bench->opts.kv_tokens = 1024;
    bench->opts.kv_bytes_per_token = GIB / 1024;
    bench->opts.load_rate = 1e9;
    bench->opts.wake_rate = 1e11;
    assert_int_equal(ps_sim_device_init(&bench->device, &bench->opts, &blocks), PS_OK);
    assert_int_equal(blocks, 64);
    assert_int_equal(
        ps_sim_memory_init(&bench->memory, &bench->device, &bench->opts, slots, loaded), PS_OK);
}

static void open_plain(struct bench *bench, size_t slots, bool loaded)
{
    ps_sim_opts_init(&bench->opts);
    open_bench(bench, slots, loaded);
}

static uint64_t used(const struct bench *bench)
{
    struct ps_sim_usage usage = ps_sim_device_usage(&bench->device);
    assert_int_equal(usage.used + usage.free, bench->device.memory);
    return usage.used / GIB;
}

static void released_parts_leave_at_once_and_come_back(void **state)
{
    (void)state;
    struct bench b;
    open_plain(&b, 1, true);
    assert_int_equal(used(&b), 11);
    ps_sim_memory_release(&b.memory, 0, PS_SIM_KV_CACHE, START);
    assert_int_equal(used(&b), 10);
    assert_true(ps_sim_memory_holds(&b.memory, 0, PS_SIM_WEIGHTS));
    assert_false(ps_sim_memory_holds(&b.memory, 0, PS_SIM_ALL_PARTS));
    ps_sim_memory_release(&b.memory, 0, PS_SIM_ALL_PARTS, START);
    assert_int_equal(used(&b), 1);
    assert_int_equal(ps_sim_memory_restore(&b.memory, 0, PS_SIM_ALL_PARTS, PS_SIM_FROM_DISK, START),
                     PS_OK);
    assert_int_equal(used(&b), 11);
    assert_int_equal(b.memory.slots[0].loads, 1);
    assert_in_range(b.memory.slots[0].ready - START, 9 * PS_SECOND, 10 * PS_SECOND);
}

static void memory_that_takes_its_time_leaves_within_the_spread(void **state)
{
    (void)state;
    struct bench b;
    ps_sim_opts_init(&b.opts);
    b.opts.unload_delay = PS_SECOND;
    open_bench(&b, 1, true);
    ps_sim_memory_release(&b.memory, 0, PS_SIM_ALL_PARTS, START);
    ps_time due = ps_sim_memory_tick(&b.memory, START);
    assert_in_range(due - START, PS_SECOND / 2, PS_SECOND * 3 / 2);
    assert_int_equal(used(&b), 11);
    assert_int_equal(ps_sim_memory_tick(&b.memory, due), PS_NEVER);
    assert_int_equal(used(&b), 1);
}

static void restoring_cancels_what_was_about_to_leave(void **state)
{
    (void)state;
    struct bench b;
    ps_sim_opts_init(&b.opts);
    b.opts.lie = PS_SIM_LIE_LATE;
    b.opts.lie_delay = 5 * PS_SECOND;
    open_bench(&b, 1, true);
    ps_sim_memory_release(&b.memory, 0, PS_SIM_ALL_PARTS, START);
    assert_int_equal(used(&b), 11);
    assert_int_equal(
        ps_sim_memory_restore(&b.memory, 0, PS_SIM_ALL_PARTS, PS_SIM_FROM_HOST, START + PS_SECOND),
        PS_OK);
    assert_int_equal(ps_sim_memory_tick(&b.memory, START + 10 * PS_SECOND), PS_NEVER);
    assert_int_equal(used(&b), 11);
}

static void each_lie_leaves_what_it_says(void **state)
{
    (void)state;
    static const struct {
        enum ps_sim_lie lie;
        uint64_t at_once, later;
    } cases[] = {
        {PS_SIM_LIE_NONE, 1, 1},
        {PS_SIM_LIE_KEEP, 11, 11},
        {PS_SIM_LIE_LATE, 11, 1},
        {PS_SIM_LIE_HALF, 6, 6},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench b;
        ps_sim_opts_init(&b.opts);
        b.opts.lie = cases[i].lie;
        b.opts.lie_delay = 5 * PS_SECOND;
        open_bench(&b, 1, true);
        ps_sim_memory_release(&b.memory, 0, PS_SIM_ALL_PARTS, START);
        assert_false(ps_sim_memory_holds(&b.memory, 0, PS_SIM_WEIGHTS));
        assert_int_equal(used(&b), cases[i].at_once);
        (void)ps_sim_memory_tick(&b.memory, START + 5 * PS_SECOND);
        assert_int_equal(used(&b), cases[i].later);
    }
}

static uint64_t gib(uint64_t bytes)
{
    return bytes / GIB;
}

static void what_requests_take_stays_with_the_models_allocator(void **state)
{
    (void)state;
    struct bench b;
    open_plain(&b, 2, true); /* 21 of 32 */
    assert_int_equal(ps_sim_memory_take(&b.memory, 0, 4 * GIB), PS_OK);
    assert_int_equal(ps_sim_memory_take(&b.memory, 0, 2 * GIB), PS_OK);
    assert_int_equal(gib(ps_sim_device_usage(&b.device).transient), 6);
    ps_sim_memory_give(&b.memory, 0, 4 * GIB, GIB);
    struct ps_sim_usage usage = ps_sim_device_usage(&b.device);
    assert_int_equal(gib(usage.transient), 2);
    assert_int_equal(gib(usage.leaked), 1);
    assert_int_equal(gib(usage.cached), 3);
    assert_int_equal(used(&b), 27);
    assert_int_equal(ps_sim_memory_take(&b.memory, 0, 3 * GIB), PS_OK); /* again from the pool */
    assert_int_equal(used(&b), 27);
    assert_int_equal(ps_sim_memory_take(&b.memory, 1, 6 * GIB), PS_ELIMIT); /* another process */
    assert_int_equal(b.device.out_of_memory, 1);
    assert_int_equal(ps_sim_memory_take(&b.memory, 1, 5 * GIB), PS_OK);
    assert_int_equal(used(&b), 32);
    ps_sim_memory_give(&b.memory, 0, 2 * GIB, 0);
    ps_sim_memory_give(&b.memory, 0, 3 * GIB, UINT64_MAX); /* all that it took, at most */
    assert_int_equal(gib(ps_sim_device_usage(&b.device).leaked), 4);
}

static void the_pool_goes_with_its_model(void **state)
{
    (void)state;
    struct bench b;
    ps_sim_opts_init(&b.opts);
    b.opts.unload_delay = PS_SECOND;
    open_bench(&b, 2, true);
    assert_int_equal(ps_sim_memory_take(&b.memory, 0, 4 * GIB), PS_OK);
    ps_sim_memory_give(&b.memory, 0, 4 * GIB, 2 * GIB);
    ps_sim_memory_release(&b.memory, 0, PS_SIM_KV_CACHE, START);
    (void)ps_sim_memory_tick(&b.memory, START + 10 * PS_SECOND);
    assert_int_equal(ps_sim_memory_bytes(&b.memory, 0) / GIB, 13); /* the process lives */
    ps_sim_memory_release(&b.memory, 0, PS_SIM_ALL_PARTS, START + 20 * PS_SECOND);
    assert_int_equal(used(&b), 24);
    (void)ps_sim_memory_tick(&b.memory, START + 30 * PS_SECOND);
    assert_int_equal(used(&b), 11);
    assert_int_equal(ps_sim_device_usage(&b.device).leaked, 0);
    assert_int_equal(ps_sim_device_usage(&b.device).cached, 0);
}

static void a_model_that_comes_back_early_has_a_new_pool(void **state)
{
    (void)state;
    struct bench b;
    ps_sim_opts_init(&b.opts);
    b.opts.lie = PS_SIM_LIE_LATE;
    b.opts.lie_delay = 5 * PS_SECOND;
    open_bench(&b, 1, true);
    assert_int_equal(ps_sim_memory_take(&b.memory, 0, 4 * GIB), PS_OK);
    ps_sim_memory_give(&b.memory, 0, 4 * GIB, GIB);
    ps_sim_memory_release(&b.memory, 0, PS_SIM_ALL_PARTS, START);
    assert_int_equal(used(&b), 15);
    assert_int_equal(
        ps_sim_memory_restore(&b.memory, 0, PS_SIM_ALL_PARTS, PS_SIM_FROM_DISK, START + PS_SECOND),
        PS_OK);
    assert_int_equal(used(&b), 11);
    assert_int_equal(ps_sim_memory_take(&b.memory, 0, 2 * GIB), PS_OK);
    (void)ps_sim_memory_tick(&b.memory, START + 10 * PS_SECOND);
    assert_int_equal(used(&b), 13);
}

static void models_make_room_for_each_other_oldest_first(void **state)
{
    (void)state;
    struct bench b;
    open_plain(&b, 4, false);
    assert_int_equal(used(&b), 1);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(ps_sim_memory_load(&b.memory, i, START), PS_OK);
        b.memory.slots[i].used = START + (ps_time)(i == 0 ? 9 : i);
    }
    assert_int_equal(used(&b), 31);
    b.memory.slots[1].users = 1; /* would be the oldest */
    assert_int_equal(ps_sim_memory_load(&b.memory, 3, START), PS_OK);
    assert_true(ps_sim_memory_holds(&b.memory, 0, PS_SIM_ALL_PARTS));
    assert_true(ps_sim_memory_holds(&b.memory, 1, PS_SIM_ALL_PARTS));
    assert_false(ps_sim_memory_holds(&b.memory, 2, PS_SIM_WEIGHTS));
    b.memory.slots[0].users = b.memory.slots[3].users = 1;
    assert_int_equal(ps_sim_memory_load(&b.memory, 2, START), PS_ELIMIT);
    assert_int_equal(used(&b), 31);
    assert_int_equal(b.device.out_of_memory, 1);
}

static void idle_models_expire(void **state)
{
    (void)state;
    struct bench b;
    open_plain(&b, 1, true);
    b.memory.slots[0].expires = START + PS_MINUTE;
    assert_int_equal(ps_sim_memory_tick(&b.memory, START), START + PS_MINUTE);
    assert_false(ps_sim_memory_is_expired(&b.memory, 0, START));
    assert_true(ps_sim_memory_is_expired(&b.memory, 0, START + PS_MINUTE));
    b.memory.slots[0].users = 1;
    assert_false(ps_sim_memory_is_expired(&b.memory, 0, START + PS_MINUTE));
}

static void too_many_models_are_told_at_start(void **state)
{
    (void)state;
    struct bench b;
    open_plain(&b, 3, true);
    assert_int_equal(used(&b), 31);
    uint64_t blocks = 0;
    assert_int_equal(ps_sim_device_init(&b.device, &b.opts, &blocks), PS_OK);
    assert_int_equal(ps_sim_memory_init(&b.memory, &b.device, &b.opts, 4, true), PS_ELIMIT);
}

static void pages_are_shown_when_they_are_old_enough(void **state)
{
    (void)state;
    struct ps_sim_lag lag;
    ps_sim_lag_init(&lag, 4 * PS_SECOND, START);
    assert_null(ps_sim_lag_get(&lag, START));
    for (ps_time now = START; now < START + 60 * PS_SECOND; now = lag.next) {
        struct ps_buf *page = ps_sim_lag_push(&lag, now);
        assert_int_equal(ps_buf_append(page, &now, sizeof now), PS_OK);
        ps_time shown;
        memcpy(&shown, ps_sim_lag_get(&lag, now)->data, sizeof shown);
        if (now - START < 4 * PS_SECOND) {
            assert_int_equal(shown, START);
        } else {
            assert_in_range(now - shown, 4 * PS_SECOND, 5 * PS_SECOND);
        }
    }
    ps_sim_lag_fini(&lag);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(released_parts_leave_at_once_and_come_back),
        cmocka_unit_test(memory_that_takes_its_time_leaves_within_the_spread),
        cmocka_unit_test(restoring_cancels_what_was_about_to_leave),
        cmocka_unit_test(each_lie_leaves_what_it_says),
        cmocka_unit_test(what_requests_take_stays_with_the_models_allocator),
        cmocka_unit_test(the_pool_goes_with_its_model),
        cmocka_unit_test(a_model_that_comes_back_early_has_a_new_pool),
        cmocka_unit_test(models_make_room_for_each_other_oldest_first),
        cmocka_unit_test(idle_models_expire),
        cmocka_unit_test(too_many_models_are_told_at_start),
        cmocka_unit_test(pages_are_shown_when_they_are_old_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
