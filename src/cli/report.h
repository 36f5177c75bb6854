/* report - penstock report: a report, or the journal of a run that was killed, shown again.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_REPORT_H
#define PS_CLI_REPORT_H

#include "base/args.h"

extern const struct ps_command ps_report_command;

#endif
