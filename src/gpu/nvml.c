/* nvml - see nvml.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/nvml.h"

#include <dirent.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gpu/attribution.h"
#include "gpu/file.h"
#include "gpu/nvml_card.h"
#include "gpu/nvml_events.h"

#define MIG_ON        1
#define SHARE         1000 /* a job over budget waits so many times as long as it took */
#define LOST_RETRY    (30 * PS_SECOND)
#define LAYOUT_EVERY  (30 * PS_SECOND) /* MIG instances may be made and taken away */
#define CARDS_EVERY   PS_MINUTE        /* and cards may come */
#define LOST_RESTART  (5 * PS_MINUTE)  /* a lost one may need a library that begins anew */
#define GPUS_FOLDER   "proc/driver/nvidia/gpus"
#define STEP_SOONEST  PS_SECOND /* processes are not listed more often because memory moves ... */
#define STEP_SHARE    50        /* ... and not for more than so large a part of the time */
#define STOP_PATIENCE (2 * PS_SECOND)

struct tier {
    ps_span every;
    ps_span budget;
    ps_span longest; /* that it may be held back for */
};

static const struct tier tiers[PS_NVML_TIERS] = {
    [PS_NVML_TIER_MEMORY] = {100 * PS_MILLISECOND, PS_MILLISECOND, PS_SECOND},
    [PS_NVML_TIER_STATE] = {PS_SECOND, 2 * PS_MILLISECOND, 10 * PS_SECOND},
    [PS_NVML_TIER_GPM] = {PS_SECOND, 2 * PS_MILLISECOND, 10 * PS_SECOND},
    [PS_NVML_TIER_PROCESSES] = {5 * PS_SECOND, PS_MILLISECOND, PS_MINUTE},
    [PS_NVML_TIER_PCIE] = {10 * PS_SECOND, PS_MILLISECOND, PS_MINUTE},
    [PS_NVML_TIER_RARE] = {PS_MINUTE, PS_MILLISECOND, 10 * PS_MINUTE},
};

struct ps_nvml {
    struct ps_nvml_opts opts;
    struct ps_nvml_library library;
    struct ps_nvml_card *cards; /* whole ones first, then MIG instances; PS_DEVICES_MAX places */
    size_t whole;
    size_t count;
    struct ps_nvml_events *events; /* NULL: nobody tells */
    ps_time layout_due;
    ps_time cards_due;
    ps_time began;     /* the library was initialised */
    uint32_t told;     /* cards, when it was */
    uint64_t listed;   /* a digest of the kernel's list then; 0 = it has none */
    bool stuck;        /* a thread hangs in the library: neither may go */
    _Atomic bool open; /* the library is, and its book may be read */
    struct ps_attribution_watch watch;
    char driver[PS_DEVICE_TEXT];
    bool started;
    char *path; /* of opts.library, or NULL */
};

void ps_nvml_opts_init(struct ps_nvml_opts *opts)
{
    *opts = (struct ps_nvml_opts){
        .root = "", .clock = &ps_clock_real, .memory_every = tiers[PS_NVML_TIER_MEMORY].every};
}

static int load(struct ps_nvml *nvml, char why[PS_SAMPLER_WHY])
{
    int err = ps_nvml_library_load(&nvml->library, nvml->opts.library, why, PS_SAMPLER_WHY);
    atomic_store_explicit(&nvml->open, err == PS_OK, memory_order_release);
    return err;
}

int ps_nvml_open(struct ps_nvml **out, const struct ps_nvml_opts *opts, char why[PS_SAMPLER_WHY])
{
    struct ps_nvml *nvml = calloc(1, sizeof *nvml);
    if (nvml == NULL) {
        return PS_ENOMEM;
    }
    nvml->opts = *opts;
    if (opts->library != NULL) { /* it may be opened later, by a thread that was left behind */
        nvml->path = strdup(opts->library);
        nvml->opts.library = nvml->path;
    }
    ps_nvml_library_init(&nvml->library, opts->clock);
    bool fine = opts->library == NULL || nvml->path != NULL;
    int err = !fine ? PS_ENOMEM : opts->wait ? PS_OK : load(nvml, why);
    if (err != PS_OK) {
        free(nvml->path);
        free(nvml);
        return err;
    }
    *out = nvml;
    return PS_OK;
}

