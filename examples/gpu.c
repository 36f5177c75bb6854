/* gpu - how full the GPUs are, whether their memory will run out, and what can be done about it.
 *
 * Usage: PENSTOCK_CONFIG=penstock.yaml example_gpu          shows, and plans a cleanup
 *        PENSTOCK_CONFIG=penstock.yaml example_gpu unload   frees memory, up to this rung
 *
 * Without the variable this machine's drivers are all that is asked.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <penstock/penstock.h>

#include <math.h>
#include <stdio.h>

#define GIB 1073741824.0

static void print_number(const char *what, double value, const char *unit)
{
    if (isnan(value)) {
        printf("%s: not known\n", what);
    } else {
        printf("%s: %.1f%s\n", what, value, unit);
    }
}

static int show(struct ps_gpu_optimizer *optimizer)
{
    struct ps_gpu_profile profile;
    struct ps_gpu_prediction prediction;
    int err = ps_gpu_optimizer_profile(optimizer, &profile);
    if (err != PS_OK) {
        return err;
    }
    printf("%s: %s%s\n", profile.server[0] != '\0' ? "server" : "device",
           profile.server[0] != '\0' ? profile.server : profile.uuid,
           profile.simulated ? " (simulated)" : "");
    print_number("used", profile.used_bytes / GIB, " GiB");
    print_number("of", profile.total_bytes / GIB, " GiB");
    print_number("counts", profile.effective_percent, " %");
    printf("level: %s\n", ps_gpu_level_name(profile.level));
    err = ps_gpu_optimizer_predict_cleanup_need(optimizer, &prediction);
    if (err == PS_OK) {
        printf("cleanup needed: %s\n", prediction.needed ? "yes" : "no");
        print_number("seconds until it is full", prediction.seconds_to_critical, "");
    }
    return err == PS_ENOTFOUND ? PS_OK : err; /* nobody can measure it */
}

static void print_steps(const struct ps_gpu_cleanup *cleanup)
{
    for (size_t i = 0; i < cleanup->step_count; i++) {
        const struct ps_gpu_step *step = &cleanup->steps[i];
        printf("%s %s %s: %s%s%s\n", step->server, step->rung, step->model, step->verdict,
               step->reason[0] != '\0' ? ", " : "", step->reason);
    }
}

static int free_memory(struct ps_gpu_optimizer *optimizer, const char *level)
{
    const struct ps_gpu_order order = {
        .level = level != NULL ? level : "unload",
        .dry_run = level == NULL,
    };
    struct ps_gpu_cleanup cleanup;
    int err = ps_gpu_optimizer_aggressive_cleanup(optimizer, &order, &cleanup);
    if (err != PS_OK) {
        return err;
    }
    print_steps(&cleanup);
    printf("cleanup: %s%s%s\n", ps_gpu_outcome_name(cleanup.outcome),
           cleanup.reason[0] != '\0' ? ", " : "", cleanup.reason);
    print_number("freed", cleanup.freed_bytes / GIB, " GiB");
    return PS_OK;
}

static int advise(struct ps_gpu_optimizer *optimizer)
{
    char *json = NULL;
    int err = ps_gpu_optimizer_recommendations(optimizer, &json);
    if (err == PS_OK) {
        printf("recommendations: %s\n", json);
        ps_free(json);
    }
    return err;
}

int main(int argc, char **argv)
{
    struct ps_gpu_optimizer *optimizer = ps_gpu_optimizer_default();
    int err = optimizer == NULL ? PS_EINVAL : show(optimizer);
    err = err != PS_OK ? err : free_memory(optimizer, argc > 1 ? argv[1] : NULL);
    err = err != PS_OK ? err : advise(optimizer);
    if (err != PS_OK) {
        fprintf(stderr, "example_gpu: %s: %s\n", ps_strerror(err), ps_last_error());
    }
    ps_shutdown();
    return err == PS_OK ? 0 : 1;
}
