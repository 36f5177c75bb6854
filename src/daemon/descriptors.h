/* descriptors - how many files and sockets this process has open.
 *
 * Listing /proc/self/fd would make the kernel name each of them: for ten thousand connections that
 * takes ten milliseconds, which control does not have, and which requests feel on a core that they
 * share with it. Since Linux 6.2 the folder's size is the number; before, poll() tells hundreds at
 * a time which are open.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_DESCRIPTORS_H
#define PS_DAEMON_DESCRIPTORS_H

#include <stddef.h>

#include "base/err.h"

/* By the quickest way that this kernel has. PS_OK, or PS_EIO: it can't be told. */
PS_MUST_CHECK int ps_descriptors_count(size_t *out);

/* The way of older kernels, the same number: a tenth of a microsecond for each place in the table
 * of descriptors. */
PS_MUST_CHECK int ps_descriptors_poll(size_t *out);

#endif
