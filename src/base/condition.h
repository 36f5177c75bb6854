/* condition - condition variables whose deadlines are on the clock that nobody sets.
 *
 *      struct timespec until = ps_condition_deadline(span);
 *      while (!done && late == 0) {
 *          late = pthread_cond_timedwait(&condition, &mutex, &until);
 *      }
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BASE_CONDITION_H
#define PS_BASE_CONDITION_H

#include <pthread.h>
#include <time.h>

#include "base/clock.h"

/* To be given to pthread_cond_destroy(). */
void ps_condition_init(pthread_cond_t *condition);

/* For pthread_cond_timedwait() on such a condition: so long from now; less than 0 is 0. */
struct timespec ps_condition_deadline(ps_span span);

#endif
