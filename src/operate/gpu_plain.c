#include "operate/gpu_plain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "operate/gpu_room.h"

enum { DEVICES = 64 };

/* A device has a number as long as it is seen. */
struct entry {
    char key[PS_DEVICE_TEXT + 64];
    uint32_t id; /* 0 = free */
    bool seen;
};

struct ps_gpu_plain {
    struct entry entries[DEVICES];
    uint32_t latest;
    struct ps_vitals vitals; /* of nobody: all is unknown */
    struct ps_optimizer_target targets[DEVICES];
    size_t count;
    struct ps_gpu_outlook *outlook;
};

struct ps_gpu_plain *ps_gpu_plain_new(void)
{
    struct ps_gpu_plain *plain = calloc(1, sizeof *plain);
    if (plain == NULL) {
        return NULL;
    }
    ps_vitals_init(&plain->vitals);
    plain->outlook = ps_gpu_outlook_new();
    if (plain->outlook == NULL) {
        free(plain);
        return NULL;
    }
    return plain;
}

void ps_gpu_plain_free(struct ps_gpu_plain *plain)
{
    if (plain != NULL) {
        ps_gpu_outlook_free(plain->outlook);
        free(plain);
    }
}

static void write_key(char *key, size_t size, const char *source, const char *uuid, uint32_t index)
{
    snprintf(key, size, "%.40s\n%.95s\n%u", source, uuid, (unsigned)index);
}

static const struct entry *find(const struct ps_gpu_plain *plain, const char *key)
{
    for (size_t i = 0; i < DEVICES; i++) {
        if (plain->entries[i].id != 0 && strcmp(plain->entries[i].key, key) == 0) {
            return &plain->entries[i];
        }
    }
    return NULL;
}

/* The entry of a key, perhaps a new one; NULL: there is no room. */
static struct entry *entry_of(struct ps_gpu_plain *plain, const char *key)
{
    struct entry *unused = NULL;
    for (size_t i = 0; i < DEVICES; i++) {
        struct entry *entry = &plain->entries[i];
        if (entry->id == 0) {
            unused = unused == NULL ? entry : unused;
        } else if (strcmp(entry->key, key) == 0) {
            return entry;
        }
    }
    if (unused != NULL) {
        snprintf(unused->key, sizeof unused->key, "%s", key);
        unused->id = ++plain->latest;
    }
    return unused;
}

static void take_device(struct ps_gpu_plain *plain, const char *source,
                        const struct ps_device *device)
{
    char key[sizeof plain->entries[0].key];
    struct ps_device_reading share = ps_device_utilization(device);
    if (device->parent != PS_DEVICE_NONE || !share.known) {
        return;
    }
    write_key(key, sizeof key, source, device->uuid, device->index);
    struct entry *entry = entry_of(plain, key);
    if (entry == NULL || entry->seen) {
        return;
    }
    entry->seen = true;
    plain->targets[plain->count++] =
        (struct ps_optimizer_target){.id = entry->id,
                                     .adapter = PS_ADAPTER_DCGM, /* tells of devices alone */
                                     .instance = "",
                                     .vitals = &plain->vitals,
                                     .used = device->readings[PS_DEVICE_MEMORY_USED],
                                     .utilization = share,
                                     .effective = share,
                                     .fresh = true};
}

static void take_snapshot(struct ps_gpu_plain *plain, const struct ps_device_snapshot *snapshot)
{
    for (size_t i = 0; snapshot != NULL && i < snapshot->device_count; i++) {
        take_device(plain, snapshot->source, &snapshot->devices[i]);
    }
}

static void forget_others(struct ps_gpu_plain *plain)
{
    for (size_t i = 0; i < DEVICES; i++) {
        if (!plain->entries[i].seen) {
            plain->entries[i].id = 0;
        }
    }
}

void ps_gpu_plain_push(struct ps_gpu_plain *plain, struct ps_gpu *gpu, ps_time now)
{
    static const struct ps_gpu_crowd *const nobody[DEVICES]; /* no gateway sends anything there */
    plain->count = 0;
    for (size_t i = 0; i < DEVICES; i++) {
        plain->entries[i].seen = false;
    }
    for (size_t i = 0; i < gpu->driver_count; i++) {
        take_snapshot(plain,
                      gpu->views[i].state == PS_SAMPLER_FRESH ? gpu->views[i].snapshot : NULL);
    }
    for (size_t i = 0; i < ps_scrape_count(gpu->scrape); i++) {
        struct ps_scrape_view view;
        ps_scrape_read(gpu->scrape, i, now, &view);
        take_snapshot(plain, view.state == PS_SCRAPE_FRESH ? view.result->devices : NULL);
    }
    forget_others(plain);
    ps_gpu_outlook_push(plain->outlook, now, gpu->target_percent, plain->targets, nobody,
                        plain->count);
}

bool ps_gpu_plain_read(const struct ps_gpu_plain *plain, const char *source, const char *uuid,
                       uint32_t index, struct ps_gpu_view *view)
{
    char key[sizeof plain->entries[0].key];
    write_key(key, sizeof key, source, uuid, index);
    const struct entry *entry = find(plain, key);
    return entry != NULL && ps_gpu_outlook_read(plain->outlook, entry->id, view);
}
