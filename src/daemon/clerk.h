/* clerk - a thread for answers that take longer than control has: pages of all series, documents that
 * others hand in.
 *
 *      control: access --> clerk: work --> control: on_answered --> the worker
 *
 * One after the other, in the order of arrival. What it does for one costs the others only time.
 *
 * Thread: control's; `work` runs on the clerk's own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_CLERK_H
#define PS_DAEMON_CLERK_H

#include "base/err.h"

struct ps_ask;
struct ps_clerk;
struct ps_loop;

/* Starts the thread. PS_OK, PS_ENOMEM or PS_ELIMIT (no thread). */
PS_MUST_CHECK int ps_clerk_new(struct ps_clerk **out, struct ps_loop *loop);

/* Does what is still to be done, ends the thread and hands the answers on. NULL is fine. */
void ps_clerk_free(struct ps_clerk *clerk);

/* The ask is pending from now on: `work` fills the answer in, then ask->on_answered runs on control's
 * loop. What `ctx` points at may be used by both threads. */
void ps_clerk_take(struct ps_clerk *clerk, struct ps_ask *ask, void (*work)(void *ctx, struct ps_ask *ask),
                   void *ctx);

#endif
