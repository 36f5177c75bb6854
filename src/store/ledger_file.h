/* ledger_file - the database of a ledger: opened, brought up to date, written, read.
 *
 * Everything here may block. Thread: the ledger's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_STORE_LEDGER_FILE_H
#define PS_STORE_LEDGER_FILE_H

#include "base/buf.h"
#include "store/ledger.h"

struct ps_ledger_file;

/* Opens the file or makes it, and brings each room's tables to the version that it wants. PS_OK,
 * PS_ENOMEM or PS_EIO with a sentence in why. */
PS_MUST_CHECK int ps_ledger_file_open(struct ps_ledger_file **out, const char *path,
                                      const struct ps_ledger_room *const *rooms,
                                      char why[PS_LEDGER_WHY]);
void ps_ledger_file_close(struct ps_ledger_file *file); /* NULL is fine */

/* Is the file still where it was opened? Somebody may have moved it away. */
bool ps_ledger_file_is_there(const struct ps_ledger_file *file);

/* Around writes. PS_OK or PS_EIO: nothing of it is in the file, which is to be closed. */
PS_MUST_CHECK int ps_ledger_file_begin(struct ps_ledger_file *file);
PS_MUST_CHECK int ps_ledger_file_commit(struct ps_ledger_file *file);
void ps_ledger_file_roll_back(struct ps_ledger_file *file);

/* Runs all statements of an entry, inside a transaction. PS_OK; PS_EINVAL: refused, and none of
 * them has happened; PS_EIO: as above. */
PS_MUST_CHECK int ps_ledger_file_write(struct ps_ledger_file *file,
                                       const struct ps_ledger_statement *statements, size_t count);

/* What a read gives; `values` and `text` are freed by ps_ledger_answer_fini(). */
struct ps_ledger_answer {
    struct ps_ledger_rows rows;
    struct ps_ledger_value *values;
    struct ps_buf text;
};

void ps_ledger_answer_fini(struct ps_ledger_answer *answer);

/* PS_OK, PS_EINVAL, PS_ELIMIT, PS_ENOMEM, or PS_EIO: the file is to be closed. */
PS_MUST_CHECK int ps_ledger_file_read(struct ps_ledger_file *file,
                                      const struct ps_ledger_statement *statement, size_t most,
                                      struct ps_ledger_answer *out);

/* Takes away what is older than `oldest` or beyond `rows`, room by room; gives pages back to the
 * disk. *pruned grows by the rows that went. PS_OK or PS_EIO. */
PS_MUST_CHECK int ps_ledger_file_prune(struct ps_ledger_file *file, int64_t oldest, int64_t rows,
                                       uint64_t *pruned);

/* Of the last failure, with the path and what can be done. */
void ps_ledger_file_why(const struct ps_ledger_file *file, char why[PS_LEDGER_WHY]);

uint64_t ps_ledger_file_bytes(const struct ps_ledger_file *file);

#endif
