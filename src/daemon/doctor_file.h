/* doctor_file - small files of /proc and /sys, which are read whole or not at all.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_DOCTOR_FILE_H
#define PS_DAEMON_DOCTOR_FILE_H

#include <stddef.h>

#include "base/buf.h"
#include "base/str.h"

/* The first `size` bytes of a file, read into `room`; empty when it can't be read. */
struct ps_str ps_doctor_file(const char *path, char *room, size_t size);

/* Appends a file to an empty buffer, up to its limit. PS_OK, or why not. */
PS_MUST_CHECK int ps_doctor_file_all(const char *path, struct ps_buf *out);

#endif
