/* output - see output.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/output.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 0 or an errno. */
static int write_stream(FILE *file, struct ps_str text)
{
    bool whole = text.len == 0 || fwrite(text.ptr, 1, text.len, file) == text.len;
    return whole && fflush(file) == 0 ? 0 : errno;
}

static int write_file(const char *path, struct ps_str text)
{
    char beside[PATH_MAX + 32];
    struct stat info;
    bool in_place = stat(path, &info) == 0 && !S_ISREG(info.st_mode); /* a pipe, /dev/null */
    snprintf(beside, sizeof beside, in_place ? "%s" : "%s.%ld.tmp", path, (long)getpid());
    FILE *file = fopen(beside, "we");
    if (file == NULL) {
        return errno;
    }
    int number = write_stream(file, text);
    number = fclose(file) != 0 && number == 0 ? errno : number;
    number = number == 0 && !in_place && rename(beside, path) != 0 ? errno : number;
    if (number != 0 && !in_place) {
        unlink(beside);
    }
    return number;
}

int ps_output_write(const char *command, const char *path, int made, const struct ps_buf *text)
{
    bool out = strcmp(path, "-") == 0;
    if (made != PS_OK) {
        fprintf(stderr, "penstock %s: %s: %s\n", command, path, ps_err_text(made));
        return made;
    }
    int number = out ? write_stream(stdout, ps_buf_str(text)) : write_file(path, ps_buf_str(text));
    if (number == 0) {
        return PS_OK;
    }
    fprintf(stderr, "penstock %s: %s: %s\n", command, out ? "standard output" : path, strerror(number));
    return ps_err_from_errno(number);
}
