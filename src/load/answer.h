/* answer - what a load tester has to know about the events of an OpenAI stream, and no more.
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

/* Does the event carry generated text: a member content, text, reasoning_content or reasoning with a
 * string that is not empty, or tool call arguments? */
bool ps_answer_has_text(struct ps_str json);

/* Is it the sentence that ends a stream ("[DONE]")? */
bool ps_answer_is_done(struct ps_str data);

/* Reads usage.prompt_tokens and usage.completion_tokens. False when there are none (usage null). */
bool ps_answer_usage(struct ps_str json, uint64_t *prompt, uint64_t *completion);

/* Is it {"error":...}? Then the message (or the start of the text) is copied into message. */
bool ps_answer_is_error(struct ps_str json, char *message, size_t size);

#endif
