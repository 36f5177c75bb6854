/* gpu_gates - what the gates let in, by the memory of the servers behind them (gpu.in_flight).
 *
 * One throttle for each gate. Its servers' figures are put together each time that one of them was
 * asked: capacities add up, the fullest counts. Old figures change nothing: the bound stays that
 * was good last, and the gate counts on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "gateway/backend.h"
#include "operate/gpu_room.h"

enum { GATES = 64 };

/* An upstream. The gate is only touched while one of its servers is among those that are asked. */
struct valve {
    struct ps_gate *gate;
    struct ps_throttle throttle;
    struct ps_throttle_sample sample;
    struct ps_throttle_bound bound;
    double troubles; /* of all its servers so far */
    double seen;
    bool counted, fresh, unknown;
};

struct ps_gpu_gates {
    struct valve valves[GATES];
    size_t count;
};

struct ps_gpu_gates *ps_gpu_gates_new(void)
{
    return calloc(1, sizeof(struct ps_gpu_gates));
}

void ps_gpu_gates_free(struct ps_gpu_gates *gates)
{
    free(gates);
}

static struct valve *valve_of(struct ps_gpu_gates *gates, struct ps_gate *gate, ps_time now)
{
    for (size_t i = 0; i < gates->count; i++) {
        if (gates->valves[i].gate == gate) {
            return &gates->valves[i];
        }
    }
    if (gates->count == GATES) {
        return NULL;
    }
    struct valve *valve = &gates->valves[gates->count++];
    *valve = (struct valve){.gate = gate};
    ps_throttle_init(&valve->throttle, now);
    return valve;
}

static void add(struct ps_device_reading *sum, struct ps_device_reading more)
{
    *sum = ps_device_known(sum->value + (more.known ? more.value : 0));
}

static double count_of(const struct ps_vitals *vitals, enum ps_vitals_field field)
{
    return vitals->readings[field].known ? vitals->readings[field].value : 0;
}

static void add_server(struct valve *valve, const struct ps_optimizer_target *target)
{
    const struct ps_vitals *vitals = target->vitals;
    struct ps_device_reading use = vitals->readings[PS_VITALS_KV_USE];
    struct ps_device_reading tokens = {0};
    struct ps_throttle_sample *sample = &valve->sample;
    if (ps_adapters[target->adapter].preallocates) {
        tokens = ps_vitals_kv_capacity(vitals);
    }
    valve->fresh = true;
    valve->unknown = valve->unknown || !tokens.known || !use.known;
    add(&sample->capacity, tokens);
    add(&sample->held, ps_device_known(use.known ? use.value * tokens.value : 0));
    if (target->effective.known &&
        (!sample->effective.known || target->effective.value > sample->effective.value)) {
        sample->effective = target->effective;
    }
    valve->seen +=
        count_of(vitals, PS_VITALS_PREEMPTIONS) + count_of(vitals, PS_VITALS_OUT_OF_MEMORY);
}

/* A counter that fell began anew, or a server has left. */
static void finish_sample(struct valve *valve, double target_percent)
{
    struct ps_gate_stats stats;
    struct ps_throttle_sample *sample = &valve->sample;
    ps_gate_read(valve->gate, &stats);
    sample->event = valve->counted && valve->seen > valve->troubles;
    valve->troubles = valve->seen;
    valve->counted = true;
    sample->target_percent = target_percent;
    sample->in_flight = stats.in_flight;
    sample->in_flight_tokens = stats.in_flight_tokens;
    for (size_t i = 0; i < PS_PRIORITY_COUNT; i++) {
        sample->queued += stats.queued[i];
    }
    if (valve->unknown) {
        sample->capacity = sample->held = (struct ps_device_reading){0};
    }
}

static void set_gate(struct valve *valve, ps_time now)
{
    ps_gate_throttle(valve->gate, valve->bound.requests, valve->bound.tokens, now);
}

static struct ps_gate *gate_of(struct ps_gpu *gpu, size_t spot, ps_time now, uint32_t *id)
{
    struct ps_scrape_view view;
    ps_scrape_read(gpu->scrape, spot, now, &view);
    *id = view.id;
    return view.backend == NULL ? NULL : view.backend->gate;
}

static void collect(struct ps_gpu *gpu, ps_time now, const struct ps_optimizer_target *targets,
                    size_t count)
{
    struct ps_gpu_gates *gates = gpu->gates;
    for (size_t i = 0; i < ps_scrape_count(gpu->scrape); i++) {
        uint32_t id;
        struct ps_gate *gate = gate_of(gpu, i, now, &id);
        struct valve *valve = gate == NULL ? NULL : valve_of(gates, gate, now);
        for (size_t k = 0; valve != NULL && k < count; k++) {
            if (targets[k].id == id && targets[k].fresh) {
                add_server(valve, &targets[k]);
            }
        }
    }
}

/* Those whose upstream is gone are forgotten; their gates may be gone, too. */
static void forget_others(struct ps_gpu *gpu, ps_time now)
{
    struct ps_gpu_gates *gates = gpu->gates;
    size_t kept = 0;
    for (size_t i = 0; i < gates->count; i++) {
        bool there = false;
        for (size_t k = 0; k < ps_scrape_count(gpu->scrape) && !there; k++) {
            uint32_t id;
            there = gate_of(gpu, k, now, &id) == gates->valves[i].gate;
        }
        if (there) {
            gates->valves[kept++] = gates->valves[i];
        }
    }
    gates->count = kept;
}

void ps_gpu_gates_push(struct ps_gpu *gpu, ps_time now, const struct ps_optimizer_target *targets,
                       size_t count)
{
    struct ps_gpu_gates *gates = gpu->gates;
    forget_others(gpu, now);
    for (size_t i = 0; i < gates->count; i++) {
        gates->valves[i].sample = (struct ps_throttle_sample){0};
        gates->valves[i].seen = 0;
        gates->valves[i].fresh = gates->valves[i].unknown = false;
    }
    collect(gpu, now, targets, count);
    for (size_t i = 0; i < gates->count; i++) {
        struct valve *valve = &gates->valves[i];
        if (valve->fresh) {
            finish_sample(valve, gpu->target_percent);
            valve->bound = ps_throttle_push(&valve->throttle, now, &valve->sample);
            set_gate(valve, now);
        }
    }
}

void ps_gpu_gates_open(struct ps_gpu *gpu, ps_time now)
{
    forget_others(gpu, now);
    for (size_t i = 0; i < gpu->gates->count; i++) {
        gpu->gates->valves[i].bound = (struct ps_throttle_bound){0};
        set_gate(&gpu->gates->valves[i], now);
    }
    gpu->gates->count = 0;
}

struct ps_throttle_bound ps_gpu_gates_bound(const struct ps_gpu *gpu, const struct ps_gate *gate)
{
    for (size_t i = 0; i < gpu->gates->count; i++) {
        if (gpu->gates->valves[i].gate == gate) {
            return gpu->gates->valves[i].bound;
        }
    }
    return (struct ps_throttle_bound){0};
}
