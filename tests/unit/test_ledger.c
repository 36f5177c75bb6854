/* test_ledger - rows outlive the program: whole after kill -9 at any moment, and with a disk that
 * is full, a file that is damaged or taken, or no right to write, the program goes on without them.
 *
 * Run as `test_ledger writer FILE` it is the program that gets killed: it writes entries and says
 * on standard output which of them are written.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../helpers/tree.h"
#include "base/check.h"
#include "base/rng.h"
#include "io/loop.h"

#define PATIENCE (30 * PS_SECOND)

enum { PARTS = 3, KILLS = 50 };

/* --- a room ----------------------------------------------------------------------------------- */

static const char *const first_version[] = {
    "CREATE TABLE entry(number INTEGER PRIMARY KEY, time INTEGER NOT NULL, text TEXT) STRICT;"
    "CREATE TABLE part(number INTEGER NOT NULL REFERENCES entry ON DELETE CASCADE, place INTEGER "
    "NOT NULL, share REAL, PRIMARY KEY(number, place)) STRICT, WITHOUT ROWID",
    NULL};
static const char *const second_version[] = {
    "CREATE TABLE entry(number INTEGER PRIMARY KEY, time INTEGER NOT NULL, text TEXT) STRICT;"
    "CREATE TABLE part(number INTEGER NOT NULL REFERENCES entry ON DELETE CASCADE, place INTEGER "
    "NOT NULL, share REAL, PRIMARY KEY(number, place)) STRICT, WITHOUT ROWID",
    "ALTER TABLE entry ADD COLUMN colour TEXT DEFAULT 'grey'", NULL};
static const char prune[] = "DELETE FROM entry WHERE time < ?1 OR number <= "
                            "(SELECT number FROM entry ORDER BY number DESC LIMIT 1 OFFSET ?2)";

static const struct ps_ledger_room room = {"test", first_version, prune};
static const struct ps_ledger_room later_room = {"test", second_version, prune};
static const struct ps_ledger_room other_room = {
    "other", (const char *const[]){"CREATE TABLE other(a INTEGER) STRICT", NULL}, NULL};
static const struct ps_ledger_room *const rooms[] = {&room, NULL};
static const struct ps_ledger_room *const later_rooms[] = {&later_room, &other_room, NULL};

static const char put_entry[] =
    "INSERT OR REPLACE INTO entry(number, time, text) VALUES(?1, ?2, ?3)";
static const char put_part[] = "INSERT INTO part(number, place, share) VALUES(?1, ?2, ?3)";

static _Atomic bool disk_is_full;

/* --- the stage -------------------------------------------------------------------------------- */

struct stage {
    struct tree tree;
    char path[128];
    struct ps_clock clock;
    struct ps_loop *loop;
    struct ps_ledger *ledger;
    struct ps_timer timer;
    bool (*done)(struct stage *stage);
    ps_time give_up;
    /* what was heard */
    enum ps_ledger_state state;
    char why[PS_LEDGER_WHY];
    unsigned changes;
    unsigned lost;
    unsigned ends;
    int err; /* of the last end */
    struct ps_ledger_value values[16];
    char texts[16][64];
    size_t rows, columns;
    bool cut;
};

static void on_state(void *ctx, enum ps_ledger_state state, const char *why)
{
    struct stage *stage = ctx;
    stage->state = state;
    stage->changes++;
    (void)snprintf(stage->why, sizeof stage->why, "%s", why);
}

static void on_lost(void *ctx)
{
    struct stage *stage = ctx;
    stage->lost++;
}

static void keep_rows(struct stage *stage, const struct ps_ledger_rows *rows)
{
    stage->rows = rows->count;
    stage->columns = rows->columns;
    stage->cut = rows->cut;
    for (size_t i = 0; i < rows->count * rows->columns && i < 16; i++) {
        stage->values[i] = rows->values[i];
        if (rows->values[i].type == PS_LEDGER_TEXT) {
            assert_int_equal(rows->values[i].text.ptr[rows->values[i].text.len], '\0');
            (void)snprintf(stage->texts[i], 64, "%s", rows->values[i].text.ptr);
        }
    }
}

