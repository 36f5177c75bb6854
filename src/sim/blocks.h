/* blocks - the blocks of the key-value cache, and which text is still in them.
 *
 * A block that nobody uses keeps what it holds until it is needed for something else, the one that
 * was freed first goes first. So a prompt that begins like an earlier one finds its first blocks
 * ready.
 *
 *      find(hash) --> ref ---> in use (refs > 0) --- unref ---> idle list, oldest first
 *      take ---------------------^   publish(hash)                 |
 *        ^------------------------- forgets its text <-------------+
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_BLOCKS_H
#define PS_SIM_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define PS_SIM_NO_BLOCK    UINT32_MAX
#define PS_SIM_MOST_BLOCKS ((uint64_t)1 << 24)

struct ps_sim_blocks;

/* PS_OK, PS_ELIMIT (more than PS_SIM_MOST_BLOCKS, or none) or PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_blocks_new(struct ps_sim_blocks **out, uint64_t count);
void ps_sim_blocks_free(struct ps_sim_blocks *blocks); /* NULL is fine */

uint32_t ps_sim_blocks_count(const struct ps_sim_blocks *blocks);
uint32_t ps_sim_blocks_idle(const struct ps_sim_blocks *blocks);   /* could be taken */
uint32_t ps_sim_blocks_cached(const struct ps_sim_blocks *blocks); /* hold a known text */

/* The block that holds this text, or PS_SIM_NO_BLOCK. It is not counted as in use by this. */
uint32_t ps_sim_blocks_find(const struct ps_sim_blocks *blocks, uint64_t hash);

/* Uses a block once more. */
void ps_sim_blocks_ref(struct ps_sim_blocks *blocks, uint32_t block);

/* An idle block, emptied, with one user; PS_SIM_NO_BLOCK when all are in use. */
uint32_t ps_sim_blocks_take(struct ps_sim_blocks *blocks);

/* One user less; without users the block is idle, and the last to be taken. */
void ps_sim_blocks_unref(struct ps_sim_blocks *blocks, uint32_t block);

/* The block is full of the text with this hash. Nothing happens when the text is already held, by
 * this block or another one. */
void ps_sim_blocks_publish(struct ps_sim_blocks *blocks, uint32_t block, uint64_t hash);

/* Forgets all texts. False, and nothing done, while a block is in use. */
bool ps_sim_blocks_reset(struct ps_sim_blocks *blocks);

/* For tests: do lists, table and counters agree? */
bool ps_sim_blocks_is_sane(const struct ps_sim_blocks *blocks);

#endif
