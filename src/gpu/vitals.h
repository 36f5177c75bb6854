/* vitals - how an inference server says it is: one schema for what ten engines show.
 *
 * Every engine shows other pages, some several, some in other words with each version. What a
 * page's names mean stands in tables (vitals_pages.c); here is what they all come to:
 *
 *      vLLM /metrics            --.
 *      Ollama /api/ps             |--> readings[]  running, waiting, KV use, preemptions, ...
 *      ComfyUI /system_stats      |    models[]    name, bytes on the device, loaded
 *      dcgm-exporter, ...       --'    devices[]   memory and what else of gpu/device.h is told
 *                                      state       awake, asleep, ...
 *
 * A reading is known or not: what no page told is unknown, never 0; and neither is a number that
 * can't be one (NaN, the "blank" numbers of DCGM, a negative count). Pages are read strictly and
 * within bounds: a malformed one is refused as a whole.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_VITALS_H
#define PS_GPU_VITALS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "gpu/device.h"

#define PS_VITALS_MODELS_MAX  64
#define PS_VITALS_DEVICES_MAX 64
#define PS_VITALS_BATCHES_MAX 256
#define PS_VITALS_NAME        128 /* of a model, with the terminator */

/* X(NAME, name on the wire, unit, what it is) */
/* clang-format off */
#define PS_VITALS_TABLE(X)                                                                                  \
    X(RUNNING, "running", "requests", "requests that the engine works on")                                  \
    X(WAITING, "waiting", "requests", "requests that wait inside the engine for room")                      \
    X(KV_USE, "kv_use", "ratio", "share of the key-value cache that living requests hold")                  \
    X(KV_BLOCKS_TOTAL, "kv_blocks_total", "blocks", "blocks of the key-value cache")                        \
    X(KV_BLOCK_TOKENS, "kv_block_tokens", "tokens", "tokens that one of these blocks holds")                \
    X(KV_BLOCKS_USED, "kv_blocks_used", "blocks", "of these, held by living requests")                      \
    X(KV_TOKENS_USED, "kv_tokens_used", "tokens", "tokens in the key-value cache that requests hold")       \
    X(PREFIX_QUERIES, "prefix_queries", "tokens", "tokens looked up in the prefix cache since the start")   \
    X(PREFIX_HITS, "prefix_hits", "tokens", "of these, found")                                              \
    X(PREFIX_HIT_RATE, "prefix_hit_rate", "ratio", "found of those looked up")                              \
    X(PREEMPTIONS, "preemptions", "count", "requests that lost their cache to others since the start")      \
    X(PROMPT_TOKENS, "prompt_tokens", "tokens", "prompts read since the start")                             \
    X(GENERATED_TOKENS, "generated_tokens", "tokens", "tokens generated since the start")                   \
    X(HELD, "held_bytes", "bytes", "device memory that the engine says it holds")                           \
    X(ALLOCATOR_RESERVED, "allocator_reserved_bytes", "bytes", "device memory that its allocator keeps")    \
    X(ALLOCATOR_ACTIVE, "allocator_active_bytes", "bytes", "of this, in use")                               \
    X(ALLOCATOR_RETRIES, "allocator_retries", "count", "allocations that first failed, since the start")    \
    X(OUT_OF_MEMORY, "out_of_memory", "count", "allocations that failed for good, since the start")
/* clang-format on */

enum ps_vitals_field {
#define PS_VITALS_ENUM(NAME, name, unit, text) PS_VITALS_##NAME,
    PS_VITALS_TABLE(PS_VITALS_ENUM)
#undef PS_VITALS_ENUM
        PS_VITALS_FIELDS
};

struct ps_vitals_row {
    const char *name;
    const char *unit;
    const char *text;
};

extern const struct ps_vitals_row ps_vitals_rows[PS_VITALS_FIELDS];

enum ps_vitals_state {
    PS_VITALS_STATE_UNKNOWN,
    PS_VITALS_AWAKE,
    PS_VITALS_CHANGING, /* falling asleep or waking up */
    PS_VITALS_ASLEEP,   /* some of the memory is given back, and it wakes quickly */
    PS_VITALS_EMPTY,    /* weights are gone too: waking is loading */
    PS_VITALS_FAILED    /* for good: only a restart helps */
};

extern const char *const ps_vitals_state_names[]; /* "" for unknown, "awake", ... */

struct ps_vitals_model {
    char name[PS_VITALS_NAME];
    struct ps_device_reading bytes; /* on the device */
    bool loaded;                    /* false: the server could load it */
    struct ps_device_reading mark;  /* seconds; another one than before: it was used in between */
    ps_time used; /* no use of it was seen since; written by operate/scrape; 0 = nobody can tell */
    bool listed;  /* it says "loaded" or not: what is only named in labels is not listed */
};

