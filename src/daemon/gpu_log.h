/* gpu_log - what the GPU room does, in the log.
 *
 * Thread: constant.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_DAEMON_GPU_LOG_H
#define PS_DAEMON_GPU_LOG_H

#include "operate/gpu.h"

extern const struct ps_gpu_observer ps_gpu_log;

#endif
