/* bench_ring - the slot table beside classic ketama: shares, what moves, and lookups.
 *
 *      ring table                       JSON: worst imbalance and excess movement for sets of nodes
 *      ring lookups COUNT SEED ORDER    one byte for each lookup: the node's number; ORDER 0 or 1
 * turns the list ring speed COUNT                 JSON: nanoseconds of one lookup, both
 *
 * Ketama is as in libketama: 40 MD5 hashes for each node of average weight, four points of each,
 * the next point at or above the key's first 32 bits has it. The excess is the share of keys that
 * move although their node stays, when one node leaves: the worst over every node that can leave.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "gateway/ring.h"

enum { NODES_MAX = 64, POINTS_MAX = NODES_MAX * 160 * 4, SAMPLES = 200000 };

struct set {
    size_t count;
    char names[NODES_MAX][32];
    struct ps_ring_node nodes[NODES_MAX];
};

static void set_make(struct set *set, size_t count, uint64_t most)
{
    struct ps_rng rng = ps_rng_make(count * 31 + most);
    set->count = count;
    for (size_t i = 0; i < count; i++) {
        snprintf(set->names[i], sizeof set->names[i], "10.0.0.%zu:6379", i + 1);
        set->nodes[i].name = ps_str_from(set->names[i]);
        set->nodes[i].weight = 1 + ps_rng_below(&rng, most);
    }
}

static void fill_key(struct ps_rng *rng, uint8_t key[PS_RING_KEY_BYTES])
{
    for (size_t i = 0; i < PS_RING_KEY_BYTES; i += 8) {
        uint64_t bits = ps_rng_next(rng);
        memcpy(key + i, &bits, 8);
    }
}

/* A set without one of its nodes; the names stay where they are. */
static void set_without(const struct set *set, size_t gone, struct ps_ring_node out[NODES_MAX])
{
    for (size_t i = 0, n = 0; i < set->count; i++) {
        if (i != gone) {
            out[n++] = set->nodes[i];
        }
    }
}

/* --- ketama ----------------------------------------------------------------------------------- */

struct point {
    uint32_t at;
    uint32_t node;
};

struct ketama {
    size_t count;
    struct point points[POINTS_MAX];
};

static int by_place(const void *a, const void *b)
{
    const struct point *one = a;
    const struct point *other = b;
    return (one->at > other->at) - (one->at < other->at);
}

static void add_points(struct ketama *ketama, struct ps_str name, uint32_t node, size_t hashes)
{
    for (size_t i = 0; i < hashes; i++) {
        char text[64];
        unsigned char hash[EVP_MAX_MD_SIZE];
        int len = snprintf(text, sizeof text, "%.*s-%zu", PS_STR_ARG(name), i);
        EVP_Digest(text, (size_t)len, hash, NULL, EVP_md5(), NULL);
        for (size_t j = 0; j < 4 && ketama->count < POINTS_MAX; j++) {
            struct point point = {.node = node};
            for (size_t k = 0; k < 4; k++) {
                point.at |= (uint32_t)hash[4 * j + k] << (8 * k);
            }
            ketama->points[ketama->count++] = point;
        }
    }
}

static void ketama_make(struct ketama *ketama, const struct ps_ring_node *nodes, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += nodes[i].weight;
    }
    ketama->count = 0;
    for (size_t i = 0; i < count; i++) {
        double share = (double)nodes[i].weight / (double)sum;
        add_points(ketama, nodes[i].name, (uint32_t)i, (size_t)floor(share * 40.0 * (double)count));
    }
    qsort(ketama->points, ketama->count, sizeof *ketama->points, by_place);
}

static size_t ketama_find(const struct ketama *ketama, uint32_t at)
{
    size_t low = 0;
    size_t high = ketama->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ketama->points[middle].at < at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return ketama->points[low == ketama->count ? 0 : low].node;
}

static double ketama_imbalance(const struct ketama *ketama, const struct set *set)
{
    double shares[NODES_MAX] = {0};
    double worst = 0.0;
    uint64_t sum = 0;
    for (size_t i = 0; i < ketama->count; i++) {
        uint32_t before = ketama->points[i == 0 ? ketama->count - 1 : i - 1].at;
        shares[ketama->points[i].node] +=
            (double)(uint32_t)(ketama->points[i].at - before) / 0x1p32;
    }
    for (size_t i = 0; i < set->count; i++) {
        sum += set->nodes[i].weight;
    }
    for (size_t i = 0; i < set->count; i++) {
        double ideal = (double)set->nodes[i].weight / (double)sum;
        worst = fmax(worst, fabs(shares[i] - ideal) / ideal);
    }
    return 100.0 * worst;
}

static uint32_t key_place(const uint8_t *key)
{
    uint32_t place;
    memcpy(&place, key, sizeof place);
    return place;
}

/* --- what moves ------------------------------------------------------------------------------- */

