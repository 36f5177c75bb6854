#include "observe/metric_cell.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"

struct ps_metric_group {
    struct ps_metric_group *next;
    _Atomic uint64_t *cells;
};

enum { PAGE_BYTES = PS_METRIC_STRIDE * sizeof(uint64_t) };

void ps_metric_cells_init(struct ps_metric_cells *pool, unsigned shards)
{
    PS_CHECK(shards >= 1 && shards <= PS_METRIC_SHARDS_MAX);
    memset(pool, 0, sizeof(*pool));
    pool->shards = shards;
    atomic_init(&pool->used, 1);
    pool->busy[0] = true;
}

void ps_metric_cells_fini(struct ps_metric_cells *pool)
{
    while (pool->groups != NULL) {
        struct ps_metric_group *group = pool->groups;
        pool->groups = group->next;
        munmap(group->cells, (size_t)pool->shards * PAGE_BYTES);
        free(group);
    }
}

/* Huge pages are refused: one would make the pages of idle shards real. */
static int add_group(struct ps_metric_cells *pool)
{
    struct ps_metric_group *group = malloc(sizeof(*group));
    if (group == NULL) {
        return PS_ENOMEM;
    }
    size_t bytes = (size_t)pool->shards * PAGE_BYTES;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        free(group);
        return PS_ENOMEM;
    }
    (void)madvise(memory, bytes, MADV_NOHUGEPAGE);
    group->cells = memory;
    group->next = pool->groups;
    pool->groups = group;
    pool->next = 0;
    return PS_OK;
}

static _Atomic uint64_t *cell_of(_Atomic uint64_t *cells, unsigned shard)
{
    return cells + (size_t)shard * PS_METRIC_STRIDE;
}

static _Atomic uint64_t *reuse(struct ps_metric_cells *pool, size_t count)
{
    _Atomic uint64_t *cells = pool->spare[count];
    pool->spare[count] = (void *)(uintptr_t)atomic_load_explicit(cells, memory_order_relaxed);
    unsigned used = atomic_load_explicit(&pool->used, memory_order_relaxed);
    for (unsigned shard = 0; shard < used; shard++) {
        for (size_t i = 0; i < count; i++) {
            atomic_store_explicit(cell_of(cells, shard) + i, 0, memory_order_relaxed);
        }
    }
    return cells;
}

int ps_metric_cells_get(struct ps_metric_cells *pool, size_t count, _Atomic uint64_t **out)
{
    PS_CHECK(count >= 1 && count <= PS_METRIC_CELLS_MAX);
    if (pool->spare[count] != NULL) {
        *out = reuse(pool, count);
        return PS_OK;
    }
    if (pool->groups == NULL || pool->next + count > PS_METRIC_STRIDE) {
        int err = add_group(pool);
        if (err != PS_OK) {
            return err;
        }
    }
    *out = pool->groups->cells + pool->next;
    pool->next += count;
    return PS_OK;
}

void ps_metric_cells_put(struct ps_metric_cells *pool, _Atomic uint64_t *cells, size_t count)
{
    atomic_store_explicit(cells, (uintptr_t)pool->spare[count], memory_order_relaxed);
    pool->spare[count] = cells;
}

int ps_metric_cells_shard_get(struct ps_metric_cells *pool, unsigned *out)
{
    for (unsigned shard = 1; shard < pool->shards; shard++) {
        if (pool->busy[shard]) {
            continue;
        }
        pool->busy[shard] = true;
        if (shard >= atomic_load_explicit(&pool->used, memory_order_relaxed)) {
            atomic_store_explicit(&pool->used, shard + 1, memory_order_release);
        }
        *out = shard;
        return PS_OK;
    }
    return PS_ELIMIT;
}

void ps_metric_cells_shard_put(struct ps_metric_cells *pool, unsigned shard)
{
    PS_CHECK(shard >= 1 && shard < pool->shards && pool->busy[shard]);
    pool->busy[shard] = false;
}

uint64_t ps_metric_cells_sum(const struct ps_metric_cells *pool, _Atomic uint64_t *cell)
{
    uint64_t sum = 0;
    unsigned used = atomic_load_explicit(&pool->used, memory_order_acquire);
    for (unsigned shard = 0; shard < used; shard++) {
        sum += atomic_load_explicit(cell_of(cell, shard), memory_order_relaxed);
    }
    return sum;
}

double ps_metric_cells_sum_double(const struct ps_metric_cells *pool, _Atomic uint64_t *cell)
{
    double sum = 0;
    unsigned used = atomic_load_explicit(&pool->used, memory_order_acquire);
    for (unsigned shard = 0; shard < used; shard++) {
        uint64_t bits = atomic_load_explicit(cell_of(cell, shard), memory_order_relaxed);
        double part;
        memcpy(&part, &bits, sizeof(part));
        sum += part;
    }
    return sum;
}
