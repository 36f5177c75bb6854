/* live_keys - what a subscriber of the live figures wants to see, and the messages that change it.
 *
 *      {"subscribe":["gpu","cpu"]}      only these from now on; more are added
 *      {"unsubscribe":["cpu"]}          without these; when none is left, the default set again
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_LIVE_KEYS_H
#define PS_DAEMON_LIVE_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

#define PS_LIVE_KEYS_MOST 500u
#define PS_LIVE_KEY_MOST  1024u /* bytes */

/* A set: sorted, each key once. Empty is the default set, whatever that is. */
struct ps_live_keys {
    char **items; /* owned */
    size_t count;
};

struct ps_live_refusal {
    const char *code; /* "invalid_message", "too_many_keys"; static */
    char text[160];
};

/* Makes the set that `now` becomes by a message. PS_OK; PS_EINVAL: `refusal` says why, nothing is made; PS_ENOMEM. */
PS_MUST_CHECK int ps_live_keys_change(struct ps_live_keys *out, const struct ps_live_keys *now, struct ps_str message,
                                      struct ps_live_refusal *refusal);

void ps_live_keys_fini(struct ps_live_keys *keys);

bool ps_live_keys_eq(const struct ps_live_keys *a, const struct ps_live_keys *b);

#endif
