/* survival - what the requests in flight will hold some time from now.
 *
 * A request holds its prompt and what was written so far, until it ends. How long its answer gets
 * nobody knows; how many of those that got as far got further, is counted. Answers are sorted by
 * their length so far into cells, half octaves of tokens, and for each cell it is counted how many
 * ended in it and how many passed on: a life table, as actuaries keep it (Kaplan and Meier for
 * grouped data), so that an hour's answers say all there is to know, the long ones that still run
 * included.
 *
 *      P(longer than g + a | longer than g) * (prompt + g + a)       tokens after a more tokens
 *
 * Costs about 5 ns for each cell that somebody is in and each time asked for, however many
 * requests there are. foresee/demand knows the lengths by prompt too, and looks at each request.
 *
 * Thread: owned by one thread. Nothing is allocated; about 1 KB.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_FORESEE_SURVIVAL_H
#define PS_FORESEE_SURVIVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PS_SURVIVAL_CELLS = 28 };

/* The tokens with which a cell begins: 0, 16, 23, 32, 45, ... 131072; beyond the last:
 * UINT64_MAX. */
uint64_t ps_survival_edge(unsigned cell);

/* The cell of an answer of so many tokens. */
unsigned ps_survival_cell(uint64_t answer);

/* How it stands, as gateway/census counts. */
struct ps_survival_count {
    double arrived;                     /* tokens of prompts, since the start */
    double blind;                       /* in flight, but nobody knows how far */
    double requests[PS_SURVIVAL_CELLS]; /* in flight */
    double prompts[PS_SURVIVAL_CELLS];  /* tokens of theirs */
    double passed[PS_SURVIVAL_CELLS];   /* since the start: beyond the cell */
    double ended[PS_SURVIVAL_CELLS];    /* in it */
};

struct ps_survival {
    double passed[PS_SURVIVAL_CELLS]; /* old ones count less */
    double ended[PS_SURVIVAL_CELLS];
    double speed;    /* tokens that a request writes a sample; 0: not known yet */
    double loudness; /* of that: how much it rests on */
    struct ps_survival_count last;
    bool begun;
};

void ps_survival_init(struct ps_survival *survival);

/* Learns what happened since the last call, at regular times. Counters that fell begin anew. */
void ps_survival_push(struct ps_survival *survival, const struct ps_survival_count *count);

/* The requests in flight, and the tokens that they hold. */
double ps_survival_requests(const struct ps_survival_count *count);
double ps_survival_held(const struct ps_survival_count *count);

/* How long an answer gets, on average. With nothing learned: some hundred tokens. */
double ps_survival_mean(const struct ps_survival *survival);

/* The tokens that those in flight are expected to hold after ahead[i] samples. False: nothing is
 * known yet of how fast they write. */
bool ps_survival_expect(const struct ps_survival *survival, const struct ps_survival_count *count,
                        const unsigned *ahead, size_t steps, double *out);

#endif
