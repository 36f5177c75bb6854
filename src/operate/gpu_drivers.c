/* gpu_drivers - opens this machine's drivers, and says why nothing is known when none answers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdarg.h>
#include <stdio.h>

#include "gpu/amdgpu.h"
#include "gpu/nvml.h"
#include "operate/gpu.h"
#include "operate/gpu_opts.h"
#include "operate/gpu_room.h"

static void add(struct ps_gpu *gpu, const struct ps_sampler_source *source, void *ctx)
{
    const struct ps_sampler_opts opts = {.clock = &ps_clock_real,
                                         .stale_after = 5 * PS_SECOND,
                                         .hung_after = PS_SECOND,
                                         .retry_after = 10 * PS_SECOND};
    if (ps_sampler_start_take(&gpu->drivers[gpu->driver_count], source, ctx, &opts) == PS_OK) {
        gpu->driver_names[gpu->driver_count++] = source->name;
    }
}

void ps_gpu_open_drivers(struct ps_gpu *gpu, const struct ps_gpu_opts *opts)
{
    char why[PS_SAMPLER_WHY]; /* out of memory: the others may still be opened */
    struct ps_nvml_opts nvml_opts;
    struct ps_nvml *nvml;
    struct ps_amdgpu_opts amdgpu_opts;
    struct ps_amdgpu *amdgpu;
    ps_nvml_opts_init(&nvml_opts);
    nvml_opts.library = opts->nvml_library;
    nvml_opts.wait = true; /* a driver may be loaded later */
    gpu->asks_drivers = true;
    if (ps_nvml_open(&nvml, &nvml_opts, why) == PS_OK) {
        add(gpu, &ps_nvml_source, nvml);
    }
    ps_amdgpu_opts_init(&amdgpu_opts);
    amdgpu_opts.wait = true;
    if (ps_amdgpu_open(&amdgpu, &amdgpu_opts, why) == PS_OK) {
        add(gpu, &ps_amdgpu_source, amdgpu);
    }
}

/* --- explaining ------------------------------------------------------------------------------- */

/* A text that is cut where its room ends. */
struct text {
    char *at;
    size_t left;
};

static void say(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text->at, text->left, format, args);
    va_end(args);
    size_t said = len < 0 ? 0 : (size_t)len;
    said = said < text->left ? said : text->left - 1;
    text->at += said;
    text->left -= said;
}

static void say_drivers(struct text *text, struct ps_gpu *gpu)
{
    if (!gpu->asks_drivers) {
        say(text, "gpu.drivers is no");
        return;
    }
    say(text, "no driver of this machine tells of one");
    for (size_t i = 0; i < gpu->driver_count; i++) {
        struct ps_sampler_view view;
        ps_sampler_look(gpu->drivers[i], ps_loop_now(gpu->loop), &view);
        ps_device_snapshot_unref(view.snapshot);
        say(text, "%s%s: %s", i == 0 ? " (" : "; ", gpu->driver_names[i],
            view.why[0] != '\0' ? view.why : ps_sampler_state_names[view.state]);
    }
    say(text, "%s", gpu->driver_count > 0 ? ")" : "");
}

static void say_sources(struct text *text, struct ps_gpu *gpu)
{
    size_t count = ps_scrape_count(gpu->scrape);
    if (count == 0) {
        say(text, "%s and gpu.sources names no %s",
            gpu->has_gateway ? ", no upstream whose engine tells," : ",",
            gpu->has_gateway ? "exporter" : "server or exporter");
    }
    for (size_t i = 0; i < count; i++) {
        struct ps_scrape_view view;
        ps_scrape_read(gpu->scrape, i, ps_loop_now(gpu->loop), &view);
        say(text, ", %.64s (%s): %s", view.name, ps_adapters[view.adapter].name,
            view.why[0] != '\0' ? view.why : ps_scrape_state_names[view.state]);
    }
}

void ps_gpu_explain(struct ps_gpu *gpu, char *out, size_t size)
{
    struct text text = {out, size};
    say(&text, "nothing is known of any GPU: ");
    say_drivers(&text, gpu);
    say_sources(&text, gpu);
}
