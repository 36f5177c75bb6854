/* ledger - what outlives the program: rows in one file, which a thread of its own writes and reads.
 *
 *      any thread -- ps_ledger_write() --> queue, bounded --> the ledger's thread --> SQLite (WAL)
 *      the loop   -- ps_ledger_read()  -->      "                     |
 *         ^------- letter: rows; or written; or why not --------------'
 *
 * A disk may hang, so no loop ever waits for it. What waits in the queue goes into the file as one
 * transaction and is on the disk before anybody hears that it is written: after kill -9 at any
 * moment each entry is there whole or not at all. When the file can't be used (disk full, no
 * permission, damage, another process) the queue is kept and the file is tried again; what does
 * not fit into the queue meanwhile is lost and counted. The program goes on without it. An entry
 * that fails halfway is written once more, so a row has a key of its own and an upsert does it.
 *
 * The module knows no table: a room hands in the SQL of its own. Time in tables is in microseconds
 * since 1970-01-01 UTC (`_us`), in seconds (`_s`) where rows are many.
 *
 * Thread: new, free, read, forget and everything with a reply belong to the loop's owner; a write
 * without a reply and the figures may come from any thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_STORE_LEDGER_H
#define PS_STORE_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

struct ps_ledger;
struct ps_loop;

#define PS_LEDGER_VALUES    48                /* of a statement at most */
#define PS_LEDGER_ENTRY_MAX ((size_t)1 << 20) /* bytes of one entry */
#define PS_LEDGER_READ_MAX  ((size_t)4 << 20) /* bytes of text of one answer */
#define PS_LEDGER_WHY       512

/* --- values ----------------------------------------------------------------------------------- */

enum ps_ledger_type { PS_LEDGER_NULL, PS_LEDGER_INTEGER, PS_LEDGER_REAL, PS_LEDGER_TEXT };

struct ps_ledger_value {
    enum ps_ledger_type type;
    union {
        int64_t integer;
        double real;
        struct ps_str text;
    };
};

static inline struct ps_ledger_value ps_ledger_integer(int64_t integer)
{
    return (struct ps_ledger_value){.type = PS_LEDGER_INTEGER, .integer = integer};
}

static inline struct ps_ledger_value ps_ledger_real(double real)
{
    return (struct ps_ledger_value){.type = PS_LEDGER_REAL, .real = real};
}

/* Borrowed; NULL is a value that is not known. */
static inline struct ps_ledger_value ps_ledger_text(const char *text)
{
    return text == NULL
               ? (struct ps_ledger_value){.type = PS_LEDGER_NULL}
               : (struct ps_ledger_value){.type = PS_LEDGER_TEXT, .text = ps_str_from(text)};
}

/* One SQL statement with its parameters ?1, ?2, ... `sql` is static text: it is prepared once. */
struct ps_ledger_statement {
    const char *sql;
    const struct ps_ledger_value *values; /* borrowed for the call */
    size_t count;                         /* PS_LEDGER_VALUES at most */
};

/* --- rooms ------------------------------------------------------------------------------------ */

/* Tables that belong together. Static. */
struct ps_ledger_room {
    const char *name;
    /* SQL, NULL-terminated: the n-th leads from version n to n + 1. What was once released is never
     * changed, only added to. */
    const char *const *migrations;
    /* Takes away what is old: ?1 = the oldest time that stays, ?2 = how many rows stay. NULL =
     * everything stays. */
    const char *prune;
};

/* --- life ------------------------------------------------------------------------------------- */

enum ps_ledger_state {
    PS_LEDGER_OPENING,
    PS_LEDGER_OPEN,
    PS_LEDGER_FAILED /* tried again now and then */
};

