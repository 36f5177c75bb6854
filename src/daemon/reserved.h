/* reserved - the paths that Penstock answers itself, and what each asks of the caller.
 *
 * Exactly these paths, never a prefix: other servers own paths right beside them (Ollama has
 * /api/tags, ComfyUI has /api/history/ID), and those go through.
 *
 * Thread: pure functions on constants.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_RESERVED_H
#define PS_DAEMON_RESERVED_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

/* What a token allows; the first three are what the configuration names. */
enum ps_role {
    PS_ROLE_READ,   /* look at everything */
    PS_ROLE_INGEST, /* hand in metrics, nothing else */
    PS_ROLE_ADMIN,  /* everything */
    PS_ROLE_NONE    /* no token needed */
};

/* "read", "ingest", "admin", NULL. */
extern const char *const ps_role_names[];

/* Is `path` (without query) one of the reserved? */
bool ps_reserved_path(struct ps_str path);

/* Is it one of the two health paths, which are reserved on every port and need no token? */
bool ps_reserved_health(struct ps_str path);

/* What a request to a reserved path needs: nothing for health, `read` for GET, HEAD and OPTIONS,
 * `ingest` for handing in metrics, `admin` for everything else. */
enum ps_role ps_reserved_role(struct ps_str path, struct ps_str method);

/* Does a token of role `has` open what needs role `need`? */
bool ps_role_allows(enum ps_role has, enum ps_role need);

/* The n-th reserved path; the empty view past the end. */
struct ps_str ps_reserved_at(size_t n);

#endif
