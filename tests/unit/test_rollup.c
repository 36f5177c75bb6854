/* test_rollup - minutes and hours are stored as they were, whoever ends the program and when.
 *
 * Run as `test_rollup writer FILE` it is the program that gets killed: it lives through 50 minutes a
 * second and says on standard output which of them are written.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "export/rollup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../helpers/tree.h"
#include "base/check.h"
#include "base/rng.h"
#include "export/history_result.h"
#include "io/loop.h"

#define START    INT64_C(1800000000) /* a whole hour */
#define PATIENCE (30 * PS_SECOND)

enum { TRACKS = 7, KILLS = 50 };

static const struct ps_ledger_room *const rooms[] = {&ps_rollup_ledger_room, NULL};

/* --- what the numbers are --------------------------------------------------------------------- */

/* Of track 0 always the same, of the others anything; some seconds are unknown. */
static double number(int track, int64_t second)
{
    struct ps_rng rng = ps_rng_make((uint64_t)second * 31 + (uint64_t)track);
    uint64_t drawn = ps_rng_next(&rng);
    if (track == 0) {
        return 5;
    }
    return drawn % 13 == 0 ? NAN : (double)(drawn % 1000) / 8 - 20;
}

static const char *key(int track, char text[48])
{
    (void)snprintf(text, 48, "rate(t_things_total{n=\"%d\"})", track);
    return text;
}

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

/* The truth about a length of time. */
static struct ps_history_roll truth(int track, int64_t from, int64_t to)
{
    double *known = calloc((size_t)(to - from), sizeof *known);
    struct ps_history_roll roll = {0};
    size_t n = 0;
    double sum = 0;
    for (int64_t second = from; second < to; second++) {
        double value = number(track, second);
        if (!isnan(value)) {
            known[n++] = value;
            sum += value;
        }
    }
    if (n > 0) {
        roll.last = known[n - 1];
        qsort(known, n, sizeof known[0], ascending);
        roll.min = known[0];
        roll.max = known[n - 1];
        roll.mean = sum / (double)n;
        roll.p95 = known[(size_t)ceil(0.95 * (double)n) - 1];
    }
    roll.count = (uint32_t)n;
    free(known);
    return roll;
}

/* --- the stage -------------------------------------------------------------------------------- */

struct stage {
    struct tree tree;
    char path[128];
    struct ps_loop *loop;
    struct ps_ledger *ledger;
    struct ps_history *history;
    struct ps_rollup *rollup;
    struct ps_timer timer;
    bool heard;
    int err;
    struct ps_history_result *result;
};

static void on_timer(struct ps_timer *timer, ps_time now)
{
    struct stage *stage = PS_CONTAINER_OF(timer, struct stage, timer);
    if (stage->heard) {
        ps_loop_stop(stage->loop);
    } else {
        assert_int_equal(ps_timer_set(stage->loop, timer, now + PS_MILLISECOND), PS_OK);
    }
}

static void wait_for_answer(struct stage *stage)
{
    stage->timer.on_time = on_timer;
    assert_int_equal(ps_timer_set(stage->loop, &stage->timer, 0), PS_OK);
    ps_loop_run(stage->loop);
    stage->heard = false;
}

static void open_program(struct stage *stage)
{
    const struct ps_ledger_opts ledger = {.path = stage->path, .rooms = rooms, .clock = &ps_clock_real};
    const struct ps_history_opts history = {.max_series = 50, .points = 300};
    assert_int_equal(ps_loop_new(&stage->loop, &ps_clock_real), PS_OK);
    assert_int_equal(ps_ledger_new(&stage->ledger, &ledger, stage->loop), PS_OK);
    assert_int_equal(ps_history_new(&stage->history, &history), PS_OK);
    assert_int_equal(ps_rollup_new(&stage->rollup, stage->history, stage->ledger), PS_OK);
    ps_rollup_keep(stage->rollup, 48 * PS_HOUR, 400 * 24 * PS_HOUR);
}

/* As SIGTERM does it. */
static void close_program(struct stage *stage)
{
    ps_rollup_finish(stage->rollup);
    ps_rollup_free(stage->rollup);
    ps_ledger_free(stage->ledger, PATIENCE);
    ps_history_free(stage->history);
    ps_timer_clear(stage->loop, &stage->timer);
    ps_loop_free(stage->loop);
}

static void open_stage(struct stage *stage)
{
    memset(stage, 0, sizeof *stage);
    tree_open(&stage->tree);
    (void)snprintf(stage->path, sizeof stage->path, "%s/ledger.db", stage->tree.root);
    open_program(stage);
}