static void on_end(void *ctx, int err, const struct ps_ledger_rows *rows)
{
    struct stage *stage = ctx;
    stage->ends++;
    stage->err = err;
    if (rows != NULL) {
        keep_rows(stage, rows);
    }
}

static void on_timer(struct ps_timer *timer, ps_time now)
{
    struct stage *stage = PS_CONTAINER_OF(timer, struct stage, timer);
    if (stage->done(stage) || now > stage->give_up) {
        ps_loop_stop(stage->loop);
    } else {
        assert_int_equal(ps_timer_set(stage->loop, timer, now + PS_MILLISECOND), PS_OK);
    }
}

/* Runs the loop until it is so. The loop's clock is the real one; the ledger's is ours. */
static void run_until(struct stage *stage, bool (*done)(struct stage *stage))
{
    stage->done = done;
    stage->timer.on_time = on_timer;
    stage->give_up = ps_clock_now(&ps_clock_real) + PATIENCE;
    assert_int_equal(ps_timer_set(stage->loop, &stage->timer, 0), PS_OK);
    ps_loop_run(stage->loop);
    assert_true(done(stage));
}

static void open_stage(struct stage *stage)
{
    memset(stage, 0, sizeof *stage);
    disk_is_full = false;
    tree_open(&stage->tree);
    (void)snprintf(stage->path, sizeof stage->path, "%s/ledger.db", stage->tree.root);
    ps_clock_init_manual(&stage->clock, PS_HOUR, 1000000 * PS_SECOND);
    assert_int_equal(ps_loop_new(&stage->loop, &ps_clock_real), PS_OK);
}

static void open_with(struct stage *stage, const struct ps_ledger_room *const *with)
{
    const struct ps_ledger_opts opts = {.path = stage->path,
                                        .rooms = with,
                                        .clock = &stage->clock,
                                        .queue_entries = 8,
                                        .retry = PS_SECOND,
                                        .on_state = on_state,
                                        .on_lost = on_lost,
                                        .ctx = stage};
    assert_int_equal(ps_ledger_new(&stage->ledger, &opts, stage->loop), PS_OK);
}

static bool is_open(struct stage *stage)
{
    return stage->state == PS_LEDGER_OPEN;
}

static bool is_failed(struct stage *stage)
{
    return stage->state == PS_LEDGER_FAILED;
}

static bool has_ended(struct stage *stage)
{
    return stage->ends > 0;
}

static void shut(struct stage *stage)
{
    ps_ledger_free(stage->ledger, PATIENCE);
    stage->ledger = NULL;
    stage->state = PS_LEDGER_OPENING;
}

static void close_stage(struct stage *stage)
{
    shut(stage);
    ps_timer_clear(stage->loop, &stage->timer);
    ps_loop_free(stage->loop);
    tree_close(&stage->tree);
}

static int put(struct ps_ledger *ledger, int64_t number, int64_t time, ps_ledger_fn *fn, void *ctx)
{
    char text[32];
    struct ps_ledger_value values[1 + PARTS][3];
    struct ps_ledger_statement statements[1 + PARTS];
    (void)snprintf(text, sizeof text, "entry %" PRId64, number);
    values[0][0] = ps_ledger_integer(number);
    values[0][1] = ps_ledger_integer(time);
    values[0][2] = ps_ledger_text(text);
    statements[0] = (struct ps_ledger_statement){put_entry, values[0], 3};
    for (int i = 1; i <= PARTS; i++) {
        values[i][0] = ps_ledger_integer(number);
        values[i][1] = ps_ledger_integer(i);
        values[i][2] = ps_ledger_real((double)i / PARTS);
        statements[i] = (struct ps_ledger_statement){put_part, values[i], 3};
    }
    return ps_ledger_write(ledger, statements, 1 + PARTS, fn, ctx);
}

/* Reads and waits for the rows. */
static void ask(struct stage *stage, const char *sql, size_t most)
{
    const struct ps_ledger_statement statement = {sql, NULL, 0};
    stage->ends = 0;
    stage->rows = 0;
    assert_int_equal(ps_ledger_read(stage->ledger, &statement, most, on_end, stage), PS_OK);
    run_until(stage, has_ended);
}

