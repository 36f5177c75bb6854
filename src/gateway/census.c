#include "gateway/census.h"

static void add(_Atomic int64_t *sum, int64_t by)
{
    atomic_fetch_add_explicit(sum, by, memory_order_relaxed);
}

static void count(_Atomic uint64_t *sum, uint64_t by)
{
    atomic_fetch_add_explicit(sum, by, memory_order_relaxed);
}

static void step_in(struct ps_census *census, struct ps_census_place *place, unsigned cell)
{
    place->cell = (uint8_t)cell;
    place->next = ps_survival_edge(cell + 1);
    add(&census->cell[cell].requests, 1);
    add(&census->cell[cell].prompts, (int64_t)place->prompt);
}

static void step_out(struct ps_census *census, const struct ps_census_place *place)
{
    add(&census->cell[place->cell].requests, -1);
    add(&census->cell[place->cell].prompts, -(int64_t)place->prompt);
}

void ps_census_enter(struct ps_census *census, struct ps_census_place *place, uint64_t prompt,
                     bool blind)
{
    if (prompt > INT32_MAX) { /* an estimate of a body that nothing can hold */
        prompt = INT32_MAX;
    }
    *place = (struct ps_census_place){.prompt = prompt, .inside = true, .blind = blind};
    count(&census->arrived, prompt);
    add(&census->blind, blind ? 1 : 0);
    step_in(census, place, 0);
}

static void pass(struct ps_census *census, const struct ps_census_place *place, unsigned to)
{
    for (unsigned i = place->cell; i < to; i++) {
        count(&census->cell[i].passed, 1);
    }
}

void ps_census_move(struct ps_census *census, struct ps_census_place *place, uint64_t answer)
{
    unsigned cell = ps_survival_cell(answer);
    if (cell > place->cell) {
        pass(census, place, cell);
        step_out(census, place);
        step_in(census, place, cell);
    }
}

void ps_census_leave(struct ps_census *census, struct ps_census_place *place, uint64_t answer,
                     bool whole)
{
    if (!place->inside) {
        return;
    }
    unsigned cell = ps_survival_cell(answer);
    if (whole && !place->blind) {
        pass(census, place, cell);
        count(&census->cell[cell > place->cell ? cell : place->cell].ended, 1);
    }
    step_out(census, place);
    add(&census->blind, place->blind ? -1 : 0);
    place->inside = false;
}

static double amount(const _Atomic int64_t *sum)
{
    int64_t value = atomic_load_explicit(sum, memory_order_relaxed);
    return value > 0 ? (double)value : 0;
}

void ps_census_read(const struct ps_census *census, struct ps_survival_count *out)
{
    out->arrived = (double)atomic_load_explicit(&census->arrived, memory_order_relaxed);
    out->blind = amount(&census->blind);
    for (unsigned i = 0; i < PS_SURVIVAL_CELLS; i++) {
        const struct ps_census_cell *cell = &census->cell[i];
        out->requests[i] = amount(&cell->requests);
        out->prompts[i] = amount(&cell->prompts);
        out->passed[i] = (double)atomic_load_explicit(&cell->passed, memory_order_relaxed);
        out->ended[i] = (double)atomic_load_explicit(&cell->ended, memory_order_relaxed);
    }
}
