/* nvml_card - one card or MIG instance and how it is read: a tier of calls at a time.
 *
 * A tier is what is read together because it is wanted equally often and costs alike. Each takes
 * care of what its calls may say: not supported here (not asked again), not allowed, lost, blank.
 *
 * Thread: the one that samples.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_NVML_CARD_H
#define PS_GPU_NVML_CARD_H

#include "gpu/device.h"
#include "gpu/nvml_library.h"

/* In order of urgency. */
enum ps_nvml_tier {
    PS_NVML_TIER_MEMORY,    /* bytes and utilization: about 15 us */
    PS_NVML_TIER_STATE,     /* power, temperature, clocks, and all field values in one call */
    PS_NVML_TIER_GPM,       /* what parts of the chip are at work; Hopper and later */
    PS_NVML_TIER_PROCESSES, /* the dear lists: milliseconds */
    PS_NVML_TIER_PCIE,      /* blocks for 20 ms; only where field values don't say it */
    PS_NVML_TIER_RARE,      /* what hardly ever changes */
    PS_NVML_TIERS
};

#define PS_NVML_FIELDS_MAX 32
#define PS_NVML_RATES      4 /* PCIe sent and received, NVLink sent and received */

/* A counter of which we want the rate. */
struct ps_nvml_rate {
    uint64_t count;
    int64_t at; /* microseconds, the driver's */
    bool known;
};

struct ps_nvml_card {
    struct ps_nvml_library *library;
    const char *root; /* "" for /proc; see nvml.h */
    ps_nvml_device handle;
    ps_nvml_device card;  /* of a MIG instance: its card's; else NULL */
    uint64_t unsupported; /* a bit for each enum ps_nvml_kind */
    bool lost;            /* a call just said so */
    bool memory_moved;    /* by so much that the list of processes is old */
    double memory_listed; /* bytes in use when the processes were listed */
    struct ps_nvml_rate rates[PS_NVML_RATES];
    uint32_t fields_unsupported; /* a bit for each row of the table of fields */
    bool gpm;                    /* supported */
    ps_nvml_gpm_sample samples[2];
    unsigned samples_taken;              /* the latest is samples[(samples_taken - 1) % 2] */
    struct ps_device_process *processes; /* owned; device is not filled in */
    size_t process_count;
    size_t processes_left_out;
    ps_time listed_at;   /* when the latest list of processes was there ... */
    ps_span list_took;   /* ... and what it cost */
    bool no_memory;      /* the driver says that it has no memory of its own */
    unsigned tiers_read; /* a bit for each that was read at least once */
    ps_time due[PS_NVML_TIERS];
    struct ps_device device; /* all that is known */
};

/* Takes a handle and reads what never changes. */
void ps_nvml_card_init(struct ps_nvml_card *card, struct ps_nvml_library *library, const char *root,
                       ps_nvml_device handle);
void ps_nvml_card_fini(struct ps_nvml_card *card);

/* Reads one tier. What could not be read is unknown afterwards. */
void ps_nvml_card_read(struct ps_nvml_card *card, enum ps_nvml_tier tier);

/* Nothing is known any more but who it is. */
void ps_nvml_card_forget(struct ps_nvml_card *card);

/* Looks at the code of a call: is it not supported, is the card lost? Returns whether it went well.
 */
bool ps_nvml_card_judge(struct ps_nvml_card *card, enum ps_nvml_kind kind, int code);
bool ps_nvml_card_judge_field(struct ps_nvml_card *card, size_t row, int code);

/* Calls unless it is known that this card can't; true when it went well. */
#define PS_NVML_CARD_CALL(card, NAME, ...)                    \
    (((card)->unsupported >> PS_NVML_KIND_##NAME & 1) == 0 && \
     ps_nvml_card_judge((card), PS_NVML_KIND_##NAME,          \
                        PS_NVML_CALL((card)->library, NAME, __VA_ARGS__)))

/* The parts of ps_nvml_card_read() that have files of their own. */
void ps_nvml_card_read_memory(struct ps_nvml_card *card);
void ps_nvml_card_read_fields(struct ps_nvml_card *card);
void ps_nvml_card_read_gpm(struct ps_nvml_card *card);
void ps_nvml_card_read_processes(struct ps_nvml_card *card);
void ps_nvml_card_free_gpm(struct ps_nvml_card *card);

/* Blank is all ones, or what DCGM's blanks look like when they leak: never a number. */
static inline bool ps_nvml_is_blank(uint64_t value)
{
    return value >= UINT64_C(0x7ffffffffffffff0);
}

#endif
