/* test_optimizer - the ladder against servers that are honest, slow, busy, or lie; by a clock that
 * is moved by hand.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "operate/optimizer.h"

#define GIB   1073741824.0
#define START (1000 * PS_SECOND)
#define TICK  (50 * PS_MILLISECOND)

enum lie { HONEST, KEEP, HALF, LATE, BUSY, GONE };

/* A server of the test's world. Figures are as old as the last poll. */
struct server {
    enum ps_adapter_id adapter;
    enum lie lie;
    ps_span lag; /* from the answer until the bytes have left */
    double used, total;
    double gives; /* what a call frees */
    bool no_device, busy;
    double kv;
    double soon; /* percent; 0 = no forecast */
    struct ps_vitals vitals;
    /* shown */
    double shown_used;
    ps_time taken;
    /* under way */
    ps_time leaves_at;
    unsigned calls, polls;
    const char *last_path;
};

static struct world {
    struct server servers[3];
    size_t count;
    ps_time now;
    struct ps_optimizer *optimizer;
    ps_time next;
    bool answering;
    uint32_t callee;
    char model[PS_VITALS_NAME]; /* of the call */
    const struct ps_hook *hook;
    ps_time answer_at;
    bool canceled;
    unsigned means;
    bool stopped, limited;
} world;

static void give(struct server *server)
{
    double share = server->lie == KEEP ? 0 : server->lie == HALF ? 0.4 : 1;
    server->used -= server->gives * share;
    server->gives = 0;
    server->vitals.readings[PS_VITALS_ALLOCATOR_RESERVED].value *= 1 - share;
}

static void refresh(struct server *server)
{
    server->shown_used = server->used;
    server->taken = world.now;
}

static size_t measure(void *ctx, ps_time now, struct ps_optimizer_target *targets, size_t most)
{
    (void)ctx;
    (void)now;
    assert_true(world.count <= most);
    for (size_t i = 0; i < world.count; i++) {
        struct server *server = &world.servers[i];
        double percent = 100 * server->shown_used / server->total;
        bool preallocates = ps_adapters[server->adapter].preallocates;
        server->vitals.readings[PS_VITALS_KV_USE] =
            preallocates ? ps_device_known(server->kv) : (struct ps_device_reading){0};
        targets[i] = (struct ps_optimizer_target){
            .id = (uint32_t)i,
            .adapter = server->adapter,
            .instance = "",
            .vitals = &server->vitals,
            .taken = server->taken,
            .busy = server->busy,
            .alone = true,
            .fresh = server->lie != GONE,
            .means = world.means,
            .spare = ps_device_known(server->gives),
            .stopped = world.stopped,
            .limited = world.limited,
        };
        if (!server->no_device) {
            targets[i].used = ps_device_known(server->shown_used);
            targets[i].utilization = ps_device_known(percent);
        }
        targets[i].soon = (struct ps_device_reading){server->soon, server->soon > 0};
        targets[i].effective =
            preallocates ? ps_device_known(100 * server->kv) : targets[i].utilization;
        snprintf(targets[i].name, sizeof targets[i].name, "server%zu", i);
    }
    return world.count;
}

static void poll_one(void *ctx, uint32_t id)
{
    (void)ctx;
    world.servers[id].polls++;
    refresh(&world.servers[id]);
}

static int call_one(void *ctx, uint32_t id, const struct ps_hook *hook, const char *model)
{
    (void)ctx;
    assert_false(world.answering);
    world.answering = true;
    snprintf(world.model, sizeof world.model, "%s", model);
    world.callee = id;
    world.hook = hook;
    world.answer_at = world.now + 100 * PS_MILLISECOND;
    world.servers[id].calls++;
    world.servers[id].last_path = hook->path;
    return PS_OK;
}

static void cancel(void *ctx)
{
    (void)ctx;
    world.answering = false;
    world.canceled = true;
}

/* What the server says of itself after it said yes. */
static void pretend(struct server *server, const struct ps_hook *hook)
{
    if (hook->shows == PS_HOOK_SHOWS_STATE) {
        server->vitals.state = hook->state;
    }
    struct ps_vitals *vitals = &server->vitals;
    for (size_t i = 0; hook->shows == PS_HOOK_SHOWS_MODEL && i < vitals->model_count; i++) {
        if (strcmp(vitals->models[i].name, world.model) == 0) {
            vitals->models[i] = vitals->models[--vitals->model_count];
            break;
        }
    }
}

