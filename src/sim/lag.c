#include "sim/lag.h"

#define LARGEST_PAGE ((size_t)1 << 20)

void ps_sim_lag_init(struct ps_sim_lag *lag, ps_span span, ps_time now)
{
    *lag = (struct ps_sim_lag){.span = span, .next = span > 0 ? now : PS_NEVER};
    for (size_t i = 0; i < PS_SIM_LAG_PAGES; i++) {
        lag->pages[i].page = ps_buf_make(LARGEST_PAGE);
    }
}

void ps_sim_lag_fini(struct ps_sim_lag *lag)
{
    for (size_t i = 0; i < PS_SIM_LAG_PAGES; i++) {
        ps_buf_fini(&lag->pages[i].page);
    }
    lag->count = 0;
}

struct ps_buf *ps_sim_lag_push(struct ps_sim_lag *lag, ps_time now)
{
    if (lag->count == PS_SIM_LAG_PAGES) {
        lag->first = (lag->first + 1) % PS_SIM_LAG_PAGES;
        lag->count--;
    }
    size_t place = (lag->first + lag->count++) % PS_SIM_LAG_PAGES;
    ps_span part = lag->span / PS_SIM_LAG_PER_SPAN;
    lag->pages[place].made = now;
    lag->next = now + (part > 0 ? part : 1);
    ps_buf_clear(&lag->pages[place].page);
    return &lag->pages[place].page;
}

const struct ps_buf *ps_sim_lag_get(const struct ps_sim_lag *lag, ps_time now)
{
    const struct ps_buf *best = NULL;
    for (size_t i = 0; i < lag->count; i++) {
        size_t place = (lag->first + i) % PS_SIM_LAG_PAGES;
        if (best == NULL || now - lag->pages[place].made >= lag->span) {
            best = &lag->pages[place].page;
        }
    }
    return best;
}
