/* panel - what control has of the dashboard: the board of each second, its frames, the log's events.
 *
 *      recorder: a second is over --> board computes --> frame --> live tells subscribers
 *      the log's lines --> events ---------------------'    '--> GET /api/dashboard/summary
 *
 * Thread: control's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_PANEL_H
#define PS_DAEMON_PANEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct ps_history;
struct ps_live;
struct ps_loop;
struct ps_metrics;
struct ps_panel;

/* Listens to the log from now on; only one at a time does. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_panel_new(struct ps_panel **out);
void ps_panel_free(struct ps_panel *panel); /* NULL is fine */

/* Where the numbers come from and go to, all borrowed. Rates are known from the first second on.
 * PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_panel_start(struct ps_panel *panel, struct ps_loop *loop,
                                 struct ps_metrics *metrics, struct ps_history *history);

/* Who is told of each second; NULL = nobody. */
void ps_panel_set_live(struct ps_panel *panel, struct ps_live *live);

/* The second is over and the history has its values of the registry: a ps_recorder's callback. */
void ps_panel_second(void *panel, int64_t second);

/* One frame: a ps_live_encode_fn. PS_EBUSY: before the first second. */
int ps_panel_encode(void *panel, const char *const *keys, size_t count, bool first,
                    struct ps_buf *out);

/* Appends the JSON of GET /api/dashboard/summary?names=KEY,KEY. PS_OK; PS_EINVAL with a sentence in
 * reason; PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_panel_write_summary(struct ps_panel *panel, struct ps_str query,
                                         struct ps_buf *out, char *reason, size_t size);

#endif
