#include "gateway/limit.h"

#include <stddef.h>

#define TICKS        16 /* per nanosecond: a billion per minute is 960 ticks each, exact enough */
#define MINUTE_TICKS ((int64_t)60000000000 * TICKS)
#define DEBT_TICKS   ((int64_t)86400000000000 * TICKS)

__extension__ typedef __int128 wide;

static int64_t interval_of(uint64_t per_minute)
{
    return MINUTE_TICKS / (int64_t)per_minute;
}

static int64_t clamp(wide ticks, int64_t most)
{
    return ticks > most ? most : (int64_t)ticks;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

bool ps_rate_take(struct ps_rate *rate, uint64_t per_minute, uint64_t amount, ps_time now,
                  ps_span *wait)
{
    int64_t interval = interval_of(per_minute);
    int64_t whole = interval * (int64_t)per_minute; /* so that exactly the limit fits */
    if (amount > per_minute) {
        *wait = PS_NEVER;
        return false;
    }
    int64_t cost = interval * (int64_t)amount;
    int64_t present = now * TICKS;
    int64_t arrival = atomic_load_explicit(&rate->arrival, memory_order_relaxed);
    int64_t next;
    do {
        next = later(arrival, present) + cost;
        if (next - present > whole) {
            *wait = (next - present - whole + TICKS - 1) / TICKS;
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&rate->arrival, &arrival, next,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

void ps_rate_settle(struct ps_rate *rate, uint64_t per_minute, uint64_t taken, uint64_t used,
                    ps_time now)
{
    int64_t interval = interval_of(per_minute);
    if (used <= taken) {
        int64_t back = clamp((wide)(taken - used) * interval, DEBT_TICKS);
        atomic_fetch_sub_explicit(&rate->arrival, back, memory_order_relaxed);
        return;
    }
    int64_t more = clamp((wide)(used - taken) * interval, DEBT_TICKS);
    int64_t present = now * TICKS;
    int64_t arrival = atomic_load_explicit(&rate->arrival, memory_order_relaxed);
    int64_t next;
    do {
        next = later(arrival, present) + more;
        /* Never back: a debt that is there already stays. */
        next = next > present + DEBT_TICKS ? later(arrival, present + DEBT_TICKS) : next;
    } while (!atomic_compare_exchange_weak_explicit(&rate->arrival, &arrival, next,
                                                    memory_order_relaxed, memory_order_relaxed));
}

uint64_t ps_rate_left(const struct ps_rate *rate, uint64_t per_minute, ps_time now, ps_span *reset)
{
    int64_t interval = interval_of(per_minute);
    int64_t whole = interval * (int64_t)per_minute;
    int64_t ahead = atomic_load_explicit(&rate->arrival, memory_order_relaxed) - now * TICKS;
    ahead = later(ahead, 0);
    *reset = (ahead + TICKS - 1) / TICKS;
    return ahead >= whole ? 0 : (uint64_t)((whole - ahead) / interval);
}

/* ---------------------------------------------------------------- money */

#define AMOUNT_BITS 53
#define TAG_MASK    0x7ffu

static uint64_t pack(uint32_t tag, int64_t amount)
{
    return ((uint64_t)(tag & TAG_MASK) << AMOUNT_BITS) | (uint64_t)amount;
}

static int64_t amount_in(uint64_t word, uint32_t tag)
{
    bool same = (word >> AMOUNT_BITS) == (tag & TAG_MASK);
    return same ? (int64_t)(word & (uint64_t)PS_PURSE_MAX) : 0;
}

bool ps_purse_take(struct ps_purse *purse, int64_t limit, int64_t cost, uint32_t tag)
{
    limit = limit < PS_PURSE_MAX ? limit : PS_PURSE_MAX;
    uint64_t word = atomic_load_explicit(&purse->word, memory_order_relaxed);
    int64_t taken;
    do {
        taken = amount_in(word, tag);
        /* What is used up is used up, even for a request that seems to cost nothing. */
        if (taken >= limit || cost > limit - taken) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&purse->word, &word, pack(tag, taken + cost),
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

void ps_purse_settle(struct ps_purse *purse, int64_t taken, int64_t used, uint32_t tag)
{
    uint64_t word = atomic_load_explicit(&purse->word, memory_order_relaxed);
    int64_t sum;
    do {
        if ((word >> AMOUNT_BITS) != (tag & TAG_MASK)) {
            return;
        }
        sum = amount_in(word, tag) - taken;
        sum = sum < 0 ? 0 : sum;
        sum = used > PS_PURSE_MAX - sum ? PS_PURSE_MAX : sum + used;
    } while (!atomic_compare_exchange_weak_explicit(&purse->word, &word, pack(tag, sum),
                                                    memory_order_relaxed, memory_order_relaxed));
}

int64_t ps_purse_taken(const struct ps_purse *purse, uint32_t tag)
{
    return amount_in(atomic_load_explicit(&purse->word, memory_order_relaxed), tag);
}

#define DAY ((ps_span)86400 * PS_SECOND)

uint32_t ps_purse_day(ps_time wall, ps_span *left)
{
    *left = DAY - wall % DAY;
    return (uint32_t)(wall / DAY) & TAG_MASK;
}

static bool is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int month_days(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 1 && is_leap(year) ? 29 : days[month];
}

uint32_t ps_purse_month(ps_time wall, ps_span *left)
{
    int64_t day = wall / DAY;
    int year = 1970;
    int month = 0;
    while (day >= month_days(year, month)) {
        day -= month_days(year, month);
        month++;
        year += month == 12;
        month %= 12;
    }
    *left = (month_days(year, month) - day) * DAY - wall % DAY;
    return (uint32_t)((year - 1970) * 12 + month) & TAG_MASK;
}
