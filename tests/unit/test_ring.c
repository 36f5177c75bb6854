/* test_ring - the slot table: even, the same everywhere, and calm when a node leaves.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gateway/ring.h"

#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"

enum { KEYS = 200000, NAME = 32 };

struct set {
    size_t count;
    char names[PS_RING_NODES_MAX + 1][NAME];
    struct ps_ring_node nodes[PS_RING_NODES_MAX + 1];
};

/* Nodes 10.0.0.1:6379 and on, with weights 1 to 4 drawn by the seed; seed 0: all 1. */
static void set_make(struct set *set, size_t count, uint64_t seed)
{
    struct ps_rng rng = ps_rng_make(seed);
    set->count = count;
    for (size_t i = 0; i < count; i++) {
        snprintf(set->names[i], NAME, "10.0.%zu.%zu:6379", i / 250, 1 + i % 250);
        set->nodes[i].name = ps_str_from(set->names[i]);
        set->nodes[i].weight = seed == 0 ? 1 : 1 + ps_rng_below(&rng, 4);
    }
}

static struct ps_ring *ring_of(const struct set *set)
{
    struct ps_ring *ring = NULL;
    assert_int_equal(ps_ring_new(&ring, set->nodes, set->count), PS_OK);
    return ring;
}

static void draw_key(struct ps_rng *rng, uint8_t key[PS_RING_KEY_BYTES])
{
    for (size_t i = 0; i < PS_RING_KEY_BYTES; i += 8) {
        uint64_t bits = ps_rng_next(rng);
        memcpy(key + i, &bits, 8);
    }
}

static void set_remove(struct set *set, size_t at)
{
    set->count--;
    for (size_t i = at; i < set->count; i++) {
        set->nodes[i] = set->nodes[i + 1];
    }
}

/* --- cases ------------------------------------------------------------------------------------ */

static void every_weight_gets_its_share(void **state)
{
    (void)state;
    struct set set;
    for (size_t count = 3; count <= 40; count += 1 + count / 4) {
        for (uint64_t seed = 0; seed < 3; seed++) {
            set_make(&set, count, seed);
            struct ps_ring *ring = ring_of(&set);
            uint64_t sum = 0;
            for (size_t i = 0; i < count; i++) {
                sum += ps_ring_slots(ring, i);
            }
            assert_int_equal(sum, PS_RING_SLOTS);
            assert_int_equal(ps_ring_count(ring), count);
            assert_true(ps_ring_imbalance_percent(ring) < 0.2);
            ps_ring_free(ring);
        }
    }
}

static void shares_follow_the_weights(void **state)
{
    (void)state;
    const struct ps_ring_node nodes[] = {{PS_STR("a:1"), 1}, {PS_STR("b:1"), 3}};
    struct ps_ring *ring = NULL;
    assert_int_equal(ps_ring_new(&ring, nodes, 2), PS_OK);
    assert_true(ps_ring_share_percent(ring, 0) > 24.99 && ps_ring_share_percent(ring, 0) < 25.01);
    assert_true(ps_ring_share_percent(ring, 1) > 74.99 && ps_ring_share_percent(ring, 1) < 75.01);
    ps_ring_free(ring);
}

static void the_order_of_the_list_does_not_matter(void **state)
{
    (void)state;
    struct set set;
    struct ps_rng rng = ps_rng_make(5);
    uint8_t key[PS_RING_KEY_BYTES];
    set_make(&set, 9, 3);
    struct ps_ring *one = ring_of(&set);
    struct ps_ring_node turned[9];
    for (size_t i = 0; i < 9; i++) {
        turned[i] = set.nodes[(i * 4 + 7) % 9];
    }
    struct ps_ring *other = NULL;
    assert_int_equal(ps_ring_new(&other, turned, 9), PS_OK);
    for (size_t i = 0; i < KEYS; i++) {
        draw_key(&rng, key);
        struct ps_str a = set.nodes[ps_ring_find(one, key)].name;
        assert_true(ps_str_eq(a, turned[ps_ring_find(other, key)].name));
    }
    ps_ring_free(one);
    ps_ring_free(other);
}

