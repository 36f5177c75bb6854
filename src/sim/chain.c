#include "sim/chain.h"

#include <stdlib.h>
#include <string.h>

static int push(struct ps_sim_chain *chain, const char *block)
{
    if (chain->count == chain->cap) {
        size_t cap = chain->cap == 0 ? 4 : chain->cap + chain->cap / 2;
        uint64_t *grown = realloc(chain->hashes, cap * sizeof *grown);
        if (grown == NULL) {
            return PS_ENOMEM;
        }
        chain->hashes = grown;
        chain->cap = cap;
    }
    chain->last = ps_str_hash((struct ps_str){block, PS_SIM_BLOCK_BYTES}, chain->last);
    chain->hashes[chain->count++] = chain->last;
    return PS_OK;
}

void ps_sim_chain_fini(struct ps_sim_chain *chain)
{
    free(chain->hashes);
    *chain = (struct ps_sim_chain){0};
}

int ps_sim_chain_add(struct ps_sim_chain *chain, struct ps_str text)
{
    while (text.len > 0) {
        size_t held = chain->bytes % PS_SIM_BLOCK_BYTES;
        struct ps_str part = ps_str_first(text, PS_SIM_BLOCK_BYTES - held);
        const char *block = part.ptr;
        if (part.len < PS_SIM_BLOCK_BYTES) {
            memcpy(chain->tail + held, part.ptr, part.len);
            block = chain->tail;
        }
        if (held + part.len == PS_SIM_BLOCK_BYTES && push(chain, block) != PS_OK) {
            return PS_ENOMEM;
        }
        chain->bytes += part.len;
        text = ps_str_skip(text, part.len);
    }
    return PS_OK;
}

uint64_t ps_sim_chain_hash(const struct ps_sim_chain *chain)
{
    size_t held = chain->bytes % PS_SIM_BLOCK_BYTES;
    return ps_str_hash((struct ps_str){chain->tail, held}, chain->last + 1);
}
