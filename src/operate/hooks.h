/* hooks - what inference servers can be asked to do about their memory, as one table.
 *
 * A row is one call of one server: when it may be made, what it frees, how many bytes can be said
 * to be in it, and how the server's own state shows that it was done. What an answer means is
 * decided here too: "200" is never proof, some servers say with 200 that they did nothing.
 *
 * The rungs of the ladder, cheapest first:
 *
 *      prefix_cache   cached prefixes are forgotten: blocks of the cache, never device memory
 *      host_cache     copies of the cache in host memory are forgotten
 *      kv_limit       the limit of the cache falls to what is in use; what it has ahead goes
 * (kvcached) unload         a model that is idle leaves the device; the next request loads it sleep
 * weights go to host memory, or the cache goes: waking takes a moment deep_sleep     everything
 * goes: waking is loading checkpoint     the driver moves all that a process has on the device to
 * host memory restart        a command of the configuration starts the server anew wake back again:
 * not part of a cleanup, only when asked for
 *
 * Sources of the calls: docs/gpu-optimizer.md.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_HOOKS_H
#define PS_OPERATE_HOOKS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "gpu/vitals.h"
#include "operate/adapter.h"

enum ps_rung {
    PS_RUNG_PREFIX_CACHE,
    PS_RUNG_HOST_CACHE,
    PS_RUNG_KV_LIMIT,
    PS_RUNG_UNLOAD,
    PS_RUNG_SLEEP,
    PS_RUNG_DEEP_SLEEP,
    PS_RUNG_CHECKPOINT,
    PS_RUNG_RESTART,
    PS_RUNG_WAKE,
    PS_RUNG_COUNT
};

extern const char *const ps_rung_names[]; /* NULL-terminated */

enum ps_hook_frees {
    PS_HOOK_KV_BLOCKS,
    PS_HOOK_HOST_MEMORY,
    PS_HOOK_DEVICE_BYTES,
    PS_HOOK_NOTHING
};

extern const char *const ps_hook_frees_names[];

/* Who does it. All but the first are done by this machine to a server of its own, whatever engine
 * that is, where gpu.servers says how. */
enum ps_hook_means {
    PS_HOOK_ASKS,    /* the server, over HTTP */
    PS_HOOK_LIMITS,  /* kvcached's shared memory */
    PS_HOOK_TOGGLES, /* cuda-checkpoint */
    PS_HOOK_RUNS,    /* the configured command */
    PS_HOOK_UNDOES   /* what one of the first two did */
};

/* How many bytes the call should free. */
enum ps_hook_expects {
    PS_HOOK_EXPECTS_NONE,      /* no device memory */
    PS_HOOK_EXPECTS_UNKNOWN,   /* some, nobody says how much */
    PS_HOOK_EXPECTS_MODEL,     /* what the server says that the model has */
    PS_HOOK_EXPECTS_HELD,      /* a share of what the server says it holds */
    PS_HOOK_EXPECTS_ALLOCATOR, /* a share of what its allocator keeps */
    PS_HOOK_EXPECTS_DEVICE,    /* a share of what is in use, where it is alone on its device */
    PS_HOOK_EXPECTS_SPARE      /* what the cache has ahead of what it uses */
};

/* How the server itself shows that it was done. */
enum ps_hook_shows {
    PS_HOOK_SHOWS_NOTHING,
    PS_HOOK_SHOWS_ANSWER,    /* "success" in the answer */
    PS_HOOK_SHOWS_STATE,     /* the state is .state, or deeper */
    PS_HOOK_SHOWS_MODEL,     /* the model is not loaded any more */
    PS_HOOK_SHOWS_ALLOCATOR, /* what its allocator keeps has fallen */
};

struct ps_hook {
    enum ps_adapter_id adapter; /* PS_ADAPTER_COUNT: any */
    enum ps_rung rung;
    enum ps_hook_means means;
    enum ps_hook_frees frees;
    const char *method;
    const char *path; /* {model} is replaced by the model's name */
    const char *body; /* likewise; NULL = none */
    bool per_model;
    bool running; /* may be called while requests run: they keep what they use */
    bool others;  /* may be called while others of its models work: only this one leaves, and a
                     request that uses it after all is finished first */
    bool is_signed;
    bool deepens; /* frees more of a server that is asleep already */
    int busy;     /* status that means "not now"; 0 = none */
    enum ps_hook_expects expects;
    double share; /* of what is expected */
    enum ps_hook_shows shows;
    enum ps_vitals_state state;
    const char *needs;    /* what the server has to be started with; NULL = nothing */
    const char *cost;     /* in words */
    const char *verified; /* what it was tried against; NULL: mock only */
};

extern const struct ps_hook ps_hooks[]; /* of the servers, then those of this machine */
extern const size_t ps_hook_count;

/* The row of a server for a rung, or NULL: it has no such call. PS_ADAPTER_COUNT: what this machine
 * does. */
const struct ps_hook *ps_hook_find(enum ps_adapter_id adapter, enum ps_rung rung);

#define PS_HOOK_KEY_MAX   4096 /* bytes of a key that signs */
#define PS_HOOK_SIGNATURE 80   /* with the terminator */

/* The call as text. `model` may be "" where the row is not per_model; a name that would not pass
 * unharmed is escaped. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_hook_write(const struct ps_hook *hook, struct ps_str model,
                                struct ps_buf *path, struct ps_buf *body);

/* The value of x-trtllm-runtime-control-auth: sha256=<hex of HMAC-SHA256 of the body>. */
void ps_hook_sign(struct ps_str key, struct ps_str body, char out[PS_HOOK_SIGNATURE]);
extern const struct ps_str ps_hook_signature_header;

enum ps_hook_answer {
    PS_HOOK_DONE,    /* says that it did it: the bytes will show */
    PS_HOOK_BUSY,    /* not now */
    PS_HOOK_MISSING, /* it has no such call, or was started without it */
    PS_HOOK_DENIED,  /* the key or the signature does not fit */
    PS_HOOK_FAILED
};

extern const char *const ps_hook_answer_names[];

/* What an answer means. */
enum ps_hook_answer ps_hook_judge(const struct ps_hook *hook, int status, struct ps_str body);

/* How many bytes of the device it should free; unknown where nobody can say. `alone`: what is in
 * use on the device if no other server is on it, else unknown; for PS_HOOK_EXPECTS_SPARE what the
 * cache has ahead. */
struct ps_device_reading ps_hook_expected(const struct ps_hook *hook,
                                          const struct ps_vitals *vitals, const char *model,
                                          struct ps_device_reading alone);

/* Does the server's own state show that it was done? False in *known when it can't show it. */
bool ps_hook_shown(const struct ps_hook *hook, const struct ps_vitals *before,
                   const struct ps_vitals *after, const char *model, bool *known);

#endif