static int64_t number_of(struct stage *stage, const char *sql)
{
    ask(stage, sql, 1);
    assert_int_equal(stage->err, PS_OK);
    assert_int_equal(stage->rows, 1);
    return stage->values[0].integer;
}

static void put_and_wait(struct stage *stage, int64_t number)
{
    stage->ends = 0;
    assert_int_equal(put(stage->ledger, number, number, on_end, stage), PS_OK);
    run_until(stage, has_ended);
}

static struct ps_ledger_stats stats_of(struct stage *stage)
{
    struct ps_ledger_stats stats;
    ps_ledger_stats(stage->ledger, &stats);
    return stats;
}

/* --- rows ------------------------------------------------------------------------------------- */

static void what_was_written_is_read_again_after_a_restart(void **state)
{
    struct stage stage;
    struct stat info;
    (void)state;
    open_stage(&stage);
    open_with(&stage, rooms);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(put(stage.ledger, i, i, NULL, NULL), PS_OK);
    }
    shut(&stage); /* writes what waits */
    assert_int_equal(stat(stage.path, &info), 0);
    assert_int_equal(info.st_mode & 07, 0); /* others may not read who did what */
    open_with(&stage, rooms);
    ask(&stage, "SELECT number, text, NULL, 0.5 FROM entry ORDER BY number DESC", 2);
    assert_int_equal(stage.rows, 2);
    assert_int_equal(stage.columns, 4);
    assert_true(stage.cut);
    assert_int_equal(stage.values[0].integer, 5);
    assert_string_equal(stage.texts[1], "entry 5");
    assert_int_equal(stage.values[2].type, PS_LEDGER_NULL);
    assert_true(stage.values[3].real == 0.5);
    assert_string_equal(stage.texts[5], "entry 4");
    assert_int_equal(number_of(&stage, "SELECT count(*) FROM part"), 5 * PARTS);
    close_stage(&stage);
}

static void an_entry_is_refused_as_a_whole_and_others_are_not_held_up(void **state)
{
    struct stage stage;
    (void)state;
    open_stage(&stage);
    open_with(&stage, rooms);
    const struct ps_ledger_value wrong[] = {ps_ledger_integer(2), ps_ledger_text("no time")};
    const struct ps_ledger_value right[] = {ps_ledger_integer(2), ps_ledger_integer(2),
                                            ps_ledger_text("")};
    const struct ps_ledger_statement statements[] = {{put_entry, right, 3}, {put_entry, wrong, 2}};
    const struct ps_ledger_statement nonsense = {"INSERT INTO nowhere VALUES(1)", NULL, 0};
    assert_int_equal(put(stage.ledger, 1, 1, NULL, NULL), PS_OK);
    assert_int_equal(ps_ledger_write(stage.ledger, statements, 2, on_end, &stage), PS_OK);
    assert_int_equal(put(stage.ledger, 3, 3, NULL, NULL), PS_OK);
    run_until(&stage, has_ended);
    assert_int_equal(stage.err, PS_EINVAL);
    stage.ends = 0;
    assert_int_equal(ps_ledger_write(stage.ledger, &nonsense, 1, on_end, &stage), PS_OK);
    run_until(&stage, has_ended);
    assert_int_equal(stage.err, PS_EINVAL);
    assert_int_equal(number_of(&stage, "SELECT count(*) FROM entry"), 2);
    assert_int_equal(number_of(&stage, "SELECT sum(number) FROM entry"), 4);
    ask(&stage, "SELECT what FROM nowhere", 1);
    assert_int_equal(stage.err, PS_EINVAL);
    assert_int_equal(stats_of(&stage).refused, 3);
    assert_true(is_open(&stage));
    close_stage(&stage);
}

static void tables_grow_from_version_to_version_and_never_back(void **state)
{
    struct stage stage;
    (void)state;
    open_stage(&stage);
    open_with(&stage, rooms);
    put_and_wait(&stage, 1);
    shut(&stage);
    open_with(&stage, later_rooms);
    ask(&stage, "SELECT colour FROM entry", 1);
    assert_string_equal(stage.texts[0], "grey");
    assert_int_equal(number_of(&stage, "SELECT count(*) FROM other"), 0);
    shut(&stage);
    open_with(&stage, rooms);
    run_until(&stage, is_failed);
    assert_non_null(strstr(stage.why, "newer version of Penstock"));
    close_stage(&stage);
}

