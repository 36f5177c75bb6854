#include "sim/comfyui_jobs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "sim/json.h"

#define MOST_HISTORY 200u
#define MOST_FILES   4096u

struct job {
    struct ps_list link;
    struct ps_sim_comfyui_jobs *jobs;
    char id[PS_SIM_COMFYUI_ID];
    char client[72];
    int64_t number;
    json_t *workflow;
    json_t *extra;
    json_t *outputs;  /* by node */
    json_t *messages; /* that the history keeps */
    struct ps_sim_comfyui_graph graph;
    size_t done; /* nodes of graph.order that were executed */
    struct ps_sim_image image;
    bool uses_slot;
    bool completed;
};

struct ps_sim_comfyui_jobs {
    struct ps_sim_desk *desk;
    ps_sim_comfyui_tell_fn *tell;
    struct ps_list pending, history;
    size_t pending_count, history_count;
    struct job *running;
    struct ps_rng ids;
    int64_t numbers;
    bool unload, free_memory;          /* flags of /free that wait */
    struct ps_sim_comfyui_file *files; /* a ring of MOST_FILES */
    uint64_t file_count;               /* ever */
    uint64_t saved, shown;             /* the counters in the names */
};

/* --- life ------------------------------------------------------------------------------------- */

int ps_sim_comfyui_jobs_new(struct ps_sim_comfyui_jobs **out, struct ps_sim_desk *desk,
                            ps_sim_comfyui_tell_fn *tell)
{
    struct ps_sim_comfyui_jobs *jobs = calloc(1, sizeof *jobs);
    if (jobs == NULL) {
        return PS_ENOMEM;
    }
    jobs->files = calloc(MOST_FILES, sizeof *jobs->files);
    if (jobs->files == NULL) {
        free(jobs);
        return PS_ENOMEM;
    }
    jobs->desk = desk;
    jobs->tell = tell;
    /* ids differ between servers, names of files don't: as with real ones */
    jobs->ids = ps_rng_make((uint64_t)ps_sim_desk_wall(desk) ^ (uint64_t)getpid() << 40);
    ps_list_init(&jobs->pending);
    ps_list_init(&jobs->history);
    *out = jobs;
    return PS_OK;
}

static void free_job(struct job *job)
{
    ps_list_remove(&job->link);
    ps_sim_comfyui_graph_fini(&job->graph);
    json_decref(job->workflow);
    json_decref(job->extra);
    json_decref(job->outputs);
    json_decref(job->messages);
    free(job);
}

static void free_all(struct ps_list *list)
{
    while (!ps_list_is_empty(list)) {
        free_job(PS_LIST_FIRST(list, struct job, link));
    }
}

/* The worker has no job any more; the job still exists. */
static void leave_worker(struct job *job)
{
    struct ps_sim_desk *desk = job->jobs->desk;
    ps_sim_engine_cancel_image(desk->engine, &job->image);
    if (job->uses_slot) {
        job->uses_slot = false;
        ps_sim_desk_unuse(desk, job->graph.model);
    }
    job->jobs->running = NULL;
}

void ps_sim_comfyui_jobs_free(struct ps_sim_comfyui_jobs *jobs)
{
    if (jobs == NULL) {
        return;
    }
    if (jobs->running != NULL) {
        struct job *job = jobs->running;
        leave_worker(job);
        free_job(job);
    }
    free_all(&jobs->pending);
    free_all(&jobs->history);
    free(jobs->files);
    free(jobs);
}

/* --- telling ---------------------------------------------------------------------------------- */

static void tell_status(struct ps_sim_comfyui_jobs *jobs)
{
    json_int_t left = (json_int_t)ps_sim_comfyui_jobs_left(jobs);
    jobs->tell(jobs->desk, NULL, "status",
               json_pack("{s:{s:{s:I}}}", "status", "exec_info", "queue_remaining", left));
}

