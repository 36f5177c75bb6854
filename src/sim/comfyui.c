/* comfyui - the simulated server as ComfyUI: jobs that outlive their request.
 *
 * POST /prompt queues a workflow and answers at once; what becomes of it is told over the WebSocket
 * of the client that it names, and kept in the history. Names of files count up from one on every
 * server, so two servers give the same names to different pictures. POST /free sets flags that the
 * worker looks at between two jobs. Every path exists with /api before it too.
 *
 * Formats: ComfyUI's server.py, main.py and execution.py, and docs.comfy.org on messages.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "http/server.h"
#include "http/ws.h"
#include "sim/comfyui_jobs.h"
#include "sim/engines.h"
#include "sim/json.h"
#include "sim/png.h"
#include "sim/state.h"

#define MOST_CLIENTS    256u
#define MOST_MESSAGE    ((size_t)1 << 20) /* of a client */
#define MOST_WAITING    256u              /* messages; whoever reads no more is let go */
#define LARGEST_MESSAGE ((size_t)16 << 20)

struct client {
    struct ps_list link;
    struct comfyui *own;
    struct ps_ws *ws;
    struct ps_server *server;
    struct ps_address peer;
    char id[72];
};

struct comfyui {
    struct ps_sim_comfyui_jobs *jobs;
    struct ps_list clients;
    size_t client_count;
    struct ps_buf message;
    uint64_t named; /* clients that brought no id */
};

/* --- who listens ------------------------------------------------------------------------------ */

static void free_client(struct client *client)
{
    ps_list_remove(&client->link);
    client->own->client_count--;
    free(client);
}

static void on_gone(void *ctx, unsigned code)
{
    struct client *client = ctx;
    (void)code;
    ps_server_gone(client->server, &client->peer);
    free_client(client);
}

static const struct ps_ws_ops ws_ops = {.on_gone = on_gone}; /* what clients send is dropped */

static void tell(struct ps_sim_desk *desk, const char *to, const char *type, json_t *data)
{
    struct comfyui *own = desk->own;
    struct ps_ws_frame *frame = NULL;
    ps_buf_clear(&own->message);
    int err = ps_sim_json_dump(&own->message, json_pack("{s:s,s:o}", "type", type, "data", data));
    err = err != PS_OK ? err : ps_ws_frame_new(&frame, PS_WS_OPCODE_TEXT, ps_buf_str(&own->message));
    PS_LIST_FOREACH (node, &own->clients) {
        struct client *client = PS_CONTAINER_OF(node, struct client, link);
        if (err == PS_OK && (to == NULL || strcmp(to, client->id) == 0)) {
            ps_ws_send(client->ws, frame);
        }
    }
    ps_ws_frame_unref(frame);
}

static bool is_plain(struct ps_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < 0x21 || text.ptr[i] > 0x7e || text.ptr[i] == '"' || text.ptr[i] == '\\') {
            return false;
        }
    }
    return true;
}

static void name_client(const struct ps_sim_ask *ask, struct client *client)
{
    size_t at = 0;
    struct ps_str id = PS_STR("");
    (void)ps_sim_ask_query(ask, PS_STR("clientId"), &at, &id);
    if (id.len > 0 && id.len < sizeof client->id && is_plain(id)) {
        memcpy(client->id, id.ptr, id.len);
    } else {
        (void)snprintf(client->id, sizeof client->id, "simulated-%llu",
                       (unsigned long long)++client->own->named);
    }
}

static void greet(struct ps_sim_desk *desk, const struct client *client)
{
    struct comfyui *own = desk->own;
    tell(desk, client->id, "status",
         json_pack("{s:{s:{s:I}},s:s}", "status", "exec_info", "queue_remaining",
                   (json_int_t)ps_sim_comfyui_jobs_left(own->jobs), "sid", client->id));
}

