/* amdgpu - see amdgpu.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/amdgpu.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gpu/attribution.h"
#include "gpu/amdgpu_clients.h"
#include "gpu/file.h"

#define CARDS_MAX   64
#define PATH_SHORT  160 /* of a folder below the root */
#define TEXT_MAX    1024
#define STATE_EVERY PS_SECOND
#define USERS_EVERY (5 * PS_SECOND)
#define CARDS_EVERY PS_MINUTE
#define SHARE       1000 /* the look at all processes waits so many times as long as it took ... */
#define REST_MOST   PS_MINUTE
#define PERCENT_MAX 100

enum kind { MEMORY, STATE, USERS, CARDS, KINDS };
static const char *const kind_names[KINDS] = {"sysfs memory", "sysfs state", "procfs clients",
                                              "sysfs cards"};

struct card {
    char folder[PATH_SHORT]; /* sys/class/drm/card0/device */
    char hwmon[PATH_SHORT];  /* "" = none */
    struct ps_device device;
};

struct ps_amdgpu {
    struct ps_amdgpu_opts opts;
    struct ps_toll_book book;
    struct card *cards;
    size_t count;
    char buses[CARDS_MAX][32];
    struct ps_amdgpu_clients clients;
    struct ps_attribution_watch watch;
    ps_time due[KINDS];
};

void ps_amdgpu_opts_init(struct ps_amdgpu_opts *opts)
{
    *opts = (struct ps_amdgpu_opts){
        .root = "", .clock = &ps_clock_real, .memory_every = 100 * PS_MILLISECOND};
}

/* --- files ------------------------------------------------------------------------------------ */

static bool read_number(const struct ps_amdgpu *amdgpu, const char *folder, const char *name,
                        uint64_t *out)
{
    char path[PATH_SHORT + 64];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return folder[0] != '\0' && ps_file_read_u64(amdgpu->opts.root, path, out) == PS_OK;
}

/* One line, without its end. False when it is empty, too. */
static bool read_line(const struct ps_amdgpu *amdgpu, const char *folder, const char *name,
                      char *out, size_t size)
{
    char path[PATH_SHORT + 64];
    struct ps_str all;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    if (folder[0] == '\0' || ps_file_read(amdgpu->opts.root, path, out, size - 1, &all) != PS_OK) {
        out[0] = '\0';
        return false;
    }
    out[all.len] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return out[0] != '\0';
}

static void set(struct card *card, enum ps_device_field field, bool known, double value)
{
    card->device.readings[field] = known ? ps_device_known(value) : (struct ps_device_reading){0};
}

static void read_scaled(const struct ps_amdgpu *amdgpu, struct card *card, const char *folder,
                        const char *name, enum ps_device_field field, double unit)
{
    uint64_t number = 0;
    bool read = read_number(amdgpu, folder, name, &number);
    set(card, field, read, (double)number * unit);
}

static void read_percent(const struct ps_amdgpu *amdgpu, struct card *card, const char *name,
                         enum ps_device_field field)
{
    uint64_t number = 0;
    bool read = read_number(amdgpu, card->folder, name, &number) && number <= PERCENT_MAX;
    set(card, field, read, (double)number);
}

/* --- readings --------------------------------------------------------------------------------- */

static void read_memory(const struct ps_amdgpu *amdgpu, struct card *card)
{
    uint64_t total = 0;
    uint64_t used = 0;
    bool known = read_number(amdgpu, card->folder, "mem_info_vram_total", &total) &&
                 read_number(amdgpu, card->folder, "mem_info_vram_used", &used) && total > 0 &&
                 used <= total;
    set(card, PS_DEVICE_MEMORY_TOTAL, known, (double)total);
    set(card, PS_DEVICE_MEMORY_USED, known, (double)used);
    set(card, PS_DEVICE_MEMORY_FREE, known, (double)(total - used));
    read_percent(amdgpu, card, "gpu_busy_percent", PS_DEVICE_BUSY);
    read_percent(amdgpu, card, "mem_busy_percent", PS_DEVICE_MEMORY_BUSY);
}

/* Which of the three sensors is the memory's says its label. */
static void read_memory_temperature(const struct ps_amdgpu *amdgpu, struct card *card)
{
    set(card, PS_DEVICE_MEMORY_TEMPERATURE, false, 0);
    for (int i = 1; i <= 3; i++) {
        char name[32];
        char label[32];
        (void)snprintf(name, sizeof name, "temp%d_label", i);
        if (read_line(amdgpu, card->hwmon, name, label, sizeof label) &&
            strcmp(label, "mem") == 0) {
            (void)snprintf(name, sizeof name, "temp%d_input", i);
            read_scaled(amdgpu, card, card->hwmon, name, PS_DEVICE_MEMORY_TEMPERATURE, 1e-3);
        }
    }
}

