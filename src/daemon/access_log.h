/* access_log - one JSON line per request, to a file or standard error.
 *
 *      workers --(a line, under a short lock)--> 4 MiB --> thread of its own --> write()
 *
 * A worker never waits for a disk: when the disk is slower than the requests, lines are dropped and
 * counted, and the program's own log says
 * so once. A member that is not known is absent. Neither headers nor queries are written, because
 * they hold secrets; texts from outside are escaped and cut.
 *
 * Thread: any, but for new and free.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_ACCESS_LOG_H
#define PS_DAEMON_ACCESS_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "observe/metric.h"

struct ps_access_log;
struct ps_record;

/* Opens `destination`: "stderr", or a path (appended to; created with mode 0640), and starts the
 * thread. PS_OK, PS_ENOMEM, PS_ELIMIT (no thread), or the error of the opening. */
PS_MUST_CHECK int ps_access_log_new(struct ps_access_log **out, const char *destination);

/* Writes what is waiting, for at most 2 s without progress, and frees. NULL is fine. */
void ps_access_log_free(struct ps_access_log *log);

/* Appends the line of a request; never blocks on the destination. NULL log: nothing happens. */
void ps_access_log_write(struct ps_access_log *log, const struct ps_record *record);

/* Has the path opened anew behind the lines written so far (logs were rotated); on failure the old
 * file stays in use. NULL is fine. */
void ps_access_log_reopen(struct ps_access_log *log);

struct ps_access_log_stats {
    uint64_t lines;   /* taken over */
    uint64_t dropped; /* lost: the buffer was full or the destination failed */
    int error;        /* of the last write or opening; PS_OK */
};

void ps_access_log_stats(struct ps_access_log *log, struct ps_access_log_stats *out);

extern const struct ps_metric_family ps_access_log_metric_families[];

/* Declares and publishes the rows until the log is freed; `metrics` outlives it. PS_OK, PS_ENOMEM,
 * PS_EINVAL. */
PS_MUST_CHECK int ps_access_log_publish(struct ps_access_log *log, struct ps_metrics *metrics);

#endif
