/* doctor - `penstock doctor`: finds out what is wrong with an installation, and says what to do.
 *
 *      penstock doctor [--config FILE] [--upstream URL]... [--json] [--verbose] [--timeout 3s]
 *
 * Looks at the program, the configuration, who may come in, certificates, files, ports, limits,
 * upstreams and clocks. It changes nothing anywhere: of a server it asks only with GET, and only
 * what its documentation calls harmless. It ends within the timeout (and what reading files takes),
 * whatever the other side does. No secret is printed.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_DOCTOR_H
#define PS_DAEMON_DOCTOR_H

#include "base/args.h"

/* Exit status: 0 healthy, 1 a warning, 3 an error, 2 wrong usage (as with every command). */
extern const struct ps_command ps_doctor_command;

#endif
