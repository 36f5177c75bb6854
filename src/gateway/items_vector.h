/* items_vector - is an item of an answer JSON? Quick for what they are: vectors of numbers or
 * base64.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_ITEMS_VECTOR_H
#define PS_GATEWAY_ITEMS_VECTOR_H

#include "base/err.h"
#include "base/str.h"

/* PS_OK, PS_EPARSE or PS_ENOMEM. */
PS_MUST_CHECK int ps_items_vector_check(struct ps_str item);

#endif
