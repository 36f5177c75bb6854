/* gpu_profile_view - /api/gpu/profile as tables of text: devices, servers, processes, advice.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_GPU_PROFILE_VIEW_H
#define PS_CLI_GPU_PROFILE_VIEW_H

#include "base/buf.h"

/* Appends lines. What the profile does not say is a dash. PS_OK, PS_ELIMIT, PS_ENOMEM, or
 * PS_EPARSE: it is no profile. */
PS_MUST_CHECK int ps_gpu_profile_view_write(struct ps_str json, struct ps_buf *out);

#endif
