/* gpu_batch_private - what the two files of operate/gpu_batch share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_GPU_BATCH_PRIVATE_H
#define PS_OPERATE_GPU_BATCH_PRIVATE_H

#include "gpu/vitals.h"
#include "operate/gpu_batch.h"
#include "operate/gpu_opts.h"

enum { PS_GPU_BATCH_ROUNDS = 16 };

/* An upstream, or a server that is none. */
struct ps_gpu_shelf {
    char name[64];
    bool simulated;
    bool in_bytes; /* memory is in bytes, not in percent: observed by the program itself */
    bool merges;   /* the server forms batches itself: rows are counted, not requests */
    struct ps_batch_book book;
    struct ps_batch_entry *recent[PS_GPU_BATCH_RECENT]; /* of the latest calls, by shape: a ring */
    size_t calls;
    double
        in_flight; /* a slow mean of what calls had beside them, or of rows in a batch; 0: none */

    /* of the latest round that was learned */
    struct {
        uint32_t id;
        ps_time taken;
        bool idle;
    } rounds[PS_GPU_BATCH_ROUNDS]; /* by server; more of them share a place */
    double device_bytes;           /* that 100 percent stand for; 0 = not known */
    struct ps_vitals_batch before[PS_VITALS_BATCHES_MAX]; /* Triton's counts then */
    size_t before_count;
    uint32_t before_id; /* of the server that told them; 0 = none */
};

struct ps_gpu_batch_gauges; /* gpu_batch.c */

struct ps_gpu_batch {
    struct ps_metrics *metrics;
    struct ps_finished_ring *ring;
    struct ps_gateway *gateway; /* borrowed; NULL at first */
    struct ps_gpu_batch_opts opts;
    double target_percent;
    struct ps_gpu_shelf *shelves[PS_GPU_BATCH_SHELVES];
    size_t count;
    struct ps_gpu_batch_gauges *gauges;
};

/* What the configuration wants of the entry. */
struct ps_batch_goal ps_gpu_batch_goal(const struct ps_gpu_batch *batch,
                                       const struct ps_gpu_shelf *shelf,
                                       const struct ps_batch_entry *entry);

#endif
