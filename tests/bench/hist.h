/* hist - a log-linear histogram of nanoseconds: 4096 steps in each power of two, so a percentile
 * is right to 0.02 % from a microsecond to an hour, in fixed memory.
 *
 * Thread: owned by its program's one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_BENCH_HIST_H
#define PS_BENCH_HIST_H

#include <stdint.h>
#include <stdio.h>

#define HIST_SUB_BITS 12
#define HIST_SUB      (1u << HIST_SUB_BITS)
#define HIST_POWERS   32 /* the largest is 2^43 ns, over two hours */

struct hist {
    uint64_t count;
    int64_t max;
    double sum;
    uint64_t steps[HIST_POWERS][HIST_SUB];
};

/* Adds one value; below zero counts as zero, above the largest as the largest. */
static inline void hist_add(struct hist *hist, int64_t value)
{
    uint64_t v = value < 0 ? 0 : (uint64_t)value;
    unsigned power = 0;
    if (v >= HIST_SUB) {
        power = 63u - (unsigned)__builtin_clzll(v) - HIST_SUB_BITS + 1;
    }
    unsigned step = power == 0 ? (unsigned)v : (unsigned)(v >> (power - 1)) - HIST_SUB;
    if (power >= HIST_POWERS) {
        power = HIST_POWERS - 1;
        step = HIST_SUB - 1;
    }
    hist->steps[power][step]++;
    hist->count++;
    hist->sum += (double)v;
    if ((int64_t)v > hist->max) {
        hist->max = (int64_t)v;
    }
}

/* The value in nanoseconds that the share (0 to 1) of all values does not exceed; the middle of
 * its step. 0 when empty. */
static inline double hist_at(const struct hist *hist, double share)
{
    uint64_t rank = (uint64_t)(share * (double)hist->count + 0.5);
    uint64_t seen = 0;
    for (unsigned power = 0; power < HIST_POWERS; power++) {
        double width = power == 0 ? 1.0 : (double)(1ull << (power - 1));
        for (unsigned step = 0; step < HIST_SUB; step++) {
            seen += hist->steps[power][step];
            if (seen >= rank && hist->steps[power][step] > 0) {
                double low = power == 0 ? step : (double)(HIST_SUB + step) * width;
                double middle = low + width / 2;
                return middle < (double)hist->max ? middle : (double)hist->max;
            }
        }
    }
    return (double)hist->max;
}

/* Writes {"count":..,"p50":..} in microseconds under a JSON name. */
static inline void hist_print(const struct hist *hist, const char *name)
{
    double mean = hist->count > 0 ? hist->sum / (double)hist->count : 0;
    printf("\"%s\":{\"count\":%llu,\"mean\":%.2f,\"p50\":%.2f,\"p90\":%.2f,\"p99\":%.2f,"
           "\"p999\":%.2f,\"max\":%.2f}",
           name, (unsigned long long)hist->count, mean / 1e3, hist_at(hist, 0.5) / 1e3,
           hist_at(hist, 0.9) / 1e3, hist_at(hist, 0.99) / 1e3, hist_at(hist, 0.999) / 1e3,
           (double)hist->max / 1e3);
}

#endif
