/* usage - the device's bytes by kind, as rows for whoever prints them.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_USAGE_H
#define PS_SIM_USAGE_H

#include <stddef.h>
#include <stdint.h>

#include "sim/device.h"

#define PS_SIM_USAGE_KINDS 11u

/* "context", "weights", ... The kinds up to and with "free" add up to the device's memory. */
const char *ps_sim_usage_name(size_t kind);
uint64_t ps_sim_usage_bytes(const struct ps_sim_usage *usage, size_t kind);

#endif
