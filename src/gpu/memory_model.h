/* memory_model - how much memory a batch of n takes: m * n + c, learned as it is seen.
 *
 * A line by least squares, in which what is old counts less. What is asked of it is mostly not what
 * a batch takes on average but what it takes at most:
 *
 *      bound(n) = line(n) + 3 * (how far samples are from the line, and how far n is from samples)
 *
 * A batch of twice the size takes at most twice the memory, because what does not grow with it is
 * not negative: while there is no line yet (only one size was seen), that is the bound. What is in
 * use while nothing is at work counts as a size, 0. A size that
 * did not fit into so many bytes needs more than these, whatever the line says.
 *
 * Thread: owned by one thread. Nothing is allocated.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_MEMORY_MODEL_H
#define PS_GPU_MEMORY_MODEL_H

#include <stdbool.h>
#include <stddef.h>

struct ps_memory_model {
    double weight, size, bytes;                /* sums over samples, forgotten slowly */
    double size_size, size_bytes, bytes_bytes; /* of squares and products */
    double samples;                            /* all that were learned */
    size_t smallest, largest;                  /* sizes that were seen */
    double largest_bytes;                      /* the most that the largest took */
    double strikes;                            /* failures lately: each makes the bound wider */
    size_t failed;                             /* did not fit ... */
    double failed_limit;                       /* ... into so many bytes; 0: nothing failed */
};

/* Nothing is known. */
void ps_memory_model_init(struct ps_memory_model *model);

/* So many bytes were in use while a batch of that size was at work; 0: while nothing was, which
 * tells c at once. What is not finite or negative is left out. */
void ps_memory_model_learn(struct ps_memory_model *model, size_t size, double bytes);

/* A batch of that size ran out of memory when so many bytes could be in use. */
void ps_memory_model_fail(struct ps_memory_model *model, size_t size, double limit);

/* What a batch of that size takes on average; NAN until two sizes were seen. */
double ps_memory_model_expect(const struct ps_memory_model *model, size_t size);

/* What it takes at most, never less than a smaller one; NAN: nothing is known. */
double ps_memory_model_bound(const struct ps_memory_model *model, size_t size);

/* The largest size, at most `most`, that takes at most `limit` bytes; 0: none does. More bytes
 * never give a smaller size. Without any sample it is `most`. */
size_t ps_memory_model_fit(const struct ps_memory_model *model, double limit, size_t most);

#endif
