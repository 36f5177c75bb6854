/* stress - penstock stress: how much a service carries, and what gives way.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_STRESS_H
#define PS_CLI_STRESS_H

#include "base/args.h"

extern const struct ps_command ps_stress_command;

#endif