static void close_stage(struct stage *stage)
{
    close_program(stage);
    tree_close(&stage->tree);
}

static void put_second(struct ps_history *history, int64_t second)
{
    PS_CHECK(ps_history_begin(history, second));
    for (int i = 0; i < TRACKS; i++) {
        char text[48];
        PS_CHECK(ps_history_put(history, ps_str_from(key(i, text)), number(i, second)) == PS_OK);
    }
}

static void on_written(void *ctx, int err, const struct ps_ledger_rows *rows)
{
    struct stage *stage = ctx;
    (void)rows;
    stage->heard = true;
    stage->err = err;
}

/* Until all that was handed in is on the disk. */
static void settle(struct stage *stage)
{
    const struct ps_ledger_statement nothing = {"UPDATE history_done SET start_s = 1 WHERE 0", NULL, 0};
    assert_int_equal(ps_ledger_write(stage->ledger, &nothing, 1, on_written, stage), PS_OK);
    wait_for_answer(stage);
    assert_int_equal(stage->err, PS_OK);
}

static void live(struct stage *stage, int64_t from, int64_t to)
{
    for (int64_t second = from; second < to; second++) {
        put_second(stage->history, second);
        while (ps_rollup_write(stage->rollup, 3)) {
        }
        if (second % 7200 == 0) {
            settle(stage);
        }
    }
    settle(stage);
}

/* --- the file, as anybody reads it ------------------------------------------------------------ */

static sqlite3 *open_file(const char *path)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    return db;
}

static int64_t number_of(const char *path, const char *sql)
{
    sqlite3 *db = open_file(path);
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK) {
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    }
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return number;
}

