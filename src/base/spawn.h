/* spawn - starts a thread that hears no signals: they are for the main thread.
 *
 * A thread inherits the mask of whoever makes it, so all signals are held back in the caller until
 * it is made; between pthread_create() and a mask of its own one could reach it.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_SPAWN_H
#define PS_BASE_SPAWN_H

#include <pthread.h>

#include "base/err.h"

/* Runs run(ctx) in *thread, which the caller joins. PS_OK, or PS_ELIMIT when the system gives no
 * thread. */
PS_MUST_CHECK int ps_spawn(pthread_t *thread, void *(*run)(void *ctx), void *ctx);

#endif
