/* dialect - the APIs that inference servers speak, as one table of calls.
 *
 * A call of a client is recognised by its path. The row says which dialect it is in, what kind of
 * work it is, and how it may be treated; everything behind it (request.c, usage.c, answer.c) asks
 * the row and never the path again. A new engine begins with rows here, the names of its members in
 * member.c and the names of its figures in usage.c.
 *
 *      path -> { dialect, kind, flags, who has the answer }
 *
 * Thread: constant.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_DIALECT_H
#define PS_GATEWAY_DIALECT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

enum ps_dialect {
    PS_DIALECT_NONE,      /* any HTTP */
    PS_DIALECT_OPENAI,    /* vLLM, SGLang, TensorRT-LLM, llama.cpp, Ollama and others under /v1 */
    PS_DIALECT_ANTHROPIC, /* /v1/messages */
    PS_DIALECT_OLLAMA,
    PS_DIALECT_KSERVE,   /* Triton: the v2 protocol with its generate extension */
    PS_DIALECT_GENERATE, /* TGI and SGLang: /generate */
    PS_DIALECT_TEI,
    PS_DIALECT_LLAMACPP, /* its own calls: /completion, /infill, ... */
    PS_DIALECT_COMFYUI,
    PS_DIALECT_A1111,
    PS_DIALECT_COUNT
};

enum ps_request_kind {
    PS_REQUEST_OTHER,
    PS_REQUEST_CHAT,
    PS_REQUEST_COMPLETIONS,
    PS_REQUEST_EMBEDDINGS,
    PS_REQUEST_IMAGES,
    PS_REQUEST_RESPONSES,
    PS_REQUEST_RANK,  /* reranking, classification, similarity */
    PS_REQUEST_INFER, /* tensors in, tensors out */
    PS_REQUEST_JOB,   /* submits work whose result is fetched by another call */
    PS_REQUEST_META   /* describes or administers: takes no tokens */
};

/* "chat", "completions", ...; "other". */
const char *ps_request_kind_text(enum ps_request_kind kind);

/* Is the answer text that a model writes token by token? An embedding or an image is not. */
bool ps_request_generates(enum ps_request_kind kind);

enum {
    PS_OPERATION_READ = 1,       /* a POST's JSON body is read */
    PS_OPERATION_ANY_TYPE = 2,   /* and the server reads it whatever Content-Type says */
    PS_OPERATION_ONCE = 4,       /* never sent twice */
    PS_OPERATION_ADMIN = 8,      /* POST, PUT, PATCH, DELETE change the server for everybody */
    PS_OPERATION_ADMIN_GET = 16, /* and GET does, or shows what others asked */
    PS_OPERATION_MODEL = 32,     /* the path has the model: /v2/models/{model}/... */
    PS_OPERATION_STREAM = 64,    /* the answer is always a stream */
    PS_OPERATION_LENIENT = 128   /* a body that can't be read passes: the path is a common one */
};

/* Who has the answer, where several servers of an upstream don't share their state (ComfyUI). */
enum ps_sticky_by {
    PS_STICKY_NONE,
    PS_STICKY_PROMPT,   /* POST /prompt: by client_id */
    PS_STICKY_CLIENT,   /* /ws?clientId= */
    PS_STICKY_JOB_PATH, /* /history/{prompt_id} */
    PS_STICKY_JOB_BODY, /* prompt ids in the body: /queue, /interrupt, /history */
    PS_STICKY_FILE,     /* /view?filename=&subfolder=&type= */
    PS_STICKY_UPLOAD,   /* the answer names the file */
    PS_STICKY_PEER      /* whichever this client used last */
};

/* One row. */
struct ps_operation {
    struct ps_str path; /* in patterns `*` is one segment, `**` at the end is all that follows */
    enum ps_dialect dialect;
    enum ps_request_kind kind;
    unsigned flags;
    enum ps_sticky_by sticky;
};

/* The row of a path (without query; a slash at its end is not minded), or NULL. Allocates nothing.
 */
const struct ps_operation *ps_dialect_find(struct ps_str path);

/* The row for a route that is said to be `openai`, by the end of its path; never NULL. */
const struct ps_operation *ps_dialect_openai(struct ps_str path);

/* Does this call change the server for everybody, or show what others asked? `operation` may be
 * NULL. */
bool ps_dialect_is_admin(const struct ps_operation *operation, struct ps_str method);

/* The n-th row of all, or NULL past the end: for tests and docs. Exact paths come first, sorted. */
const struct ps_operation *ps_dialect_row(size_t n);

/* In what shape a client of the dialect reads an error. */
enum ps_error_shape {
    PS_ERROR_PROBLEM,   /* RFC 9457 */
    PS_ERROR_OPENAI,    /* {"error":{"message","type","param","code"}} */
    PS_ERROR_ANTHROPIC, /* {"type":"error","error":{"type","message"}} */
    PS_ERROR_TEXT       /* {"error":"...","error_type":"..."} */
};

enum ps_error_shape ps_dialect_errors(enum ps_dialect dialect);

#endif
