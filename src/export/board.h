/* board - what an operator wants to see: short names, each computed once a second from the
 * registry.
 *
 *      registry --> rows: rate, sum, quantile, ... of the second --> history, under the row's name
 *
 * A row of the table is the name on the page and in `penstock top`, its unit, its group, what it
 * says, and how it is computed; docs/dashboard.md is printed from the same rows. A row with labels
 * makes one track for each of their values: `upstream_healthy{upstream="a",endpoint="b:80"}`.
 *
 * What nobody knows has no value in a second: a quantile of nothing is absent, never 0. Rates and
 * quantiles are about the time since the second before.
 *
 * Thread: one at a time; in the daemon that is control.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_BOARD_H
#define PS_EXPORT_BOARD_H

#include <stddef.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

struct ps_history;
struct ps_metrics;

#define PS_BOARD_TRACKS  512 /* of all rows together; what comes after is left out */
#define PS_BOARD_CUSTOM  200 /* tracks of custom metrics that a frame has by default */
#define PS_BOARD_KEY     320 /* bytes of a track's key, terminator included */
#define PS_BOARD_BY      4   /* labels of a row */
#define PS_BOARD_MATCHES 4   /* label values that a row's series may have */

enum ps_board_group {
    PS_BOARD_TRAFFIC,
    PS_BOARD_GPU,
    PS_BOARD_CACHE,
    PS_BOARD_QUEUE,
    PS_BOARD_UPSTREAMS,
    PS_BOARD_PROCESS,
    PS_BOARD_GROUPS
};

/* "traffic", "gpu", ...; custom metrics are the page's seventh group, "custom". */
extern const char *const ps_board_group_names[PS_BOARD_GROUPS];

/* How the value of a second is made of the series that match. */
enum ps_board_way {
    PS_BOARD_SUM,      /* of gauges, or of counters so far */
    PS_BOARD_MOST,     /* the largest */
    PS_BOARD_RATE,     /* increase per second; 0 where nothing has been counted yet */
    PS_BOARD_RATIO,    /* increase of these, of the increase of `over`; absent without any */
    PS_BOARD_SHARE,    /* sum of these, of the sum of `over` */
    PS_BOARD_QUANTILE, /* of the values that a histogram counted in this second */
};

/* Which series of a family: all, or those whose label has one of the values; a value that ends with
 * `*` stands for all that begin like it. */
struct ps_board_source {
    const char *family; /* NULL = none */
    const char *label;
    const char *values[PS_BOARD_MATCHES + 1];
};

struct ps_board_row {
    const char *name;
    const char *unit; /* as a person writes it: "ms", "%", "requests/s" */
    enum ps_board_group group;
    const char *help; /* one sentence, no full stop */
    enum ps_board_way way;
    struct ps_board_source of;
    struct ps_board_source over;     /* ratio, share */
    double factor;                   /* multiplies the result; 0 = 1 */
    double quantile;                 /* 0 to 1 */
    const char *by[PS_BOARD_BY + 1]; /* labels that are kept, in the order of the key */
};

/* The table, in the order of the page. */
extern const struct ps_board_row ps_board_rows[];
extern const size_t ps_board_row_count;

struct ps_board;

/* Both are borrowed. PS_OK, PS_ENOMEM, or PS_EINVAL (a row that no history could keep). */
PS_MUST_CHECK int ps_board_new(struct ps_board **out, struct ps_metrics *metrics,
                               struct ps_history *history);
void ps_board_free(struct ps_board *board); /* NULL is fine */

/* Looks at the registry, so that rates are known from the first second on. As ps_board_second(). */
PS_MUST_CHECK int ps_board_begin(struct ps_board *board, ps_time now);

/* Computes every row and puts the values into the history. `now` is a steady clock's. Without
 * ps_board_begin() the first call has nothing before it, and rates begin with the next. PS_OK, or
 * PS_ENOMEM (what could be was put). */
PS_MUST_CHECK int ps_board_second(struct ps_board *board, ps_time now);

/* The tracks of the latest second: `*keys` is the board's, until the next ps_board_second(). */
size_t ps_board_keys(const struct ps_board *board, const char *const **keys);

/* Appends what a page needs to know of the rows: [{"name","unit","group","help","labels":[]}].
 * PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_board_write_rows(struct ps_buf *out);

/* Appends the table of docs/dashboard.md. As ps_board_write_rows(). */
PS_MUST_CHECK int ps_board_manual(struct ps_buf *out);

#endif
