/* json - a JSON document that somebody sent, read strictly, and what is wrong with it in words.
 *
 * For small documents of an API (jansson's tree); bodies of inference are read as they arrive
 * (gateway/request).
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OPERATE_JSON_H
#define PS_OPERATE_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "base/str.h"

/* The document, of any type; the caller gives it back with json_decref(). No member may be there
 * twice, and text is UTF-8; `flags` are jansson's besides (JSON_ALLOW_NUL: `\u0000` in values). NULL:
 * `reason` says what is wrong and where, in words of our own, so in printable ASCII. */
json_t *ps_json_read(struct ps_str text, size_t flags, char *reason, size_t size);

#endif
