/* load - what the load client is to do, as its options say, and the bytes that it sends.
 *
 * Thread: one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BENCH_LOAD_H
#define PS_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>

#define BENCH_WATCH_MAX 16
#define BENCH_QUESTION_DIGITS 10

struct bench_load {
    int port; /* on the loopback address */
    const char *path;
    const char *method;
    const char *extra; /* one more header line, or NULL */
    unsigned conns;
    double seconds; /* of measuring */
    double warmup;  /* seconds before it */
    double ramp;    /* seconds over which the connections open */
    double drain;   /* seconds to wait for what is under way at the end */
    double rate;    /* requests a second; 0 is a closed loop */
    size_t requests; /* end after so many, if that is earlier; 0 = don't */
    size_t body_size;
    bool stream;
    const char *trace;    /* big-endian 32-bit numbers; request n asks question trace[n], or NULL */
    unsigned *questions;  /* what was read of it */
    size_t question_count;
    unsigned reuse; /* requests on one connection; 0 without end */
    int watch[BENCH_WATCH_MAX];
    int watched; /* how many processes */
};

/* Reads the command line into *load. Prints what is wrong and returns false. */
bool bench_load_read(struct bench_load *load, int argc, char **argv);

/* The request that the load repeats, *len bytes in new memory. *digits is where the number of the
 * question stands in it, BENCH_QUESTION_DIGITS long; NULL when there is no body. */
char *bench_load_request(const struct bench_load *load, size_t *len, char **digits);

/* Processor time of all threads of the load's watched processes so far, in ns. */
double bench_load_watched_ns(const struct bench_load *load);

/* The same of one process, as the scheduler counts it: user and system together. */
double bench_load_process_ns(int pid);

#endif
