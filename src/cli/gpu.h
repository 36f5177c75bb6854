/* gpu - the command that shows the GPUs of this machine.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_CLI_GPU_H
#define PS_CLI_GPU_H

#include "base/args.h"

extern const struct ps_command ps_gpu_command;

#endif
