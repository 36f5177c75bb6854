/* statsd_line - one line of StatsD or DogStatsD, taken apart.
 *
 *      name:value|type                     page.views:1|c
 *      name:value|type|@rate|#tag:v,tag    latency:12.5:9:30|ms|@0.1|#route:chat,fast
 *
 * Formats: the wire format of StatsD (its docs/metric_types.md), and that of DogStatsD up to
 * version 1.3: tags, several values in one line, `T` with a timestamp, `c:` with a container, `e:`
 * and `card:` with where it came from. Events (`_e{`) and service checks (`_sc|`) are told apart,
 * not read.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_EXPORT_STATSD_LINE_H
#define PS_EXPORT_STATSD_LINE_H

#include <stdbool.h>

#include "base/str.h"

enum ps_statsd_type {
    PS_STATSD_COUNTER,      /* c */
    PS_STATSD_GAUGE,        /* g */
    PS_STATSD_TIMER,        /* ms */
    PS_STATSD_HISTOGRAM,    /* h */
    PS_STATSD_DISTRIBUTION, /* d */
    PS_STATSD_SET,          /* s */
};

/* What is wrong with a line; the book (export/statsd.h) adds the last four. */
enum ps_statsd_fault {
    PS_STATSD_FINE,
    PS_STATSD_BAD_FORM,    /* no name, no colon, no type, or a part that is not known */
    PS_STATSD_BAD_VALUE,   /* not a number, or none that the type takes */
    PS_STATSD_BAD_TYPE,    /* another than those above */
    PS_STATSD_BAD_RATE,    /* not above 0 and at most 1 */
    PS_STATSD_UNSUPPORTED, /* an event or a service check */
    PS_STATSD_BAD_NAME,    /* no metric may be called that */
    PS_STATSD_CONFLICT,    /* the name belongs to a metric of another type */
    PS_STATSD_LIMIT,       /* as many metrics or sets as may be, or out of memory */
    PS_STATSD_TRUNCATED,   /* the datagram is longer than any may be */
    PS_STATSD_FAULTS
};

/* How metrics and logs call them: "form", "value"... Static text. */
const char *ps_statsd_fault_name(enum ps_statsd_fault fault);

/* Views of the line. */
struct ps_statsd_line {
    struct ps_str name; /* not empty */
    enum ps_statsd_type type;
    struct ps_str values; /* at least one, with colons between; each is what the type takes */
    double rate;          /* above 0, at most 1; 1 when none is given */
    struct ps_str tags;   /* with commas between; empty = none */
};

struct ps_statsd_value {
    double number;      /* not of a set */
    bool is_relative;   /* a gauge with a sign: to be added */
    struct ps_str text; /* of a set: any bytes */
};

/* Takes a line (without its end) apart and judges it: either all of it is sound or none. */
enum ps_statsd_fault ps_statsd_line_parse(struct ps_str text, struct ps_statsd_line *out);

/* Takes the next value off line->values; false after the last. */
bool ps_statsd_line_next(struct ps_statsd_line *line, struct ps_statsd_value *out);

#endif
