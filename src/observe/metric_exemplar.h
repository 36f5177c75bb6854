/* metric_exemplar - the place where a series remembers a trace that a value of it came from.
 *
 * One slot for a counter, one for each bucket of a histogram. All threads write the same slots;
 * who finds one taken, or fresh enough, goes away without waiting: any recent trace will do.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_OBSERVE_METRIC_EXEMPLAR_H
#define PS_OBSERVE_METRIC_EXEMPLAR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "observe/metric.h"

/* All zero = nothing remembered. */
struct ps_exemplar_slot {
    _Atomic uint64_t turn; /* odd while somebody writes */
    _Atomic uint64_t words[5];
};

/* Remembers it unless what is there is younger than PS_EXEMPLAR_REST or just being written. */
void ps_exemplar_put(struct ps_exemplar_slot *slot, const struct ps_exemplar *exemplar);

/* False when there is none, or when writers are quicker than we are. */
bool ps_exemplar_get(struct ps_exemplar_slot *slot, struct ps_exemplar *out);

#endif
