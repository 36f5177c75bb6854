/* device - what is known of the GPUs at one moment: the snapshot that every source fills.
 *
 * Each reading is a number that is known or not. What a source can't say is unknown, which is what
 * zeroed memory says; it is never 0 and never the last value that was known. The table below is the
 * one list of readings: their names on the wire, their units and the manual come from it.
 *
 *      snapshot -- source, simulated, taken
 *        devices[]    index, uuid, readings[PS_DEVICE_MEMORY_USED ...], xids; MIG instances name
 * their parent processes[]  pid, device, bytes, name, container
 *
 * A snapshot is filled by one thread, then handed out and never written again; it is counted.
 *
 * Thread: ref and unref from any; the rest are pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_DEVICE_H
#define PS_GPU_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"

struct ps_attribution;
struct ps_attribution_user;

#define PS_DEVICES_MAX          256  /* of one snapshot, MIG instances counted */
#define PS_DEVICE_PROCESSES_MAX 4096 /* of one snapshot */
#define PS_DEVICE_TEXT          96   /* bytes of a name or UUID, terminator included */
#define PS_DEVICE_XID_KINDS     16   /* kinds of Xid told apart on one device */
#define PS_DEVICE_NONE          UINT32_MAX

/* X(NAME, name on the wire, unit, what it is) */
/* clang-format off */
#define PS_DEVICE_TABLE(X)                                                                                           \
    X(MEMORY_TOTAL, "memory_total_bytes", "bytes", "device memory; of a unified one the host's")                      \
    X(MEMORY_USED, "memory_used_bytes", "bytes", "allocated, without what the driver reserves where that is known")   \
    X(MEMORY_FREE, "memory_free_bytes", "bytes", "not allocated")                                                     \
    X(MEMORY_RESERVED, "memory_reserved_bytes", "bytes", "taken by driver and firmware")                              \
    X(FRAGMENTATION, "fragmentation_percent", "percent", "of the memory that an allocator holds and nobody uses")     \
    X(BUSY, "busy_percent", "percent", "time in which at least one kernel ran")                                       \
    X(MEMORY_BUSY, "memory_busy_percent", "percent", "time in which device memory was read or written")               \
    X(SM, "sm_percent", "percent", "multiprocessors at work")                                                         \
    X(SM_OCCUPANCY, "sm_occupancy_percent", "percent", "warps resident of those possible")                            \
    X(TENSOR, "tensor_percent", "percent", "tensor cores at work")                                                    \
    X(DRAM, "dram_percent", "percent", "bandwidth of device memory in use")                                           \
    X(POWER, "power_watts", "watts", "power drawn; the driver may average over a second")                             \
    X(POWER_LIMIT, "power_limit_watts", "watts", "power that may be drawn")                                           \
    X(ENERGY, "energy_joules", "joules", "since the driver was loaded, in steps of about 100 ms")                     \
    X(TEMPERATURE, "temperature_celsius", "celsius", "of the chip")                                                   \
    X(MEMORY_TEMPERATURE, "memory_temperature_celsius", "celsius", "of the memory")                                   \
    X(FAN, "fan_percent", "percent", "speed of the first fan")                                                        \
    X(CLOCK, "clock_mhz", "megahertz", "of the multiprocessors")                                                      \
    X(MEMORY_CLOCK, "memory_clock_mhz", "megahertz", "of the memory")                                                 \
    X(SLOWDOWN, "slowdown_reasons", "bits", "why clocks are held down, as NVML numbers the reasons")                  \
    X(PCIE_TX, "pcie_tx_bytes_per_second", "bytes/s", "sent over PCIe")                                               \
    X(PCIE_RX, "pcie_rx_bytes_per_second", "bytes/s", "received over PCIe")                                           \
    X(PCIE_REPLAYS, "pcie_replays", "count", "PCIe packets sent again")                                               \
    X(NVLINK_TX, "nvlink_tx_bytes_per_second", "bytes/s", "sent over all NVLinks")                                    \
    X(NVLINK_RX, "nvlink_rx_bytes_per_second", "bytes/s", "received over all NVLinks")                                \
    X(ECC_CORRECTED, "ecc_corrected", "count", "memory errors corrected since the driver was loaded")                 \
    X(ECC_UNCORRECTED, "ecc_uncorrected", "count", "memory errors not corrected since the driver was loaded")         \
    X(ROWS_CORRECTED, "rows_remapped_corrected", "count", "rows replaced after corrected errors")                     \
    X(ROWS_UNCORRECTED, "rows_remapped_uncorrected", "count", "rows replaced after uncorrected errors")               \
    X(ROWS_PENDING, "rows_remap_pending", "flag", "a row is replaced at the next reset")                              \
    X(ROWS_FAILED, "rows_remap_failed", "flag", "a row could not be replaced")                                        \
    X(RECOVERY, "recovery_action", "code", "what the driver asks for: 0 nothing, 1 reset, 2 reboot, 3 drain, 4 both") \
    X(XIDS_TOTAL, "xids", "count", "error events of the driver since we listen")
/* clang-format on */

enum ps_device_field {
#define PS_DEVICE_ENUM(NAME, name, unit, text) PS_DEVICE_##NAME,
    PS_DEVICE_TABLE(PS_DEVICE_ENUM)
#undef PS_DEVICE_ENUM
        PS_DEVICE_FIELDS
};

struct ps_device_row {
    const char *name;
    const char *unit;
    const char *text;
};

extern const struct ps_device_row ps_device_rows[PS_DEVICE_FIELDS];

/* A number that is known, or not: {0} is unknown. */
struct ps_device_reading {
    double value;
    bool known;
};

