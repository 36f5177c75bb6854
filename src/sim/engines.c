#include "sim/engines.h"

#include "base/check.h"

/* clang-format off */
static const struct ps_sim_personality *const all[] = {
    &ps_sim_vllm,
    &ps_sim_sglang,
    &ps_sim_trtllm,
    &ps_sim_triton,
    &ps_sim_ollama,
    &ps_sim_llamacpp,
    &ps_sim_comfyui,
    &ps_sim_a1111,
    &ps_sim_tgi,
    &ps_sim_tei,
};

const char *const ps_sim_engine_names[] = {
    "vllm", "sglang", "trtllm", "triton", "ollama", "llamacpp", "comfyui", "a1111", "tgi", "tei", NULL,
};
/* clang-format on */

const struct ps_sim_personality *ps_sim_engines_find(struct ps_str name)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(all); i++) {
        if (ps_str_eq(name, ps_str_from(all[i]->name))) {
            return all[i];
        }
    }
    return NULL;
}
