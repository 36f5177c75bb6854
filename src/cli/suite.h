/* suite - penstock suite: all load tests of a service, one after the other, in one report.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_SUITE_H
#define PS_CLI_SUITE_H

#include "base/args.h"

extern const struct ps_command ps_suite_command;

#endif
