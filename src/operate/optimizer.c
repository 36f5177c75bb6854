#include "operate/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "operate/optimizer_private.h"

#define LEAST_FREED (64.0 * 1048576.0) /* less is noise where nobody said how much it would be */
#define SLACK       (16.0 * 1048576.0) /* to this precision memory is measured */
#define LATE_UNTIL  (30 * PS_SECOND)
#define QUIET_MOST  4 /* doublings of the cool-down while nothing can be done */

const char *const ps_optimizer_mode_names[] = {"off", "advise", "auto", NULL};
const char *const ps_optimizer_verdict_names[] = {
    "calling",   "measuring", "dry_run", "freed",  "done",   "unproven",
    "not_freed", "busy",      "missing", "denied", "failed", "stopped",
};
const char *const ps_optimizer_outcome_names[] = {"running", "target_met", "exhausted",
                                                  "no_rung", "planned",    "ended"};

int ps_optimizer_new(struct ps_optimizer **out, const struct ps_optimizer_ops *ops)
{
    struct ps_optimizer *optimizer = calloc(1, sizeof *optimizer);
    if (optimizer == NULL) {
        return PS_ENOMEM;
    }
    optimizer->ops = *ops;
    optimizer->mode = PS_OPTIMIZER_ADVISE;
    optimizer->over_since = PS_NEVER;
    pthread_mutex_init(&optimizer->stats_lock, NULL);
    *out = optimizer;
    return PS_OK;
}

void ps_optimizer_free(struct ps_optimizer *optimizer)
{
    if (optimizer != NULL) {
        pthread_mutex_destroy(&optimizer->stats_lock);
        free(optimizer);
    }
}

void ps_optimizer_set(struct ps_optimizer *optimizer, const struct ps_optimizer_opts *opts)
{
    optimizer->opts = *opts;
}

static struct ps_optimizer_run *current(struct ps_optimizer *optimizer)
{
    return &optimizer->runs[(optimizer->count - 1) % PS_OPTIMIZER_RUNS];
}

static void tell(const struct ps_optimizer *optimizer)
{
    if (optimizer->ops.on_change != NULL) {
        optimizer->ops.on_change(optimizer->ops.ctx);
    }
}

static double begin_percent(const struct ps_optimizer *optimizer)
{
    return optimizer->opts.target_percent - optimizer->opts.margin_percent;
}

static double end_percent(const struct ps_optimizer *optimizer)
{
    return optimizer->opts.target_percent - 2 * optimizer->opts.margin_percent;
}

static const struct ps_optimizer_target *find_target(const struct ps_optimizer *optimizer,
                                                     uint32_t id)
{
    for (size_t i = 0; i < optimizer->target_count; i++) {
        if (optimizer->targets[i].id == id) {
            return &optimizer->targets[i];
        }
    }
    return NULL;
}

static void measure(struct ps_optimizer *optimizer, ps_time now)
{
    optimizer->now = now;
    optimizer->target_count =
        optimizer->ops.measure(optimizer->ops.ctx, now, optimizer->targets, PS_OPTIMIZER_TARGETS);
    PS_CHECK(optimizer->target_count <= PS_OPTIMIZER_TARGETS);
}

/* --- runs ------------------------------------------------------------------------------------- */

static struct ps_optimizer_run *begin_run(struct ps_optimizer *optimizer, ps_time now, bool manual)
{
    optimizer->count++;
    struct ps_optimizer_run *run = current(optimizer);
    memset(run, 0, sizeof *run);
    run->number = optimizer->first + optimizer->count;
    run->mode = optimizer->mode;
    run->manual = manual;
    run->rungs = optimizer->opts.rungs;
    run->target_percent = manual ? optimizer->opts.target_percent : end_percent(optimizer);
    run->began = now;
    optimizer->running = true;
    return run;
}

