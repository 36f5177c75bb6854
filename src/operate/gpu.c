#include "operate/gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "operate/gpu_batch.h"
#include "operate/gpu_demand.h"
#include "operate/gpu_opts.h"
#include "operate/gpu_room.h"
#include "store/ledger.h"

#define CALL_TIMEOUT  (15 * PS_SECOND) /* some servers answer only when they sleep */
#define MEANS_TIMEOUT PS_MINUTE        /* what a device held is copied to host memory */
#define PATIENCE      (200 * PS_MILLISECOND)
#define SETTLE_AFTER  (20 * PS_MILLISECOND) /* looks for first answers ... */
#define SETTLED_BY    (5 * PS_SECOND)       /* ... and waits no longer */
#define TEXT_LIMIT    ((size_t)4096)

/* --- the optimizer's hands -------------------------------------------------------------------- */

static void step(struct ps_gpu *gpu);

static void poll_server(void *ctx, uint32_t id)
{
    struct ps_gpu *gpu = ctx;
    ps_scrape_hurry(gpu->scrape, id);
}

static void on_answer(void *ctx, const struct ps_inquiry_answer *answer)
{
    struct ps_gpu *gpu = ctx;
    gpu->call = NULL;
    enum ps_hook_answer meaning = ps_hook_judge(gpu->hook, answer->status, answer->body);
    ps_optimizer_on_answer(gpu->optimizer, answer->err, meaning, answer->status,
                           ps_loop_now(gpu->loop));
    step(gpu);
}

static int send_call(struct ps_gpu *gpu, uint32_t id, struct ps_str path, struct ps_str body)
{
    char signature[PS_HOOK_SIGNATURE];
    struct ps_inquiry_request request = {
        .method = ps_str_from(gpu->hook->method), .path = path, .body = body};
    struct ps_str key = ps_scrape_key(gpu->scrape);
    if (gpu->hook->is_signed && key.len > 0) {
        ps_hook_sign(key, body, signature);
        request.header_name = ps_hook_signature_header;
        request.header_value = ps_str_from(signature);
    }
    return ps_scrape_ask(gpu->scrape, id, &request, CALL_TIMEOUT, &gpu->call, on_answer, gpu);
}

static void on_means_end(void *ctx, enum ps_hook_answer answer, const char *why)
{
    struct ps_gpu *gpu = ctx;
    ps_time now = ps_loop_now(gpu->loop);
    if (answer == PS_HOOK_FAILED) {
        ps_optimizer_on_failure(gpu->optimizer, why, now);
    } else {
        ps_optimizer_on_answer(gpu->optimizer, PS_OK, answer, 0, now);
    }
    step(gpu);
}

static const char *url_of(const struct ps_gpu *gpu, uint32_t id)
{
    struct ps_scrape_view view = {.endpoint = ""};
    for (size_t i = 0; i < ps_scrape_count(gpu->scrape); i++) {
        ps_scrape_read(gpu->scrape, i, ps_loop_now(gpu->loop), &view);
        if (view.id == id) {
            return view.endpoint;
        }
    }
    return "";
}

static int call_server(void *ctx, uint32_t id, const struct ps_hook *hook, const char *model)
{
    struct ps_gpu *gpu = ctx;
    if (hook->means != PS_HOOK_ASKS) {
        return ps_gpu_means_call(gpu->means, url_of(gpu, id), hook, MEANS_TIMEOUT);
    }
    struct ps_buf path = ps_buf_make(TEXT_LIMIT);
    struct ps_buf body = ps_buf_make(TEXT_LIMIT);
    gpu->hook = hook;
    int err = ps_hook_write(hook, ps_str_from(model), &path, &body);
    err = err != PS_OK ? err : send_call(gpu, id, ps_buf_str(&path), ps_buf_str(&body));
    ps_buf_fini(&path);
    ps_buf_fini(&body);
    return err;
}

static void cancel_call(void *ctx)
{
    struct ps_gpu *gpu = ctx;
    ps_inquiry_cancel(gpu->call);
    gpu->call = NULL;
    ps_gpu_means_ignore(gpu->means);
}

/* --- what observers are told ------------------------------------------------------------------ */

static void tell_step(struct ps_gpu *gpu, const struct ps_optimizer_run *run,
                      const struct ps_optimizer_step *one)
{
    if (gpu->observer.on_step != NULL) {
        gpu->observer.on_step(gpu->observer.ctx, run, one);
    }
}