static void answer(void)
{
    struct server *server = &world.servers[world.callee];
    world.answering = false;
    if (server->lie == BUSY) {
        ps_optimizer_on_answer(world.optimizer, PS_OK, PS_HOOK_BUSY, 400, world.now);
        return;
    }
    pretend(server, world.hook);
    if (world.hook->frees == PS_HOOK_DEVICE_BYTES) {
        server->leaves_at = world.now + (server->lie == LATE ? 5 * PS_SECOND : server->lag);
    }
    ps_optimizer_on_answer(world.optimizer, PS_OK, PS_HOOK_DONE, 200, world.now);
}

static void tick(void)
{
    world.now += TICK;
    for (size_t i = 0; i < world.count; i++) {
        struct server *server = &world.servers[i];
        if (server->leaves_at != 0 && world.now >= server->leaves_at) {
            server->leaves_at = 0;
            give(server);
        }
        if (world.now % PS_SECOND == 0) {
            refresh(server);
        }
    }
    if (world.answering && world.now >= world.answer_at) {
        answer();
    }
    world.next = ps_optimizer_step(world.optimizer, world.now);
}

static void run_for(ps_span span)
{
    for (ps_time until = world.now + span; world.now < until;) {
        tick();
    }
}

static void add(enum ps_adapter_id adapter, enum lie lie, double used, double gives)
{
    struct server *server = &world.servers[world.count++];
    *server = (struct server){.adapter = adapter,
                              .lie = lie,
                              .used = used * GIB,
                              .total = 24 * GIB,
                              .gives = gives * GIB,
                              .shown_used = used * GIB,
                              .taken = START};
    server->vitals.state = PS_VITALS_AWAKE;
    if (adapter == PS_ADAPTER_COMFYUI) {
        server->vitals.readings[PS_VITALS_ALLOCATOR_RESERVED] = ps_device_known(gives * GIB);
    }
    if (adapter == PS_ADAPTER_OLLAMA) {
        server->vitals.model_count = 1;
        snprintf(server->vitals.models[0].name, PS_VITALS_NAME, "m");
        server->vitals.models[0].bytes = ps_device_known(gives * GIB);
        server->vitals.models[0].loaded = server->vitals.models[0].listed = true;
    }
}

static const struct ps_optimizer_opts usual = {
    .target_percent = 75,
    .rungs = 1u << PS_RUNG_PREFIX_CACHE | 1u << PS_RUNG_UNLOAD,
    .trust_unverified = true,
    .hold = 3 * PS_SECOND,
    .cool_down = 60 * PS_SECOND,
};

static int set_up(void **state)
{
    (void)state;
    const struct ps_optimizer_ops ops = {
        .measure = measure, .poll = poll_one, .call = call_one, .cancel = cancel};
    memset(&world, 0, sizeof world);
    world.now = START;
    assert_int_equal(ps_optimizer_new(&world.optimizer, &ops), PS_OK);
    ps_optimizer_set(world.optimizer, &usual);
    ps_optimizer_set_mode(world.optimizer, PS_OPTIMIZER_AUTO, START);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ps_optimizer_free(world.optimizer);
    return 0;
}

static void set(struct ps_optimizer_opts opts)
{
    ps_optimizer_set(world.optimizer, &opts);
}

static const struct ps_optimizer_run *latest(void)
{
    const struct ps_optimizer_run *run = ps_optimizer_run(world.optimizer, 0);
    assert_non_null(run);
    return run;
}

static uint64_t order(unsigned rungs, bool dry_run)
{
    const struct ps_optimizer_order wish = {.rungs = rungs, .dry_run = dry_run};
    uint64_t number = 0;
    assert_int_equal(ps_optimizer_order(world.optimizer, &wish, world.now, &number), PS_OK);
    return number;
}

/* --- on its own ------------------------------------------------------------------------------- */

