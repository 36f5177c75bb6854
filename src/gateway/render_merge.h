/* render_merge - what the events of a stream amount to, member by member: the first half of
 * ps_render_json(), for render_json.c alone.
 *
 * Names and values are views into the events; what is joined from several is owned.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_RENDER_MERGE_H
#define PS_GATEWAY_RENDER_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* How the values of one member, event after event, become one value. A null is no value. */
enum ps_merge_rule {
    PS_MERGE_ONCE,   /* all say the same */
    PS_MERGE_SINGLE, /* one event has it */
    PS_MERGE_FIRST,
    PS_MERGE_LAST,
    PS_MERGE_TEXT,  /* strings are joined */
    PS_MERGE_ARRAY, /* arrays are strung together */
    PS_MERGE_DROP
};

struct ps_merge_member {
    struct ps_str name;
    enum ps_merge_rule rule;
    struct ps_str value; /* the raw value, of rules without joining */
    struct ps_buf joined;
    bool has_value;
};

/* Members in order of their first appearance. */
struct ps_merge_object {
    struct ps_merge_member *members;
    size_t count;
};

struct ps_merge_call {
    uint64_t index;
    struct ps_merge_object own, function;
};

/* A member that is put together from several: was it ever there, and with a value? */
enum ps_merge_seen { PS_MERGE_ABSENT, PS_MERGE_ONLY_NULL, PS_MERGE_GIVEN };

struct ps_merge_choice {
    uint64_t index;
    struct ps_merge_object own, delta, logprobs, function; /* function: of the old function_call */
    struct ps_merge_call *calls;
    size_t calls_count;
    enum ps_merge_seen logprobs_seen, function_seen, calls_seen;
};

struct ps_merge {
    struct ps_merge_object top;
    struct ps_merge_choice *choices;
    size_t choices_count;
    bool chat;
    bool done;
    bool begun;
};

/* Reads a whole stream. *merge is zeroed before and needs ps_merge_fini() after, whatever comes
 * back: PS_OK, PS_EPARSE (see render.h) or PS_ENOMEM. */
PS_MUST_CHECK int ps_merge_events(struct ps_merge *merge, struct ps_str events);

void ps_merge_fini(struct ps_merge *merge);

/* The member of that name, or NULL. */
struct ps_merge_member *ps_merge_find(const struct ps_merge_object *object, struct ps_str name);

#endif
