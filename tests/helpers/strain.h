/* strain - the memory of an inference server under a workload, second by second, with the truth.
 *
 * Two ways to hold memory. A *blocks* server has taken the device at start and lends blocks of a
 * key-value cache: when they run out it preempts who came last. A *heap* server takes memory as it
 * needs it, through an allocator that keeps what was freed: when the device is full the unused part
 * is given back, and if that isn't enough a request dies of it. State that no request owns (leaks,
 * sessions) grows beside the requests in both.
 *
 * What an observer may know is in strain_sample: the server's figures and what a gateway in front
 * of it counts. What is hidden (how long answers get, demand, when state is dropped) is used for
 * the truth: strain_until_event() plays a copy of the server on, without chance, as if everything
 * went on as it is, and says when it runs out of memory: when somebody has to wait for a block, is
 * preempted or dies. A ramp goes on climbing in there, a
 * burst ends where it ends, and no phase begins that hasn't begun.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_TESTS_STRAIN_H
#define PS_TESTS_STRAIN_H

#include <stdbool.h>

#include "foresee/survival.h"
#include "workload.h"

enum strain_kind { STRAIN_BLOCKS, STRAIN_HEAP, STRAIN_KINDS };

extern const char *const strain_kind_names[];

#define STRAIN_TARGET  0.75 /* of the memory: above it the level is medium */
#define STRAIN_HORIZON 60   /* seconds that strain_until_event() looks ahead */

struct strain_sample {
    double at;           /* seconds from the start */
    double device_bytes; /* what the driver shows ... */
    double device_total; /* ... of so many */
    double pool_bytes;   /* blocks: cache in use; heap: absent (NAN) */
    double pool_total;
    double reserved_bytes;  /* heap: what the allocator holds; blocks: absent (NAN) */
    double allocated_bytes; /* heap: what of it is in use */
    double preemptions;     /* counters of the server since its start */
    double failures;        /* requests that died of missing memory */
    double running;         /* requests in the server ... */
    double waiting;         /* ... and those that it has not let in */
    double waiting_tokens;
    double
        flight_tokens; /* prompts and answers so far of all that were sent: the gateway's count */
    double arrived;    /* requests in this second, and the tokens of their prompts */
    double arrived_tokens;
    struct ps_survival_count
        crowd;       /* who is in flight and how far, and who ended: gateway/census */
    double finished; /* requests in this second, and the tokens of their answers */
    double finished_tokens;
    /* the truth */
    bool event;         /* preempted or failed in this second */
    bool down;          /* the server restarts */
    double effective;   /* share of the memory in use: pool for blocks, device for heap */
    double reclaimable; /* share of the memory that a cleanup could free: unused, or state */
    size_t phase;       /* changes when the workload does something new */
};

/* Seeds: what is tuned is tuned on the first, what is claimed is measured on the second. */
#define STRAIN_TUNING_SEED 1u
#define STRAIN_FRESH_SEED  3001u

struct strain;

/* A server at the start of its run, already filled up to demand. NULL without memory. */
struct strain *strain_new(enum strain_kind kind, enum workload_shape shape, uint64_t seed,
                          double seconds);
void strain_free(struct strain *strain);

/* Plays one second. */
void strain_next(struct strain *strain, struct strain_sample *sample);

/* Seconds until the server runs out of memory if nothing changes; INFINITY beyond the horizon. No
 * chance is in it: what comes of luck is not in the state of the server. */
double strain_until_event(const struct strain *strain);

/* How probable it is that somebody is preempted or fails within so many seconds: of `plays` copies
 * of the server, played on with chance but without a new phase. Nobody can know more: it knows how
 * long the answers in flight get, and at which rate requests come. */
double strain_chance(const struct strain *strain, double seconds, unsigned plays, uint64_t seed);

#endif