static void frees_what_is_over_the_target_and_stops_there(void **state)
{
    (void)state;
    add(PS_ADAPTER_COMFYUI, HONEST, 22, 10);
    world.servers[0].lag = 300 * PS_MILLISECOND;
    run_for(2500 * PS_MILLISECOND);
    assert_int_equal(world.servers[0].calls, 0); /* not at the first sight */
    run_for(3 * PS_SECOND);
    const struct ps_optimizer_run *run = latest();
    assert_int_equal(run->outcome, PS_OPTIMIZER_TARGET_MET);
    assert_int_equal(run->step_count, 1);
    assert_int_equal(run->steps[0].verdict, PS_OPTIMIZER_FREED);
    assert_float_equal(run->steps[0].before.value - run->steps[0].after.value, 10 * GIB, 1);
    assert_float_equal(run->steps[0].expected.value, 10 * GIB, 1);
    assert_true(run->steps[0].shown);
    assert_true(run->steps[0].ended - run->steps[0].answered <= 500 * PS_MILLISECOND);
    assert_false(run->manual);
    run_for(120 * PS_SECOND);
    assert_ptr_equal(latest(), run); /* and that was all */
    assert_int_equal(world.servers[0].calls, 1);
}

static void measures_every_200_ms(void **state)
{
    (void)state;
    add(PS_ADAPTER_COMFYUI, KEEP, 22, 10);
    run_for(3100 * PS_MILLISECOND);
    unsigned before = world.servers[0].polls;
    while (latest()->outcome == PS_OPTIMIZER_RUNNING) {
        tick();
    }
    assert_in_range(world.servers[0].polls - before, 8, 11);
}

static void cheaper_rungs_come_first(void **state)
{
    (void)state;
    add(PS_ADAPTER_LLAMACPP, HONEST, 23, 0);
    struct server *server = &world.servers[0];
    server->vitals.model_count = 1;
    snprintf(server->vitals.models[0].name, PS_VITALS_NAME, "m");
    server->vitals.models[0].loaded = server->vitals.models[0].listed = true;
    server->gives = 12 * GIB;
    run_for(8 * PS_SECOND);
    const struct ps_optimizer_run *run = latest();
    assert_int_equal(run->outcome, PS_OPTIMIZER_TARGET_MET);
    assert_int_equal(run->step_count, 2);
    assert_int_equal(run->steps[0].hook->rung, PS_RUNG_PREFIX_CACHE);
    assert_int_equal(run->steps[0].verdict, PS_OPTIMIZER_DONE);
    assert_false(run->steps[0].expected.known); /* blocks are promised, never bytes */
    assert_int_equal(run->steps[1].hook->rung, PS_RUNG_UNLOAD);
    assert_int_equal(run->steps[1].verdict, PS_OPTIMIZER_FREED);
}

static void of_one_rung_the_largest_goes_first(void **state)
{
    (void)state;
    add(PS_ADAPTER_COMFYUI, HONEST, 20, 4);
    add(PS_ADAPTER_OLLAMA, HONEST, 20, 8);
    run_for(8 * PS_SECOND);
    assert_string_equal(latest()->steps[0].target, "server1");
    assert_string_equal(latest()->steps[0].model, "m");
}

static void a_lie_is_found_within_two_seconds_and_the_ladder_climbs_on(void **state)
{
    (void)state;
    const enum lie lies[] = {KEEP, HALF};
    for (size_t i = 0; i < 2; i++) {
        tear_down(NULL);
        set_up(NULL);
        add(PS_ADAPTER_OLLAMA, lies[i], 23, 9);
        add(PS_ADAPTER_COMFYUI, HONEST, 23, 8);
        run_for(10 * PS_SECOND);
        const struct ps_optimizer_run *run = latest();
        assert_int_equal(run->step_count, 2);
        const struct ps_optimizer_step *step = &run->steps[0];
        assert_int_equal(step->verdict, PS_OPTIMIZER_SHORT);
        assert_true(step->ended - step->answered <= PS_OPTIMIZER_VERDICT);
        assert_true(step->shown); /* its own list says that the model is gone */
        assert_non_null(strstr(step->why, "MiB are free; its own state says it is"));
        assert_int_equal(run->steps[1].verdict, PS_OPTIMIZER_FREED);
        assert_int_equal(run->outcome, PS_OPTIMIZER_EXHAUSTED);
        assert_false(step->late.known);
    }
}

static void what_comes_late_is_noted_with_the_finding(void **state)
{
    (void)state;
    add(PS_ADAPTER_OLLAMA, LATE, 23, 9);
    run_for(20 * PS_SECOND);
    const struct ps_optimizer_step *step = &latest()->steps[0];
    assert_int_equal(step->verdict, PS_OPTIMIZER_SHORT);
    assert_true(step->late.known);
    assert_float_equal(step->late.value, 9 * GIB, 1);
    assert_in_range(step->late_at - step->answered, 5 * PS_SECOND, 7 * PS_SECOND);
}

