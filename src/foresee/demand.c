/* demand - see demand.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "foresee/demand.h"

#include <math.h>
#include <string.h>

#define FULL 20000.0f
#define LEAN 2.0f /* so many answers of the wider page stand behind a narrow one */

void ps_demand_init(struct ps_demand *demand)
{
    memset(demand, 0, sizeof *demand);
}

/* A number's octave and its place in it, in steps: log-linear, as base/hist cuts. Continuous, so
 * that what lies between two edges is shared out. */
static double place_of(double value, unsigned steps)
{
    int octave = 0;
    double half = frexp(fmax(value, 1), &octave); /* 0.5 to 1 */
    return ((double)(octave - 1) + (half * 2 - 1)) * steps;
}

static size_t index_of(double value, unsigned steps, size_t count)
{
    size_t index = (size_t)place_of(value, steps);
    return index < count ? index : count - 1;
}

static void write(struct ps_demand_page *page, size_t length)
{
    for (size_t i = 0; i <= length; i++) {
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

/* How many answers were longer than a place. */
static float longer_than(const struct ps_demand_page *page, double place)
{
    if (place >= PS_DEMAND_ANSWERS) {
        return 0;
    }
    size_t i = (size_t)place;
    float part = (float)(place - (double)i);
    return page->longer[i] * (1 - part) + page->longer[i + 1] * part;
}

struct pages {
    const struct ps_demand_page *page[3]; /* from the widest */
    float now[3];                         /* answers longer than what the request has */
};

static double goes_on(const struct pages *pages, double place)
{
    float share = (longer_than(pages->page[0], place) + 0.5f) / (pages->now[0] + 1);
    for (size_t i = 1; i < 3; i++) {
        share = (longer_than(pages->page[i], place) + LEAN * share) / (pages->now[i] + LEAN);
    }
    return (double)share;
}

void ps_demand_expect(const struct ps_demand *demand, const struct ps_demand_request *request,
                      const double *ahead, size_t count, double *sums)
{
    double prompt = (double)request->prompt;
    double done = (double)request->done;
    struct pages pages = {.page = {&demand->all,
                                   &demand->octave[index_of(prompt, 1, PS_DEMAND_OCTAVES)],
                                   &demand->quarter[index_of(prompt, 4, PS_DEMAND_PROMPTS)]}};
    double place = request->done == 0 ? 0 : place_of(done, 8);
    for (size_t i = 0; i < 3; i++) {
        pages.now[i] = longer_than(pages.page[i], place);
    }
    for (size_t i = 0; i < count; i++) {
        double then = done + ahead[i];
        sums[i] += goes_on(&pages, place_of(then, 8)) * (prompt + then);
    }
}
