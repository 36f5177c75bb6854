#include "daemon/descriptors.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

enum { STATUS_MOST = 4096, AT_ONCE = 256 };

/* Places in the table of descriptors: the line "FDSize:\t256" of proc_pid_status(5). */
static int table_size(uint64_t *out)
{
    char text[STATUS_MOST];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (fd >= 0) {
        close(fd);
    }
    struct ps_str rest = {text, len > 0 ? (size_t)len : 0};
    struct ps_str line;
    while (ps_str_split(&rest, '\n', &line)) {
        if (ps_str_starts_with(line, PS_STR("FDSize:"))) {
            return ps_str_to_u64(ps_str_trim(ps_str_skip(line, PS_STR("FDSize:").len)), out);
        }
    }
    return PS_EIO;
}

int ps_descriptors_poll(size_t *out)
{
    struct pollfd some[AT_ONCE];
    uint64_t size = 0;
    size_t count = 0;
    if (table_size(&size) != PS_OK) {
        return PS_EIO;
    }
    for (uint64_t from = 0; from < size; from += AT_ONCE) {
        for (int i = 0; i < AT_ONCE; i++) {
            some[i] = (struct pollfd){.fd = (int)from + i};
        }
        if (poll(some, AT_ONCE, 0) < 0) {
            return PS_EIO;
        }
        for (int i = 0; i < AT_ONCE; i++) {
            count += (some[i].revents & POLLNVAL) != 0 ? 0 : 1;
        }
    }
    *out = count;
    return PS_OK;
}

int ps_descriptors_count(size_t *out)
{
    struct stat folder;
    if (stat("/proc/self/fd", &folder) == 0 && folder.st_size > 0) {
        *out = (size_t)folder.st_size;
        return PS_OK;
    }
    return ps_descriptors_poll(out);
}
