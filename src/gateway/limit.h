/* limit - rate limits and money budgets in one 64-bit atomic each.
 *
 *      rate    GCRA: the atomic is the theoretical arrival time, "when all that was taken will
 *              have been earned again". Taking n moves it forward by n times the interval; it
 *              may not be more than the limit's worth (one minute) ahead of now.
 *      purse   period tag (11 bits) and nano-dollars taken in that period (53 bits). A new period
 *              starts from 0 with the first reservation that sees it.
 *
 * Taking is one compare-and-swap: no interleaving takes more than the limit.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_LIMIT_H
#define PS_GATEWAY_LIMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define PS_RATE_MAX 1000000000 /* per minute */

/* Zero-initialised = nothing taken. The limit is an argument, so that a reload changes it in place.
 */
struct ps_rate {
    _Atomic int64_t arrival; /* in sixteenths of a nanosecond */
};

/* Takes `amount` if it fits into `per_minute` (1 to PS_RATE_MAX). Otherwise takes nothing and
 * *wait is how long until it would fit; PS_NEVER when it is larger than the limit. */
bool ps_rate_take(struct ps_rate *rate, uint64_t per_minute, uint64_t amount, ps_time now,
                  ps_span *wait);

/* Corrects an earlier take of `taken` to `used`. A debt is at most a day's worth. */
void ps_rate_settle(struct ps_rate *rate, uint64_t per_minute, uint64_t taken, uint64_t used,
                    ps_time now);

/* What is left, and in *reset how long until nothing is taken. */
uint64_t ps_rate_left(const struct ps_rate *rate, uint64_t per_minute, ps_time now, ps_span *reset);

#define PS_PURSE_MAX (((int64_t)1 << 53) - 1) /* nano-dollars: 9 million dollars */

struct ps_purse {
    _Atomic uint64_t word;
};

/* Takes `cost` (0 or more) in the period with this tag if the sum stays within `limit`. */
bool ps_purse_take(struct ps_purse *purse, int64_t limit, int64_t cost, uint32_t tag);

/* Corrects an earlier take in the period `tag`; nothing happens when another has begun. */
void ps_purse_settle(struct ps_purse *purse, int64_t taken, int64_t used, uint32_t tag);

/* What was taken in the period. */
int64_t ps_purse_taken(const struct ps_purse *purse, uint32_t tag);

/* The tag of the day or month (UTC) that holds `wall` (nanoseconds since 1970), and in *left how
 * long it still is. Tags repeat after 2048 periods. */
uint32_t ps_purse_day(ps_time wall, ps_span *left);
uint32_t ps_purse_month(ps_time wall, ps_span *left);

#endif
