#include "daemon/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/condition.h"
#include "base/log.h"
#include "base/spawn.h"
#include "base/str.h"
#include "daemon/access_line.h"

enum {
    RING_BYTES = 4 * 1024 * 1024,
    BATCH_BYTES = 64 * 1024, /* this much is written without waiting for more */
    BATCH_MS = 50,           /* a line waits for others that long */
    STUCK_MS = 2000          /* at the end: without progress for this long, the rest is lost */
};

/* Whole lines in a ring without a seam: a line that does not fit behind the last one goes to the
 * front, and `wrap` says where the lines behind end.
 *
 *      | free [tail ... lines ... head) free |
 *      | ... lines ... head) free [tail ... lines ... wrap) free |
 */
struct ring {
    char *bytes;
    size_t head;
    size_t tail;
    size_t wrap; /* 0 = not wrapped */
};

struct ps_access_log {
    pthread_mutex_t mutex; /* around what follows, but for the thread's own */
    pthread_cond_t wakes;
    struct ring ring;
    bool idle; /* the thread waits without a deadline */
    bool reopen;
    bool stopping;
    struct ps_access_log_stats stats;

    struct ps_metrics *metrics; /* or NULL */
    struct ps_metric_handle *handles[2];

    /* the thread's own */
    pthread_t thread;
    char *path; /* NULL = standard error */
    int fd;
    bool regular;
    bool torn; /* a line was begun and not ended: the next one must not go on behind it */
};

/* --- the ring --------------------------------------------------------------------------------- */

static size_t waiting(const struct ring *ring)
{
    return ring->wrap == 0 ? ring->head - ring->tail : ring->wrap - ring->tail + ring->head;
}

static bool put(struct ring *ring, struct ps_str line)
{
    if (ring->wrap == 0 && RING_BYTES - ring->head < line.len && ring->tail > line.len) {
        ring->wrap = ring->head;
        ring->head = 0;
    }
    size_t end = ring->wrap == 0 ? RING_BYTES : ring->tail - 1;
    if (end - ring->head < line.len) {
        return false;
    }
    memcpy(ring->bytes + ring->head, line.ptr, line.len);
    ring->head += line.len;
    return true;
}

/* The lines that lie in one piece at the front of the queue. */
static struct ps_str front(const struct ring *ring)
{
    size_t end = ring->wrap == 0 ? ring->head : ring->wrap;
    return (struct ps_str){ring->bytes + ring->tail, end - ring->tail};
}

static void drop(struct ring *ring, size_t n)
{
    ring->tail += n;
    if (ring->wrap != 0 && ring->tail == ring->wrap) {
        ring->tail = 0;
        ring->wrap = 0;
    }
    if (ring->wrap == 0 && ring->tail == ring->head) {
        ring->tail = ring->head = 0; /* touch few pages */
    }
}

/* --- the destination -------------------------------------------------------------------------- */

static int open_path(const char *path, int *out)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd < 0) {
        return ps_err_from_errno(errno);
    }
    *out = fd;
    return PS_OK;
}

static void look_at(struct ps_access_log *log)
{
    struct stat info;
    log->regular = fstat(log->fd, &info) == 0 && S_ISREG(info.st_mode);
}

/* The program's log hears of a change, not of each line; where both go to standard error it would not
 * arrive either. */
static void note(struct ps_access_log *log, int err, const char *event)
{
    pthread_mutex_lock(&log->mutex);
    int before = log->stats.error;
    log->stats.error = err;
    pthread_mutex_unlock(&log->mutex);
    if (err != before && log->path != NULL) {
        ps_log(err == PS_OK ? PS_LOG_INFO : PS_LOG_WARN, event, "path", log->path, "reason", ps_err_text(err), NULL);
    }
}

static void note_error(struct ps_access_log *log, int err)
{
    note(log, err, err == PS_OK ? "the access log is written again" : "the access log loses lines");
}

static void open_again(struct ps_access_log *log)
{
    int fd = -1;
    if (log->path == NULL) {
        return;
    }
    int err = open_path(log->path, &fd);
    if (err != PS_OK) {
        note(log, err, "the access log can't be opened again, the old file stays in use");
        return;
    }
    close(log->fd);
    log->fd = fd;
    log->torn = false;
    look_at(log);
}

static bool is_stopping(struct ps_access_log *log)
{
    pthread_mutex_lock(&log->mutex);
    bool stopping = log->stopping;
    pthread_mutex_unlock(&log->mutex);
    return stopping;
}

