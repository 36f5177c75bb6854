#include "sim/comfyui_graph.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "sim/json.h"
#include "sim/png.h"

#define MOST_PICTURES 64
#define MOST_STEPS    10000

/* clang-format off */
const struct ps_sim_comfyui_kind ps_sim_comfyui_kinds[] = {
    {"CheckpointLoaderSimple", PS_SIM_COMFYUI_LOADER, "MODEL", "loaders"},
    {"UNETLoader", PS_SIM_COMFYUI_LOADER, "MODEL", "loaders"},
    {"CLIPLoader", PS_SIM_COMFYUI_PLAIN, "CLIP", "loaders"},
    {"DualCLIPLoader", PS_SIM_COMFYUI_PLAIN, "CLIP", "loaders"},
    {"VAELoader", PS_SIM_COMFYUI_PLAIN, "VAE", "loaders"},
    {"LoraLoader", PS_SIM_COMFYUI_PLAIN, "MODEL", "loaders"},
    {"CLIPTextEncode", PS_SIM_COMFYUI_PLAIN, "CONDITIONING", "conditioning"},
    {"FluxGuidance", PS_SIM_COMFYUI_PLAIN, "CONDITIONING", "conditioning"},
    {"CLIPSetLastLayer", PS_SIM_COMFYUI_PLAIN, "CLIP", "conditioning"},
    {"EmptyLatentImage", PS_SIM_COMFYUI_LATENT, "LATENT", "latent"},
    {"EmptySD3LatentImage", PS_SIM_COMFYUI_LATENT, "LATENT", "latent"},
    {"LatentUpscale", PS_SIM_COMFYUI_LATENT, "LATENT", "latent"},
    {"KSampler", PS_SIM_COMFYUI_SAMPLER, "LATENT", "sampling"},
    {"KSamplerAdvanced", PS_SIM_COMFYUI_SAMPLER, "LATENT", "sampling"},
    {"VAEDecode", PS_SIM_COMFYUI_PLAIN, "IMAGE", "latent"},
    {"VAEEncode", PS_SIM_COMFYUI_PLAIN, "LATENT", "latent"},
    {"LoadImage", PS_SIM_COMFYUI_PLAIN, "IMAGE", "image"},
    {"ImageScale", PS_SIM_COMFYUI_PLAIN, "IMAGE", "image"},
    {"SaveImage", PS_SIM_COMFYUI_SAVE, NULL, "image"},
    {"PreviewImage", PS_SIM_COMFYUI_PREVIEW, NULL, "image"},
    {NULL, PS_SIM_COMFYUI_PLAIN, NULL, NULL},
};
/* clang-format on */

enum mark { FRESH, OPEN, DONE };

/* What all the readers below need. */
struct reader {
    const json_t *workflow;
    const struct ps_sim_opts *opts;
    struct ps_sim_comfyui_graph *out;
    json_t **error;
    struct visit {
        struct ps_sim_comfyui_node node;
        enum mark mark;
    } * visits; /* all nodes, in the order of the workflow */
    size_t count;
};

json_t *ps_sim_comfyui_graph_error(const char *type, const char *message, const char *details)
{
    return json_pack("{s:{s:s,s:s,s:s,s:{}},s:{}}", "error", "type", type, "message", message,
                     "details", details, "extra_info", "node_errors");
}

static int refuse(struct reader *r, const char *type, const char *message, const char *details)
{
    *r->error = ps_sim_comfyui_graph_error(type, message, details);
    return *r->error == NULL ? PS_ENOMEM : PS_EINVAL;
}

/* An input of a node is wrong. */
static int refuse_input(struct reader *r, const struct ps_sim_comfyui_node *node, const char *type,
                        const char *message, const char *input)
{
    *r->error = json_pack("{s:{s:s,s:s,s:s,s:{}},s:{s:{s:[{s:s,s:s,s:s,s:{s:s}}],s:[],s:s}}}",
                          "error", "type", "prompt_outputs_failed_validation", "message",
                          "Prompt outputs failed validation", "details", "", "extra_info",
                          "node_errors", node->id, "errors", "type", type, "message", message,
                          "details", input, "extra_info", "input_name", input, "dependent_outputs",
                          "class_type", node->kind->name);
    return *r->error == NULL ? PS_ENOMEM : PS_EINVAL;
}

/* --- nodes ------------------------------------------------------------------------------------ */

static const struct ps_sim_comfyui_kind *find_kind(const char *name)
{
    const struct ps_sim_comfyui_kind *kind = ps_sim_comfyui_kinds;
    while (kind->name != NULL && strcmp(kind->name, name) != 0) {
        kind++;
    }
    return kind->name == NULL ? NULL : kind;
}

