/* ring - which node of the distributed cache holds a key: a weighted slot table.
 *
 * Points on a circle spread by 5 to 20 % around a node's share and never get below 1 %; a table
 * that every node fills in turns (Maglev; Eisenbud and others 2016) misses it by a slot. The price
 * is that a few keys move although their node stayed, when another one leaves: 0.07 % with this
 * size.
 *
 *      key, 256 bits --(its first 64, scaled)--> slot, one of 655,373 --> node
 *
 * The table depends on nothing but the names and weights of its nodes, not on their order and not
 * on what was there before, so that every gateway has the same one without asking anybody. Names
 * must be canonical: two spellings of one address are two nodes.
 *
 * Thread: a ring never changes after it is made; any may read it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_RING_H
#define PS_GATEWAY_RING_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define PS_RING_SLOTS      655373 /* a prime */
#define PS_RING_NODES_MAX  255
#define PS_RING_WEIGHT_MAX 1000
#define PS_RING_KEY_BYTES  32

struct ps_ring;

struct ps_ring_node {
    struct ps_str name; /* canonical, not empty */
    uint64_t weight;    /* 1 to PS_RING_WEIGHT_MAX */
};

/* Makes the table of these nodes (borrowed until it returns); takes some 50 ms. PS_OK, PS_ENOMEM,
 * or PS_EINVAL: no node or too many, a name that is empty or there twice, a weight out of bounds.
 */
PS_MUST_CHECK int ps_ring_new(struct ps_ring **out, const struct ps_ring_node *nodes, size_t count);
void ps_ring_free(struct ps_ring *ring); /* NULL is fine */

/* The node of a key, as its place in the list that the ring was made of. */
size_t ps_ring_find(const struct ps_ring *ring, const uint8_t key[PS_RING_KEY_BYTES]);

size_t ps_ring_count(const struct ps_ring *ring);

/* Slots of a node, and the share of all slots that this is, in percent. */
uint64_t ps_ring_slots(const struct ps_ring *ring, size_t node);
double ps_ring_share_percent(const struct ps_ring *ring, size_t node);

/* The worst node's |slots - ideal| / ideal, in percent; ideal is its weight's share of the slots.
 */
double ps_ring_imbalance_percent(const struct ps_ring *ring);

#endif