static inline struct ps_device_reading ps_device_known(double value)
{
    return (struct ps_device_reading){value, true};
}

/* How often one kind of Xid came. https://docs.nvidia.com/deploy/xid-errors/ lists the codes. */
struct ps_device_xid {
    uint32_t code;
    uint64_t count;
    ps_time last; /* when the latest came */
};

struct ps_device_xids {
    struct ps_device_xid kinds[PS_DEVICE_XID_KINDS]; /* in the order in which they came first */
    size_t count;
    uint64_t total; /* events; also those of kinds that found no room */
};

struct ps_device {
    uint32_t index; /* as the source counts them */
    uint32_t
        parent; /* of a MIG instance: the place of its card in the snapshot; else PS_DEVICE_NONE */
    uint32_t instance;         /* of a MIG instance: its number; else PS_DEVICE_NONE */
    char uuid[PS_DEVICE_TEXT]; /* "" = unknown, like the next two */
    char name[PS_DEVICE_TEXT];
    char bus[32];     /* PCI address: 00000000:3B:00.0 */
    bool unified;     /* the memory is the host's: CPU and GPU share it */
    bool lost;        /* the driver lost it: nothing is known until it is back */
    bool partitioned; /* MIG is on: the instances follow */
    struct ps_device_reading readings[PS_DEVICE_FIELDS];
    struct ps_device_xids xids;
    bool processes_known; /* all that use it are listed; false: not all, or nobody could say */
};

/* How a process uses a device; bits. */
enum ps_device_use { PS_DEVICE_COMPUTE = 1, PS_DEVICE_GRAPHICS = 2, PS_DEVICE_MPS = 4 };

/* What /proc says of a process id that a driver told. */
enum ps_device_sight {
    PS_DEVICE_UNSEEN,  /* nobody looked */
    PS_DEVICE_SEEN,    /* it is there: name, start and container are its own */
    PS_DEVICE_FOREIGN, /* ids here are not those that drivers tell */
    PS_DEVICE_GONE     /* there is none with this id: it ended, or is hidden from us */
};

/* Why it is unseen: "", "", "pid_namespace", "not_in_proc". */
extern const char *const ps_device_sight_names[];

struct ps_device_process {
    uint32_t pid;
    uint32_t device;                 /* its place in the snapshot */
    unsigned use;                    /* enum ps_device_use */
    struct ps_device_reading memory; /* bytes */
    uint64_t
        started;   /* clock ticks after boot, with the pid the identity of a process; 0 = unknown */
    enum ps_device_sight sight;
    char name[64]; /* "" = unknown, like the next */
    char container[65];
};

struct ps_device_snapshot {
    _Atomic unsigned refs;       /* shared, atomic; the rest is constant */
    ps_time taken;               /* when it was put together */
    const char *source;          /* "nvml"; static */
    bool simulated;              /* the numbers were made up by a program */
    bool complete;               /* all that there is has been asked for at least once */
    char driver[PS_DEVICE_TEXT]; /* its version; "" = unknown */
    struct ps_device *devices;
    size_t device_count;
    struct ps_device_process *processes;
    size_t process_count;
    size_t processes_left_out;          /* beyond PS_DEVICE_PROCESSES_MAX */
    struct ps_attribution *attribution; /* a reference: where processes and their kin listen; NULL:
                                           nobody looked (yet) */
};

/* One block with room for so many, zeroed (all unknown), counts set, one reference. PS_OK,
 * PS_ENOMEM, or PS_ELIMIT beyond the bounds above. */
PS_MUST_CHECK int ps_device_snapshot_new(struct ps_device_snapshot **out, size_t devices,
                                         size_t processes);
struct ps_device_snapshot *ps_device_snapshot_ref(struct ps_device_snapshot *snapshot);
void ps_device_snapshot_unref(struct ps_device_snapshot *snapshot); /* NULL is fine */

/* Used of total, in percent; unknown where one of them is, or where total is 0. */
struct ps_device_reading ps_device_utilization(const struct ps_device *device);

/* Whose the used memory of a device is. What is reserved stands beside it, in its reading. */
struct ps_device_account {
    size_t processes;     /* that are listed on it */
    size_t without_size;  /* of these: the driver does not say how much they have */
    double held;          /* bytes, by those with a size */
    bool known;           /* memory in use and processes are told: the next two count */
    double unexplained;   /* used beyond that: the driver, processes that nobody may see, and those
                             without a size */
    double overlap;       /* held beyond what is used: shared, or moved between two calls */
};

struct ps_device_account ps_device_account(const struct ps_device_snapshot *snapshot, size_t at);

/* What of the used memory of devices[at] no listed process has. Unknown where the memory in use,
 * the processes or one of their sizes is unknown, and never below 0. */
struct ps_device_reading ps_device_unexplained(const struct ps_device_snapshot *snapshot,
                                               size_t at);

/* Counts one more event of this kind. */
void ps_device_add_xid(struct ps_device_xids *xids, uint32_t code, ps_time now);

/* Adds those that were counted before. */
void ps_device_merge_xids(struct ps_device_xids *xids, const struct ps_device_xids *before);

/* The place of a process among those that the snapshot's attribution looked at, or SIZE_MAX. */
size_t ps_device_place(const struct ps_device_snapshot *snapshot,
                       const struct ps_device_process *process);

/* Appends the processes that were seen to *count users, at most `most` in all. */
void ps_device_add_users(const struct ps_device_process *processes, size_t process_count,
                         struct ps_attribution_user *users, size_t *count, size_t most);

#endif