/* A message that the history keeps too. */
static void record(struct job *job, const char *type, json_t *data)
{
    (void)json_object_set_new(data, "prompt_id", json_string(job->id));
    (void)json_object_set_new(data, "timestamp",
                              json_integer(ps_sim_desk_wall(job->jobs->desk) / PS_MILLISECOND));
    (void)json_array_append_new(job->messages, json_pack("[s,O]", type, data));
    job->jobs->tell(job->jobs->desk, job->client, type, data);
}

static void tell_node(struct job *job, const char *node)
{
    job->jobs->tell(job->jobs->desk, job->client, "executing",
                    node == NULL ? json_pack("{s:n,s:s}", "node", "prompt_id", job->id)
                                 : json_pack("{s:s,s:s,s:s}", "node", node, "display_node", node,
                                             "prompt_id", job->id));
}

/* --- pictures --------------------------------------------------------------------------------- */

/* The name may only hold what needs no care anywhere. */
static void copy_prefix(char *out, size_t size, const char *prefix)
{
    size_t len = 0;
    for (; *prefix != '\0' && len + 1 < size; prefix++) {
        char c = *prefix;
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '-' || c == '_' || c == '.';
        out[len++] = good ? c : '_';
    }
    out[len] = '\0';
}

static json_t *save_picture(struct job *job, const struct ps_sim_comfyui_node *node, size_t index)
{
    struct ps_sim_comfyui_jobs *jobs = job->jobs;
    struct ps_sim_comfyui_file *file = &jobs->files[jobs->file_count++ % MOST_FILES];
    bool save = node->kind->role == PS_SIM_COMFYUI_SAVE;
    char prefix[48];
    copy_prefix(prefix, sizeof prefix,
                save ? ps_sim_json_text(node->inputs, "filename_prefix", "ComfyUI")
                     : "ComfyUI_temp_sim");
    *file = (struct ps_sim_comfyui_file){
        .type = save ? "output" : "temp",
        .width = job->graph.width,
        .height = job->graph.height,
        .seed = job->graph.seed + index,
    };
    (void)snprintf(file->name, sizeof file->name, "%s_%05" PRIu64 "_.png", prefix,
                   save ? ++jobs->saved : ++jobs->shown);
    return json_pack("{s:s,s:s,s:s}", "filename", file->name, "subfolder", "", "type", file->type);
}

static void save_pictures(struct job *job, const struct ps_sim_comfyui_node *node)
{
    json_t *images = json_array();
    for (uint64_t i = 0; i < job->graph.pictures; i++) {
        (void)json_array_append_new(images, save_picture(job, node, i));
    }
    json_t *output = json_pack("{s:o}", "images", images);
    (void)json_object_set(job->outputs, node->id, output);
    job->jobs->tell(job->jobs->desk, job->client, "executed",
                    json_pack("{s:s,s:s,s:o,s:s}", "node", node->id, "display_node", node->id,
                              "output", output, "prompt_id", job->id));
}

/* --- the worker ------------------------------------------------------------------------------- */

/* Goes through the nodes up to (not including) this one. */
static void execute_until(struct job *job, size_t end)
{
    for (; job->done < end; job->done++) {
        const struct ps_sim_comfyui_node *node = &job->graph.order[job->done];
        tell_node(job, node->id);
        if (node->kind->role == PS_SIM_COMFYUI_SAVE || node->kind->role == PS_SIM_COMFYUI_PREVIEW) {
            save_pictures(job, node);
        }
    }
}

static void keep_in_history(struct job *job, bool completed)
{
    struct ps_sim_comfyui_jobs *jobs = job->jobs;
    job->completed = completed;
    ps_list_push(&jobs->history, &job->link);
    if (++jobs->history_count > MOST_HISTORY) {
        jobs->history_count--;
        free_job(PS_LIST_FIRST(&jobs->history, struct job, link));
    }
}

