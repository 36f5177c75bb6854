/* metric_cell - the memory behind handles: 64-bit cells, one copy per shard.
 *
 * A group is one mapping of `shards` pages. A series owns the same few cells in each page of its
 * group, so that two threads never share a cache line, a series costs 8 bytes per cell and shard,
 * and a page that no thread ever wrote costs nothing.
 *
 *      group   page of shard 0   page of shard 1   ...
 *              [..cells..]       [..cells..]         same offset = same series
 *
 * Thread: the caller locks; cells themselves are read and written without.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OBSERVE_METRIC_CELL_H
#define PS_OBSERVE_METRIC_CELL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "observe/metric.h"

#define PS_METRIC_CELLS_MAX 246 /* an exponential histogram; explicit ones: sum, bounds, +Inf */

struct ps_metric_group;

struct ps_metric_cells {
    unsigned shards;       /* pages per group */
    _Atomic unsigned used; /* shards that were ever handed out; the others hold zeros */
    bool busy[PS_METRIC_SHARDS_MAX];
    struct ps_metric_group *groups;                   /* newest first; new cells come from it */
    size_t next;                                      /* first free cell of the newest group */
    _Atomic uint64_t *spare[PS_METRIC_CELLS_MAX + 1]; /* given back, by count, linked by cell 0 */
};

/* An empty pool for 1..PS_METRIC_SHARDS_MAX shards; owns no memory yet. */
void ps_metric_cells_init(struct ps_metric_cells *pool, unsigned shards);

/* Unmaps everything. */
void ps_metric_cells_fini(struct ps_metric_cells *pool);

/* Takes `count` (1..PS_METRIC_CELLS_MAX) cells, zero in every shard. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_metric_cells_get(struct ps_metric_cells *pool, size_t count,
                                      _Atomic uint64_t **out);
void ps_metric_cells_put(struct ps_metric_cells *pool, _Atomic uint64_t *cells, size_t count);

/* Takes a shard number above 0, or gives it back. PS_OK or PS_ELIMIT. */
PS_MUST_CHECK int ps_metric_cells_shard_get(struct ps_metric_cells *pool, unsigned *out);
void ps_metric_cells_shard_put(struct ps_metric_cells *pool, unsigned shard);

/* Adds a cell up over all shards, as integers or as doubles. No lock needed. */
uint64_t ps_metric_cells_sum(const struct ps_metric_cells *pool, _Atomic uint64_t *cell);
double ps_metric_cells_sum_double(const struct ps_metric_cells *pool, _Atomic uint64_t *cell);

#endif
