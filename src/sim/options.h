/* options - everything that shapes a simulated server, as one table.
 *
 * The defaults describe a model of 8 billion parameters in 16 bits on a card with 24 GiB: 15 GiB of
 * weights, 128 KiB of key-value cache per token, 2 TB/s of memory bandwidth. Names follow vLLM
 * where vLLM has one.
 *
 * Thread: constants only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_OPTIONS_H
#define PS_SIM_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/option.h"

#define PS_SIM_BLOCK_TOKENS 16u /* tokens in a block of the key-value cache */
#define PS_SIM_TOKEN_BYTES  4u  /* a token is 4 bytes of text, always */
#define PS_SIM_BLOCK_BYTES  (PS_SIM_BLOCK_TOKENS * PS_SIM_TOKEN_BYTES)
#define PS_SIM_LONGEST_MODEL_LEN \
    131072u /* when max_model_len is not given and the cache is larger */

struct ps_sim_opts {
    /* the device */
    uint64_t memory;
    uint64_t context; /* what the driver and the process take before anything is loaded */
    uint64_t weights;
    uint64_t activations; /* reserved for the largest step */
    double gpu_memory_utilization;
    uint64_t kv_bytes_per_token;
    uint64_t image_bytes_per_pixel;
    /* the service curve */
    double prefill_rate; /* prompt tokens per second */
    ps_span decode_base;
    ps_span decode_per_seq;
    double kv_read_rate; /* cached tokens read per second */
    double image_rate;   /* pixels times steps per second */
    double speed;
    /* the scheduler */
    uint64_t max_num_seqs;
    uint64_t max_num_batched_tokens;
    uint64_t max_model_len; /* tokens; 0 = as many as the cache holds */
    bool prefix_caching;    /* on unless the caller says no; not in the table */
    /* the surface */
    const char *const *models; /* names that are served, at least one; not in the table */
    size_t model_count;
    uint64_t embedding_dimensions;
    uint64_t max_body; /* bytes */
    uint64_t seed;
    /* faults, for tests */
    double fail_rate;
    ps_span latency_first;
};

extern const struct ps_option ps_sim_options[];

/* Fills in the defaults: those of the table, prefix caching, and one model called "sim". */
void ps_sim_opts_init(struct ps_sim_opts *opts);

#endif
