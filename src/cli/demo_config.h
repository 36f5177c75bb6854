/* demo_config - the configuration that a gateway of the demo serves with.
 *
 * Thread: pure, but for the file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_DEMO_CONFIG_H
#define PS_CLI_DEMO_CONFIG_H

#include <stdbool.h>

#include "base/err.h"

struct ps_demo_config {
    const char *listen;         /* address and port */
    const char *const *servers; /* URLs of PS_DEMO_SERVERS; the one that is shared has its models */
    bool cleans;                /* frees GPU memory: one gateway does, or they would do it twice */
    const char *nodes; /* of a Redis Cluster, host:port, with commas between; NULL = none */
};

/* Writes the file: the equal servers behind one upstream, the shared one behind another, answers
 * remembered wherever the same question has the same answer. PS_OK, PS_EIO, PS_ELIMIT or PS_ENOMEM.
 */
PS_MUST_CHECK int ps_demo_config_write(const struct ps_demo_config *config, const char *path);

#endif