static void a_busy_server_is_left_alone_unless_told(void **state)
{
    (void)state;
    add(PS_ADAPTER_COMFYUI, HONEST, 23, 12);
    world.servers[0].busy = true;
    run_for(8 * PS_SECOND);
    assert_int_equal(world.servers[0].calls, 0);
    assert_int_equal(latest()->outcome, PS_OPTIMIZER_NO_RUNG);
    assert_string_equal(latest()->why, "server0 works on requests: nothing is taken from it");
    struct ps_optimizer_opts opts = usual;
    opts.act_on_busy = true;
    set(opts);
    run_for(300 * PS_SECOND);
    assert_int_equal(world.servers[0].calls, 1);
    assert_int_equal(latest()->outcome, PS_OPTIMIZER_TARGET_MET);
}

static void a_refusal_is_no_failure_and_no_lie(void **state)
{
    (void)state;
    add(PS_ADAPTER_A1111, BUSY, 23, 12);
    world.servers[0].vitals.readings[PS_VITALS_ALLOCATOR_RESERVED] = ps_device_known(12 * GIB);
    run_for(8 * PS_SECOND);
    assert_int_equal(latest()->steps[0].verdict, PS_OPTIMIZER_REFUSED);
    assert_string_equal(latest()->steps[0].why, "status 400");
    assert_int_equal(latest()->outcome, PS_OPTIMIZER_EXHAUSTED);
}

static void rungs_that_are_not_named_are_not_used(void **state)
{
    (void)state;
    struct ps_optimizer_opts opts = usual;
    opts.rungs = 1u << PS_RUNG_PREFIX_CACHE;
    set(opts);
    add(PS_ADAPTER_COMFYUI, HONEST, 23, 12);
    run_for(8 * PS_SECOND);
    assert_int_equal(world.servers[0].calls, 0);
    assert_int_equal(latest()->outcome, PS_OPTIMIZER_NO_RUNG);
    assert_string_equal(latest()->why, "server0 has the rung unload, which is not allowed");
}

static void what_has_no_call_is_no_rung(void **state)
{
    (void)state;
    add(PS_ADAPTER_TEI, HONEST, 23, 0);
    run_for(8 * PS_SECOND);
    assert_int_equal(latest()->outcome, PS_OPTIMIZER_NO_RUNG);
    assert_string_equal(latest()->why,
                        "no server that is over the target has a call that frees memory");
    assert_float_equal(latest()->percent_before.value, 100 * 23 / 24.0, 1e-3);
}

static void calls_tried_on_mocks_only_stay_dry(void **state)
{
    (void)state;
    struct ps_optimizer_opts opts = usual;
    opts.trust_unverified = false;
    set(opts);
    add(PS_ADAPTER_COMFYUI, HONEST, 23, 12);
    run_for(8 * PS_SECOND);
    assert_int_equal(world.servers[0].calls, 0);
    assert_int_equal(latest()->outcome, PS_OPTIMIZER_NO_RUNG);
    assert_int_equal(latest()->steps[0].verdict, PS_OPTIMIZER_DRY);
    assert_non_null(strstr(latest()->why, "gpu.trust_unverified"));
}

static void a_healthy_server_that_preallocates_is_left_alone(void **state)
{
    (void)state;
    add(PS_ADAPTER_VLLM, HONEST, 23, 20);
    world.servers[0].kv = 0.3;
    run_for(60 * PS_SECOND);
    assert_null(ps_optimizer_run(world.optimizer, 0));
}

static void it_cools_down_longer_while_nothing_helps(void **state)
{
    (void)state;
    add(PS_ADAPTER_TEI, HONEST, 23, 0);
    run_for(1000 * PS_SECOND);
    struct ps_optimizer_stats stats;
    ps_optimizer_stats(world.optimizer, &stats);
    assert_in_range(stats.runs[PS_OPTIMIZER_NO_RUNG], 2, 5);
}

static void stale_figures_start_nothing(void **state)
{
    (void)state;
    add(PS_ADAPTER_COMFYUI, GONE, 23, 12);
    run_for(60 * PS_SECOND);
    assert_null(ps_optimizer_run(world.optimizer, 0));
}

/* --- a server of which some models are idle --------------------------------------------------- */

