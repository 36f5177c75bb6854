/* file - small files of the system, read whole, under a root that tests choose.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_FILE_H
#define PS_GPU_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* Reads ROOT/PATH, at most `size` bytes of it, into buf; *out views what was read. `root` is "" for
 * the system's own, path has no slash at its beginning. PS_OK, PS_ENOTFOUND, PS_EDENIED, PS_EIO;
 * PS_ELIMIT when the path is too long. */
PS_MUST_CHECK int ps_file_read(const char *root, const char *path, char *buf, size_t size,
                               struct ps_str *out);

/* Reads a file that holds one decimal number. PS_OK, or as above, or PS_EPARSE. */
PS_MUST_CHECK int ps_file_read_u64(const char *root, const char *path, uint64_t *out);

#endif
