/* json - a request body as a jansson tree, read by yajl.
 *
 * jansson reads a byte at a time: 7 ms for a prompt of 220 KB, against 0.2 ms here. The tree stays
 * jansson's, because it is pleasant to walk. Strict: RFC 8259, UTF-8, no duplicate keys, nothing
 * behind the value, at most 64 levels.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_JSON_H
#define PS_SIM_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

struct ps_sim_json_error {
    size_t offset;    /* of the byte where reading stopped */
    const char *text; /* static */
};

/* Gives a tree to json_decref(). PS_OK; PS_EPARSE with *error filled; PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_json_parse(struct ps_str text, json_t **out,
                                    struct ps_sim_json_error *error);

#endif
