/* report_rows - which figures of a report people are shown, and how a figure is written.
 *
 * Terminal, page and JUnit take their figures from this table, so that they show the same ones, and write them
 * with these functions, so that a figure looks the same everywhere.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_REPORT_ROWS_H
#define PS_LOAD_REPORT_ROWS_H

#include <jansson.h>
#include <stddef.h>

#include "load/report.h"

enum ps_report_unit {
    PS_UNIT_COUNT,   /* 3,000 */
    PS_UNIT_RATE,    /* 49.9/s */
    PS_UNIT_PERCENT, /* 0.40 % */
    PS_UNIT_MS,      /* 61.3 ms, 1.24 s */
    PS_UNIT_SECONDS, /* 4.2 s, 12 min */
    PS_UNIT_TEXT
};

struct ps_report_row {
    const char *path; /* of the member in a section */
    const char *label;
    enum ps_report_unit unit;
    bool main; /* among the few that stand for the test */
};

#define PS_REPORT_VALUE_MAX 64

/* The rows of a kind, in the order in which they are shown. */
const struct ps_report_row *ps_report_rows(enum ps_report_kind kind, size_t *count);

/* A number as people read it; "-" for NAN. Returns text. */
const char *ps_report_write(double value, enum ps_report_unit unit, char *text, size_t size);

/* The value of a row; "" where the section has none. Returns text. */
const char *ps_report_row_text(const json_t *section, const struct ps_report_row *row, char *text, size_t size);

/* The value of a threshold or drift in its own unit ("ms", "%", "/s", "bytes"); "-" for NAN. Returns text. */
const char *ps_report_write_as(double value, const char *unit, char *text, size_t size);

/* By how much a signal drifts in an hour: a share of where it began, else in its own unit. "-" for one that is steady:
 * the slope of noise, taken times an hour, is no figure. Returns text. */
const char *ps_report_write_slope(const json_t *drift, char *text, size_t size);

/* "Load", "Stress", ...: what a kind is called in a title. */
const char *ps_report_title(enum ps_report_kind kind);

/* The section of a kind; NULL: the document has none. */
const json_t *ps_report_section_of(const json_t *document, enum ps_report_kind kind);

#endif