/* An Ollama at work: `count` models of 2 GiB, of which the n-th was used n seconds ago. */
static void add_busy(double used, size_t count)
{
    add(PS_ADAPTER_OLLAMA, HONEST, used, 2);
    struct server *server = &world.servers[0];
    server->busy = true;
    server->vitals.model_count = count;
    for (size_t i = 0; i < count; i++) {
        struct ps_vitals_model *model = &server->vitals.models[i];
        *model = server->vitals.models[0];
        snprintf(model->name, sizeof model->name, "m%zu", i);
        model->used = START - (ps_time)i * PS_SECOND;
    }
}

static struct ps_optimizer_opts watchful(void)
{
    struct ps_optimizer_opts opts = usual;
    opts.idle_after = 5 * PS_SECOND;
    opts.hold = 0;
    opts.cool_down = PS_SECOND;
    return opts;
}

static void keep_used(size_t model)
{
    world.servers[0].vitals.models[model].used = world.now;
}

static void of_a_server_at_work_only_idle_models_leave(void **state)
{
    (void)state;
    add_busy(23, 4);
    run_for(4 * PS_SECOND);
    assert_int_equal(world.servers[0].calls, 0); /* unless told */
    assert_non_null(strstr(latest()->why, "works on requests"));
    set(watchful());
    for (int i = 0; i < 20; i++) {
        keep_used(0);
        run_for(500 * PS_MILLISECOND);
    }
    assert_in_range(world.servers[0].calls, 1, 3);
    assert_string_equal(world.servers[0].vitals.models[0].name, "m0");
}

static void the_one_that_was_idle_for_longest_goes_first(void **state)
{
    (void)state;
    set(watchful());
    add_busy(23, 4);
    world.servers[0].vitals.models[1].bytes = ps_device_known(9 * GIB);
    for (int i = 0; i < 10 && world.servers[0].calls == 0; i++) {
        keep_used(0);
        run_for(500 * PS_MILLISECOND);
    }
    assert_string_equal(latest()->steps[0].model, "m3");
}

static void what_could_not_be_done_is_done_as_soon_as_it_can_be(void **state)
{
    (void)state;
    struct ps_optimizer_opts opts = watchful();
    opts.cool_down = 60 * PS_SECOND;
    opts.idle_after = 20 * PS_SECOND;
    set(opts);
    add_busy(23, 2);
    run_for(5 * PS_SECOND);
    assert_int_equal(latest()->outcome, PS_OPTIMIZER_NO_RUNG);
    run_for(10 * PS_SECOND);
    assert_int_equal(latest()->number, 1); /* nothing new: it cools down */
    run_for(10 * PS_SECOND);
    assert_int_equal(latest()->number, 2);
    assert_int_equal(latest()->steps[0].verdict, PS_OPTIMIZER_FREED);
}

static void a_model_that_somebody_wants_after_all_is_no_lie(void **state)
{
    (void)state;
    set(watchful());
    add_busy(23, 2);
    world.servers[0].lie = KEEP;
    run_for(5 * PS_SECOND + 200 * PS_MILLISECOND);
    assert_int_equal(world.servers[0].calls, 1);
    struct ps_vitals *vitals = &world.servers[0].vitals;
    vitals->models[vitals->model_count] = vitals->models[0]; /* it is back */
    snprintf(vitals->models[vitals->model_count].name, PS_VITALS_NAME, "m1");
    vitals->models[vitals->model_count++].used = world.now;
    run_for(3 * PS_SECOND);
    assert_int_equal(latest()->steps[0].verdict, PS_OPTIMIZER_REFUSED);
    assert_string_equal(latest()->steps[0].why, "a request came for it meanwhile");
}

static void a_model_that_stays_may_be_in_use(void **state)
{
    (void)state;
    set(watchful());
    add_busy(23, 2);
    world.servers[0].lie = KEEP;
    run_for(5 * PS_SECOND + 200 * PS_MILLISECOND);
    struct ps_vitals *vitals = &world.servers[0].vitals;
    vitals->models[vitals->model_count] = vitals->models[0]; /* it never left */
    snprintf(vitals->models[vitals->model_count].name, PS_VITALS_NAME, "m1");
    vitals->models[vitals->model_count++].used = START - PS_SECOND;
    run_for(3 * PS_SECOND);
    assert_int_equal(latest()->steps[0].verdict, PS_OPTIMIZER_REFUSED);
    assert_string_equal(latest()->steps[0].why, "it is still there: a request may be using it");
}

