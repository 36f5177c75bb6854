/* state - GET /sim/state: the truth about a simulated server, whatever it says elsewhere.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_STATE_H
#define PS_SIM_STATE_H

#include "base/buf.h"
#include "base/err.h"
#include "sim/ask.h"
#include "sim/desk.h"

/* Appends the device, models, cache, queues and lies as JSON. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_state_write(struct ps_buf *out, const struct ps_sim_desk *desk);

/* Answers with it. */
void ps_sim_state_answer(const struct ps_sim_ask *ask);

#endif
