/* render - one answer, two renderings: a stream of events becomes one JSON object and the other way
 * round, for chat completions and completions.
 *
 *      data: {"object":"chat.completion.chunk","choices":[{"delta":{"content":"Hel"}}]}
 *      data: {"object":"chat.completion.chunk","choices":[{"delta":{"content":"lo"}}]}    <-->
 *      data: {..., "choices":[{"delta":{},"finish_reason":"stop"}]}
 *      data: {..., "choices":[],"usage":{...}}
 *      data: [DONE]
 *
 *              {"object":"chat.completion","choices":[{"message":{"role":"assistant",
 *               "content":"Hello"},"finish_reason":"stop"}],"usage":{...}}
 *
 * Values are copied as they stand, so numbers and escapes keep their spelling. What the OpenAI API
 * defines is put together by its rules: text, reasoning, refusals and the arguments of tool calls
 * are joined, log probabilities are strung together. Members that it does not define are carried
 * over where that loses nothing (they say the same in every event, or are there once); an answer in
 * which they do not, which reports an error, or which has no proper end, can't be rendered:
 * PS_EPARSE, and whoever asked must ask the upstream.
 *
 * Formats: OpenAI API reference, "chat/object", "chat/streaming", "completions/object".
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_RENDER_H
#define PS_GATEWAY_RENDER_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define PS_RENDER_CHOICES_MAX 128 /* choices of an answer, tool calls of a choice */
#define PS_RENDER_MEMBERS_MAX 64  /* members of an object */

/* Appends the JSON object that a whole event stream amounts to. Its usage is the last that was
 * reported, if any was. PS_OK, PS_EPARSE, or what the buffer says: PS_ELIMIT, PS_ENOMEM (then *out
 * is as it was). */
PS_MUST_CHECK int ps_render_json(struct ps_str events, struct ps_buf *out);

/* Appends the event stream of a JSON object: for each choice one event with all of its content and
 * one with its end, then, when include_usage is set, one with the usage, then [DONE]. As above. */
PS_MUST_CHECK int ps_render_events(struct ps_str json, bool include_usage, struct ps_buf *out);

/* Appends a stored event stream for a client that did not ask for usage: without the event that
 * holds nothing else. Everything else stays byte for byte. As above. */
PS_MUST_CHECK int ps_render_without_usage(struct ps_str events, struct ps_buf *out);

#endif