/* --- which cards there are -------------------------------------------------------------------- */

static void set_due(struct ps_nvml_card *card, ps_time first, ps_time rest)
{
    for (size_t tier = 0; tier < PS_NVML_TIERS; tier++) {
        card->due[tier] = tier == PS_NVML_TIER_MEMORY ? first : rest;
    }
}

static struct ps_nvml_card *add_card(struct ps_nvml *nvml, ps_nvml_device handle, ps_time now)
{
    struct ps_nvml_card *card = &nvml->cards[nvml->count++];
    ps_nvml_card_init(card, &nvml->library, nvml->opts.root, handle);
    set_due(card, now, now);
    return card;
}

/* One that fell off the bus keeps its place, and who it is if we knew that. */
static void add_lost(struct ps_nvml *nvml, uint32_t i, const struct ps_nvml_card *before,
                     ps_time now)
{
    struct ps_nvml_card *card = &nvml->cards[nvml->count++];
    *card = (struct ps_nvml_card){.library = &nvml->library, .root = nvml->opts.root};
    card->device =
        (struct ps_device){.index = i, .parent = PS_DEVICE_NONE, .instance = PS_DEVICE_NONE};
    if (before != NULL) {
        memcpy(card->device.uuid, before->device.uuid, sizeof card->device.uuid);
        memcpy(card->device.name, before->device.name, sizeof card->device.name);
        memcpy(card->device.bus, before->device.bus, sizeof card->device.bus);
    }
    card->device.lost = true;
    set_due(card, now + LOST_RETRY, PS_NEVER);
}

static const struct ps_nvml_card *with_index(const struct ps_nvml_card *cards, size_t count,
                                             uint32_t index)
{
    for (size_t i = 0; i < count; i++) {
        if (cards[i].device.index == index) {
            return &cards[i];
        }
    }
    return NULL;
}

/* `before` are those that were there, if any were. */
static void find_whole_cards(struct ps_nvml *nvml, uint32_t count,
                             const struct ps_nvml_card *before, size_t before_count, ps_time now)
{
    for (uint32_t i = 0; i < count && nvml->count < PS_DEVICES_MAX; i++) {
        ps_nvml_device handle = NULL;
        int code = PS_NVML_CALL(&nvml->library, HANDLE, i, &handle);
        if (code == PS_NVML_OK) {
            add_card(nvml, handle, now)->device.index = i;
        } else if (code == PS_NVML_GPU_IS_LOST) {
            add_lost(nvml, i, with_index(before, before_count, i), now);
        }
        /* Others are not ours to see. */
    }
    nvml->whole = nvml->count;
}

static void add_instance(struct ps_nvml *nvml, size_t parent, ps_nvml_device handle, ps_time now)
{
    struct ps_nvml_card *card = add_card(nvml, handle, now);
    card->card = nvml->cards[parent].handle;
    card->device.index = nvml->cards[parent].device.index;
    card->device.parent = (uint32_t)parent;
    if (!PS_NVML_CARD_CALL(card, GPU_INSTANCE, handle, &card->device.instance)) {
        card->device.instance = PS_DEVICE_NONE;
    }
    card->gpm = nvml->cards[parent].gpm && nvml->library.GPM_MIG_SAMPLE != NULL &&
                card->device.instance != PS_DEVICE_NONE;
}

/* What a divided card can't say is asked of it again when it is whole, and the other way round. */
static void set_partitioned(struct ps_nvml_card *card, bool partitioned, ps_time now)
{
    if (card->device.partitioned != partitioned) {
        ps_nvml_card_forget(card);
        card->unsupported = 0;
        card->fields_unsupported = 0;
        card->device.partitioned = partitioned;
        set_due(card, now, now);
    }
}

struct instance {
    size_t parent;
    ps_nvml_device handle;
};

