/* gpu_demand - what the gateway knows of the memory that a server will be asked for.
 *
 * Its workers count, for each endpoint, the requests in flight by how far they have got
 * (gateway/census), and at the gate what waits. Control reads that once a second; here it becomes
 * the tokens that foresee/cleanup is fed.
 *
 *      arrived    prompts that came in this second, to the server or to the gate
 *      flight     what the requests at the server own, as far as the gateway counted
 *      queued     prompts that wait at the gate and that it is going to let in
 *
 * A gate that lets few in keeps memory from filling up, however long its queue is; so what waits
 * counts as far as it would come in beside what is there: seats times what a request comes to hold.
 *
 * Thread: control's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_GPU_DEMAND_H
#define PS_OPERATE_GPU_DEMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "foresee/survival.h"

struct ps_backend;
struct ps_endpoint;

/* How it stands, of one endpoint; what belongs to the whole upstream is its share. */
struct ps_gpu_crowd {
    struct ps_survival_count count; /* at the endpoint */
    double waiting;                 /* requests at the gate */
    double waiting_prompts;         /* their tokens */
    double seats;                   /* requests that the gate lets in; INFINITY: no bound */
    double estimate; /* tokens that a request was estimated at, prompt and answer; 0: none is there
                      */
};

void ps_gpu_crowd_read(const struct ps_backend *backend, const struct ps_endpoint *endpoint,
                       struct ps_gpu_crowd *out);

/* What is remembered of one server. Zeroed to begin with. */
struct ps_gpu_demand {
    struct ps_survival survival;
    bool begun;
    double arrived; /* since the start, at the last look */
    double queued;  /* at the last look */
};

/* In tokens. */
struct ps_gpu_tokens {
    double arrived;
    double flight;
    double queued;
    bool followed; /* enough of the answers come in events: `flight` and `known` can be believed */
    double known[16]; /* what those in flight and those that wait hold after ahead[i] samples */
    bool knows;       /* known[] is filled */
};

/* Takes this second's look, and says what it means; `steps` at most 16. */
void ps_gpu_demand_push(struct ps_gpu_demand *demand, const struct ps_gpu_crowd *crowd,
                        const unsigned *ahead, size_t steps, struct ps_gpu_tokens *out);

#endif