static void end_run(struct ps_optimizer *optimizer, enum ps_optimizer_outcome outcome, ps_time now)
{
    struct ps_optimizer_run *run = current(optimizer);
    bool idle = outcome == PS_OPTIMIZER_NO_RUNG || outcome == PS_OPTIMIZER_PLANNED;
    run->ended = now;
    run->outcome = outcome;
    run->percent_after = ps_optimizer_fullest(optimizer, run->manual);
    optimizer->running = false;
    pthread_mutex_lock(&optimizer->stats_lock);
    optimizer->stats.runs[outcome]++;
    pthread_mutex_unlock(&optimizer->stats_lock);
    optimizer->quiet = idle ? optimizer->quiet + 1 : 0;
    unsigned doublings = optimizer->quiet < QUIET_MOST ? optimizer->quiet : QUIET_MOST;
    optimizer->cool_until = now + (optimizer->opts.cool_down << (idle ? doublings : 0));
    optimizer->over_since = PS_NEVER;
    tell(optimizer);
}

static void end_step(struct ps_optimizer *optimizer, enum ps_optimizer_verdict verdict, ps_time now)
{
    struct ps_optimizer_step *step = optimizer->step;
    step->verdict = verdict;
    step->ended = now;
    optimizer->step = NULL;
    bool freed = step->before.known && step->after.known &&
                 step->after.value < step->before.value && verdict != PS_OPTIMIZER_DRY;
    pthread_mutex_lock(&optimizer->stats_lock);
    optimizer->stats.steps[verdict]++;
    optimizer->stats.freed += freed ? step->before.value - step->after.value : 0;
    pthread_mutex_unlock(&optimizer->stats_lock);
    tell(optimizer);
}

void ps_optimizer_end(struct ps_optimizer *optimizer, const char *why, ps_time now)
{
    if (!optimizer->running) {
        return;
    }
    if (optimizer->step != NULL) {
        bool calling = optimizer->step->verdict == PS_OPTIMIZER_CALLING;
        snprintf(optimizer->step->why, sizeof optimizer->step->why, "%s", why);
        end_step(optimizer, PS_OPTIMIZER_STOPPED, now);
        if (calling) {
            optimizer->ops.cancel(optimizer->ops.ctx);
        }
    }
    snprintf(current(optimizer)->why, PS_OPTIMIZER_WHY, "%s", why);
    end_run(optimizer, PS_OPTIMIZER_ENDED, now);
}

void ps_optimizer_set_mode(struct ps_optimizer *optimizer, enum ps_optimizer_mode mode, ps_time now)
{
    optimizer->mode = mode;
    optimizer->quiet = 0;
    optimizer->cool_until = 0;
    if (mode == PS_OPTIMIZER_OFF) {
        ps_optimizer_end(optimizer, "switched off", now);
    }
}

enum ps_optimizer_mode ps_optimizer_mode(const struct ps_optimizer *optimizer)
{
    return optimizer->mode;
}

void ps_optimizer_count_from(struct ps_optimizer *optimizer, uint64_t number)
{
    PS_CHECK(optimizer->count == 0);
    optimizer->first = number;
}

/* Cut between characters, not inside one. */
static void copy_who(struct ps_optimizer_run *run, const char *who)
{
    struct ps_str rest = ps_str_from(who);
    size_t len = 0;
    for (size_t n; (n = ps_str_utf8_length(rest)) > 0 && len + n < sizeof run->who; len += n) {
        rest = ps_str_skip(rest, n);
    }
    memcpy(run->who, len == 0 ? "" : who, len);
    run->who[len] = '\0';
}

int ps_optimizer_order(struct ps_optimizer *optimizer, const struct ps_optimizer_order *order,
                       ps_time now, uint64_t *number)
{
    if (optimizer->mode == PS_OPTIMIZER_OFF) {
        return PS_ECANCELED;
    }
    if (optimizer->running) {
        return PS_EBUSY;
    }
    measure(optimizer, now);
    struct ps_optimizer_run *run = begin_run(optimizer, now, true);
    run->dry_run = order->dry_run;
    run->level = order->level;
    copy_who(run, order->who);
    run->rungs = order->rungs != 0 ? order->rungs : run->rungs;
    run->target_percent = order->target_percent > 0 ? order->target_percent : run->target_percent;
    run->percent_before = ps_optimizer_fullest(optimizer, true);
    *number = run->number;
    return PS_OK;
}

