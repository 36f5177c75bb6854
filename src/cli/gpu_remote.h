/* gpu_remote - `penstock gpu --url`: what a running Penstock knows of GPUs and servers.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_GPU_REMOTE_H
#define PS_CLI_GPU_REMOTE_H

#include <stdbool.h>

#include "base/clock.h"

struct ps_gpu_remote_opts {
    const char *url;
    const char *token;   /* or NULL */
    const char *ca_file; /* or NULL */
    bool insecure;
    bool json;
    bool watch;
    ps_span every; /* with watch */
};

/* Asks and shows, once or until a signal ends it; the exit status. */
int ps_gpu_remote_run(const struct ps_gpu_remote_opts *opts);

#endif
