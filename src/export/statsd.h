/* statsd - lines of StatsD and DogStatsD become custom metrics.
 *
 *      page.views:1|c|#page:home     counter page_views_total{page="home"}, moved by value / rate
 *      queue:7|g    queue:+2|g       gauge queue, set or moved
 *      wait:320|ms                   exponential histogram wait_seconds, in seconds
 *      size:12|h    size:12|d        exponential histogram size
 *      users:ann|s                   gauge users: different values of the last whole interval
 *
 * Names as in export/naming.h. A value of a timer, histogram or distribution with rate r counts
 * round(1/r) times. A metric has the labels that its first line had: later tags that have no place
 * are left out and counted, so that sums stay right.
 *
 * Thread: one at a time, which has the shard.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_STATSD_H
#define PS_EXPORT_STATSD_H

#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "export/statsd_line.h"
#include "observe/custom.h"

#define PS_STATSD_SETS 500 /* series of sets, each 1 KiB */

struct ps_statsd;

struct ps_statsd_opts {
    struct ps_custom *custom;
    struct ps_metrics *metrics;
    unsigned shard;   /* of the thread that takes lines */
    ps_span interval; /* of sets */
    /* The first line of each fault, and then at most one in a minute; `line` is cut and comes from
     * anywhere. On the thread that takes lines. May be NULL. */
    void (*on_fault)(void *ctx, enum ps_statsd_fault fault, struct ps_str line, const char *reason);
    void *ctx;
};

extern const struct ps_metric_family ps_statsd_metric_families[];

/* Declares what it counts. PS_OK or PS_ENOMEM. Free it before custom and metrics; NULL is fine. */
PS_MUST_CHECK int ps_statsd_new(struct ps_statsd **out, const struct ps_statsd_opts *opts);
void ps_statsd_free(struct ps_statsd *statsd);

/* Takes all lines of a datagram. */
void ps_statsd_take(struct ps_statsd *statsd, struct ps_str datagram, ps_time now);

/* Counts a datagram that did not come whole, and takes nothing of it. */
void ps_statsd_truncated(struct ps_statsd *statsd, struct ps_str datagram, ps_time now);

/* Ends the interval of sets where it is over; call it about once a second. */
void ps_statsd_tick(struct ps_statsd *statsd, ps_time now);

#endif
