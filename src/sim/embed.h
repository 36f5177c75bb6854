/* embed - unit vectors from text: deterministic, and nearer the more words two texts share.
 *
 * Every word adds to a few components that its hash chooses; a trace of the whole text's hash keeps
 * texts of the same words in another order apart. Components are multiples of 1e-7, so that their
 * decimal form and their 32-bit form say the same.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_EMBED_H
#define PS_SIM_EMBED_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define PS_SIM_MOST_DIMENSIONS 8192u

/* Fills units[dimensions] with the components in units of 1e-7. dimensions is 1 to
 * PS_SIM_MOST_DIMENSIONS. */
void ps_sim_embed(struct ps_str text, uint64_t seed, int32_t *units, size_t dimensions);

/* Appends "[0.0123456,-0.1,...]". PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_embed_json(struct ps_buf *out, const int32_t *units, size_t dimensions);

/* Appends the base64 of the components as little-endian 32-bit floats, in quotes. Errors as above.
 */
PS_MUST_CHECK int ps_sim_embed_base64(struct ps_buf *out, const int32_t *units, size_t dimensions);

/* Appends base64 with padding (RFC 4648, 4), without quotes. Errors as above. */
PS_MUST_CHECK int ps_sim_base64(struct ps_buf *out, const void *bytes, size_t len);

#endif
