#include "gateway/engine.h"

#include <stddef.h>

/* clang-format off */
const char *const ps_engine_names[] = {
    [PS_ENGINE_AUTO] = "auto",
    [PS_ENGINE_OPENAI] = "openai",
    [PS_ENGINE_VLLM] = "vllm",
    [PS_ENGINE_SGLANG] = "sglang",
    [PS_ENGINE_TRTLLM] = "trtllm",
    [PS_ENGINE_TRITON] = "triton",
    [PS_ENGINE_OLLAMA] = "ollama",
    [PS_ENGINE_LLAMACPP] = "llamacpp",
    [PS_ENGINE_COMFYUI] = "comfyui",
    [PS_ENGINE_A1111] = "a1111",
    [PS_ENGINE_TGI] = "tgi",
    [PS_ENGINE_TEI] = "tei",
    [PS_ENGINE_COUNT] = NULL,
};

static const struct {
    const char *health; /* 200 = it takes requests; llama.cpp answers 503 while it loads its model */
    bool openai;
} engines[PS_ENGINE_COUNT] = {
    [PS_ENGINE_AUTO] = {"", true},
    [PS_ENGINE_OPENAI] = {"/v1/models", true},
    [PS_ENGINE_VLLM] = {"/health", true},
    [PS_ENGINE_SGLANG] = {"/health", true},
    [PS_ENGINE_TRTLLM] = {"/health", true},
    [PS_ENGINE_TRITON] = {"/v2/health/ready", false},
    [PS_ENGINE_OLLAMA] = {"/api/version", true},
    [PS_ENGINE_LLAMACPP] = {"/health", true},
    [PS_ENGINE_COMFYUI] = {"/system_stats", false},
    [PS_ENGINE_A1111] = {"/internal/ping", false},
    [PS_ENGINE_TGI] = {"/health", true},
    [PS_ENGINE_TEI] = {"/health", true},
};
/* clang-format on */

const char *ps_engine_health_path(enum ps_engine engine)
{
    return engine < PS_ENGINE_COUNT ? engines[engine].health : "";
}

bool ps_engine_fits(enum ps_engine meant, enum ps_engine found)
{
    if (meant == PS_ENGINE_AUTO || found == PS_ENGINE_AUTO || meant == found) {
        return true;
    }
    return meant == PS_ENGINE_OPENAI && found < PS_ENGINE_COUNT && engines[found].openai;
}
