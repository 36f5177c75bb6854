/* job - a call to servers that keep jobs to themselves (ComfyUI), and how it finds the right one.
 *
 *      POST /prompt {client_id}      who had this client, or the file that the graph needs; else by
 *                                    hash of the client's id: the same on every gateway
 *      /ws?clientId=                 likewise; without an id one is given, so that its prompts
 * follow /history/{id}, /queue, ...    who accepted the job /view?filename=               who said
 * that it made the file, to this client anything else of ComfyUI's    whom this client used last,
 * else by hash of the client
 *
 * What is not known is asked around: a GET whose answer is empty ({} or 404) goes to the next
 * server. The answers to /prompt, /history/{id} and uploads are read on the way, and what they say
 * is learned (sticky.h). All of it is a help, not a promise: see docs/gateway.md.
 *
 * Thread: a job belongs to a transfer's worker; what is learned is shared.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_JOB_H
#define PS_GATEWAY_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/chunk.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/rng.h"
#include "base/str.h"
#include "gateway/backend.h"
#include "gateway/dialect.h"
#include "gateway/request.h"

struct ps_job;

/* Who calls; borrowed for the call. */
struct ps_job_caller {
    struct ps_str target; /* the path with its query, as it was sent */
    bool is_get;
    struct ps_str tenant;     /* empty = none */
    struct ps_str peer;       /* the address without port */
    struct ps_budget *budget; /* for reading answers */
};

/* PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_job_new(struct ps_job **out, const struct ps_operation *operation,
                             const struct ps_job_caller *caller, struct ps_rng *rng);

/* NULL is fine. */
void ps_job_free(struct ps_job *job);

/* What has to be put into the target, at *at; empty = nothing. Valid as long as the job. */
struct ps_str ps_job_insert(const struct ps_job *job, size_t *at);

/* Says where it should go. `request` is the body's description, or NULL. */
void ps_job_place(const struct ps_job *job, const struct ps_request *request,
                  struct ps_backend *backend, ps_time now, struct ps_pick *pick);

/* Does the answer say that the server has not got what was asked for? `length` of its body, or
 * UINT64_MAX. */
bool ps_job_is_elsewhere(const struct ps_job *job, int status, uint64_t length);

/* An endpoint has answered with this status: what follows through ps_job_read() is its body. */
void ps_job_begin(struct ps_job *job, int status);
void ps_job_read(struct ps_job *job, struct ps_str bytes);

/* The answer is complete (or, with 101, the tunnel is open): learns what it said. `work` is the
 * weight of a job that was accepted. */
void ps_job_learn(struct ps_job *job, const struct ps_request *request, struct ps_backend *backend,
                  struct ps_endpoint *endpoint, uint64_t work, ps_time now);

#endif