/* --- ends of a run ---------------------------------------------------------------------------- */

static size_t count_steps(const struct ps_optimizer_run *run, enum ps_optimizer_verdict verdict)
{
    size_t count = 0;
    for (size_t i = 0; i < run->step_count; i++) {
        count += run->steps[i].verdict == verdict ? 1 : 0;
    }
    return count;
}

static void say_no_rung(struct ps_optimizer_run *run, const struct ps_optimizer_blocked *blocked)
{
    if (run->step_count > 0) {
        snprintf(run->why, sizeof run->why,
                 "its calls were tried against mocks only, and gpu.trust_unverified is no");
    } else if (blocked->busy[0] != '\0') {
        snprintf(run->why, sizeof run->why, "%.100s works on requests: nothing is taken from it",
                 blocked->busy);
    } else if (blocked->unnamed[0] != '\0') {
        snprintf(run->why, sizeof run->why, "%.100s has the rung %s, which is not allowed",
                 blocked->unnamed, ps_rung_names[blocked->rung]);
    } else {
        snprintf(run->why, sizeof run->why, "%s",
                 ps_optimizer_is_wake(run)
                     ? "no server is asleep"
                     : "no server that is over the target has a call that frees memory");
    }
}

static void end_ladder(struct ps_optimizer *optimizer, const struct ps_optimizer_blocked *blocked,
                       ps_time now)
{
    struct ps_optimizer_run *run = current(optimizer);
    if (run->dry_run && run->step_count > 0) {
        end_run(optimizer, PS_OPTIMIZER_PLANNED, now);
    } else if (count_steps(run, PS_OPTIMIZER_DRY) == run->step_count) {
        say_no_rung(run, blocked);
        end_run(optimizer, PS_OPTIMIZER_NO_RUNG, now);
    } else {
        bool woken =
            ps_optimizer_is_wake(run) && count_steps(run, PS_OPTIMIZER_DONE) == run->step_count;
        end_run(optimizer, woken ? PS_OPTIMIZER_TARGET_MET : PS_OPTIMIZER_EXHAUSTED, now);
    }
}

/* How full the fullest would be if all that was planned came true. */
static bool would_be_enough(const struct ps_optimizer *optimizer,
                            const struct ps_optimizer_run *run)
{
    double freed = 0;
    for (size_t i = 0; i < run->step_count; i++) {
        freed += run->steps[i].expected.value;
    }
    for (size_t i = 0; i < optimizer->target_count; i++) {
        const struct ps_optimizer_target *target = &optimizer->targets[i];
        if (!ps_optimizer_is_over(target, run->manual, run->target_percent)) {
            continue;
        }
        if (!target->used.known || !target->utilization.known || target->used.value <= 0) {
            return false;
        }
        double total = target->used.value * 100 / target->utilization.value;
        if (100 * (target->used.value - freed) / total > run->target_percent) {
            return false;
        }
    }
    return freed > 0;
}

/* Is the run at its end? Ended then. */
static bool is_met(struct ps_optimizer *optimizer, ps_time now)
{
    struct ps_optimizer_run *run = current(optimizer);
    if (ps_optimizer_is_wake(run)) {
        return false;
    }
    if (run->dry_run && would_be_enough(optimizer, run)) {
        end_run(optimizer, PS_OPTIMIZER_PLANNED, now);
        return true;
    }
    struct ps_device_reading percent = ps_optimizer_fullest(optimizer, run->manual);
    if (percent.known && !ps_optimizer_any_over(optimizer, run->manual, run->target_percent)) {
        if (run->step_count == 0) {
            snprintf(run->why, sizeof run->why, "it is not over the target");
        }
        end_run(optimizer, PS_OPTIMIZER_TARGET_MET, now);
        return true;
    }
    return false;
}

