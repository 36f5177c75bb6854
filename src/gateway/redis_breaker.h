/* redis_breaker - is a cache node worth asking? One answer for all threads.
 *
 *      closed --(it failed for good, or too often in a row)--> open --(time is up)--> one probes
 *         ^                                                      ^                        |
 *         |                                                      '------- failure --------|
 *         '---------------------------------------------------------------- success ------'
 *
 * A single late reply says nothing; when for a while every one was late, and they were not few, the
 * node is of no use. The time out doubles with each failed probe, and when it opens again soon
 * after a good one; it is spread by a quarter to both sides, so that a fleet does not knock at
 * once.
 *
 * Thread: any; of those that see the same change exactly one is told that it was the first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_REDIS_BREAKER_H
#define PS_GATEWAY_REDIS_BREAKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

struct ps_redis_breaker_opts {
    uint64_t failures; /* in a row that open it ... */
    ps_span stall;     /* ... when the first of them is this long ago */
    ps_span backoff;   /* the first time out; doubles */
    ps_span backoff_max;
};

enum ps_redis_state { PS_REDIS_CLOSED, PS_REDIS_OPEN, PS_REDIS_PROBING };

/* "up", "down", "probing". */
const char *ps_redis_state_text(enum ps_redis_state state);

/* All zero is closed and ready. */
struct ps_redis_breaker {
    _Atomic int state;         /* enum ps_redis_state */
    _Atomic uint64_t failures; /* in a row */
    _Atomic ps_time failing_since;
    _Atomic ps_time closed_at; /* by a probe */
    _Atomic uint32_t outs;     /* times out in a row, for the back-off */
    _Atomic ps_time retry_at;
    _Atomic uint64_t opened; /* times, for the statistics */
};

enum ps_redis_state ps_redis_breaker_state(const struct ps_redis_breaker *breaker);

/* A reply came in time. */
void ps_redis_breaker_succeed(struct ps_redis_breaker *breaker);

/* A reply was late or no answer. True: this opened it. `random` is any number, for the spread. */
bool ps_redis_breaker_fail(struct ps_redis_breaker *breaker,
                           const struct ps_redis_breaker_opts *opts, uint64_t random, ps_time now);

/* The node is known to be gone. True: this opened it. */
bool ps_redis_breaker_open(struct ps_redis_breaker *breaker,
                           const struct ps_redis_breaker_opts *opts, uint64_t random, ps_time now);

/* Somebody got through to the node: the next probe need not wait. */
void ps_redis_breaker_hurry(struct ps_redis_breaker *breaker, ps_time now);

/* When the next probe may be made; 0 when it is closed. */
ps_time ps_redis_breaker_retry_at(const struct ps_redis_breaker *breaker);

/* Makes the caller the one that probes; it must end it. False: not yet, or another does. */
bool ps_redis_breaker_begin_probe(struct ps_redis_breaker *breaker, ps_time now);

/* True: it is closed again. */
bool ps_redis_breaker_end_probe(struct ps_redis_breaker *breaker,
                                const struct ps_redis_breaker_opts *opts, bool ok, uint64_t random,
                                ps_time now);

/* The one that probed goes away without an outcome: another may. */
void ps_redis_breaker_drop_probe(struct ps_redis_breaker *breaker, ps_time now);

#endif
