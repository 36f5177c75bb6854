#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/yaml.h"

enum { PIECE = 16 * 1024 };

static int read_all(int fd, size_t largest, struct ps_buf *out)
{
    for (;;) {
        int err = ps_buf_reserve(out, PIECE);
        if (err != PS_OK) {
            return err;
        }
        ssize_t n = read(fd, out->data + out->len, PIECE);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? ps_err_from_errno(errno) : PS_OK;
        }
        out->len += (size_t)n;
        if (out->len > largest) {
            return PS_ELIMIT;
        }
    }
}

int ps_config_read_file(const char *path, size_t largest, bool regular, struct ps_buf *out,
                        bool *is_public)
{
    struct stat st;
    /* Opening a pipe that nobody writes to must not hang where only a file is wanted. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | (regular ? O_NONBLOCK : 0));
    if (fd < 0) {
        return ps_err_from_errno(errno);
    }
    struct ps_buf text = ps_buf_make(largest + 2 * PIECE);
    int err = fstat(fd, &st) != 0 ? ps_err_from_errno(errno) : PS_OK;
    if (err == PS_OK && (S_ISDIR(st.st_mode) || (regular && !S_ISREG(st.st_mode)))) {
        err = PS_EINVAL;
    }
    err = err == PS_OK ? read_all(fd, largest, &text) : err;
    close(fd);
    if (err != PS_OK) {
        ps_buf_fini(&text);
        return err;
    }
    if (is_public != NULL) {
        *is_public = (st.st_mode & S_IROTH) != 0;
    }
    *out = text;
    return PS_OK;
}

char *ps_config_resolve(const struct ps_config_source *source, const char *path)
{
    char *joined = NULL;
    if (path[0] == '/' || source->folder == NULL || strcmp(source->folder, ".") == 0) {
        return strdup(path);
    }
    return asprintf(&joined, "%s/%s", source->folder, path) < 0 ? NULL : joined;
}
