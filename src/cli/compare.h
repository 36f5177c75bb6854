/* compare - penstock compare: two reports, and whether the later one is worse.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_COMPARE_H
#define PS_CLI_COMPARE_H

#include "base/args.h"

extern const struct ps_command ps_compare_command;

#endif
