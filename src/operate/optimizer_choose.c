/* optimizer_choose - how full it is, and what would be asked for next.
 *
 * Nothing here changes the optimizer: figures and a run go in, a candidate comes out.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>

#include "operate/optimizer_private.h"

/* --- how full it is --------------------------------------------------------------------------- */

/* What somebody asked for is about the device; on its own it goes by what counts for the engine. */
static struct ps_device_reading percent_of(const struct ps_optimizer_target *target, bool manual)
{
    bool device = manual && target->utilization.known;
    return device ? target->utilization : target->effective;
}

bool ps_optimizer_is_over(const struct ps_optimizer_target *target, bool manual, double limit)
{
    struct ps_device_reading percent = percent_of(target, manual);
    return target->fresh && percent.known && percent.value > limit;
}

/* On its own it also acts on what is going to be. */
bool ps_optimizer_needs_room(const struct ps_optimizer *optimizer,
                             const struct ps_optimizer_target *target, bool manual, double limit)
{
    bool soon = !manual && target->fresh && target->soon.known &&
                target->soon.value > optimizer->opts.target_percent;
    return soon || ps_optimizer_is_over(target, manual, limit);
}

struct ps_device_reading ps_optimizer_fullest(const struct ps_optimizer *optimizer, bool manual)
{
    struct ps_device_reading most = {0};
    for (size_t i = 0; i < optimizer->target_count; i++) {
        struct ps_device_reading percent = percent_of(&optimizer->targets[i], manual);
        if (optimizer->targets[i].fresh && percent.known &&
            (!most.known || percent.value > most.value)) {
            most = percent;
        }
    }
    return most;
}

bool ps_optimizer_any_over(const struct ps_optimizer *optimizer, bool manual, double limit)
{
    for (size_t i = 0; i < optimizer->target_count; i++) {
        if (ps_optimizer_needs_room(optimizer, &optimizer->targets[i], manual, limit)) {
            return true;
        }
    }
    return false;
}

/* --- choosing --------------------------------------------------------------------------------- */

static bool was_tried(const struct ps_optimizer_run *run, uint32_t id, const struct ps_hook *hook,
                      const char *model)
{
    for (size_t i = 0; i < run->step_count; i++) {
        const struct ps_optimizer_step *step = &run->steps[i];
        if (step->id == id && step->hook == hook && strcmp(step->model, model) == 0) {
            return true;
        }
    }
    return false;
}

/* A call that would change nothing is not made. */
static bool is_pointless(const struct ps_optimizer_target *target, const struct ps_hook *hook,
                         struct ps_device_reading expected)
{
    bool asleep =
        target->vitals->state == PS_VITALS_ASLEEP || target->vitals->state == PS_VITALS_EMPTY;
    if (hook->rung == PS_RUNG_WAKE) {
        return target->vitals->state == PS_VITALS_AWAKE && !target->stopped && !target->limited;
    }
    if (target->stopped) {
        return hook->rung != PS_RUNG_RESTART;
    }
    bool sleeps = hook->rung == PS_RUNG_SLEEP || hook->rung == PS_RUNG_DEEP_SLEEP;
    return (sleeps && asleep && !hook->deepens) || (expected.known && expected.value <= 0);
}

static void note_busy(struct ps_optimizer_blocked *blocked,
                      const struct ps_optimizer_target *target)
{
    snprintf(blocked->busy, sizeof blocked->busy, "%s", target->name);
}

static void note_unnamed(struct ps_optimizer_blocked *blocked,
                         const struct ps_optimizer_target *target, enum ps_rung rung)
{
    if (blocked->unnamed[0] == '\0') {
        snprintf(blocked->unnamed, sizeof blocked->unnamed, "%s", target->name);
        blocked->rung = rung;
    }
}

/* May it be called while its server works? */
static bool spares_requests(const struct ps_optimizer *optimizer,
                            const struct ps_optimizer_candidate *one)
{
    ps_span enough = optimizer->opts.idle_after;
    return one->hook->running || optimizer->opts.act_on_busy ||
           (one->hook->others && enough > 0 && one->idle >= enough);
}

/* Of the same rung: the model that was idle for longer, or what promises more. */
static bool is_better(const struct ps_optimizer_candidate *one,
                      const struct ps_optimizer_candidate *best)
{
    if (best->hook == NULL) {
        return true;
    }
    if (best->hook->rung != one->hook->rung) {
        return false;
    }
    bool told = one->idle >= 0 && best->idle >= 0 && one->idle != best->idle;
    return told ? one->idle > best->idle : one->expected.value > best->expected.value;
}

