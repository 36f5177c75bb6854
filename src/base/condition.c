/* condition - see condition.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/condition.h"

#include "base/check.h"

void ps_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    PS_CHECK(pthread_condattr_init(&attributes) == 0); /* on Linux none of these can fail */
    PS_CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    PS_CHECK(pthread_cond_init(condition, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
}

struct timespec ps_condition_deadline(ps_span span)
{
    ps_time at = ps_clock_now(&ps_clock_real) + (span > 0 ? span : 0);
    return (struct timespec){.tv_sec = at / PS_SECOND, .tv_nsec = at % PS_SECOND};
}
