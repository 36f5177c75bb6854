/* path - is this request path understood by everybody in the same way?
 *
 * Servers differ in what they do with "%2e%2e", "//" or "\". A gateway that decides by the path
 * must not let two readings pass.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_PATH_H
#define PS_GATEWAY_PATH_H

#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

enum ps_path_class {
    PS_PATH_PLAIN,    /* one reading */
    PS_PATH_ENCODED,  /* doubled or encoded slashes, needless percent-encoding: see ps_path_decode()
                       */
    PS_PATH_FORBIDDEN /* dot segments, backslashes, control bytes, malformed percent-encoding */
};

/* *reason (static) says what is wrong with a forbidden one. */
enum ps_path_class ps_path_classify(struct ps_str path, const char **reason);

/* The other reading: percent-encoding undone once and slashes merged, into out[size]. PS_OK and the
 * view in *decoded, or PS_ELIMIT. Not for forbidden paths. */
PS_MUST_CHECK int ps_path_decode(struct ps_str path, char *out, size_t size,
                                 struct ps_str *decoded);

#endif
