/* machine - how busy this machine is, as penstock_machine_*: processors and memory, not only ours.
 *
 * proc_stat(5), proc_meminfo(5). In a container they are the whole machine's, unless somebody stands
 * in for them.
 *
 * Thread: whoever collects.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_MACHINE_H
#define PS_DAEMON_MACHINE_H

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"
#include "observe/metric.h"

extern const struct ps_metric_family ps_machine_metric_families[];

struct ps_machine;

/* PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_machine_new(struct ps_machine **out, struct ps_metrics *metrics);
void ps_machine_free(struct ps_machine *machine); /* before the registry; NULL is fine */

/* Reads the first line of proc_stat(5): seconds since the start, of all processors together, in
 * which they worked, and in which they did not (idle, or waiting for a disk). `ticks` is how many
 * make a second. False: it says something else. */
bool ps_machine_parse_stat(struct ps_str text, double ticks, double *busy, double *idle);

/* Reads proc_meminfo(5): the share of memory that is not available. False: it says something else. */
bool ps_machine_parse_memory(struct ps_str text, double *used_ratio);

#endif
