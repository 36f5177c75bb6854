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

int ps_output_write(const char *command, const char *path, const json_t *document,
                    int (*write)(const json_t *, struct ps_buf *))
{
    struct ps_buf text = ps_buf_make(PS_OUTPUT_MAX);
    int err = write(document, &text);
    const char *why = ps_err_text(err);
    if (err == PS_OK) {
        int number = strcmp(path, "-") == 0 ? write_stream(stdout, ps_buf_str(&text))
                                            : write_file(path, ps_buf_str(&text));
        err = number == 0 ? PS_OK : ps_err_from_errno(number);
        why = strerror(number);
    }
    if (err != PS_OK) {
        fprintf(stderr, "penstock %s: %s: %s\n", command, strcmp(path, "-") == 0 ? "standard output" : path, why);
    }
    ps_buf_fini(&text);
    return err;
}