static int read_node(struct reader *r, const char *id, const json_t *value, struct visit *visit)
{
    const char *type = json_string_value(json_object_get(value, "class_type"));
    const json_t *inputs = json_object_get(value, "inputs");
    if (type == NULL) {
        return refuse(r, "invalid_prompt",
                      "Cannot execute because a node is missing the class_type property.", id);
    }
    if (!json_is_object(inputs)) {
        return refuse(r, "invalid_prompt", "A node has no inputs.", id);
    }
    visit->node = (struct ps_sim_comfyui_node){id, inputs, find_kind(type)};
    if (visit->node.kind == NULL) {
        return refuse(r, "invalid_prompt", "Cannot execute because a node does not exist.", type);
    }
    return PS_OK;
}

static int read_nodes(struct reader *r)
{
    size_t count = json_object_size(r->workflow);
    if (count == 0 || count > PS_SIM_COMFYUI_MOST_NODES) {
        return refuse(r, count == 0 ? "prompt_no_outputs" : "invalid_prompt",
                      count == 0 ? "Prompt has no outputs" : "Prompt has too many nodes", "");
    }
    r->visits = calloc(count, sizeof *r->visits);
    r->out->order = calloc(count, sizeof *r->out->order);
    if (r->visits == NULL || r->out->order == NULL) {
        return PS_ENOMEM;
    }
    /* jansson's iterators are not const, and change nothing */
    json_t *workflow = json_incref((json_t *)(uintptr_t)r->workflow);
    int err = PS_OK;
    for (void *i = json_object_iter(workflow); i != NULL && err == PS_OK;
         i = json_object_iter_next(workflow, i)) {
        err = read_node(r, json_object_iter_key(i), json_object_iter_value(i),
                        &r->visits[r->count++]);
    }
    json_decref(workflow);
    return err;
}

static struct visit *find_visit(struct reader *r, const char *id)
{
    for (size_t i = 0; i < r->count; i++) {
        if (strcmp(r->visits[i].node.id, id) == 0) {
            return &r->visits[i];
        }
    }
    return NULL;
}

/* The id of the node that an input is linked to, or NULL. */
static const char *link_of(const json_t *input)
{
    bool link = json_is_array(input) && json_array_size(input) == 2 &&
                json_is_integer(json_array_get(input, 1));
    return link ? json_string_value(json_array_get(input, 0)) : NULL;
}

static int visit_node(struct reader *r, struct visit *visit);

static int visit_inputs(struct reader *r, struct visit *visit)
{
    json_t *inputs = json_incref((json_t *)(uintptr_t)visit->node.inputs);
    int err = PS_OK;
    for (void *i = json_object_iter(inputs); i != NULL && err == PS_OK;
         i = json_object_iter_next(inputs, i)) {
        const char *id = link_of(json_object_iter_value(i));
        struct visit *source = id == NULL ? NULL : find_visit(r, id);
        if (id != NULL && source == NULL) {
            err = refuse_input(r, &visit->node, "bad_linked_input", "Bad linked input",
                               json_object_iter_key(i));
        } else if (source != NULL) {
            err = visit_node(r, source);
        }
    }
    json_decref(inputs);
    return err;
}

/* Depth first, at most as deep as there are nodes; ComfyUI recurses too. */
static int visit_node(struct reader *r, struct visit *visit)
{
    if (visit->mark == DONE) {
        return PS_OK;
    }
    if (visit->mark == OPEN) {
        return refuse_input(r, &visit->node, "dependency_cycle", "Dependency cycle detected", "");
    }
    visit->mark = OPEN;
    int err = visit_inputs(r, visit);
    visit->mark = DONE;
    if (err == PS_OK) {
        r->out->order[r->out->count++] = visit->node;
    }
    return err;
}

static int order_nodes(struct reader *r)
{
    int err = PS_OK;
    bool any = false;
    for (size_t i = 0; i < r->count && err == PS_OK; i++) {
        enum ps_sim_comfyui_role role = r->visits[i].node.kind->role;
        if (role == PS_SIM_COMFYUI_SAVE || role == PS_SIM_COMFYUI_PREVIEW) {
            any = true;
            err = visit_node(r, &r->visits[i]);
        }
    }
    return err == PS_OK && !any ? refuse(r, "prompt_no_outputs", "Prompt has no outputs", "") : err;
}

/* --- what the nodes want ---------------------------------------------------------------------- */

