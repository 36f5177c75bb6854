/* history - the last minutes of every number, a point a second, and what becomes of them.
 *
 * A track is one series of numbers under a key that reads like PromQL:
 *
 *      penstock_gate_queued_requests{upstream="a"}      a gauge as it is
 *      rate(penstock_traffic_requests_total{...})       a counter: by how much it grew, per second
 *      rate|mean|p50|p95|p99(penstock_..._seconds{..})  a histogram: what was observed in that second
 *      gpu                                              a name that somebody else gave a number
 *
 * Points lie on whole seconds of wall time. One that nobody knows (the program stood still, the
 * series is away, a counter began anew, nothing was observed) is NAN: a gap, never a zero.
 *
 *                 track 0 1 2 3 ...
 *      second 17  [..................]      a row a second, `points` rows: filling one, and clearing
 *      second 18  [..................]      those that were missed, touches memory in order
 *
 * Memory is sized at start: what comes when all `max_series` places are taken is counted and left
 * out. A track whose series is gone gives its place back when its last point has left the rows.
 *
 * From the rows come the minutes (exact), and from those the hours, for somebody to write down.
 *
 * Thread: one at a time; in the daemon control's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OBSERVE_HISTORY_H
#define PS_OBSERVE_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/option.h"
#include "base/str.h"
#include "observe/history_key.h"
#include "observe/metric.h"

struct ps_history;

struct ps_history_opts {
    uint64_t max_series; /* tracks */
    uint64_t points;     /* of each, at one a second */
    ps_span minutes;     /* how long rollups are kept: of minutes... */
    ps_span hours;       /* ... and of hours */
};

extern const struct ps_option ps_history_options[];
extern const struct ps_metric_family ps_history_metric_families[];

/* Borrowed from the history; valid until its next begin, collect or put. */
struct ps_history_track {
    struct ps_str key; /* terminated */
    struct ps_str name;   /* of the metric, inside the key */
    struct ps_str labels; /* between the braces, as they are written; empty = none */
    enum ps_history_of of;
    uint32_t place; /* column */
    int64_t since;  /* the first second */
    int64_t seen;   /* the last second in which somebody said something of it, be it NAN */
};

/* --- life ------------------------------------------------------------------------------------- */

/* PS_OK or PS_ENOMEM. Rows are reserved, and cost memory when they are first used. */
PS_MUST_CHECK int ps_history_new(struct ps_history **out, const struct ps_history_opts *opts);
void ps_history_free(struct ps_history *history); /* before the registry; NULL is fine */

/* Declares the families and shows the history's own figures. Before the registry is freed:
 * ps_history_unpublish(). PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_history_publish(struct ps_history *history, struct ps_metrics *metrics);
void ps_history_unpublish(struct ps_history *history);

/* Told once of the first key for which there was no place. */
void ps_history_on_full(struct ps_history *history, void (*on_full)(void *ctx, struct ps_str key),
                        void *ctx);

/* --- filling ---------------------------------------------------------------------------------- */

/* From here on values are of this second (since 1970-01-01 UTC). Seconds that were left out are
 * gaps; when time was set back, what lay behind it is forgotten. The same second again does nothing
 * and returns false. */
bool ps_history_begin(struct ps_history *history, int64_t second);

/* Gives every series of the registry its point of this second, in slices of about `most` series, so
 * that no turn gets long. PS_EBUSY: there are more, call again before the next second begins; PS_OK:
 * done; PS_ENOMEM: some lack their point. */
PS_MUST_CHECK int ps_history_collect(struct ps_history *history, struct ps_metrics *metrics,
                                     size_t most);

/* Gives a key its point of this second; NAN = unknown. A new key makes a track. PS_OK; PS_EINVAL:
 * not a key; PS_ELIMIT: no place, counted; PS_ENOMEM. */
PS_MUST_CHECK int ps_history_put(struct ps_history *history, struct ps_str key, double value);

/* --- looking ---------------------------------------------------------------------------------- */

/* The present second; 0 = it has not begun. */
int64_t ps_history_second(const struct ps_history *history);

/* How many points of each track there may be. */
size_t ps_history_points(const struct ps_history *history);

/* How many tracks there are, and how many were refused for want of a place. */
size_t ps_history_count(const struct ps_history *history);
uint64_t ps_history_refused(const struct ps_history *history);

/* The track of a key, or NULL. */
const struct ps_history_track *ps_history_find(const struct ps_history *history,
                                               struct ps_str key);

/* The track behind `before` in the order of places, the first for NULL; NULL at the end. */
const struct ps_history_track *ps_history_next(const struct ps_history *history,
                                               const struct ps_history_track *before);

/* The point of a second; NAN = unknown, not yet, or no longer. */
double ps_history_at(const struct ps_history *history, const struct ps_history_track *track,
                     int64_t second);

/* The points of `count` seconds from `from` on. */
void ps_history_read(const struct ps_history *history, const struct ps_history_track *track,
                     int64_t from, size_t count, double *out);

/* --- rollups ---------------------------------------------------------------------------------- */

/* What a number did in a length of time. With a count of 0 all is NAN. */
struct ps_history_roll {
    double min;
    double max;
    double mean;
    double last;
    double p95; /* the smallest value that 95 % of the points do not exceed */
    uint32_t count; /* points that are known */
};

/* Of the seconds from `from` to before `to`, as far as they are still there. Exact. */
void ps_history_roll(const struct ps_history *history, const struct ps_history_track *track,
                     int64_t from, int64_t to, struct ps_history_roll *out);

/* Adds what came after. The p95 is the larger of both: it can't be told from them, and is no more. */
void ps_history_roll_join(struct ps_history_roll *roll, const struct ps_history_roll *next);

/* A minute of a track, finished and not yet taken. */
struct ps_history_minute {
    const struct ps_history_track *track;
    int64_t start; /* second; a multiple of 60 */
    struct ps_history_roll roll;
};

/* Takes the next minute; false: there is none now, or hours are to be taken first. Minutes without a
 * known point are left out. They wait while `points` allow it, so that a turn may take a few only. */
bool ps_history_take_minute(struct ps_history *history, struct ps_history_minute *out);

/* Makes the running minute a finished one: the program ends. */
void ps_history_finish(struct ps_history *history);

/* The 95th percentile of an hour, finished and not yet taken. It is read from buckets that grow
 * geometrically (metric_exponential.h): off by 1.1 % at most where the hour's largest value is no
 * more than 30 times its smallest, by 2.2 % up to 1,000 times, by 4.4 % up to a million times; by
 * twice as much where some are negative. */
struct ps_history_hour {
    const struct ps_history_track *track;
    int64_t start; /* second; a multiple of 3600 */
    double p95;
    uint64_t count; /* points it is made of; fewer than the hour's minutes have: not all was seen */
};

/* Takes the next one; false: there is none now. After the hour's last minute was taken. */
bool ps_history_take_hour(struct ps_history *history, struct ps_history_hour *out);

#endif
