/* reader - see reader.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#define PIECE (64u * 1024u)

extern char **environ;

struct ps_reader {
    gzFile gz;    /* plain and gzip */
    int pipe;     /* xz: what it writes; -1 = none */
    pid_t xz;     /* 0 = none */
    char *data;   /* what was read: [at, len) is not yet given */
    size_t at;
    size_t len;
    size_t cap;
    uint64_t lines;
    bool ended;
};

static int fail(struct ps_reader_error *error, int err, const char *what, const char *why)
{
    snprintf(error->text, sizeof error->text, "%s%s%s", what, why[0] == '\0' ? "" : ": ", why);
    return err;
}

/* -------------------------------------------------------------------------------- xz process */

/* Starts `xz -dc` from an open file into *from. */
static int spawn_xz(int file, pid_t *pid, int *from, struct ps_reader_error *error)
{
    static char name[] = "xz";
    static char option[] = "-dcqq";
    char *const argv[] = {name, option, NULL};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return fail(error, PS_EIO, "pipe", strerror(errno));
    }
    posix_spawn_file_actions_t actions;
    int failed = posix_spawn_file_actions_init(&actions);
    if (failed == 0) {
        failed = posix_spawn_file_actions_adddup2(&actions, file, STDIN_FILENO);
        failed = failed != 0 ? failed
                             : posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
        failed = failed != 0 ? failed : posix_spawnp(pid, name, &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    close(ends[1]);
    if (failed != 0) {
        close(ends[0]);
        *pid = 0;
        return fail(error, PS_EIO, failed == ENOENT ? "the program xz is needed to read this file"
                                                    : "starting xz", strerror(failed));
    }
    *from = ends[0];
    return PS_OK;
}

/* Waits for the decompressor. True when it ended well. */
static bool reap_xz(struct ps_reader *reader)
{
    int status = 0;
    pid_t pid = reader->xz;
    reader->xz = 0;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return false;
        }
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ----------------------------------------------------------------------------------- opening */

static int open_content(struct ps_reader *reader, int file, struct ps_reader_error *error)
{
    static const unsigned char xz_magic[6] = {0xfd, '7', 'z', 'X', 'Z', 0};
    unsigned char magic[6] = {0};
    struct stat info;
    if (fstat(file, &info) == 0 && S_ISDIR(info.st_mode)) {
        return fail(error, PS_EIO, "it is a directory", "");
    }
    ssize_t got = pread(file, magic, sizeof magic, 0);
    if (got == (ssize_t)sizeof magic && memcmp(magic, xz_magic, sizeof magic) == 0) {
        return spawn_xz(file, &reader->xz, &reader->pipe, error);
    }
    int copy = fcntl(file, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
        return fail(error, PS_EIO, "opening", strerror(errno));
    }
    reader->gz = gzdopen(copy, "rb");
    if (reader->gz == NULL) {
        close(copy);
        return fail(error, PS_ENOMEM, "out of memory", "");
    }
    return PS_OK;
}

int ps_reader_open(struct ps_reader **out, const char *path, struct ps_reader_error *error)
{
    struct ps_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) {
        return fail(error, PS_ENOMEM, "out of memory", "");
    }
    reader->pipe = -1;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    int err = PS_OK;
    if (file < 0) {
        err = fail(error, errno == ENOENT ? PS_ENOTFOUND : PS_EIO, strerror(errno), "");
    } else {
        err = open_content(reader, file, error);
        close(file);
    }
    if (err != PS_OK) {
        ps_reader_close(reader);
        return err;
    }
    *out = reader;
    return PS_OK;
}

void ps_reader_close(struct ps_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    if (reader->gz != NULL) {
        (void)gzclose_r(reader->gz);
    }
    if (reader->pipe >= 0) {
        close(reader->pipe);
    }
    if (reader->xz > 0) {
        (void)kill(reader->xz, SIGTERM);
        (void)reap_xz(reader);
    }
    free(reader->data);
    free(reader);
}

/* ----------------------------------------------------------------------------------- reading */

