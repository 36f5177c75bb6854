#include "operate/gpu_outlook.h"

#include <math.h>
#include <stdlib.h>

#include "operate/gpu_demand.h"
#include "operate/optimizer.h"

enum { SERVERS = 64 };

#define CROWDED 5u   /* seconds */
#define SPARE   10.0 /* percent */

/* A server under watch. */
struct watch {
    uint32_t id;
    enum ps_adapter_id adapter;
    bool seen;
    double troubles; /* preemptions and failed allocations so far */
    bool counted;
    struct ps_pressure pressure;
    struct ps_cleanup cleanup;
    struct ps_gpu_demand demand;
    double running;   /* requests in the server, at the last look */
    unsigned crowded; /* looks in a row at which some waited though there was memory */
    struct ps_gpu_view view;
};

struct ps_gpu_outlook {
    struct watch *watches[SERVERS];
    size_t count;
};

struct ps_gpu_outlook *ps_gpu_outlook_new(void)
{
    return calloc(1, sizeof(struct ps_gpu_outlook));
}

void ps_gpu_outlook_free(struct ps_gpu_outlook *outlook)
{
    for (size_t i = 0; outlook != NULL && i < outlook->count; i++) {
        free(outlook->watches[i]);
    }
    free(outlook);
}

static double value_or(struct ps_device_reading reading, double otherwise)
{
    return reading.known ? reading.value : otherwise;
}

/* Preemptions and failed allocations; what is not told counts as none. */
static double troubles_of(const struct ps_vitals *vitals)
{
    return value_or(vitals->readings[PS_VITALS_PREEMPTIONS], 0) +
           value_or(vitals->readings[PS_VITALS_OUT_OF_MEMORY], 0);
}

static bool tells_troubles(const struct ps_vitals *vitals)
{
    return vitals->readings[PS_VITALS_PREEMPTIONS].known ||
           vitals->readings[PS_VITALS_OUT_OF_MEMORY].known;
}

static struct watch *watch_of(struct ps_gpu_outlook *outlook,
                              const struct ps_optimizer_target *target, double target_percent)
{
    for (size_t i = 0; i < outlook->count; i++) {
        if (outlook->watches[i]->id == target->id &&
            outlook->watches[i]->adapter == target->adapter) {
            return outlook->watches[i];
        }
    }
    struct watch *watch = outlook->count == SERVERS ? NULL : calloc(1, sizeof *watch);
    if (watch == NULL) {
        return NULL;
    }
    struct ps_pressure_opts opts = ps_pressure_opts_usual();
    struct ps_cleanup_opts usual = ps_cleanup_opts_usual();
    opts.target = target_percent;
    usual.exact = tells_troubles(target->vitals);
    ps_pressure_init(&watch->pressure, &opts);
    ps_cleanup_init(&watch->cleanup, &usual);
    ps_survival_init(&watch->demand.survival);
    watch->id = target->id;
    watch->adapter = target->adapter;
    outlook->watches[outlook->count++] = watch;
    return watch;
}

/* Did somebody run out of memory since the last second? A counter that fell began anew. */
static bool take_event(struct watch *watch, const struct ps_vitals *vitals)
{
    double troubles = troubles_of(vitals);
    bool event = watch->counted && troubles > watch->troubles;
    watch->troubles = troubles;
    watch->counted = true;
    return event;
}

static double unused_of(const struct ps_vitals *vitals)
{
    return value_or(vitals->readings[PS_VITALS_ALLOCATOR_RESERVED], NAN) -
           value_or(vitals->readings[PS_VITALS_ALLOCATOR_ACTIVE], NAN);
}

/* ---------------------------------------------------------------- what is asked for */

/* Who waits in the server though a tenth of the memory is free, while nobody more comes in, waits
 * for a seat. */
static bool waits_for_a_seat(struct watch *watch, double use, double running, double waiting)
{
    bool crowded = waiting > 0 && use < 100 - SPARE && running <= watch->running;
    watch->crowded = crowded ? watch->crowded + 1 : 0;
    watch->running = running;
    return watch->crowded >= CROWDED;
}

/* The prompts that wait inside the server, in tokens: it says how many there are, and the gateway
 * how long they are on average. */
static double waiting_inside(struct watch *watch, const struct ps_optimizer_target *target,
                             const struct ps_gpu_crowd *crowd)
{
    double waiting = value_or(target->vitals->readings[PS_VITALS_WAITING], 0);
    double running = value_or(target->vitals->readings[PS_VITALS_RUNNING], 0);
    double requests = ps_survival_requests(&crowd->count);
    double prompts = 0;
    for (size_t i = 0; i < PS_SURVIVAL_CELLS; i++) {
        prompts += crowd->count.prompts[i];
    }
    return requests <= 0 || waits_for_a_seat(watch, target->effective.value, running, waiting)
               ? 0
               : fmin(waiting, requests) * prompts / requests;
}