/* Dry steps are in the report; who watches hears of what was done. */
static void on_change(void *ctx)
{
    struct ps_gpu *gpu = ctx;
    const struct ps_optimizer_run *run = ps_optimizer_run(gpu->optimizer, 0);
    ps_gpu_record(gpu);
    if (gpu->told_run != run->number) {
        gpu->told_run = run->number;
        gpu->told = 0;
    }
    for (; gpu->told < run->step_count && run->steps[gpu->told].ended != 0; gpu->told++) {
        if (run->steps[gpu->told].verdict != PS_OPTIMIZER_DRY) {
            tell_step(gpu, run, &run->steps[gpu->told]);
        }
    }
    if (run->outcome != PS_OPTIMIZER_RUNNING && gpu->told != SIZE_MAX) {
        gpu->told = SIZE_MAX;
        if (gpu->observer.on_run != NULL) {
            gpu->observer.on_run(gpu->observer.ctx, run);
        }
    }
}

void ps_gpu_observe(struct ps_gpu *gpu, const struct ps_gpu_observer *observer)
{
    gpu->observer = *observer;
}

/* --- life ------------------------------------------------------------------------------------- */

/* Gates and a watchful optimizer go by the latest figures, not by the second's. */
static bool is_eager(const struct ps_gpu *gpu)
{
    return gpu->in_flight == PS_THROTTLE_AUTO ||
           ps_optimizer_mode(gpu->optimizer) == PS_OPTIMIZER_AUTO;
}

static void set_timer(struct ps_gpu *gpu, ps_time when)
{
    PS_IGNORE(ps_timer_set(gpu->loop, &gpu->timer, when)); /* it is in the heap already */
}

static void step(struct ps_gpu *gpu)
{
    if (!gpu->stepping) {
        gpu->stepping = true;
        set_timer(gpu, ps_optimizer_step(gpu->optimizer, ps_loop_now(gpu->loop)));
        ps_gpu_record(gpu);
        gpu->stepping = false;
    }
}

/* New figures: while something is measured they are looked at at once. */
static void on_round(void *ctx, uint32_t id)
{
    struct ps_gpu *gpu = ctx;
    const struct ps_optimizer_run *run = ps_optimizer_run(gpu->optimizer, 0);
    (void)id;
    if (!gpu->shown && !gpu->stepping && gpu->gauges != NULL) { /* not after a second */
        size_t count =
            ps_gpu_measure(gpu, ps_loop_now(gpu->loop), gpu->targets, PS_OPTIMIZER_TARGETS);
        ps_gpu_gauges_update(gpu->gauges, gpu->targets, count);
    }
    if (is_eager(gpu)) {
        set_timer(gpu, ps_loop_now(gpu->loop));
        return;
    }
    if (run != NULL && run->outcome == PS_OPTIMIZER_RUNNING) {
        set_timer(gpu, ps_loop_now(gpu->loop));
    }
}

/* What the gateway knows of each target; NULL where it sends nothing. */
static void look_at_gateway(const struct ps_gpu *gpu, ps_time now,
                            const struct ps_optimizer_target *targets, size_t count,
                            struct ps_gpu_crowd *crowds, const struct ps_gpu_crowd **out)
{
    memset(out, 0, count * sizeof *out);
    for (size_t i = 0; i < ps_scrape_count(gpu->scrape); i++) {
        struct ps_scrape_view view;
        ps_scrape_read(gpu->scrape, i, now, &view);
        for (size_t j = 0; view.backend != NULL && j < count; j++) {
            if (targets[j].id == view.id && out[j] == NULL) {
                ps_gpu_crowd_read(view.backend, view.upstream, &crowds[j]);
                out[j] = &crowds[j];
            }
        }
    }
}

/* Levels, forecasts and gauges go by the second. */
static void on_second(struct ps_gpu *gpu, ps_time now, size_t count)
{
    const struct ps_gpu_crowd *known[PS_OPTIMIZER_TARGETS];
    ps_span late = now - gpu->gauges_at;
    gpu->gauges_at = late < PS_SECOND ? gpu->gauges_at + PS_SECOND : now + PS_SECOND;
    look_at_gateway(gpu, now, gpu->targets, count, gpu->crowds, known);
    ps_gpu_outlook_push(gpu->outlook, now, gpu->target_percent, gpu->targets, known, count);
    ps_gpu_batch_learn(gpu->batch, gpu->scrape, now, gpu->targets, count);
    ps_gpu_plain_push(gpu->plain, gpu, now);
    if (gpu->gauges != NULL) {
        ps_gpu_gauges_update(gpu->gauges, gpu->targets, count);
        gpu->shown = gpu->shown || count > 0;
    }
}

/* Gates go by whatever came. */
static void on_figures(struct ps_gpu *gpu, ps_time now)
{
    bool gates = gpu->in_flight == PS_THROTTLE_AUTO;
    bool second = now >= gpu->gauges_at;
    size_t count =
        gates || second ? ps_gpu_measure(gpu, now, gpu->targets, PS_OPTIMIZER_TARGETS) : 0;
    if (gates) {
        ps_gpu_gates_push(gpu, now, gpu->targets, count);
    }
    if (second) {
        on_second(gpu, now, count);
    }
    if (now >= gpu->recall_at) {
        ps_gpu_recall(gpu);
    }
}

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct ps_gpu *gpu = PS_CONTAINER_OF(timer, struct ps_gpu, timer);
    set_timer(gpu, now + PS_SECOND);
    on_figures(gpu, now);
    step(gpu);
}

