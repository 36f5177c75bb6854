/* toll - see toll.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/toll.h"

#include <string.h>

#include "base/check.h"

void ps_toll_init(struct ps_toll_book *book, const char *const *names, size_t count)
{
    PS_CHECK(count <= PS_TOLL_KINDS);
    memset(book, 0, sizeof *book);
    book->names = names;
    book->count = count;
    atomic_init(&book->since, PS_NEVER);
}

void ps_toll_enter(struct ps_toll_book *book, size_t kind, ps_time now)
{
    atomic_store_explicit(&book->inside, (uint32_t)kind, memory_order_relaxed);
    atomic_store_explicit(&book->since, now, memory_order_release);
}

ps_span ps_toll_leave(struct ps_toll_book *book, size_t kind, ps_time now, int error)
{
    ps_time since = atomic_load_explicit(&book->since, memory_order_relaxed);
    atomic_store_explicit(&book->since, PS_NEVER, memory_order_release);
    ps_toll_add(book, kind, now - since, error);
    return now - since;
}

static void raise_to(_Atomic int64_t *most, int64_t value)
{
    int64_t seen = atomic_load_explicit(most, memory_order_relaxed);
    while (seen < value && !atomic_compare_exchange_weak(most, &seen, value)) {
    }
}

void ps_toll_add(struct ps_toll_book *book, size_t kind, ps_span took, int error)
{
    struct ps_toll_cell *cell = &book->cells[kind];
    atomic_fetch_add_explicit(&cell->calls, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&cell->total, took, memory_order_relaxed);
    raise_to(&cell->longest, took);
    if (error != 0) {
        atomic_fetch_add_explicit(&cell->errors, 1, memory_order_relaxed);
        atomic_store_explicit(&cell->last_error, error, memory_order_relaxed);
    }
}

void ps_toll_blame(struct ps_toll_book *book, size_t kind)
{
    atomic_fetch_add_explicit(&book->cells[kind].over_budget, 1, memory_order_relaxed);
}

void ps_toll_read(const struct ps_toll_book *book, size_t kind, struct ps_toll *out)
{
    PS_CHECK(kind < book->count);
    const struct ps_toll_cell *cell = &book->cells[kind];
    *out = (struct ps_toll){
        .name = book->names[kind],
        .calls = atomic_load_explicit(&cell->calls, memory_order_relaxed),
        .errors = atomic_load_explicit(&cell->errors, memory_order_relaxed),
        .last_error = atomic_load_explicit(&cell->last_error, memory_order_relaxed),
        .total = atomic_load_explicit(&cell->total, memory_order_relaxed),
        .longest = atomic_load_explicit(&cell->longest, memory_order_relaxed),
        .over_budget = atomic_load_explicit(&cell->over_budget, memory_order_relaxed),
    };
}

const char *ps_toll_now(const struct ps_toll_book *book, ps_time now, ps_span *took)
{
    ps_time since = atomic_load_explicit(&book->since, memory_order_acquire);
    if (since == PS_NEVER) {
        return NULL;
    }
    *took = now > since ? now - since : 0;
    return book->names[atomic_load_explicit(&book->inside, memory_order_relaxed)];
}
