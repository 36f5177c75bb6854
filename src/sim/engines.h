/* engines - the list of personalities.
 *
 * Thread: constants only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_ENGINES_H
#define PS_SIM_ENGINES_H

#include "base/str.h"
#include "sim/personality.h"

extern const struct ps_sim_personality ps_sim_vllm;
extern const struct ps_sim_personality ps_sim_sglang;
extern const struct ps_sim_personality ps_sim_trtllm;
extern const struct ps_sim_personality ps_sim_triton;
extern const struct ps_sim_personality ps_sim_ollama;
extern const struct ps_sim_personality ps_sim_llamacpp;
extern const struct ps_sim_personality ps_sim_llamacpp_router; /* of the same name; for --router */
extern const struct ps_sim_personality ps_sim_comfyui;
extern const struct ps_sim_personality ps_sim_a1111;
extern const struct ps_sim_personality ps_sim_tgi;
extern const struct ps_sim_personality ps_sim_tei;

/* "vllm", "sglang", ..., NULL. */
extern const char *const ps_sim_engine_names[];

/* The personality of this name, or NULL. */
const struct ps_sim_personality *ps_sim_engines_find(struct ps_str name);

#endif
