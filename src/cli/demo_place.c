/* demo_place - see demo_place.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/demo_place.h"

#include <unistd.h>

#include "base/check.h"
#include "io/stream.h"

/* SO_REUSEPORT lets us listen beside another program of the same user: whether the port is taken is
 * told by a connection, not by a bind. */
bool ps_demo_place_is_taken(const struct ps_address *address)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool taken =
        fd >= 0 && connect(fd, (const struct sockaddr *)&address->storage, address->len) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return taken;
}

/* Finds a free port at the address (its port 0), or tells whether its port is free. */
static int try_address(struct ps_loop *loop, struct ps_address *address)
{
    struct ps_listener *listener = NULL;
    int fd = -1;
    int err = ps_listen(address, &fd);
    if (err != PS_OK) {
        return err;
    }
    err = ps_listener_adopt(&listener, loop, fd, NULL, NULL);
    if (err == PS_OK) {
        *address = *ps_listener_address(listener);
        ps_listener_free(listener);
    }
    return err;
}

/* The ports that were given: the kernel may offer one again before its user listens there. */
static uint16_t given[64];
static size_t given_count;

static bool was_given(uint16_t port)
{
    for (size_t i = 0; i < given_count && i < PS_ARRAY_LEN(given); i++) {
        if (given[i] == port) {
            return true;
        }
    }
    return false;
}

int ps_demo_place_free(struct ps_loop *loop, struct ps_address *out)
{
    int err;
    size_t tries = 0;
    do {
        err = ps_address_parse(PS_STR("127.0.0.1:0"), out);
        err = err == PS_OK ? try_address(loop, out) : err;
    } while (err == PS_OK && was_given((uint16_t)ps_address_port(out)) && ++tries < 100);
    given[given_count++ % PS_ARRAY_LEN(given)] = (uint16_t)ps_address_port(out);
    return err;
}

int ps_demo_place_take(struct ps_loop *loop, struct ps_address *address, bool *moved)
{
    int err = ps_demo_place_is_taken(address) ? PS_EINUSE : try_address(loop, address);
    *moved = err == PS_EINUSE;
    if (err == PS_EINUSE) {
        ps_address_set_port(address, 0);
        err = try_address(loop, address);
    }
    return err;
}
