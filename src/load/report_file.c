/* report_file - the document on disk: whole or not at all.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "load/report_document.h"

static int say(struct ps_report_error *error, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int say(struct ps_report_error *error, int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return err;
}

/* ---------------------------------------------------------------------------------- reading */

int ps_report_parse(json_t **out, struct ps_str text, struct ps_report_error *error)
{
    json_error_t why;
    json_t *document = json_loadb(text.ptr == NULL ? "" : text.ptr, text.len, JSON_REJECT_DUPLICATES, &why);
    if (document == NULL) {
        return say(error, PS_EPARSE, "line %d: %s", why.line, why.text);
    }
    int err = ps_report_check(document, error);
    if (err != PS_OK) {
        json_decref(document);
        return err;
    }
    *out = document;
    return PS_OK;
}

static int read_all(int fd, struct ps_buf *out)
{
    for (;;) {
        int err = ps_buf_reserve(out, 65536);
        if (err != PS_OK) {
            return err;
        }
        ssize_t n = read(fd, out->data + out->len, 65536);
        if (n < 0 && errno != EINTR) {
            return ps_err_from_errno(errno);
        }
        if (n == 0) {
            return PS_OK;
        }
        out->len += n > 0 ? (size_t)n : 0;
    }
}

/* Reads and parses an open file; complaints begin with its path. */
static int read_document(json_t **out, int fd, const char *path, struct ps_report_error *error)
{
    struct ps_buf text = ps_buf_make(PS_REPORT_BYTES_MAX);
    struct ps_report_error why;
    struct stat file;
    bool folder = fstat(fd, &file) == 0 && S_ISDIR(file.st_mode);
    int err = folder ? PS_EIO : read_all(fd, &text);
    if (err != PS_OK) {
        say(error, err, "%s: %s", path,
            folder             ? "it is a directory"
            : err == PS_ELIMIT ? "too large for a report"
                               : ps_err_text(err));
    } else {
        err = ps_report_parse(out, ps_buf_str(&text), &why);
        if (err != PS_OK) {
            say(error, err, "%.300s: %.300s", path, why.text);
        }
    }
    ps_buf_fini(&text);
    return err;
}

int ps_report_load_file(json_t **out, const char *path, struct ps_report_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        int number = errno;
        return say(error, ps_err_from_errno(number), "%s: %s", path, strerror(number));
    }
    int err = read_document(out, fd, path, error);
    close(fd);
    return err;
}

/* ---------------------------------------------------------------------------------- writing */

static int write_all(int fd, struct ps_str text)
{
    while (text.len > 0) {
        ssize_t n = write(fd, text.ptr, text.len);
        if (n < 0 && errno != EINTR) {
            return errno;
        }
        text = ps_str_skip(text, n > 0 ? (size_t)n : 0);
    }
    return 0;
}

/* Writes `text` beside `path` and puts it in its place. 0 or an errno. */
static int replace(const char *path, int folder, struct ps_str text)
{
    char temporary[PATH_MAX + 32];
    snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        return errno;
    }
    int number = write_all(fd, text);
    number = number == 0 && fsync(fd) != 0 ? errno : number;
    number = close(fd) != 0 && number == 0 ? errno : number;
    number = number == 0 && rename(temporary, path) != 0 ? errno : number;
    if (number != 0) {
        unlink(temporary);
        return number;
    }
    (void)fsync(folder); /* the name; where that can't be flushed the file is there all the same */
    return 0;
}

/* The document that is at `path`, or an empty one. */
static int take_up(json_t **out, const char *path, bool force, struct ps_report_error *error)
{
    json_t *document = NULL;
    int err = ps_report_load_file(&document, path, error);
    if (err == PS_ENOTFOUND || (err == PS_EPARSE && force)) {
        document = json_object();
        err = document == NULL ? say(error, PS_ENOMEM, "%s", ps_err_text(PS_ENOMEM)) : PS_OK;
    } else if (err == PS_EPARSE) {
        size_t used = strlen(error->text);
        snprintf(error->text + used, sizeof error->text - used,
                 "; it is left as it is (--force replaces it)");
    }
    if (err == PS_OK) {
        *out = document;
    }
    return err;
}

