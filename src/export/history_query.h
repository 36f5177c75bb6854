/* history_query - what somebody wants to know of the past, read from the query of GET /api/history.
 *
 *      name=KEY | name=METRIC ...   repeated for more; a key means that track, a metric all of its tracks
 *      <label>=VALUE ...            only those with this label
 *      of=rate                      only those numbers of it
 *      range=1h                     how far back from `to`; or
 *      from=UNIX|-2h  to=UNIX|-1h   seconds since 1970, or back from now; both are in it
 *      step=60|5m                   how far the points lie apart; left out: at most 500 points
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_HISTORY_QUERY_H
#define PS_EXPORT_HISTORY_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "observe/history.h"
#include "operate/query.h"

#define PS_HISTORY_SELECTORS 50    /* names of one query */
#define PS_HISTORY_LABELS    8     /* labels of one query */
#define PS_HISTORY_SERIES    100   /* of one answer */
#define PS_HISTORY_STEPS     3000  /* points of one series */
#define PS_HISTORY_CELLS     60000 /* points of one answer */

struct ps_history_selector {
    char text[PS_QUERY_TEXT];
    struct ps_history_key key; /* views into text */
    bool exact;                /* there is a track of this very key: only that is meant */
};

struct ps_history_query {
    struct ps_history_selector selectors[PS_HISTORY_SELECTORS];
    size_t selector_count; /* 0: a list of all keys is wanted */
    struct ps_query_pair labels[PS_HISTORY_LABELS];
    size_t label_count;
    enum ps_history_of of; /* PS_HISTORY_OF_COUNT = any */
    int64_t from;
    int64_t to;
    int64_t step; /* 0 = left out */
};

/* Reads the query of a request that came in this second. PS_OK, or PS_EINVAL: `reason` says in a
 * sentence what is wrong. The query points into itself: it is not to be moved. */
PS_MUST_CHECK int ps_history_query_parse(struct ps_history_query *query, struct ps_str text,
                                         int64_t now, char *reason, size_t size);

enum ps_history_resolution { PS_HISTORY_SECOND, PS_HISTORY_MINUTE, PS_HISTORY_HOUR };

/* "second", "minute", "hour", NULL. */
extern const char *const ps_history_resolution_names[];

/* What there is to answer from. */
struct ps_history_reach {
    int64_t now;
    int64_t points; /* seconds in memory */
    bool kept;      /* minutes and hours are, for so many seconds: */
    int64_t minutes;
    int64_t hours;
};

/* The grid of an answer: `count` times from `from` on, `step` apart; each stands for [t, t + step). */
struct ps_history_grid {
    enum ps_history_resolution resolution; /* of what it is made of */
    int64_t from;
    int64_t step;
    size_t count;
};

/* Chooses the finest resolution that reaches back to the query's start, and the step if that was left
 * out. PS_OK, or PS_EINVAL with a reason: too many points. */
PS_MUST_CHECK int ps_history_query_plan(const struct ps_history_query *query,
                                        const struct ps_history_reach *reach,
                                        struct ps_history_grid *out, char *reason, size_t size);

/* Of what was found: did some series have the metric's name, and one of them each label's? */
struct ps_history_known {
    bool name;
    bool labels[PS_HISTORY_LABELS];
};

/* Takes notice of a track that there is. First all are met, then each is asked for. */
void ps_history_query_meet(struct ps_history_query *query, struct ps_str text,
                           struct ps_history_known *known);

/* After all were met: PS_OK, PS_ENOTFOUND (no series of that name) or PS_EINVAL (a label, or misspelt
 * parameter, that none of them has); `reason` says it. */
PS_MUST_CHECK int ps_history_query_judge(const struct ps_history_query *query,
                                         const struct ps_history_known *known, char *reason,
                                         size_t size);

/* Does the query want the track of this key? After all were met. */
bool ps_history_query_wants(const struct ps_history_query *query, struct ps_str text);

#endif
