/* recover - the section of a run that was killed, from its journal.
 *
 * Thread: the caller's; reads a file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_RECOVER_H
#define PS_LOAD_RECOVER_H

#include <stdbool.h>

#include "base/err.h"
#include "load/report.h"

struct ps_recovery; /* a section and what it borrows from */

/* Does a file begin as a journal does (or is compressed, which a report never is)? */
bool ps_recover_is_journal(const char *path);

/* Reads the journal at `path`. Where it is damaged, what stood before the damage is the run, and *error says
 * where it is; error->text is empty when all was read. PS_OK; PS_ENOTFOUND, PS_EPARSE (it has no second), PS_EIO,
 * PS_ENOMEM, and *error says why. */
PS_MUST_CHECK int ps_recover(struct ps_recovery **out, const char *path, struct ps_report_error *error);

/* The section: verdict `aborted`, and a reason that says how much ran. */
const struct ps_report_section *ps_recover_section(const struct ps_recovery *recovery);

void ps_recover_free(struct ps_recovery *recovery); /* NULL is fine */

#endif
