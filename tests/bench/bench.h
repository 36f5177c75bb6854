/* bench - what the load client and the bench upstream share: the clock, the checksum, the poller.
 *
 * Nothing here comes from src/, so that the measure is not made of the thing measured. Both
 * programs run on one machine and read the same monotonic clock: a time that the upstream writes
 * into a stream can be subtracted from the time at which the client sees it.
 *
 * Thread: pure functions on what they are given; both programs have one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BENCH_BENCH_H
#define PS_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#define BENCH_MS        1000000ll
#define BENCH_SEC       1000000000ll
#define BENCH_FNV_START 14695981039346656037ull

/* Monotonic time in nanoseconds. */
static inline int64_t bench_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * BENCH_SEC + ts.tv_nsec;
}

/* FNV-1a, 64 bits: goes on from hash over len more bytes. */
static inline uint64_t bench_fnv(uint64_t hash, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ (unsigned char)data[i]) * 1099511628211ull;
    }
    return hash;
}

/* Prints why and ends the program: neither has anything to save. */
static inline void bench_die(const char *what)
{
    perror(what);
    exit(2);
}

/* Timers fire when they are due instead of up to 50 us later, and descriptors suffice for
 * thousands of streams. */
static inline void bench_prepare(void)
{
    prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* epoll_wait() until an absolute time in nanoseconds; INT64_MAX waits without end. */
static inline int bench_wait(int epfd, struct epoll_event *events, int max, int64_t until)
{
    if (until == INT64_MAX) {
        return epoll_pwait2(epfd, events, max, NULL, NULL);
    }
    int64_t left = until - bench_now();
    if (left < 0) {
        left = 0;
    }
    struct timespec ts = {.tv_sec = left / BENCH_SEC, .tv_nsec = left % BENCH_SEC};
    return epoll_pwait2(epfd, events, max, &ts, NULL);
}

/* The value of header `name` (with its colon, lower case) in a head of len bytes, or NULL.
 * *value_len is its length without surrounding blanks. */
static inline const char *bench_header(const char *head, size_t len, const char *name,
                                       size_t *value_len)
{
    size_t name_len = strlen(name);
    const char *end = head + len;
    for (const char *line = head; line < end;) {
        const char *eol = memchr(line, '\n', (size_t)(end - line));
        if (eol == NULL) {
            return NULL;
        }
        if ((size_t)(eol - line) >= name_len && strncasecmp(line, name, name_len) == 0) {
            const char *value = line + name_len;
            const char *stop = eol;
            while (value < stop && (*value == ' ' || *value == '\t')) {
                value++;
            }
            while (stop > value && (stop[-1] == '\r' || stop[-1] == ' ')) {
                stop--;
            }
            *value_len = (size_t)(stop - value);
            return value;
        }
        line = eol + 1;
    }
    return NULL;
}

/* Decoder of chunked transfer coding, a byte range at a time. */
enum bench_chunk_state {
    BENCH_CHUNK_SIZE,    /* in the size line */
    BENCH_CHUNK_DATA,    /* in the data of a chunk */
    BENCH_CHUNK_CRLF,    /* in the line end behind the data */
    BENCH_CHUNK_TRAILER, /* behind the last chunk, up to an empty line */
    BENCH_CHUNK_DONE,
    BENCH_CHUNK_BAD,
};

struct bench_chunked {
    enum bench_chunk_state state;
    uint64_t left; /* of the chunk's data, or the size as read so far */
    unsigned line; /* bytes in the line so far */
    bool ext;      /* behind the size's digits */
};

static inline int bench_hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static inline void bench_chunk_size(struct bench_chunked *ch, char c)
{
    if (c == '\n') {
        if (ch->line == 0) {
            ch->state = BENCH_CHUNK_BAD;
        } else {
            ch->state = ch->left > 0 ? BENCH_CHUNK_DATA : BENCH_CHUNK_TRAILER;
        }
        ch->line = 0;
        ch->ext = false;
        return;
    }
    int digit = bench_hex(c);
    if (ch->ext || c == '\r' || c == ';') {
        ch->ext = true;
    } else if (digit < 0 || ch->line >= 8) {
        ch->state = BENCH_CHUNK_BAD;
    } else {
        ch->left = ch->left * 16 + (unsigned)digit;
        ch->line++;
    }
}

static inline void bench_chunk_line(struct bench_chunked *ch, char c)
{
    if (c == '\r') {
        return;
    }
    if (c != '\n') {
        ch->line++;
    } else if (ch->state == BENCH_CHUNK_CRLF) {
        ch->state = ch->line == 0 ? BENCH_CHUNK_SIZE : BENCH_CHUNK_BAD;
    } else {
        ch->state = ch->line == 0 ? BENCH_CHUNK_DONE : BENCH_CHUNK_TRAILER;
        ch->line = 0;
    }
}

/* Reads up to len bytes and stops behind the first piece of data: *piece of *piece_len bytes
 * (0 when there was none). Returns how many bytes it took. */
static inline size_t bench_chunked_read(struct bench_chunked *ch, const char *data, size_t len,
                                        const char **piece, size_t *piece_len)
{
    *piece = data;
    *piece_len = 0;
    size_t at = 0;
    while (at < len && ch->state < BENCH_CHUNK_DONE) {
        if (ch->state == BENCH_CHUNK_SIZE) {
            bench_chunk_size(ch, data[at++]);
        } else if (ch->state == BENCH_CHUNK_DATA) {
            size_t take = len - at < ch->left ? len - at : (size_t)ch->left;
            *piece = data + at;
            *piece_len = take;
            ch->left -= take;
            if (ch->left == 0) {
                ch->state = BENCH_CHUNK_CRLF;
            }
            return at + take;
        } else {
            bench_chunk_line(ch, data[at++]);
        }
    }
    return at;
}

#endif
