/* service - a service in virtual time of which it is known how much it carries: for unit tests.
 *
 *      queue   c servers, one queue                         most: c / mean
 *      batch   up to c requests at a time, a + b n          most: c / (a + b c)
 *      crowd   all at once, n of them end at n / (a + b n^2) a second: more in flight is less done beyond a point
 *                                                           most: 1 / (2 sqrt(a b))
 *      loss    c servers and no queue: who finds all busy is refused. With Poisson arrivals (Erlang's B, which holds for
 *              any distribution of service times)           most: where B is max_error
 *      limit   what is above a rate is refused              most: rate / (1 - max_error)
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_TESTS_SERVICE_H
#define PS_TESTS_SERVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/hist.h"
#include "base/rng.h"
#include "load/second.h"

enum service_kind { SERVICE_QUEUE, SERVICE_BATCH, SERVICE_CROWD, SERVICE_LOSS, SERVICE_LIMIT };

struct service_opts {
    enum service_kind kind;
    double servers;   /* c; of `limit` the rate */
    double mean;      /* s, of a service; of `batch` and `crowd` a */
    double each;      /* b */
    unsigned shape;   /* of its gamma distribution: 1 = exponential, 0 = always the mean */
    bool poisson;     /* arrivals; else even */
    double max_error; /* what counts as too many errors, for the truth */
    unsigned seed;
};

struct service_job {
    double end, arrival;
    bool fails;
};

struct service {
    struct service_opts opts;
    struct ps_rng rng;
    double now, owed; /* arrivals that are not yet due, as a share of one */
    double extra;     /* s added to each answer of what arrives */
    double error;     /* share of requests that fail anyway */
    struct service_job *jobs; /* a heap by end */
    size_t count, cap;
    double *free_at;  /* of each server */
    double *queue;    /* arrivals that wait, a ring */
    size_t first, waiting, queue_cap;
    double busy_until;
    double tokens;
    struct ps_hist hist;
};

void service_init(struct service *service, const struct service_opts *opts);
void service_fini(struct service *service);

/* One second at this rate. The row's histogram is valid until the next. */
struct ps_second service_second(struct service *service, double rate);

/* How much it carries, requests a second. */
double service_most(const struct service_opts *opts);

#endif
