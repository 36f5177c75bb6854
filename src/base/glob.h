/* glob - shell patterns over text: `*` is any run of bytes, `?` any one byte, `\` takes the next
 * byte literally.
 *
 * A slash is a byte like any other. The match goes back at most to the last star, so that a hostile
 * pattern costs at most the product of both lengths.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_GLOB_H
#define PS_BASE_GLOB_H

#include <stdbool.h>

#include "base/str.h"

/* Does the whole text match the whole pattern? */
bool ps_glob_match(struct ps_str pattern, struct ps_str text);

#endif
