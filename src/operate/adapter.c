#include "operate/adapter.h"

#include <stddef.h>
#include <string.h>

/* clang-format off */
#define PAGE(kind, where, condition) {PS_VITALS_PAGE_##kind, where, PS_ADAPTER_##condition}
#define SIM PAGE(SIM, "/sim/state", SIMULATED)

const struct ps_adapter ps_adapters[PS_ADAPTER_COUNT] = {
    [PS_ADAPTER_VLLM] = {"vllm", PS_ENGINE_VLLM, true,
        {PAGE(VLLM, "/metrics", ALWAYS), PAGE(VLLM_SLEEP, "/is_sleeping", NO_STATE), SIM}},
    [PS_ADAPTER_SGLANG] = {"sglang", PS_ENGINE_SGLANG, true,
        {PAGE(SGLANG, "/metrics", ALWAYS), SIM}},
    [PS_ADAPTER_TRTLLM] = {"trtllm", PS_ENGINE_TRTLLM, true,
        {PAGE(TRTLLM, "/prometheus/metrics", ALWAYS), PAGE(TRTLLM_STATUS, "/memory_status", SIGNED), SIM}},
    [PS_ADAPTER_TRITON] = {"triton", PS_ENGINE_TRITON, false,
        {PAGE(TRITON_STATS, "/v2/models/stats", ALWAYS), PAGE(TRITON, "/metrics", OPTIONAL)}},
    [PS_ADAPTER_OLLAMA] = {"ollama", PS_ENGINE_OLLAMA, false,
        {PAGE(OLLAMA, "/api/ps", ALWAYS), SIM}},
    [PS_ADAPTER_LLAMACPP] = {"llamacpp", PS_ENGINE_LLAMACPP, false,
        {PAGE(LLAMACPP_PROPS, "/props", ALWAYS), PAGE(LLAMACPP, "/metrics", OPTIONAL),
         PAGE(LLAMACPP_MODELS, "/models", OPTIONAL), SIM}},
    [PS_ADAPTER_COMFYUI] = {"comfyui", PS_ENGINE_COMFYUI, false,
        {PAGE(COMFYUI, "/system_stats", ALWAYS), PAGE(COMFYUI_QUEUE, "/queue", OPTIONAL)}},
    [PS_ADAPTER_A1111] = {"a1111", PS_ENGINE_A1111, false,
        {PAGE(A1111, "/sdapi/v1/memory", ALWAYS), PAGE(A1111_PROGRESS, "/sdapi/v1/progress", OPTIONAL)}},
    [PS_ADAPTER_TGI] = {"tgi", PS_ENGINE_TGI, true,
        {PAGE(TGI, "/metrics", ALWAYS), SIM}},
    [PS_ADAPTER_TEI] = {"tei", PS_ENGINE_TEI, false,
        {PAGE(TEI, "/metrics", ALWAYS), SIM}},
    [PS_ADAPTER_LMSTUDIO] = {"lmstudio", PS_ENGINE_AUTO, false,
        {PAGE(LMSTUDIO, "/api/v1/models", ALWAYS)}},
    [PS_ADAPTER_LLAMASWAP] = {"llama-swap", PS_ENGINE_AUTO, false,
        {PAGE(LLAMASWAP, "/running", ALWAYS)}},
    [PS_ADAPTER_LMCACHE] = {"lmcache", PS_ENGINE_AUTO, false, {{0}}},
    [PS_ADAPTER_DCGM] = {"dcgm", PS_ENGINE_AUTO, false,
        {PAGE(DCGM, "/metrics", ALWAYS)}},
    [PS_ADAPTER_REMOTE] = {"remote", PS_ENGINE_AUTO, false,
        {PAGE(REMOTE, "/api/gpu/profile", ALWAYS)}},
};

const char *const ps_adapter_source_names[] = {
    "dcgm", "remote", "lmstudio", "llama-swap", "lmcache",
    "vllm", "sglang", "trtllm", "triton", "ollama", "llamacpp", "comfyui", "a1111", "tgi", "tei", NULL};
/* clang-format on */

enum ps_adapter_id ps_adapter_of(enum ps_engine engine)
{
    for (int id = 0; id < PS_ADAPTER_COUNT && engine != PS_ENGINE_AUTO; id++) {
        if (ps_adapters[id].engine == engine) {
            return (enum ps_adapter_id)id;
        }
    }
    return PS_ADAPTER_COUNT;
}

enum ps_adapter_id ps_adapter_of_source(int n)
{
    for (int id = 0; id < PS_ADAPTER_COUNT; id++) {
        if (strcmp(ps_adapters[id].name, ps_adapter_source_names[n]) == 0) {
            return (enum ps_adapter_id)id;
        }
    }
    return PS_ADAPTER_COUNT;
}
