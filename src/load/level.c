/* level - see level.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/level.h"

#include <stddef.h>

const char *const ps_stress_verdict_words[] = {"unclear", "holds", "breaks", "generator_limited", NULL};
const char *const ps_stress_signal_words[] = {"none",        "errors", "goodput", "concurrency",
                                              "time_to_first_token", NULL};