/* A change of the table's layout would empty every cache of a fleet that is half upgraded. */
static void the_table_is_the_one_of_earlier_releases(void **state)
{
    (void)state;
    struct set set;
    char text[65];
    uint8_t hash[32];
    uint8_t key[PS_RING_KEY_BYTES] = {0};
    char found[2000];
    set_make(&set, 7, 11);
    struct ps_ring *ring = ring_of(&set);
    struct ps_rng rng = ps_rng_make(1);
    for (size_t i = 0; i < sizeof found; i++) {
        draw_key(&rng, key);
        found[i] = (char)('a' + ps_ring_find(ring, key));
    }
    SHA256((const unsigned char *)found, sizeof found, hash);
    for (size_t i = 0; i < 32; i++) {
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
    }
    assert_string_equal(text, "0db289a20c566a87562040106deaef7e028d99156b9c605285fd57190e34a912");
    ps_ring_free(ring);
}

static void a_node_that_leaves_moves_little_beside_its_own(void **state)
{
    (void)state;
    static const size_t counts[] = {3, 6, 10, 40};
    struct set set;
    uint8_t key[PS_RING_KEY_BYTES];
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        set_make(&set, counts[c], 17 + c);
        struct ps_ring *before = ring_of(&set);
        struct set less = set;
        size_t gone = counts[c] / 2;
        set_remove(&less, gone);
        for (size_t i = 0; i < less.count; i++) {
            less.nodes[i].name.ptr = set.names[i < gone ? i : i + 1];
        }
        struct ps_ring *after = ring_of(&less);
        struct ps_rng rng = ps_rng_make(23);
        size_t stayed = 0;
        size_t moved = 0;
        for (size_t i = 0; i < KEYS; i++) {
            draw_key(&rng, key);
            size_t old = ps_ring_find(before, key);
            if (old != gone) {
                stayed++;
                moved += ps_ring_find(after, key) != (old < gone ? old : old - 1);
            }
        }
        assert_true((double)moved < 0.005 * (double)stayed);
        ps_ring_free(before);
        ps_ring_free(after);
    }
}

static void a_single_node_has_everything(void **state)
{
    (void)state;
    struct set set;
    uint8_t key[PS_RING_KEY_BYTES];
    memset(key, 0xff, sizeof key);
    set_make(&set, 1, 0);
    struct ps_ring *ring = ring_of(&set);
    assert_int_equal(ps_ring_find(ring, key), 0);
    assert_int_equal(ps_ring_slots(ring, 0), PS_RING_SLOTS);
    assert_true(ps_ring_imbalance_percent(ring) == 0.0);
    ps_ring_free(ring);
}

static void lists_that_make_no_ring_are_refused(void **state)
{
    (void)state;
    struct ps_ring *ring = NULL;
    const struct ps_ring_node twice[] = {
        {PS_STR("a:1"), 1}, {PS_STR("b:1"), 1}, {PS_STR("a:1"), 2}};
    const struct ps_ring_node weightless[] = {{PS_STR("a:1"), 0}};
    const struct ps_ring_node heavy[] = {{PS_STR("a:1"), PS_RING_WEIGHT_MAX + 1}};
    const struct ps_ring_node nameless[] = {{PS_STR(""), 1}};
    struct set set;
    set_make(&set, PS_RING_NODES_MAX + 1, 0);
    assert_int_equal(ps_ring_new(&ring, twice, 3), PS_EINVAL);
    assert_int_equal(ps_ring_new(&ring, weightless, 1), PS_EINVAL);
    assert_int_equal(ps_ring_new(&ring, heavy, 1), PS_EINVAL);
    assert_int_equal(ps_ring_new(&ring, nameless, 1), PS_EINVAL);
    assert_int_equal(ps_ring_new(&ring, twice, 0), PS_EINVAL);
    assert_int_equal(ps_ring_new(&ring, set.nodes, set.count), PS_EINVAL);
    set.count--;
    ring = ring_of(&set);
    ps_ring_free(ring);
    ps_ring_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_weight_gets_its_share),
        cmocka_unit_test(shares_follow_the_weights),
        cmocka_unit_test(the_order_of_the_list_does_not_matter),
        cmocka_unit_test(the_table_is_the_one_of_earlier_releases),
        cmocka_unit_test(a_node_that_leaves_moves_little_beside_its_own),
        cmocka_unit_test(a_single_node_has_everything),
        cmocka_unit_test(lists_that_make_no_ring_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
