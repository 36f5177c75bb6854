/* chunk - bytes in flight: a queue of fixed-size blocks that counts against a budget.
 *
 * Whatever the program holds back for somebody (a request body that may have to be sent again, an
 * answer that its reader is too slow for) lives here and nowhere else, so that one number says how
 * much is buffered and one limit bounds it.
 *
 *      append --> [....block....] -> [....block....] -> [..block     ] --> drop
 *
 * Thread: a queue is owned by one thread; a budget is shared by all.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_CHUNK_H
#define PS_BASE_CHUNK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* How many bytes may be buffered in all; shared by every queue that was given it. A budget may have
 * a parent (a tenant's share inside the whole): both must have room. */
struct ps_budget {
    _Atomic int64_t used;
    int64_t limit;
    struct ps_budget *parent; /* or NULL */
};

/* Takes `bytes` from the budget and its parents. PS_OK, or PS_ELIMIT and nothing is taken. A NULL
 * budget has no bound. */
PS_MUST_CHECK int ps_budget_take(struct ps_budget *budget, size_t bytes);
void ps_budget_give(struct ps_budget *budget, size_t bytes);

struct ps_chunk; /* one block */

struct ps_chunks {
    struct ps_chunk *first;
    struct ps_chunk *last;
    size_t len;               /* bytes queued */
    struct ps_budget *budget; /* or NULL */
};

/* An empty queue; owns no memory until something is appended. */
static inline struct ps_chunks ps_chunks_make(struct ps_budget *budget)
{
    return (struct ps_chunks){NULL, NULL, 0, budget};
}

/* Frees all blocks and gives their bytes back to the budget; the queue is empty and usable. */
void ps_chunks_fini(struct ps_chunks *chunks);

/* Appends a copy. PS_OK, PS_ELIMIT (budget) or PS_ENOMEM; on failure nothing was appended. */
PS_MUST_CHECK int ps_chunks_append(struct ps_chunks *chunks, struct ps_str bytes);

/* Removes the first n bytes (n <= len); blocks that become empty are freed. */
void ps_chunks_drop(struct ps_chunks *chunks, size_t n);

/* Fills views[] with the queued bytes from `offset` on, in order, at most `max` views. Returns the
 * number filled. The views hold until the next change of the queue. */
size_t ps_chunks_peek(const struct ps_chunks *chunks, size_t offset, struct ps_str *views, size_t max);

#endif