/* The exchange is over, whatever comes of it. */
static int open_ws(const struct ps_sim_ask *ask, const struct ps_ws_handshake *handshake, struct client *client)
{
    struct ps_ws_opts opts = {
        .ops = &ws_ops, .ctx = client, .max_message = MOST_MESSAGE, .max_waiting = MOST_WAITING};
    client->server = ps_exchange_server(ask->exchange);
    client->peer = *ps_exchange_peer(ask->exchange);
    struct ps_loop *loop = ps_exchange_loop(ask->exchange);
    struct ps_stream *stream = ps_ws_accept(ask->exchange, handshake, PS_STR("X-Simulated: true\r\n"));
    int err = stream == NULL ? PS_EIO : ps_ws_open(&client->ws, loop, stream, &opts);
    if (stream != NULL && err != PS_OK) {
        ps_server_gone(client->server, &client->peer);
    }
    return err;
}

static void answer_ws(const struct ps_sim_ask *ask)
{
    struct comfyui *own = ask->desk->own;
    struct ps_ws_handshake handshake;
    ps_ws_handshake_read(&handshake, ps_exchange_head(ask->exchange));
    if (handshake.status != 101) {
        ps_sim_ask_refuse_with(ask, 400, "no_websocket", "This path is for WebSockets.");
        return;
    }
    struct client *client = own->client_count < MOST_CLIENTS ? calloc(1, sizeof *client) : NULL;
    if (client == NULL) {
        ps_sim_ask_refuse_with(ask, 503, "too_many_clients", "There are too many listeners.");
        return;
    }
    handshake.deflate = false;
    client->own = own;
    name_client(ask, client);
    if (open_ws(ask, &handshake, client) != PS_OK) {
        free(client);
        return;
    }
    ps_list_push(&own->clients, &client->link);
    own->client_count++;
    greet(ask->desk, client);
}

/* --- jobs ------------------------------------------------------------------------------------- */

static void accept_job(const struct ps_sim_ask *ask, json_t *given, json_t *workflow,
                       struct ps_sim_comfyui_graph *graph)
{
    struct comfyui *own = ask->desk->own;
    char id[PS_SIM_COMFYUI_ID];
    int64_t number = 0;
    json_t *extra = json_object_get(given, "extra_data");
    int err = ps_sim_comfyui_jobs_push(own->jobs, workflow, json_is_object(extra) ? extra : NULL,
                                       graph, ps_sim_json_text(given, "client_id", ""),
                                       ps_sim_json_flag(given, "front", false), id, &number);
    if (err != PS_OK) {
        ps_sim_comfyui_graph_fini(graph);
        ps_sim_ask_refuse_with(ask, 503, "out_of_memory", "The simulation is out of memory.");
        return;
    }
    ask->desk->metrics.requests++;
    ps_sim_ask_tree(
        ask, 200,
        json_pack("{s:s,s:I,s:{}}", "prompt_id", id, "number", (json_int_t)number, "node_errors"));
}

static void answer_prompt(const struct ps_sim_ask *ask)
{
    struct comfyui *own = ask->desk->own;
    struct ps_sim_comfyui_graph graph;
    json_t *given = ps_sim_ask_object(ask, false);
    json_t *error = NULL;
    uint64_t most = ask->desk->opts->max_queue;
    if (given == NULL) {
        return;
    }
    json_t *workflow = json_object_get(given, "prompt");
    if (!json_is_object(workflow)) {
        ps_sim_ask_refuse_with(ask, 400, "no_prompt", "No prompt provided");
    } else if (most > 0 && ps_sim_comfyui_jobs_left(own->jobs) >= most) {
        ps_sim_ask_refuse_with(ask, 503, "queue_full", "The queue is full.");
    } else if (ps_sim_comfyui_graph_read(&graph, workflow, ask->desk->opts, &error) == PS_OK) {
        accept_job(ask, given, workflow, &graph);
    } else {
        ask->desk->metrics.refused++;
        ps_sim_ask_tree(ask, 400, error);
    }
    json_decref(given);
}

static void answer_left(const struct ps_sim_ask *ask)
{
    const struct comfyui *own = ask->desk->own;
    ps_sim_ask_tree(ask, 200,
                    json_pack("{s:{s:I}}", "exec_info", "queue_remaining",
                              (json_int_t)ps_sim_comfyui_jobs_left(own->jobs)));
}