static void what_others_take_meanwhile_hides_what_was_freed(void **state)
{
    (void)state;
    set(watchful());
    add_busy(22, 2);
    world.servers[0].lag = 300 * PS_MILLISECOND;
    run_for(5 * PS_SECOND + 200 * PS_MILLISECOND);
    assert_int_equal(world.servers[0].calls, 1);
    world.servers[0].used += 1.5 * GIB;
    run_for(3 * PS_SECOND);
    assert_int_equal(latest()->steps[0].verdict, PS_OPTIMIZER_UNPROVEN);
}

/* --- before it is too late -------------------------------------------------------------------- */

static void with_a_margin_it_begins_early_and_ends_late(void **state)
{
    (void)state;
    struct ps_optimizer_opts opts = watchful();
    opts.margin_percent = 5;
    set(opts);
    add(PS_ADAPTER_OLLAMA, HONEST, 16.7, 0.9); /* 69.6 %: at 70 it begins, at 65 it ends */
    add(PS_ADAPTER_COMFYUI, HONEST, 10, 1);
    struct ps_vitals *vitals = &world.servers[0].vitals;
    vitals->model_count = 3;
    for (size_t i = 1; i < 3; i++) {
        vitals->models[i] = vitals->models[0];
        snprintf(vitals->models[i].name, PS_VITALS_NAME, "m%zu", i);
    }
    run_for(10 * PS_SECOND);
    assert_null(ps_optimizer_run(world.optimizer, 0));
    world.servers[0].used = 17 * GIB; /* 70.8 % */
    run_for(3 * PS_SECOND);
    assert_int_equal(latest()->step_count, 2); /* 67 % is not enough, 65 % would be */
    assert_float_equal(latest()->target_percent, 65, 1e-9);
    assert_int_equal(world.servers[1].calls, 0);
}

static void it_acts_on_what_is_foreseen(void **state)
{
    (void)state;
    set(watchful());
    add(PS_ADAPTER_OLLAMA, HONEST, 14, 4);
    world.servers[0].soon = 70;
    run_for(10 * PS_SECOND);
    assert_null(ps_optimizer_run(world.optimizer, 0));
    world.servers[0].soon = 80;
    run_for(3 * PS_SECOND);
    assert_int_equal(world.servers[0].calls, 1);
    order(1u << PS_RUNG_UNLOAD, true); /* who asks is told of what is */
    run_for(PS_SECOND);
    assert_string_equal(latest()->why, "it is not over the target");
}

/* --- modes and orders ------------------------------------------------------------------------- */

static void advice_plans_and_does_nothing(void **state)
{
    (void)state;
    ps_optimizer_set_mode(world.optimizer, PS_OPTIMIZER_ADVISE, START);
    add(PS_ADAPTER_COMFYUI, HONEST, 23, 12);
    add(PS_ADAPTER_OLLAMA, HONEST, 23, 2);
    run_for(20 * PS_SECOND);
    assert_int_equal(world.servers[0].calls + world.servers[1].calls, 0);
    assert_int_equal(latest()->outcome, PS_OPTIMIZER_PLANNED);
    assert_int_equal(latest()->step_count, 1); /* it would be enough */
    assert_int_equal(latest()->steps[0].verdict, PS_OPTIMIZER_DRY);
    assert_float_equal(latest()->steps[0].expected.value, 12 * GIB, 10);
}

static void off_ends_everything_at_once(void **state)
{
    (void)state;
    uint64_t number;
    const struct ps_optimizer_order wish = {0};
    add(PS_ADAPTER_OLLAMA, KEEP, 23, 9);
    add(PS_ADAPTER_COMFYUI, HONEST, 23, 8);
    run_for(3050 * PS_MILLISECOND);
    assert_int_equal(latest()->steps[0].verdict, PS_OPTIMIZER_CALLING);
    assert_int_equal(ps_optimizer_order(world.optimizer, &wish, world.now, &number), PS_EBUSY);
    ps_optimizer_set_mode(world.optimizer, PS_OPTIMIZER_OFF, world.now);
    assert_true(world.canceled);
    assert_int_equal(latest()->steps[0].verdict, PS_OPTIMIZER_STOPPED);
    assert_int_equal(latest()->outcome, PS_OPTIMIZER_ENDED);
    run_for(100 * PS_SECOND);
    assert_int_equal(world.servers[1].calls, 0);
    assert_int_equal(ps_optimizer_order(world.optimizer, &wish, world.now, &number), PS_ECANCELED);
}

