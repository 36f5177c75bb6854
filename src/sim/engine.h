/* engine - the simulated scheduler: continuous batching over a paged key-value cache.
 *
 * Works in steps as vLLM's does. A step gives every running sequence its next token (or the next
 * chunk of its prompt) and lets waiting ones in while token budget, sequence limit and cache blocks
 * last. When the blocks run out the sequence that came last is preempted: it loses its blocks and
 * later computes everything again. A step takes
 *
 *      decode_base + decode_per_seq * decoding + cached tokens read / kv_read_rate
 *                  + prompt tokens / prefill_rate + image pixels / image_rate
 *
 *      submit -> delayed -> waiting -> running -> done
 *                   (latency_first)  ^-- preempted --'
 *
 * Pure: time is an argument and the caller keeps the one timer. Sequences and images are embedded
 * in what they are for.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_ENGINE_H
#define PS_SIM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "sim/blocks.h"
#include "sim/chain.h"
#include "sim/device.h"
#include "sim/options.h"
#include "sim/tally.h"

struct ps_sim_engine;
struct ps_sim_seq;
struct ps_sim_image;

struct ps_sim_seq_ops {
    /* One more token was generated. May cancel or submit anything, this sequence included. */
    void (*on_token)(struct ps_sim_seq *seq, ps_time now);
    /* The sequence has left the engine; it may be freed. */
    void (*on_done)(struct ps_sim_seq *seq, ps_time now);
    /* It is about to be let in for the first time. Not PS_OK: it has no memory to run in; it leaves
     * the engine, and on_refused follows, in which it may be freed. NULL: it needs nothing else. */
    int (*on_start)(struct ps_sim_seq *seq);
    void (*on_refused)(struct ps_sim_seq *seq);
};

/* A prompt and how much is wanted. Zero-initialise; fill chain, want and ops; submit. */
struct ps_sim_seq {
    const struct ps_sim_seq_ops *ops;
    struct ps_sim_chain chain; /* prompt, and the answer as far as the owner adds it in on_token */
    uint64_t want;             /* tokens to generate; 0: the prompt is only read (embeddings) */
    ps_span delay;             /* before it may begin: its model is still being loaded */

    /* written by the engine */
    uint64_t prompt_tokens;
    uint64_t generated;
    uint64_t computed; /* tokens of prompt and answer that are in the cache */
    uint64_t hit;      /* prompt tokens found in the cache at first */
    uint64_t preemptions;
    ps_time arrived;
    ps_time started; /* first let in; 0 = not yet */
    ps_time first_token;
    ps_time last_token;

    /* private */
    struct ps_list link;
    uint32_t *blocks;
    size_t block_count;
    size_t block_cap;
    size_t published; /* blocks whose text is findable */
    uint64_t in_step; /* tokens of the step under way */
    ps_time ready;
    uint8_t place;
};

/* A picture in the making. Zero-initialise; fill pixels (of all pictures), steps and on_done. */
struct ps_sim_image {
    uint64_t pixels;
    uint64_t steps;
    ps_time ready; /* not before */
    /* A step is done, `made` of them now; the last is followed by on_done. May be NULL. */
    void (*on_step)(struct ps_sim_image *image, ps_time now);
    /* The job has left the engine: PS_OK, or PS_ELIMIT when the device ran out of memory. */
    void (*on_done)(struct ps_sim_image *image, int err, ps_time now);

    uint64_t made; /* steps; written by the engine */

    /* private */
    struct ps_list link;
    size_t segment;
    bool active;
    bool queued;
};

struct ps_sim_stats {
    uint64_t steps;
    uint64_t preemptions;
    uint64_t prompt_tokens; /* of sequences that were let in */
    uint64_t generated_tokens;
    uint64_t computed_prompt_tokens; /* without those found in the cache, with recomputed ones */
    uint64_t prefix_queries;         /* tokens */
    uint64_t prefix_hits;            /* tokens */
    uint64_t images;
    uint64_t canceled;                               /* sequences */
    size_t delayed, waiting, running, images_queued; /* now */
    struct ps_sim_tally step_tokens;
    struct ps_sim_tally step_seqs;
};

/* Loads the model onto the device. The options are borrowed and outlive the engine. PS_OK,
 * PS_ELIMIT (it doesn't fit), PS_EINVAL (max_model_len is more than the cache holds) or PS_ENOMEM.
 */
PS_MUST_CHECK int ps_sim_engine_new(struct ps_sim_engine **out, const struct ps_sim_opts *opts);

/* Frees the engine; nothing may be submitted any more. NULL is fine. */
void ps_sim_engine_free(struct ps_sim_engine *engine);

/* Takes a sequence in. Call ps_sim_engine_tick() afterwards. */
void ps_sim_engine_submit(struct ps_sim_engine *engine, struct ps_sim_seq *seq, ps_time now);
void ps_sim_engine_submit_image(struct ps_sim_engine *engine, struct ps_sim_image *image);

/* Takes a sequence back at any time, its blocks are free at once; on_done is not called. Nothing
 * happens when it is not in the engine. */
void ps_sim_engine_cancel(struct ps_sim_engine *engine, struct ps_sim_seq *seq);
void ps_sim_engine_cancel_image(struct ps_sim_engine *engine, struct ps_sim_image *image);

/* Frees what a sequence owns; it must not be in the engine. */
void ps_sim_seq_fini(struct ps_sim_seq *seq);

/* Ends the step under way if it is due and begins the next. Returns when to call again, PS_NEVER
 * when there is nothing to do. */
ps_time ps_sim_engine_tick(struct ps_sim_engine *engine, ps_time now);

/* Tokens of prompt and answer together that one sequence may have. */
uint64_t ps_sim_engine_max_model_len(const struct ps_sim_engine *engine);

const struct ps_sim_stats *ps_sim_engine_stats(const struct ps_sim_engine *engine);
const struct ps_sim_blocks *ps_sim_engine_blocks(const struct ps_sim_engine *engine);
const struct ps_sim_device *ps_sim_engine_device(const struct ps_sim_engine *engine);

/* The same, for sim/memory, which moves what is on it. */
struct ps_sim_device *ps_sim_engine_own_device(struct ps_sim_engine *engine);

/* Held, the engine ends the step under way and begins no other. Call ps_sim_engine_tick()
 * afterwards. */
void ps_sim_engine_hold(struct ps_sim_engine *engine, bool held);
bool ps_sim_engine_is_held(const struct ps_sim_engine *engine);

/* The image at work, or NULL. */
const struct ps_sim_image *ps_sim_engine_image(const struct ps_sim_engine *engine);

/* Sequences and images that are in it. */
size_t ps_sim_engine_load(const struct ps_sim_engine *engine);

/* Forgets cached prefixes. False, and nothing done, while blocks are in use. */
bool ps_sim_engine_reset_prefix_cache(struct ps_sim_engine *engine);

#endif
