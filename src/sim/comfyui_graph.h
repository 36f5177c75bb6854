/* comfyui_graph - a workflow as ComfyUI's API takes it, checked and put in the order of execution.
 *
 * A workflow is an object of nodes: {"3": {"class_type": "KSampler", "inputs": {...}}}. An input
 * that is
 * ["4", 0] is the first output of node 4. Only what an output node needs is executed, depth first.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_COMFYUI_GRAPH_H
#define PS_SIM_COMFYUI_GRAPH_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "sim/options.h"

#define PS_SIM_COMFYUI_MOST_NODES 512u

enum ps_sim_comfyui_role {
    PS_SIM_COMFYUI_PLAIN,
    PS_SIM_COMFYUI_LOADER, /* names a model */
    PS_SIM_COMFYUI_LATENT, /* says how large the picture is */
    PS_SIM_COMFYUI_SAMPLER,
    PS_SIM_COMFYUI_SAVE,
    PS_SIM_COMFYUI_PREVIEW
};

/* A kind of node that the server knows. */
struct ps_sim_comfyui_kind {
    const char *name;
    enum ps_sim_comfyui_role role;
    const char *output; /* type of what it gives, or NULL */
    const char *category;
};

extern const struct ps_sim_comfyui_kind ps_sim_comfyui_kinds[]; /* ends with an empty row */

struct ps_sim_comfyui_node {
    const char *id; /* borrowed from the workflow */
    const json_t *inputs;
    const struct ps_sim_comfyui_kind *kind;
};

struct ps_sim_comfyui_graph {
    struct ps_sim_comfyui_node *order; /* owned */
    size_t count;
    size_t sampler; /* index of the first sampler, or count when there is none */
    size_t model;   /* index into opts->models */
    uint32_t width, height;
    uint64_t pictures, steps, seed;
};

/* Reads a workflow, which must outlive the graph. PS_OK; PS_EINVAL, and *error is the body of the
 * answer (owned by the caller); PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_comfyui_graph_read(struct ps_sim_comfyui_graph *out,
                                            const json_t *workflow, const struct ps_sim_opts *opts,
                                            json_t **error);

/* Frees the order; a zeroed graph is fine. */
void ps_sim_comfyui_graph_fini(struct ps_sim_comfyui_graph *graph);

/* The body of an answer that refuses a workflow, or NULL: out of memory. */
json_t *ps_sim_comfyui_graph_error(const char *type, const char *message, const char *details);

#endif
