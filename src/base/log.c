#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PAIRS = 24 }; /* of one line; what is beyond is left out */

static _Atomic int least_level = PS_LOG_INFO;

/* Whoever logs reads both under the lock, so that a tap that was taken away is not in use. */
static pthread_rwlock_t tap_lock = PTHREAD_RWLOCK_INITIALIZER;
static ps_log_tap *tap;
static void *tap_ctx;

struct line {
    char text[2048];
    size_t len;
};

void ps_log_set_level(enum ps_log_level level)
{
    atomic_store(&least_level, (int)level);
}

/* Long lines are cut, not wrapped: room for the final newline is kept. */
static void put(struct line *line, const char *text, size_t len)
{
    size_t room = sizeof line->text - 1 - line->len;
    len = len < room ? len : room;
    memcpy(line->text + line->len, text, len);
    line->len += len;
}

static void put_text(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

static void put_escaped(struct line *line, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        char escape[8];
        if (c < 0x20 || c == 0x7f) {
            snprintf(escape, sizeof escape, "\\x%02x", c);
            put_text(line, escape);
        } else if (c == '"' || c == '\\') {
            put_text(line, c == '"' ? "\\\"" : "\\\\");
        } else {
            put(line, text, 1);
        }
    }
}

static bool is_bare(const char *value)
{
    for (const char *at = value; *at != '\0'; at++) {
        if ((unsigned char)*at <= ' ' || *at == 0x7f || strchr("\"=\\", *at) != NULL) {
            return false;
        }
    }
    return *value != '\0';
}

static void put_pair(struct line *line, const char *key, const char *value)
{
    const char *quote = is_bare(value) ? "" : "\"";
    put_text(line, " ");
    put_text(line, key);
    put_text(line, "=");
    put_text(line, quote);
    put_escaped(line, value);
    put_text(line, quote);
}

static void put_time(struct line *line)
{
    struct timespec at;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &at);
    gmtime_r(&at.tv_sec, &utc);
    line->len += strftime(line->text, sizeof line->text, "%Y-%m-%dT%H:%M:%S", &utc);
    line->len +=
        (size_t)snprintf(line->text + line->len, 16, ".%03dZ", (int)(at.tv_nsec / 1000000));
}

void ps_log_set_tap(ps_log_tap *new_tap, void *ctx)
{
    pthread_rwlock_wrlock(&tap_lock);
    tap = new_tap;
    tap_ctx = ctx;
    pthread_rwlock_unlock(&tap_lock);
}

static void tell(enum ps_log_level level, const char *event, const struct ps_log_pair *pairs,
                 size_t count)
{
    pthread_rwlock_rdlock(&tap_lock);
    if (tap != NULL) {
        tap(tap_ctx, level, event, pairs, count);
    }
    pthread_rwlock_unlock(&tap_lock);
}

static void write_line(enum ps_log_level level, const char *event, const struct ps_log_pair *pairs,
                       size_t count)
{
    static const char *const names[] = {" debug ", " info  ", " warn  ", " error "};
    struct line line = {.len = 0};
    put_time(&line);
    put_text(&line, names[level]);
    put_escaped(&line, event);
    for (size_t i = 0; i < count; i++) {
        put_pair(&line, pairs[i].key, pairs[i].value);
    }
    line.text[line.len++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line.text, line.len);
    (void)ignored;
}

void ps_log(enum ps_log_level level, const char *event, ...)
{
    struct ps_log_pair pairs[PAIRS];
    size_t count = 0;
    bool written = (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed);
    if (!written && level < PS_LOG_INFO) {
        return;
    }
    va_list args;
    va_start(args, event);
    for (const char *key = va_arg(args, const char *); key != NULL && count < PAIRS;
         key = va_arg(args, const char *)) {
        const char *value = va_arg(args, const char *);
        pairs[count++] = (struct ps_log_pair){key, value == NULL ? "" : value};
    }
    va_end(args);
    if (written) {
        write_line(level, event, pairs, count);
    }
    if (level >= PS_LOG_INFO) {
        tell(level, event, pairs, count);
    }
}
