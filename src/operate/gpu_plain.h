/* gpu_plain - the level of devices that no server is known on, and whether their memory will run
 * out.
 *
 * A program that uses a card by itself, or a server that nobody named: all that can be looked at is
 * the device. Where a server can be measured, it says more (gpu_outlook), and this is not shown.
 *
 * Thread: that of the room.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_GPU_PLAIN_H
#define PS_OPERATE_GPU_PLAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "operate/gpu_outlook.h"

struct ps_gpu;
struct ps_gpu_plain;

/* NULL when out of memory. */
struct ps_gpu_plain *ps_gpu_plain_new(void);
void ps_gpu_plain_free(struct ps_gpu_plain *plain); /* NULL is fine */

/* Takes what was measured last of this machine's drivers and of exporters. */
void ps_gpu_plain_push(struct ps_gpu_plain *plain, struct ps_gpu *gpu, ps_time now);

/* The device as its source names it. False: nothing is known of it (any more). */
bool ps_gpu_plain_read(const struct ps_gpu_plain *plain, const char *source, const char *uuid,
                       uint32_t index, struct ps_gpu_view *view);

#endif
