#include "gateway/finished.h"

#include <stdatomic.h>
#include <stdlib.h>

/* `turn` is the number of the write that may come into it, and one more once that has come. */
struct cell {
    _Atomic size_t turn;
    struct ps_finished finished;
};

struct ps_finished_ring {
    size_t mask;
    _Atomic size_t written;
    _Atomic uint64_t dropped;
    size_t taken; /* the reader's */
    struct cell cells[];
};

int ps_finished_new(struct ps_finished_ring **out, size_t most)
{
    size_t size = 1;
    while (size < most) {
        size *= 2;
    }
    struct ps_finished_ring *ring = calloc(1, sizeof *ring + size * sizeof(struct cell));
    if (ring == NULL) {
        return PS_ENOMEM;
    }
    ring->mask = size - 1;
    for (size_t i = 0; i < size; i++) {
        atomic_init(&ring->cells[i].turn, i);
    }
    *out = ring;
    return PS_OK;
}

void ps_finished_free(struct ps_finished_ring *ring)
{
    free(ring);
}

/* The cell of the next write, or NULL: it still holds what nobody took. */
static struct cell *claim(struct ps_finished_ring *ring, size_t *number)
{
    size_t next = atomic_load_explicit(&ring->written, memory_order_relaxed);
    for (;;) {
        struct cell *cell = &ring->cells[next & ring->mask];
        size_t turn = atomic_load_explicit(&cell->turn, memory_order_acquire);
        if (turn == next) {
            if (atomic_compare_exchange_weak_explicit(&ring->written, &next, next + 1,
                                                      memory_order_relaxed, memory_order_relaxed)) {
                *number = next;
                return cell;
            }
        } else if ((ptrdiff_t)(turn - next) < 0) {
            return NULL;
        } else {
            next = atomic_load_explicit(&ring->written, memory_order_relaxed);
        }
    }
}

void ps_finished_tell(struct ps_finished_ring *ring, const struct ps_finished *finished)
{
    size_t number;
    struct cell *cell = ring == NULL ? NULL : claim(ring, &number);
    if (cell != NULL) {
        cell->finished = *finished;
        atomic_store_explicit(&cell->turn, number + 1, memory_order_release);
    } else if (ring != NULL) {
        atomic_fetch_add_explicit(&ring->dropped, 1, memory_order_relaxed);
    }
}

bool ps_finished_take(struct ps_finished_ring *ring, struct ps_finished *out)
{
    struct cell *cell = &ring->cells[ring->taken & ring->mask];
    if (atomic_load_explicit(&cell->turn, memory_order_acquire) != ring->taken + 1) {
        return false;
    }
    *out = cell->finished;
    atomic_store_explicit(&cell->turn, ring->taken + ring->mask + 1, memory_order_release);
    ring->taken++;
    return true;
}

uint64_t ps_finished_dropped(const struct ps_finished_ring *ring)
{
    return atomic_load_explicit(&ring->dropped, memory_order_relaxed);
}
