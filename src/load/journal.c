/* journal - see journal.h.
 *
 *      second --line--> pending --(the journal's thread)--> file --fdatasync, every few seconds--> disk
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "load/journal_line.h"
#include "load/reader.h"

#define PENDING_MAX (64u << 20)     /* a disk that hangs for longer than this holds costs the journal, not the run */
#define FLUSH_EVERY (5 * PS_SECOND) /* a machine that loses power loses so much, a killed program nothing */

struct ps_journal {
    char path[PATH_MAX];
    pthread_t thread;
    pthread_mutex_t mutex; /* over what follows */
    pthread_cond_t wake;
    struct ps_buf pending; /* lines not yet taken by the thread */
    bool ending;
    int err;
    /* Owned by the thread: */
    int fd;
    struct ps_buf writing;
    ps_time flushed;
};

static int say(struct ps_report_error *error, const char *path, int number)
{
    snprintf(error->text, sizeof error->text, "%.400s: %s", path, strerror(number));
    return ps_err_from_errno(number);
}

int ps_journal_path(const char *report, enum ps_report_kind kind, struct ps_buf *out)
{
    report = strcmp(report, "-") == 0 ? PS_REPORT_FILE : report;
    int err = ps_buf_printf(out, "%s.%s.journal", report, ps_report_word(kind));
    err = err == PS_OK ? ps_buf_append(out, "", 1) : err;
    out->len -= err == PS_OK ? 1 : 0;
    return err;
}

/* ------------------------------------------------------------------------------ the thread */

static int write_all(int fd, struct ps_str text)
{
    while (text.len > 0) {
        ssize_t n = write(fd, text.ptr, text.len);
        if (n < 0 && errno != EINTR) {
            return ps_err_from_errno(errno);
        }
        text = ps_str_skip(text, n > 0 ? (size_t)n : 0);
    }
    return PS_OK;
}

static void fail(struct ps_journal *journal, int err)
{
    pthread_mutex_lock(&journal->mutex);
    journal->err = journal->err == PS_OK ? err : journal->err;
    pthread_mutex_unlock(&journal->mutex);
}

/* Takes what is pending; false: there is nothing more, and never will be. */
static bool take(struct ps_journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    while (journal->pending.len == 0 && !journal->ending) {
        pthread_cond_wait(&journal->wake, &journal->mutex);
    }
    struct ps_buf taken = journal->pending;
    journal->pending = journal->writing;
    journal->writing = taken;
    pthread_mutex_unlock(&journal->mutex);
    return taken.len > 0;
}

static void *write_lines(void *arg)
{
    struct ps_journal *journal = arg;
    while (take(journal)) {
        int err = write_all(journal->fd, ps_buf_str(&journal->writing));
        ps_buf_clear(&journal->writing);
        ps_time now = ps_clock_now(&ps_clock_real);
        if (err == PS_OK && now - journal->flushed >= FLUSH_EVERY) {
            err = fdatasync(journal->fd) == 0 ? PS_OK : ps_err_from_errno(errno);
            journal->flushed = now;
        }
        if (err != PS_OK) {
            fail(journal, err);
        }
    }
    return NULL;
}

/* -------------------------------------------------------------------------------- beginning */

/* Where the last whole line of an open file ends. */
static int find_end(int fd, off_t *end)
{
    char piece[4096];
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return errno;
    }
    for (off_t at = info.st_size; at > 0;) {
        size_t want = at < (off_t)sizeof piece ? (size_t)at : sizeof piece;
        ssize_t n = pread(fd, piece, want, at - (off_t)want);
        if (n != (ssize_t)want) {
            return n < 0 ? errno : EIO;
        }
        const char *last = memrchr(piece, '\n', want);
        if (last != NULL) {
            *end = at - (off_t)want + (last - piece) + 1;
            return 0;
        }
        at -= (off_t)want;
    }
    *end = 0;
    return 0;
}

static int start(struct ps_journal **out, const char *path, int fd, struct ps_report_error *error)
{
    struct ps_journal *journal = calloc(1, sizeof *journal);
    if (journal == NULL || strlen(path) >= sizeof journal->path) {
        free(journal);
        close(fd);
        return say(error, path, journal == NULL ? ENOMEM : ENAMETOOLONG);
    }
    memcpy(journal->path, path, strlen(path) + 1);
    journal->fd = fd;
    journal->pending = journal->writing = ps_buf_make(PENDING_MAX);
    journal->flushed = ps_clock_now(&ps_clock_real);
    pthread_mutex_init(&journal->mutex, NULL);
    pthread_cond_init(&journal->wake, NULL);
    int number = pthread_create(&journal->thread, NULL, write_lines, journal);
    if (number != 0) {
        pthread_cond_destroy(&journal->wake);
        pthread_mutex_destroy(&journal->mutex);
        close(fd);
        free(journal);
        return say(error, path, number);
    }
    *out = journal;
    return PS_OK;
}

/* A run that was killed may still want its report: its journal is moved, not overwritten. */
static int move_aside(const char *path, struct ps_report_error *error)
{
    char old[PATH_MAX];
    int n = snprintf(old, sizeof old, "%s.old", path);
    if (n < 0 || (size_t)n >= sizeof old) {
        return say(error, path, ENAMETOOLONG);
    }
    return rename(path, old) == 0 || errno == ENOENT ? PS_OK : say(error, old, errno);
}

