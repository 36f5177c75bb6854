/* Blocks are shared, kept while idle, and forgotten oldest first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rng.h"
#include "sim/blocks.h"

static void idle_block_keeps_its_text_until_it_is_taken(void **state)
{
    (void)state;
    struct ps_sim_blocks *blocks = NULL;
    assert_int_equal(ps_sim_blocks_new(&blocks, 2), PS_OK);
    uint32_t a = ps_sim_blocks_take(blocks);
    ps_sim_blocks_publish(blocks, a, 77);
    ps_sim_blocks_unref(blocks, a);
    assert_int_equal(ps_sim_blocks_find(blocks, 77), a);
    uint32_t b = ps_sim_blocks_take(blocks); /* the other one: it is idle for longer */
    assert_int_not_equal(a, b);
    assert_int_equal(ps_sim_blocks_find(blocks, 77), a);
    assert_int_equal(ps_sim_blocks_take(blocks), a);
    assert_int_equal(ps_sim_blocks_find(blocks, 77), PS_SIM_NO_BLOCK);
    assert_int_equal(ps_sim_blocks_take(blocks), PS_SIM_NO_BLOCK);
    assert_true(ps_sim_blocks_is_sane(blocks));
    ps_sim_blocks_free(blocks);
}

static void shared_block_is_idle_only_without_users(void **state)
{
    (void)state;
    struct ps_sim_blocks *blocks = NULL;
    assert_int_equal(ps_sim_blocks_new(&blocks, 3), PS_OK);
    uint32_t a = ps_sim_blocks_take(blocks);
    ps_sim_blocks_ref(blocks, a);
    ps_sim_blocks_unref(blocks, a);
    assert_int_equal(ps_sim_blocks_idle(blocks), 2);
    ps_sim_blocks_unref(blocks, a);
    assert_int_equal(ps_sim_blocks_idle(blocks), 3);
    ps_sim_blocks_free(blocks);
}

static void same_text_is_held_once(void **state)
{
    (void)state;
    struct ps_sim_blocks *blocks = NULL;
    assert_int_equal(ps_sim_blocks_new(&blocks, 3), PS_OK);
    uint32_t a = ps_sim_blocks_take(blocks);
    uint32_t b = ps_sim_blocks_take(blocks);
    ps_sim_blocks_publish(blocks, a, 5);
    ps_sim_blocks_publish(blocks, b, 5);
    assert_int_equal(ps_sim_blocks_cached(blocks), 1);
    assert_int_equal(ps_sim_blocks_find(blocks, 5), a);
    ps_sim_blocks_free(blocks);
}

static void reset_waits_for_the_last_user(void **state)
{
    (void)state;
    struct ps_sim_blocks *blocks = NULL;
    assert_int_equal(ps_sim_blocks_new(&blocks, 3), PS_OK);
    uint32_t a = ps_sim_blocks_take(blocks);
    ps_sim_blocks_publish(blocks, a, 5);
    assert_false(ps_sim_blocks_reset(blocks));
    ps_sim_blocks_unref(blocks, a);
    assert_true(ps_sim_blocks_reset(blocks));
    assert_int_equal(ps_sim_blocks_cached(blocks), 0);
    assert_int_equal(ps_sim_blocks_find(blocks, 5), PS_SIM_NO_BLOCK);
    ps_sim_blocks_free(blocks);
}

static void no_blocks_and_too_many_are_refused(void **state)
{
    (void)state;
    struct ps_sim_blocks *blocks = NULL;
    assert_int_equal(ps_sim_blocks_new(&blocks, 0), PS_ELIMIT);
    assert_int_equal(ps_sim_blocks_new(&blocks, PS_SIM_MOST_BLOCKS + 1), PS_ELIMIT);
    assert_null(blocks);
}

static void random_operations_keep_it_sane(void **state)
{
    (void)state;
    enum { COUNT = 50, STEPS = 20000 };
    struct ps_sim_blocks *blocks = NULL;
    struct ps_rng rng = ps_rng_make(3);
    uint32_t held[COUNT * 2];
    size_t count = 0;
    assert_int_equal(ps_sim_blocks_new(&blocks, COUNT), PS_OK);
    for (int i = 0; i < STEPS; i++) {
        uint64_t hash = ps_rng_below(&rng, 64) * 64; /* many in one bucket */
        uint32_t found = ps_sim_blocks_find(blocks, hash);
        uint64_t dice = ps_rng_below(&rng, 3);
        if (dice == 0 && count > 0) {
            size_t at = ps_rng_below(&rng, count);
            ps_sim_blocks_unref(blocks, held[at]);
            held[at] = held[--count];
        } else if (dice == 1 && found != PS_SIM_NO_BLOCK && count < PS_ARRAY_LEN(held)) {
            ps_sim_blocks_ref(blocks, found);
            held[count++] = found;
        } else if (dice == 2 && count < PS_ARRAY_LEN(held)) {
            uint32_t block = ps_sim_blocks_take(blocks);
            if (block != PS_SIM_NO_BLOCK) {
                ps_sim_blocks_publish(blocks, block, hash);
                held[count++] = block;
            }
        }
        assert_true(ps_sim_blocks_is_sane(blocks));
    }
    ps_sim_blocks_free(blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_block_keeps_its_text_until_it_is_taken),
        cmocka_unit_test(shared_block_is_idle_only_without_users),
        cmocka_unit_test(same_text_is_held_once),
        cmocka_unit_test(reset_waits_for_the_last_user),
        cmocka_unit_test(no_blocks_and_too_many_are_refused),
        cmocka_unit_test(random_operations_keep_it_sane),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
