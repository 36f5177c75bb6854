/* journal_line - a line of a journal: written from and read into what it says.
 *
 * Members that are 0, unknown or empty are left out.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_JOURNAL_LINE_H
#define PS_LOAD_JOURNAL_LINE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "load/journal.h"

#define PS_JOURNAL_VERSION 1
#define PS_JOURNAL_PAIRS   64 /* options, and tags, of a test; more are not kept */

/* Each appends a line with its end. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_journal_write_test(const struct ps_report_section *test, struct ps_buf *out);
PS_MUST_CHECK int ps_journal_write_second(const struct ps_second *second, struct ps_buf *out);
PS_MUST_CHECK int ps_journal_write_point(const struct ps_report_point *point, struct ps_buf *out);

/* What lines are read into, again and again: about 1 MiB, on the heap. */
struct ps_journal_reading;
PS_MUST_CHECK int ps_journal_reading_new(struct ps_journal_reading **out);
void ps_journal_reading_free(struct ps_journal_reading *reading); /* NULL is fine */

/* Reads a line and calls what is for it. PS_OK or what that returned; PS_EPARSE, and *error says why, for
 * what is not such a line, or a head that is not the first line. Unknown members are left alone. */
PS_MUST_CHECK int ps_journal_read_line(struct ps_journal_reading *reading, struct ps_str line,
                                       const struct ps_journal_ops *ops, void *ctx, struct ps_report_error *error);

#endif
