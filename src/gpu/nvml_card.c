/* nvml_card - see nvml_card.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/nvml_card.h"

#include <stdlib.h>
#include <string.h>

#define SENSOR_CHIP         0
#define CLOCK_SM            1
#define CLOCK_MEMORY        2
#define PCIE_SENT           0
#define PCIE_RECEIVED       1
#define PERCENT_MAX         100
#define PCIE_KIB_PER_SECOND 1024.0

static void set(struct ps_nvml_card *card, enum ps_device_field field, bool known, double value)
{
    card->device.readings[field] = known ? ps_device_known(value) : (struct ps_device_reading){0};
}

static bool is_refusal(int code)
{
    return code == PS_NVML_NOT_SUPPORTED || code == PS_NVML_FUNCTION_NOT_FOUND ||
           code == PS_NVML_ARGUMENT_VERSION_MISMATCH || code == PS_NVML_NO_PERMISSION;
}

static bool judge(struct ps_nvml_card *card, int code)
{
    if (code == PS_NVML_GPU_IS_LOST || code == PS_NVML_RESET_REQUIRED) {
        card->lost = true;
    }
    return code == PS_NVML_OK;
}

bool ps_nvml_card_judge(struct ps_nvml_card *card, enum ps_nvml_kind kind, int code)
{
    if (is_refusal(code)) {
        card->unsupported |= UINT64_C(1) << kind;
        card->no_memory =
            card->no_memory || (kind == PS_NVML_KIND_MEMORY_V1 && code == PS_NVML_NOT_SUPPORTED);
    }
    return judge(card, code);
}

bool ps_nvml_card_judge_field(struct ps_nvml_card *card, size_t row, int code)
{
    /* Older libraries call a field that they don't know an invalid argument. */
    if (is_refusal(code) || code == PS_NVML_INVALID_ARGUMENT) {
        card->fields_unsupported |= UINT32_C(1) << row;
    }
    return judge(card, code);
}

/* --- tiers ------------------------------------------------------------------------------------ */

/* A window of 1/6 to 1 s; nothing with MIG. Values over 100 have been seen and say nothing. */
static void read_utilization(struct ps_nvml_card *card)
{
    struct ps_nvml_utilization busy = {UINT32_MAX, UINT32_MAX};
    bool read = PS_NVML_CARD_CALL(card, UTILIZATION, card->handle, &busy);
    set(card, PS_DEVICE_BUSY, read && busy.gpu <= PERCENT_MAX, busy.gpu);
    set(card, PS_DEVICE_MEMORY_BUSY, read && busy.memory <= PERCENT_MAX, busy.memory);
}

static void read_temperature(struct ps_nvml_card *card)
{
    struct ps_nvml_temperature versioned = {PS_NVML_VERSION(struct ps_nvml_temperature, 1),
                                            SENSOR_CHIP, -1};
    uint32_t plain = UINT32_MAX;
    if (PS_NVML_CARD_CALL(card, TEMPERATURE_V, card->handle, &versioned)) {
        set(card, PS_DEVICE_TEMPERATURE, versioned.celsius != -1, versioned.celsius);
        return;
    }
    bool read = PS_NVML_CARD_CALL(card, TEMPERATURE, card->handle, SENSOR_CHIP, &plain);
    set(card, PS_DEVICE_TEMPERATURE, read && plain != UINT32_MAX, plain);
}

static void read_clock(struct ps_nvml_card *card, uint32_t which, enum ps_device_field field)
{
    uint32_t mhz = UINT32_MAX;
    bool read = PS_NVML_CARD_CALL(card, CLOCK, card->handle, which, &mhz);
    set(card, field, read && mhz != UINT32_MAX, mhz);
}

static void read_state(struct ps_nvml_card *card)
{
    uint32_t milliwatts = UINT32_MAX;
    uint64_t reasons = UINT64_MAX;
    bool read = PS_NVML_CARD_CALL(card, POWER, card->handle, &milliwatts);
    set(card, PS_DEVICE_POWER, read && milliwatts != UINT32_MAX, milliwatts / 1e3);
    read = PS_NVML_CARD_CALL(card, SLOWDOWN, card->handle, &reasons);
    set(card, PS_DEVICE_SLOWDOWN, read && !ps_nvml_is_blank(reasons), (double)reasons);
    read_temperature(card);
    read_clock(card, CLOCK_SM, PS_DEVICE_CLOCK);
    read_clock(card, CLOCK_MEMORY, PS_DEVICE_MEMORY_CLOCK);
    ps_nvml_card_read_fields(card);
}