/* --- a step ----------------------------------------------------------------------------------- */

static void begin_step(struct ps_optimizer *optimizer,
                       const struct ps_optimizer_candidate *candidate, ps_time now)
{
    struct ps_optimizer_run *run = current(optimizer);
    const struct ps_optimizer_target *target = candidate->target;
    struct ps_optimizer_step *step = &run->steps[run->step_count++];
    bool unverified = candidate->hook->verified == NULL && !optimizer->opts.trust_unverified;
    *step = (struct ps_optimizer_step){.id = target->id,
                                       .adapter = target->adapter,
                                       .hook = candidate->hook,
                                       .began = now,
                                       .expected = candidate->expected,
                                       .before = target->used,
                                       .kv_before = target->vitals->readings[PS_VITALS_KV_USE],
                                       .busy = target->busy,
                                       .state = target->vitals->state,
                                       .simulated = target->vitals->simulated};
    snprintf(step->target, sizeof step->target, "%s", target->name);
    snprintf(step->model, sizeof step->model, "%s", candidate->model);
    optimizer->step = step;
    if (run->dry_run || unverified) {
        snprintf(step->why, sizeof step->why, "%s",
                 run->dry_run ? "" : "tried against mocks only, and gpu.trust_unverified is no");
        end_step(optimizer, PS_OPTIMIZER_DRY, now);
        return;
    }
    optimizer->before = *target->vitals;
    optimizer->last = target->used;
    int err = optimizer->ops.call(optimizer->ops.ctx, target->id, candidate->hook, step->model);
    if (err != PS_OK) {
        snprintf(step->why, sizeof step->why, "%s", ps_err_text(err));
        end_step(optimizer, PS_OPTIMIZER_FAILED, now);
    }
}

static enum ps_optimizer_verdict verdict_of(enum ps_hook_answer answer)
{
    switch (answer) {
    case PS_HOOK_DONE:
        return PS_OPTIMIZER_MEASURING;
    case PS_HOOK_BUSY:
        return PS_OPTIMIZER_REFUSED;
    case PS_HOOK_MISSING:
        return PS_OPTIMIZER_MISSING;
    case PS_HOOK_DENIED:
        return PS_OPTIMIZER_DENIED;
    case PS_HOOK_FAILED:
        break;
    }
    return PS_OPTIMIZER_FAILED;
}

void ps_optimizer_on_answer(struct ps_optimizer *optimizer, int err, enum ps_hook_answer answer,
                            int status, ps_time now)
{
    struct ps_optimizer_step *step = optimizer->step;
    if (step == NULL || step->verdict != PS_OPTIMIZER_CALLING) {
        return;
    }
    step->answered = now;
    step->status = err == PS_OK ? status : 0;
    if (err != PS_OK) {
        snprintf(step->why, sizeof step->why, "%s", ps_err_text(err));
        end_step(optimizer, PS_OPTIMIZER_FAILED, now);
        return;
    }
    enum ps_optimizer_verdict verdict = verdict_of(answer);
    if (verdict == PS_OPTIMIZER_MEASURING) {
        step->verdict = verdict;
        optimizer->poll_at = now;
        return;
    }
    snprintf(step->why, sizeof step->why, "status %d%s%s", status,
             verdict == PS_OPTIMIZER_MISSING && step->hook->needs != NULL ? ": it needs " : "",
             verdict == PS_OPTIMIZER_MISSING && step->hook->needs != NULL ? step->hook->needs : "");
    end_step(optimizer, verdict, now);
}

void ps_optimizer_on_failure(struct ps_optimizer *optimizer, const char *why, ps_time now)
{
    struct ps_optimizer_step *step = optimizer->step;
    if (step != NULL && step->verdict == PS_OPTIMIZER_CALLING) {
        step->answered = now;
        snprintf(step->why, sizeof step->why, "%s", why);
        end_step(optimizer, PS_OPTIMIZER_FAILED, now);
    }
}

