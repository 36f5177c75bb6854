/* secret - a key that a command reads from a file, so that no list of processes shows it.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_SECRET_H
#define PS_CLI_SECRET_H

#include <stddef.h>

#include "base/err.h"

#define PS_SECRET_MAX 4096 /* bytes, with the terminator */

/* Reads the first line of the file, without its end. PS_OK; PS_EIO with a reason in *why (static).
 */
PS_MUST_CHECK int ps_secret_read(const char *path, char out[PS_SECRET_MAX], const char **why);

#endif
