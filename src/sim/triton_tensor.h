/* triton_tensor - an inference request of KServe v2 as JSON, cut into rows of its batch.
 *
 * Every input has a shape whose first number is the batch; all agree. A row is what belongs to one
 * member of the batch, of all inputs, as text: equal rows have equal texts whatever batch they are
 * in, so that merged and split requests give the same outputs.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_TRITON_TENSOR_H
#define PS_SIM_TRITON_TENSOR_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define PS_SIM_TRITON_ROW \
    4096u /* bytes of a row's text that count; of longer ones a hash follows */

/* Gives the rows as a list of texts, to be released by the caller. most: the largest batch, 0: no
 * limit. PS_OK; PS_EINVAL, and `reason` (of size) says why; PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_triton_rows(const json_t *request, uint64_t most, json_t **out,
                                     char *reason, size_t size);

#endif
