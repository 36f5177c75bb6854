#include "gateway/redis_breaker.h"

const char *ps_redis_state_text(enum ps_redis_state state)
{
    switch (state) {
    case PS_REDIS_CLOSED:
        return "up";
    case PS_REDIS_OPEN:
        return "down";
    case PS_REDIS_PROBING:
        return "probing";
    }
    return "";
}

/* The time out for the `outs`th time after the first, a quarter more or less. */
static ps_span time_out(const struct ps_redis_breaker_opts *opts, uint32_t outs, uint64_t random)
{
    ps_span span = opts->backoff;
    for (uint32_t i = 0; i < outs && span < opts->backoff_max; i++) {
        span *= 2;
    }
    span = span < opts->backoff_max ? span : opts->backoff_max;
    uint64_t half = (uint64_t)span / 2;
    return span - span / 4 + (ps_span)(half == 0 ? 0 : random % (half + 1));
}

enum ps_redis_state ps_redis_breaker_state(const struct ps_redis_breaker *breaker)
{
    return (enum ps_redis_state)atomic_load(&breaker->state);
}

void ps_redis_breaker_succeed(struct ps_redis_breaker *breaker)
{
    if (atomic_load_explicit(&breaker->failures, memory_order_relaxed) > 0) {
        atomic_store(&breaker->failures, 0);
    }
}

/* Opening soon after a good probe counts like a failed one. */
static uint32_t next_outs(const struct ps_redis_breaker *breaker,
                          const struct ps_redis_breaker_opts *opts, ps_time now)
{
    ps_time closed_at = atomic_load(&breaker->closed_at);
    uint32_t outs = atomic_load(&breaker->outs);
    bool soon = closed_at != 0 && now - closed_at < opts->backoff_max;
    return !soon ? 0 : outs < 32 ? outs + 1 : outs;
}

bool ps_redis_breaker_open(struct ps_redis_breaker *breaker,
                           const struct ps_redis_breaker_opts *opts, uint64_t random, ps_time now)
{
    int closed = PS_REDIS_CLOSED;
    if (atomic_load(&breaker->state) != PS_REDIS_CLOSED) {
        return false;
    }
    /* The instant first: whoever sees the state must not probe at once. */
    uint32_t outs = next_outs(breaker, opts, now);
    atomic_store(&breaker->retry_at, now + time_out(opts, outs, random));
    if (!atomic_compare_exchange_strong(&breaker->state, &closed, PS_REDIS_OPEN)) {
        return false;
    }
    atomic_store(&breaker->outs, outs);
    atomic_fetch_add(&breaker->opened, 1);
    return true;
}

bool ps_redis_breaker_fail(struct ps_redis_breaker *breaker,
                           const struct ps_redis_breaker_opts *opts, uint64_t random, ps_time now)
{
    uint64_t failures = atomic_fetch_add(&breaker->failures, 1) + 1;
    if (failures == 1) {
        atomic_store(&breaker->failing_since, now);
    }
    return failures >= opts->failures &&
           now - atomic_load(&breaker->failing_since) >= opts->stall &&
           ps_redis_breaker_open(breaker, opts, random, now);
}

ps_time ps_redis_breaker_retry_at(const struct ps_redis_breaker *breaker)
{
    return ps_redis_breaker_state(breaker) == PS_REDIS_CLOSED ? 0 : atomic_load(&breaker->retry_at);
}

void ps_redis_breaker_hurry(struct ps_redis_breaker *breaker, ps_time now)
{
    ps_time retry_at = atomic_load(&breaker->retry_at);
    if (now < retry_at) { /* when it changes meanwhile, a probe has just failed: that counts */
        atomic_compare_exchange_strong(&breaker->retry_at, &retry_at, now);
    }
}

bool ps_redis_breaker_begin_probe(struct ps_redis_breaker *breaker, ps_time now)
{
    int open = PS_REDIS_OPEN;
    return now >= atomic_load(&breaker->retry_at) &&
           atomic_compare_exchange_strong(&breaker->state, &open, PS_REDIS_PROBING);
}

bool ps_redis_breaker_end_probe(struct ps_redis_breaker *breaker,
                                const struct ps_redis_breaker_opts *opts, bool ok, uint64_t random,
                                ps_time now)
{
    int probing = PS_REDIS_PROBING;
    if (ok) {
        atomic_store(&breaker->failures, 0);
        atomic_store(&breaker->closed_at, now);
        return atomic_compare_exchange_strong(&breaker->state, &probing, PS_REDIS_CLOSED);
    }
    uint32_t outs = atomic_load(&breaker->outs);
    outs += outs < 32 ? 1 : 0;
    atomic_store(&breaker->outs, outs);
    atomic_store(&breaker->retry_at, now + time_out(opts, outs, random));
    atomic_compare_exchange_strong(&breaker->state, &probing, PS_REDIS_OPEN);
    return false;
}

void ps_redis_breaker_drop_probe(struct ps_redis_breaker *breaker, ps_time now)
{
    int probing = PS_REDIS_PROBING;
    atomic_store(&breaker->retry_at, now);
    atomic_compare_exchange_strong(&breaker->state, &probing, PS_REDIS_OPEN);
}
