/* gpu_means - what this machine can do to a server of its own, where the configuration says how.
 *
 * A server is a URL of gpu.servers; with it comes a command that starts it anew, a file with the id
 * of the process that holds the device, or the name of its kvcached memory. Nothing of it is ever
 * found out by itself.
 *
 *      kv_limit    /dev/shm/NAME, three numbers: limit, used, ahead. The limit falls to what is
 * used: running requests keep what they have, what lay ahead of them goes. checkpoint
 * cuda-checkpoint --toggle --pid N; the same again brings it back (wake) restart     the words of
 * the configuration
 *
 * Source of the layout and the calls: docs/gpu-optimizer.md. Thread: the loop's owner.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_GPU_MEANS_H
#define PS_OPERATE_GPU_MEANS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/option.h"
#include "operate/hooks.h"
#include "operate/optimizer.h"

struct ps_gpu_means;
struct ps_loop;

#define PS_GPU_MEANS_WHY 160

/* One item of `gpu.servers`. */
struct ps_server_means_opts {
    char *url; /* as an endpoint or a source has it */
    struct ps_option_strings restart;
    char *pid_file;
    char *kvcached;
};

extern const struct ps_option ps_server_means_options[];

/* The end of a call, not from inside. `why` is "" or says what went wrong. */
typedef void ps_gpu_means_fn(void *ctx, enum ps_hook_answer answer, const char *why);

PS_MUST_CHECK int ps_gpu_means_new(struct ps_gpu_means **out, struct ps_loop *loop,
                                   ps_gpu_means_fn *on_end, void *ctx);
void ps_gpu_means_free(struct ps_gpu_means *means); /* NULL is fine; what runs is killed */

/* The configuration in force; `servers` (of struct ps_server_means_opts) and `program` (of
 * cuda-checkpoint) are copied. What was done to a server that stays is remembered. PS_OK or
 * PS_ENOMEM: then nothing can be done any more. */
PS_MUST_CHECK int ps_gpu_means_set(struct ps_gpu_means *means, const struct ps_option_list *servers,
                                   const char *program);

/* Fills in means, spare, stopped and limited of a server. */
void ps_gpu_means_look(struct ps_gpu_means *means, const char *url,
                       struct ps_optimizer_target *target);

/* Does it. PS_OK: on_end comes. PS_EBUSY: the one before has not ended; else it did not begin. */
PS_MUST_CHECK int ps_gpu_means_call(struct ps_gpu_means *means, const char *url,
                                    const struct ps_hook *hook, ps_span timeout);

/* on_end does not come for what is under way; it goes on to its end, because a process that is half
 * checkpointed is lost. */
void ps_gpu_means_ignore(struct ps_gpu_means *means);

#endif
