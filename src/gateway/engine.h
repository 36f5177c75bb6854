/* engine - the inference servers that are known by name, and where each says how it is.
 *
 * What the rest of the gateway knows of an engine: its name in the configuration, the path that is
 * 200 while it is well, and whether it speaks the OpenAI API. What is asked to find out which
 * engine it is lives in daemon/detect.
 *
 * Thread: constant.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_ENGINE_H
#define PS_GATEWAY_ENGINE_H

#include <stdbool.h>

enum ps_engine {
    PS_ENGINE_AUTO, /* not known (yet) */
    PS_ENGINE_OPENAI,
    PS_ENGINE_VLLM,
    PS_ENGINE_SGLANG,
    PS_ENGINE_TRTLLM,
    PS_ENGINE_TRITON,
    PS_ENGINE_OLLAMA,
    PS_ENGINE_LLAMACPP,
    PS_ENGINE_COMFYUI,
    PS_ENGINE_A1111,
    PS_ENGINE_TGI,
    PS_ENGINE_TEI,
    PS_ENGINE_COUNT
};

/* "auto", "openai", ..., NULL. */
extern const char *const ps_engine_names[];

/* The path that answers 200 when an engine of this kind is well; "" for auto (a TCP connection). */
const char *ps_engine_health_path(enum ps_engine engine);

/* Is `found` what somebody meant who wrote `meant`? `openai` stands for all that speak its API. */
bool ps_engine_fits(enum ps_engine meant, enum ps_engine found);

#endif
