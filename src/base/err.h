/* err - error codes and their sentences; the one table of them is penstock/err.h, for the library's
 * users too.
 *
 * A function that can fail returns an int: PS_OK (0) or one of these negative codes. Predicates
 * return bool, look-ups return a pointer or NULL; the three are never mixed.
 *
 * Thread: constants only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_ERR_H
#define PS_BASE_ERR_H

#include "penstock/err.h"

/* The result must be looked at; ignoring on purpose is written PS_IGNORE(call). */
#define PS_MUST_CHECK __attribute__((warn_unused_result))
#define PS_IGNORE(call)                                                                            \
    do {                                                                                           \
        int ignored_ = (call);                                                                     \
        (void)ignored_;                                                                            \
    } while (0)

/* Returns the sentence for a code; "unknown error" for a number that is not in the table.
 * Static text. */
const char *ps_err_text(int err);

/* Maps an errno value (positive) to the nearest code; PS_EIO when there is none. */
int ps_err_from_errno(int error);

#endif
