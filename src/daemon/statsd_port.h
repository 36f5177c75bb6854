/* statsd_port - the sockets where StatsD arrives, and the thread that empties them.
 *
 *      UDP, Unix datagrams --> recvmmsg, 64 at once --> export/statsd --> the registry
 *
 * Control has no part in it: a flood of lines costs this thread's core and nothing else. What the
 * kernel dropped because the thread was too slow is counted by the kernel, and shown. A Unix socket
 * drops nothing: whoever sends there waits.
 *
 * Thread: new and free by control; the rest is the thread's own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_STATSD_PORT_H
#define PS_DAEMON_STATSD_PORT_H

#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/option.h"
#include "base/str.h"
#include "observe/metric.h"

struct ps_custom;
struct ps_statsd_port;

/* The section `metrics.statsd`. */
struct ps_statsd_port_opts {
    struct ps_option_strings listen; /* "127.0.0.1:8125" or "unix:/path"; empty = off */
    uint64_t receive_buffer;
    ps_span interval;
};

#define PS_STATSD_LISTEN_MOST 16

extern const struct ps_option ps_statsd_port_options[];
extern const struct ps_metric_family ps_statsd_port_metric_families[];

/* Is the text an address as `listen` wants it? NULL, or why not. *open tells (may be NULL) that
 * other machines reach it. */
const char *ps_statsd_port_objection(struct ps_str listen, bool *open);

/* Opens the sockets and starts the thread; without addresses *out is NULL. What can't be opened is
 * logged. PS_OK or the error. */
PS_MUST_CHECK int ps_statsd_port_new(struct ps_statsd_port **out,
                                     const struct ps_statsd_port_opts *opts,
                                     struct ps_custom *custom, struct ps_metrics *metrics);

/* Takes what has arrived, ends the thread, and removes Unix sockets. NULL is fine. */
void ps_statsd_port_free(struct ps_statsd_port *port);

#endif
