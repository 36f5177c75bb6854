#include "operate/gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "operate/gpu_room.h"
#include "gpu/amdgpu.h"
#include "gpu/nvml.h"
#include "operate/gpu_opts.h"

#define CALL_TIMEOUT (15 * PS_SECOND) /* some servers answer only when they sleep */
#define PATIENCE     (200 * PS_MILLISECOND)
#define TEXT_LIMIT   ((size_t)4096)

/* --- drivers ---------------------------------------------------------------------------------- */

static void add_driver(struct ps_gpu *gpu, const struct ps_sampler_source *source, void *ctx)
{
    const struct ps_sampler_opts opts = {.clock = &ps_clock_real,
                                         .stale_after = 5 * PS_SECOND,
                                         .hung_after = PS_SECOND,
                                         .retry_after = 10 * PS_SECOND};
    if (ps_sampler_start_take(&gpu->drivers[gpu->driver_count], source, ctx, &opts) == PS_OK) {
        gpu->driver_names[gpu->driver_count++] = source->name;
    }
}

static void open_drivers(struct ps_gpu *gpu)
{
    char why[PS_SAMPLER_WHY];
    struct ps_nvml_opts nvml_opts;
    struct ps_nvml *nvml;
    struct ps_amdgpu_opts amdgpu_opts;
    struct ps_amdgpu *amdgpu;
    ps_nvml_opts_init(&nvml_opts);
    if (ps_nvml_open(&nvml, &nvml_opts, why) == PS_OK) {
        add_driver(gpu, &ps_nvml_source, nvml);
    }
    ps_amdgpu_opts_init(&amdgpu_opts);
    if (ps_amdgpu_open(&amdgpu, &amdgpu_opts, why) == PS_OK) {
        add_driver(gpu, &ps_amdgpu_source, amdgpu);
    }
}

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

static int call_server(void *ctx, uint32_t id, const struct ps_hook *hook, const char *model)
{
    struct ps_gpu *gpu = ctx;
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
}

/* --- what is said in the log ------------------------------------------------------------------ */

static void log_step(const struct ps_optimizer_run *run, const struct ps_optimizer_step *one)
{
    bool bad = one->verdict == PS_OPTIMIZER_SHORT || one->verdict == PS_OPTIMIZER_FAILED;
    char freed[32] = "unknown";
    if (one->before.known && one->after.known) {
        snprintf(freed, sizeof freed, "%.0f", (one->before.value - one->after.value) / 1048576);
    }
    ps_log(bad ? PS_LOG_WARN : PS_LOG_INFO, "gpu cleanup", "server", one->target, "rung",
           ps_rung_names[one->hook->rung], "model", one->model, "verdict",
           ps_optimizer_verdict_names[one->verdict], "freed_mb", freed, "asked",
           run->manual ? "yes" : "no", "reason", one->why, NULL);
}

static void log_run(const struct ps_optimizer_run *run)
{
    ps_log(run->outcome == PS_OPTIMIZER_NO_RUNG ? PS_LOG_WARN : PS_LOG_INFO, "gpu cleanup ended",
           "outcome", ps_optimizer_outcome_names[run->outcome], "reason", run->why, NULL);
}

/* Dry steps are in the report; the log has what was done. */
static void on_change(void *ctx)
{
    struct ps_gpu *gpu = ctx;
    const struct ps_optimizer_run *run = ps_optimizer_run(gpu->optimizer, 0);
    if (gpu->told_run != run->number) {
        gpu->told_run = run->number;
        gpu->told = 0;
    }
    for (; gpu->told < run->step_count && run->steps[gpu->told].ended != 0; gpu->told++) {
        if (run->steps[gpu->told].verdict != PS_OPTIMIZER_DRY) {
            log_step(run, &run->steps[gpu->told]);
        }
    }
    if (run->outcome != PS_OPTIMIZER_RUNNING && gpu->told != SIZE_MAX) {
        gpu->told = SIZE_MAX;
        log_run(run);
    }
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
        gpu->stepping = false;
    }
}

/* New figures: while something is measured they are looked at at once. */
static void on_round(void *ctx, uint32_t id)
{
    struct ps_gpu *gpu = ctx;
    const struct ps_optimizer_run *run = ps_optimizer_run(gpu->optimizer, 0);
    (void)id;
    if (is_eager(gpu)) {
        set_timer(gpu, ps_loop_now(gpu->loop));
        return;
    }
    if (run != NULL && run->outcome == PS_OPTIMIZER_RUNNING) {
        set_timer(gpu, ps_loop_now(gpu->loop));
    }
}

