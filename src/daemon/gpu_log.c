#include "daemon/gpu_log.h"

#include <stdio.h>

#include "base/log.h"
#include "operate/optimizer.h"

static void on_step(void *ctx, const struct ps_optimizer_run *run, const struct ps_optimizer_step *one)
{
    bool bad = one->verdict == PS_OPTIMIZER_SHORT || one->verdict == PS_OPTIMIZER_FAILED;
    char freed[32] = "unknown";
    (void)ctx;
    if (one->before.known && one->after.known) {
        snprintf(freed, sizeof freed, "%.0f", (one->before.value - one->after.value) / 1048576);
    }
    ps_log(bad ? PS_LOG_WARN : PS_LOG_INFO, "gpu cleanup", "server", one->target, "rung",
           ps_rung_names[one->hook->rung], "model", one->model, "verdict", ps_optimizer_verdict_names[one->verdict],
           "freed_mb", freed, "asked", run->manual ? "yes" : "no", "reason", one->why, NULL);
}

static void on_run(void *ctx, const struct ps_optimizer_run *run)
{
    (void)ctx;
    ps_log(run->outcome == PS_OPTIMIZER_NO_RUNG ? PS_LOG_WARN : PS_LOG_INFO, "gpu cleanup ended", "outcome",
           ps_optimizer_outcome_names[run->outcome], "reason", run->why, NULL);
}

const struct ps_gpu_observer ps_gpu_log = {.on_step = on_step, .on_run = on_run};
