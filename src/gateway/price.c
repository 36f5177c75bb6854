#include "gateway/price.h"

#include <stddef.h>

/* clang-format off */
const struct ps_option ps_price_options[] = {
    {"input_per_million_usd", PS_OPTION_DOUBLE, offsetof(struct ps_price_opts, input_per_million_usd), "0",
     "US dollars for a million prompt tokens", .min = 0, .max = 1000000},
    {"output_per_million_usd", PS_OPTION_DOUBLE, offsetof(struct ps_price_opts, output_per_million_usd), "0",
     "US dollars for a million generated tokens", .min = 0, .max = 1000000},
    {"cached_input_per_million_usd", PS_OPTION_DOUBLE, offsetof(struct ps_price_opts, cached_input_per_million_usd), "-1",
     "US dollars for a million prompt tokens that the upstream had cached; -1 = as other prompt tokens", .min = -1, .max = 1000000},
    {0},
};
/* clang-format on */

static int64_t nano(double usd)
{
    return usd <= 0 ? 0 : (int64_t)(usd * 1e9 + 0.5);
}

struct ps_price ps_price_make(const struct ps_price_opts *opts)
{
    struct ps_price price = {
        .input = nano(opts->input_per_million_usd),
        .output = nano(opts->output_per_million_usd),
    };
    double cached = opts->cached_input_per_million_usd;
    price.cached = cached < 0 ? price.input : nano(cached);
    return price;
}

__extension__ typedef unsigned __int128 wide;

static wide part(uint64_t tokens, int64_t per_million)
{
    return (wide)tokens * (uint64_t)per_million;
}

static int64_t round_up(wide sum)
{
    wide cost = (sum + 999999) / 1000000;
    return cost > INT64_MAX ? INT64_MAX : (int64_t)cost;
}

int64_t ps_price_cost(const struct ps_price *price, uint64_t input_tokens, uint64_t output_tokens)
{
    return round_up(part(input_tokens, price->input) + part(output_tokens, price->output));
}

int64_t ps_price_usage(const struct ps_price *price, const struct ps_usage *usage)
{
    uint64_t cached =
        usage->cached_tokens < usage->prompt_tokens ? usage->cached_tokens : usage->prompt_tokens;
    return round_up(part(usage->prompt_tokens - cached, price->input) +
                    part(cached, price->cached) + part(usage->completion_tokens, price->output));
}
