/* gpu_engine - the library's own thread with the GPU room: asks, watches, cleans up.
 *
 *      a program's threads                the engine's thread
 *      write       --- letter, waits ---> the room's JSON
 *      clean       --- letter, waits ---> ps_gpu_cleanup() .. its end, or the time is up: wakes
 *
 * What comes before the sources were heard waits for them.
 *
 * Thread: any, but for new and free.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LIB_GPU_ENGINE_H
#define PS_LIB_GPU_ENGINE_H

#include <stddef.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "operate/gpu.h"

struct ps_gpu_engine;

/* Opens the drivers and starts the thread, with all signals blocked. PS_OK, PS_ENOMEM, PS_EIO, or
 * PS_EINVAL: a source that can't be asked; with a sentence in reason. */
PS_MUST_CHECK int ps_gpu_engine_new(struct ps_gpu_engine **out, const struct ps_gpu_opts *opts,
                                    char *reason, size_t size);

/* Ends it. Nobody may be inside any more. NULL is fine. */
void ps_gpu_engine_free(struct ps_gpu_engine *engine);

/* One of ps_gpu_write_profile(), ps_gpu_write_report(). */
typedef int ps_gpu_engine_write_fn(struct ps_gpu *gpu, struct ps_buf *out);

/* Appends what `write` does. As it returns; with PS_ENOTFOUND there is a sentence in reason. */
PS_MUST_CHECK int ps_gpu_engine_write(struct ps_gpu_engine *engine, ps_gpu_engine_write_fn *write,
                                      struct ps_buf *out, char *reason, size_t size);

/* Runs `act` on the thread, whether the sources were heard or not, and waits for it. */
typedef void ps_gpu_engine_act_fn(struct ps_gpu *gpu, void *ctx);
void ps_gpu_engine_do(struct ps_gpu_engine *engine, ps_gpu_engine_act_fn *act, void *ctx);

/* Does a cleanup and waits for its end, which is made when the limit has passed. As
 * ps_gpu_cleanup(), or PS_ENOTFOUND where nothing is known of any GPU. */
PS_MUST_CHECK int ps_gpu_engine_clean(struct ps_gpu_engine *engine, struct ps_str order,
                                      ps_span limit, struct ps_buf *out, char *reason, size_t size);

#endif
