/* demand - what the requests in flight will hold some time from now.
 *
 * A request holds its prompt and what was generated so far, until it ends. How long an answer gets
 * nobody knows, but how long answers to prompts of that length got, a gateway has seen: for each
 * quarter of an octave of prompt lengths the book counts how many answers were longer than what.
 * Few answers to such prompts lean on those to prompts of the octave, and these on all.
 *
 *      P(longer than g + a | longer than g) * (prompt + g + a)       tokens after a more tokens
 *
 * What is old counts half once 20,000 answers are in the book. A request that is looked at costs
 * about 6 ns for each time.
 *
 * Thread: owned by one thread. Nothing is allocated; about 60 KB.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_FORESEE_DEMAND_H
#define PS_FORESEE_DEMAND_H

#include <stddef.h>
#include <stdint.h>

enum {
    PS_DEMAND_OCTAVES = 21,
    PS_DEMAND_PROMPTS = 4 * PS_DEMAND_OCTAVES, /* quarters of octaves up to two million tokens */
    PS_DEMAND_ANSWERS = 8 * 18                 /* eighths of octaves up to 262,144 tokens */
};

struct ps_demand_page {
    float
        longer[PS_DEMAND_ANSWERS + 1]; /* answers of at least so many eighths; [0] is all of them */
};

struct ps_demand {
    struct ps_demand_page all;
    struct ps_demand_page octave[PS_DEMAND_OCTAVES];
    struct ps_demand_page quarter[PS_DEMAND_PROMPTS];
};

/* An empty book. */
void ps_demand_init(struct ps_demand *demand);

/* An answer has ended: so many tokens of prompt, so many generated. */
void ps_demand_ended(struct ps_demand *demand, uint64_t prompt, uint64_t answer);

struct ps_demand_request {
    uint64_t prompt;
    uint64_t done; /* generated so far */
};

/* Adds to sums[i] the tokens that the request is expected to hold after ahead[i] more tokens. With
 * an empty book half of the requests end in the meantime. */
void ps_demand_expect(const struct ps_demand *demand, const struct ps_demand_request *request,
                      const double *ahead, size_t count, double *sums);

#endif
