/* frame - what the dashboard is told each second, as JSON.
 *
 *      {"type":"metrics_update","seq":7,"time":1767323045,"metrics":{key:number},"alerts":[],
 *       "events":[...]                                        the log's lines of this second
 *       "history":{"time":[...],"series":{key:[number|null]}} only in the first to a subscriber, as
 *       "board":[{"name","unit","group","help","labels"}]}    this, and all events that are kept
 *
 * `time` is in seconds since 1970. Of `metrics` a key is absent in a second in which nobody knows
 * its value; in `history` that is null. seq counts the seconds of this process.
 *
 * The text of every point of the default set is made once, when its second is there, and kept: five
 * minutes of everything are copied, not written anew for whoever comes.
 *
 * Thread: one at a time; in the daemon control's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_FRAME_H
#define PS_EXPORT_FRAME_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

#define PS_FRAME_POINTS 300  /* of each key at most */
#define PS_FRAME_KEYS   1024 /* in one frame at most; what comes after is left out */

struct ps_events;
struct ps_frame;
struct ps_history;

struct ps_frame_opts {
    const struct ps_history *history; /* borrowed */
    struct ps_events *events;         /* borrowed; NULL = there are none */
    bool board;                       /* the rows of the board are told */
};

/* PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_frame_new(struct ps_frame **out, const struct ps_frame_opts *opts);
void ps_frame_free(struct ps_frame *frame); /* NULL is fine */

/* The history has all values of its present second, whose time is `time`: frames are about it from
 * now on. `keys` is the default set, borrowed until it returns. PS_OK or PS_ENOMEM (some are left
 * out). */
PS_MUST_CHECK int ps_frame_second(struct ps_frame *frame, double time, const char *const *keys,
                                  size_t count);

/* Appends the frame of the default set (`keys` NULL) or of these: keys of the history, or names of
 * rows with labels, which stand for all of their tracks; unknown ones are left out. `first`: with
 * all that a subscriber needs once. PS_OK, PS_ELIMIT or PS_ENOMEM; on failure `out` is as it was.
 */
PS_MUST_CHECK int ps_frame_write(struct ps_frame *frame, const char *const *keys, size_t count,
                                 bool first, struct ps_buf *out);

/* Likewise
 * {"seq","time","current_metrics":{},"history":{},"stats":{key:{"min","max","mean","p95"}},
 * "subscribers":0,"alerts":[],"events":[],"board":[]}: the same for scripts. */
PS_MUST_CHECK int ps_frame_write_summary(struct ps_frame *frame, const char *const *keys,
                                         size_t count, size_t subscribers, struct ps_buf *out);

#endif