static void end_job(struct job *job, bool completed)
{
    struct ps_sim_comfyui_jobs *jobs = job->jobs;
    leave_worker(job);
    keep_in_history(job, completed);
    tell_node(job, NULL);
    tell_status(jobs);
    PS_IGNORE(ps_sim_desk_wake(jobs->desk)); /* the timer is in the heap */
}

static json_t *executed_nodes(const struct job *job)
{
    json_t *list = json_array();
    for (size_t i = 0; i < job->done; i++) {
        (void)json_array_append_new(list, json_string(job->graph.order[i].id));
    }
    return list;
}

/* The node at work, for messages: the last one when all are done. */
static const struct ps_sim_comfyui_node *node_at_work(const struct job *job)
{
    size_t last = job->graph.count - 1;
    return &job->graph.order[job->done < last ? job->done : last];
}

static void fail_job(struct job *job, const char *kind, const char *text)
{
    const struct ps_sim_comfyui_node *node = node_at_work(job);
    record(job, "execution_error",
           json_pack("{s:s,s:s,s:o,s:s,s:s,s:[],s:{},s:[]}", "node_id", node->id, "node_type",
                     node->kind->name, "executed", executed_nodes(job), "exception_message", text,
                     "exception_type", kind, "traceback", "current_inputs", "current_outputs"));
    job->jobs->desk->metrics.failed++;
    end_job(job, false);
}

static void on_step(struct ps_sim_image *image, ps_time now)
{
    (void)now;
    struct job *job = PS_CONTAINER_OF(image, struct job, image);
    if (image->made == 1) {
        execute_until(job, job->graph.sampler);
        tell_node(job, node_at_work(job)->id);
    }
    if (job->graph.sampler == job->graph.count) {
        return; /* there is no sampler whose progress could be told */
    }
    job->jobs->tell(job->jobs->desk, job->client, "progress",
                    json_pack("{s:I,s:I,s:s,s:s}", "value", (json_int_t)image->made, "max",
                              (json_int_t)image->steps, "prompt_id", job->id, "node",
                              job->graph.order[job->graph.sampler].id));
}

static void on_done(struct ps_sim_image *image, int err, ps_time now)
{
    (void)now;
    struct job *job = PS_CONTAINER_OF(image, struct job, image);
    if (err != PS_OK) {
        execute_until(job, job->graph.sampler);
        fail_job(job, "torch.OutOfMemoryError",
                 "Allocation on device 0 would exceed allowed memory. (simulated)");
        return;
    }
    if (job->done == job->graph.sampler) {
        job->done++; /* told when it began */
    }
    execute_until(job, job->graph.count);
    record(job, "execution_success", json_object());
    end_job(job, true);
}

static void start_job(struct job *job)
{
    struct ps_sim_desk *desk = job->jobs->desk;
    const struct ps_sim_comfyui_graph *graph = &job->graph;
    struct ps_sim_refusal refusal;
    ps_span delay = 0;
    record(job, "execution_start", json_object());
    record(job, "execution_cached", json_pack("{s:[]}", "nodes"));
    tell_node(job, graph->order[0].id);
    if (ps_sim_desk_use(desk, graph->model, &delay, &refusal) != PS_OK) {
        fail_job(job, "torch.OutOfMemoryError", refusal.text);
        return;
    }
    job->uses_slot = true;
    job->image = (struct ps_sim_image){
        .pixels = (uint64_t)graph->width * graph->height * graph->pictures,
        .steps = graph->steps == 0 ? 1 : graph->steps,
        .ready = ps_sim_desk_now(desk) + delay,
        .on_step = on_step,
        .on_done = on_done,
    };
    ps_sim_engine_submit_image(desk->engine, &job->image);
}

/* ComfyUI's worker asks for unload_models with free_memory as its default, so that either flag
 * unloads every model; afterwards the allocator's cache is emptied. */
