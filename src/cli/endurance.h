/* endurance - penstock endurance: does anything get worse while a service works for hours?
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_ENDURANCE_H
#define PS_CLI_ENDURANCE_H

#include "base/args.h"

extern const struct ps_command ps_endurance_command;

#endif
