#include "observe/metric_exemplar.h"

#include <assert.h>
#include <string.h>

enum { TRIES = 4, WORDS = 5, WALL = 4 };

static_assert(sizeof(struct ps_exemplar) == WORDS * sizeof(uint64_t), "copied word by word");
static_assert(offsetof(struct ps_exemplar, wall) == WALL * sizeof(uint64_t), "read on its own");

/* The turn is taken before the words are written, and whoever sees one of them sees that too. */
void ps_exemplar_put(struct ps_exemplar_slot *slot, const struct ps_exemplar *exemplar)
{
    uint64_t turn = atomic_load_explicit(&slot->turn, memory_order_relaxed);
    ps_time last = (ps_time)atomic_load_explicit(&slot->words[WALL], memory_order_relaxed);
    if (turn % 2 == 1 || (turn > 0 && exemplar->wall - last < PS_EXEMPLAR_REST) ||
        !atomic_compare_exchange_strong_explicit(&slot->turn, &turn, turn + 1, memory_order_acq_rel,
                                                 memory_order_relaxed)) {
        return;
    }
    uint64_t words[WORDS];
    memcpy(words, exemplar, sizeof words);
    for (size_t i = 0; i < WORDS; i++) {
        atomic_store_explicit(&slot->words[i], words[i], memory_order_release);
    }
    atomic_store_explicit(&slot->turn, turn + 2, memory_order_release);
}

bool ps_exemplar_get(struct ps_exemplar_slot *slot, struct ps_exemplar *out)
{
    for (int i = 0; i < TRIES; i++) {
        uint64_t words[WORDS];
        uint64_t turn = atomic_load_explicit(&slot->turn, memory_order_acquire);
        for (size_t k = 0; k < WORDS; k++) {
            words[k] = atomic_load_explicit(&slot->words[k], memory_order_acquire);
        }
        if (turn % 2 == 0 && atomic_load_explicit(&slot->turn, memory_order_relaxed) == turn) {
            memcpy(out, words, sizeof words);
            return turn > 0;
        }
    }
    return false;
}

void ps_metric_exemplar(const struct ps_metric_handle *handle, const struct ps_exemplar *exemplar)
{
    if (handle->exemplars == NULL) {
        return;
    }
    size_t count;
    const double *bounds = ps_metric_bounds(handle->family, &count);
    size_t at = count == 0 ? 0 : ps_metric_bucket(bounds, count, exemplar->value);
    ps_exemplar_put(&handle->exemplars[at], exemplar);
}
