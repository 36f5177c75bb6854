/* control_reload - the configuration read again, and what of it a running process can't take over.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_CONTROL_RELOAD_H
#define PS_DAEMON_CONTROL_RELOAD_H

#include "base/err.h"
#include "daemon/control.h"

/* Reads opts->path under the command line as it was. Mistakes go to stderr with file, line and field; changes
 * against `before` that need a restart are logged. PS_OK, and the caller owns *out; or an error. */
PS_MUST_CHECK int ps_control_reload(const struct ps_control_opts *opts, const struct ps_config *before,
                                    struct ps_config **out);

#endif