/* Bytes that left the device since before the call; unknown where nobody tells. */
static struct ps_device_reading freed_by(const struct ps_optimizer_step *step,
                                         struct ps_device_reading now)
{
    bool known = step->before.known && now.known;
    return (struct ps_device_reading){known ? step->before.value - now.value : 0, known};
}

/* Half is not enough; figures may be off by a little. */
static bool is_short(const struct ps_optimizer_step *step, double freed)
{
    double expected = step->expected.value;
    double slack = fmin(SLACK, expected / 16);
    return step->expected.known ? freed < expected / 2 + slack : freed < LEAST_FREED;
}

static void say_short(struct ps_optimizer_step *step, struct ps_device_reading freed)
{
    const char *own = !step->showable ? ""
                      : step->shown   ? "; its own state says it is"
                                      : "; nor does its own state";
    if (!freed.known) {
        snprintf(step->why, sizeof step->why,
                 "it answered with success, and its own state does not show it");
    } else if (step->expected.known) {
        snprintf(step->why, sizeof step->why,
                 "it answered with success, and %.0f of %.0f MiB are free%s",
                 fmax(freed.value, 0) / 1048576, step->expected.value / 1048576, own);
    } else {
        snprintf(step->why, sizeof step->why, "it answered with success, and %.0f MiB are free%s",
                 fmax(freed.value, 0) / 1048576, own);
    }
}

/* Of a server at work nothing is a lie that its other requests explain: it finishes who uses the
 * model, and others take what it gives. True: that is what it is. */
static bool explain(struct ps_optimizer *optimizer, bool lie, ps_time now)
{
    struct ps_optimizer_step *step = optimizer->step;
    bool there = step->showable && !step->shown;
    if (!step->hook->others || !(step->wanted || (lie && step->busy))) {
        return false;
    }
    if (step->wanted || there) {
        snprintf(step->why, sizeof step->why, "%s",
                 step->wanted ? "a request came for it meanwhile"
                              : "it is still there: a request may be using it");
        end_step(optimizer, PS_OPTIMIZER_REFUSED, now);
    } else {
        snprintf(step->why, sizeof step->why,
                 "its own state shows it; others of its models took memory meanwhile");
        end_step(optimizer, PS_OPTIMIZER_UNPROVEN, now);
    }
    return true;
}

/* At the latest time for a verdict, with what is known by then. */
static void conclude(struct ps_optimizer *optimizer, struct ps_device_reading freed, ps_time now)
{
    struct ps_optimizer_step *step = optimizer->step;
    bool bytes = step->hook->frees == PS_HOOK_DEVICE_BYTES;
    bool lie = bytes && freed.known ? is_short(step, freed.value) : step->showable && !step->shown;
    if (explain(optimizer, lie, now)) {
        return;
    }
    if (lie) {
        say_short(step, freed);
        end_step(optimizer, PS_OPTIMIZER_SHORT, now);
    } else {
        end_step(optimizer,
                 !bytes        ? PS_OPTIMIZER_DONE
                 : freed.known ? PS_OPTIMIZER_FREED
                               : PS_OPTIMIZER_UNPROVEN,
                 now);
    }
}

/* Is it beyond doubt already? Figures may still fall: without a number to expect, they have to have
 * come to rest. */
static bool is_clear(const struct ps_optimizer *optimizer, struct ps_device_reading freed)
{
    const struct ps_optimizer_step *step = optimizer->step;
    if (step->showable && !step->shown) {
        return false;
    }
    if (step->hook->frees != PS_HOOK_DEVICE_BYTES) {
        return true;
    }
    if (!freed.known) {
        return step->showable;
    }
    if (step->expected.known) {
        return freed.value >= 0.9 * step->expected.value;
    }
    return freed.value >= LEAST_FREED && optimizer->last.known &&
           optimizer->last.value == step->after.value;
}

