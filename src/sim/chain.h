/* chain - a text as a chain of block hashes, and the number of its tokens.
 *
 * Each block's hash covers its own bytes and all before them, so that equal hashes mean equal
 * prefixes. A token is 4 bytes of text by definition, in prompts and in answers alike; an answer
 * that comes back as part of the next prompt therefore fills the same blocks.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_CHAIN_H
#define PS_SIM_CHAIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "sim/options.h"

struct ps_sim_chain {
    uint64_t *hashes; /* owned; one per full block */
    size_t count;
    size_t cap;
    uint64_t last; /* of the last full block, or the seed */
    uint64_t bytes;
    char tail[PS_SIM_BLOCK_BYTES]; /* bytes % PS_SIM_BLOCK_BYTES of them are valid */
};

/* An empty text; texts with different seeds share nothing. */
static inline struct ps_sim_chain ps_sim_chain_make(uint64_t seed)
{
    return (struct ps_sim_chain){.last = seed};
}

void ps_sim_chain_fini(struct ps_sim_chain *chain);

/* Appends text. PS_OK or PS_ENOMEM (then the chain is only good for fini). */
PS_MUST_CHECK int ps_sim_chain_add(struct ps_sim_chain *chain, struct ps_str text);

/* Bytes divided by 4, rounded up. */
static inline uint64_t ps_sim_chain_tokens(const struct ps_sim_chain *chain)
{
    return (chain->bytes + PS_SIM_TOKEN_BYTES - 1) / PS_SIM_TOKEN_BYTES;
}

/* A hash of the whole text. */
uint64_t ps_sim_chain_hash(const struct ps_sim_chain *chain);

#endif