static void somebody_may_put_an_idle_server_to_sleep_and_wake_it(void **state)
{
    (void)state;
    ps_optimizer_set_mode(world.optimizer, PS_OPTIMIZER_ADVISE, START);
    add(PS_ADAPTER_VLLM, HONEST, 22, 21);
    order(1u << PS_RUNG_SLEEP, false);
    run_for(5 * PS_SECOND);
    assert_int_equal(latest()->steps[0].verdict, PS_OPTIMIZER_FREED);
    assert_int_equal(latest()->steps[0].state, PS_VITALS_ASLEEP);
    assert_float_equal(latest()->steps[0].expected.value, 22 * GIB, 10);
    assert_int_equal(latest()->outcome, PS_OPTIMIZER_TARGET_MET);
    assert_true(latest()->manual);
    uint64_t number = order(1u << PS_RUNG_WAKE, false);
    run_for(5 * PS_SECOND);
    assert_ptr_equal(ps_optimizer_find(world.optimizer, number), latest());
    assert_string_equal(world.servers[0].last_path, "/wake_up");
    assert_int_equal(latest()->steps[0].verdict, PS_OPTIMIZER_DONE);
    assert_int_equal(latest()->outcome, PS_OPTIMIZER_TARGET_MET);
    order(1u << PS_RUNG_WAKE, false);
    run_for(PS_SECOND);
    assert_string_equal(latest()->why, "no server is asleep");
}

static void a_server_that_nobody_can_measure_is_believed_only_as_far_as_it_goes(void **state)
{
    (void)state;
    ps_optimizer_set_mode(world.optimizer, PS_OPTIMIZER_ADVISE, START);
    add(PS_ADAPTER_OLLAMA, HONEST, 22, 9);
    world.servers[0].no_device = true;
    order(1u << PS_RUNG_UNLOAD, false);
    run_for(4 * PS_SECOND);
    assert_int_equal(latest()->steps[0].verdict, PS_OPTIMIZER_UNPROVEN);
    assert_false(latest()->steps[0].after.known);
}