/* Batches of one size that a model has computed since its start. */
struct ps_vitals_batch {
    size_t model; /* index into models */
    double size;  /* rows */
    double count; /* batches */
    double seconds; /* all of them together, from input to output, without waiting */
};

struct ps_vitals {
    struct ps_device_reading readings[PS_VITALS_FIELDS];
    unsigned char rank[PS_VITALS_FIELDS]; /* of the name that gave it; a better one replaces it */
    enum ps_vitals_state state;
    bool simulated; /* a page says so */
    struct ps_vitals_model models[PS_VITALS_MODELS_MAX];
    size_t model_count;
    size_t models_left_out;
    struct ps_vitals_batch batches[PS_VITALS_BATCHES_MAX];
    size_t batch_count;
    size_t batches_left_out;
    struct ps_device devices[PS_VITALS_DEVICES_MAX];
    size_t device_count;
    size_t devices_left_out;
};

/* The pages that are known; where each is found, operate/scrape knows. */
enum ps_vitals_page {
    PS_VITALS_PAGE_VLLM,
    PS_VITALS_PAGE_VLLM_SLEEP, /* /is_sleeping */
    PS_VITALS_PAGE_SGLANG,
    PS_VITALS_PAGE_TRTLLM,
    PS_VITALS_PAGE_TRTLLM_STATUS, /* /memory_status */
    PS_VITALS_PAGE_TRITON,
    PS_VITALS_PAGE_TRITON_STATS, /* /v2/models/stats */
    PS_VITALS_PAGE_LLAMACPP,
    PS_VITALS_PAGE_LLAMACPP_SLOTS,
    PS_VITALS_PAGE_LLAMACPP_PROPS,
    PS_VITALS_PAGE_LLAMACPP_MODELS, /* of the router */
    PS_VITALS_PAGE_OLLAMA,          /* /api/ps */
    PS_VITALS_PAGE_COMFYUI,         /* /system_stats */
    PS_VITALS_PAGE_COMFYUI_QUEUE,
    PS_VITALS_PAGE_A1111, /* /sdapi/v1/memory */
    PS_VITALS_PAGE_A1111_PROGRESS,
    PS_VITALS_PAGE_TGI,
    PS_VITALS_PAGE_TEI,
    PS_VITALS_PAGE_LMSTUDIO,  /* /api/v1/models */
    PS_VITALS_PAGE_LLAMASWAP, /* /running */
    PS_VITALS_PAGE_SIM,       /* /sim/state of a simulated server: what a driver would say */
    PS_VITALS_PAGE_DCGM,      /* a dcgm-exporter */
    PS_VITALS_PAGE_REMOTE,    /* /api/gpu/profile of another Penstock */
    PS_VITALS_PAGES
};

void ps_vitals_init(struct ps_vitals *vitals); /* nothing is known */

#define PS_VITALS_WHY 96 /* bytes of a sentence */

/* Adds what a page says. PS_OK; PS_EPARSE or PS_ELIMIT with a sentence in why: part of it may have
 * been added, so throw the vitals away. */
PS_MUST_CHECK int ps_vitals_read(struct ps_vitals *vitals, enum ps_vitals_page page,
                                 struct ps_str text, char why[PS_VITALS_WHY]);

/* After the last page: fills in what follows from the rest (a rate from two counts, free memory
 * from total and used, fragmentation from the allocator's figures). */
void ps_vitals_finish(struct ps_vitals *vitals);

/* The devices as a snapshot of the source (static text); *out has one reference. PS_OK,
 * PS_ENOTFOUND when no page told of a device, PS_ENOMEM. */
PS_MUST_CHECK int ps_vitals_snapshot(const struct ps_vitals *vitals, const char *source,
                                     ps_time taken, struct ps_device_snapshot **out);

/* One number for the memory in use on all its devices; unknown unless all of them tell. */
struct ps_device_reading ps_vitals_device_used(const struct ps_vitals *vitals);
struct ps_device_reading ps_vitals_device_total(const struct ps_vitals *vitals);

/* The tokens that its key-value cache has room for: by its blocks, or by the tokens in it and the
 * share that they take. */
struct ps_device_reading ps_vitals_kv_capacity(const struct ps_vitals *vitals);

/* Notes for each model since when no use of it was seen. `before`: the vitals of an earlier time,
 * NULL at first. */
void ps_vitals_watch(struct ps_vitals *vitals, const struct ps_vitals *before, ps_time now);

/* Does it work on something, or does something wait? False in *known when it does not say. */
bool ps_vitals_is_busy(const struct ps_vitals *vitals, bool *known);

#endif