/* Waits until a pipe or terminal takes a page; not longer than the end of the program may take. */
static bool wait_for_room(struct ps_access_log *log)
{
    struct pollfd item = {.fd = log->fd, .events = POLLOUT};
    int waited = 0;
    while (poll(&item, 1, BATCH_MS) == 0) {
        waited = is_stopping(log) ? waited + BATCH_MS : 0;
        if (waited >= STUCK_MS) {
            return false;
        }
    }
    return true;
}

/* How much is written at once: files take anything; a pipe takes a page without blocking, and whole
 * lines keep other writers' lines apart. */
static size_t portion(const struct ps_access_log *log, struct ps_str lines)
{
    if (log->regular || lines.len <= PIPE_BUF) {
        return lines.len;
    }
    size_t len = PIPE_BUF;
    while (len > 0 && lines.ptr[len - 1] != '\n') {
        len--;
    }
    return len > 0 ? len : PIPE_BUF;
}

/* Ends the line that a failure has left half written. */
static bool mend(struct ps_access_log *log)
{
    if (log->torn && write(log->fd, "\n", 1) == 1) {
        log->torn = false;
    }
    return !log->torn;
}

/* Writes all of it, or as much as can be written; returns how much that was. */
static size_t write_all(struct ps_access_log *log, struct ps_str lines)
{
    size_t done = 0;
    while (done < lines.len && mend(log)) {
        struct ps_str rest = ps_str_skip(lines, done);
        if (!log->regular && !wait_for_room(log)) {
            note_error(log, PS_ETIMEOUT);
            break;
        }
        ssize_t n = write(log->fd, rest.ptr, portion(log, rest));
        if (n >= 0) {
            done += (size_t)n;
        } else if (errno != EINTR && errno != EAGAIN) {
            note_error(log, ps_err_from_errno(errno));
            break;
        }
    }
    if (done == lines.len) {
        note_error(log, PS_OK);
    } else if (done > 0) {
        log->torn = log->regular && lines.ptr[done - 1] != '\n';
    }
    return done;
}

static uint64_t count_lines(struct ps_str text)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < text.len; i++) {
        lines += text.ptr[i] == '\n';
    }
    return lines;
}

/* --- the thread ------------------------------------------------------------------------------- */

/* Sleeps until there is something to write, and then a little longer for more. Holds the mutex. */
static void wait_for_lines(struct ps_access_log *log)
{
    while (!log->stopping && !log->reopen && waiting(&log->ring) == 0) {
        log->idle = true;
        pthread_cond_wait(&log->wakes, &log->mutex);
    }
    log->idle = false;
    struct timespec until = ps_condition_deadline(BATCH_MS * PS_MILLISECOND);
    int late = 0;
    while (late == 0 && !log->stopping && !log->reopen && waiting(&log->ring) < BATCH_BYTES) {
        late = pthread_cond_timedwait(&log->wakes, &log->mutex, &until);
    }
}

/* Writes what lies in one piece; the mutex is given back meanwhile. */
static void write_front(struct ps_access_log *log)
{
    struct ps_str lines = front(&log->ring);
    pthread_mutex_unlock(&log->mutex);
    size_t written = write_all(log, lines);
    uint64_t lost = count_lines(ps_str_skip(lines, written));
    pthread_mutex_lock(&log->mutex);
    log->stats.dropped += lost;
    drop(&log->ring, lines.len);
}

static void *run(void *ctx)
{
    struct ps_access_log *log = ctx;
    pthread_mutex_lock(&log->mutex);
    while (!log->stopping || waiting(&log->ring) > 0) {
        wait_for_lines(log);
        /* What came before the request to reopen belongs into the old file. */
        bool reopen = log->reopen;
        for (size_t left = waiting(&log->ring); left > 0;) {
            size_t piece = front(&log->ring).len;
            write_front(log);
            left -= piece < left ? piece : left;
        }
        if (reopen) {
            log->reopen = false;
            pthread_mutex_unlock(&log->mutex);
            open_again(log);
            pthread_mutex_lock(&log->mutex);
        }
    }
    pthread_mutex_unlock(&log->mutex);
    return NULL;
}

/* --- the outside ------------------------------------------------------------------------------ */

static int open_destination(struct ps_access_log *log, const char *destination)
{
    int err = PS_OK;
    if (strcmp(destination, "stderr") == 0) {
        log->fd = STDERR_FILENO;
    } else {
        log->path = ps_str_dup(ps_str_from(destination));
        err = log->path == NULL ? PS_ENOMEM : open_path(log->path, &log->fd);
    }
    if (err == PS_OK) {
        look_at(log);
    }
    return err;
}

