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
#define PS_SIM_LONGEST_MODEL_LEN                                    \
    131072u /* unless max_model_len says, where the cache is larger \
             */

/* How a server lies about memory that it was told to release. */
enum ps_sim_lie {
    PS_SIM_LIE_NONE,
    PS_SIM_LIE_KEEP, /* success is reported and nothing leaves the device */
    PS_SIM_LIE_LATE, /* success is reported at once, the bytes leave after lie_delay */
    PS_SIM_LIE_HALF, /* success is reported and half of it stays */
    PS_SIM_LIE_BUSY  /* every such call is refused because requests are running, always */
};

/* Their names, in that order, ended by NULL. */
extern const char *const ps_sim_lie_names[];

struct ps_sim_opts {
    /* the device */
    uint64_t memory;
    uint64_t context; /* what the driver and the process take before anything is loaded */
    uint64_t weights;
    uint64_t activations; /* reserved for the largest step */
    double gpu_memory_utilization;
    uint64_t kv_bytes_per_token;
    uint64_t kv_tokens; /* 0: as many as gpu_memory_utilization leaves room for */
    uint64_t image_bytes_per_pixel;
    uint64_t work_bytes_per_token; /* what a request takes beside the cache while it runs */
    uint64_t leak_bytes;           /* what of it stays until the model leaves */
    /* the service curve */
    double prefill_rate; /* prompt tokens per second */
    ps_span decode_base;
    ps_span decode_per_seq;
    double kv_read_rate; /* cached tokens read per second */
    double image_rate;   /* pixels times steps per second */
    double load_rate;    /* bytes of weights per second from disk */
    double wake_rate;    /* and from the host's memory */
    ps_span unload_delay;
    double speed;
    /* the scheduler */
    uint64_t max_num_seqs;
    uint64_t max_num_batched_tokens;
    uint64_t max_queue; /* requests at once, above that they are refused; 0: no limit */
    uint64_t max_batch; /* inputs of one request; 0: no limit of the engine's own */
    ps_span keep_alive; /* how long an idle model stays loaded where models are loaded on demand */
    uint64_t max_model_len; /* tokens; 0 = as many as the cache holds */
    bool prefix_caching;    /* on unless the caller says no; not in the table */
    /* the surface */
    const struct ps_sim_personality *personality; /* NULL: vLLM; not in the table */
    const char *version; /* what the engine says of itself; not in the table */
    const char
        *control_key; /* TensorRT-LLM's, or NULL: memory calls are not there; not in the table */
    bool dev_mode;    /* vLLM: development routes exist; not in the table */
    bool sleep_mode;  /* calls that release memory are switched on; not in the table */
    bool metrics;     /* SGLang, llama.cpp: the metrics are there; not in the table */
    bool explicit_control; /* Triton: models are loaded and unloaded by call; not in the table */
    bool router;           /* llama.cpp: many models, loaded on demand; not in the table */
    const char *const *models; /* names that are served, at least one; not in the table */
    size_t model_count;
    uint64_t embedding_dimensions;
    uint64_t max_body; /* bytes */
    uint64_t seed;
    /* faults, for tests */
    double fail_rate;
    ps_span latency_first;
    enum ps_sim_lie lie; /* not in the table */
    ps_span lie_delay;   /* these two are not divided by speed */
    ps_span metrics_lag;
};

struct ps_sim_personality;

extern const struct ps_option ps_sim_options[];

/* Fills in the defaults: those of the table, prefix caching, development routes, no lie, and one
 * model called "sim". */
void ps_sim_opts_init(struct ps_sim_opts *opts);

#endif
