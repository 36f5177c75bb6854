#include "operate/gpu_outlook.h"

#include <math.h>
#include <stdlib.h>

#include "operate/optimizer.h"

enum { SERVERS = 64 };

/* A server under watch. */
struct watch {
    uint32_t id;
    enum ps_adapter_id adapter;
    bool seen;
    double troubles; /* preemptions and failed allocations so far */
    bool counted;
    struct ps_pressure pressure;
    struct ps_cleanup cleanup;
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

/* In percent of what there is, so that cache and device look alike. */
static void push(struct watch *watch, ps_time now, const struct ps_optimizer_target *target)
{
    bool pool = ps_adapters[target->adapter].preallocates;
    bool event = take_event(watch, target->vitals);
    /* What fills a device is models and what allocators keep, not requests: it goes on as it does. */
    const struct ps_cleanup_sample sample = {.held = target->effective.value,
                                             .limit = 100,
                                             .flight = pool ? NAN : 0,
                                             .event = event};
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
                         const struct ps_optimizer_target *targets, size_t count)
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
            push(watch, now, &targets[i]);
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
