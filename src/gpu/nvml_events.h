/* nvml_events - Xid errors as they come, counted.
 *
 * The library only tells of the latest in a gauge; whoever listens hears each. Listening blocks, so
 * it has a thread of its own, which touches nothing but its counts.
 *
 * Thread: start, read and stop by the one that samples.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_NVML_EVENTS_H
#define PS_GPU_NVML_EVENTS_H

#include "gpu/device.h"
#include "gpu/nvml_card.h"

struct ps_nvml_events;

/* Listens to these cards, which it knows by their places. PS_OK; PS_ENOTFOUND when none of them
 * tells of Xids or the library can't; PS_ENOMEM; PS_ELIMIT when the system gives no thread. */
PS_MUST_CHECK int ps_nvml_events_start(struct ps_nvml_events **out, struct ps_nvml_library *library,
                                       const struct ps_nvml_card *cards, size_t count);

/* Copies what came of card i since we listen. False when that card does not tell. */
bool ps_nvml_events_read(struct ps_nvml_events *events, size_t i, struct ps_device_xids *out);

/* Ends the thread and frees; NULL is fine. False when the library did not let it go within
 * `patience`: it is left behind then, and the library must stay. */
bool ps_nvml_events_stop(struct ps_nvml_events *events, ps_span patience);

/* Adds to the i-th card's what was counted before, by another set. */
void ps_nvml_events_merge(struct ps_nvml_events *events, size_t i,
                          const struct ps_device_xids *before);

#endif