static void honour_flags(struct ps_sim_comfyui_jobs *jobs)
{
    struct ps_sim_desk *desk = jobs->desk;
    if (!jobs->unload && !jobs->free_memory) {
        return;
    }
    jobs->unload = jobs->free_memory = false;
    for (size_t i = 0; i < desk->memory.count; i++) {
        ps_sim_desk_release(desk, i, PS_SIM_ALL_PARTS);
    }
    if (desk->opts->lie == PS_SIM_LIE_NONE || desk->opts->lie == PS_SIM_LIE_BUSY) {
        (void)ps_sim_device_empty_cache(ps_sim_engine_own_device(desk->engine));
    }
}

bool ps_sim_comfyui_jobs_turn(struct ps_sim_comfyui_jobs *jobs)
{
    if (jobs->running != NULL) {
        return false;
    }
    honour_flags(jobs);
    if (ps_list_is_empty(&jobs->pending)) {
        return false;
    }
    struct job *job = PS_LIST_FIRST(&jobs->pending, struct job, link);
    ps_list_remove(&job->link);
    jobs->pending_count--;
    jobs->running = job;
    start_job(job);
    return true;
}

/* --- the outside ------------------------------------------------------------------------------ */

static void make_id(struct ps_sim_comfyui_jobs *jobs, char id[PS_SIM_COMFYUI_ID])
{
    uint64_t a = ps_rng_next(&jobs->ids);
    uint64_t b = ps_rng_next(&jobs->ids);
    (void)snprintf(id, PS_SIM_COMFYUI_ID, "%08x-%04x-4%03x-%04x-%04x%08x", (unsigned)(a >> 32),
                   (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xfff),
                   (unsigned)(0x8000 | (b >> 48 & 0x3fff)), (unsigned)(b >> 32 & 0xffff),
                   (unsigned)(b & 0xffffffff));
}

static struct job *new_job(struct ps_sim_comfyui_jobs *jobs, json_t *workflow, json_t *extra)
{
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        return NULL;
    }
    ps_list_init(&job->link);
    job->jobs = jobs;
    job->workflow = json_incref(workflow);
    job->extra = extra == NULL ? json_object() : json_incref(extra);
    job->outputs = json_object();
    job->messages = json_array();
    if (job->extra == NULL || job->outputs == NULL || job->messages == NULL) {
        free_job(job);
        return NULL;
    }
    return job;
}

int ps_sim_comfyui_jobs_push(struct ps_sim_comfyui_jobs *jobs, json_t *workflow, json_t *extra,
                             const struct ps_sim_comfyui_graph *graph, const char *client,
                             bool front, char id[PS_SIM_COMFYUI_ID], int64_t *number)
{
    struct job *job = new_job(jobs, workflow, extra);
    if (job == NULL) {
        return PS_ENOMEM;
    }
    int err = ps_sim_desk_wake(jobs->desk);
    if (err != PS_OK) {
        free_job(job);
        return err;
    }
    make_id(jobs, job->id);
    (void)snprintf(job->client, sizeof job->client, "%s", client);
    job->graph = *graph;
    job->number = front ? -jobs->numbers : jobs->numbers;
    jobs->numbers++;
    ps_list_push(front ? jobs->pending.next : &jobs->pending, &job->link);
    jobs->pending_count++;
    memcpy(id, job->id, PS_SIM_COMFYUI_ID);
    *number = job->number;
    tell_status(jobs);
    return PS_OK;
}

size_t ps_sim_comfyui_jobs_left(const struct ps_sim_comfyui_jobs *jobs)
{
    return jobs->pending_count + (jobs->running != NULL ? 1 : 0);
}

static json_t *describe(const struct job *job)
{
    json_t *outputs = json_array();
    for (size_t i = 0; i < job->graph.count; i++) {
        enum ps_sim_comfyui_role role = job->graph.order[i].kind->role;
        if (role == PS_SIM_COMFYUI_SAVE || role == PS_SIM_COMFYUI_PREVIEW) {
            (void)json_array_append_new(outputs, json_string(job->graph.order[i].id));
        }
    }
    return json_pack("[I,s,O,O,o]", (json_int_t)job->number, job->id, job->workflow, job->extra,
                     outputs);
}

