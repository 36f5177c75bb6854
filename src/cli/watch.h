/* watch - memory and open files of the process under test, while it is tested.
 *
 *      --target-pid      /proc/PID: resident memory, descriptors
 *      --target-metrics  a Prometheus page: process_resident_memory_bytes and process_open_fds (or what Penstock calls
 *                        them), or series by name
 *
 * A page is asked for every few seconds on the loop; between two answers, and where a process can't be read, the values
 * are unknown.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_WATCH_H
#define PS_CLI_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct ps_loop;
struct ps_watch;

struct ps_watch_opts {
    uint64_t pid;            /* 0 = none */
    const char *metrics;     /* URL, or NULL */
    const char *memory;      /* series; NULL = process_resident_memory_bytes. Borrowed, as are all */
    const char *descriptors; /* series; NULL = process_open_fds */
};

struct ps_watch_values {
    double memory_bytes, descriptors; /* NAN: unknown */
    bool began_anew;                  /* it is another process since the last look */
};

/* Begins to watch. PS_OK; PS_ENOTFOUND (no such process, or not ours to read), PS_EINVAL (URL), PS_ENOMEM. With neither of
 * the two, nothing is ever known. */
PS_MUST_CHECK int ps_watch_new(struct ps_watch **out, struct ps_loop *loop, const struct ps_watch_opts *opts);
void ps_watch_free(struct ps_watch *watch); /* NULL is fine */

/* Once a second. */
struct ps_watch_values ps_watch_look(struct ps_watch *watch);

/* Reads memory and descriptors of a process, and when it began (clock ticks since the machine did); any may be NAN. False:
 * there is no such process. */
bool ps_watch_process(uint64_t pid, double *memory_bytes, double *descriptors, double *began);

#endif