/* Did somebody come for the model after it was chosen? Then it stays, or is back. */
static bool came_back(const struct ps_optimizer *optimizer,
                      const struct ps_optimizer_target *target)
{
    const struct ps_optimizer_step *step = optimizer->step;
    for (size_t i = 0; i < target->vitals->model_count; i++) {
        const struct ps_vitals_model *model = &target->vitals->models[i];
        if (model->loaded && model->used > step->began && strcmp(model->name, step->model) == 0) {
            return true;
        }
    }
    return false;
}

static void take_sample(struct ps_optimizer *optimizer, const struct ps_optimizer_target *target)
{
    struct ps_optimizer_step *step = optimizer->step;
    optimizer->last = step->after;
    step->after = target->used;
    step->kv_after = target->vitals->readings[PS_VITALS_KV_USE];
    step->state = target->vitals->state;
    step->busy = step->busy || target->busy;
    step->wanted = step->wanted || (step->hook->others && came_back(optimizer, target));
    step->shown =
        ps_hook_shown(step->hook, &optimizer->before, target->vitals, step->model, &step->showable);
}

/* Measures; ends the step as soon as it is clear, or when its time is up. */
static void watch(struct ps_optimizer *optimizer, ps_time now)
{
    struct ps_optimizer_step *step = optimizer->step;
    const struct ps_optimizer_target *target = find_target(optimizer, step->id);
    bool sampled = target != NULL && target->taken > step->answered;
    if (sampled) {
        take_sample(optimizer, target);
    }
    struct ps_device_reading freed = freed_by(step, step->after);
    if (sampled && (step->wanted || is_clear(optimizer, freed))) {
        conclude(optimizer, freed, now);
    } else if (now >= step->answered + PS_OPTIMIZER_VERDICT) {
        conclude(optimizer, freed, now);
    } else if (now >= optimizer->poll_at) {
        optimizer->poll_at = now + PS_OPTIMIZER_POLL;
        optimizer->ops.poll(optimizer->ops.ctx, step->id);
    }
}

/* --- what comes after the verdict --------------------------------------------------------------
 */

static bool is_last_of(const struct ps_optimizer_run *run, size_t n)
{
    for (size_t i = n + 1; i < run->step_count; i++) {
        if (run->steps[i].id == run->steps[n].id && run->steps[i].verdict != PS_OPTIMIZER_DRY) {
            return false;
        }
    }
    return true;
}

static void note_late(const struct ps_optimizer *optimizer, struct ps_optimizer_step *step,
                      ps_time now)
{
    const struct ps_optimizer_target *target = find_target(optimizer, step->id);
    struct ps_device_reading freed =
        target == NULL ? (struct ps_device_reading){0} : freed_by(step, target->used);
    if (freed.known && !is_short(step, freed.value)) {
        step->late = freed;
        step->late_at = now;
        tell(optimizer);
    }
}

/* Some servers are only slow. That is noted, and changes no verdict. */
static void look_back(struct ps_optimizer *optimizer, ps_time now)
{
    if (optimizer->count == 0) {
        return;
    }
    struct ps_optimizer_run *run = current(optimizer);
    for (size_t i = 0; i < run->step_count; i++) {
        struct ps_optimizer_step *step = &run->steps[i];
        if (step->verdict == PS_OPTIMIZER_SHORT && !step->late.known &&
            now < step->ended + LATE_UNTIL && is_last_of(run, i)) {
            note_late(optimizer, step, now);
        }
    }
}

/* --- the whole -------------------------------------------------------------------------------- */

/* One more rung, or the end. */
static void climb(struct ps_optimizer *optimizer, ps_time now)
{
    struct ps_optimizer_run *run = current(optimizer);
    struct ps_optimizer_blocked blocked = {0};
    if (is_met(optimizer, now)) {
        return;
    }
    struct ps_optimizer_candidate next = ps_optimizer_choose(optimizer, run, &blocked);
    if (next.hook == NULL || run->step_count == PS_OPTIMIZER_STEPS) {
        end_ladder(optimizer, &blocked, now);
    } else {
        begin_step(optimizer, &next, now);
    }
}

