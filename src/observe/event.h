/* event - the latest lines of the log, for whoever looks at a page and not at a terminal.
 *
 * A ring of lines, each as a JSON object made when it was logged:
 *
 *      {"time":1767323045.678,"level":"warn","text":"endpoint is
 * unhealthy","fields":{"upstream":"a"}}
 *
 * What is in a line was fit for the log, where no secret ever is. A line that would be longer than
 * PS_EVENT_BYTES loses its last fields.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OBSERVE_EVENT_H
#define PS_OBSERVE_EVENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#define PS_EVENT_BYTES 2048

struct ps_events;

/* Keeps the latest `most` lines, at least 1. PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_events_new(struct ps_events **out, size_t most);
void ps_events_free(struct ps_events *events); /* NULL is fine */

/* Takes a line; `wall` is nanoseconds since 1970. Without memory it is lost. */
void ps_events_add(struct ps_events *events, ps_time wall, enum ps_log_level level,
                   const char *text, const struct ps_log_pair *pairs, size_t count);

/* How many lines there were in all; the latest has this number, the first 1. */
uint64_t ps_events_count(struct ps_events *events);

/* Appends the lines behind number `after` up to number `last`, as far as they are kept, separated
 * by commas. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_events_write(struct ps_events *events, uint64_t after, uint64_t last,
                                  struct ps_buf *out);

#endif
