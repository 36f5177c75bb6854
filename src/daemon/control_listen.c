/* control_listen - see control_listen.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "daemon/control_listen.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

void ps_control_log_listen(const char *what, const char *address, int err)
{
    if (err == PS_OK) {
        ps_log(PS_LOG_INFO, what, "address", address, NULL);
    } else {
        ps_log(PS_LOG_ERROR, "can't listen", "address", address, "reason", ps_err_text(err), NULL);
    }
}

/* Each worker has a descriptor of its own for each address: the kernel spreads the connections. A second
 * process on the same address would share them silently, so the first bind is tried without sharing. */
static int probe_free(const struct ps_address *address)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno == EAFNOSUPPORT ? PS_EUNREACHABLE : ps_err_from_errno(errno);
    }
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    int err = bind(fd, (const struct sockaddr *)&address->storage, address->len) == 0
                  ? PS_OK
                  : ps_err_from_errno(errno);
    close(fd);
    return err;
}

int ps_control_find_addresses(const struct ps_option_strings *listen, bool optional, struct ps_address *addresses,
                              size_t *count)
{
    *count = 0;
    for (size_t i = 0; i < listen->count && *count < PS_CONTROL_LISTEN_MAX; i++) {
        int err = ps_address_parse(ps_str_from(listen->items[i]), &addresses[*count]);
        err = err != PS_OK ? err : probe_free(&addresses[*count]);
        bool no_v6 = err == PS_EUNREACHABLE && optional && *count > 0;
        if (no_v6) {
            ps_log(PS_LOG_DEBUG, "this machine has no such address", "address", listen->items[i], NULL);
            continue;
        }
        if (err != PS_OK) {
            ps_control_log_listen("", listen->items[i], err);
            return err;
        }
        (*count)++;
    }
    return PS_OK;
}

int ps_control_open_listeners(struct ps_address *addresses, size_t count, int *fds)
{
    for (size_t i = 0; i < count; i++) {
        int err = ps_listen(&addresses[i], &fds[i]);
        if (err != PS_OK) {
            while (i > 0) {
                close(fds[--i]);
            }
            return err;
        }
        if (ps_address_port(&addresses[i]) == 0) { /* the next workers share the port that was picked */
            struct ps_address bound = {.len = sizeof bound.storage};
            getsockname(fds[i], (struct sockaddr *)&bound.storage, &bound.len);
            addresses[i] = bound;
        }
    }
    return PS_OK;
}