/* Tokens become percent of the cache, as what is held is. Without the size of the cache the
 * gateway's figures can't be compared with the server's. */
static void add_demand(struct watch *watch, const struct ps_optimizer_target *target,
                       const struct ps_gpu_crowd *crowd, struct ps_cleanup_sample *sample,
                       double *known)
{
    struct ps_gpu_evidence *evidence = &watch->view.evidence;
    const struct ps_cleanup_opts *opts = &watch->cleanup.opts;
    struct ps_device_reading capacity = ps_vitals_kv_capacity(target->vitals);
    struct ps_gpu_tokens tokens;
    *evidence = (struct ps_gpu_evidence){.held_percent = target->effective.value};
    if (crowd == NULL || !capacity.known || !ps_adapters[target->adapter].preallocates) {
        return;
    }
    ps_gpu_demand_push(&watch->demand, crowd, opts->step, opts->steps, &tokens);
    double inside = waiting_inside(watch, target, crowd);
    double percent = 100 / capacity.value;
    sample->queued = (inside + tokens.queued) * percent;
    sample->flight = tokens.followed ? tokens.flight * percent : NAN;
    sample->arrived = tokens.arrived * percent;
    for (size_t i = 0; tokens.knows && i < opts->steps; i++) {
        known[i] = tokens.known[i] * percent;
    }
    sample->known = tokens.knows ? known : NULL;
    *evidence = (struct ps_gpu_evidence){.held_percent = target->effective.value,
                                         .from_gateway = true,
                                         .capacity = capacity.value,
                                         .flight = tokens.flight - tokens.queued,
                                         .inside = inside,
                                         .queued = tokens.queued,
                                         .arrived = tokens.arrived};
}

/* In percent of what there is, so that cache and device look alike. */
static void push(struct watch *watch, ps_time now, const struct ps_optimizer_target *target,
                 const struct ps_gpu_crowd *crowd)
{
    bool pool = ps_adapters[target->adapter].preallocates;
    bool event = take_event(watch, target->vitals);
    double known[PS_FORECAST_STEPS];
    /* What fills a device is models and what allocators keep, not requests: it goes on as it does.
     */
    struct ps_cleanup_sample sample = {
        .held = target->effective.value, .limit = 100, .flight = pool ? NAN : 0, .event = event};
    add_demand(watch, target, crowd, &sample, known);
    watch->view.answer = ps_cleanup_push(&watch->cleanup, now, &sample);
    const struct ps_pressure_sample strain = {
        .device_used = value_or(target->utilization, NAN),
        .device_total = target->utilization.known ? 100 : NAN,
        .pool_used = pool ? target->effective.value : NAN,
        .pool_total = pool ? 100 : NAN,
        .unused = target->used.known && target->utilization.known && target->used.value > 0
                      ? unused_of(target->vitals) * target->utilization.value / target->used.value
                      : NAN,
        .event = event,
        .until = watch->view.answer.until};
    watch->view.level = ps_pressure_push(&watch->pressure, now, &strain);
}

static void forget_others(struct ps_gpu_outlook *outlook)
{
    size_t kept = 0;
    for (size_t i = 0; i < outlook->count; i++) {
        if (outlook->watches[i]->seen) {
            outlook->watches[kept++] = outlook->watches[i];
        } else {
            free(outlook->watches[i]);
        }
    }
    outlook->count = kept;
}

void ps_gpu_outlook_push(struct ps_gpu_outlook *outlook, ps_time now, double target_percent,
                         const struct ps_optimizer_target *targets,
                         const struct ps_gpu_crowd *const *crowds, size_t count)
{
    for (size_t i = 0; i < outlook->count; i++) {
        outlook->watches[i]->seen = false;
    }
    for (size_t i = 0; i < count; i++) {
        struct watch *watch = targets[i].fresh && targets[i].effective.known
                                  ? watch_of(outlook, &targets[i], target_percent)
                                  : NULL;
        if (watch != NULL) {
            watch->seen = true;
            watch->pressure.opts.target = target_percent;
            push(watch, now, &targets[i], crowds[i]);
        }
    }
    forget_others(outlook);
}

bool ps_gpu_outlook_read(const struct ps_gpu_outlook *outlook, uint32_t id,
                         struct ps_gpu_view *view)
{
    for (size_t i = 0; i < outlook->count; i++) {
        if (outlook->watches[i]->id == id) {
            *view = outlook->watches[i]->view;
            return true;
        }
    }
    return false;
}
