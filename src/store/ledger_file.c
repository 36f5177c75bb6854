#include "store/ledger_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

#define BUSY_MS   2000       /* somebody looks into the file with another program */
#define PREPARED  32         /* statements that stay prepared */
#define FREE_MOST "2048"     /* pages that one pruning gives back */
#define OUR_ID    0x5053544b /* "PSTK", in the file's header */

/* synchronous FULL: what is said to be written survives the machine, too. */
static const char settings[] = "PRAGMA journal_mode=WAL;"
                               "PRAGMA synchronous=FULL;"
                               "PRAGMA foreign_keys=ON;"
                               "PRAGMA cell_size_check=ON;"
                               "PRAGMA journal_size_limit=16777216;";

/* All of it or nothing; auto_vacuum counts only before there is a table. */
static const char foundation[] = "PRAGMA auto_vacuum=INCREMENTAL;"
                                 "BEGIN IMMEDIATE;"
                                 "PRAGMA application_id=1347638347;"
                                 "CREATE TABLE penstock_room("
                                 "name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;"
                                 "COMMIT;";
static_assert(OUR_ID == 1347638347, "as it stands in the foundation");

struct prepared {
    const char *sql;
    sqlite3_stmt *statement;
};

struct ps_ledger_file {
    char *path;
    int fd; /* holds the lock; closed last, because closing it would end SQLite's own locks */
    struct stat opened;
    sqlite3 *db;
    const struct ps_ledger_room *const *rooms;
    struct prepared prepared[PREPARED];
    char why[PS_LEDGER_WHY];
};

/* --- failures --------------------------------------------------------------------------------- */

static void say(struct ps_ledger_file *file, const char *what, const char *detail)
{
    snprintf(file->why, sizeof file->why, "%.250s: %.120s%s%.100s", file->path, what,
             detail[0] == '\0' ? "" : ": ", detail);
}

/* Keeps what the database says about its last failure, in words of an operator. */
static int fail(struct ps_ledger_file *file)
{
    int code = file->db == NULL ? SQLITE_NOMEM : sqlite3_errcode(file->db) & 0xff;
    int error = file->db == NULL ? 0 : sqlite3_system_errno(file->db);
    const char *detail = error == 0 ? "" : strerror(error);
    bool full = error == ENOSPC || error == EDQUOT; /* SQLite says so of its main files only */
    switch (full ? SQLITE_FULL : code) {
    case SQLITE_FULL:
        say(file, "the disk is full", "");
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        say(file, "the file is damaged; move it away with its -wal, and a new one is made", "");
        break;
    case SQLITE_READONLY:
    case SQLITE_PERM:
        say(file, "it can't be written", detail);
        break;
    case SQLITE_CANTOPEN:
        say(file, "it can't be opened", detail);
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        say(file, "another process holds it", "");
        break;
    default:
        say(file, error == 0 ? sqlite3_errmsg(file->db) : "input or output failed", detail);
        break;
    }
    return PS_EIO;
}

void ps_ledger_file_why(const struct ps_ledger_file *file, char why[PS_LEDGER_WHY])
{
    memcpy(why, file->why, PS_LEDGER_WHY);
}

/* A mistake of the statement or its values; the file is fine. */
static bool is_refusal(int code)
{
    switch (code & 0xff) {
    case SQLITE_ERROR:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
    case SQLITE_RANGE:
    case SQLITE_MISUSE:
        return true;
    default:
        return false;
    }
}

static int judge(struct ps_ledger_file *file, int code)
{
    return is_refusal(code) ? PS_EINVAL : fail(file);
}

static int run_text(struct ps_ledger_file *file, const char *sql)
{
    return sqlite3_exec(file->db, sql, NULL, NULL, NULL) == SQLITE_OK ? PS_OK : fail(file);
}

/* --- opening ---------------------------------------------------------------------------------- */

static int refuse_errno(struct ps_ledger_file *file, const char *what)
{
    say(file, what, strerror(errno));
    return PS_EIO;
}

/* Made here and not by SQLite, for its mode and for a clear error. A second Penstock would mark
 * what the first one does as ended, so the file is one process's; other programs may look into it.
 */
static int take_file(struct ps_ledger_file *file)
{
    file->fd = open(file->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
    if (file->fd < 0) {
        return refuse_errno(file, "it can't be opened");
    }
    if (fstat(file->fd, &file->opened) != 0 || !S_ISREG(file->opened.st_mode)) {
        say(file, "it is not a file", "");
        return PS_EIO;
    }
    if (flock(file->fd, LOCK_EX | LOCK_NB) != 0) {
        say(file, "another Penstock writes it; give each a store.path of its own", "");
        return PS_EIO;
    }
    return PS_OK;
}

/* One number, from one row. */
static int read_number(struct ps_ledger_file *file, const char *sql, const char *text, int64_t *out)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(file->db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK && text != NULL) {
        code = sqlite3_bind_text(statement, 1, text, -1, SQLITE_STATIC);
    }
    code = code == SQLITE_OK ? sqlite3_step(statement) : code;
    *out = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    int err = code == SQLITE_ROW || code == SQLITE_DONE ? PS_OK : fail(file);
    sqlite3_finalize(statement);
    return err;
}

