/* sparse - the steps of a histogram as a line of text: only those that are not 0.
 *
 *      "1520x3 2 1x17"     step 1520 three times, step 1522 once, step 1523 seventeen times
 *
 * Numbers are distances from the step before (the first from 0), `xN` says how often where it is not once.
 * Some four bytes for each filled step.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_SPARSE_H
#define PS_LOAD_SPARSE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* Appends the text. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_sparse_write(const uint64_t *steps, size_t count, struct ps_buf *out);

/* What a text said: the first and the last step that are not 0, and the sum of all. */
struct ps_sparse_span {
    size_t first;
    size_t last;
    uint64_t total; /* 0: the text was empty */
};

/* Adds what a text says to steps[0..count). PS_OK; PS_EPARSE for anything that the above would not write: then some
 * of it was added. */
PS_MUST_CHECK int ps_sparse_read(struct ps_str text, uint64_t *steps, size_t count, struct ps_sparse_span *span);

#endif