/* Is there something now that may be done and was not done already? */
static bool has_chance(const struct ps_optimizer *optimizer)
{
    struct ps_optimizer_run run = {.rungs = optimizer->opts.rungs,
                                   .target_percent = end_percent(optimizer)};
    struct ps_optimizer_blocked blocked = {0};
    const struct ps_hook *hook = ps_optimizer_choose(optimizer, &run, &blocked).hook;
    return hook != NULL && (hook->verified != NULL || optimizer->opts.trust_unverified);
}

/* A run that could do nothing is not waited for once something can be done. */
static bool cools_down(const struct ps_optimizer *optimizer, ps_time now)
{
    bool idle = optimizer->quiet > 0 && optimizer->mode == PS_OPTIMIZER_AUTO;
    return now < optimizer->cool_until && !(idle && has_chance(optimizer));
}

/* Begins a run of its own when it has been over the target for long enough. */
static void consider_run(struct ps_optimizer *optimizer, ps_time now)
{
    double limit = begin_percent(optimizer);
    if (optimizer->mode == PS_OPTIMIZER_OFF || !ps_optimizer_any_over(optimizer, false, limit)) {
        optimizer->over_since = PS_NEVER;
        optimizer->quiet = optimizer->mode == PS_OPTIMIZER_OFF ? optimizer->quiet : 0;
        return;
    }
    optimizer->over_since = optimizer->over_since == PS_NEVER ? now : optimizer->over_since;
    if (now - optimizer->over_since < optimizer->opts.hold || cools_down(optimizer, now)) {
        return;
    }
    struct ps_optimizer_run *run = begin_run(optimizer, now, false);
    run->dry_run = optimizer->mode == PS_OPTIMIZER_ADVISE;
    run->rungs = run->dry_run ? (1u << PS_RUNG_WAKE) - 1 : run->rungs;
    run->percent_before = ps_optimizer_fullest(optimizer, false);
}

static ps_time next_time(const struct ps_optimizer *optimizer, ps_time now)
{
    const struct ps_optimizer_step *step = optimizer->step;
    if (step == NULL) {
        return now + PS_SECOND;
    }
    if (step->verdict == PS_OPTIMIZER_CALLING) {
        return PS_NEVER;
    }
    ps_time last = step->answered + PS_OPTIMIZER_VERDICT;
    return optimizer->poll_at < last ? optimizer->poll_at : last;
}

ps_time ps_optimizer_step(struct ps_optimizer *optimizer, ps_time now)
{
    measure(optimizer, now);
    if (optimizer->step != NULL && optimizer->step->verdict == PS_OPTIMIZER_MEASURING) {
        watch(optimizer, now);
    }
    if (!optimizer->running) {
        look_back(optimizer, now);
        consider_run(optimizer, now);
    }
    while (optimizer->running && optimizer->step == NULL) {
        climb(optimizer, now);
    }
    return next_time(optimizer, now);
}

const struct ps_optimizer_run *ps_optimizer_run(const struct ps_optimizer *optimizer, size_t n)
{
    if (n >= optimizer->count || n >= PS_OPTIMIZER_RUNS) {
        return NULL;
    }
    return &optimizer->runs[(optimizer->count - 1 - n) % PS_OPTIMIZER_RUNS];
}

const struct ps_optimizer_run *ps_optimizer_find(const struct ps_optimizer *optimizer,
                                                 uint64_t number)
{
    uint64_t last = optimizer->first + optimizer->count;
    bool known = number > optimizer->first && number <= last && number + PS_OPTIMIZER_RUNS > last;
    return known ? ps_optimizer_run(optimizer, (size_t)(last - number)) : NULL;
}

void ps_optimizer_stats(struct ps_optimizer *optimizer, struct ps_optimizer_stats *stats)
{
    pthread_mutex_lock(&optimizer->stats_lock);
    *stats = optimizer->stats;
    pthread_mutex_unlock(&optimizer->stats_lock);
}