/* A database of somebody else is left alone. */
static int found(struct ps_ledger_file *file)
{
    int64_t id = 0;
    int64_t tables = 0;
    int err = read_number(file, "PRAGMA application_id", NULL, &id);
    err =
        err != PS_OK ? err : read_number(file, "SELECT count(*) FROM sqlite_schema", NULL, &tables);
    if (err != PS_OK || id == OUR_ID) {
        return err;
    }
    if (id != 0 || tables != 0) {
        say(file, "it is the database of another program", "");
        return PS_EIO;
    }
    return run_text(file, foundation);
}

static int set_version(struct ps_ledger_file *file, const char *room, int64_t version)
{
    const struct ps_ledger_value values[] = {ps_ledger_text(room), ps_ledger_integer(version)};
    const struct ps_ledger_statement statement = {
        "INSERT OR REPLACE INTO penstock_room(name, version) VALUES(?1, ?2)", values, 2};
    return ps_ledger_file_write(file, &statement, 1);
}

static size_t count_migrations(const struct ps_ledger_room *room)
{
    size_t count = 0;
    while (room->migrations[count] != NULL) {
        count++;
    }
    return count;
}

static int migrate(struct ps_ledger_file *file, const struct ps_ledger_room *room)
{
    int64_t version = 0;
    int64_t wanted = (int64_t)count_migrations(room);
    int err = read_number(file, "SELECT version FROM penstock_room WHERE name = ?1", room->name,
                          &version);
    if (err == PS_OK && (version < 0 || version > wanted)) {
        say(file, "it was written by a newer version of Penstock", room->name);
        return PS_EIO;
    }
    if (err != PS_OK || version == wanted) {
        return err;
    }
    err = ps_ledger_file_begin(file);
    for (; version < wanted && err == PS_OK; version++) {
        err = run_text(file, room->migrations[version]);
    }
    err = err != PS_OK ? err : set_version(file, room->name, wanted);
    return err != PS_OK ? PS_EIO : ps_ledger_file_commit(file);
}

/* A disk that is full or read-only shows now, not with the first entry. */
static int try_to_write(struct ps_ledger_file *file)
{
    int err = ps_ledger_file_begin(file);
    err = err != PS_OK ? err : set_version(file, "ledger", 1);
    return err != PS_OK ? PS_EIO : ps_ledger_file_commit(file);
}

