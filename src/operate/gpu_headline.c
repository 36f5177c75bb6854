/* gpu_headline - the GPUs in four numbers: what `profile` shows, for who has room for one line.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>

#include "operate/gpu_room.h"

size_t ps_gpu_list_sources(struct ps_gpu *gpu, ps_time now, struct ps_profile_source *sources,
                           size_t most)
{
    size_t count = 0;
    for (size_t i = 0; i < gpu->driver_count && count < most; i++) {
        sources[count++] = (struct ps_profile_source){.name = gpu->driver_names[i],
                                                      .view = gpu->views[i],
                                                      .calls = ps_sampler_book(gpu->drivers[i])};
    }
    for (size_t i = 0; i < ps_scrape_count(gpu->scrape) && count < most; i++) {
        struct ps_scrape_view view;
        ps_scrape_read(gpu->scrape, i, now, &view);
        if (view.result != NULL && view.result->devices != NULL) {
            struct ps_profile_source *source = &sources[count++];
            *source = (struct ps_profile_source){.name = view.name};
            source->view.state =
                view.state == PS_SCRAPE_FRESH ? PS_SAMPLER_FRESH : PS_SAMPLER_STALE;
            source->view.snapshot = view.result->devices;
            source->view.age = view.age;
            snprintf(source->view.why, sizeof source->view.why, "%s", view.why);
        }
    }
    return count;
}

const struct ps_optimizer_target *ps_gpu_most_pressed(const struct ps_gpu_outlook *outlook,
                                                      const struct ps_optimizer_target *targets,
                                                      size_t count)
{
    const struct ps_optimizer_target *most = NULL;
    int highest = 0;
    for (size_t i = 0; i < count; i++) {
        struct ps_gpu_view view;
        if (!targets[i].fresh || !targets[i].effective.known) {
            continue;
        }
        int level = ps_gpu_outlook_read(outlook, targets[i].id, &view) ? (int)view.level : -1;
        if (most == NULL || level > highest ||
            (level == highest && targets[i].effective.value > most->effective.value)) {
            most = &targets[i];
            highest = level;
        }
    }
    return most;
}

/* The fullest device that this server told of, or else of all. */
static const struct ps_device *find_device(struct ps_gpu *gpu, ps_time now,
                                           const struct ps_optimizer_target *server,
                                           struct ps_profile_source *sources,
                                           const struct ps_device_snapshot **snapshot)
{
    *snapshot = NULL;
    size_t at = 0;
    for (size_t i = 0; server != NULL && i < ps_scrape_count(gpu->scrape); i++) {
        struct ps_scrape_view view;
        ps_scrape_read(gpu->scrape, i, now, &view);
        if (view.id == server->id && view.result != NULL) {
            struct ps_profile_source own = {.view.snapshot = view.result->devices};
            at = ps_profile_choose(&own, 1, snapshot);
        }
    }
    if (*snapshot == NULL) {
        size_t count = ps_gpu_list_sources(gpu, now, sources, PS_OPTIMIZER_TARGETS);
        at = ps_profile_choose(sources, count, snapshot);
    }
    return *snapshot == NULL ? NULL : &(*snapshot)->devices[at];
}

void ps_gpu_headline(struct ps_gpu *gpu, ps_time now, const struct ps_optimizer_target *targets,
                     size_t count, struct ps_gpu_headline *out)
{
    const struct ps_optimizer_target *server = ps_gpu_most_pressed(gpu->outlook, targets, count);
    struct ps_profile_source *sources = calloc(PS_OPTIMIZER_TARGETS, sizeof *sources);
    const struct ps_device_snapshot *snapshot = NULL;
    *out = (struct ps_gpu_headline){.foreseen = false};
    const struct ps_device *device =
        sources == NULL ? NULL : find_device(gpu, now, server, sources, &snapshot);
    if (device != NULL) {
        out->used = ps_device_utilization(device);
    }
    if (server != NULL) {
        out->effective = server->effective;
        out->foreseen = ps_gpu_outlook_read(gpu->outlook, server->id, &out->view);
    } else if (device != NULL) {
        out->effective = out->used;
        out->foreseen = ps_gpu_plain_read(gpu->plain, snapshot->source, device->uuid, device->index,
                                          &out->view);
    }
    free(sources);
}
