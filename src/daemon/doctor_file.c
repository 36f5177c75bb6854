#include "daemon/doctor_file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { PIECE = 16 * 1024 };

struct ps_str ps_doctor_file(const char *path, char *room, size_t size)
{
    size_t len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (fd >= 0 && len < size) {
        ssize_t n = read(fd, room + len, size - len);
        if (n <= 0) {
            break;
        }
        len += (size_t)n;
    }
    if (fd >= 0) {
        close(fd);
    }
    return (struct ps_str){room, len};
}

int ps_doctor_file_all(const char *path, struct ps_buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return ps_err_from_errno(errno);
    }
    int err = PS_OK;
    for (ssize_t n = 1; err == PS_OK && n > 0;) {
        err = ps_buf_reserve(out, PIECE);
        n = err == PS_OK ? read(fd, out->data + out->len, PIECE) : 0;
        err = n < 0 ? ps_err_from_errno(errno) : err;
        out->len += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    return err;
}
