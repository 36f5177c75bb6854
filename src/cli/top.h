/* top - `penstock top`: the dashboard at a terminal.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_TOP_H
#define PS_CLI_TOP_H

#include "base/args.h"

extern const struct ps_command ps_top_command;

#endif
