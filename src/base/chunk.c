#include "base/chunk.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum {
    BLOCK_SMALL = 1024,     /* most bodies are small; a first block need not be large */
    BLOCK_LARGE = 16 * 1024 /* then the size that a socket takes at once */
};

struct ps_chunk {
    struct ps_chunk *next;
    uint32_t start; /* first byte not yet dropped */
    uint32_t end;   /* behind the last byte */
    uint32_t cap;
    char data[];
};

static bool take_one(struct ps_budget *budget, int64_t bytes)
{
    int64_t used = atomic_fetch_add_explicit(&budget->used, bytes, memory_order_relaxed) + bytes;
    if (used <= budget->limit) {
        return true;
    }
    atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
    return false;
}

int ps_budget_take(struct ps_budget *budget, size_t bytes)
{
    for (struct ps_budget *at = budget; at != NULL; at = at->parent) {
        if (take_one(at, (int64_t)bytes)) {
            continue;
        }
        for (struct ps_budget *back = budget; back != at; back = back->parent) {
            atomic_fetch_sub_explicit(&back->used, (int64_t)bytes, memory_order_relaxed);
        }
        return PS_ELIMIT;
    }
    return PS_OK;
}

void ps_budget_give(struct ps_budget *budget, size_t bytes)
{
    for (; budget != NULL; budget = budget->parent) {
        int64_t before = atomic_fetch_sub_explicit(&budget->used, (int64_t)bytes, memory_order_relaxed);
        PS_CHECK(before >= (int64_t)bytes);
    }
}

void ps_chunks_fini(struct ps_chunks *chunks)
{
    ps_chunks_drop(chunks, chunks->len);
}

static struct ps_chunk *new_block(size_t need)
{
    size_t size = need <= BLOCK_SMALL - sizeof(struct ps_chunk) ? BLOCK_SMALL : BLOCK_LARGE;
    struct ps_chunk *block = malloc(size);
    if (block != NULL) {
        *block = (struct ps_chunk){.cap = (uint32_t)(size - sizeof *block)};
    }
    return block;
}

static size_t fill(struct ps_chunk *block, struct ps_str bytes)
{
    size_t room = block->cap - block->end;
    size_t n = bytes.len < room ? bytes.len : room;
    memcpy(block->data + block->end, bytes.ptr, n);
    block->end += (uint32_t)n;
    return n;
}

/* A chain of fresh blocks that holds `bytes`, or NULL. */
static struct ps_chunk *new_chain(struct ps_str bytes, struct ps_chunk **last)
{
    struct ps_chunk *first = NULL;
    struct ps_chunk **link = &first;
    while (bytes.len > 0) {
        struct ps_chunk *block = new_block(bytes.len);
        if (block == NULL) {
            while (first != NULL) {
                struct ps_chunk *next = first->next;
                free(first);
                first = next;
            }
            return NULL;
        }
        bytes = ps_str_skip(bytes, fill(block, bytes));
        *link = block;
        link = &block->next;
        *last = block;
    }
    return first;
}

int ps_chunks_append(struct ps_chunks *chunks, struct ps_str bytes)
{
    if (bytes.len == 0) {
        return PS_OK;
    }
    int err = ps_budget_take(chunks->budget, bytes.len);
    if (err != PS_OK) {
        return err;
    }
    size_t room = chunks->last == NULL ? 0 : chunks->last->cap - chunks->last->end;
    struct ps_chunk *chain = NULL;
    struct ps_chunk *chain_last = NULL;
    if (bytes.len > room) {
        chain = new_chain(ps_str_skip(bytes, room), &chain_last);
        if (chain == NULL) {
            ps_budget_give(chunks->budget, bytes.len);
            return PS_ENOMEM;
        }
    }
    if (room > 0) {
        fill(chunks->last, ps_str_first(bytes, room));
    }
    if (chain != NULL) {
        *(chunks->last == NULL ? &chunks->first : &chunks->last->next) = chain;
        chunks->last = chain_last;
    }
    chunks->len += bytes.len;
    return PS_OK;
}

void ps_chunks_drop(struct ps_chunks *chunks, size_t n)
{
    PS_CHECK(n <= chunks->len);
    ps_budget_give(chunks->budget, n);
    chunks->len -= n;
    while (chunks->first != NULL) {
        struct ps_chunk *block = chunks->first;
        size_t here = block->end - block->start;
        if (n < here) {
            block->start += (uint32_t)n;
            return;
        }
        n -= here;
        chunks->first = block->next;
        free(block);
    }
    chunks->last = NULL;
}

size_t ps_chunks_peek(const struct ps_chunks *chunks, size_t offset, struct ps_str *views, size_t max)
{
    size_t count = 0;
    for (const struct ps_chunk *block = chunks->first; block != NULL && count < max; block = block->next) {
        size_t here = block->end - block->start;
        if (offset >= here) {
            offset -= here;
            continue;
        }
        views[count++] = (struct ps_str){block->data + block->start + offset, here - offset};
        offset = 0;
    }
    return count;
}
