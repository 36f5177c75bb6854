/* heap - a binary heap of deadlines with room in the element.
 *
 * The element carries its node, so that removing an arbitrary one needs no search. The array grows
 * when an element is pushed; popping never allocates.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_HEAP_H
#define PS_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct ps_heap_node {
    int64_t key;  /* smallest first; written by the heap */
    size_t place; /* 1 + index; 0 = in no heap. Zero-initialise before first use. */
};

struct ps_heap {
    struct ps_heap_node **nodes;
    size_t count;
    size_t cap;
};

/* A zero-initialised heap is empty and ready. Frees the array; elements are not touched. */
void ps_heap_fini(struct ps_heap *heap);

/* Puts a node in, or moves it when it is already in. PS_OK or PS_ENOMEM (moving can't fail). */
PS_MUST_CHECK int ps_heap_put(struct ps_heap *heap, struct ps_heap_node *node, int64_t key);

/* Takes a node out; nothing happens when it is in no heap. */
void ps_heap_remove(struct ps_heap *heap, struct ps_heap_node *node);

/* The node with the smallest key, or NULL. */
static inline struct ps_heap_node *ps_heap_first(const struct ps_heap *heap)
{
    return heap->count == 0 ? NULL : heap->nodes[0];
}

static inline bool ps_heap_holds(const struct ps_heap_node *node)
{
    return node->place != 0;
}

/* For tests: does every parent precede its children and every node know its place? */
bool ps_heap_is_sane(const struct ps_heap *heap);

#endif