static void read_fan(const struct ps_amdgpu *amdgpu, struct card *card)
{
    uint64_t speed = 0;
    uint64_t most = 0;
    bool known = read_number(amdgpu, card->hwmon, "fan1_input", &speed) &&
                 read_number(amdgpu, card->hwmon, "fan1_max", &most) && most > 0;
    set(card, PS_DEVICE_FAN, known, known ? 100.0 * (double)speed / (double)most : 0);
}

/* "ue: 0\nce: 3": errors of the memory that were not, and that were corrected. */
static void read_errors(const struct ps_amdgpu *amdgpu, struct card *card)
{
    char path[PATH_SHORT + 64];
    char text[TEXT_MAX];
    struct ps_str rest = {0};
    struct ps_str line;
    set(card, PS_DEVICE_ECC_CORRECTED, false, 0);
    set(card, PS_DEVICE_ECC_UNCORRECTED, false, 0);
    (void)snprintf(path, sizeof path, "%s/ras/umc_err_count", card->folder);
    if (ps_file_read(amdgpu->opts.root, path, text, sizeof text, &rest) != PS_OK) {
        return;
    }
    while (ps_str_split(&rest, '\n', &line)) {
        uint64_t number;
        bool corrected = ps_str_starts_with(line, PS_STR("ce:"));
        if ((corrected || ps_str_starts_with(line, PS_STR("ue:"))) &&
            ps_str_to_u64(ps_str_trim(ps_str_skip(line, 3)), &number) == PS_OK) {
            set(card, corrected ? PS_DEVICE_ECC_CORRECTED : PS_DEVICE_ECC_UNCORRECTED, true,
                (double)number);
        }
    }
}

static void read_state(const struct ps_amdgpu *amdgpu, struct card *card)
{
    read_scaled(amdgpu, card, card->hwmon, "power1_average", PS_DEVICE_POWER, 1e-6);
    if (!card->device.readings[PS_DEVICE_POWER].known) { /* newer cards tell the present one only */
        read_scaled(amdgpu, card, card->hwmon, "power1_input", PS_DEVICE_POWER, 1e-6);
    }
    read_scaled(amdgpu, card, card->hwmon, "power1_cap", PS_DEVICE_POWER_LIMIT, 1e-6);
    read_scaled(amdgpu, card, card->hwmon, "temp1_input", PS_DEVICE_TEMPERATURE, 1e-3);
    read_memory_temperature(amdgpu, card);
    read_fan(amdgpu, card);
    read_scaled(amdgpu, card, card->hwmon, "freq1_input", PS_DEVICE_CLOCK, 1e-6);
    read_scaled(amdgpu, card, card->hwmon, "freq2_input", PS_DEVICE_MEMORY_CLOCK, 1e-6);
    read_scaled(amdgpu, card, card->folder, "pcie_replay_count", PS_DEVICE_PCIE_REPLAYS, 1);
    read_errors(amdgpu, card);
}

/* --- which cards there are -------------------------------------------------------------------- */

static DIR *open_folder(const char *root, const char *path)
{
    char whole[PATH_MAX];
    int len = snprintf(whole, sizeof whole, "%s/%s", root, path);
    return len > 0 && (size_t)len < sizeof whole ? opendir(whole) : NULL;
}

static void find_hwmon(const struct ps_amdgpu *amdgpu, struct card *card)
{
    char path[PATH_SHORT];
    (void)snprintf(path, sizeof path, "%.*s/hwmon", PATH_SHORT / 2, card->folder);
    DIR *folder = open_folder(amdgpu->opts.root, path);
    if (folder == NULL) {
        return;
    }
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (strncmp(entry->d_name, "hwmon", 5) == 0 && strlen(entry->d_name) < PATH_SHORT / 4) {
            (void)snprintf(card->hwmon, sizeof card->hwmon, "%.*s/hwmon/%.*s", PATH_SHORT / 2,
                           card->folder, PATH_SHORT / 4, entry->d_name);
        }
    }
    (void)closedir(folder);
}

/* The address stands in a line of its own: PCI_SLOT_NAME=0000:03:00.0 */
static void find_bus(const struct ps_amdgpu *amdgpu, struct card *card)
{
    char path[PATH_SHORT + 64];
    char text[TEXT_MAX];
    struct ps_str rest = {0};
    struct ps_str line;
    struct ps_str name = PS_STR("PCI_SLOT_NAME=");
    (void)snprintf(path, sizeof path, "%s/uevent", card->folder);
    if (ps_file_read(amdgpu->opts.root, path, text, sizeof text, &rest) != PS_OK) {
        return;
    }
    while (ps_str_split(&rest, '\n', &line)) {
        size_t len = line.len > name.len ? line.len - name.len : 0;
        if (ps_str_starts_with(line, name) && len < sizeof card->device.bus) {
            memcpy(card->device.bus, line.ptr + name.len, len);
        }
    }
}