static void old_rows_go_by_age_and_by_number(void **state)
{
    struct stage stage;
    (void)state;
    open_stage(&stage);
    open_with(&stage, rooms);
    int64_t now = 1000000 * (PS_SECOND / PS_MICROSECOND);
    for (int i = 1; i <= 6; i++) {
        assert_int_equal(put(stage.ledger, i, now + i * (PS_MINUTE / PS_MICROSECOND), NULL, NULL),
                         PS_OK);
    }
    assert_int_equal(number_of(&stage, "SELECT count(*) FROM entry"), 6);
    ps_ledger_keep(stage.ledger, 0, 4);
    while (number_of(&stage, "SELECT count(*) FROM entry") != 4) {
    }
    assert_int_equal(number_of(&stage, "SELECT min(number) FROM entry"), 3);
    assert_int_equal(number_of(&stage, "SELECT count(*) FROM part"), 4 * PARTS);
    ps_ledger_keep(stage.ledger, PS_HOUR, 4);
    ps_clock_advance(&stage.clock,
                     PS_HOUR + 5 * PS_MINUTE - PS_SECOND); /* the fifth is a second too young */
    while (number_of(&stage, "SELECT count(*) FROM entry") != 2) {
    }
    assert_int_equal(number_of(&stage, "SELECT min(number) FROM entry"), 5);
    assert_int_equal(stats_of(&stage).pruned, 4);
    close_stage(&stage);
}

static void an_answer_that_nobody_waits_for_is_dropped(void **state)
{
    struct stage stage;
    (void)state;
    open_stage(&stage);
    open_with(&stage, rooms);
    const struct ps_ledger_statement statement = {"SELECT 1", NULL, 0};
    int stranger = 0;
    assert_int_equal(ps_ledger_read(stage.ledger, &statement, 1, on_end, &stage), PS_OK);
    ps_ledger_forget(stage.ledger, &stage);
    ps_ledger_forget(stage.ledger, &stranger);
    ps_ledger_forget(NULL, &stage);
    assert_int_equal(put(stage.ledger, 1, 1, on_end, &stage), PS_OK);
    run_until(&stage, has_ended);
    assert_int_equal(stage.ends, 1);
    assert_int_equal(stage.rows, 0);
    assert_int_equal(ps_ledger_write(NULL, &statement, 1, on_end, &stage), PS_OK);
    assert_int_equal(ps_ledger_read(NULL, &statement, 1, on_end, &stage), PS_ECLOSED);
    close_stage(&stage);
}

/* --- what goes wrong -------------------------------------------------------------------------- */

static ssize_t (*real_pwrite)(int fd, const void *bytes, size_t len, off_t at);

static ssize_t full_pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    if (disk_is_full) {
        errno = ENOSPC;
        return -1;
    }
    return real_pwrite(fd, bytes, len, at);
}

/* SQLite lets its system calls be replaced; which of the two it uses is its own business. */
static void take_over_pwrite(void)
{
    static const char *const names[] = {"pwrite", "pwrite64"};
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    real_pwrite = pwrite;
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
        PS_IGNORE(vfs->xSetSystemCall(vfs, names[i], (sqlite3_syscall_ptr)full_pwrite));
    }
}

static void give_pwrite_back(void)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    PS_IGNORE(vfs->xSetSystemCall(vfs, NULL, NULL));
}

