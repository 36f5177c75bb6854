/* demand - see demand.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "foresee/demand.h"

#include <string.h>

#define FULL 20000.0f
#define BLOCK 8u
#define LEAN 2.0f /* so many answers of the wider page stand behind a narrow one */

void ps_demand_init(struct ps_demand *demand)
{
    memset(demand, 0, sizeof *demand);
}

/* A number's octave and its place in it, in steps: log-linear, as base/hist cuts. Continuous, so
 * that what lies between two edges is shared out. Taken from the bits of an IEEE 754 double,
 * because it is asked some thousand times a second. */
static double place_of(double value, unsigned steps)
{
    uint64_t bits = 0;
    double from = value > 1 ? value : 1;
    memcpy(&bits, &from, sizeof bits);
    double octave = (double)((bits >> 52) - 1023);
    double part = (double)(bits & ((UINT64_C(1) << 52) - 1)) * 0x1p-52;
    return (octave + part) * steps;
}

static size_t index_of(double value, unsigned steps, size_t count)
{
    size_t index = (size_t)place_of(value, steps);
    return index < count ? index : count - 1;
}

/* In blocks, because a loop of fixed length is a fast one. */
static void write(struct ps_demand_page *page, size_t length)
{
    size_t i = 0;
    for (; i + BLOCK <= length + 1; i += BLOCK) {
        for (size_t k = 0; k < BLOCK; k++) {
            page->longer[i + k]++;
        }
    }
    for (; i <= length; i++) {
        page->longer[i]++;
    }
}

static void fade(struct ps_demand_page *pages, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k <= PS_DEMAND_ANSWERS; k++) {
            pages[i].longer[k] /= 2;
        }
    }
}

void ps_demand_ended(struct ps_demand *demand, uint64_t prompt, uint64_t answer)
{
    size_t length = index_of((double)answer, 8, PS_DEMAND_ANSWERS);
    write(&demand->all, length);
    write(&demand->octave[index_of((double)prompt, 1, PS_DEMAND_OCTAVES)], length);
    write(&demand->quarter[index_of((double)prompt, 4, PS_DEMAND_PROMPTS)], length);
    if (demand->all.longer[0] >= FULL) {
        fade(&demand->all, 1);
        fade(demand->octave, PS_DEMAND_OCTAVES);
        fade(demand->quarter, PS_DEMAND_PROMPTS);
    }
}

/* Between two edges of a page. */
struct place {
    size_t edge;
    float part;
};

/* place_of() in eighths of octaves, whose bits are those of the double themselves, moved: above bit 49 the edge, below it the
 * part. */
static inline struct place place_on_page(double value)
{
    const uint64_t unit = UINT64_C(1) << 49;
    uint64_t bits = 0;
    double from = value > 1 ? value : 1;
    memcpy(&bits, &from, sizeof bits);
    uint64_t place = bits - (UINT64_C(1023) << 52);
    if (place >= PS_DEMAND_ANSWERS * unit) {
        return (struct place){PS_DEMAND_ANSWERS - 1, 1};
    }
    return (struct place){(size_t)(place / unit), (float)(int64_t)(place % unit) * 0x1p-49f};
}

/* How many answers were longer. */
static inline float longer_than(const struct ps_demand_page *page, struct place place)
{
    const float *edge = &page->longer[place.edge];
    return edge[0] + (edge[1] - edge[0]) * place.part;
}

void ps_demand_expect(const struct ps_demand *demand, const struct ps_demand_request *request,
                      const double *ahead, size_t count, double *sums)
{
    double prompt = (double)request->prompt;
    double done = (double)request->done;
    const struct ps_demand_page *all = &demand->all;
    const struct ps_demand_page *octave = &demand->octave[index_of(prompt, 1, PS_DEMAND_OCTAVES)];
    const struct ps_demand_page *quarter = &demand->quarter[index_of(prompt, 4, PS_DEMAND_PROMPTS)];
    struct place now = place_on_page(done);
    float of_quarter = 1 / (longer_than(quarter, now) + LEAN);
    float of_octave = LEAN * of_quarter / (longer_than(octave, now) + LEAN);
    float of_all = LEAN * of_octave / (longer_than(all, now) + 1);
    for (size_t i = 0; i < count; i++) {
        double then = done + ahead[i];
        struct place place = place_on_page(then);
        float goes_on = longer_than(quarter, place) * of_quarter + longer_than(octave, place) * of_octave +
                        (longer_than(all, place) + 0.5f) * of_all;
        sums[i] += (double)goes_on * (prompt + then);
    }
}
