/* fuzz_sim_surface - workflows, tensors and paths of any kind are read within bounds or refused.
 *
 * Input: one byte that chooses the reader, then what it reads.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "sim/comfyui_graph.h"
#include "sim/json.h"
#include "sim/png.h"
#include "sim/route.h"
#include "sim/triton_tensor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_workflow(const json_t *tree)
{
    struct ps_sim_opts opts;
    struct ps_sim_comfyui_graph graph;
    json_t *error = NULL;
    ps_sim_opts_init(&opts);
    int err = ps_sim_comfyui_graph_read(&graph, tree, &opts, &error);
    if (err == PS_EINVAL) {
        PS_CHECK(json_object_get(error, "error") != NULL);
        json_decref(error);
    } else if (err == PS_OK) {
        PS_CHECK(graph.count > 0 && graph.count <= PS_SIM_COMFYUI_MOST_NODES);
        PS_CHECK(graph.sampler <= graph.count && graph.model < opts.model_count);
        PS_CHECK(graph.width <= PS_SIM_LONGEST_SIDE && graph.pictures > 0);
        ps_sim_comfyui_graph_fini(&graph);
    }
}

static void read_tensors(const json_t *tree)
{
    char reason[200] = "";
    json_t *rows = NULL;
    int err = ps_sim_triton_rows(tree, 8, &rows, reason, sizeof reason);
    PS_CHECK(err != PS_EINVAL || reason[0] != '\0');
    if (err == PS_OK) {
        PS_CHECK(json_array_size(rows) > 0 && json_array_size(rows) <= 8);
        json_decref(rows);
    }
}

static void read_json(uint8_t kind, struct ps_str text)
{
    struct ps_sim_json_error error;
    json_t *tree = NULL;
    if (ps_sim_json_parse(text, &tree, &error) == PS_OK) {
        if (kind == 0 && json_is_object(tree)) {
            read_workflow(tree);
        } else {
            read_tensors(tree);
        }
        json_decref(tree);
    }
}

static void match_routes(struct ps_str text)
{
    struct ps_str names[PS_SIM_ROUTE_NAMES];
    struct ps_str rest = text;
    struct ps_str pattern = PS_STR("");
    (void)ps_str_split(&rest, '\n', &pattern);
    if (ps_sim_route_fits(pattern, rest, names)) {
        PS_CHECK(names[0].len <= rest.len && names[1].len <= rest.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    char *body = malloc(size); /* its own allocation, so that reading beyond it is seen */
    PS_CHECK(body != NULL);
    memcpy(body, data + 1, size - 1);
    struct ps_str text = {body, size - 1};
    switch (data[0] % 4) {
    case 0:
    case 1:
        read_json(data[0] % 4, text);
        break;
    default:
        match_routes(text);
        break;
    }
    free(body);
    return 0;
}