static void answer_queue(const struct ps_sim_ask *ask)
{
    const struct comfyui *own = ask->desk->own;
    ps_sim_ask_tree(ask, 200,
                    json_pack("{s:o,s:o}", "queue_running",
                              ps_sim_comfyui_jobs_list(own->jobs, PS_SIM_COMFYUI_RUNNING),
                              "queue_pending",
                              ps_sim_comfyui_jobs_list(own->jobs, PS_SIM_COMFYUI_PENDING)));
}

static void answer_empty(const struct ps_sim_ask *ask)
{
    ps_sim_ask_respond(ask, 200, PS_STR(""), PS_STR(""));
}

/* {"clear": true} or {"delete": [ids]}. */
static void forget(const struct ps_sim_ask *ask, enum ps_sim_comfyui_place place)
{
    struct comfyui *own = ask->desk->own;
    json_t *given = ps_sim_ask_object(ask, false);
    if (given == NULL) {
        return;
    }
    const json_t *ids = json_object_get(given, "delete");
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        if (id != NULL) {
            ps_sim_comfyui_jobs_forget(own->jobs, place, id);
        }
    }
    if (ps_sim_json_flag(given, "clear", false)) {
        ps_sim_comfyui_jobs_forget(own->jobs, place, NULL);
    }
    json_decref(given);
    answer_empty(ask);
}

static void answer_queue_change(const struct ps_sim_ask *ask)
{
    forget(ask, PS_SIM_COMFYUI_PENDING);
}

static void answer_history_change(const struct ps_sim_ask *ask)
{
    forget(ask, PS_SIM_COMFYUI_HISTORY);
}

/* An object whose members are jobs: "simulated" has no place in it, the header says so. */
static void answer_with_history(const struct ps_sim_ask *ask, const char *id, size_t most)
{
    const struct comfyui *own = ask->desk->own;
    json_t *history = ps_sim_comfyui_jobs_history(own->jobs, id, most);
    char *text = history == NULL ? NULL : json_dumps(history, JSON_COMPACT);
    json_decref(history);
    if (text == NULL) {
        ps_sim_ask_refuse_with(ask, 503, "out_of_memory", "The simulation is out of memory.");
        return;
    }
    ps_sim_ask_json(ask, ps_str_from(text));
    free(text);
}

static void answer_history(const struct ps_sim_ask *ask)
{
    size_t at = 0;
    struct ps_str text;
    uint64_t most = SIZE_MAX;
    if (ps_sim_ask_query(ask, PS_STR("max_items"), &at, &text) &&
        ps_str_to_u64(text, &most) != PS_OK) {
        most = SIZE_MAX;
    }
    answer_with_history(ask, NULL, (size_t)most);
}

static void answer_one_history(const struct ps_sim_ask *ask)
{
    char id[PS_SIM_COMFYUI_ID] = "";
    if (ask->names[0].len < sizeof id) {
        memcpy(id, ask->names[0].ptr, ask->names[0].len);
    }
    answer_with_history(ask, id, SIZE_MAX);
}

static void answer_interrupt(const struct ps_sim_ask *ask)
{
    const struct comfyui *own = ask->desk->own;
    json_t *given = ps_sim_ask_object(ask, true);
    if (given != NULL) {
        ps_sim_comfyui_jobs_interrupt(own->jobs, ps_sim_json_text(given, "prompt_id", NULL));
        json_decref(given);
        answer_empty(ask);
    }
}

/* Only a flag that is true is kept. */
static void answer_free(const struct ps_sim_ask *ask)
{
    struct comfyui *own = ask->desk->own;
    json_t *given = ps_sim_ask_object(ask, true);
    if (given == NULL) {
        return;
    }
    if (ask->desk->opts->lie == PS_SIM_LIE_BUSY) {
        ps_sim_ask_refuse_with(ask, 400, "busy", "A prompt is running.");
    } else {
        ps_sim_comfyui_jobs_flag(own->jobs, ps_sim_json_flag(given, "unload_models", false),
                                 ps_sim_json_flag(given, "free_memory", false));
        answer_empty(ask);
    }
    json_decref(given);
}