/* Measures for 20 ms and blocks for it, so it is only asked where the counters are not there. */
static void read_pcie(struct ps_nvml_card *card, uint32_t which, enum ps_device_field field,
                      bool counted)
{
    uint32_t kib = UINT32_MAX;
    if (!counted) {
        bool read = PS_NVML_CARD_CALL(card, PCIE, card->handle, which, &kib);
        set(card, field, read && kib != UINT32_MAX, kib * PCIE_KIB_PER_SECOND);
    }
}

static void read_rare(struct ps_nvml_card *card)
{
    uint32_t milliwatts = UINT32_MAX;
    uint32_t percent = UINT32_MAX;
    bool read = PS_NVML_CARD_CALL(card, POWER_LIMIT, card->handle, &milliwatts);
    set(card, PS_DEVICE_POWER_LIMIT, read && milliwatts != UINT32_MAX, milliwatts / 1e3);
    /* A fan may be told to run at more than its rating. */
    read = PS_NVML_CARD_CALL(card, FAN, card->handle, &percent);
    set(card, PS_DEVICE_FAN, read && percent <= 2 * PERCENT_MAX, percent);
}

void ps_nvml_card_read(struct ps_nvml_card *card, enum ps_nvml_tier tier)
{
    switch (tier) {
    case PS_NVML_TIER_MEMORY:
        ps_nvml_card_read_memory(card);
        read_utilization(card);
        break;
    case PS_NVML_TIER_STATE:
        read_state(card);
        break;
    case PS_NVML_TIER_GPM:
        ps_nvml_card_read_gpm(card);
        break;
    case PS_NVML_TIER_PROCESSES:
        ps_nvml_card_read_processes(card);
        break;
    case PS_NVML_TIER_PCIE:
        read_pcie(card, PCIE_SENT, PS_DEVICE_PCIE_TX, card->rates[0].known);
        read_pcie(card, PCIE_RECEIVED, PS_DEVICE_PCIE_RX, card->rates[1].known);
        break;
    case PS_NVML_TIER_RARE:
        read_rare(card);
        break;
    case PS_NVML_TIERS:
        break;
    }
}

/* --- life ------------------------------------------------------------------------------------- */

static void read_bus(struct ps_nvml_card *card)
{
    struct ps_nvml_pci pci = {0};
    if (PS_NVML_CARD_CALL(card, PCI, card->handle, &pci)) {
        bool newest = card->library->found[PS_NVML_KIND_PCI] == 0;
        memcpy(card->device.bus, newest ? pci.bus_id : pci.legacy_id,
               newest ? sizeof pci.bus_id : sizeof pci.legacy_id);
        card->device.bus[sizeof card->device.bus - 1] = '\0';
    }
}

static void read_identity(struct ps_nvml_card *card)
{
    struct ps_device *device = &card->device;
    if (!PS_NVML_CARD_CALL(card, UUID, card->handle, device->uuid, sizeof device->uuid)) {
        device->uuid[0] = '\0';
    }
    if (!PS_NVML_CARD_CALL(card, NAME, card->handle, device->name, sizeof device->name)) {
        device->name[0] = '\0';
    }
    device->uuid[sizeof device->uuid - 1] = '\0';
    device->name[sizeof device->name - 1] = '\0';
    read_bus(card);
}

static void find_gpm(struct ps_nvml_card *card)
{
    struct ps_nvml_gpm_support support = {.version = 1};
    card->gpm = card->library->GPM_ALLOC != NULL && card->library->GPM_SAMPLE != NULL &&
                card->library->GPM_METRICS != NULL &&
                PS_NVML_CARD_CALL(card, GPM_SUPPORT, card->handle, &support) &&
                support.supported != 0;
}

void ps_nvml_card_init(struct ps_nvml_card *card, struct ps_nvml_library *library, const char *root,
                       ps_nvml_device handle)
{
    memset(card, 0, sizeof *card);
    card->library = library;
    card->root = root;
    card->handle = handle;
    card->device.parent = PS_DEVICE_NONE;
    card->device.instance = PS_DEVICE_NONE;
    read_identity(card);
    find_gpm(card);
}

void ps_nvml_card_fini(struct ps_nvml_card *card)
{
    ps_nvml_card_free_gpm(card);
    free(card->processes);
    card->processes = NULL;
}

void ps_nvml_card_forget(struct ps_nvml_card *card)
{
    memset(card->device.readings, 0, sizeof card->device.readings);
    memset(card->rates, 0, sizeof card->rates);
    free(card->processes);
    card->processes = NULL;
    card->process_count = 0;
    card->processes_left_out = 0;
    card->device.processes_known = false;
    card->samples_taken = 0;
}
