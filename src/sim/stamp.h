/* stamp - an instant as engines write it into JSON: RFC 3339, UTC.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_STAMP_H
#define PS_SIM_STAMP_H

#include "base/clock.h"

#define PS_SIM_STAMP_TEXT 48

/* Writes "2026-01-31T12:00:00.123456789Z"; `wall` is nanoseconds since 1970. Returns text. */
const char *ps_sim_stamp(ps_time wall, char text[PS_SIM_STAMP_TEXT]);

#endif