/* --- the first answers ------------------------------------------------------------------------ */

static bool is_heard(struct ps_gpu *gpu, ps_time now)
{
    for (size_t i = 0; i < gpu->driver_count; i++) {
        struct ps_sampler_view view;
        ps_sampler_look(gpu->drivers[i], now, &view);
        ps_device_snapshot_unref(view.snapshot);
        if (view.state == PS_SAMPLER_STARTING) {
            return false;
        }
    }
    for (size_t i = 0; gpu->asks_sources && i < ps_scrape_count(gpu->scrape); i++) {
        struct ps_scrape_view view;
        ps_scrape_read(gpu->scrape, i, now, &view);
        if (view.state == PS_SCRAPE_STARTING) {
            return false;
        }
    }
    return true;
}

/* From the first answers on there are levels; nobody has to wait for a second to begin. */
static void on_settle(struct ps_timer *timer, ps_time now)
{
    struct ps_gpu *gpu = PS_CONTAINER_OF(timer, struct ps_gpu, settle);
    if (now < gpu->settled_by && !is_heard(gpu, now)) {
        PS_IGNORE(ps_timer_set(gpu->loop, &gpu->settle, now + SETTLE_AFTER)); /* room was made */
        return;
    }
    gpu->settled = true;
    on_time(&gpu->timer, now);
    if (gpu->observer.on_settled != NULL) {
        gpu->observer.on_settled(gpu->observer.ctx);
    }
}

bool ps_gpu_is_settled(const struct ps_gpu *gpu)
{
    return gpu->settled;
}

/* --- the whole -------------------------------------------------------------------------------- */

int ps_gpu_new(struct ps_gpu **out, const struct ps_gpu_opts *opts, struct ps_loop *loop,
               struct ps_metrics *metrics, struct ps_ledger *ledger)
{
    struct ps_gpu *gpu = calloc(1, sizeof *gpu);
    if (gpu == NULL) {
        return PS_ENOMEM;
    }
    const struct ps_optimizer_ops ops = {ps_gpu_measure, poll_server, call_server,
                                         cancel_call,    on_change,   gpu};
    gpu->loop = loop;
    gpu->metrics = metrics;
    gpu->ledger = ledger;
    gpu->mode = opts->mode;
    gpu->since = ps_clock_wall(ps_loop_clock(loop));
    gpu->timer.on_time = on_time;
    gpu->settle.on_time = on_settle;
    gpu->settled_by = ps_loop_now(loop) + SETTLED_BY;
    gpu->outlook = ps_gpu_outlook_new();
    gpu->gates = ps_gpu_gates_new();
    gpu->plain = ps_gpu_plain_new();
    int err = gpu->outlook == NULL || gpu->gates == NULL || gpu->plain == NULL
                  ? PS_ENOMEM
                  : ps_optimizer_new(&gpu->optimizer, &ops);
    err = err != PS_OK ? err : ps_scrape_new(&gpu->scrape, loop, on_round, gpu);
    err = err != PS_OK ? err : ps_gpu_means_new(&gpu->means, loop, on_means_end, gpu);
    err = err != PS_OK ? err : ps_gpu_attribution_new(&gpu->attribution);
    err = err != PS_OK || metrics == NULL ? err : ps_gpu_gauges_new(&gpu->gauges, gpu);
    err = err != PS_OK ? err : ps_gpu_batch_new(&gpu->batch, metrics);
    err = err != PS_OK ? err : ps_timer_set(loop, &gpu->timer, ps_loop_now(loop) + PS_SECOND);
    err = err != PS_OK ? err : ps_timer_set(loop, &gpu->settle, ps_loop_now(loop) + SETTLE_AFTER);
    if (err != PS_OK) {
        ps_gpu_free(gpu);
        return err;
    }
    ps_optimizer_set_mode(gpu->optimizer, (enum ps_optimizer_mode)opts->mode, 0);
    if (opts->drivers) {
        ps_gpu_open_drivers(gpu, opts);
    }
    ps_gpu_recall(gpu);
    *out = gpu;
    return PS_OK;
}

