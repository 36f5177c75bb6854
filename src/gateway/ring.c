#include "gateway/ring.h"

#include <assert.h>
#include <math.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/check.h"

enum { EMPTY = 255 };

static_assert(PS_RING_NODES_MAX <= EMPTY, "a slot is one byte and one value is for an empty one");

struct ps_ring {
    size_t count;
    uint64_t weight_sum;
    uint64_t weights[PS_RING_NODES_MAX];
    uint64_t slots[PS_RING_NODES_MAX];
    uint8_t table[PS_RING_SLOTS];
};

/* A node while the table is filled: it wants every slot, in an order of its own, first + i * step.
 */
struct filler {
    struct ps_str name;
    size_t place; /* in the caller's list */
    uint64_t weight;
    uint64_t credit; /* what its weight has earned and no slot was taken for */
    uint64_t next;
    uint64_t step;
};

/* Little-endian whatever the machine: two gateways may differ in it. */
static uint64_t read_u64(const uint8_t *bytes)
{
    uint64_t number = 0;
    for (size_t i = 0; i < 8; i++) {
        number |= (uint64_t)bytes[i] << (8 * i);
    }
    return number;
}

static struct filler filler_make(const struct ps_ring_node *node, size_t place)
{
    uint8_t hash[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)node->name.ptr, node->name.len, hash);
    return (struct filler){.name = node->name,
                           .place = place,
                           .weight = node->weight,
                           .next = read_u64(hash) % PS_RING_SLOTS,
                           .step = 1 + read_u64(hash + 8) % (PS_RING_SLOTS - 1)};
}

static int by_name(const void *a, const void *b)
{
    const struct filler *one = a;
    const struct filler *other = b;
    size_t len = one->name.len < other->name.len ? one->name.len : other->name.len;
    int order = memcmp(one->name.ptr, other->name.ptr, len);
    return order != 0 ? order
                      : (one->name.len > other->name.len) - (one->name.len < other->name.len);
}

static bool is_valid(const struct ps_ring_node *nodes, size_t count)
{
    bool valid = count > 0 && count <= PS_RING_NODES_MAX;
    for (size_t i = 0; valid && i < count; i++) {
        valid =
            nodes[i].name.len > 0 && nodes[i].weight > 0 && nodes[i].weight <= PS_RING_WEIGHT_MAX;
    }
    return valid;
}

/* The first slot in the node's order that nobody has. */
static void take_slot(struct ps_ring *ring, struct filler *filler)
{
    uint64_t slot = filler->next;
    while (ring->table[slot] != EMPTY) {
        slot = (slot + filler->step) % PS_RING_SLOTS;
    }
    ring->table[slot] = (uint8_t)filler->place;
    ring->slots[filler->place]++;
    filler->next = (slot + filler->step) % PS_RING_SLOTS;
}

/* In each round the heaviest node takes a slot and a lighter one as often as its weight says. */
static void fill(struct ps_ring *ring, struct filler *fillers)
{
    uint64_t heaviest = 0;
    for (size_t i = 0; i < ring->count; i++) {
        heaviest = fillers[i].weight > heaviest ? fillers[i].weight : heaviest;
    }
    memset(ring->table, EMPTY, sizeof ring->table);
    for (size_t left = PS_RING_SLOTS, i = 0; left > 0; i = (i + 1) % ring->count) {
        fillers[i].credit += fillers[i].weight;
        if (fillers[i].credit >= heaviest) {
            fillers[i].credit -= heaviest;
            take_slot(ring, &fillers[i]);
            left--;
        }
    }
}

int ps_ring_new(struct ps_ring **out, const struct ps_ring_node *nodes, size_t count)
{
    struct filler fillers[PS_RING_NODES_MAX];
    if (!is_valid(nodes, count)) {
        return PS_EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        fillers[i] = filler_make(&nodes[i], i);
    }
    qsort(fillers, count, sizeof *fillers, by_name);
    for (size_t i = 1; i < count; i++) {
        if (ps_str_eq(fillers[i - 1].name, fillers[i].name)) {
            return PS_EINVAL;
        }
    }
    struct ps_ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL) {
        return PS_ENOMEM;
    }
    ring->count = count;
    for (size_t i = 0; i < count; i++) {
        ring->weights[i] = nodes[i].weight;
        ring->weight_sum += nodes[i].weight;
    }
    fill(ring, fillers);
    *out = ring;
    return PS_OK;
}

void ps_ring_free(struct ps_ring *ring)
{
    free(ring);
}

size_t ps_ring_find(const struct ps_ring *ring, const uint8_t key[PS_RING_KEY_BYTES])
{
    __extension__ typedef unsigned __int128 wide;
    return ring->table[(size_t)(((wide)read_u64(key) * PS_RING_SLOTS) >> 64)];
}

size_t ps_ring_count(const struct ps_ring *ring)
{
    return ring->count;
}

uint64_t ps_ring_slots(const struct ps_ring *ring, size_t node)
{
    PS_CHECK(node < ring->count);
    return ring->slots[node];
}

double ps_ring_share_percent(const struct ps_ring *ring, size_t node)
{
    return 100.0 * (double)ps_ring_slots(ring, node) / PS_RING_SLOTS;
}

double ps_ring_imbalance_percent(const struct ps_ring *ring)
{
    double worst = 0.0;
    for (size_t i = 0; i < ring->count; i++) {
        double ideal = (double)PS_RING_SLOTS * (double)ring->weights[i] / (double)ring->weight_sum;
        double off = fabs((double)ring->slots[i] - ideal) / ideal;
        worst = off > worst ? off : worst;
    }
    return 100.0 * worst;
}