static int read_pipe(struct ps_reader *reader, char *into, size_t room, size_t *got,
                     struct ps_reader_error *error)
{
    ssize_t n = -1;
    do {
        n = read(reader->pipe, into, room);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return fail(error, PS_EIO, "reading", strerror(errno));
    }
    if (n == 0 && reader->xz > 0 && !reap_xz(reader)) {
        return fail(error, PS_EIO, "xz could not decompress the file", "");
    }
    *got = (size_t)n;
    return PS_OK;
}

static int read_gz(struct ps_reader *reader, char *into, size_t room, size_t *got,
                   struct ps_reader_error *error)
{
    int n = gzread(reader->gz, into, (unsigned)room);
    int code = Z_OK;
    const char *why = gzerror(reader->gz, &code);
    /* A gzip file that was cut off ends with Z_BUF_ERROR and no negative count. */
    if (n < 0 || code == Z_BUF_ERROR || code == Z_DATA_ERROR) {
        return fail(error, PS_EIO, "the file is damaged",
                    code == Z_ERRNO ? strerror(errno) : why);
    }
    *got = (size_t)n;
    return PS_OK;
}

/* Reads more behind what is there. PS_OK, also at the end (then ended is set). */
static int fill(struct ps_reader *reader, struct ps_reader_error *error)
{
    if (reader->at > 0) {
        memmove(reader->data, reader->data + reader->at, reader->len - reader->at);
        reader->len -= reader->at;
        reader->at = 0;
    }
    if (reader->cap - reader->len < PIECE) {
        char *data = realloc(reader->data, reader->cap + 2 * (size_t)PIECE);
        if (data == NULL) {
            return fail(error, PS_ENOMEM, "out of memory", "");
        }
        reader->data = data;
        reader->cap += 2 * (size_t)PIECE;
    }
    size_t got = 0;
    char *into = reader->data + reader->len;
    int err = reader->pipe >= 0 ? read_pipe(reader, into, PIECE, &got, error)
                                : read_gz(reader, into, PIECE, &got, error);
    if (err == PS_OK) {
        reader->len += got;
        reader->ended = got == 0;
    }
    return err;
}

static struct ps_str cut_line(struct ps_reader *reader, size_t len, size_t line_end)
{
    struct ps_str line = {reader->data + reader->at, len};
    reader->at += len + line_end;
    reader->lines++;
    if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
        line.len--;
    }
    return line;
}

int ps_reader_line(struct ps_reader *reader, struct ps_str *line, struct ps_reader_error *error)
{
    size_t searched = 0;
    for (;;) {
        size_t held = reader->len - reader->at;
        const char *from = held == 0 ? NULL : reader->data + reader->at;
        const char *end =
            held > searched ? memchr(from + searched, '\n', held - searched) : NULL;
        size_t len = end != NULL ? (size_t)(end - from) : held;
        if (len > PS_READER_LINE_MAX) {
            return fail(error, PS_ELIMIT, "the line is longer than 1 MiB", "");
        }
        if (end != NULL || (reader->ended && held > 0)) {
            *line = cut_line(reader, len, end != NULL);
            return PS_OK;
        }
        if (reader->ended) {
            return PS_ENOTFOUND;
        }
        searched = held;
        int err = fill(reader, error);
        if (err != PS_OK) {
            return err;
        }
    }
}

int ps_reader_bytes(struct ps_reader *reader, void *bytes, size_t len,
                    struct ps_reader_error *error)
{
    while (reader->len - reader->at < len) {
        if (reader->ended) {
            return reader->len == reader->at
                       ? PS_ENOTFOUND
                       : fail(error, PS_EPARSE, "the file ends inside a record", "");
        }
        int err = fill(reader, error);
        if (err != PS_OK) {
            return err;
        }
    }
    memcpy(bytes, reader->data + reader->at, len);
    reader->at += len;
    return PS_OK;
}

uint64_t ps_reader_line_number(const struct ps_reader *reader)
{
    return reader->lines;
}
