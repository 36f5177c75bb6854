/* history_key - the text that names a track, written from a series and read again.
 *
 *      key     = selector / of "(" selector ")"          of = rate mean p50 p95 p99
 *      selector = name [ "{" label *( "," label ) "}" ]
 *      label   = name "=" DQUOTE value DQUOTE            with \\ \" and \n escaped, as Prometheus does
 *
 * Nothing else is one: no blanks, no other operators, no control characters.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OBSERVE_HISTORY_KEY_H
#define PS_OBSERVE_HISTORY_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"
#include "observe/metric.h"

#define PS_HISTORY_KEY_MAX 2048 /* bytes of a key */

/* What the numbers of a track are. */
enum ps_history_of {
    PS_HISTORY_VALUE,
    PS_HISTORY_RATE,
    PS_HISTORY_MEAN,
    PS_HISTORY_P50,
    PS_HISTORY_P95,
    PS_HISTORY_P99,
    PS_HISTORY_OF_COUNT
};

/* "value", "rate", "mean", "p50", "p95", "p99", NULL. */
extern const char *const ps_history_of_names[];

/* Views into the key. */
struct ps_history_key {
    enum ps_history_of of;
    struct ps_str name;
    struct ps_str labels; /* between the braces, as it is written; empty = none */
};

/* PS_OK, or PS_EPARSE for what is not a key, PS_ELIMIT for a longer one. */
PS_MUST_CHECK int ps_history_key_parse(struct ps_str text, struct ps_history_key *out);

/* The next label of a parsed key; *rest moves on. `value` is as it is written, with its escapes.
 * False at the end. */
bool ps_history_key_next(struct ps_str *rest, struct ps_str *name, struct ps_str *value);

/* Takes the escapes out of a label's value; `out` has room for value.len bytes. Returns the length. */
size_t ps_history_key_unescape(struct ps_str value, char *out);

/* Does a label of that name have that (plain) value? */
bool ps_history_key_has(struct ps_str labels, struct ps_str name, struct ps_str value);

/* Is the text a metric's name, or a label's (without colons)? */
bool ps_history_key_is_name(struct ps_str text);

/* Writes the key of a sample's series; empty labels are left out. `state`, of a stateset, is told by a
 * label of the family's name, as OpenMetrics does; else NULL. Returns the length; 0: it is too long. */
size_t ps_history_key_write(enum ps_history_of of, const struct ps_metric_sample *sample,
                            const char *state, char out[PS_HISTORY_KEY_MAX]);

#endif
