/* doctor_text - what the doctor reads: files of /proc and /sys, dates, versions.
 *
 * Pure: text in, figures out. Sources are other programs and other machines, so whatever does not
 * have the expected shape is PS_EPARSE (or false), never a guess.
 *
 * Thread: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_DOCTOR_TEXT_H
#define PS_DAEMON_DOCTOR_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "io/address.h"

#define PS_DOCTOR_UNLIMITED UINT64_MAX

/* A socket that listens. */
struct ps_doctor_socket {
    struct ps_address at;
    uint64_t uid;
    uint64_t inode;
};

/* Takes lines off /proc/net/tcp or /proc/net/tcp6 up to the next socket in the state LISTEN
 * (proc(5); the address is a word, or four, in the machine's byte order). False at the end. Lines
 * of another shape are passed over. */
bool ps_doctor_next_socket(struct ps_str *rest, struct ps_doctor_socket *out);

/* Would a socket that is bound to `wanted` collide with one that listens on `held`? Same port and
 * same address, or one of the two is every address. "[::]" counts as IPv4 too. */
bool ps_doctor_collides(const struct ps_address *wanted, const struct ps_address *held);

/* The row "Max open files" of /proc/PID/limits; "unlimited" is PS_DOCTOR_UNLIMITED. */
PS_MUST_CHECK int ps_doctor_read_descriptors(struct ps_str text, uint64_t *soft, uint64_t *hard);

/* A row of /proc/meminfo such as "MemTotal", in bytes. */
PS_MUST_CHECK int ps_doctor_read_meminfo(struct ps_str text, struct ps_str row, uint64_t *bytes);

/* The path of the unified hierarchy in /proc/PID/cgroup ("0::/a/b"); empty when there is none. */
struct ps_str ps_doctor_cgroup(struct ps_str text);

/* A number of bytes or "max" (cgroup v2: memory.max). */
PS_MUST_CHECK int ps_doctor_read_max(struct ps_str text, uint64_t *bytes);

/* cgroup v2 cpu.max, "200000 100000" or "max 100000", as cores; 0 = no bound. */
PS_MUST_CHECK int ps_doctor_read_quota(struct ps_str text, double *cores);

/* Two numbers with blanks between, as in ip_local_port_range. */
PS_MUST_CHECK int ps_doctor_read_pair(struct ps_str text, uint64_t *low, uint64_t *high);

/* One number with white space around it. */
PS_MUST_CHECK int ps_doctor_read_number(struct ps_str text, uint64_t *out);

/* A Date header (RFC 9110 5.6.7, IMF-fixdate: "Sun, 06 Nov 1994 08:49:37 GMT") as seconds since
 * 1970. The two obsolete forms are PS_EPARSE: no server of today writes them. */
PS_MUST_CHECK int ps_doctor_read_date(struct ps_str text, int64_t *seconds);

/* The compiler's __DATE__ ("Nov  6 1994") likewise, midnight UTC. */
PS_MUST_CHECK int ps_doctor_read_build_date(struct ps_str text, int64_t *seconds);

/* The number in front of the first dot of a version; PS_EPARSE when there is none. */
PS_MUST_CHECK int ps_doctor_read_major(struct ps_str version, uint64_t *major);

#endif
