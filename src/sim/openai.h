/* openai - the OpenAI surface, which most engines have beside their own.
 *
 * Handlers for route tables, and the writers that other surfaces borrow from.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_OPENAI_H
#define PS_SIM_OPENAI_H

#include "sim/answer.h"
#include "sim/ask.h"

extern const struct ps_sim_dialect ps_sim_openai;

void ps_sim_openai_chat(const struct ps_sim_ask *ask);
void ps_sim_openai_completion(const struct ps_sim_ask *ask);
void ps_sim_openai_embedding(const struct ps_sim_ask *ask);
void ps_sim_openai_image(const struct ps_sim_ask *ask);

/* GET /v1/models: each name under the personality's owner. */
void ps_sim_openai_models(const struct ps_sim_ask *ask);

/* Appends an error in OpenAI's shape, with its kind as a word. */
int ps_sim_openai_refusal(struct ps_buf *out, const struct ps_sim_refusal *refusal);

/* The same without the object around it, and with the status as its code: SGLang, TensorRT-LLM. */
int ps_sim_openai_flat_refusal(struct ps_buf *out, const struct ps_sim_refusal *refusal);

#endif
