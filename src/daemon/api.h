/* api - what the reserved paths answer, and whom.
 *
 * Access comes first, for every path alike: the peer, the Host, the Origin, the token and its role; then the
 * path's own handler. See docs/access.md.
 *
 * Thread: control's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_API_H
#define PS_DAEMON_API_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/err.h"

struct ps_ask;
struct ps_caches;
struct ps_clerk;
struct ps_gpu;
struct ps_live;
struct ps_numbers;
struct ps_panel;
struct ps_recorder;
struct ps_site;
struct ps_api;

/* The clerk answers what takes long; it ends before the api. `numbers` are copied. */
PS_MUST_CHECK int ps_api_new(struct ps_api **out, const struct ps_numbers *numbers, struct ps_clerk *clerk);
void ps_api_free(struct ps_api *api); /* NULL is fine */

/* What is in force; borrowed until the next call. `draining` turns /readyz to 503. */
void ps_api_set_site(struct ps_api *api, const struct ps_site *site);
void ps_api_set_caches(struct ps_api *api, struct ps_caches *caches); /* likewise */
void ps_api_set_gpu(struct ps_api *api, struct ps_gpu *gpu);          /* likewise */
void ps_api_set_live(struct ps_api *api, struct ps_live *live);       /* likewise */
void ps_api_set_recorder(struct ps_api *api, struct ps_recorder *recorder); /* likewise */
void ps_api_set_panel(struct ps_api *api, struct ps_panel *panel);    /* likewise */
void ps_api_set_draining(struct ps_api *api);

/* Fills the answer into the ask, or makes it pending: then ask->on_answered runs when it is there. */
void ps_api_answer(struct ps_api *api, struct ps_ask *ask, ps_time now);

#endif