/* Hands over a line: `call` appends it to the pending ones. */
#define ADD_LINE(journal, call)                                                                    \
    do {                                                                                           \
        pthread_mutex_lock(&(journal)->mutex);                                                     \
        size_t before_ = (journal)->pending.len;                                                   \
        int err_ = (journal)->err == PS_OK ? (call) : PS_OK;                                       \
        if (err_ != PS_OK) {                                                                       \
            (journal)->pending.len = before_; /* no half lines */                                  \
            (journal)->err = err_;                                                                 \
        }                                                                                          \
        pthread_cond_signal(&(journal)->wake);                                                     \
        pthread_mutex_unlock(&(journal)->mutex);                                                   \
    } while (0)

int ps_journal_new(struct ps_journal **out, const char *path, const struct ps_report_section *test,
                   struct ps_report_error *error)
{
    struct ps_journal *journal = NULL;
    int err = move_aside(path, error);
    if (err != PS_OK) {
        return err;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) {
        return say(error, path, errno);
    }
    err = start(&journal, path, fd, error);
    if (err == PS_OK) {
        ADD_LINE(journal, ps_journal_write_test(test, &journal->pending));
        *out = journal;
    }
    return err;
}

int ps_journal_resume(struct ps_journal **out, const char *path, struct ps_report_error *error)
{
    off_t end = 0;
    int fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC);
    if (fd < 0) {
        return say(error, path, errno);
    }
    int number = find_end(fd, &end);
    number = number == 0 && ftruncate(fd, end) != 0 ? errno : number;
    if (number != 0) {
        close(fd);
        return say(error, path, number);
    }
    return start(out, path, fd, error);
}

/* ------------------------------------------------------------------------------------ lines */

void ps_journal_second(struct ps_journal *journal, const struct ps_second *second)
{
    ADD_LINE(journal, ps_journal_write_second(second, &journal->pending));
}

void ps_journal_point(struct ps_journal *journal, const struct ps_report_point *point)
{
    ADD_LINE(journal, ps_journal_write_point(point, &journal->pending));
}

int ps_journal_error(struct ps_journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    int err = journal->err;
    pthread_mutex_unlock(&journal->mutex);
    return err;
}

void ps_journal_free(struct ps_journal *journal, bool keep)
{
    if (journal == NULL) {
        return;
    }
    pthread_mutex_lock(&journal->mutex);
    journal->ending = true;
    pthread_cond_signal(&journal->wake);
    pthread_mutex_unlock(&journal->mutex);
    pthread_join(journal->thread, NULL);
    if (keep) {
        (void)fdatasync(journal->fd);
    } else {
        unlink(journal->path);
    }
    close(journal->fd);
    ps_buf_fini(&journal->pending);
    ps_buf_fini(&journal->writing);
    pthread_cond_destroy(&journal->wake);
    pthread_mutex_destroy(&journal->mutex);
    free(journal);
}

/* ---------------------------------------------------------------------------------- reading */

static int read_lines(struct ps_reader *reader, struct ps_journal_reading *reading, const char *path,
                      const struct ps_journal_ops *ops, void *ctx, struct ps_report_error *error)
{
    struct ps_reader_error why = {""};
    struct ps_report_error wrong = {""};
    struct ps_str line;
    int err, bad = PS_OK;
    while ((err = ps_reader_line(reader, &line, &why)) == PS_OK) {
        if (bad != PS_OK) { /* a bad line that is not the last one is no torn one */
            snprintf(error->text, sizeof error->text, "%.300s:%llu: %.300s", path,
                     (unsigned long long)ps_reader_line_number(reader) - 1, wrong.text);
            return bad;
        }
        wrong.text[0] = '\0';
        bad = ps_journal_read_line(reading, line, ops, ctx, &wrong);
        if (bad != PS_OK && (bad != PS_EPARSE || ps_reader_line_number(reader) == 1)) {
            snprintf(error->text, sizeof error->text, "%.300s: %.300s", path,
                     wrong.text[0] == '\0' ? ps_err_text(bad) : wrong.text);
            return bad;
        }
    }
    if (err == PS_ENOTFOUND && ps_reader_line_number(reader) > 0) {
        return PS_OK;
    }
    snprintf(error->text, sizeof error->text, "%.300s: %.300s", path,
             err == PS_ENOTFOUND ? "an empty file" : why.text);
    return err == PS_ENOTFOUND || err == PS_ELIMIT ? PS_EPARSE : err;
}

int ps_journal_read(const char *path, const struct ps_journal_ops *ops, void *ctx, struct ps_report_error *error)
{
    struct ps_reader *reader = NULL;
    struct ps_reader_error why;
    struct ps_journal_reading *reading = NULL;
    int err = ps_reader_open(&reader, path, &why);
    if (err != PS_OK) {
        snprintf(error->text, sizeof error->text, "%s", why.text);
        return err;
    }
    err = ps_journal_reading_new(&reading);
    if (err == PS_OK) {
        err = read_lines(reader, reading, path, ops, ctx, error);
    } else {
        snprintf(error->text, sizeof error->text, "%s", ps_err_text(err));
    }
    ps_journal_reading_free(reading);
    ps_reader_close(reader);
    return err;
}
