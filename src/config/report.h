/* report - what is wrong in a configuration, with the place of each mistake.
 *
 * An operator fixes a file in one go, so reading goes on behind a mistake and everything is
 * collected here. The number is bounded: behind the first PS_CONFIG_FINDINGS only the counters
 * grow.
 *
 * Findings name keys and say what was expected; values are never repeated, because any of them may
 * be a secret in the wrong place.
 *
 * Thread: owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CONFIG_REPORT_H
#define PS_CONFIG_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

#define PS_CONFIG_FINDINGS 50

struct ps_config_finding {
    unsigned line; /* from 1; 0 = the file as a whole */
    unsigned column;
    bool warning;
    char *field; /* "upstreams[0].listen"; "" = none */
    char *text;
    char *fix; /* what to do about it; "" = the text says it already */
};

/* A zero-initialised report is empty and ready. */
struct ps_config_report {
    struct ps_config_finding *items;
    size_t count;
    size_t errors; /* all of them, also those that found no room */
    size_t warnings;
    bool kept; /* the last finding found room */
};

void ps_config_report_fini(struct ps_config_report *report);

/* Adds a finding. Out of memory it is only counted. */
void ps_config_report_add(struct ps_config_report *report, bool warning, unsigned line,
                          unsigned column, const char *field, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

/* Says what to do about the last finding; `penstock doctor` shows it. */
void ps_config_report_fix(struct ps_config_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Sorts by line and column; findings of one place keep their order. */
void ps_config_report_sort(struct ps_config_report *report);

/* Appends "FILE:LINE:COLUMN: field: text\n" per finding, warnings marked, and one line about those
 * that found no room. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_config_report_print(const struct ps_config_report *report, const char *file,
                                         struct ps_buf *out);

#endif
