/* png - a picture from a seed: coloured tiles in the size that was asked for.
 *
 * A palette of 16 colours at 4 bits a pixel; tiles of 32 pixels, so that a picture of a megapixel
 * packs into a few kilobytes (PNG, ISO/IEC 15948).
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_PNG_H
#define PS_SIM_PNG_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define PS_SIM_LONGEST_SIDE 8192u

/* Appends the file. Sides are 1 to PS_SIM_LONGEST_SIDE. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_png(struct ps_buf *out, uint32_t width, uint32_t height, uint64_t seed);

#endif
