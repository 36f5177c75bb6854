/* check - the parts of gpu-check: what they share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TOOLS_GPU_CHECK_H
#define TOOLS_GPU_CHECK_H

#include <stdbool.h>

#include "gpu/nvml.h"

#define CHECK_MIB 1048576.0

struct check {
    struct ps_nvml *nvml;
    struct ps_device_snapshot *now; /* the latest */
    unsigned passed;
    unsigned failed;
    unsigned skipped;
};

/* Reads whatever is due after 110 ms, which is the memory of every card at least. */
void check_read(struct check *check);

/* One line, and one more in the sum. */
void check_say(struct check *check, bool good, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void check_skip(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Beside nvidia-smi: memory of cards and processes, and power limits, to within 1 %. */
void check_smi(struct check *check);

/* Allocates, frees and trims on each card through the driver API; what NVML says of it to within 16
 * MiB. */
void check_cuda(struct check *check);

#endif
