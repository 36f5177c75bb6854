/* process - what the library's parts have in common: the sentence of the last error, fork().
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LIB_PROCESS_H
#define PS_LIB_PROCESS_H

#include "penstock/penstock.h"

/* Remembers a sentence for ps_last_error() of this thread. Returns err. */
int ps_process_fail(int err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What a fork() ends: 0, and one more in each child of a child. Watches for forks from the first
 * call on. */
unsigned ps_process_generation(void);

#endif
