/* adapter - where each inference server says how it is: its pages, and in which order to ask them.
 *
 * What the pages mean is gpu/vitals; what a server can be asked to do is operate/hooks.
 *
 * Thread: constant.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_ADAPTER_H
#define PS_OPERATE_ADAPTER_H

#include <stdbool.h>

#include "gateway/engine.h"
#include "gpu/vitals.h"

enum ps_adapter_id {
    PS_ADAPTER_VLLM,
    PS_ADAPTER_SGLANG,
    PS_ADAPTER_TRTLLM,
    PS_ADAPTER_TRITON,
    PS_ADAPTER_OLLAMA,
    PS_ADAPTER_LLAMACPP,
    PS_ADAPTER_COMFYUI,
    PS_ADAPTER_A1111,
    PS_ADAPTER_TGI,
    PS_ADAPTER_TEI,
    PS_ADAPTER_LMSTUDIO, /* these are no engines of the gateway: items of gpu.sources alone */
    PS_ADAPTER_LLAMASWAP,
    PS_ADAPTER_LMCACHE,
    PS_ADAPTER_DCGM,
    PS_ADAPTER_REMOTE,
    PS_ADAPTER_COUNT
};

enum ps_adapter_when {
    PS_ADAPTER_ALWAYS,   /* without this page nothing is known */
    PS_ADAPTER_OPTIONAL, /* a server may lack it: asked again now and then */
    PS_ADAPTER_NO_STATE, /* optional, and only where no page before told the state */
    PS_ADAPTER_SIGNED,   /* optional, and only with the key that signs */
    PS_ADAPTER_SIMULATED /* only of servers that say that they are simulated */
};

struct ps_adapter_page {
    enum ps_vitals_page page;
    const char *path; /* NULL ends the list */
    enum ps_adapter_when when;
};

#define PS_ADAPTER_PAGES 5

struct ps_adapter {
    const char *name;
    enum ps_engine engine; /* PS_ENGINE_AUTO: none of the gateway's */
    bool preallocates;     /* takes most of the device at start: what counts is its cache */
    struct ps_adapter_page pages[PS_ADAPTER_PAGES];
};

extern const struct ps_adapter ps_adapters[PS_ADAPTER_COUNT];

/* The adapter of an engine, or PS_ADAPTER_COUNT: it shows nothing that we know of. */
enum ps_adapter_id ps_adapter_of(enum ps_engine engine);

/* The names that an item of gpu.sources may have as its kind, NULL-terminated, and the id of the
 * n-th. */
extern const char *const ps_adapter_source_names[];
enum ps_adapter_id ps_adapter_of_source(int n);

#endif