static void list_instances_of(struct ps_nvml *nvml, size_t parent, ps_time now,
                              struct instance *out, size_t *count)
{
    struct ps_nvml_card *card = &nvml->cards[parent];
    uint32_t mode = 0;
    uint32_t pending = 0;
    uint32_t most = 0;
    bool partitioned = PS_NVML_CARD_CALL(card, MIG_MODE, card->handle, &mode, &pending) &&
                       mode == MIG_ON && PS_NVML_CARD_CALL(card, MIG_COUNT, card->handle, &most);
    set_partitioned(card, partitioned, now);
    for (uint32_t i = 0;
         card->device.partitioned && i < most && nvml->whole + *count < PS_DEVICES_MAX; i++) {
        ps_nvml_device handle = NULL;
        /* Places between the instances are empty, and say NOT_FOUND. */
        if (PS_NVML_CALL(&nvml->library, MIG_HANDLE, card->handle, i, &handle) == PS_NVML_OK) {
            out[(*count)++] = (struct instance){parent, handle};
        }
    }
}

/* Are these the ones that we have, and do they answer? */
static bool are_known(const struct ps_nvml *nvml, const struct instance *instances, size_t count)
{
    for (size_t i = 0; i < count && nvml->whole + count == nvml->count; i++) {
        const struct ps_nvml_card *card = &nvml->cards[nvml->whole + i];
        if (card->handle != instances[i].handle || card->device.parent != instances[i].parent ||
            !card->device.readings[PS_DEVICE_MEMORY_TOTAL].known) {
            return false;
        }
    }
    return nvml->whole + count == nvml->count;
}

/* Handles of instances that were taken away are invalid, so a change means to begin anew with all.
 */
static void find_instances(struct ps_nvml *nvml, ps_time now)
{
    struct instance instances[PS_DEVICES_MAX];
    size_t count = 0;
    nvml->layout_due = now + LAYOUT_EVERY;
    for (size_t i = 0; i < nvml->whole; i++) {
        list_instances_of(nvml, i, now, instances, &count);
    }
    if (are_known(nvml, instances, count)) {
        return;
    }
    for (size_t i = nvml->whole; i < nvml->count; i++) {
        ps_nvml_card_fini(&nvml->cards[i]);
    }
    nvml->count = nvml->whole;
    for (size_t i = 0; i < count; i++) {
        add_instance(nvml, instances[i].parent, instances[i].handle, now);
    }
}

/* Is any card divided, or could one be? Others never need to be looked at again. */
static bool may_be_partitioned(const struct ps_nvml *nvml)
{
    for (size_t i = 0; i < nvml->whole; i++) {
        const struct ps_nvml_card *card = &nvml->cards[i];
        if (nvml->library.MIG_MODE != NULL &&
            (card->unsupported >> PS_NVML_KIND_MIG_MODE & 1) == 0 && !card->device.lost) {
            return true;
        }
    }
    return false;
}

/* --- beginning and end ------------------------------------------------------------------------ */

static void shut_down(struct ps_nvml *nvml)
{
    if (nvml->started) {
        (void)PS_NVML_CALL(&nvml->library, SHUTDOWN);
        nvml->started = false;
    }
}

static int refuse(struct ps_nvml *nvml, char why[PS_SAMPLER_WHY], const char *what,
                  const char *reason)
{
    (void)snprintf(why, PS_SAMPLER_WHY, "%s: %s", what, reason);
    shut_down(nvml);
    free(nvml->cards);
    nvml->cards = NULL;
    nvml->count = 0;
    nvml->whole = 0;
    return PS_ENOTFOUND;
}

/* A digest of the names in the kernel's list of cards, whatever their order; 0: there is no list.
 */