struct ps_ledger_opts {
    const char *path;                          /* of the file, in a folder that exists */
    const struct ps_ledger_room *const *rooms; /* NULL-terminated */
    const struct ps_clock *clock;
    size_t queue_entries; /* that may wait; 0 = 4096 */
    size_t queue_bytes;   /* 0 = 8 MiB */
    ps_span retry;        /* from a failure to the next try, longer each time; 0 = 1 s */
    /* Tells of a change of state, on the loop; `why` is a sentence that names the file and says
     * what to do, or "". May be NULL. */
    void (*on_state)(void *ctx, enum ps_ledger_state state, const char *why);
    /* There was no room for an entry; once until something is written again. May be NULL. */
    void (*on_lost)(void *ctx);
    void *ctx;
};

/* Starts the thread, which opens the file or makes it. Path and opts are copied. PS_OK, PS_ENOMEM
 * or PS_ELIMIT (no thread). */
PS_MUST_CHECK int ps_ledger_new(struct ps_ledger **out, const struct ps_ledger_opts *opts,
                                struct ps_loop *loop);

/* Writes what waits, for at most `patience`, and frees; replies that are left come with
 * PS_ECANCELED, before it returns. NULL is fine. */
void ps_ledger_free(struct ps_ledger *ledger, ps_span patience);

/* How long rows stay, and how many of each table; 0 = no bound. In force at once. */
void ps_ledger_keep(struct ps_ledger *ledger, ps_span age, uint64_t rows);

/* --- use -------------------------------------------------------------------------------------- */

/* What was read. Text ends with a NUL that its length does not count. */
struct ps_ledger_rows {
    size_t count;
    size_t columns;
    bool cut;                             /* there was more */
    const struct ps_ledger_value *values; /* row by row */
};

static inline const struct ps_ledger_value *ps_ledger_at(const struct ps_ledger_rows *rows,
                                                         size_t row, size_t column)
{
    return &rows->values[row * rows->columns + column];
}

/* The end of a write (rows is NULL) or a read, on the loop. PS_OK; PS_EINVAL: the statement was
 * refused (its mistake, or a constraint); PS_EIO: the file can't be used now (reads only: writes
 * wait); PS_ELIMIT: an answer of too many bytes; PS_ENOMEM; PS_ECANCELED. Rows are borrowed for the
 * call. */
typedef void ps_ledger_fn(void *ctx, int err, const struct ps_ledger_rows *rows);

/* Writes one entry: all of its statements or none. Everything is copied. `on_end` may be NULL.
 * PS_OK: it waits in the queue; PS_ELIMIT: there is no room, it is lost and counted; PS_ENOMEM
 * likewise. A NULL ledger keeps nothing: PS_OK, and on_end never comes. */
PS_MUST_CHECK int ps_ledger_write(struct ps_ledger *ledger,
                                  const struct ps_ledger_statement *statements, size_t count,
                                  ps_ledger_fn *on_end, void *ctx);

/* Reads `most` rows at most, behind everything that was written before. Returns as
 * ps_ledger_write(); a NULL ledger is PS_ECLOSED. */
PS_MUST_CHECK int ps_ledger_read(struct ps_ledger *ledger,
                                 const struct ps_ledger_statement *statement, size_t most,
                                 ps_ledger_fn *on_end, void *ctx);

/* No reply comes to this context any more; what was written stays written. NULL is fine. */
void ps_ledger_forget(struct ps_ledger *ledger, const void *ctx);

struct ps_ledger_stats {
    enum ps_ledger_state state;
    size_t waiting;        /* entries in the queue */
    uint64_t written;      /* entries on the disk */
    uint64_t dropped;      /* there was no room */
    uint64_t refused;      /* by the database: a mistake of ours */
    uint64_t transactions; /* that were committed */
    uint64_t failures;     /* of opening and writing */
    uint64_t pruned;       /* statements' rows, not counting those that went with them */
    uint64_t bytes;        /* of the file; 0 = unknown */
};

void ps_ledger_stats(struct ps_ledger *ledger, struct ps_ledger_stats *out);

#endif
