/* member - what the members of a request's JSON are called in each dialect.
 *
 * A grammar is a list of names at the top of the body and, behind them, names inside its
 * parameters: `options` of Ollama, `parameters` of TGI, `sampling_params` of SGLang, the `inputs`
 * of a node in ComfyUI's graph. What a name means is the same everywhere; request.c reads by the
 * meaning.
 *
 * Thread: constant.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_MEMBER_H
#define PS_GATEWAY_MEMBER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "gateway/dialect.h"

enum ps_member_means {
    PS_MEMBER_OTHER,
    PS_MEMBER_MODEL,
    PS_MEMBER_STREAM,
    PS_MEMBER_STREAM_OPTIONS,
    PS_MEMBER_MESSAGES,
    PS_MEMBER_PROMPT, /* texts, or token ids */
    PS_MEMBER_INSTRUCTIONS,
    PS_MEMBER_TOOLS,
    PS_MEMBER_MEDIA, /* images and the like: no text */
    PS_MEMBER_MAX_TOKENS,
    PS_MEMBER_N,
    PS_MEMBER_BATCH, /* as N, and both are multiplied */
    PS_MEMBER_TEMPERATURE,
    PS_MEMBER_SEED,
    PS_MEMBER_STORE, /* the server remembers the conversation */
    PS_MEMBER_SIZE, /* "512x768" */
    PS_MEMBER_WIDTH,
    PS_MEMBER_HEIGHT,
    PS_MEMBER_STEPS,
    PS_MEMBER_PARAMETERS, /* an object whose members the inner names say */
    PS_MEMBER_TENSORS,    /* KServe: [{"name","shape","datatype","data"}] */
    PS_MEMBER_GRAPH,      /* ComfyUI: {node: {"inputs": {...}, "class_type"}} */
    PS_MEMBER_CLIENT,     /* ComfyUI: whose WebSocket hears of the job */
    PS_MEMBER_JOBS,       /* ComfyUI: prompt ids */
    PS_MEMBER_FILE,       /* ComfyUI: a file that was uploaded before */
    PS_MEMBER_KEEP        /* Ollama: how long the model stays; 0 unloads it */
};

struct ps_member {
    struct ps_str name;
    enum ps_member_means means;
    bool guarded; /* an upstream that reads another one than we do is dangerous */
};

/* Finds a name at the top (`inner` false) or inside the parameters. *bit gets a bit of its own
 * among the names of the dialect's top. NULL: it means nothing to us. */
const struct ps_member *ps_member_find(enum ps_dialect dialect, bool inner, struct ps_str name,
                                       uint32_t *bit);

#endif
