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

/* PS_ENOMEM with its sentence. */
int ps_process_no_memory(void);

/* What a fork() ends: 0, and one more in each child of a child. Watches for forks from the first
 * call on. */
unsigned ps_process_generation(void);

/* Was it made in this process? */
static inline bool ps_process_is(unsigned generation)
{
    return generation == ps_process_generation();
}

#endif
