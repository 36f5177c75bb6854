#include "base/heap.h"

#include <stdlib.h>

void ps_heap_fini(struct ps_heap *heap)
{
    free(heap->nodes);
    *heap = (struct ps_heap){0};
}

static void place(struct ps_heap *heap, size_t at, struct ps_heap_node *node)
{
    heap->nodes[at] = node;
    node->place = at + 1;
}

static void sift_up(struct ps_heap *heap, size_t at, struct ps_heap_node *node)
{
    while (at > 0 && heap->nodes[(at - 1) / 2]->key > node->key) {
        place(heap, at, heap->nodes[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(heap, at, node);
}

static void sift_down(struct ps_heap *heap, size_t at, struct ps_heap_node *node)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count && heap->nodes[child + 1]->key < heap->nodes[child]->key) {
            child++;
        }
        if (heap->nodes[child]->key >= node->key) {
            break;
        }
        place(heap, at, heap->nodes[child]);
        at = child;
    }
    place(heap, at, node);
}

/* Puts `node` at the hole `at`, whichever way it belongs. */
static void settle(struct ps_heap *heap, size_t at, struct ps_heap_node *node)
{
    if (at > 0 && heap->nodes[(at - 1) / 2]->key > node->key) {
        sift_up(heap, at, node);
    } else {
        sift_down(heap, at, node);
    }
}

static int grow(struct ps_heap *heap)
{
    size_t cap = heap->cap == 0 ? 64 : heap->cap * 2;
    struct ps_heap_node **nodes = realloc(heap->nodes, cap * sizeof *nodes);
    if (nodes == NULL) {
        return PS_ENOMEM;
    }
    heap->nodes = nodes;
    heap->cap = cap;
    return PS_OK;
}

int ps_heap_put(struct ps_heap *heap, struct ps_heap_node *node, int64_t key)
{
    if (node->place != 0) {
        node->key = key;
        settle(heap, node->place - 1, node);
        return PS_OK;
    }
    if (heap->count == heap->cap && grow(heap) != PS_OK) {
        return PS_ENOMEM;
    }
    node->key = key;
    sift_up(heap, heap->count++, node);
    return PS_OK;
}

void ps_heap_remove(struct ps_heap *heap, struct ps_heap_node *node)
{
    if (node->place == 0) {
        return;
    }
    size_t at = node->place - 1;
    struct ps_heap_node *last = heap->nodes[--heap->count];
    node->place = 0;
    if (last != node) {
        settle(heap, at, last);
    }
}

bool ps_heap_is_sane(const struct ps_heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) {
        if (heap->nodes[i]->place != i + 1 || heap->nodes[(i > 0 ? i - 1 : 0) / 2]->key > heap->nodes[i]->key) {
            return false;
        }
    }
    return true;
}
