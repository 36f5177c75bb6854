/* survival - see survival.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "foresee/survival.h"

#include <math.h>
#include <string.h>

#define FULL       8000.0 /* answers after which what is old counts half */
#define LEAN       2.0    /* so many answers stand behind what is counted in a cell ... */
#define LEAN_ENDED 0.5    /* ... of which so many ended */
#define SPEED_OVER 30.0   /* samples */
#define SPEED_FROM 8.0    /* requests, times samples, from which a speed is known */
#define LAST       (PS_SURVIVAL_CELLS - 1)

static const double edges[PS_SURVIVAL_CELLS] = {
    0,    16,   23,   32,   45,   64,   91,    128,   181,   256,   362,   512,   724,   1024,
    1448, 2048, 2896, 4096, 5793, 8192, 11585, 16384, 23170, 32768, 46341, 65536, 92682, 131072};

uint64_t ps_survival_edge(unsigned cell)
{
    return cell > LAST ? UINT64_MAX : (uint64_t)edges[cell];
}

unsigned ps_survival_cell(uint64_t answer)
{
    if (answer < 16) {
        return 0;
    }
    unsigned octave = 63 - (unsigned)__builtin_clzll(answer);
    unsigned cell = 2 * (octave - 4) + 1;
    if (cell >= LAST) {
        return LAST;
    }
    return cell + (answer >= (uint64_t)edges[cell + 1]);
}

static double width(unsigned cell)
{
    return cell < LAST ? edges[cell + 1] - edges[cell] : edges[LAST];
}

/* Where in its cell a request is: in the middle, as far as anybody knows. */
static double middle(unsigned cell)
{
    return edges[cell] + (cell < LAST ? width(cell) / 2 : 0);
}

void ps_survival_init(struct ps_survival *survival)
{
    memset(survival, 0, sizeof *survival);
}

/* ---------------------------------------------------------------- what is learned */

static double since(double now, double last)
{
    return now >= last ? now - last : now;
}

static void fade(struct ps_survival *survival)
{
    double all = 0;
    for (unsigned i = 0; i < PS_SURVIVAL_CELLS; i++) {
        all += survival->ended[i];
    }
    for (unsigned i = 0; all >= FULL && i < PS_SURVIVAL_CELLS; i++) {
        survival->ended[i] /= 2;
        survival->passed[i] /= 2;
    }
}

/* Who passes the far edge of a cell has written its width: so much is written a sample by all who
 * are there. */
static void learn_speed(struct ps_survival *survival, double written, double writers)
{
    double keep = 1 - 1 / SPEED_OVER;
    double before = survival->loudness * keep;
    survival->loudness = before + writers;
    if (survival->loudness > 0) {
        survival->speed = (survival->speed * before + written) / survival->loudness;
    }
}

void ps_survival_push(struct ps_survival *survival, const struct ps_survival_count *count)
{
    double written = 0;
    double writers = 0;
    for (unsigned i = 0; survival->begun && i < PS_SURVIVAL_CELLS; i++) {
        double passed = since(count->passed[i], survival->last.passed[i]);
        double ended = since(count->ended[i], survival->last.ended[i]);
        survival->passed[i] += passed;
        survival->ended[i] += ended;
        /* Cell 0 has those who wait for their first token. */
        written += i > 0 ? (passed + ended / 2) * width(i) : 0;
        writers += i > 0 ? (count->requests[i] + survival->last.requests[i]) / 2 : 0;
    }
    if (survival->begun) {
        learn_speed(survival, written, writers);
    }
    fade(survival);
    survival->last = *count;
    survival->begun = true;
}

/* ---------------------------------------------------------------- what is expected */

/* The share of those who begin a cell that get beyond it. */
static double passing(const struct ps_survival *survival, unsigned cell)
{
    double passed = survival->passed[cell] + LEAN - LEAN_ENDED;
    return passed / (survival->passed[cell] + survival->ended[cell] + LEAN);
}

/* share[2 i]: of all answers, those that get to the beginning of cell i; share[2 i + 1]: to its
 * middle, if as many end in each token of it. */
static void write_shares(const struct ps_survival *survival, double *share)
{
    share[0] = 1;
    for (unsigned i = 0; i < LAST; i++) {
        double beyond = passing(survival, i);
        share[2 * i + 1] = share[2 * i] * sqrt(beyond);
        share[2 * i + 2] = share[2 * i] * beyond;
    }
}

/* The share that gets to so many tokens: a straight line within half a cell. */
static double share_at(const double *share, double answer)
{
    unsigned cell = ps_survival_cell((uint64_t)answer);
    double part = 2 * (answer - edges[cell]) / width(cell);
    if (cell == LAST) {
        return share[2 * LAST] / (1 + part);
    }
    const double *from = &share[2 * cell + (part >= 1)];
    return from[0] + (from[1] - from[0]) * (part >= 1 ? part - 1 : part);
}

double ps_survival_mean(const struct ps_survival *survival)
{
    double sum = 0;
    double here = 1; /* the share that gets to the cell */
    for (unsigned i = 0; i < LAST; i++) {
        double beyond = here * passing(survival, i);
        sum += (here + beyond) / 2 * width(i);
        here = beyond;
    }
    return sum;
}

double ps_survival_requests(const struct ps_survival_count *count)
{
    double sum = 0;
    for (unsigned i = 0; i < PS_SURVIVAL_CELLS; i++) {
        sum += count->requests[i];
    }
    return sum;
}

double ps_survival_held(const struct ps_survival_count *count)
{
    double sum = 0;
    for (unsigned i = 0; i < PS_SURVIVAL_CELLS; i++) {
        sum += count->prompts[i] + count->requests[i] * middle(i);
    }
    return sum;
}

bool ps_survival_expect(const struct ps_survival *survival, const struct ps_survival_count *count,
                        const unsigned *ahead, size_t steps, double *out)
{
    double share[2 * PS_SURVIVAL_CELLS];
    if (survival->loudness < SPEED_FROM || survival->speed <= 0) {
        return false;
    }
    write_shares(survival, share);
    memset(out, 0, steps * sizeof *out);
    for (unsigned i = 0; i < PS_SURVIVAL_CELLS; i++) {
        if (count->requests[i] <= 0) {
            continue;
        }
        double from = middle(i);
        double now = share_at(share, from);
        for (size_t k = 0; k < steps; k++) {
            double then = from + survival->speed * ahead[k];
            double goes_on = share_at(share, then) / now;
            out[k] += goes_on * (count->prompts[i] + count->requests[i] * then);
        }
    }
    return true;
}
