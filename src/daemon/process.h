/* process - what the program says about itself: version, memory, CPU, descriptors, buffered bytes.
 *
 * Thread: any; the values are read when somebody collects.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_PROCESS_H
#define PS_DAEMON_PROCESS_H

#include "base/err.h"
#include "observe/metric.h"

struct ps_budget;
struct ps_process;

extern const struct ps_metric_family ps_process_metric_families[];

/* Declares and publishes the rows. `budget` outlives the result. PS_OK, PS_ENOMEM, PS_EINVAL. */
PS_MUST_CHECK int ps_process_new(struct ps_process **out, struct ps_metrics *metrics, struct ps_budget *budget);
void ps_process_free(struct ps_process *process); /* NULL is fine */

#endif