static bool is_ours(const struct ps_amdgpu *amdgpu, const char *folder)
{
    char vendor[16];
    uint64_t total;
    return read_line(amdgpu, folder, "vendor", vendor, sizeof vendor) &&
           strcmp(vendor, "0x1002") == 0 &&
           read_number(amdgpu, folder, "mem_info_vram_total", &total);
}

static void add_card(struct ps_amdgpu *amdgpu, const char *name)
{
    struct card *card = &amdgpu->cards[amdgpu->count];
    uint64_t number;
    /* card0, and not card0-DP-1, which is a socket of it */
    if (strncmp(name, "card", 4) != 0 || ps_str_to_u64(ps_str_from(name + 4), &number) != PS_OK ||
        number > UINT16_MAX) {
        return;
    }
    *card = (struct card){.device = {.index = (uint32_t)number,
                                     .parent = PS_DEVICE_NONE,
                                     .instance = PS_DEVICE_NONE}};
    (void)snprintf(card->folder, sizeof card->folder, "sys/class/drm/card%u/device",
                   (unsigned)number);
    if (!is_ours(amdgpu, card->folder)) {
        return;
    }
    find_hwmon(amdgpu, card);
    find_bus(amdgpu, card);
    (void)read_line(amdgpu, card->folder, "unique_id", card->device.uuid, sizeof card->device.uuid);
    (void)read_line(amdgpu, card->folder, "product_name", card->device.name,
                    sizeof card->device.name);
    amdgpu->count++;
}

static int by_index(const void *a, const void *b)
{
    const struct card *x = a;
    const struct card *y = b;
    return x->device.index < y->device.index ? -1 : x->device.index > y->device.index;
}