/* One row of a view; false: there is none. */
static bool row_of(const char *path, const char *view, int track, int64_t start,
                   struct ps_history_roll *out)
{
    char sql[200];
    char text[48];
    sqlite3 *db = open_file(path);
    sqlite3_stmt *statement = NULL;
    (void)snprintf(sql, sizeof sql,
                   "SELECT low, high, mean, last, p95, count FROM %s WHERE key = ?1 AND start_s = ?2", view);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    (void)sqlite3_bind_text(statement, 1, key(track, text), -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(statement, 2, start);
    bool found = sqlite3_step(statement) == SQLITE_ROW;
    if (found) {
        *out = (struct ps_history_roll){
            sqlite3_column_double(statement, 0), sqlite3_column_double(statement, 1),
            sqlite3_column_double(statement, 2), sqlite3_column_double(statement, 3),
            sqlite3_column_double(statement, 4), (uint32_t)sqlite3_column_int(statement, 5)};
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return found;
}

static void assert_same(const struct ps_history_roll *is, const struct ps_history_roll *should)
{
    assert_int_equal(is->count, should->count);
    assert_true(is->min == should->min && is->max == should->max && is->last == should->last);
    assert_true(fabs(is->mean - should->mean) < 1e-9 * (1 + fabs(should->mean)));
}

static void assert_minute(const char *path, int track, int64_t start, int64_t from, int64_t to)
{
    struct ps_history_roll should = truth(track, from, to);
    struct ps_history_roll is;
    if (!row_of(path, "history_minutes", track, start, &is)) {
        fail_msg("minute %" PRId64 " of track %d is missing", (start - START) / 60, track);
    }
    assert_same(&is, &should);
    assert_true(is.p95 == should.p95);
}

/* An hour, of which [from, to) was lived. `most`: how far off its p95 may be. */
static void assert_hour(const char *path, int track, int64_t start, int64_t from, int64_t to, double most)
{
    struct ps_history_roll should = truth(track, from, to);
    struct ps_history_roll is;
    if (!row_of(path, "history_hours", track, start, &is)) {
        fail_msg("hour %" PRId64 " of track %d is missing", (start - START) / 3600, track);
    }
    assert_same(&is, &should);
    assert_true(fabs(is.p95 - should.p95) <= most * fabs(should.p95));
}

/* --- rows ------------------------------------------------------------------------------------- */

static void minutes_and_hours_are_stored_as_they_were(void **state)
{
    struct stage stage;
    (void)state;
    open_stage(&stage);
    live(&stage, START + 100, START + 3 * 3600 + 200);
    for (int track = 0; track < TRACKS; track++) {
        assert_minute(stage.path, track, START + 60, START + 100, START + 120); /* as far as it was there */
        for (int64_t at = START + 120; at < START + 3 * 3600 + 180; at += 300) {
            assert_minute(stage.path, track, at, at, at + 60);
        }
        assert_hour(stage.path, track, START, START + 100, START + 3600, 0.045);
        assert_hour(stage.path, track, START + 3600, START + 3600, START + 7200, 0.045);
        assert_hour(stage.path, track, START + 7200, START + 7200, START + 10800, 0.045);
    }
    assert_int_equal(number_of(stage.path, "SELECT count(*) FROM history_minute"), TRACKS * 182);
    assert_int_equal(number_of(stage.path, "SELECT count(*) FROM history_hour"), TRACKS * 3);
    assert_int_equal(number_of(stage.path, "SELECT count(*) FROM history_minute WHERE high IS NULL"), 182);
    close_stage(&stage);
}

static void a_restart_goes_on_with_minute_and_hour(void **state)
{
    struct stage stage;
    (void)state;
    open_stage(&stage);
    live(&stage, START, START + 1825);
    close_program(&stage); /* within a minute */
    open_program(&stage);
    live(&stage, START + 1825, START + 3700);
    for (int track = 0; track < TRACKS; track++) {
        struct ps_history_roll is;
        struct ps_history_roll should = truth(track, START + 1800, START + 1860);
        struct ps_history_roll parts[] = {truth(track, START + 1800, START + 1825),
                                          truth(track, START + 1825, START + 1860)};
        assert_true(row_of(stage.path, "history_minutes", track, START + 1800, &is));
        assert_same(&is, &should);
        assert_true(is.p95 == fmax(parts[0].p95, parts[1].p95));
        assert_hour(stage.path, track, START, START, START + 3600, 1); /* and the p95 is the bound: */
        assert_true(row_of(stage.path, "history_hours", track, START, &is));
        double highest = -INFINITY;
        for (int64_t at = START; at < START + 3600; at += 60) {
            struct ps_history_roll minute;
            assert_true(row_of(stage.path, "history_minutes", track, at, &minute));
            highest = fmax(highest, minute.p95);
        }
        assert_true(is.p95 == highest && is.p95 >= truth(track, START, START + 3600).p95);
    }
    close_stage(&stage);
}

static void an_hour_that_ended_without_us_is_made_at_the_next_start(void **state)
{
    struct stage stage;
    (void)state;
    open_stage(&stage);
    live(&stage, START, START + 600);
    close_program(&stage);
    open_program(&stage);
    live(&stage, START + 5 * 3600 + 7, START + 5 * 3600 + 9);
    for (int track = 0; track < TRACKS; track++) {
        assert_hour(stage.path, track, START, START, START + 600, 1);
    }
    assert_int_equal(number_of(stage.path, "SELECT count(*) FROM history_hour"), TRACKS);
    close_stage(&stage);
}

static void old_rows_go(void **state)
{
    struct stage stage;
    (void)state;
    open_stage(&stage);
    ps_rollup_keep(stage.rollup, 2 * PS_HOUR, 6 * PS_HOUR);
    assert_true(ps_history_begin(stage.history, START));
    assert_int_equal(ps_history_put(stage.history, PS_STR("gone"), 1), PS_OK);
    live(&stage, START + 1, START + 4 * 3600 + 2);
    assert_int_equal(number_of(stage.path, "SELECT min(start_s) FROM history_minute"), START + 2 * 3600);
    assert_int_equal(number_of(stage.path, "SELECT min(start_s) FROM history_hour"), START);
    live(&stage, START + 4 * 3600 + 2, START + 8 * 3600 + 2);
    assert_int_equal(number_of(stage.path, "SELECT min(start_s) FROM history_hour"), START + 2 * 3600);
    assert_int_equal(number_of(stage.path, "SELECT count(*) FROM history_track"), TRACKS);
    assert_true(number_of(stage.path, "SELECT count(*) FROM history_done") < 8);
    close_stage(&stage);
}

static void a_file_that_was_replaced_gets_its_tracks_again(void **state)
{
    struct stage stage;
    char away[160];
    (void)state;
    open_stage(&stage);
    live(&stage, START, START + 130);
    (void)snprintf(away, sizeof away, "%s.away", stage.path);
    assert_int_equal(rename(stage.path, away), 0);
    (void)snprintf(away, sizeof away, "%s-wal", stage.path);
    (void)unlink(away);
    (void)snprintf(away, sizeof away, "%s-shm", stage.path);
    (void)unlink(away);
    live(&stage, START + 130, START + 250);
    assert_minute(stage.path, 3, START + 180, START + 180, START + 240);
    close_stage(&stage);
}

/* --- reading ---------------------------------------------------------------------------------- */

static void on_rows(void *ctx, int err, const struct ps_ledger_rows *rows)
{
    struct stage *stage = ctx;
    stage->heard = true;
    stage->err = err;
    if (err == PS_OK) {
        ps_history_result_take(stage->result, rows);
        ps_history_result_round_off(stage->result, stage->history);
    }
}

static void on_tracks(void *ctx, int err, const struct ps_ledger_rows *rows)
{
    struct stage *stage = ctx;
    stage->heard = true;
    stage->err = err;
    for (size_t i = 0; err == PS_OK && i < rows->count; i++) {
        assert_int_equal(ps_history_result_add(stage->result, ps_ledger_at(rows, i, 1)->text,
                                               ps_ledger_at(rows, i, 0)->integer),
                         PS_OK);
    }
}

static void read_range(struct stage *stage, const struct ps_history_grid *grid, struct ps_buf *out)
{
    char ids[256];
    struct ps_buf text = ps_buf_make(sizeof ids);
    assert_int_equal(ps_history_result_new(&stage->result, grid, true), PS_OK);
    assert_int_equal(ps_rollup_find(stage->rollup, PS_STR("[\"t_things_total\",\"other\"]"), 100, on_tracks, stage), PS_OK);
    wait_for_answer(stage);
    assert_int_equal(stage->err, PS_OK);
    assert_int_equal(ps_history_result_count(stage->result), TRACKS);
    assert_int_equal(ps_history_result_ids(stage->result, &text), PS_OK);
    const struct ps_rollup_range range = {.ids = ps_buf_str(&text),
                                          .from = grid->from,
                                          .to = grid->from + (int64_t)grid->count * grid->step,
                                          .step = grid->step,
                                          .hours = grid->resolution == PS_HISTORY_HOUR};
    assert_int_equal(ps_rollup_read(stage->rollup, &range, 10000, on_rows, stage), PS_OK);
    ps_buf_fini(&text);
    wait_for_answer(stage);
    assert_int_equal(stage->err, PS_OK);
    assert_int_equal(ps_history_result_write(stage->result, out), PS_OK);
    assert_int_equal(ps_buf_append(out, "", 1), PS_OK);
    ps_history_result_free(stage->result);
}

/* The numbers behind the n-th `"word":[` of a document; NAN for null. */
static size_t column(const char *text, const char *word, int n, double *out)
{
    char begin[32];
    size_t count = 0;
    (void)snprintf(begin, sizeof begin, "\"%s\":[", word);
    const char *at = text;
    for (int i = 0; i <= n; i++) {
        at = strstr(at, begin);
        assert_non_null(at);
        at += strlen(begin);
    }
    while (at[-1] != ']') {
        char *end;
        out[count] = strncmp(at, "null", 4) == 0 ? NAN : strtod(at, NULL);
        (void)strtod(at, &end);
        at = (end == at ? at + 4 : end) + 1;
        count++;
    }
    return count;
}

static void assert_grid(struct stage *stage, const struct ps_history_grid *grid, int64_t lived_from,
                        int64_t lived_to)
{
    struct ps_buf out = ps_buf_make(1 << 20);
    double min[300];
    double last[300];
    double mean[300];
    double p95[300];
    double counts[300];
    read_range(stage, grid, &out);
    for (int track = 0; track < TRACKS; track++) {
        assert_int_equal(column(out.data, "min", track, min), grid->count);
        (void)column(out.data, "last", track, last);
        (void)column(out.data, "mean", track, mean);
        (void)column(out.data, "p95", track, p95);
        (void)column(out.data, "count", track, counts);
        for (size_t i = 0; i < grid->count; i++) {
            int64_t from = grid->from + (int64_t)i * grid->step;
            int64_t to = from + grid->step;
            from = from < lived_from ? lived_from : from;
            to = to > lived_to ? lived_to : to;
            if (from >= to) {
                assert_true(isnan(min[i]) && isnan(last[i]) && counts[i] == 0);
                continue;
            }
            struct ps_history_roll should = truth(track, from, to);
            assert_true(min[i] == should.min && last[i] == should.last && counts[i] == should.count);
            assert_true(fabs(mean[i] - should.mean) < 1e-9);
            assert_true(p95[i] >= should.p95 * (should.p95 > 0 ? 0.955 : 1.05) && p95[i] <= should.max);
        }
    }
    ps_buf_fini(&out);
}

static void what_is_read_is_what_was(void **state)
{
    struct stage stage;
    (void)state;
    open_stage(&stage);
    int64_t from = START + 90;
    int64_t to = START + 2 * 3600 + 1000;
    live(&stage, from, to);
    assert_grid(&stage, &(struct ps_history_grid){PS_HISTORY_MINUTE, START, 60, 140}, from, to);
    assert_grid(&stage, &(struct ps_history_grid){PS_HISTORY_MINUTE, START - 600, 300, 40}, from, to);
    assert_grid(&stage, &(struct ps_history_grid){PS_HISTORY_HOUR, START - 3600, 3600, 5}, from, to);
    assert_grid(&stage, &(struct ps_history_grid){PS_HISTORY_HOUR, START - 7200, 7200, 3}, from, to);
    close_stage(&stage);
}

/* --- kill -9 ---------------------------------------------------------------------------------- */

/* A minute that is on the disk, and the second from which on the writer was there. */
struct written {
    int64_t minute;
    int64_t since;
};

struct writer {
    struct ps_loop *loop;
    struct ps_ledger *ledger;
    struct ps_history *history;
    struct ps_rollup *rollup;
    struct ps_timer timer;
    int64_t second;
    int64_t since;
    struct written queue[64];
    unsigned asked, told;
};

/* Replies come in the order of the entries. */
static void on_marked(void *ctx, int err, const struct ps_ledger_rows *rows)
{
    struct writer *writer = ctx;
    (void)rows;
    PS_CHECK(err == PS_OK);
    const struct written *written = &writer->queue[writer->told++ % 64];
    PS_CHECK(write(STDOUT_FILENO, written, sizeof *written) == sizeof *written);
}

static void mark(struct writer *writer)
{
    const struct ps_ledger_statement nothing = {"UPDATE history_done SET start_s = 1 WHERE 0", NULL, 0};
    writer->queue[writer->asked++ % 64] = (struct written){writer->second - 60, writer->since};
    PS_CHECK(writer->asked - writer->told < 64);
    PS_CHECK(ps_ledger_write(writer->ledger, &nothing, 1, on_marked, writer) == PS_OK);
}

/* 15 seconds in 5 milliseconds: a minute in 20. */
static void on_tick(struct ps_timer *timer, ps_time now)
{
    struct writer *writer = PS_CONTAINER_OF(timer, struct writer, timer);
    for (int i = 0; i < 15; i++, writer->second++) {
        put_second(writer->history, writer->second);
        while (ps_rollup_write(writer->rollup, 4)) {
        }
        if (writer->second % 60 == 0) {
            mark(writer);
        }
    }
    PS_CHECK(ps_timer_set(writer->loop, timer, now + 5 * PS_MILLISECOND) == PS_OK);
}

/* Goes on some seconds after what the one before has stored. */
static void on_last(void *ctx, int err, const struct ps_ledger_rows *rows)
{
    struct writer *writer = ctx;
    PS_CHECK(err == PS_OK);
    int64_t last = ps_ledger_at(rows, 0, 0)->integer;
    struct ps_rng rng = ps_rng_make((uint64_t)last);
    writer->second = last == 0 ? START : last + 60 + (int64_t)ps_rng_below(&rng, 200);
    writer->since = writer->second;
    writer->timer.on_time = on_tick;
    PS_CHECK(ps_timer_set(writer->loop, &writer->timer, 0) == PS_OK);
}

static int run_writer(const char *path)
{
    struct writer writer = {0};
    const struct ps_ledger_opts opts = {.path = path, .rooms = rooms, .clock = &ps_clock_real};
    const struct ps_history_opts history = {.max_series = 50, .points = 300};
    const struct ps_ledger_statement last = {"SELECT ifnull(max(start_s), 0) FROM history_minute", NULL, 0};
    PS_CHECK(ps_loop_new(&writer.loop, &ps_clock_real) == PS_OK);
    PS_CHECK(ps_ledger_new(&writer.ledger, &opts, writer.loop) == PS_OK);
    PS_CHECK(ps_history_new(&writer.history, &history) == PS_OK);
    PS_CHECK(ps_rollup_new(&writer.rollup, writer.history, writer.ledger) == PS_OK);
    ps_rollup_keep(writer.rollup, 48 * PS_HOUR, 400 * 24 * PS_HOUR);
    PS_CHECK(ps_ledger_read(writer.ledger, &last, 1, on_last, &writer) == PS_OK);
    ps_loop_run(writer.loop);
    return 1;
}

static pid_t start_writer(const char *path, int *out)
{
    int ends[2];
    char *const words[] = {(char *)(uintptr_t) "test_rollup", (char *)(uintptr_t) "writer",
                           (char *)(uintptr_t)path, NULL};
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execv("/proc/self/exe", words);
        _exit(127);
    }
    close(ends[1]);
    *out = ends[0];
    return child;
}

static void assert_one_written(const char *path, const struct written *written)
{
    int64_t from = written->minute > written->since ? written->minute : written->since;
    for (int track = 0; track < TRACKS && from < written->minute + 60; track++) {
        struct ps_history_roll any = truth(track, from, written->minute + 60);
        if (any.count > 0) {
            assert_minute(path, track, written->minute, from, written->minute + 60);
        }
    }
}

/* What the writer said was written is there as it was. Returns how many minutes. */
static int assert_written(const char *path, int fd)
{
    struct written written;
    int minutes = 0;
    while (read(fd, &written, sizeof written) == sizeof written) {
        assert_one_written(path, &written);
        minutes++;
    }
    close(fd);
    return minutes;
}

/* Whatever else there is, is whole. */
static void assert_no_torn_row(const char *path)
{
    assert_int_equal(number_of(path, "SELECT count(*) FROM history_minutes WHERE NOT "
                                     "(low <= mean AND mean <= high AND low <= last AND last <= high AND "
                                     "low <= p95 AND p95 <= high AND count BETWEEN 1 AND 60 AND "
                                     "start_s % 60 = 0)"),
                     0);
    assert_int_equal(number_of(path, "SELECT count(*) FROM history_minute WHERE (high IS NULL) <> (mean IS NULL) "
                                     "OR (high IS NULL) <> (last IS NULL) OR (high IS NULL) <> (p95 IS NULL)"),
                     0);
    assert_int_equal(number_of(path, "SELECT count(*) FROM history_minute WHERE track NOT IN "
                                     "(SELECT id FROM history_track)"),
                     0);
    assert_int_equal(
        number_of(path, "SELECT count(*) FROM history_hours h WHERE (low, high, count) <> "
                        "(SELECT min(low), max(high), sum(count) FROM history_minutes m WHERE m.track = h.track "
                        "AND m.start_s >= h.start_s AND m.start_s < h.start_s + 3600)"),
        0);
    assert_int_equal(number_of(path, "SELECT count(*) = 1 AND max(integrity_check) = 'ok' FROM pragma_integrity_check"), 1);
}

static void no_finished_minute_is_lost_by_kill_9(void **state)
{
    struct stage stage = {0};
    struct timespec now;
    int minutes = 0;
    (void)state;
    clock_gettime(CLOCK_REALTIME, &now);
    struct ps_rng rng = ps_rng_make((uint64_t)now.tv_nsec);
    print_message("# seed %ld\n", (long)now.tv_nsec);
    tree_open(&stage.tree);
    (void)snprintf(stage.path, sizeof stage.path, "%s/ledger.db", stage.tree.root);
    for (int i = 0; i < KILLS; i++) {
        int out;
        int status;
        pid_t child = start_writer(stage.path, &out);
        /* Half of them at any moment, opening included; half once it has written a minute. */
        struct written first = {0};
        bool heard = i % 2 == 1 && read(out, &first, sizeof first) == sizeof first;
        long wait = (long)ps_rng_below(&rng, 150) * 1000000;
        (void)nanosleep(&(const struct timespec){.tv_nsec = wait}, NULL);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status)); /* it had not failed before */
        if (heard) {
            assert_one_written(stage.path, &first);
            minutes++;
        }
        minutes += assert_written(stage.path, out);
    }
    assert_no_torn_row(stage.path);
    print_message("# %d minutes told as written, %" PRId64 " hours made\n", minutes,
                  number_of(stage.path, "SELECT count(DISTINCT start_s) FROM history_hour"));
    assert_true(minutes >= KILLS / 2);
    tree_close(&stage.tree);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "writer") == 0) {
        return run_writer(argv[2]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minutes_and_hours_are_stored_as_they_were),
        cmocka_unit_test(a_restart_goes_on_with_minute_and_hour),
        cmocka_unit_test(an_hour_that_ended_without_us_is_made_at_the_next_start),
        cmocka_unit_test(old_rows_go),
        cmocka_unit_test(a_file_that_was_replaced_gets_its_tracks_again),
        cmocka_unit_test(what_is_read_is_what_was),
        cmocka_unit_test(no_finished_minute_is_lost_by_kill_9),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