/* The real path, so that a link stays one; that of its folder when the file is not there yet. */
static void resolve(const char *path, char *real, char *folder)
{
    if (realpath(path, real) == NULL) {
        snprintf(real, PATH_MAX, "%s", path);
    }
    snprintf(folder, PATH_MAX, "%s", real);
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", real);
    snprintf(folder, PATH_MAX, "%s", dirname(copy));
}

struct saving {
    const char *path; /* as given */
    const struct ps_report_section *section;
    bool force;
    struct ps_report_error *error;
    struct ps_buf text; /* what is to be written */
};

/* Makes the text from `document` (taken) and the section. */
static int make_text(struct saving *saving, json_t *document_take)
{
    int err = ps_report_put(document_take, saving->section);
    err = err == PS_OK ? ps_report_print(document_take, &saving->text) : err;
    json_decref(document_take);
    return err == PS_OK ? PS_OK : say(saving->error, err, "%s: %s", saving->path, ps_err_text(err));
}

/* The document with this section alone: for places that can't be read first. */
static int make_alone(struct saving *saving)
{
    json_t *document = json_object();
    saving->text.len = 0;
    return document == NULL ? say(saving->error, PS_ENOMEM, "%s", ps_err_text(PS_ENOMEM))
                            : make_text(saving, document);
}

/* Reads, changes and writes while no one else does. */
static int save_locked(struct saving *saving, const char *real, int folder)
{
    json_t *document = NULL;
    int err = take_up(&document, real, saving->force, saving->error);
    if (err != PS_OK) {
        return err;
    }
    err = make_text(saving, document);
    if (err != PS_OK) {
        return err;
    }
    int number = replace(real, folder, ps_buf_str(&saving->text));
    return number == 0 ? PS_OK
                       : say(saving->error, ps_err_from_errno(number), "%s: %s", saving->path, strerror(number));
}

static int save_file(struct saving *saving)
{
    char real[PATH_MAX], folder_path[PATH_MAX];
    resolve(saving->path, real, folder_path);
    int folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        int number = errno;
        return say(saving->error, ps_err_from_errno(number), "%s: %s", folder_path, strerror(number));
    }
    while (flock(folder, LOCK_EX) != 0 && errno == EINTR) {
    }
    int err = save_locked(saving, real, folder);
    close(folder); /* and unlocks it */
    return err;
}

/* A device or pipe: written to, never read or renamed over. */
static int save_stream(struct saving *saving)
{
    int err = make_alone(saving);
    int fd = err != PS_OK ? -1 : open(saving->path, O_WRONLY | O_CLOEXEC);
    if (err != PS_OK) {
        return err;
    }
    int number = fd < 0 ? errno : write_all(fd, ps_buf_str(&saving->text));
    if (fd >= 0) {
        close(fd);
    }
    return number == 0 ? PS_OK
                       : say(saving->error, ps_err_from_errno(number), "%s: %s", saving->path, strerror(number));
}

static int save_out(struct saving *saving)
{
    int err = make_alone(saving);
    if (err != PS_OK) {
        return err;
    }
    fwrite(saving->text.data, 1, saving->text.len, stdout);
    return fflush(stdout) == 0 ? PS_OK : say(saving->error, PS_EIO, "standard output: %s", strerror(errno));
}

/* The report could not go where it should: it goes to `rescue`, so that nothing is lost. */
static void rescue_text(struct saving *saving, FILE *rescue)
{
    struct ps_report_error first = *saving->error;
    if (rescue == NULL || (saving->text.len == 0 && make_alone(saving) != PS_OK)) {
        return;
    }
    *saving->error = first;
    fwrite(saving->text.data, 1, saving->text.len, rescue);
    if (fflush(rescue) == 0) {
        size_t used = strlen(first.text);
        snprintf(saving->error->text + used, sizeof first.text - used, "; the report went to standard output");
    }
}

int ps_report_save(const char *path, const struct ps_report_section *section, bool force, FILE *rescue,
                   struct ps_report_error *error)
{
    struct saving saving = {path, section, force, error, ps_buf_make(PS_REPORT_BYTES_MAX)};
    struct stat info;
    int err;
    if (strcmp(path, "-") == 0) {
        err = save_out(&saving);
        rescue = NULL;
    } else if (stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
        err = save_stream(&saving);
    } else {
        err = save_file(&saving);
    }
    if (err != PS_OK) {
        rescue_text(&saving, rescue);
    }
    ps_buf_fini(&saving.text);
    return err;
}
