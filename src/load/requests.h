/* requests - what is sent: one request for all, templates from a file, prompts by length, or a trace.
 *
 *      one        --method, --header, --body: the same bytes each time
 *      templates  a JSON object a line (template.h), used in turns
 *      prompts    chats or embeddings of so many tokens, drawn or fixed, worded by `prompt`
 *      trace      a plan (plan.h), which also says when
 *
 * The bytes of heads and bodies that don't change are made once.
 *
 * Thread: a catalogue is read once and shared, immutable; a ps_requests belongs to one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_REQUESTS_H
#define PS_LOAD_REQUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "load/plan.h"
#include "load/prompt.h"
#include "load/session.h"

struct ps_target;
struct ps_catalogue;
struct ps_requests;

struct ps_requests_opts {
    /* One request, unless something below is set. */
    const char *method;       /* NULL: POST with a body, else GET */
    const char *path;         /* with query; NULL: "/"; of prompts and traces: their protocol's */
    const char *content_type; /* of the body; NULL: application/json */
    struct ps_str body;
    int status;               /* what counts as a success; 0 = any of 2xx */
    const char *templates;    /* file of them; or NULL */
    /* Prompts: a chat for each request. */
    uint32_t prompt_tokens;     /* > 0: prompts are made; the mean where they are drawn */
    uint32_t max_tokens;
    enum ps_plan_kind prompt_kind; /* chats or embeddings */
    bool drawn_lengths;         /* log-normal prompts, exponential answers, around these */
    struct ps_prompt_opts prompt; /* of prompts and traces */
    struct ps_plan_opts trace;  /* path != NULL: this trace */
    uint64_t seed;
};

struct ps_requests_error {
    char text[640];
};

/* Reads and checks everything; `prompt` and `trace` are borrowed for the catalogue's life, the rest is copied. PS_OK; PS_ENOTFOUND, PS_EPARSE, PS_ELIMIT,
 * PS_EIO, PS_ENOMEM: *error says what and where ("requests.jsonl:3: ..."). */
PS_MUST_CHECK int ps_catalogue_new(struct ps_catalogue **out, const struct ps_requests_opts *opts,
                                   struct ps_requests_error *error);
void ps_catalogue_free(struct ps_catalogue *catalogue); /* NULL is fine */

/* Does it say itself when to send (a trace)? */
bool ps_catalogue_has_times(const struct ps_catalogue *catalogue);

/* How many different requests it has; 0: each is made anew. */
size_t ps_catalogue_size(const struct ps_catalogue *catalogue);

/* Requests for a target (both borrowed), for one thread. PS_OK, PS_ENOMEM; PS_EINVAL: the target's URL and
 * a path don't fit into a head. */
PS_MUST_CHECK int ps_requests_new(struct ps_requests **out, const struct ps_catalogue *catalogue,
                                  const struct ps_target *target, struct ps_requests_error *error);
void ps_requests_free(struct ps_requests *requests); /* NULL is fine */

/* Fills the request with this number (it depends on the number alone); of a trace, numbers must rise.
 * Valid until the next call. *at gets the time that a trace says, else 0. PS_OK; PS_ENOTFOUND at the end of
 * a trace; an error that the plan or memory gave: *error says why. */
PS_MUST_CHECK int ps_requests_make(struct ps_requests *requests, uint64_t number,
                                   struct ps_session_request *request, ps_span *at,
                                   struct ps_requests_error *error);

/* Prompts of a trace that were cut, and which kind of trace it is; 0 and "" of others. */
uint64_t ps_requests_cut(const struct ps_requests *requests);
const char *ps_requests_source(const struct ps_requests *requests);

#endif
