/* batch_model - how long a batch of n takes, what memory it takes, and which n is the best.
 *
 * "Batch" is whatever is at work together: the rows of a call that the server merged, or the
 * requests that an engine has in flight. Learned from what was seen, one call at a time:
 *
 *      T(n) = b + a n + steps          steps: padding to 8, 16, 32, 64 or a power of two, and
 *                                      knees at powers of two; no term is negative, so T never
 *                                      falls. Each size that was seen often corrects it.
 *      p95(n) = T(n) * tail            the spread of single calls, all sizes together
 *      memory(n) <= m n + c            gpu/memory_model
 *
 * The best size has the largest n / T(n) among those whose p95 is within the objective and whose
 * memory fits; of sizes that are as good (1 %) the smallest. All of it is judged by bounds, not by
 * means: what was seldom seen counts as slower than it looks. Stragglers move neither T (medians,
 * then clipped steps) nor, while they are rare, the tail. More memory never gives a smaller size.
 *
 * What is old counts half after an hour in which something was learned.
 *
 * Thread: owned by one thread. Nothing is allocated; about 26 KB. Learning takes well below a
 * microsecond; the first question after it fits anew (about 0.1 ms), further ones don't.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_BATCH_MODEL_H
#define PS_GPU_BATCH_MODEL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "gpu/batch_fit.h"
#include "gpu/memory_model.h"

enum {
    PS_BATCH_MODEL_MOST = 512, /* the largest size; larger ones are not learned */
    PS_BATCH_MODEL_RECENT = 5,
    PS_BATCH_MODEL_CALLS = 64,
    PS_BATCH_MODEL_BANDS = 96, /* of the tail: 4 % wide, from 0.25 to 11 times */
    PS_BATCH_MODEL_LEAST = 8   /* calls, of two sizes at least, before anything is said */
};

/* A size. Times are natural logarithms of seconds. */
struct ps_batch_model_cell {
    float recent[PS_BATCH_MODEL_RECENT]; /* the latest: a ring */
    size_t kept;                         /* so many were put into it */
    float log;                           /* typical */
    float count;                         /* calls; what is old counts less */
};

/* A call, or the mean of some. */
struct ps_batch_model_call {
    size_t size;
    float log;
    float count;
};

struct ps_batch_model {
    struct ps_batch_model_cell cell[PS_BATCH_MODEL_MOST + 1];
    double samples; /* calls, all sizes; what is old counts less */
    struct ps_batch_model_call call[PS_BATCH_MODEL_CALLS]; /* the latest: a ring */
    size_t calls;                                          /* since the start */
    double band[PS_BATCH_MODEL_BANDS];                     /* calls by T / typical T */
    double banded;
    size_t largest; /* size that was seen */
    ps_time aged;
    struct ps_memory_model memory;

    /* follows from the rest; made when somebody asks */
    bool fresh;
    struct ps_batch_fit fit;
    double spread, misfit, tail;          /* relative */
    double straggling;                    /* share of the latest calls */
    size_t reach;                         /* sizes that are computed */
    float seen[PS_BATCH_MODEL_MOST + 1];  /* typical logarithm of those that were, never above a
                                             larger  one's */
    float log[PS_BATCH_MODEL_MOST + 1];   /* of T */
    float doubt[PS_BATCH_MODEL_MOST + 1]; /* relative, one standard deviation */
};

/* Nothing is known. */
void ps_batch_model_init(struct ps_batch_model *model);

/* A batch of `size` took so many seconds; with `count` > 1 that is the mean of so many. What is not
 * finite or not over 0, and sizes out of range, are left out. */
void ps_batch_model_learn(struct ps_batch_model *model, ps_time now, size_t size, double seconds,
                          double count);

/* What is wanted, and what there is. */
struct ps_batch_goal {
    double p95;    /* seconds that a request may take 19 times in 20; INFINITY: any */
    double turns;  /* batches that a request waits for, its own included: 1 where requests join at
                      once, 2 where a batch has to end before the next begins */
    double memory; /* bytes that may be in use; INFINITY: not known */
    size_t most;   /* configured; 0: no bound but PS_BATCH_MODEL_MOST */
};

enum ps_batch_limit {
    PS_BATCH_BY_SAMPLES,    /* too few were seen: there is no recommendation */
    PS_BATCH_BY_THROUGHPUT, /* a larger one would gain nothing */
    PS_BATCH_BY_LATENCY,
    PS_BATCH_BY_MEMORY,
    PS_BATCH_BY_CONFIGURED,
    PS_BATCH_BY_SEEN /* more than twice the largest that was seen is not believed */
};

/* "samples", "throughput", "latency", "memory", "configured", "seen" */
extern const char *const ps_batch_limit_names[];

struct ps_batch_advice {
    size_t size; /* recommended; 0 = too few samples, and then nothing else is told */
    enum ps_batch_limit limit;
    double p95;     /* seconds of a request with that size: an upper bound */
    double rate;    /* requests (or rows) a second with that size always full: a lower bound */
    double memory;  /* bytes at most; NAN: not known */
    double samples; /* calls that it rests on */
};

/* The best size. Where not even 1 meets the goal it is 1, and p95 and memory say so. */
struct ps_batch_advice ps_batch_model_advise(struct ps_batch_model *model,
                                             const struct ps_batch_goal *goal);

/* The same figures for a given size; .size is 0 when too little is known, or it is over four times
 * the largest that was seen. */
struct ps_batch_advice ps_batch_model_look(struct ps_batch_model *model,
                                           const struct ps_batch_goal *goal, size_t size);

/* The size that should be tried next to find the best one, or 0: enough is known. Sizes whose
 * memory is not known to fit are not proposed; with a bound and no sample of memory that is all
 * but 1. */
size_t ps_batch_model_next(struct ps_batch_model *model, const struct ps_batch_goal *goal);

/* Brings what follows from the samples up to date; the functions above do it themselves. */
void ps_batch_model_refresh(struct ps_batch_model *model);

#endif