/* Takes it if it is better than the best so far of this rung. */
static void consider(const struct ps_optimizer *optimizer, const struct ps_optimizer_run *run,
                     const struct ps_optimizer_candidate *one, struct ps_optimizer_candidate *best,
                     struct ps_optimizer_blocked *blocked)
{
    const struct ps_optimizer_target *target = one->target;
    if (was_tried(run, target->id, one->hook, one->model) ||
        is_pointless(target, one->hook, one->expected)) {
        return;
    }
    if ((run->rungs & 1u << one->hook->rung) == 0) {
        note_unnamed(blocked, target, one->hook->rung);
    } else if (target->busy && !spares_requests(optimizer, one)) {
        note_busy(blocked, target);
    } else if (is_better(one, best)) {
        *best = *one;
    }
}

static struct ps_optimizer_candidate candidate_of(const struct ps_optimizer_target *target,
                                                  const struct ps_hook *hook, const char *model)
{
    bool spares = hook->expects == PS_HOOK_EXPECTS_SPARE;
    struct ps_device_reading alone = spares          ? target->spare
                                     : target->alone ? target->used
                                                     : (struct ps_device_reading){0};
    return (struct ps_optimizer_candidate){
        target, hook, model, ps_hook_expected(hook, target->vitals, model, alone), -1};
}

/* What the server can be asked for comes before what is done to it, unless that is to be undone. */
static const struct ps_hook *hook_for(const struct ps_optimizer_target *target, enum ps_rung rung)
{
    bool undo = target->stopped || (target->limited && rung == PS_RUNG_WAKE);
    const struct ps_hook *asked = undo ? NULL : ps_hook_find(target->adapter, rung);
    bool can = (target->means & 1u << rung) != 0;
    return asked != NULL || !can ? asked : ps_hook_find(PS_ADAPTER_COUNT, rung);
}

static void consider_target(const struct ps_optimizer *optimizer,
                            const struct ps_optimizer_run *run,
                            const struct ps_optimizer_target *target, enum ps_rung rung,
                            struct ps_optimizer_candidate *best,
                            struct ps_optimizer_blocked *blocked)
{
    const struct ps_hook *hook = hook_for(target, rung);
    if (hook == NULL) {
        return;
    }
    if (!hook->per_model || target->instance[0] != '\0') {
        struct ps_optimizer_candidate one =
            candidate_of(target, hook, hook->per_model ? target->instance : "");
        consider(optimizer, run, &one, best, blocked);
        return;
    }
    for (size_t i = 0; i < target->vitals->model_count; i++) {
        const struct ps_vitals_model *model = &target->vitals->models[i];
        if (model->loaded && model->listed) {
            struct ps_optimizer_candidate one = candidate_of(target, hook, model->name);
            one.idle = model->used > 0 ? optimizer->now - model->used : -1;
            consider(optimizer, run, &one, best, blocked);
        }
    }
}

/* May this server be asked to give something? It is over the target; or somebody asks, and nobody
 * knows how full it is. */
static bool is_concerned(const struct ps_optimizer *optimizer, const struct ps_optimizer_run *run,
                         const struct ps_optimizer_target *target)
{
    if (!target->fresh) {
        return target->stopped && ps_optimizer_is_wake(run);
    }
    bool known = percent_of(target, run->manual).known;
    return ps_optimizer_is_wake(run) || (run->manual && !known) ||
           ps_optimizer_needs_room(optimizer, target, run->manual, run->target_percent);
}

/* The cheapest rung that is left, of it what promises most. */
struct ps_optimizer_candidate ps_optimizer_choose(const struct ps_optimizer *optimizer,
                                                  const struct ps_optimizer_run *run,
                                                  struct ps_optimizer_blocked *blocked)
{
    struct ps_optimizer_candidate best = {0};
    for (int rung = 0; rung < PS_RUNG_COUNT && best.hook == NULL; rung++) {
        if ((rung == PS_RUNG_WAKE) != ps_optimizer_is_wake(run)) {
            continue;
        }
        for (size_t i = 0; i < optimizer->target_count; i++) {
            if (is_concerned(optimizer, run, &optimizer->targets[i])) {
                consider_target(optimizer, run, &optimizer->targets[i], (enum ps_rung)rung, &best,
                                blocked);
            }
        }
    }
    return best;
}