static void a_full_disk_is_said_once_and_nothing_is_lost_that_fits_the_queue(void **state)
{
    struct stage stage;
    (void)state;
    open_stage(&stage);
    take_over_pwrite();
    open_with(&stage, rooms);
    put_and_wait(&stage, 1);
    disk_is_full = true;
    for (int i = 2; i <= 20; i++) { /* eight fit, at least; the thread may have had some in hand */
        int err = put(stage.ledger, i, i, NULL, NULL);
        assert_true(err == PS_OK || (err == PS_ELIMIT && i > 9));
    }
    run_until(&stage, is_failed);
    assert_non_null(strstr(stage.why, "ledger.db: the disk is full"));
    ask(&stage, "SELECT 1", 1);
    assert_int_equal(stage.err, PS_EIO); /* at once */
    assert_int_equal(stage.lost, 1);     /* told once */
    assert_int_equal(stats_of(&stage).dropped, 11);
    assert_int_equal(stats_of(&stage).waiting, 8);
    for (int i = 0; i < 5; i++) { /* tries again and again, and says no more about it */
        ps_clock_advance(&stage.clock, PS_MINUTE);
        ask(&stage, "SELECT 1", 1);
    }
    assert_int_equal(stage.changes, 2);
    disk_is_full = false;
    ps_clock_advance(&stage.clock, PS_MINUTE);
    ask(&stage, "SELECT count(*) FROM entry", 1);
    assert_int_equal(stage.err, PS_OK);
    assert_int_equal(stage.values[0].integer, 9);
    assert_true(is_open(&stage));
    assert_int_equal(number_of(&stage, "SELECT count(*) FROM part"), 9 * PARTS);
    close_stage(&stage);
    give_pwrite_back();
}

static void what_can_not_be_written_at_the_end_is_given_up(void **state)
{
    struct stage stage;
    (void)state;
    open_stage(&stage);
    (void)snprintf(stage.path, sizeof stage.path, "%s/nowhere/ledger.db", stage.tree.root);
    open_with(&stage, rooms);
    run_until(&stage, is_failed);
    assert_non_null(strstr(stage.why, "it can't be opened: No such file or directory"));
    assert_int_equal(put(stage.ledger, 1, 1, on_end, &stage), PS_OK);
    shut(&stage);
    assert_int_equal(stage.ends, 1);
    assert_int_equal(stage.err, PS_ECANCELED);
    close_stage(&stage);
}

static void write_file(const char *path, off_t at, const char *byte, size_t count)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(pwrite(fd, byte, 1, at + (off_t)i), 1);
    }
    close(fd);
}

static void a_damaged_file_is_named_left_alone_and_replaced_once_it_is_gone(void **state)
{
    struct stage stage;
    char aside[160];
    (void)state;
    open_stage(&stage);
    write_file(stage.path, 0, "x", 9000);
    open_with(&stage, rooms);
    run_until(&stage, is_failed);
    assert_non_null(strstr(stage.why, "damaged; move it away"));
    assert_int_equal(put(stage.ledger, 1, 1, NULL, NULL), PS_OK);
    (void)snprintf(aside, sizeof aside, "%s.bad", stage.path);
    assert_int_equal(rename(stage.path, aside), 0);
    ps_clock_advance(&stage.clock, PS_MINUTE);
    assert_int_equal(number_of(&stage, "SELECT number FROM entry"), 1);
    assert_true(is_open(&stage));
    close_stage(&stage);
}

static void damage_inside_shows_when_it_is_read(void **state)
{
    struct stage stage;
    (void)state;
    open_stage(&stage);
    open_with(&stage, rooms);
    put_and_wait(&stage, 1);
    shut(&stage); /* the last to close it brings all into the file */
    write_file(stage.path, 4096, "\xff", 8 * 4096);
    open_with(&stage, rooms);
    run_until(&stage, is_failed);
    assert_non_null(strstr(stage.why, "damaged"));
    close_stage(&stage);
}

static void a_file_that_was_moved_away_is_made_anew(void **state)
{
    struct stage stage;
    char aside[160];
    (void)state;
    open_stage(&stage);
    open_with(&stage, rooms);
    put_and_wait(&stage, 1);
    (void)snprintf(aside, sizeof aside, "%s.old", stage.path);
    assert_int_equal(rename(stage.path, aside), 0);
    put_and_wait(&stage, 2);
    assert_int_equal(stage.err, PS_OK);
    assert_int_equal(number_of(&stage, "SELECT number FROM entry"), 2);
    assert_int_equal(access(stage.path, F_OK), 0);
    close_stage(&stage);
}

