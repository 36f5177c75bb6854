/* gpu_json_private - what the files of operate that write JSON of the GPU room share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_GPU_JSON_PRIVATE_H
#define PS_OPERATE_GPU_JSON_PRIVATE_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/clock.h"
#include "gpu/device.h"

struct ps_gpu;

#define PS_GPU_MIB 1048576.0

/* Adds a member, in `unit`s; one that is not known is left out. */
void ps_gpu_json_real(json_t *object, const char *name, struct ps_device_reading reading,
                      double unit);
void ps_gpu_json_text(json_t *object, const char *name, const char *text); /* "" is left out */
void ps_gpu_json_seconds(json_t *object, const char *name, ps_span span);

/* Appends it as one line. PS_OK, PS_ELIMIT or PS_ENOMEM (also for NULL). */
PS_MUST_CHECK int ps_gpu_json_dump(json_t *json, struct ps_buf *out);

/* Appends the answer and gives it up; PS_ENOTFOUND when nothing is known, PS_ENOMEM for NULL. */
PS_MUST_CHECK int ps_gpu_json_write(json_t *root, bool known, struct ps_buf *out);

/* The answer to /api/gpu/profile but for batches and recommendations. *known: a device is. */
json_t *ps_gpu_json_profile(struct ps_gpu *gpu, bool *known);

/* What the latest cleanup and the batches advise. */
json_t *ps_gpu_json_advice(const struct ps_gpu *gpu);

#endif
