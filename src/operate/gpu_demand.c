#include "operate/gpu_demand.h"

#include <math.h>
#include <string.h>

#include "base/check.h"
#include "gateway/backend.h"

#define MOST_BLIND 0.2 /* of those in flight */

/* The part of an upstream's gate that is this endpoint's: by weight, among those that are in. */
static double share_of(const struct ps_backend *backend, const struct ps_endpoint *endpoint)
{
    double own = 0;
    double all = 0;
    for (size_t i = 0; i < backend->count; i++) {
        bool mine = backend->endpoints[i] == endpoint;
        double weight = (double)backend->weights[i];
        own += mine ? weight : 0;
        all += mine || ps_endpoint_is_in(backend->endpoints[i]) ? weight : 0;
    }
    return all > 0 ? own / all : 0;
}

static double seats_of(const struct ps_admit_opts *opts, double estimate)
{
    double seats = opts->max_in_flight == 0 ? INFINITY : (double)opts->max_in_flight;
    if (opts->max_in_flight_tokens > 0 && estimate > 0) {
        seats = fmin(seats, fmax(1, (double)opts->max_in_flight_tokens / estimate));
    }
    return seats;
}

void ps_gpu_crowd_read(const struct ps_backend *backend, const struct ps_endpoint *endpoint,
                       struct ps_gpu_crowd *out)
{
    struct ps_gate_stats gate;
    double share = share_of(backend, endpoint);
    double waiting = 0;
    ps_gate_read(backend->gate, &gate);
    for (size_t i = 0; i < PS_PRIORITY_COUNT; i++) {
        waiting += (double)gate.queued[i];
    }
    double all = (double)gate.in_flight + waiting;
    ps_census_read(&endpoint->census, &out->count);
    out->waiting = waiting * share;
    out->waiting_prompts = (double)gate.queued_prompts * share;
    out->estimate = all > 0 ? (double)(gate.in_flight_tokens + gate.queued_tokens) / all : 0;
    out->seats = seats_of(&backend->admission, out->estimate) * share;
}

/* ---------------------------------------------------------------- what it means */

static double prompts_of(const struct ps_survival_count *count)
{
    double sum = 0;
    for (size_t i = 0; i < PS_SURVIVAL_CELLS; i++) {
        sum += count->prompts[i];
    }
    return sum;
}

/* What waits and will come in: no more than the gate's seats come to hold beside what is there. */
static double coming_of(const struct ps_gpu_demand *demand, const struct ps_gpu_crowd *crowd,
                        double flight)
{
    double all = ps_survival_requests(&crowd->count) + crowd->waiting;
    if (crowd->waiting_prompts <= 0 || all <= 0) {
        return 0;
    }
    double prompt = (prompts_of(&crowd->count) + crowd->waiting_prompts) / all;
    double answer = fmin(ps_survival_mean(&demand->survival), fmax(crowd->estimate - prompt, 0));
    return fmin(crowd->waiting_prompts, fmax(crowd->seats * (prompt + answer) - flight, 0));
}

/* Those who will come in stand among those who have written nothing yet. */
static bool look_ahead(const struct ps_gpu_demand *demand, const struct ps_gpu_crowd *crowd,
                       double queued, const unsigned *ahead, size_t steps, double *known)
{
    struct ps_survival_count count = crowd->count;
    if (queued > 0) {
        count.requests[0] += crowd->waiting * queued / crowd->waiting_prompts;
        count.prompts[0] += queued;
    }
    return ps_survival_expect(&demand->survival, &count, ahead, steps, known);
}

void ps_gpu_demand_push(struct ps_gpu_demand *demand, const struct ps_gpu_crowd *crowd,
                        const unsigned *ahead, size_t steps, struct ps_gpu_tokens *out)
{
    PS_CHECK(steps <= PS_ARRAY_LEN(out->known));
    double requests = ps_survival_requests(&crowd->count);
    double held = ps_survival_held(&crowd->count);
    ps_survival_push(&demand->survival, &crowd->count);
    memset(out, 0, sizeof *out);
    out->queued = coming_of(demand, crowd, held);
    out->flight = held + out->queued;
    if (demand->begun && crowd->count.arrived >= demand->arrived) {
        out->arrived =
            fmax(crowd->count.arrived - demand->arrived + out->queued - demand->queued, 0);
    }
    out->followed = crowd->count.blind <= MOST_BLIND * requests;
    out->knows = out->followed && look_ahead(demand, crowd, out->queued, ahead, steps, out->known);
    demand->begun = true;
    demand->arrived = crowd->count.arrived;
    demand->queued = out->queued;
}
