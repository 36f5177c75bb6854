/* history_result - the answer to a question about the past: series on one grid of times, as JSON.
 *
 *      {"from","to","step_seconds","resolution":"second|minute|hour","store":true,"series":[
 *          {"key","name","labels":{},"of":"rate","time":[...],"value":[...]}        a step of one second
 *          {...,"time":[...],"min":[],"max":[],"mean":[],"last":[],"p95":[],"count":[]}]}     longer ones
 *
 * A gap is null, its count 0. The result owns all it tells, so another thread may write it.
 *
 * Thread: one at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_HISTORY_RESULT_H
#define PS_EXPORT_HISTORY_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "export/history_query.h"
#include "observe/history.h"

struct ps_ledger_rows;
struct ps_history_result;

/* No series yet. `kept`: is anything kept beyond what is in memory? PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_history_result_new(struct ps_history_result **out,
                                        const struct ps_history_grid *grid, bool kept);
void ps_history_result_free(struct ps_history_result *result); /* NULL is fine */

/* Adds a series, all of it gaps; `id` is what the ledger calls it. PS_OK, PS_ENOMEM, PS_EINVAL (not a
 * key), or PS_ELIMIT: more than PS_HISTORY_SERIES, or more than PS_HISTORY_CELLS points in all. */
PS_MUST_CHECK int ps_history_result_add(struct ps_history_result *result, struct ps_str key,
                                        int64_t id);
/* Is a series of this key there? */
bool ps_history_result_has(const struct ps_history_result *result, struct ps_str key);
size_t ps_history_result_count(const struct ps_history_result *result);

/* The ids of the series as a JSON array, and the end of the grid. */
PS_MUST_CHECK int ps_history_result_ids(const struct ps_history_result *result, struct ps_buf *out);

/* Fills the n-th series from memory. */
void ps_history_result_fill(struct ps_history_result *result, size_t n,
                            const struct ps_history *history,
                            const struct ps_history_track *track);

/* Fills all from rows as ps_rollup_read() gives them. */
void ps_history_result_take(struct ps_history_result *result, const struct ps_ledger_rows *rows);

/* Adds what the present minute was so far: it is not stored yet. */
void ps_history_result_round_off(struct ps_history_result *result,
                                 const struct ps_history *history);

/* Appends the document. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_history_result_write(const struct ps_history_result *result,
                                          struct ps_buf *out);

/* Appends the list of all keys that there are now:
 *      {"time","points","store","series":[{"key","name","labels":{},"of"}]} */
PS_MUST_CHECK int ps_history_list_write(const struct ps_history *history, bool kept,
                                        struct ps_buf *out);

#endif