void ps_gpu_free(struct ps_gpu *gpu)
{
    if (gpu == NULL) {
        return;
    }
    ps_timer_clear(gpu->loop, &gpu->timer);
    ps_timer_clear(gpu->loop, &gpu->settle);
    ps_ledger_forget(gpu->ledger, gpu);
    free(gpu->past);
    ps_inquiry_cancel(gpu->call);
    ps_gpu_forget(gpu);
    ps_gpu_batch_free(gpu->batch);
    ps_gpu_gauges_free(gpu->gauges);
    ps_gpu_outlook_free(gpu->outlook);
    ps_gpu_gates_free(gpu->gates);
    ps_gpu_plain_free(gpu->plain);
    for (size_t i = 0; i < gpu->driver_count; i++) {
        ps_sampler_stop(gpu->drivers[i], PATIENCE);
    }
    ps_gpu_means_free(gpu->means);
    ps_gpu_attribution_free(gpu->attribution);
    ps_scrape_free(gpu->scrape);
    ps_optimizer_free(gpu->optimizer);
    free(gpu);
}

int ps_gpu_set(struct ps_gpu *gpu, const struct ps_gpu_opts *opts, struct ps_gateway *gateway,
               char *reason, size_t size)
{
    struct ps_optimizer_opts optimizer;
    struct ps_scrape_opts scrape;
    ps_gpu_optimizer_opts(opts, &optimizer);
    ps_gpu_scrape_opts(opts, &scrape);
    ps_optimizer_set(gpu->optimizer, &optimizer);
    if (gpu->in_flight != opts->in_flight) {
        gpu->in_flight = opts->in_flight;
        ps_gpu_gates_open(gpu, ps_loop_now(gpu->loop));
    }
    gpu->target_percent = opts->target_percent;
    int can = ps_gpu_means_set(gpu->means, &opts->servers, opts->cuda_checkpoint);
    gpu->asks_sources = opts->interval > 0;
    gpu->has_gateway = gateway != NULL;
    ps_gpu_batch_set(gpu->batch, &opts->batch, opts->target_percent, gateway);
    if (gpu->mode != opts->mode) {
        gpu->mode = opts->mode;
        ps_optimizer_set_mode(gpu->optimizer, (enum ps_optimizer_mode)opts->mode,
                              ps_loop_now(gpu->loop));
    }
    int err = ps_scrape_set(gpu->scrape, gateway, &scrape, reason, size);
    if (ps_gpu_attribution_set(gpu->attribution, gateway) != PS_OK) {
        snprintf(reason, size, "gpu processes can't be attributed: out of memory");
        err = PS_ENOMEM;
    }
    if (can != PS_OK) {
        snprintf(reason, size, "gpu.servers can't be used: out of memory");
    }
    return can != PS_OK ? can : err;
}

static bool has_devices(const struct ps_device_snapshot *snapshot)
{
    return snapshot != NULL && snapshot->device_count > 0;
}

bool ps_gpu_is_known(struct ps_gpu *gpu)
{
    ps_time now = ps_loop_now(gpu->loop);
    bool known = ps_gpu_measure(gpu, now, gpu->targets, PS_OPTIMIZER_TARGETS) > 0;
    for (size_t i = 0; i < gpu->driver_count; i++) {
        known = known || has_devices(gpu->views[i].snapshot);
    }
    for (size_t i = 0; i < ps_scrape_count(gpu->scrape); i++) {
        struct ps_scrape_view view;
        ps_scrape_read(gpu->scrape, i, now, &view);
        known = known || (view.result != NULL && has_devices(view.result->devices));
    }
    return known;
}

void ps_gpu_end_cleanup(struct ps_gpu *gpu, const char *why)
{
    ps_optimizer_end(gpu->optimizer, why, ps_loop_now(gpu->loop));
}

int ps_gpu_observe_batch(struct ps_gpu *gpu, const struct ps_gpu_observation *seen)
{
    ps_time now = ps_loop_now(gpu->loop);
    return seen->failed ? ps_gpu_batch_fail(gpu->batch, seen->model, seen->shape, now, seen->size,
                                            seen->bytes)
                        : ps_gpu_batch_observe(gpu->batch, seen->model, seen->shape, now,
                                               seen->size, seen->seconds, seen->bytes, 1);
}

int ps_gpu_ask_batch(struct ps_gpu *gpu, struct ps_str model, struct ps_str shape,
                     const struct ps_batch_goal *goal, struct ps_batch_advice *advice, size_t *next)
{
    return ps_gpu_batch_ask(gpu->batch, model, shape, goal, advice, next);
}

struct ps_finished_ring *ps_gpu_finished(struct ps_gpu *gpu)
{
    return ps_gpu_batch_ring(gpu->batch);
}

int ps_gpu_write_batch(struct ps_gpu *gpu, struct ps_str query, struct ps_buf *out, char *reason,
                       size_t size)
{
    return ps_gpu_batch_write(gpu->batch, query, out, reason, size);
}

void ps_gpu_look(struct ps_gpu *gpu)
{
    ps_scrape_look(gpu->scrape);
}
