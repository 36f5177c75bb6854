/* finished - calls to servers that have ended, on their way from the workers to control.
 *
 * What a call took says something only with what was in flight beside it, so both are told
 * together, for whoever learns from it (operate/gpu_batch). A ring with a bound: where nobody takes
 * them out fast enough they are dropped and counted, and no worker waits.
 *
 *      worker --.
 *      worker --+--> ring of cells, each with a number that says whose turn it is --> control
 *      worker --'
 *
 * (A bounded queue after D. Vyukov: a writer takes a place with one compare-and-swap.)
 *
 * Thread: ps_finished_tell() from any, ps_finished_take() from one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GATEWAY_FINISHED_H
#define PS_GATEWAY_FINISHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"

enum { PS_FINISHED_MODEL = 64 };

struct ps_finished {
    uint32_t endpoint;             /* its id */
    char model[PS_FINISHED_MODEL]; /* as asked for, cut to fit; "" = the request named none */
    uint32_t at_begin, at_end;     /* requests in flight there, this one included */
    uint64_t prompt, answer;       /* tokens, reported or estimated */
    ps_span took;                  /* from sending it to the end of the answer */
    ps_span first;                 /* to the first byte of the answer's body; -1 = not known */
};

struct ps_finished_ring;

/* Room for `most` calls (rounded up to a power of two). PS_OK or PS_ENOMEM. */
PS_MUST_CHECK int ps_finished_new(struct ps_finished_ring **out, size_t most);
void ps_finished_free(struct ps_finished_ring *ring); /* NULL is fine */

/* Copies it into the ring, if there is room. NULL: nobody wants to know. */
void ps_finished_tell(struct ps_finished_ring *ring, const struct ps_finished *finished);

/* The oldest one. False: there is none. */
bool ps_finished_take(struct ps_finished_ring *ring, struct ps_finished *out);

/* How many were dropped since the start. */
uint64_t ps_finished_dropped(const struct ps_finished_ring *ring);

#endif
