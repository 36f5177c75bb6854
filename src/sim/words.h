/* words - text that says nothing, four bytes at a time, always the same for the same seed.
 *
 * Thread: a generator is owned by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_SIM_WORDS_H
#define PS_SIM_WORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/rng.h"
#include "sim/options.h"

struct ps_sim_words {
    struct ps_rng rng;
    const char *rest; /* of the word under way; static text */
    uint8_t left;     /* words left in the sentence */
    bool begin;       /* the next letter begins a sentence */
    bool stopped;     /* the full stop is written, its space is not */
};

struct ps_sim_words ps_sim_words_make(uint64_t seed);

/* The next token: PS_SIM_TOKEN_BYTES bytes of printable ASCII without quotes and backslashes. */
void ps_sim_words_next(struct ps_sim_words *words, char *token);

/* Appends the first `bytes` of a seed's text. PS_OK, PS_ELIMIT or PS_ENOMEM. */
PS_MUST_CHECK int ps_sim_words_write(struct ps_buf *out, uint64_t seed, uint64_t bytes);

#endif
