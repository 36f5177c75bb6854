/* gpu_read - the structs of penstock.h out of the JSON that /api/gpu has: there is one writer of
 * both, so that they say the same.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LIB_GPU_READ_H
#define PS_LIB_GPU_READ_H

#include "base/err.h"
#include "base/str.h"
#include "penstock/penstock.h"

/* From a profile. PS_OK; PS_ENOTFOUND: it shows no device and no server, or nothing is foreseen;
 * PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_read_profile(struct ps_str json, struct ps_gpu_profile *out);
PS_MUST_CHECK int ps_gpu_read_prediction(struct ps_str json, struct ps_gpu_prediction *out);

/* From the answer of a cleanup. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_read_cleanup(struct ps_str json, struct ps_gpu_cleanup *out);

/* The member `recommendations` of a report as text; free() it. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_read_recommendations(struct ps_str json, char **out);

/* What POST /api/gpu/cleanup would be sent, as text; free() it. NULL when out of memory. */
char *ps_gpu_write_order(const struct ps_gpu_order *order);

#endif
