/* json_view - walks over JSON text without making anything of it: members and items as views.
 *
 * For whoever puts a document together from the pieces of others: what is copied as it stands keeps
 * every digit of its numbers and every escape of its strings. The text must have been found valid
 * (ps_json_view_is_valid()); of other text the walk makes nonsense, but it stays inside the view.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_JSON_VIEW_H
#define PS_GATEWAY_JSON_VIEW_H

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

/* Is it one JSON document? PS_OK, PS_EPARSE or PS_ENOMEM. */
PS_MUST_CHECK int ps_json_view_is_valid(struct ps_str text);

/* White space as JSON has it. */
static inline bool ps_json_view_is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Without white space at its beginning. */
static inline struct ps_str ps_json_view_skip_space(struct ps_str text)
{
    while (text.len > 0 && ps_json_view_is_space(text.ptr[0])) {
        text = ps_str_skip(text, 1);
    }
    return text;
}

/* Without white space at both ends. */
struct ps_str ps_json_view_trim(struct ps_str text);

/* What a value begins with tells what it is: '{', '[', '"', 't', 'f', 'n', '-' or a digit; 0 =
 * nothing. */
char ps_json_view_type(struct ps_str value);

/* The inside of a container or string (without its brackets or quotes). */
struct ps_str ps_json_view_inside(struct ps_str value);

/* The next item of an array, from *rest, which begins as the inside. False behind the last. */
bool ps_json_view_next_item(struct ps_str *rest, struct ps_str *item);

/* The next member of an object likewise; the name is raw, as it stands between its quotes. */
bool ps_json_view_next_member(struct ps_str *rest, struct ps_str *name, struct ps_str *value);

#endif