static void find_cards(struct ps_amdgpu *amdgpu)
{
    amdgpu->count = 0;
    DIR *folder = open_folder(amdgpu->opts.root, "sys/class/drm");
    for (struct dirent *entry = folder == NULL ? NULL : readdir(folder);
         entry != NULL && amdgpu->count < CARDS_MAX; entry = readdir(folder)) {
        add_card(amdgpu, entry->d_name);
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    qsort(amdgpu->cards, amdgpu->count, sizeof *amdgpu->cards, by_index);
    for (size_t i = 0; i < amdgpu->count; i++) {
        memcpy(amdgpu->buses[i], amdgpu->cards[i].device.bus, sizeof amdgpu->buses[i]);
    }
}

static void close_source(void *ctx)
{
    struct ps_amdgpu *amdgpu = ctx;
    ps_attribution_watch_fini(&amdgpu->watch);
    free(amdgpu->clients.processes);
    free(amdgpu->cards);
    free(amdgpu);
}

static int say_none(const struct ps_amdgpu *amdgpu, char why[PS_SAMPLER_WHY])
{
    (void)snprintf(why, PS_SAMPLER_WHY, "no card in %s/sys/class/drm has the driver amdgpu",
                   amdgpu->opts.root);
    return PS_ENOTFOUND;
}

int ps_amdgpu_open(struct ps_amdgpu **out, const struct ps_amdgpu_opts *opts,
                   char why[PS_SAMPLER_WHY])
{
    struct ps_amdgpu *amdgpu = calloc(1, sizeof *amdgpu);
    struct card *cards = calloc(CARDS_MAX, sizeof *cards);
    if (amdgpu == NULL || cards == NULL) {
        free(amdgpu);
        free(cards);
        return PS_ENOMEM;
    }
    amdgpu->opts = *opts;
    amdgpu->cards = cards;
    ps_toll_init(&amdgpu->book, kind_names, KINDS);
    find_cards(amdgpu);
    if (amdgpu->count == 0 && !opts->wait) {
        int err = say_none(amdgpu, why);
        close_source(amdgpu);
        return err;
    }
    *out = amdgpu;
    return PS_OK;
}

/* --- sampling --------------------------------------------------------------------------------- */

static int start(void *ctx, ps_time now, char why[PS_SAMPLER_WHY])
{
    struct ps_amdgpu *amdgpu = ctx;
    find_cards(amdgpu);
    if (amdgpu->count == 0) {
        return say_none(amdgpu, why);
    }
    for (size_t kind = 0; kind < KINDS; kind++) {
        amdgpu->due[kind] = now;
    }
    return PS_OK;
}

/* Others than before are read at once. */
static void look_for_cards(struct ps_amdgpu *amdgpu)
{
    char before[CARDS_MAX][32];
    size_t count = amdgpu->count;
    struct card *cards = amdgpu->cards;
    struct card *fresh = calloc(CARDS_MAX, sizeof *fresh);
    if (fresh == NULL) {
        return;
    }
    memcpy(before, amdgpu->buses, sizeof before);
    amdgpu->cards = fresh;
    find_cards(amdgpu);
    bool same = amdgpu->count == count && memcmp(before, amdgpu->buses, count * sizeof before[0]) == 0;
    if (same) {
        amdgpu->cards = cards;
        free(fresh);
        return;
    }
    free(cards);
    for (size_t i = 0; i < amdgpu->count; i++) {
        read_memory(amdgpu, &amdgpu->cards[i]);
        read_state(amdgpu, &amdgpu->cards[i]);
    }
    ps_amdgpu_clients_read(&amdgpu->clients, amdgpu->opts.root, (const char(*)[32])amdgpu->buses,
                           amdgpu->count);
}

static void run(struct ps_amdgpu *amdgpu, enum kind kind)
{
    if (kind == USERS) {
        ps_amdgpu_clients_read(&amdgpu->clients, amdgpu->opts.root,
                               (const char(*)[32])amdgpu->buses, amdgpu->count);
        return;
    }
    if (kind == CARDS) {
        look_for_cards(amdgpu);
        return;
    }
    for (size_t i = 0; i < amdgpu->count; i++) {
        if (kind == MEMORY) {
            read_memory(amdgpu, &amdgpu->cards[i]);
        } else {
            read_state(amdgpu, &amdgpu->cards[i]);
        }
    }
}

static ps_time next_due(const struct ps_amdgpu *amdgpu, enum kind kind, ps_time began,
                        ps_time ended)
{
    static const ps_span every[KINDS] = {0, STATE_EVERY, USERS_EVERY, CARDS_EVERY};
    ps_span period =
        every[kind] > amdgpu->opts.memory_every ? every[kind] : amdgpu->opts.memory_every;
    ps_span rest = ended - began < REST_MOST / SHARE ? (ended - began) * SHARE : REST_MOST;
    return began + (kind == USERS && rest > period ? rest : period);
}

static struct ps_device_snapshot *put_together(const struct ps_amdgpu *amdgpu)
{
    struct ps_device_snapshot *snapshot;
    if (ps_device_snapshot_new(&snapshot, amdgpu->count, amdgpu->clients.count) != PS_OK) {
        return NULL;
    }
    snapshot->taken = ps_clock_now(amdgpu->opts.clock);
    snapshot->source = ps_amdgpu_source.name;
    snapshot->complete = true; /* the first step reads everything */
    snapshot->processes_left_out = amdgpu->clients.left_out;
    if (amdgpu->watch.latest != NULL) {
        snapshot->attribution = ps_attribution_ref(amdgpu->watch.latest);
    }
    for (size_t i = 0; i < amdgpu->count; i++) {
        snapshot->devices[i] = amdgpu->cards[i].device;
        snapshot->devices[i].processes_known = amdgpu->clients.all;
    }
    if (amdgpu->clients.count > 0) {
        memcpy(snapshot->processes, amdgpu->clients.processes,
               amdgpu->clients.count * sizeof *snapshot->processes);
    }
    return snapshot;
}

static ps_time step(void *ctx, struct ps_device_snapshot **out)
{
    struct ps_amdgpu *amdgpu = ctx;
    ps_time due = PS_NEVER;
    for (size_t kind = 0; kind < KINDS; kind++) {
        ps_time began = ps_clock_now(amdgpu->opts.clock);
        if (amdgpu->due[kind] <= began) {
            ps_toll_enter(&amdgpu->book, kind, began);
            run(amdgpu, (enum kind)kind);
            ps_time ended = ps_clock_now(amdgpu->opts.clock);
            (void)ps_toll_leave(&amdgpu->book, kind, ended, 0);
            amdgpu->due[kind] = next_due(amdgpu, (enum kind)kind, began, ended);
        }
        due = amdgpu->due[kind] < due ? amdgpu->due[kind] : due;
    }
    struct ps_attribution_user users[PS_ATTRIBUTION_USERS_MAX];
    size_t count = 0;
    ps_device_add_users(amdgpu->clients.processes, amdgpu->clients.count, users, &count,
                        PS_ATTRIBUTION_USERS_MAX);
    ps_time look = ps_attribution_watch_step(&amdgpu->watch, amdgpu->opts.root, amdgpu->opts.clock,
                                             users, count);
    *out = put_together(amdgpu);
    return look < due ? look : due;
}

static const struct ps_toll_book *book(const void *ctx)
{
    const struct ps_amdgpu *amdgpu = ctx;
    return &amdgpu->book;
}

const struct ps_sampler_source ps_amdgpu_source = {
    .name = "amdgpu", .start = start, .step = step, .book = book, .close = close_source};
