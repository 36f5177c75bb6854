/* rollup - minutes and hours of history, in the ledger.
 *
 *      history -- take_minute --> batches of rows --> history_minute -- SQL, once an hour --> history_hour
 *
 * A minute is written within seconds of its end and is on the disk then, come what may. Hours are made
 * of the minutes that are stored, so a restart changes nothing about them; only their p95 is set
 * afterwards, from the history's own buckets, where those have seen as many points as the hour has.
 * Elsewhere it is the highest p95 of the hour's minutes: never below the true one, never above the
 * highest of them.
 *
 *      history_track   id, key, name, seen_s             each key once
 *      history_minute  start_s, track, low, high, mean, last, p95, count     in order of time: a minute
 *                      is appended, and is no longer than it must be: where all are the same as `low`,
 *                      the others are NULL (the view history_minutes fills them in and names the key)
 *      history_hour    track, start_s, low, ...          in order of tracks
 *      history_done    start_s                           hours that were made
 *
 * start_s is seconds since 1970-01-01 UTC: of such rows there are many, and it is half as long.
 *
 * Thread: control's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_ROLLUP_H
#define PS_EXPORT_ROLLUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "observe/history.h"
#include "store/ledger.h"

struct ps_rollup;

extern const struct ps_ledger_room ps_rollup_ledger_room;

/* Both borrowed. A NULL ledger keeps nothing. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_rollup_new(struct ps_rollup **out, struct ps_history *history,
                                struct ps_ledger *ledger);
void ps_rollup_free(struct ps_rollup *rollup); /* before the ledger; NULL is fine */

/* How long rows stay. */
void ps_rollup_keep(struct ps_rollup *rollup, ps_span minutes, ps_span hours);

/* Takes about `most` of the minutes and hours that are finished and hands them to the ledger. False:
 * that was all. What the ledger has no room for is lost and counted there. */
bool ps_rollup_write(struct ps_rollup *rollup, size_t most);

/* The program ends: the running minute as far as it went, too. */
void ps_rollup_finish(struct ps_rollup *rollup);

/* Is anything kept? */
bool ps_rollup_is_kept(const struct ps_rollup *rollup);

/* The stored tracks of some metrics: rows of id and key. `names` is a JSON array of texts. Returns as
 * ps_ledger_read(). */
PS_MUST_CHECK int ps_rollup_find(struct ps_rollup *rollup, struct ps_str names, size_t most,
                                 ps_ledger_fn *on_end, void *ctx);

/* What is stored of some tracks, in slots of `step` seconds from `from` to before `to` (all multiples of
 * 60, of 3600 for hours): rows of track, start, low, high, mean, last, p95, count, in order of track and
 * start. `ids` is a JSON array of numbers. The running hour is made of its minutes. */
struct ps_rollup_range {
    struct ps_str ids;
    int64_t from;
    int64_t to;
    int64_t step;
    bool hours; /* from hours, else from minutes */
};
PS_MUST_CHECK int ps_rollup_read(struct ps_rollup *rollup, const struct ps_rollup_range *range,
                                 size_t most, ps_ledger_fn *on_end, void *ctx);

#endif
