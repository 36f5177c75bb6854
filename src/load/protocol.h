/* protocol - which API a load tester speaks: where requests go and what comes back.
 *
 *   openai    POST /v1/chat/completions, answered by server-sent events; POST /v1/embeddings
 *   ollama    POST /api/chat, answered by a line of JSON for each token; POST /api/embed
 *   comfyui   POST /prompt gives a job's id; GET /history/ID until it is there; GET /view for its
 *             picture. It has no embeddings
 *
 * Formats: the API documentation of OpenAI, Ollama (docs/api.md) and ComfyUI (server.py).
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_PROTOCOL_H
#define PS_LOAD_PROTOCOL_H

#include <stdbool.h>

#include "base/str.h"
#include "load/plan.h"

enum ps_protocol { PS_PROTOCOL_OPENAI, PS_PROTOCOL_OLLAMA, PS_PROTOCOL_COMFYUI, PS_PROTOCOL_COUNT };

/* All names, and NULL. */
extern const char *const ps_protocol_names[];

/* The protocol of this name; PS_PROTOCOL_COUNT when there is none. */
enum ps_protocol ps_protocol_find(struct ps_str name);

/* How the answer to a request is cut. */
enum ps_framing {
    PS_FRAMING_WHOLE,  /* one piece */
    PS_FRAMING_EVENTS, /* server-sent events, the last is [DONE] */
    PS_FRAMING_LINES,  /* JSON lines, the last says "done": true */
    PS_FRAMING_JOB,    /* an id, to be asked for: see session_job.c */
    PS_FRAMING_ANY     /* by the content type of the answer; streams end where the answer does, and each event
                        * or line of them is a text */
};

/* What there is to know of one kind of request. */
struct ps_protocol_call {
    struct ps_str path;
    struct ps_str accept;
    enum ps_framing framing;
};

/* NULL: the protocol has no such request. */
const struct ps_protocol_call *ps_protocol_call(enum ps_protocol protocol, enum ps_plan_kind kind);

#endif
