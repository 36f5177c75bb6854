/* judge - does a service hold this rate? One level of a stress test, from its rows to a verdict.
 *
 * A level begins with a warm-up: until the requests in flight are those of the new rate (three mean times in the
 * service, as far as they are known), nothing is judged. Then each row may settle it; see load/stress.h for what
 * does.
 *
 * Thread: owned by one thread. About 250 KiB: allocate it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_LOAD_JUDGE_H
#define PS_LOAD_JUDGE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/hist.h"
#include "load/level.h"
#include "load/second.h"

enum { PS_JUDGE_ROWS = 720 };

struct ps_judge_opts {
    double max_error, min_good; /* see ps_stress_opts */
    double tolerance;           /* growth of requests in flight, as a share of the rate, that is no break */
    double least, most;         /* seconds behind the warm-up: not judged before, settled after */
    double latency;             /* mean time of a request at a rate that held, s; NAN: unknown */
    double doubt;               /* standard errors that a break needs when time is up */
    bool literal;               /* it lasts `most` seconds with its warm-up, whatever is seen */
};

struct ps_judge {
    struct ps_judge_opts opts;
    struct ps_stress_level level; /* so far */
    bool warm;
    double started;
    double before;                /* in flight at the end of the last row of the warm-up */
    size_t rows;                  /* judged; of the arrays below */
    double at[PS_JUDGE_ROWS], step[PS_JUDGE_ROWS], ttft[PS_JUDGE_ROWS];
    size_t ttfts;
    double ttft_at[PS_JUDGE_ROWS];
    double sent, ended, failed, good, skipped, late, in_flight;
    double last_in_flight;
    double all_ended, all_latency; /* with the warm-up: to know how long a request takes */
    struct ps_hist corrected, ttft_hist;
};

/* A level of `rate` begins. */
void ps_judge_begin(struct ps_judge *judge, const struct ps_judge_opts *opts, double rate, double at);

/* Takes a row. True: it is settled, and judge->level is complete. */
bool ps_judge_push(struct ps_judge *judge, const struct ps_second *row);

/* Ends it before it was settled: it is unclear, and its figures are those so far. */
void ps_judge_settle(struct ps_judge *judge);

#endif