/* A number that is not linked; *out stays as it is when it is absent. */
static int read_number(struct reader *r, const struct ps_sim_comfyui_node *node, const char *name,
                       uint64_t min, uint64_t max, uint64_t *out)
{
    const json_t *value = json_object_get(node->inputs, name);
    if (value == NULL || link_of(value) != NULL) {
        return PS_OK;
    }
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || (uint64_t)number < min) {
        return refuse_input(r, node, "value_smaller_than_min", "Value is too small, or no number",
                            name);
    }
    if ((uint64_t)number > max) {
        return refuse_input(r, node, "value_bigger_than_max", "Value is too large", name);
    }
    *out = (uint64_t)number;
    return PS_OK;
}

/* "sdxl.safetensors" names the model "sdxl" too. */
static bool is_model(const char *model, const char *name)
{
    size_t len = strlen(model);
    return strncmp(model, name, len) == 0 &&
           (name[len] == '\0' || strcmp(name + len, ".safetensors") == 0);
}

static int read_loader(struct reader *r, const struct ps_sim_comfyui_node *node)
{
    const char *input = strcmp(node->kind->name, "UNETLoader") == 0 ? "unet_name" : "ckpt_name";
    const char *name = ps_sim_json_text(node->inputs, input, "");
    for (size_t i = 0; i < r->opts->model_count; i++) {
        if (is_model(r->opts->models[i], name)) {
            r->out->model = i;
            return PS_OK;
        }
    }
    return refuse_input(r, node, "value_not_in_list", "Value not in list", input);
}

static int read_latent(struct reader *r, const struct ps_sim_comfyui_node *node)
{
    uint64_t width = r->out->width;
    uint64_t height = r->out->height;
    int err = read_number(r, node, "width", 16, PS_SIM_LONGEST_SIDE, &width);
    err = err == PS_OK ? read_number(r, node, "height", 16, PS_SIM_LONGEST_SIDE, &height) : err;
    err = err == PS_OK ? read_number(r, node, "batch_size", 1, MOST_PICTURES, &r->out->pictures)
                       : err;
    r->out->width = (uint32_t)width;
    r->out->height = (uint32_t)height;
    return err;
}

/* Seeds are 64 bits without a sign: what is beyond a signed number arrives as a double. */
static uint64_t read_seed(const struct ps_sim_comfyui_node *node)
{
    const json_t *seed = json_object_get(node->inputs, "seed");
    seed = seed == NULL ? json_object_get(node->inputs, "noise_seed") : seed;
    double real = json_real_value(seed);
    if (json_is_real(seed) && real >= 0 && real < 0x1p64) {
        return (uint64_t)real;
    }
    return (uint64_t)json_integer_value(seed);
}

static int read_sampler(struct reader *r, const struct ps_sim_comfyui_node *node)
{
    uint64_t steps = 20;
    int err = read_number(r, node, "steps", 1, MOST_STEPS, &steps);
    r->out->steps += steps;
    r->out->seed = r->out->seed * 31 + read_seed(node);
    return err;
}

static int read_wishes(struct reader *r)
{
    struct ps_sim_comfyui_graph *out = r->out;
    int err = PS_OK;
    out->sampler = out->count;
    for (size_t i = 0; i < out->count && err == PS_OK; i++) {
        const struct ps_sim_comfyui_node *node = &out->order[i];
        switch (node->kind->role) {
        case PS_SIM_COMFYUI_LOADER:
            err = read_loader(r, node);
            break;
        case PS_SIM_COMFYUI_LATENT:
            err = read_latent(r, node);
            break;
        case PS_SIM_COMFYUI_SAMPLER:
            out->sampler = out->sampler == out->count ? i : out->sampler;
            err = read_sampler(r, node);
            break;
        case PS_SIM_COMFYUI_PLAIN:
            out->seed ^= ps_str_hash(ps_str_from(ps_sim_json_text(node->inputs, "text", "")), i);
            break;
        case PS_SIM_COMFYUI_SAVE:
        case PS_SIM_COMFYUI_PREVIEW:
            break;
        }
    }
    return err;
}

int ps_sim_comfyui_graph_read(struct ps_sim_comfyui_graph *out, const json_t *workflow,
                              const struct ps_sim_opts *opts, json_t **error)
{
    struct ps_sim_comfyui_graph graph = {.width = 512, .height = 512, .pictures = 1};
    struct reader r = {.workflow = workflow, .opts = opts, .out = &graph, .error = error};
    int err = read_nodes(&r);
    err = err == PS_OK ? order_nodes(&r) : err;
    err = err == PS_OK ? read_wishes(&r) : err;
    free(r.visits);
    if (err != PS_OK) {
        ps_sim_comfyui_graph_fini(&graph);
        return err;
    }
    *out = graph;
    return PS_OK;
}

void ps_sim_comfyui_graph_fini(struct ps_sim_comfyui_graph *graph)
{
    free(graph->order);
    graph->order = NULL;
    graph->count = 0;
}
