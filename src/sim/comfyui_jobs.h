/* comfyui_jobs - ComfyUI's queue, its one worker, its history, and who is told about it.
 *
 *      push --> pending --> running (one) --> history, newest last
 *                 ^-- flags of /free are honoured here, between two jobs
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_COMFYUI_JOBS_H
#define PS_SIM_COMFYUI_JOBS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "sim/comfyui_graph.h"
#include "sim/desk.h"

#define PS_SIM_COMFYUI_ID 37 /* a UUID as text, terminated */

struct ps_sim_comfyui_jobs;

enum ps_sim_comfyui_place {
    PS_SIM_COMFYUI_PENDING,
    PS_SIM_COMFYUI_RUNNING,
    PS_SIM_COMFYUI_HISTORY
};

/* A picture that was saved. */
struct ps_sim_comfyui_file {
    char name[80];
    const char *type; /* "output" or "temp" */
    uint32_t width, height;
    uint64_t seed;
};

/* Tells a client (NULL: all of them) a message; takes the data over. */
typedef void ps_sim_comfyui_tell_fn(struct ps_sim_desk *desk, const char *client, const char *type,
                                    json_t *data);

/* PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_comfyui_jobs_new(struct ps_sim_comfyui_jobs **out,
                                          struct ps_sim_desk *desk, ps_sim_comfyui_tell_fn *tell);
void ps_sim_comfyui_jobs_free(struct ps_sim_comfyui_jobs *jobs); /* NULL is fine */

/* Queues a workflow, whose graph is taken over; references to the other trees are taken. `client`
 * may be "". PS_OK, with the job's id and number; PS_ENOMEM: the graph is still the caller's. */
PS_MUST_CHECK int ps_sim_comfyui_jobs_push(struct ps_sim_comfyui_jobs *jobs, json_t *workflow,
                                           json_t *extra, const struct ps_sim_comfyui_graph *graph,
                                           const char *client, bool front,
                                           char id[PS_SIM_COMFYUI_ID], int64_t *number);

/* Jobs that wait or run. */
size_t ps_sim_comfyui_jobs_left(const struct ps_sim_comfyui_jobs *jobs);

/* A list of jobs as /queue shows them, or NULL: out of memory. */
json_t *ps_sim_comfyui_jobs_list(const struct ps_sim_comfyui_jobs *jobs,
                                 enum ps_sim_comfyui_place place);

/* The history: of one job (an empty object when there is none of that id), or of the newest `most`.
 */
json_t *ps_sim_comfyui_jobs_history(const struct ps_sim_comfyui_jobs *jobs, const char *id,
                                    size_t most);

/* Forgets a waiting job or a remembered one; NULL: all in that place. */
void ps_sim_comfyui_jobs_forget(struct ps_sim_comfyui_jobs *jobs, enum ps_sim_comfyui_place place,
                                const char *id);

/* Ends the running job, if there is one and `id` is NULL or its own. */
void ps_sim_comfyui_jobs_interrupt(struct ps_sim_comfyui_jobs *jobs, const char *id);

/* Sets the flags of /free; a flag is only ever set, and cleared by being honoured. */
void ps_sim_comfyui_jobs_flag(struct ps_sim_comfyui_jobs *jobs, bool unload, bool free_memory);

/* Starts the next job when none runs; flags first. True: one was started, the engine wants a look.
 */
bool ps_sim_comfyui_jobs_turn(struct ps_sim_comfyui_jobs *jobs);

/* The picture of this name, or NULL. */
const struct ps_sim_comfyui_file *ps_sim_comfyui_jobs_file(const struct ps_sim_comfyui_jobs *jobs,
                                                           struct ps_str name, struct ps_str type);

#endif