static void release(struct ps_access_log *log)
{
    if (log->path != NULL && log->fd >= 0) {
        close(log->fd);
    }
    free(log->path);
    free(log->ring.bytes);
    pthread_cond_destroy(&log->wakes);
    pthread_mutex_destroy(&log->mutex);
    free(log);
}

int ps_access_log_new(struct ps_access_log **out, const char *destination)
{
    struct ps_access_log *log = calloc(1, sizeof *log);
    if (log == NULL) {
        return PS_ENOMEM;
    }
    ps_condition_init(&log->wakes);
    pthread_mutex_init(&log->mutex, NULL);
    log->fd = -1;
    log->ring.bytes = malloc(RING_BYTES);
    int err = log->ring.bytes == NULL ? PS_ENOMEM : open_destination(log, destination);
    err = err != PS_OK ? err : ps_spawn(&log->thread, run, log);
    if (err != PS_OK) {
        release(log);
        return err;
    }
    *out = log;
    return PS_OK;
}

void ps_access_log_free(struct ps_access_log *log)
{
    if (log == NULL) {
        return;
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(log->handles); i++) {
        if (log->handles[i] != NULL) {
            ps_metric_unwatch(log->metrics, log->handles[i], log);
        }
    }
    pthread_mutex_lock(&log->mutex);
    log->stopping = true;
    pthread_cond_signal(&log->wakes);
    pthread_mutex_unlock(&log->mutex);
    pthread_join(log->thread, NULL);
    release(log);
}

void ps_access_log_write(struct ps_access_log *log, const struct ps_record *record)
{
    char text[PS_ACCESS_LINE];
    if (log == NULL) {
        return;
    }
    struct ps_str line = {text, ps_access_line(text, record)};
    pthread_mutex_lock(&log->mutex);
    bool taken = put(&log->ring, line);
    log->stats.lines += taken;
    log->stats.dropped += !taken;
    size_t now = waiting(&log->ring);
    bool wake = log->idle || (now >= BATCH_BYTES && now - line.len < BATCH_BYTES);
    log->idle = false;
    pthread_mutex_unlock(&log->mutex);
    if (wake) {
        pthread_cond_signal(&log->wakes);
    }
}

void ps_access_log_reopen(struct ps_access_log *log)
{
    if (log != NULL) {
        pthread_mutex_lock(&log->mutex);
        log->reopen = true;
        pthread_cond_signal(&log->wakes);
        pthread_mutex_unlock(&log->mutex);
    }
}

void ps_access_log_stats(struct ps_access_log *log, struct ps_access_log_stats *out)
{
    pthread_mutex_lock(&log->mutex);
    *out = log->stats;
    pthread_mutex_unlock(&log->mutex);
}

/* --- metrics ---------------------------------------------------------------------------------- */

enum { ROW_LINES, ROW_DROPPED };

/* clang-format off */
const struct ps_metric_family ps_access_log_metric_families[] = {
    [ROW_LINES] = {.name = "penstock_access_log_lines_total", .type = PS_METRIC_COUNTER,
     .help = "Lines that the access log took over"},
    [ROW_DROPPED] = {.name = "penstock_access_log_dropped_total", .type = PS_METRIC_COUNTER,
     .help = "Lines of the access log that were lost, because the disk was full or too slow"},
    {0},
};
/* clang-format on */

static double read_lines(void *context)
{
    struct ps_access_log_stats stats;
    ps_access_log_stats(context, &stats);
    return (double)stats.lines;
}

static double read_dropped(void *context)
{
    struct ps_access_log_stats stats;
    ps_access_log_stats(context, &stats);
    return (double)stats.dropped;
}

int ps_access_log_publish(struct ps_access_log *log, struct ps_metrics *metrics)
{
    static ps_metric_read *const reads[] = {[ROW_LINES] = read_lines, [ROW_DROPPED] = read_dropped};
    const char *bad = NULL;
    int err = ps_metrics_declare(metrics, ps_access_log_metric_families, &bad);
    PS_CHECK(bad == NULL);
    log->metrics = metrics;
    for (size_t i = 0; i < PS_ARRAY_LEN(reads) && err == PS_OK; i++) {
        err = ps_metric_watch(metrics, &ps_access_log_metric_families[i], NULL, reads[i], log, &log->handles[i]);
    }
    return err;
}