/* --- pictures --------------------------------------------------------------------------------- */

static void answer_view(const struct ps_sim_ask *ask)
{
    const struct comfyui *own = ask->desk->own;
    struct ps_str name = PS_STR("");
    struct ps_str type = PS_STR("output");
    size_t at = 0;
    (void)ps_sim_ask_query(ask, PS_STR("filename"), &at, &name);
    at = 0;
    (void)ps_sim_ask_query(ask, PS_STR("type"), &at, &type);
    const struct ps_sim_comfyui_file *file = ps_sim_comfyui_jobs_file(own->jobs, name, type);
    if (file == NULL) {
        ps_sim_ask_refuse_with(ask, 404, "not_found", "There is no such picture.");
        return;
    }
    struct ps_buf *out = &ask->desk->scratch;
    ps_buf_clear(out);
    int err = ps_sim_png(out, file->width, file->height, file->seed);
    ps_sim_ask_scratch(ask, err, PS_STR("image/png"));
}

/* --- the machine ------------------------------------------------------------------------------ */

/* vram_free counts what the allocator holds and doesn't use, as ComfyUI's get_free_memory() does.
 */
static int write_stats(struct ps_buf *out, struct ps_sim_desk *desk)
{
    const struct ps_sim_device *device = ps_sim_engine_device(desk->engine);
    struct ps_sim_usage usage = ps_sim_device_usage(device);
    json_int_t ram = (json_int_t)64 << 30;
    json_t *system = json_pack("{s:s,s:I,s:I,s:s,s:s,s:s,s:b,s:[s]}", "os", "posix", "ram_total",
                               ram, "ram_free", ram / 2, "comfyui_version", desk->opts->version,
                               "python_version", "simulated", "pytorch_version", "simulated",
                               "embedded_python", 0, "argv", "main.py");
    json_t *gpu = json_pack(
        "{s:s,s:s,s:i,s:I,s:I,s:I,s:I}", "name", "cuda:0 simulated device : cudaMallocAsync",
        "type", "cuda", "index", 0, "vram_total", (json_int_t)device->memory, "vram_free",
        (json_int_t)(usage.free + usage.cached), "torch_vram_total", (json_int_t)usage.reserved,
        "torch_vram_free", (json_int_t)usage.cached);
    return ps_sim_json_dump(out, json_pack("{s:o,s:[o]}", "system", system, "devices", gpu));
}

static void answer_stats(const struct ps_sim_ask *ask)
{
    ps_buf_clear(&ask->desk->scratch);
    int err = ps_sim_desk_metrics(ask->desk, &ask->desk->scratch);
    ps_sim_ask_scratch(ask, err, PS_STR("application/json"));
}

static json_t *list_models(const struct ps_sim_desk *desk)
{
    json_t *list = json_array();
    for (size_t i = 0; i < desk->opts->model_count; i++) {
        (void)json_array_append_new(list, json_string(desk->opts->models[i]));
    }
    return list;
}

static json_t *describe_kind(const struct ps_sim_desk *desk, const struct ps_sim_comfyui_kind *kind)
{
    bool save = kind->role == PS_SIM_COMFYUI_SAVE || kind->role == PS_SIM_COMFYUI_PREVIEW;
    json_t *required = kind->role == PS_SIM_COMFYUI_LOADER
                           ? json_pack("{s:[o]}", "ckpt_name", list_models(desk))
                           : json_object();
    json_t *output = kind->output == NULL ? json_array() : json_pack("[s]", kind->output);
    return json_pack("{s:{s:o},s:o,s:s,s:s,s:s,s:b}", "input", "required", required, "output",
                     output, "name", kind->name, "display_name", kind->name, "category",
                     kind->category, "output_node", (int)save);
}

