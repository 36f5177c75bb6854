/* json - yajl with a bound on its memory, byte offsets and a way out when memory ends.
 *
 * yajl keeps a string that is cut by the edge of two feeds (and a copy of one with escapes) in
 * buffers that grow with it, and it does not look at what its allocator returns. So the allocator
 * here counts every byte against a budget and never returns NULL: it jumps out of yajl to the feed
 * that was running. yajl's state is not touched again; its blocks are freed from a list.
 *
 * Strings are checked for UTF-8; comments, a second document and nesting beyond the bound are
 * refused.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_JSON_H
#define PS_GATEWAY_JSON_H

#include <stddef.h>
#include <stdint.h>

#include <yajl/yajl_parse.h>

#include "base/chunk.h"
#include "base/err.h"
#include "base/str.h"

struct ps_json;

/* Creates a parser that calls `calls` with ctx. Its memory counts against `budget` (or NULL).
 * PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_json_new(struct ps_json **out, const yajl_callbacks *calls, void *ctx,
                              struct ps_budget *budget);

/* NULL is fine. */
void ps_json_free(struct ps_json *json);

/* Parses more bytes, now or with a later feed (small pieces are collected). PS_OK; PS_EPARSE:
 * ps_json_reason() and ps_json_offset() say what and where; PS_ECANCELED: a callback returned 0;
 * PS_ELIMIT, PS_ENOMEM. Every failure stays. */
PS_MUST_CHECK int ps_json_feed(struct ps_json *json, struct ps_str bytes);

/* The document is complete. As above. */
PS_MUST_CHECK int ps_json_end(struct ps_json *json);

/* Inside a callback: the offset behind the current token. After PS_EPARSE: where it went wrong. */
uint64_t ps_json_offset(const struct ps_json *json);

/* After PS_EPARSE: a short phrase, static. */
const char *ps_json_reason(const struct ps_json *json);

#endif
