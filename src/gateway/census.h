/* census - the requests at an endpoint that hold memory there: how many, how long their prompts
 * are, how far their answers have got, and how far those got that have ended.
 *
 * Answers are sorted into cells, half octaves of the tokens written so far, so a request costs a
 * few atomics when it begins, when its answer comes into the next cell, and when it ends, whatever
 * comes in between. Control reads the sums and learns from them where memory goes
 * (foresee/survival):
 *
 *      enter --> cell 0 --follow--> 1 --follow--> 2 ...            counted in `passed`
 *                   '---------------'-------------'------ leave    counted in `ended`
 *
 * Answers that don't come in events count while they are in flight, and how long they got is not
 * learned from; `blind` says how many there are.
 *
 * Thread: any; one request belongs to one thread. A reader gets counters that are each right and
 * together a few requests apart.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_CENSUS_H
#define PS_GATEWAY_CENSUS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "foresee/survival.h"

struct ps_census_cell {
    _Atomic int64_t requests; /* in flight */
    _Atomic int64_t prompts;  /* their tokens */
    _Atomic uint64_t passed;  /* answers that got beyond it, since the start */
    _Atomic uint64_t ended;   /* answers that ended in it, likewise */
};

/* Zeroed to begin with. */
struct ps_census {
    _Atomic uint64_t arrived; /* tokens of prompts, since the start */
    _Atomic int64_t blind;    /* in flight, and nothing will be seen of the answer until its end */
    struct ps_census_cell cell[PS_SURVIVAL_CELLS];
};

/* Where a request stands; part of the request, zeroed to begin with. */
struct ps_census_place {
    uint64_t prompt;
    uint64_t next; /* tokens at which it comes into the next cell */
    uint8_t cell;
    bool inside;
    bool blind;
};

/* A request with a prompt of so many tokens is sent. `blind`: its answer won't come in events. */
void ps_census_enter(struct ps_census *census, struct ps_census_place *place, uint64_t prompt,
                     bool blind);

/* Its answer has so many tokens by now. Cheap when that changes nothing. */
void ps_census_move(struct ps_census *census, struct ps_census_place *place, uint64_t answer);
static inline void ps_census_follow(struct ps_census *census, struct ps_census_place *place,
                                    uint64_t answer)
{
    if (place->inside && answer >= place->next) {
        ps_census_move(census, place, answer);
    }
}

/* It has ended, with an answer of so many tokens; `whole`: the answer is complete, so that its
 * length says something. Nothing happens to one that never entered. */
void ps_census_leave(struct ps_census *census, struct ps_census_place *place, uint64_t answer,
                     bool whole);

/* What control makes of it. */
void ps_census_read(const struct ps_census *census, struct ps_survival_count *out);

#endif
