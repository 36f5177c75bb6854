/* answer - what a load tester has to know about the pieces of a stream, and no more.
 *
 * A piece is an event of OpenAI's API or a line of Ollama's.
 *
 * Ten thousand streams send a great many events, and their text does not matter here; so an event is
 * searched for the members that carry text, and parsed only when it holds the usage or an error. A
 * quotation mark inside JSON text is always escaped, so a member's name can't be faked by content.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_ANSWER_H
#define PS_LOAD_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* Does it carry generated text: a member content, text, response, reasoning_content, reasoning or
 * thinking with a string that is not empty, or tool call arguments? */
bool ps_answer_has_text(struct ps_str json);

/* Is it the sentence that ends a stream ("[DONE]")? */
bool ps_answer_is_done(struct ps_str data);

/* Does it say `"done": true`, as the last line of Ollama's streams? */
bool ps_answer_says_done(struct ps_str json);

/* Reads usage.prompt_tokens and usage.completion_tokens, or prompt_eval_count and eval_count (the former
 * is absent when the prompt was cached: *prompt stays). False when there are none (usage null). */
bool ps_answer_usage(struct ps_str json, uint64_t *prompt, uint64_t *completion);

/* Is it {"error":...}? Then the message (or the start of the text) is copied into message. */
bool ps_answer_is_error(struct ps_str json, char *message, size_t size);

#endif
