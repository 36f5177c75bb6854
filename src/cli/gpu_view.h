/* gpu_view - the GPUs as a table of text.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_GPU_VIEW_H
#define PS_CLI_GPU_VIEW_H

#include "base/buf.h"
#include "gpu/profile.h"

/* Appends lines: cards, processes, and what is to be said of the sources. What is not known is a
 * dash. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_gpu_view_write(const struct ps_profile_source *sources, size_t count,
                                    struct ps_buf *out);

/* What calls took, a line each. */
PS_MUST_CHECK int ps_gpu_view_write_calls(const struct ps_toll_book *book, struct ps_buf *out);

#endif
