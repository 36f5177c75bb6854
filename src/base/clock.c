#include "base/clock.h"

#include <time.h>

#include "base/check.h"

struct ps_clock ps_clock_real;

void ps_clock_init_manual(struct ps_clock *clock, ps_time now, ps_time wall)
{
    clock->manual = 1;
    atomic_init(&clock->now, now);
    atomic_init(&clock->wall, wall);
}

void ps_clock_advance(struct ps_clock *clock, ps_span by)
{
    PS_CHECK(clock->manual && by >= 0);
    atomic_fetch_add(&clock->now, by);
    atomic_fetch_add(&clock->wall, by);
}

static ps_time read_system(clockid_t id)
{
    struct timespec at;
    clock_gettime(id, &at);
    return (ps_time)at.tv_sec * PS_SECOND + at.tv_nsec;
}

ps_time ps_clock_now(const struct ps_clock *clock)
{
    return clock->manual ? atomic_load(&clock->now) : read_system(CLOCK_MONOTONIC);
}

ps_time ps_clock_wall(const struct ps_clock *clock)
{
    return clock->manual ? atomic_load(&clock->wall) : read_system(CLOCK_REALTIME);
}
