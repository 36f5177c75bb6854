/* batch_book - a batch model for each model and shape of request that is seen, within a bound.
 *
 * A shape is how long the prompt and the answer of a request are, by powers of four, so that what a
 * batch takes can be compared; "any" takes them all together. When the book is full the one that
 * was not used for the longest time gives way to a new one.
 *
 *      book_at("llama-8b", "p1024-a64")  ->  struct ps_batch_model *
 *
 * Thread: owned by one thread. An entry is allocated when it is first met.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_BATCH_BOOK_H
#define PS_GPU_BATCH_BOOK_H

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "gpu/batch_model.h"

enum {
    PS_BATCH_BOOK_MOST = 64, /* entries, about 1.5 MB */
    PS_BATCH_BOOK_NAME = 128,
    PS_BATCH_BOOK_SHAPE = 32
};

struct ps_batch_entry {
    char model[PS_BATCH_BOOK_NAME];
    char shape[PS_BATCH_BOOK_SHAPE];
    double turns; /* as of ps_batch_goal: 2 for servers that form batches, else 1 */
    ps_time used;
    struct ps_batch_model batch;
};

struct ps_batch_book {
    struct ps_batch_entry *entries[PS_BATCH_BOOK_MOST];
    size_t count;
};

void ps_batch_book_init(struct ps_batch_book *book);
void ps_batch_book_fini(struct ps_batch_book *book);

/* The entry, made (with turns = 1) when it is new; NULL: out of memory. Names are cut to their
 * bounds; what is not printable ASCII becomes '?'. */
struct ps_batch_entry *ps_batch_book_at(struct ps_batch_book *book, struct ps_str model,
                                        struct ps_str shape, ps_time now);

/* The entry, or NULL. An empty shape means "any"; an empty model the only one, if all entries are
 * of the same. */
struct ps_batch_entry *ps_batch_book_find(const struct ps_batch_book *book, struct ps_str model,
                                          struct ps_str shape);

extern const struct ps_str ps_batch_shape_any;

/* "p1024-a64": the prompt has at most 1024 and over 256 tokens, the answer at most 64 and over 16;
 * both are rounded up to a power of four, at least 16. An answer of 0 (embeddings) is left out:
 * "p1024". */
void ps_batch_shape_write(char shape[PS_BATCH_BOOK_SHAPE], uint64_t prompt, uint64_t answer);

/* The tokens of an answer that stand for its shape: half the upper end. Times are compared as if
 * all answers had this many; 0 for 0. */
uint64_t ps_batch_shape_answer(uint64_t answer);

#endif