/* Levels, forecasts and gauges go by the second, gates by whatever came. */
static void on_figures(struct ps_gpu *gpu, ps_time now)
{
    static struct ps_optimizer_target targets[PS_OPTIMIZER_TARGETS];
    bool second = now >= gpu->gauges_at;
    if (!second && gpu->in_flight != PS_THROTTLE_AUTO) {
        return;
    }
    size_t count = ps_gpu_measure(gpu, now, targets, PS_OPTIMIZER_TARGETS);
    if (gpu->in_flight == PS_THROTTLE_AUTO) {
        ps_gpu_gates_push(gpu, now, targets, count);
    }
    if (second) {
        gpu->gauges_at += now - gpu->gauges_at < PS_SECOND ? PS_SECOND : now + PS_SECOND - gpu->gauges_at;
        ps_gpu_outlook_push(gpu->outlook, now, gpu->target_percent, targets, count);
        ps_gpu_gauges_update(gpu->gauges, targets, count);
    }
}

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct ps_gpu *gpu = PS_CONTAINER_OF(timer, struct ps_gpu, timer);
    set_timer(gpu, now + PS_SECOND);
    on_figures(gpu, now);
    step(gpu);
}

int ps_gpu_new(struct ps_gpu **out, const struct ps_gpu_opts *opts, struct ps_loop *loop,
               struct ps_metrics *metrics)
{
    struct ps_gpu *gpu = calloc(1, sizeof *gpu);
    if (gpu == NULL) {
        return PS_ENOMEM;
    }
    const struct ps_optimizer_ops ops = {ps_gpu_measure, poll_server, call_server,
                                         cancel_call,    on_change,   gpu};
    gpu->loop = loop;
    gpu->metrics = metrics;
    gpu->mode = opts->mode;
    gpu->since = ps_clock_wall(ps_loop_clock(loop));
    gpu->timer.on_time = on_time;
    gpu->outlook = ps_gpu_outlook_new();
    gpu->gates = ps_gpu_gates_new();
    int err = gpu->outlook == NULL || gpu->gates == NULL ? PS_ENOMEM : ps_optimizer_new(&gpu->optimizer, &ops);
    err = err != PS_OK ? err : ps_scrape_new(&gpu->scrape, loop, on_round, gpu);
    err = err != PS_OK ? err : ps_gpu_gauges_new(&gpu->gauges, gpu);
    err = err != PS_OK ? err : ps_timer_set(loop, &gpu->timer, ps_loop_now(loop) + PS_SECOND);
    if (err != PS_OK) {
        ps_gpu_free(gpu);
        return err;
    }
    ps_optimizer_set_mode(gpu->optimizer, (enum ps_optimizer_mode)opts->mode, 0);
    if (opts->drivers) {
        open_drivers(gpu);
    }
    *out = gpu;
    return PS_OK;
}

void ps_gpu_free(struct ps_gpu *gpu)
{
    if (gpu == NULL) {
        return;
    }
    ps_timer_clear(gpu->loop, &gpu->timer);
    ps_inquiry_cancel(gpu->call);
    ps_gpu_forget(gpu);
    ps_gpu_gauges_free(gpu->gauges);
    ps_gpu_outlook_free(gpu->outlook);
    ps_gpu_gates_free(gpu->gates);
    for (size_t i = 0; i < gpu->driver_count; i++) {
        ps_sampler_stop(gpu->drivers[i], PATIENCE);
    }
    ps_scrape_free(gpu->scrape);
    ps_optimizer_free(gpu->optimizer);
    free(gpu);
}

void ps_gpu_set(struct ps_gpu *gpu, const struct ps_gpu_opts *opts, struct ps_gateway *gateway)
{
    struct ps_optimizer_opts optimizer;
    struct ps_scrape_opts scrape;
    char reason[256];
    ps_gpu_optimizer_opts(opts, &optimizer);
    ps_gpu_scrape_opts(opts, &scrape);
    ps_optimizer_set(gpu->optimizer, &optimizer);
    if (gpu->in_flight != opts->in_flight) {
        gpu->in_flight = opts->in_flight;
        ps_gpu_gates_open(gpu, ps_loop_now(gpu->loop));
    }
    gpu->target_percent = opts->target_percent;
    if (gpu->mode != opts->mode) {
        gpu->mode = opts->mode;
        ps_optimizer_set_mode(gpu->optimizer, (enum ps_optimizer_mode)opts->mode,
                              ps_loop_now(gpu->loop));
    }
    if (ps_scrape_set(gpu->scrape, gateway, &scrape, reason, sizeof reason) != PS_OK) {
        ps_log(PS_LOG_ERROR, "a gpu source can't be asked", "reason", reason, NULL);
    }
}

void ps_gpu_look(struct ps_gpu *gpu)
{
    ps_scrape_look(gpu->scrape);
}
