/* file - see file.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define NUMBER_MAX 64

static int open_file(const char *root, const char *path, int *fd)
{
    char whole[PATH_MAX];
    int len = snprintf(whole, sizeof whole, "%s/%s", root, path);
    if (len < 0 || (size_t)len >= sizeof whole) {
        return PS_ELIMIT;
    }
    *fd = open(whole, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd >= 0) {
        return PS_OK;
    }
    return errno == ENOENT || errno == ESRCH || errno == ENOTDIR ? PS_ENOTFOUND
           : errno == EACCES || errno == EPERM                   ? PS_EDENIED
                                                                 : PS_EIO;
}

int ps_file_read(const char *root, const char *path, char *buf, size_t size, struct ps_str *out)
{
    int fd;
    int err = open_file(root, path, &fd);
    if (err != PS_OK) {
        return err;
    }
    size_t len = 0;
    ssize_t got = 0;
    do {
        len += (size_t)got;
        got = len < size ? read(fd, buf + len, size - len) : 0;
    } while (got > 0);
    /* A process that ended while we read is gone. */
    err = got == 0 ? PS_OK : errno == ESRCH ? PS_ENOTFOUND : PS_EIO;
    (void)close(fd);
    if (err == PS_OK) {
        *out = (struct ps_str){buf, len};
    }
    return err;
}

int ps_file_read_u64(const char *root, const char *path, uint64_t *out)
{
    char text[NUMBER_MAX];
    struct ps_str all;
    int err = ps_file_read(root, path, text, sizeof text, &all);
    if (err != PS_OK) {
        return err;
    }
    if (all.len > 0 && all.ptr[all.len - 1] == '\n') {
        all.len--;
    }
    return ps_str_to_u64(all, out) == PS_OK ? PS_OK : PS_EPARSE;
}
