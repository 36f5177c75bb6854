/* flow - what arrives at a server, and what it comes to hold in the long run.
 *
 * Little's law: whatever arrives at a rate r and stays for a while is, in the long run, k * r. Both
 * are counted, so k is known after a minute, and with it where a new rate leads before memory has
 * moved. What requests hold goes there as things in a queue do,
 *
 *      own(t + h) = own * d + k * r * (1 - d),     d = exp(-h / (0.7 k))
 *
 * (0.7: a request holds least when it comes). What no request owns (leaks, sessions, caches) has
 * nothing to do with arrivals and goes on in a straight line until it drops; its slope is a robust
 * one.
 *
 * The rate is a mean since it last changed. A change is seen in four samples, or eight where it is
 * small; how much a steady stream varies is learned from its differences, which a step leaves
 * alone.
 *
 * Thread: owned by one thread. Nothing is allocated.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_FORESEE_FLOW_H
#define PS_FORESEE_FLOW_H

#include <stddef.h>

enum { PS_FLOW_SPEEDS = 4, PS_FLOW_RECENT = 8, PS_FLOW_LINE = 32 };

struct ps_flow {
    double rate[PS_FLOW_SPEEDS]; /* a sample's arrivals: means over 2, 8, 30 and 120 samples */
    double steady;               /* mean since the rate changed ... */
    double since;                /* ... so many samples ago */
    double variance;             /* of a sample's arrivals, steps apart */
    double last;
    double recent[PS_FLOW_RECENT];   /* a ring */
    double own, own_mean, rate_mean; /* means: over half an hour */
    double samples;
    double other[PS_FLOW_LINE]; /* what no request owns: a ring of means over two samples */
    double half;
    size_t others; /* since it dropped */
    double slope;  /* of it, a sample */
};

void ps_flow_init(struct ps_flow *flow);

/* So much is held (or waits) for requests, so much for nothing that we know of, and so much came
 * since the last sample, in one unit and at regular times. All finite. */
void ps_flow_push(struct ps_flow *flow, double own, double other, double arrived);

/* How much a rate of 1 holds in the long run; 0 until 30 samples and some arrivals were seen. */
double ps_flow_factor(const struct ps_flow *flow);

/* What is expected to be held after ahead[i] samples. `known`, if not NULL, is what those in flight
 * are going to hold by then (foresee/demand), which is better than the law. */
void ps_flow_path(const struct ps_flow *flow, const unsigned *ahead, size_t count,
                  const double *known, double *out);

#endif
