/* call - one inference request, from its place in the engine to the last byte of its answer.
 *
 * Whatever surface a request came by, it is read as the OpenAI form of the same wish and becomes a
 * sequence per prompt; a dialect writes the tokens down as that surface does. A client that reads
 * slowly gets fewer and larger events (the text is not buffered, it is made again from its seed),
 * one that is gone frees its sequences at once.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_CALL_H
#define PS_SIM_CALL_H

#include <jansson.h>

#include "sim/answer.h"
#include "sim/ask.h"
#include "sim/request.h"

/* Answers an inference request. `plain` is it in the OpenAI form, and is taken over; NULL: out of
 * memory. `given` is what the client sent, for dialects that repeat some of it; a reference is
 * taken; may be NULL. */
void ps_sim_call_start(const struct ps_sim_ask *ask, enum ps_sim_kind kind,
                       const struct ps_sim_dialect *dialect, json_t *plain, json_t *given);

#endif