/* Percent of the keys of other nodes that move when `gone` leaves. */
static void measure_excess(const struct set *set, size_t gone, const struct ps_ring *before,
                           const struct ketama *old, double *ours, double *theirs)
{
    static struct ketama fresh;
    struct ps_ring_node nodes[NODES_MAX];
    struct ps_ring *after = NULL;
    struct ps_rng rng = ps_rng_make(7);
    size_t stayed[2] = {0, 0};
    size_t moved[2] = {0, 0};
    set_without(set, gone, nodes);
    ketama_make(&fresh, nodes, set->count - 1);
    if (ps_ring_new(&after, nodes, set->count - 1) != PS_OK) {
        exit(1);
    }
    for (size_t i = 0; i < SAMPLES; i++) {
        uint8_t key[PS_RING_KEY_BYTES];
        fill_key(&rng, key);
        size_t was[2] = {ps_ring_find(before, key), ketama_find(old, key_place(key))};
        size_t is[2] = {ps_ring_find(after, key), ketama_find(&fresh, key_place(key))};
        for (size_t j = 0; j < 2; j++) {
            if (was[j] != gone) {
                stayed[j]++;
                moved[j] += is[j] != (was[j] < gone ? was[j] : was[j] - 1);
            }
        }
    }
    ps_ring_free(after);
    *ours = fmax(*ours, 100.0 * (double)moved[0] / (double)stayed[0]);
    *theirs = fmax(*theirs, 100.0 * (double)moved[1] / (double)stayed[1]);
}

static void print_case(size_t count, uint64_t most, const char *separator)
{
    static struct ketama ketama;
    static struct set set;
    struct ps_ring *ring = NULL;
    double ours = 0.0;
    double theirs = 0.0;
    set_make(&set, count, most);
    ketama_make(&ketama, set.nodes, count);
    if (ps_ring_new(&ring, set.nodes, count) != PS_OK) {
        exit(1);
    }
    for (size_t gone = 0; gone < count; gone++) {
        measure_excess(&set, gone, ring, &ketama, &ours, &theirs);
    }
    printf("%s{\"nodes\": %zu, \"weights\": \"1-%llu\", \"imbalance\": %.6f, \"ketama_imbalance\": "
           "%.6f, "
           "\"excess\": %.6f, \"ketama_excess\": %.6f}\n",
           separator, count, (unsigned long long)most, ps_ring_imbalance_percent(ring),
           ketama_imbalance(&ketama, &set), ours, theirs);
    ps_ring_free(ring);
}

static int print_table(void)
{
    static const size_t counts[] = {3, 6, 10, 20, 40};
    printf("[");
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        print_case(counts[i], 1, i == 0 ? "" : ",");
        print_case(counts[i], 4, ",");
    }
    printf("]\n");
    return 0;
}

/* --- lookups ---------------------------------------------------------------------------------- */

static int write_lookups(size_t count, uint64_t seed, bool turned)
{
    static struct set set;
    struct ps_ring_node nodes[NODES_MAX];
    struct ps_ring *ring = NULL;
    struct ps_rng rng = ps_rng_make(seed);
    set_make(&set, 12, 4);
    for (size_t i = 0; i < set.count; i++) {
        nodes[i] = set.nodes[turned ? set.count - 1 - i : i];
    }
    if (ps_ring_new(&ring, nodes, set.count) != PS_OK) {
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        uint8_t key[PS_RING_KEY_BYTES];
        fill_key(&rng, key);
        size_t node = ps_ring_find(ring, key);
        putchar((int)(turned ? set.count - 1 - node : node));
    }
    ps_ring_free(ring);
    return fflush(stdout) == 0 ? 0 : 1;
}

static int print_speed(size_t count)
{
    static struct set set;
    static struct ketama ketama;
    struct ps_ring *ring = NULL;
    uint64_t sum = 0;
    double spans[2];
    set_make(&set, 12, 4);
    ketama_make(&ketama, set.nodes, set.count);
    if (ps_ring_new(&ring, set.nodes, set.count) != PS_OK) {
        return 1;
    }
    for (int which = 0; which < 2; which++) {
        struct ps_rng rng = ps_rng_make(3);
        ps_time began = ps_clock_now(&ps_clock_real);
        for (size_t i = 0; i < count; i++) {
            uint8_t key[PS_RING_KEY_BYTES];
            fill_key(&rng, key);
            sum += which == 0 ? ps_ring_find(ring, key) : ketama_find(&ketama, key_place(key));
        }
        spans[which] = (double)(ps_clock_now(&ps_clock_real) - began) / (double)count;
    }
    printf("{\"ours\": %.3f, \"ketama\": %.3f, \"sum\": %llu}\n", spans[0], spans[1],
           (unsigned long long)sum);
    ps_ring_free(ring);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t count = 0;
    uint64_t seed = 0;
    if (argc == 2 && strcmp(argv[1], "table") == 0) {
        return print_table();
    }
    if (argc == 5 && strcmp(argv[1], "lookups") == 0 &&
        ps_str_to_u64(ps_str_from(argv[2]), &count) == PS_OK &&
        ps_str_to_u64(ps_str_from(argv[3]), &seed) == PS_OK) {
        return write_lookups(count, seed, argv[4][0] == '1');
    }
    if (argc == 3 && strcmp(argv[1], "speed") == 0 &&
        ps_str_to_u64(ps_str_from(argv[2]), &count) == PS_OK) {
        return print_speed(count);
    }
    fprintf(stderr, "usage: ring table | lookups COUNT SEED ORDER | speed COUNT\n");
    return 2;
}