/* An object whose members are kinds of nodes; see answer_with_history(). */
static void answer_object_info(const struct ps_sim_ask *ask)
{
    json_t *tree = json_object();
    for (const struct ps_sim_comfyui_kind *kind = ps_sim_comfyui_kinds; kind->name != NULL;
         kind++) {
        if (ask->names[0].len == 0 || ps_str_eq(ask->names[0], ps_str_from(kind->name))) {
            (void)json_object_set_new(tree, kind->name, describe_kind(ask->desk, kind));
        }
    }
    char *text = tree == NULL ? NULL : json_dumps(tree, JSON_COMPACT);
    json_decref(tree);
    ps_sim_ask_json(ask, text == NULL ? PS_STR("{}") : ps_str_from(text));
    free(text);
}

static void answer_root(const struct ps_sim_ask *ask)
{
    ps_sim_ask_respond(ask, 200, PS_STR("text/html; charset=utf-8"),
                       PS_STR("<!doctype html><title>ComfyUI (simulated)</title>"));
}

/* --- the personality -------------------------------------------------------------------------- */

static int put_refusal(struct ps_buf *out, const struct ps_sim_refusal *refusal)
{
    json_t *tree = ps_sim_comfyui_graph_error(refusal->type, refusal->text, "");
    return ps_sim_json_dump(out, tree);
}

static int start(struct ps_sim_desk *desk)
{
    struct comfyui *own = calloc(1, sizeof *own);
    if (own == NULL) {
        return PS_ENOMEM;
    }
    own->message = ps_buf_make(LARGEST_MESSAGE);
    ps_list_init(&own->clients);
    desk->own = own;
    return ps_sim_comfyui_jobs_new(&own->jobs, desk, tell);
}

static ps_time tick(struct ps_sim_desk *desk, ps_time now)
{
    const struct comfyui *own = desk->own;
    /* a job that begins now has given the engine work after the engine's turn; one that failed at
     * once leaves its place to the next */
    return ps_sim_comfyui_jobs_turn(own->jobs) ? now : PS_NEVER;
}

static void stop(struct ps_sim_desk *desk)
{
    struct comfyui *own = desk->own;
    if (own == NULL) {
        return;
    }
    while (!ps_list_is_empty(&own->clients)) {
        struct client *client = PS_LIST_FIRST(&own->clients, struct client, link);
        ps_ws_free(client->ws);
        free_client(client);
    }
    ps_sim_comfyui_jobs_free(own->jobs);
    ps_buf_fini(&own->message);
    free(own);
}

/* clang-format off */
static const struct ps_sim_default defaults[] = {
    {"weights", "6500MiB"},
    {"activations", "512MiB"},
    {"kv_tokens", "16"},
    {"kv_bytes_per_token", "0"},
    {"max_queue", "1000"},
    {"max_body", "8MiB"},
    {NULL, NULL},
};

static const struct ps_sim_route routes[] = {
    {PS_H1_METHOD_GET, PS_STR_INIT("/"), answer_root, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/ws"), answer_ws, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/prompt"), answer_prompt, true, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/prompt"), answer_left, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/queue"), answer_queue, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/queue"), answer_queue_change, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/history"), answer_history, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/history"), answer_history_change, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/history/{}"), answer_one_history, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/view"), answer_view, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/interrupt"), answer_interrupt, false, NULL},
    {PS_H1_METHOD_POST, PS_STR_INIT("/free"), answer_free, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/system_stats"), answer_stats, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/object_info"), answer_object_info, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/object_info/{}"), answer_object_info, false, NULL},
    {PS_H1_METHOD_GET, PS_STR_INIT("/sim/state"), ps_sim_state_answer, false, NULL},
};
/* clang-format on */

const struct ps_sim_personality ps_sim_comfyui = {
    .name = "comfyui",
    .routes = {routes, PS_ARRAY_LEN(routes), PS_STR_INIT("/api")},
    .defaults = defaults,
    .own_slots = true,
    .starts_empty = true,
    .absent = PS_SIM_ABSENT_LOADS,
    .owner = "comfyui",
    .refusal = put_refusal,
    .metrics = write_stats,
    .start = start,
    .tick = tick,
    .stop = stop,
};