static uint64_t digest_of_list(const struct ps_nvml *nvml)
{
    char path[PATH_MAX];
    uint64_t digest = 0;
    int len = snprintf(path, sizeof path, "%s/" GPUS_FOLDER, nvml->opts.root);
    DIR *folder = len > 0 && (size_t)len < sizeof path ? opendir(path) : NULL;
    for (struct dirent *entry = folder == NULL ? NULL : readdir(folder); entry != NULL;
         entry = readdir(folder)) {
        digest += entry->d_name[0] == '.' ? 0 : ps_str_hash(ps_str_from(entry->d_name), 1);
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    return digest;
}

/* The library's own code; PS_NVML_OK: *count cards are told. */
static int initialise(struct ps_nvml *nvml, uint32_t *count, ps_time now)
{
    nvml->listed = digest_of_list(nvml); /* before it, so that nobody who comes is missed */
    nvml->began = now;
    nvml->cards_due = now + CARDS_EVERY;
    int code = PS_NVML_CALL(&nvml->library, INIT);
    nvml->started = code == PS_NVML_OK;
    code = code == PS_NVML_OK ? PS_NVML_CALL(&nvml->library, COUNT, count) : code;
    nvml->told = *count;
    return code;
}

static void find_cards(struct ps_nvml *nvml, uint32_t count, const struct ps_nvml_card *before,
                       size_t before_count, ps_time now)
{
    nvml->count = 0;
    find_whole_cards(nvml, count, before, before_count, now);
    if (PS_NVML_CALL(&nvml->library, DRIVER, nvml->driver, sizeof nvml->driver - 1) != PS_NVML_OK) {
        nvml->driver[0] = '\0';
    }
    find_instances(nvml, now);
    if (ps_nvml_events_start(&nvml->events, &nvml->library, nvml->cards, nvml->whole) != PS_OK) {
        nvml->events = NULL; /* Xids stay unknown */
    }
}

static int start(void *ctx, ps_time now, char why[PS_SAMPLER_WHY])
{
    struct ps_nvml *nvml = ctx;
    uint32_t count = 0;
    if (nvml->library.handle == NULL && load(nvml, why) != PS_OK) {
        return PS_ENOTFOUND;
    }
    int code = initialise(nvml, &count, now);
    if (code != PS_NVML_OK) {
        return refuse(nvml, why, "the NVIDIA driver can't be asked", ps_nvml_code_text(code));
    }
    nvml->cards = calloc(PS_DEVICES_MAX, sizeof *nvml->cards);
    if (nvml->cards == NULL) {
        return refuse(nvml, why, "the NVIDIA driver can't be asked", ps_err_text(PS_ENOMEM));
    }
    find_cards(nvml, count, NULL, 0, now);
    if (nvml->count == 0) {
        return refuse(nvml, why, "the NVIDIA driver is there", "it shows no GPU");
    }
    return PS_OK;
}

/* False: its thread hangs in the library and is left behind with it. */
static bool stop_events(struct ps_nvml *nvml)
{
    for (size_t i = 0; nvml->events != NULL && i < nvml->whole; i++) {
        (void)ps_nvml_events_read(nvml->events, i, &nvml->cards[i].device.xids);
    }
    nvml->stuck = nvml->stuck || !ps_nvml_events_stop(nvml->events, STOP_PATIENCE);
    nvml->events = NULL;
    return !nvml->stuck;
}

static void close_source(void *ctx)
{
    struct ps_nvml *nvml = ctx;
    if (!stop_events(nvml)) {
        return; /* its thread is in the library and has all of this: it must stay */
    }
    for (size_t i = 0; i < nvml->count; i++) {
        ps_nvml_card_fini(&nvml->cards[i]);
    }
    shut_down(nvml);
    ps_nvml_library_close(&nvml->library);
    ps_attribution_watch_fini(&nvml->watch);
    free(nvml->cards);
    free(nvml->path);
    free(nvml);
}

/* --- cards that come -------------------------------------------------------------------------- */

static bool is_lost_for_long(const struct ps_nvml *nvml, ps_time now)
{
    for (size_t i = 0; i < nvml->whole; i++) {
        if (nvml->cards[i].device.lost && now >= nvml->began + LOST_RESTART) {
            return true;
        }
    }
    return false;
}

static bool are_others(struct ps_nvml *nvml, ps_time now)
{
    uint32_t count = 0;
    return !nvml->started || PS_NVML_CALL(&nvml->library, COUNT, &count) != PS_NVML_OK ||
           count != nvml->told || digest_of_list(nvml) != nvml->listed ||
           is_lost_for_long(nvml, now);
}

/* Events that were counted before stay counted: by UUID, for indices may move. */
static void keep_xids(struct ps_nvml *nvml, const struct ps_nvml_card *before, size_t count)
{
    for (size_t i = 0; i < nvml->whole; i++) {
        const char *uuid = nvml->cards[i].device.uuid;
        for (size_t j = 0; j < count && uuid[0] != '\0'; j++) {
            if (strcmp(before[j].device.uuid, uuid) == 0) {
                nvml->cards[i].device.xids = before[j].device.xids; /* if it tells no more */
                if (nvml->events != NULL) {
                    ps_nvml_events_merge(nvml->events, i, &before[j].device.xids);
                }
            }
        }
    }
}

/* Nobody answers any more: all that we know of are lost until somebody does. */
static void lose_all(struct ps_nvml *nvml, const struct ps_nvml_card *before, size_t count)
{
    memcpy(nvml->cards, before, count * sizeof *before);
    nvml->count = count;
    nvml->whole = count;
    for (size_t i = 0; i < count; i++) {
        nvml->cards[i].device.lost = true;
        set_due(&nvml->cards[i], PS_NEVER, PS_NEVER);
    }
}

/* What is known of cards goes, but for who they are and their Xids. Returns how many there are. */
static size_t put_aside(struct ps_nvml *nvml, struct ps_nvml_card *before)
{
    for (size_t i = 0; i < nvml->count; i++) {
        ps_nvml_card_forget(&nvml->cards[i]);
        ps_nvml_card_fini(&nvml->cards[i]);
    }
    memcpy(before, nvml->cards, nvml->whole * sizeof *before);
    return nvml->whole;
}

static void begin_anew(struct ps_nvml *nvml, ps_time now)
{
    struct ps_nvml_card *before = calloc(PS_DEVICES_MAX, sizeof *before);
    uint32_t count = 0;
    if (before == NULL || !stop_events(nvml)) {
        free(before);
        return;
    }
    size_t before_count = put_aside(nvml, before);
    shut_down(nvml);
    if (initialise(nvml, &count, now) == PS_NVML_OK) {
        find_cards(nvml, count, before, before_count, now);
        keep_xids(nvml, before, before_count);
    } else {
        shut_down(nvml);
        lose_all(nvml, before, before_count);
    }
    free(before);
}

static void look_for_cards(struct ps_nvml *nvml, ps_time now)
{
    nvml->cards_due = now + CARDS_EVERY;
    if (!nvml->stuck && are_others(nvml, now)) {
        begin_anew(nvml, now);
    }
}

/* --- jobs ------------------------------------------------------------------------------------- */

/* A card that fell off the bus is asked for its memory now and then, and for nothing else. */
static void lose(struct ps_nvml_card *card, ps_time now)
{
    ps_nvml_card_forget(card);
    card->device.lost = true;
    set_due(card, now + LOST_RETRY, PS_NEVER);
}

static void try_again(struct ps_nvml *nvml, struct ps_nvml_card *card)
{
    ps_nvml_device handle = NULL;
    if (card->card == NULL &&
        PS_NVML_CALL(&nvml->library, HANDLE, card->device.index, &handle) == PS_NVML_OK) {
        card->handle = handle;
    }
}

static void bring_back(struct ps_nvml_card *card, ps_time now)
{
    card->device.lost = false;
    set_due(card, now, now);
}

static ps_time next_due(const struct ps_nvml *nvml, enum ps_nvml_tier tier, ps_time due,
                        ps_time began, ps_time ended)
{
    ps_span every =
        tiers[tier].every > nvml->opts.memory_every ? tiers[tier].every : nvml->opts.memory_every;
    every = tier == PS_NVML_TIER_MEMORY ? nvml->opts.memory_every : every;
    ps_span took = ended - began;
    ps_time next = due + every > began ? due + every : began + every; /* no hurry after a pause */
    if (took > tiers[tier].budget) {
        ps_span rest = took < tiers[tier].longest / SHARE ? took * SHARE : tiers[tier].longest;
        next = next > ended + rest ? next : ended + rest;
    }
    return next;
}

/* Somebody took or gave back memory: who it was is worth an early list. */
static void hurry_list(struct ps_nvml_card *card, ps_time now)
{
    ps_span calm = STEP_SHARE * card->list_took;
    calm = calm > STEP_SOONEST ? calm : STEP_SOONEST;
    ps_time soonest = card->listed_at + calm > now ? card->listed_at + calm : now;
    if (card->memory_moved && card->listed_at > 0 && card->due[PS_NVML_TIER_PROCESSES] > soonest) {
        card->due[PS_NVML_TIER_PROCESSES] = soonest;
    }
}

/* Runs one job; true when it was dear. */
static bool run_job(struct ps_nvml *nvml, struct ps_nvml_card *card, enum ps_nvml_tier tier)
{
    ps_time began = ps_clock_now(nvml->opts.clock);
    if (card->device.lost) {
        try_again(nvml, card);
    }
    card->lost = false;
    ps_nvml_card_read(card, tier);
    card->tiers_read |= 1u << tier;
    ps_time ended = ps_clock_now(nvml->opts.clock);
    card->due[tier] = next_due(nvml, tier, card->due[tier], began, ended);
    if (card->lost) {
        lose(card, ended); /* again, perhaps */
    } else if (card->device.lost && card->device.readings[PS_DEVICE_MEMORY_TOTAL].known) {
        bring_back(card, ended);
    }
    if (tier == PS_NVML_TIER_PROCESSES) {
        card->listed_at = ended;
        card->list_took = ended - began;
    }
    hurry_list(card, ended);
    return ended - began > tiers[tier].budget;
}

static bool is_wanted(const struct ps_nvml_card *card, size_t tier)
{
    /* The processes of a divided card stand in the lists of its instances; its own needs rights. */
    return !(tier == PS_NVML_TIER_PROCESSES && card->device.partitioned) &&
           !(tier == PS_NVML_TIER_GPM && !card->gpm);
}

/* The most urgent job that is due, or NULL. */
static struct ps_nvml_card *pick(struct ps_nvml *nvml, ps_time now, enum ps_nvml_tier *out)
{
    for (size_t tier = 0; tier < PS_NVML_TIERS; tier++) {
        for (size_t i = 0; i < nvml->count; i++) {
            struct ps_nvml_card *card = &nvml->cards[i];
            if (card->due[tier] <= now && is_wanted(card, tier)) {
                *out = (enum ps_nvml_tier)tier;
                return card;
            }
        }
    }
    return NULL;
}

static ps_time earliest(const struct ps_nvml *nvml)
{
    ps_time due = PS_NEVER;
    for (size_t i = 0; i < nvml->count; i++) {
        for (size_t tier = 0; tier < PS_NVML_TIERS; tier++) {
            const struct ps_nvml_card *card = &nvml->cards[i];
            if (is_wanted(card, tier) && card->due[tier] < due) {
                due = card->due[tier];
            }
        }
    }
    return due;
}

/* --- the snapshot ----------------------------------------------------------------------------- */

static size_t count_processes(const struct ps_nvml *nvml, size_t *left_out)
{
    size_t count = 0;
    *left_out = 0;
    for (size_t i = 0; i < nvml->count; i++) {
        count += nvml->cards[i].process_count;
        *left_out += nvml->cards[i].processes_left_out;
    }
    if (count > PS_DEVICE_PROCESSES_MAX) {
        *left_out += count - PS_DEVICE_PROCESSES_MAX;
        count = PS_DEVICE_PROCESSES_MAX;
    }
    return count;
}

static void put_device(struct ps_nvml *nvml, size_t i, struct ps_device *device)
{
    *device = nvml->cards[i].device;
    if (nvml->events != NULL && ps_nvml_events_read(nvml->events, i, &device->xids)) {
        device->readings[PS_DEVICE_XIDS_TOTAL] = ps_device_known((double)device->xids.total);
    }
}

static void put_processes(const struct ps_nvml *nvml, struct ps_device_snapshot *snapshot)
{
    size_t at = 0;
    for (size_t i = 0; i < nvml->count; i++) {
        const struct ps_nvml_card *card = &nvml->cards[i];
        for (size_t j = 0; j < card->process_count && at < snapshot->process_count; j++, at++) {
            snapshot->processes[at] = card->processes[j];
            snapshot->processes[at].device = (uint32_t)i;
        }
    }
}

/* Has everything that there is been asked for once? */
static bool is_complete(const struct ps_nvml *nvml)
{
    for (size_t i = 0; i < nvml->count; i++) {
        for (size_t tier = 0; tier < PS_NVML_TIERS; tier++) {
            const struct ps_nvml_card *card = &nvml->cards[i];
            if (is_wanted(card, tier) && (card->tiers_read >> tier & 1) == 0 &&
                !card->device.lost) {
                return false;
            }
        }
    }
    return true;
}

/* Without memory for it there is none this time: the last one grows older, and says so. */
static struct ps_device_snapshot *put_together(struct ps_nvml *nvml)
{
    size_t left_out;
    struct ps_device_snapshot *snapshot;
    size_t processes = count_processes(nvml, &left_out);
    if (ps_device_snapshot_new(&snapshot, nvml->count, processes) != PS_OK) {
        return NULL;
    }
    snapshot->taken = ps_clock_now(nvml->opts.clock);
    snapshot->source = ps_nvml_source.name;
    snapshot->simulated = nvml->library.simulated;
    snapshot->processes_left_out = left_out;
    snapshot->complete = is_complete(nvml);
    memcpy(snapshot->driver, nvml->driver, sizeof snapshot->driver);
    if (nvml->watch.latest != NULL) {
        snapshot->attribution = ps_attribution_ref(nvml->watch.latest);
    }
    for (size_t i = 0; i < nvml->count; i++) {
        put_device(nvml, i, &snapshot->devices[i]);
    }
    put_processes(nvml, snapshot);
    return snapshot;
}

/* Whose the processes are; returns when to look again. */
static ps_time attribute(struct ps_nvml *nvml)
{
    struct ps_attribution_user users[PS_ATTRIBUTION_USERS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < nvml->count; i++) {
        ps_device_add_users(nvml->cards[i].processes, nvml->cards[i].process_count, users, &count,
                            PS_ATTRIBUTION_USERS_MAX);
    }
    return ps_attribution_watch_step(&nvml->watch, nvml->opts.root, nvml->opts.clock, users, count);
}

/* A dear job ends the step, so that what is known is handed out before the next one. */
static ps_time step(void *ctx, struct ps_device_snapshot **out)
{
    struct ps_nvml *nvml = ctx;
    struct ps_nvml_card *card;
    enum ps_nvml_tier tier;
    ps_time now = ps_clock_now(nvml->opts.clock);
    if (nvml->layout_due <= now && may_be_partitioned(nvml)) {
        find_instances(nvml, now);
    }
    if (nvml->cards_due <= now) {
        look_for_cards(nvml, now);
    }
    do {
        card = pick(nvml, ps_clock_now(nvml->opts.clock), &tier);
    } while (card != NULL && !run_job(nvml, card, tier));
    ps_time due = attribute(nvml);
    *out = put_together(nvml);
    due = due < earliest(nvml) ? due : earliest(nvml);
    return due < nvml->cards_due ? due : nvml->cards_due;
}

static const struct ps_toll_book *book(const void *ctx)
{
    static const struct ps_toll_book nothing = {.since = PS_NEVER};
    const struct ps_nvml *nvml = ctx;
    return atomic_load_explicit(&nvml->open, memory_order_acquire) ? &nvml->library.book : &nothing;
}

const struct ps_sampler_source ps_nvml_source = {
    .name = "nvml", .start = start, .step = step, .book = book, .close = close_source};
