/* select - the value that would stand at a place if all were in order, without ordering them.
 *
 * Source: C. A. R. Hoare, "Algorithm 65: find" (1961). On average a few passes over the values.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_SELECT_H
#define PS_BASE_SELECT_H

#include <stddef.h>

/* The value that k others (0 to count - 1) are not above; count > 0, and none is NAN. The values
 * change their places: afterwards none before values[k] is larger. */
double ps_select(double *values, size_t count, size_t k);

#endif