json_t *ps_sim_comfyui_jobs_list(const struct ps_sim_comfyui_jobs *jobs,
                                 enum ps_sim_comfyui_place place)
{
    json_t *list = json_array();
    if (place == PS_SIM_COMFYUI_RUNNING && jobs->running != NULL) {
        (void)json_array_append_new(list, describe(jobs->running));
    }
    if (place == PS_SIM_COMFYUI_PENDING) {
        PS_LIST_FOREACH (node, &jobs->pending) {
            (void)json_array_append_new(list, describe(PS_CONTAINER_OF(node, struct job, link)));
        }
    }
    return list;
}

static json_t *remember(const struct job *job)
{
    return json_pack("{s:o,s:O,s:{s:s,s:b,s:O},s:{}}", "prompt", describe(job), "outputs",
                     job->outputs, "status", "status_str", job->completed ? "success" : "error",
                     "completed", (int)job->completed, "messages", job->messages, "meta");
}

json_t *ps_sim_comfyui_jobs_history(const struct ps_sim_comfyui_jobs *jobs, const char *id,
                                    size_t most)
{
    json_t *tree = json_object();
    size_t skip = jobs->history_count > most ? jobs->history_count - most : 0;
    PS_LIST_FOREACH (node, &jobs->history) {
        const struct job *job = PS_CONTAINER_OF(node, struct job, link);
        bool wanted = id != NULL ? strcmp(job->id, id) == 0 : skip == 0;
        skip -= skip > 0;
        if (wanted) {
            (void)json_object_set_new(tree, job->id, remember(job));
        }
    }
    return tree;
}

void ps_sim_comfyui_jobs_forget(struct ps_sim_comfyui_jobs *jobs, enum ps_sim_comfyui_place place,
                                const char *id)
{
    struct ps_list *list = place == PS_SIM_COMFYUI_HISTORY ? &jobs->history : &jobs->pending;
    size_t *count = place == PS_SIM_COMFYUI_HISTORY ? &jobs->history_count : &jobs->pending_count;
    struct ps_list *node = list->next;
    while (node != list) {
        struct job *job = PS_CONTAINER_OF(node, struct job, link);
        node = node->next;
        if (id == NULL || strcmp(job->id, id) == 0) {
            --*count;
            free_job(job);
        }
    }
    tell_status(jobs);
}

void ps_sim_comfyui_jobs_interrupt(struct ps_sim_comfyui_jobs *jobs, const char *id)
{
    struct job *job = jobs->running;
    if (job == NULL || (id != NULL && strcmp(job->id, id) != 0)) {
        return;
    }
    const struct ps_sim_comfyui_node *node = node_at_work(job);
    record(job, "execution_interrupted",
           json_pack("{s:s,s:s,s:o}", "node_id", node->id, "node_type", node->kind->name,
                     "executed", executed_nodes(job)));
    end_job(job, false);
}

void ps_sim_comfyui_jobs_flag(struct ps_sim_comfyui_jobs *jobs, bool unload, bool free_memory)
{
    jobs->unload = jobs->unload || unload;
    jobs->free_memory = jobs->free_memory || free_memory;
    if (jobs->running == NULL) {
        honour_flags(jobs);
    }
}

const struct ps_sim_comfyui_file *ps_sim_comfyui_jobs_file(const struct ps_sim_comfyui_jobs *jobs,
                                                           struct ps_str name, struct ps_str type)
{
    uint64_t count = jobs->file_count < MOST_FILES ? jobs->file_count : MOST_FILES;
    for (uint64_t i = 0; i < count; i++) {
        if (ps_str_eq(name, ps_str_from(jobs->files[i].name)) &&
            ps_str_eq(type, ps_str_from(jobs->files[i].type))) {
            return &jobs->files[i];
        }
    }
    return NULL;
}
