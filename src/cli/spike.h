/* spike - penstock spike: what a burst does to a service, and when it has recovered.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_SPIKE_H
#define PS_CLI_SPIKE_H

#include "base/args.h"

extern const struct ps_command ps_spike_command;

#endif
