/* attribution - which servers a process that uses a GPU works for, by the sockets that listen.
 *
 * A server is known by its address; who listens there is seldom the process that has the memory.
 * So one look at /proc finds, for each process that a driver named, the listening sockets of its
 * kin, nearest first:
 *
 *      itself          llama.cpp, Triton, ComfyUI
 *      above it        vLLM's EngineCore and workers, Ollama's runners: their parent listens
 *      below it        a launcher that holds memory and has a child that listens
 *      its group       the same container or systemd unit: ranks under mpirun, Ray's workers
 *
 * Kin is what the kernel says, not a guess by names or command lines; but for docker-proxy, whose
 * command line says which container a published port leads to. In other network name spaces than
 * ours a socket is reached by the addresses that are local there.
 *
 * Processes that belong to others can be looked into only with their user's id or CAP_SYS_PTRACE.
 *
 * Thread: what was found is constant and counted; a watch belongs to the thread that samples.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_ATTRIBUTION_H
#define PS_GPU_ATTRIBUTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"

#define PS_ATTRIBUTION_USERS_MAX 1024 /* processes that are looked at */

/* Nearest first. */
enum ps_attribution_kin {
    PS_ATTRIBUTION_NONE,
    PS_ATTRIBUTION_SELF,  /* it listens itself */
    PS_ATTRIBUTION_ABOVE, /* a process above it in the tree does */
    PS_ATTRIBUTION_BELOW,
    PS_ATTRIBUTION_GROUP /* another one of its container or systemd unit does */
};

/* What the process is to the one that listens: "", "self", "child", "parent", "group". */
extern const char *const ps_attribution_kin_names[];

/* Where a socket listens; IPv4 is mapped (::ffff:127.0.0.1). */
struct ps_attribution_address {
    uint8_t bytes[16]; /* network order; all zero: every address, IPv4 too */
    uint16_t port;
};

/* A process that uses a GPU. */
struct ps_attribution_user {
    uint32_t pid;
    uint64_t started; /* clock ticks after boot */
};

#define PS_ATTRIBUTION_TEXT 64

/* "127.0.0.1:8000", "[::1]:8000", "*:8000"; written into text[PS_ATTRIBUTION_TEXT] and returned. */
const char *ps_attribution_text(const struct ps_attribution_address *address, char *text);

struct ps_attribution;

/* Looks at ROOT/proc. Beyond the bound above processes are left out. PS_OK, PS_ENOMEM, or what
 * keeps ROOT/proc from being read: PS_ENOTFOUND, PS_EDENIED, PS_EIO. Takes milliseconds on machines
 * with hundreds of processes. */
PS_MUST_CHECK int ps_attribution_scan(struct ps_attribution **out, const char *root,
                                      const struct ps_attribution_user *users, size_t count);
struct ps_attribution *ps_attribution_ref(struct ps_attribution *found);
void ps_attribution_unref(struct ps_attribution *found); /* NULL is fine */

/* Was this process looked at? Its place among the users; else SIZE_MAX. */
size_t ps_attribution_place(const struct ps_attribution *found, uint32_t pid, uint64_t started);
size_t ps_attribution_count(const struct ps_attribution *found); /* of users */

/* How the user at a place is related to who answers at this address, asked from our own network
 * name space. *steps: how far up or down the tree. */
enum ps_attribution_kin ps_attribution_find(const struct ps_attribution *found, size_t place,
                                            const struct ps_attribution_address *address,
                                            unsigned *steps);

/* Some of its kin could not be looked into. */
bool ps_attribution_denied(const struct ps_attribution *found, size_t place);

/* Where the process itself and those above it listen, the n-th; false beyond the last. */
bool ps_attribution_listens(const struct ps_attribution *found, size_t place, size_t n,
                            struct ps_attribution_address *out);

/* What it cost: processes seen, and those of which the sockets were read. */
struct ps_attribution_cost {
    size_t seen, read;
    ps_span took; /* as the watch measured it */
};
struct ps_attribution_cost ps_attribution_cost(const struct ps_attribution *found);

/* When to look again: at once for a process that is new, at most once a second; otherwise after 5,
 * 10, 20, ... seconds, a minute at most, for a server listens later than it loads. What took long
 * rests a thousand times as long. {0} is a watch that has not looked yet. */
struct ps_attribution_watch {
    struct ps_attribution *latest; /* NULL: nothing yet */
    ps_time ended;                 /* of the latest look */
    ps_span wait;
};

void ps_attribution_watch_fini(struct ps_attribution_watch *watch);

/* Looks if it is time; returns when it is time again. Users are these now. */
ps_time ps_attribution_watch_step(struct ps_attribution_watch *watch, const char *root,
                                  const struct ps_clock *clock,
                                  const struct ps_attribution_user *users, size_t count);

#endif