static void runs_are_kept_in_a_ring(void **state)
{
    (void)state;
    ps_optimizer_set_mode(world.optimizer, PS_OPTIMIZER_ADVISE, START);
    add(PS_ADAPTER_COMFYUI, HONEST, 10, 5);
    for (int i = 0; i < PS_OPTIMIZER_RUNS + 3; i++) {
        order(0, true);
        run_for(TICK);
    }
    assert_int_equal(latest()->number, PS_OPTIMIZER_RUNS + 3);
    assert_int_equal(latest()->outcome, PS_OPTIMIZER_TARGET_MET);
    assert_string_equal(latest()->why, "it is not over the target");
    assert_null(ps_optimizer_run(world.optimizer, PS_OPTIMIZER_RUNS));
    assert_null(ps_optimizer_find(world.optimizer, 3));
    assert_int_equal(ps_optimizer_find(world.optimizer, 4)->number, 4);
    assert_null(ps_optimizer_find(world.optimizer, 0));
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* --- what this machine does --------------------------------------------------------------------
 */

static void what_this_machine_can_do_is_only_done_when_named(void **state)
{
    (void)state;
    add(PS_ADAPTER_TGI, HONEST, 22, 10); /* has no call of its own */
    world.means = 1u << PS_RUNG_CHECKPOINT | 1u << PS_RUNG_RESTART;
    run_for(8 * PS_SECOND);
    assert_int_equal(world.servers[0].calls, 0);
    order(1u << PS_RUNG_CHECKPOINT, false);
    run_for(3 * PS_SECOND);
    const struct ps_optimizer_step *step = &latest()->steps[0];
    assert_int_equal(step->hook->means, PS_HOOK_TOGGLES);
    assert_int_equal(step->adapter, PS_ADAPTER_TGI);
    assert_int_equal(step->verdict, PS_OPTIMIZER_SHORT); /* 10 of the 22 GiB that it had alone */
    world.means = 0;
    world.servers[0].used = 22 * GIB;
    run_for(PS_SECOND);
    order(1u << PS_RUNG_RESTART, false);
    run_for(3 * PS_SECOND);
    assert_int_equal(latest()->outcome, PS_OPTIMIZER_NO_RUNG); /* nobody said how */
}

static void a_limit_promises_what_lies_ahead_and_may_fall_while_requests_run(void **state)
{
    (void)state;
    add(PS_ADAPTER_TGI, HONEST, 22, 6);
    world.servers[0].busy = true;
    world.means = 1u << PS_RUNG_KV_LIMIT;
    order(1u << PS_RUNG_KV_LIMIT, false);
    run_for(3 * PS_SECOND);
    assert_int_equal(latest()->steps[0].verdict, PS_OPTIMIZER_FREED);
    assert_float_equal(latest()->steps[0].expected.value, 6 * GIB, 1);
    order(1u << PS_RUNG_KV_LIMIT, false); /* nothing lies ahead any more */
    run_for(3 * PS_SECOND);
    assert_int_equal(latest()->step_count, 0);
}

static void what_was_stopped_is_only_woken_or_restarted(void **state)
{
    (void)state;
    add(PS_ADAPTER_VLLM, GONE, 22, 10); /* it does not even answer */
    world.means = 1u << PS_RUNG_CHECKPOINT | 1u << PS_RUNG_WAKE;
    world.stopped = true;
    order(1u << PS_RUNG_WAKE, false);
    run_for(3 * PS_SECOND);
    assert_int_equal(latest()->steps[0].hook->means, PS_HOOK_UNDOES);
    world.servers[0].lie = HONEST;
    order(1u << PS_RUNG_CHECKPOINT | 1u << PS_RUNG_SLEEP, false);
    run_for(3 * PS_SECOND);
    assert_int_equal(latest()->step_count, 0);
}

static void a_failure_is_told_in_its_words(void **state)
{
    (void)state;
    add(PS_ADAPTER_TGI, HONEST, 22, 10);
    world.means = 1u << PS_RUNG_RESTART;
    order(1u << PS_RUNG_RESTART, false);
    ps_optimizer_step(world.optimizer, world.now);
    world.answering = false;
    ps_optimizer_on_failure(world.optimizer, "it ended with 3: no such unit", world.now);
    assert_int_equal(latest()->steps[0].verdict, PS_OPTIMIZER_FAILED);
    assert_string_equal(latest()->steps[0].why, "it ended with 3: no such unit");
    ps_optimizer_on_failure(world.optimizer, "nobody asked", world.now);
}

static void numbers_go_on_from_an_earlier_program(void **state)
{
    (void)state;
    ps_optimizer_count_from(world.optimizer, 41);
    add(PS_ADAPTER_TGI, HONEST, 22, 10);
    uint64_t number = order(0, true);
    assert_int_equal(number, 42);
    assert_non_null(ps_optimizer_find(world.optimizer, 42));
    assert_null(ps_optimizer_find(world.optimizer, 41));
    assert_null(ps_optimizer_find(world.optimizer, 43));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(frees_what_is_over_the_target_and_stops_there),
        T(measures_every_200_ms),
        T(cheaper_rungs_come_first),
        T(of_one_rung_the_largest_goes_first),
        T(a_lie_is_found_within_two_seconds_and_the_ladder_climbs_on),
        T(what_comes_late_is_noted_with_the_finding),
        T(a_busy_server_is_left_alone_unless_told),
        T(a_refusal_is_no_failure_and_no_lie),
        T(rungs_that_are_not_named_are_not_used),
        T(what_has_no_call_is_no_rung),
        T(calls_tried_on_mocks_only_stay_dry),
        T(a_healthy_server_that_preallocates_is_left_alone),
        T(it_cools_down_longer_while_nothing_helps),
        T(stale_figures_start_nothing),
        T(of_a_server_at_work_only_idle_models_leave),
        T(the_one_that_was_idle_for_longest_goes_first),
        T(what_could_not_be_done_is_done_as_soon_as_it_can_be),
        T(a_model_that_somebody_wants_after_all_is_no_lie),
        T(a_model_that_stays_may_be_in_use),
        T(what_others_take_meanwhile_hides_what_was_freed),
        T(with_a_margin_it_begins_early_and_ends_late),
        T(it_acts_on_what_is_foreseen),
        T(advice_plans_and_does_nothing),
        T(off_ends_everything_at_once),
        T(somebody_may_put_an_idle_server_to_sleep_and_wake_it),
        T(a_server_that_nobody_can_measure_is_believed_only_as_far_as_it_goes),
        T(runs_are_kept_in_a_ring),
        T(what_this_machine_can_do_is_only_done_when_named),
        T(a_limit_promises_what_lies_ahead_and_may_fall_while_requests_run),
        T(what_was_stopped_is_only_woken_or_restarted),
        T(a_failure_is_told_in_its_words),
        T(numbers_go_on_from_an_earlier_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