static int open_database(struct ps_ledger_file *file)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    if (sqlite3_open_v2(file->path, &file->db, flags, NULL) != SQLITE_OK) {
        return fail(file);
    }
    sqlite3_busy_timeout(file->db, BUSY_MS);
    sqlite3_db_config(file->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(file->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    int err = found(file);
    err = err != PS_OK ? err : run_text(file, settings);
    for (size_t i = 0; file->rooms[i] != NULL && err == PS_OK; i++) {
        err = migrate(file, file->rooms[i]);
    }
    return err != PS_OK ? err : try_to_write(file);
}

int ps_ledger_file_open(struct ps_ledger_file **out, const char *path,
                        const struct ps_ledger_room *const *rooms, char why[PS_LEDGER_WHY])
{
    struct ps_ledger_file *file = calloc(1, sizeof *file);
    snprintf(why, PS_LEDGER_WHY, "out of memory");
    if (file == NULL) {
        return PS_ENOMEM;
    }
    file->fd = -1;
    file->rooms = rooms;
    file->path = ps_str_dup(ps_str_from(path));
    int err = file->path == NULL ? PS_ENOMEM : take_file(file);
    err = err != PS_OK ? err : open_database(file);
    if (err != PS_OK) {
        if (err != PS_ENOMEM) {
            ps_ledger_file_why(file, why);
        }
        ps_ledger_file_close(file);
        return err;
    }
    *out = file;
    return PS_OK;
}

void ps_ledger_file_close(struct ps_ledger_file *file)
{
    if (file == NULL) {
        return;
    }
    for (size_t i = 0; i < PREPARED; i++) {
        sqlite3_finalize(file->prepared[i].statement);
    }
    sqlite3_close(file->db);
    if (file->fd >= 0) {
        close(file->fd);
    }
    free(file->path);
    free(file);
}

bool ps_ledger_file_is_there(const struct ps_ledger_file *file)
{
    struct stat now;
    return stat(file->path, &now) == 0 && now.st_ino == file->opened.st_ino &&
           now.st_dev == file->opened.st_dev;
}

uint64_t ps_ledger_file_bytes(const struct ps_ledger_file *file)
{
    struct stat now;
    return stat(file->path, &now) == 0 ? (uint64_t)now.st_size : 0;
}

/* --- statements ------------------------------------------------------------------------------- */

/* Texts are static, so the pointer tells them apart. The oldest place is used again. */
static int prepare(struct ps_ledger_file *file, const char *sql, sqlite3_stmt **out)
{
    size_t last = PREPARED - 1;
    struct prepared found_at = {0};
    for (size_t i = 0; i < PREPARED && found_at.sql == NULL; i++) {
        if (file->prepared[i].sql == sql) {
            found_at = file->prepared[i];
            last = i;
        }
    }
    if (found_at.sql == NULL) {
        int code = sqlite3_prepare_v3(file->db, sql, -1, SQLITE_PREPARE_PERSISTENT,
                                      &found_at.statement, NULL);
        if (code != SQLITE_OK) {
            return judge(file, code);
        }
        found_at.sql = sql;
        sqlite3_finalize(file->prepared[last].statement);
    }
    memmove(&file->prepared[1], &file->prepared[0], last * sizeof file->prepared[0]);
    file->prepared[0] = found_at;
    *out = found_at.statement;
    return PS_OK;
}

static int bind(sqlite3_stmt *statement, int at, const struct ps_ledger_value *value)
{
    switch (value->type) {
    case PS_LEDGER_INTEGER:
        return sqlite3_bind_int64(statement, at, value->integer);
    case PS_LEDGER_REAL:
        return sqlite3_bind_double(statement, at, value->real);
    case PS_LEDGER_TEXT:
        return sqlite3_bind_text(statement, at, value->text.ptr == NULL ? "" : value->text.ptr,
                                 (int)value->text.len, SQLITE_STATIC);
    case PS_LEDGER_NULL:
        break;
    }
    return sqlite3_bind_null(statement, at);
}

static int bind_all(struct ps_ledger_file *file, sqlite3_stmt *statement,
                    const struct ps_ledger_statement *what)
{
    int code = SQLITE_OK;
    for (size_t i = 0; i < what->count && code == SQLITE_OK; i++) {
        code = bind(statement, (int)i + 1, &what->values[i]);
    }
    return code == SQLITE_OK ? PS_OK : judge(file, code);
}

static void put_away(sqlite3_stmt *statement)
{
    sqlite3_reset(statement); /* says again what step said */
    sqlite3_clear_bindings(statement);
}

static int run(struct ps_ledger_file *file, const struct ps_ledger_statement *what)
{
    sqlite3_stmt *statement = NULL;
    int err = prepare(file, what->sql, &statement);
    if (err != PS_OK) {
        return err;
    }
    err = bind_all(file, statement, what);
    int code = SQLITE_ROW;
    while (err == PS_OK && code == SQLITE_ROW) {
        code = sqlite3_step(statement);
    }
    err = err != PS_OK || code == SQLITE_DONE ? err : judge(file, code);
    put_away(statement);
    return err;
}

static int run_plain(struct ps_ledger_file *file, const char *sql)
{
    const struct ps_ledger_statement statement = {sql, NULL, 0};
    int err = run(file, &statement);
    return err == PS_EINVAL ? fail(file) : err;
}

int ps_ledger_file_begin(struct ps_ledger_file *file)
{
    return run_plain(file, "BEGIN IMMEDIATE");
}

int ps_ledger_file_commit(struct ps_ledger_file *file)
{
    return run_plain(file, "COMMIT");
}

void ps_ledger_file_roll_back(struct ps_ledger_file *file)
{
    if (sqlite3_get_autocommit(file->db) == 0) {
        sqlite3_exec(file->db, "ROLLBACK", NULL, NULL, NULL);
    }
}

int ps_ledger_file_write(struct ps_ledger_file *file, const struct ps_ledger_statement *statements,
                         size_t count)
{
    int err = run_plain(file, "SAVEPOINT entry");
    for (size_t i = 0; i < count && err == PS_OK; i++) {
        err = run(file, &statements[i]);
    }
    if (err == PS_EINVAL) {
        err = run_plain(file, "ROLLBACK TO entry");
        err = err != PS_OK ? err : run_plain(file, "RELEASE entry");
        return err != PS_OK ? err : PS_EINVAL;
    }
    return err != PS_OK ? err : run_plain(file, "RELEASE entry");
}

/* --- reading ---------------------------------------------------------------------------------- */

void ps_ledger_answer_fini(struct ps_ledger_answer *answer)
{
    free(answer->values);
    ps_buf_fini(&answer->text);
    *answer = (struct ps_ledger_answer){0};
}

static int take_text(sqlite3_stmt *statement, int column, struct ps_ledger_answer *out,
                     struct ps_ledger_value *value)
{
    const void *text = sqlite3_column_text(statement, column);
    size_t len = (size_t)sqlite3_column_bytes(statement, column);
    size_t at = out->text.len;
    int err = text == NULL ? PS_ENOMEM : ps_buf_append(&out->text, text, len);
    err = err != PS_OK ? err : ps_buf_append(&out->text, "", 1);
    *value = (struct ps_ledger_value){.type = PS_LEDGER_TEXT,
                                      .text = {err == PS_OK ? out->text.data + at : "", len}};
    return err;
}

static int take_value(sqlite3_stmt *statement, int column, struct ps_ledger_answer *out,
                      struct ps_ledger_value *value)
{
    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_INTEGER:
        *value = ps_ledger_integer(sqlite3_column_int64(statement, column));
        return PS_OK;
    case SQLITE_FLOAT:
        *value = ps_ledger_real(sqlite3_column_double(statement, column));
        return PS_OK;
    case SQLITE_NULL:
        *value = (struct ps_ledger_value){.type = PS_LEDGER_NULL};
        return PS_OK;
    default: /* text, and bytes that somebody else put there */
        return take_text(statement, column, out, value);
    }
}

