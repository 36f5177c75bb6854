/* demo_engine - see demo_engine.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/demo_engine.h"

#include <stddef.h>
#include <string.h>

#include "base/check.h"

#define OPENAI_CHAT                                                                                \
    "/v1/chat/completions \\\n"                                                                    \
    "    -H 'content-type: application/json' \\\n"                                                 \
    "    -d '{\"model\":\"sim\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'"
#define OLLAMA_CHAT                                                                                \
    "/api/chat \\\n"                                                                               \
    "    -d '{\"model\":\"sim\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'"
#define EMBEDDING                                                                                  \
    "/v1/embeddings \\\n"                                                                          \
    "    -H 'content-type: application/json' \\\n"                                                 \
    "    -d '{\"model\":\"sim\",\"input\":\"Hello\"}'"

/* Ollama serves one sequence at a time unless OLLAMA_NUM_PARALLEL says more. */
static const struct ps_demo_engine engines[] = {
    {"vllm", PS_PROTOCOL_OPENAI, "chat", true, false, NULL, OPENAI_CHAT},
    {"sglang", PS_PROTOCOL_OPENAI, "chat", true, false, NULL, OPENAI_CHAT},
    {"trtllm", PS_PROTOCOL_OPENAI, "chat", false, false, NULL, OPENAI_CHAT},
    {"llamacpp", PS_PROTOCOL_OPENAI, "chat", false, false, NULL, OPENAI_CHAT},
    {"tgi", PS_PROTOCOL_OPENAI, "chat", false, false, NULL, OPENAI_CHAT},
    {"tei", PS_PROTOCOL_OPENAI, NULL, true, true, NULL, EMBEDDING},
    {"ollama", PS_PROTOCOL_OLLAMA, "chat", true, false, "4", OLLAMA_CHAT},
    {"comfyui", PS_PROTOCOL_COMFYUI, "pictures", false, true, NULL, "/system_stats"},
};

const char *const ps_demo_engine_names[] = {
    "vllm", "sglang", "trtllm", "llamacpp", "tgi", "tei", "ollama", "comfyui", NULL,
};

const struct ps_demo_engine *ps_demo_engine_find(const char *name)
{
    size_t i = 0;
    while (strcmp(engines[i].name, name) != 0) {
        i++;
        PS_CHECK(i < PS_ARRAY_LEN(engines));
    }
    return &engines[i];
}
