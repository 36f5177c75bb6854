/* amdgpu_clients - which processes use AMD's cards, from the descriptors that they have open.
 *
 * Thread: the one that samples.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_AMDGPU_CLIENTS_H
#define PS_GPU_AMDGPU_CLIENTS_H

#include "gpu/device.h"

struct ps_amdgpu_clients {
    struct ps_device_process *processes; /* owned */
    size_t count;
    size_t left_out;
    bool all; /* no process was closed to us */
};

/* Looks at all processes. `buses` are the PCI addresses of the cards; a process names the place of
 * its card there. Replaces what was in clients; free() the processes. */
void ps_amdgpu_clients_read(struct ps_amdgpu_clients *clients, const char *root,
                            const char (*buses)[32], size_t count);

#endif
