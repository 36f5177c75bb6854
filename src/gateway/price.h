/* price - what tokens cost, in integer nano-dollars.
 *
 * Prices are written per million tokens, as providers do; a nano-dollar per million tokens is exact
 * enough for every published price. Costs are rounded up to a whole nano-dollar.
 *
 * Thread: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_PRICE_H
#define PS_GATEWAY_PRICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/option.h"
#include "gateway/usage.h"

/* The section `price` of an upstream or a model. */
struct ps_price_opts {
    double input_per_million_usd;
    double output_per_million_usd;
    double cached_input_per_million_usd; /* below 0 = as input */
};

extern const struct ps_option ps_price_options[];

/* Nano-dollars per million tokens. All 0 = no price. */
struct ps_price {
    int64_t input;
    int64_t output;
    int64_t cached;
};

struct ps_price ps_price_make(const struct ps_price_opts *opts);

static inline bool ps_price_is_known(const struct ps_price *price)
{
    return price->input > 0 || price->output > 0;
}

/* Nano-dollars for so many tokens; saturates, never negative. */
int64_t ps_price_cost(const struct ps_price *price, uint64_t input_tokens, uint64_t output_tokens);

/* The same for what was used; cached tokens at their price. */
int64_t ps_price_usage(const struct ps_price *price, const struct ps_usage *usage);

#endif
