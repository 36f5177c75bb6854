/* recorder - once a second every number is written down, and whoever asks is told what it was.
 *
 *      the second --> history: begin, collect (in slices) --> on_second: the board --> rollup --> ledger
 *      GET /api/history --> from memory, or from the ledger when it has answered --> the clerk writes it
 *
 * Seconds are those of wall time. Each turn does a slice, so that control is never held up for long;
 * how long it is stands in a metric of its own.
 *
 * Thread: control's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_RECORDER_H
#define PS_DAEMON_RECORDER_H

#include <stdint.h>

#include "base/err.h"
#include "observe/history.h"

struct ps_ask;
struct ps_clerk;
struct ps_ledger;
struct ps_loop;
struct ps_metrics;
struct ps_recorder;

extern const struct ps_metric_family ps_recorder_metric_families[];

/* What it works with; all borrowed. `ledger` NULL: nothing is kept. */
struct ps_recorder_parts {
    struct ps_loop *loop;
    struct ps_metrics *metrics;
    struct ps_ledger *ledger;
    struct ps_clerk *clerk;
};

/* Begins with the next second. PS_OK, PS_ENOMEM or PS_EIO. */
PS_MUST_CHECK int ps_recorder_new(struct ps_recorder **out, const struct ps_history_opts *opts,
                                  const struct ps_recorder_parts *parts);

/* Whoever still waits for an answer gets 503; before the clerk is freed. NULL is fine. */
void ps_recorder_cancel(struct ps_recorder *recorder);

/* Writes the running minute; before the ledger is freed. NULL is fine. */
void ps_recorder_free(struct ps_recorder *recorder);

/* How long rollups stay; the rest takes a restart. */
void ps_recorder_set(struct ps_recorder *recorder, const struct ps_history_opts *opts);

struct ps_history *ps_recorder_history(struct ps_recorder *recorder);

/* Calls when a second's numbers are in history: more may be put there. At most 4 listen. */
void ps_recorder_on_second(struct ps_recorder *recorder, void (*on_second)(void *ctx, int64_t second),
                           void *ctx);

/* Answers GET /api/history; mostly later (ask->pending). */
void ps_recorder_answer(struct ps_recorder *recorder, struct ps_ask *ask);

#endif