static int take_row(sqlite3_stmt *statement, struct ps_ledger_answer *out)
{
    size_t first = out->rows.count * out->rows.columns;
    int err = PS_OK;
    for (size_t i = 0; i < out->rows.columns && err == PS_OK; i++) {
        err = take_value(statement, (int)i, out, &out->values[first + i]);
    }
    out->rows.count += err == PS_OK ? 1 : 0;
    return err;
}

static int take_rows(struct ps_ledger_file *file, sqlite3_stmt *statement, size_t most,
                     struct ps_ledger_answer *out)
{
    for (;;) {
        int code = sqlite3_step(statement);
        if (code != SQLITE_ROW) {
            return code == SQLITE_DONE ? PS_OK : judge(file, code);
        }
        if (out->rows.count == most) {
            out->rows.cut = true;
            return PS_OK;
        }
        int err = take_row(statement, out);
        if (err != PS_OK) {
            return err;
        }
    }
}

/* The text is reserved as a whole, so that it never moves; pages that nobody touches cost nothing.
 */
static int make_room(sqlite3_stmt *statement, size_t most, struct ps_ledger_answer *out)
{
    out->rows.columns = (size_t)sqlite3_column_count(statement);
    out->values = calloc(most * out->rows.columns + 1, sizeof *out->values);
    out->rows.values = out->values;
    out->text = ps_buf_make(PS_LEDGER_READ_MAX);
    return out->values == NULL ? PS_ENOMEM : ps_buf_reserve(&out->text, PS_LEDGER_READ_MAX);
}

int ps_ledger_file_read(struct ps_ledger_file *file, const struct ps_ledger_statement *what,
                        size_t most, struct ps_ledger_answer *out)
{
    sqlite3_stmt *statement = NULL;
    struct ps_ledger_answer answer = {0};
    int err = prepare(file, what->sql, &statement);
    if (err != PS_OK) {
        return err;
    }
    err = bind_all(file, statement, what);
    err = err != PS_OK ? err : make_room(statement, most, &answer);
    err = err != PS_OK ? err : take_rows(file, statement, most, &answer);
    put_away(statement);
    if (err != PS_OK) {
        ps_ledger_answer_fini(&answer);
        return err;
    }
    *out = answer;
    return PS_OK;
}

/* --- pruning ---------------------------------------------------------------------------------- */

static int prune_rooms(struct ps_ledger_file *file, int64_t oldest, int64_t rows, uint64_t *pruned)
{
    const struct ps_ledger_value values[] = {ps_ledger_integer(oldest), ps_ledger_integer(rows)};
    int err = PS_OK;
    for (size_t i = 0; file->rooms[i] != NULL && err == PS_OK; i++) {
        if (file->rooms[i]->prune != NULL) {
            const struct ps_ledger_statement statement = {file->rooms[i]->prune, values, 2};
            err = run(file, &statement);
            *pruned += err == PS_OK ? (uint64_t)sqlite3_changes(file->db) : 0;
        }
    }
    return err;
}

int ps_ledger_file_prune(struct ps_ledger_file *file, int64_t oldest, int64_t rows,
                         uint64_t *pruned)
{
    uint64_t gone = 0;
    int err = ps_ledger_file_begin(file);
    err = err != PS_OK ? err : prune_rooms(file, oldest, rows, &gone);
    if (err == PS_EINVAL) {
        err = fail(file);
    }
    err = err != PS_OK ? err : ps_ledger_file_commit(file);
    if (err == PS_OK) {
        *pruned += gone;
        err = run_text(file, "PRAGMA incremental_vacuum(" FREE_MOST ")");
    }
    return err;
}