static void anothers_database_and_what_is_no_file_are_left_alone(void **state)
{
    struct stage stage;
    sqlite3 *db = NULL;
    (void)state;
    open_stage(&stage);
    assert_int_equal(sqlite3_open(stage.path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE mine(a)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    open_with(&stage, rooms);
    run_until(&stage, is_failed);
    assert_non_null(strstr(stage.why, "the database of another program"));
    shut(&stage);
    (void)snprintf(stage.path, sizeof stage.path, "/dev/null");
    open_with(&stage, rooms);
    run_until(&stage, is_failed);
    assert_non_null(strstr(stage.why, "/dev/null: it is not a file"));
    close_stage(&stage);
}

static void a_file_has_one_writer_and_others_may_look(void **state)
{
    struct stage stage;
    struct stage second;
    sqlite3 *db = NULL;
    (void)state;
    open_stage(&stage);
    open_with(&stage, rooms);
    run_until(&stage, is_open);
    open_stage(&second);
    memcpy(second.path, stage.path, sizeof second.path);
    open_with(&second, rooms);
    run_until(&second, is_failed);
    assert_non_null(strstr(second.why, "another Penstock writes it"));
    put_and_wait(&stage, 1);
    assert_int_equal(sqlite3_open(stage.path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "SELECT * FROM entry", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    put_and_wait(&stage, 2);
    assert_int_equal(stage.err, PS_OK);
    shut(&stage);
    ps_clock_advance(&second.clock, PS_MINUTE); /* and takes over when the first has ended */
    assert_int_equal(number_of(&second, "SELECT count(*) FROM entry"), 2);
    close_stage(&second);
    close_stage(&stage);
}

/* Root may write everywhere, so somebody else tries. */
static int try_as_nobody(const char *path)
{
    struct stage stage;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) {
        return 1;
    }
    prctl(PR_SET_DUMPABLE, 1); /* leaks are looked for by somebody who looks into us */
    memset(&stage, 0, sizeof stage);
    (void)snprintf(stage.path, sizeof stage.path, "%s", path);
    ps_clock_init_manual(&stage.clock, PS_HOUR, PS_HOUR);
    PS_CHECK(ps_loop_new(&stage.loop, &ps_clock_real) == PS_OK);
    open_with(&stage, rooms);
    run_until(&stage, is_failed);
    bool fine = strstr(stage.why, "it can't be opened: Permission denied") != NULL;
    ps_ledger_free(stage.ledger, PATIENCE);
    ps_loop_free(stage.loop);
    return fine ? 0 : 1;
}

static pid_t start(const char *mode, const char *path, int *out);

static void a_folder_without_the_right_to_write_is_a_clear_error(void **state)
{
    struct stage stage;
    int status = -1;
    (void)state;
    open_stage(&stage);
    assert_int_equal(chmod(stage.tree.root, 0555), 0);
    pid_t child = start("nobody", stage.path, NULL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(chmod(stage.tree.root, 0700), 0);
    close_stage(&stage);
}

static void a_queue_has_its_bound_in_bytes_too(void **state)
{
    struct stage stage;
    static char large[PS_LEDGER_ENTRY_MAX];
    (void)state;
    open_stage(&stage);
    open_with(&stage, rooms);
    memset(large, 'a', sizeof large - 1);
    struct ps_ledger_value values[] = {ps_ledger_integer(1), ps_ledger_integer(1),
                                       ps_ledger_text(large)};
    const struct ps_ledger_statement statement = {put_entry, values, 3};
    assert_int_equal(ps_ledger_write(stage.ledger, &statement, 1, NULL, NULL), PS_ELIMIT);
    values[2].text.len = sizeof large / 2;
    assert_int_equal(ps_ledger_write(stage.ledger, &statement, 1, NULL, NULL), PS_OK);
    assert_int_equal(number_of(&stage, "SELECT length(text) FROM entry"), sizeof large / 2);
    assert_int_equal(stats_of(&stage).dropped, 1);
    close_stage(&stage);
}

/* --- a disk that hangs ------------------------------------------------------------------------ */

static void the_end_waits_for_no_disk_that_hangs(void **state)
{
    struct stage stage;
    int status = -1;
    (void)state;
    open_stage(&stage);
    pid_t child = start("hung", stage.path, NULL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close_stage(&stage);
}

static _Atomic bool disk_hangs;

static ssize_t hung_pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    while (disk_hangs) {
        (void)nanosleep(&(const struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return pwrite(fd, bytes, len, at);
}

/* The thread is left behind; what it still does afterwards must touch nothing of ours. */
static int try_hung(const char *path)
{
    struct stage stage;
    static const char *const names[] = {"pwrite", "pwrite64"};
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
        PS_IGNORE(vfs->xSetSystemCall(vfs, names[i], (sqlite3_syscall_ptr)hung_pwrite));
    }
    memset(&stage, 0, sizeof stage);
    (void)snprintf(stage.path, sizeof stage.path, "%s", path);
    ps_clock_init_manual(&stage.clock, PS_HOUR, PS_HOUR);
    PS_CHECK(ps_loop_new(&stage.loop, &ps_clock_real) == PS_OK);
    open_with(&stage, rooms);
    run_until(&stage, is_open);
    disk_hangs = true;
    PS_CHECK(put(stage.ledger, 1, 1, on_end, &stage) == PS_OK);
    ps_ledger_free(stage.ledger, 20 * PS_MILLISECOND);
    bool fine = stage.ends == 1 && stage.err == PS_ECANCELED;
    ps_loop_free(stage.loop);
    disk_hangs = false;
    (void)nanosleep(&(const struct timespec){.tv_nsec = 200000000}, NULL);
    return fine ? 0 : 1;
}

/* --- kill -9 ---------------------------------------------------------------------------------- */

struct writer {
    struct ps_ledger *ledger;
    struct ps_loop *loop;
    int64_t next;
    int64_t acknowledged;
};

static void on_written(void *ctx, int err, const struct ps_ledger_rows *rows);

static void write_next(struct writer *writer)
{
    PS_CHECK(put(writer->ledger, writer->next++, 1, on_written, writer) == PS_OK);
}

/* Replies come in the order of the entries. */
static void on_written(void *ctx, int err, const struct ps_ledger_rows *rows)
{
    struct writer *writer = ctx;
    (void)rows;
    PS_CHECK(err == PS_OK);
    writer->acknowledged++;
    PS_CHECK(write(STDOUT_FILENO, &writer->acknowledged, sizeof writer->acknowledged) ==
             sizeof writer->acknowledged);
    write_next(writer);
}

static void on_last(void *ctx, int err, const struct ps_ledger_rows *rows)
{
    struct writer *writer = ctx;
    PS_CHECK(err == PS_OK);
    writer->acknowledged = ps_ledger_at(rows, 0, 0)->integer;
    writer->next = writer->acknowledged + 1;
    for (int i = 0; i < 5; i++) {
        write_next(writer);
    }
}

/* Goes on from where the one before was killed, until it is. */
static int run_writer(const char *path)
{
    struct writer writer = {0};
    const struct ps_ledger_opts opts = {.path = path, .rooms = rooms, .clock = &ps_clock_real};
    const struct ps_ledger_statement last = {"SELECT ifnull(max(number), 0) FROM entry", NULL, 0};
    PS_CHECK(ps_loop_new(&writer.loop, &ps_clock_real) == PS_OK);
    PS_CHECK(ps_ledger_new(&writer.ledger, &opts, writer.loop) == PS_OK);
    PS_CHECK(ps_ledger_read(writer.ledger, &last, 1, on_last, &writer) == PS_OK);
    ps_loop_run(writer.loop);
    return 1;
}

/* This program, in another role. `out` gets the end of its standard output, or is NULL. */
static pid_t start(const char *mode, const char *path, int *out)
{
    int ends[2] = {-1, -1};
    char *const words[] = {(char *)(uintptr_t) "test_ledger", (char *)(uintptr_t)mode,
                           (char *)(uintptr_t)path, NULL};
    assert_int_equal(out == NULL ? 0 : pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (out != NULL) {
            dup2(ends[1], STDOUT_FILENO);
        }
        execv("/proc/self/exe", words);
        _exit(127);
    }
    if (out != NULL) {
        close(ends[1]);
        *out = ends[0];
    }
    return child;
}

/* The last number that the writer said was written; 0 = it said nothing. */
static int64_t read_acknowledged(int fd)
{
    int64_t number = 0;
    int64_t latest = 0;
    while (read(fd, &number, sizeof number) == sizeof number) {
        latest = number;
    }
    close(fd);
    return latest;
}

static void assert_whole(struct stage *stage, int64_t acknowledged)
{
    stage->state = PS_LEDGER_OPENING;
    open_with(stage, rooms);
    run_until(stage, is_open);
    ask(stage, "PRAGMA integrity_check", 2);
    assert_int_equal(stage->rows, 1);
    assert_string_equal(stage->texts[0], "ok");
    int64_t entries = number_of(stage, "SELECT count(*) FROM entry");
    assert_true(entries >= acknowledged);
    assert_int_equal(number_of(stage, "SELECT ifnull(max(number), 0) FROM entry"), entries);
    assert_int_equal(number_of(stage, "SELECT count(*) FROM part"), PARTS * entries);
    assert_int_equal(number_of(stage,
                               "SELECT count(*) FROM entry e WHERE (SELECT count(*) FROM part p "
                               "WHERE p.number = e.number) <> 3"),
                     0);
    shut(stage);
}

static void what_was_acknowledged_survives_kill_9_at_any_moment(void **state)
{
    struct stage stage;
    struct timespec now;
    int64_t acknowledged = 0;
    (void)state;
    clock_gettime(CLOCK_REALTIME, &now);
    struct ps_rng rng = ps_rng_make((uint64_t)now.tv_nsec);
    print_message("# seed %ld\n", (long)now.tv_nsec);
    open_stage(&stage);
    for (int i = 0; i < KILLS; i++) {
        int out = -1;
        int status;
        pid_t child = start("writer", stage.path, &out);
        /* Half of them at any moment, opening included; half once it writes. */
        int64_t first = 0;
        if (i % 2 == 1 && read(out, &first, sizeof first) == sizeof first) {
            acknowledged = first;
        }
        long wait = (long)ps_rng_below(&rng, 60) * 1000000;
        (void)nanosleep(&(const struct timespec){.tv_nsec = wait}, NULL);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status)); /* it had not failed before */
        int64_t latest = read_acknowledged(out);
        acknowledged = latest > acknowledged ? latest : acknowledged;
        assert_whole(&stage, acknowledged);
    }
    print_message("# %" PRId64 " entries acknowledged\n", acknowledged);
    assert_true(acknowledged >= KILLS / 2);
    close_stage(&stage);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "writer") == 0) {
        return run_writer(argv[2]);
    }
    if (argc == 3 && strcmp(argv[1], "nobody") == 0) {
        return try_as_nobody(argv[2]);
    }
    if (argc == 3 && strcmp(argv[1], "hung") == 0) {
        return try_hung(argv[2]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read_again_after_a_restart),
        cmocka_unit_test(an_entry_is_refused_as_a_whole_and_others_are_not_held_up),
        cmocka_unit_test(tables_grow_from_version_to_version_and_never_back),
        cmocka_unit_test(old_rows_go_by_age_and_by_number),
        cmocka_unit_test(an_answer_that_nobody_waits_for_is_dropped),
        cmocka_unit_test(a_full_disk_is_said_once_and_nothing_is_lost_that_fits_the_queue),
        cmocka_unit_test(what_can_not_be_written_at_the_end_is_given_up),
        cmocka_unit_test(a_damaged_file_is_named_left_alone_and_replaced_once_it_is_gone),
        cmocka_unit_test(damage_inside_shows_when_it_is_read),
        cmocka_unit_test(a_file_that_was_moved_away_is_made_anew),
        cmocka_unit_test(anothers_database_and_what_is_no_file_are_left_alone),
        cmocka_unit_test(a_file_has_one_writer_and_others_may_look),
        cmocka_unit_test(a_folder_without_the_right_to_write_is_a_clear_error),
        cmocka_unit_test(a_queue_has_its_bound_in_bytes_too),
        cmocka_unit_test(the_end_waits_for_no_disk_that_hangs),
        cmocka_unit_test(what_was_acknowledged_survives_kill_9_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
