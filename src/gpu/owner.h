/* owner - whose process it is: its name, when it started, and the container that it runs in.
 *
 * Drivers tell process ids as the host counts them. Inside a container that has ids of its own they
 * name other processes or none, so there nothing is looked up, unless the host's /proc is mounted
 * somewhere and that place is the root.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_OWNER_H
#define PS_GPU_OWNER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define PS_OWNER_CONTAINER 65  /* bytes of a container's id: 64 digits and the end */
#define PS_OWNER_GROUP     128 /* bytes of what names a group, with the end */

struct ps_owner {
    char name[64]; /* as the kernel has it: 15 characters of a program, or what it calls itself */
    uint32_t parent;                    /* process id; 0 = none */
    uint64_t started;                   /* clock ticks after boot */
    char container[PS_OWNER_CONTAINER]; /* "" = in none that we know */
};

/* Are the process ids in ROOT/proc those of the host, as drivers count them? */
bool ps_owner_sees_host(const char *root);

/* Reads ROOT/proc/PID. PS_OK; PS_ENOTFOUND when there is no such process or ids are not the host's;
 * PS_EPARSE when the system's files are not what they should be; PS_EIO, PS_EDENIED. */
PS_MUST_CHECK int ps_owner_read(const char *root, uint32_t pid, struct ps_owner *out);

/* The parts of it, pure. A line of /proc/PID/stat (proc(5)): PS_OK or PS_EPARSE. */
PS_MUST_CHECK int ps_owner_parse_stat(struct ps_str text, struct ps_owner *out);

/* Finds the id (64 hexadecimal digits) of a container in the lines of /proc/PID/cgroup, as Docker,
 * containerd, CRI-O and Podman put it there, cgroup v1 and v2. False, and "" in out, when there is
 * none. */
bool ps_owner_parse_cgroup(struct ps_str text, char out[PS_OWNER_CONTAINER]);

/* Finds in the same lines what keeps the processes of one service together: the container, or the
 * unit of systemd (the end of its path, where that is long). False, and "" in out, when they are
 * only those of a login or of nothing. */
bool ps_owner_parse_group(struct ps_str text, char out[PS_OWNER_GROUP]);

#endif
