/* journal - the seconds of a run, in a file beside its report while it runs: a killed run loses nothing.
 *
 * JSON, one object a line (docs/load-report.md has the members):
 *
 *      {"penstock_journal":1,"test":"endurance","target":...,"started":...,"options":{...}}
 *      {"at":1,"sent":50,"succeeded":49,"corrected":[...],...}
 *      {"point":{"rps":120,...}}
 *
 * Histograms are written whole, so that a report made from a journal has the very figures that the run
 * would have printed. Lines are written by a thread of the journal's own, which flushes the file to the
 * disk every few seconds: a slow disk never delays a send. A line torn by a crash is cut off when the
 * journal is read or taken up again.
 *
 * Thread: one thread calls; the file belongs to the journal's own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_JOURNAL_H
#define PS_LOAD_JOURNAL_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "load/report.h"
#include "load/second.h"

struct ps_journal;

/* The path of the journal of a test beside a report: "load_test_report.json.endurance.journal".
 * PS_OK, PS_ELIMIT or PS_ENOMEM; a terminated text is appended (without counting the terminator). */
PS_MUST_CHECK int ps_journal_path(const char *report, enum ps_report_kind kind, struct ps_buf *out);

/* Begins a journal. Of `test` kind, target, server, started, options and tags are kept; results are not
 * looked at. One that is there already is moved to "PATH.old" first. PS_OK; PS_EIO, PS_EDENIED, PS_ENOMEM,
 * and *error says why. */
PS_MUST_CHECK int ps_journal_new(struct ps_journal **out, const char *path,
                                 const struct ps_report_section *test, struct ps_report_error *error);

/* Goes on with a journal behind its last whole line. */
PS_MUST_CHECK int ps_journal_resume(struct ps_journal **out, const char *path,
                                    struct ps_report_error *error);

/* Adds a line. A failure (disk full) is kept: see ps_journal_error(). */
void ps_journal_second(struct ps_journal *journal, const struct ps_second *second);
void ps_journal_point(struct ps_journal *journal, const struct ps_report_point *point);

/* PS_OK, or the first thing that went wrong; what was written before it stays. */
int ps_journal_error(struct ps_journal *journal);

/* Writes what is left, and ends. With `keep` the file stays; else (its report was written) it goes.
 * NULL is fine. */
void ps_journal_free(struct ps_journal *journal, bool keep);

/* What a journal says, line by line; everything is valid in the call. Each may be NULL; what is not PS_OK
 * ends the reading and is returned. `test` has kind, target, server, started, options and tags. */
struct ps_journal_ops {
    int (*on_test)(void *ctx, const struct ps_report_section *test);
    int (*on_second)(void *ctx, const struct ps_second *second);
    int (*on_point)(void *ctx, const struct ps_report_point *point);
};

/* Reads a journal, plain, .gz or .xz. A last line without its end is left out. PS_OK; PS_ENOTFOUND (no
 * such file), PS_EPARSE (not a journal, or damaged: *error has the line), PS_EIO, PS_ENOMEM. */
PS_MUST_CHECK int ps_journal_read(const char *path, const struct ps_journal_ops *ops, void *ctx,
                                  struct ps_report_error *error);

#endif
