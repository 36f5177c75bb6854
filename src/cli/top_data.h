/* top_data - what GET /api/dashboard/summary says, as rows to show.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_TOP_DATA_H
#define PS_CLI_TOP_DATA_H

#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

struct json_t;

/* In the order in which they are shown. */
enum ps_top_section {
    PS_TOP_ALL,
    PS_TOP_TRAFFIC,
    PS_TOP_GPU,
    PS_TOP_CACHE,
    PS_TOP_QUEUE,
    PS_TOP_UPSTREAMS,
    PS_TOP_PROCESS,
    PS_TOP_CUSTOM,
    PS_TOP_EVENTS,
    PS_TOP_SECTIONS
};

/* "all", "traffic"... Static text. */
const char *ps_top_section_name(enum ps_top_section section);

struct ps_top_series {
    const char *key;
    const char *unit; /* "" = none */
    enum ps_top_section section;
    double now;                  /* NAN = not known */
    const struct json_t *points; /* numbers or null, the oldest first; may be NULL */
};

struct ps_top_event {
    double time; /* seconds since 1970 */
    const char *level;
    const char *text;
    const struct json_t *fields; /* or NULL */
};

struct ps_top_data {
    struct json_t *root; /* what everything else points into */
    double time;
    struct ps_top_series *series; /* by section */
    size_t count;
    struct ps_top_event *events; /* the oldest first */
    size_t event_count;
};

/* Reads a summary. PS_OK: free it with ps_top_data_fini(); PS_EPARSE: it is none; PS_ENOMEM. */
PS_MUST_CHECK int ps_top_data_read(struct ps_top_data *out, struct ps_str json);
void ps_top_data_fini(struct ps_top_data *data); /* of zeros is fine */

/* The n-th of `of` parts of a series' points: its largest value; NAN where none is known. */
double ps_top_series_part(const struct ps_top_series *series, size_t n, size_t of);

#endif
