/* nvml_abi - the parts of NVIDIA's management library that we call, in our own declarations.
 *
 * The library is opened at run time and may be of any age, so nothing here comes from its header:
 * layouts and numbers are the published ABI (NVIDIA, NVML API reference; sizes for 64-bit Linux).
 * A version field holds sizeof(struct) | version << 24.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_NVML_ABI_H
#define PS_GPU_NVML_ABI_H

#include <assert.h>
#include <stdint.h>

typedef struct ps_nvml_handle *ps_nvml_device; /* the library's; never looked into */
typedef struct ps_nvml_set *ps_nvml_event_set;
typedef struct ps_nvml_sample *ps_nvml_gpm_sample;

#define PS_NVML_VERSION(type, number) ((uint32_t)(sizeof(type) | (number) << 24))

/* X(NAME, number, sentence) */
#define PS_NVML_CODES(X)                                                                   \
    X(OK, 0, "success")                                                                    \
    X(UNINITIALIZED, 1, "the library was not initialised")                                 \
    X(INVALID_ARGUMENT, 2, "an argument is invalid")                                       \
    X(NOT_SUPPORTED, 3, "the device or driver does not support it")                        \
    X(NO_PERMISSION, 4, "more rights are needed")                                          \
    X(NOT_FOUND, 6, "not found")                                                           \
    X(INSUFFICIENT_SIZE, 7, "the buffer is too small")                                     \
    X(DRIVER_NOT_LOADED, 9, "the NVIDIA driver is not loaded")                             \
    X(TIMEOUT, 10, "the time is up")                                                       \
    X(LIBRARY_NOT_FOUND, 12, "a library of the driver is missing")                         \
    X(FUNCTION_NOT_FOUND, 13, "this library does not have the function")                   \
    X(GPU_IS_LOST, 15, "the GPU is lost: it fell off the bus")                             \
    X(RESET_REQUIRED, 16, "the GPU needs a reset")                                         \
    X(OPERATING_SYSTEM, 17, "the system blocks the driver's device files")                 \
    X(LIB_RM_VERSION_MISMATCH, 18,                                                         \
      "driver and library differ in version: load the new driver, or restart the machine") \
    X(IN_USE, 19, "the GPU is in use")                                                     \
    X(MEMORY, 20, "out of memory")                                                         \
    X(ARGUMENT_VERSION_MISMATCH, 25, "this version of a structure is not known")           \
    X(UNKNOWN, 999, "an internal error of the driver")

enum ps_nvml_code {
#define PS_NVML_CODE_ENUM(NAME, number, text) PS_NVML_##NAME = number,
    PS_NVML_CODES(PS_NVML_CODE_ENUM)
#undef PS_NVML_CODE_ENUM
};

struct ps_nvml_pci { /* nvmlPciInfo_t; the versions before v3 end, for us, before bus_id */
    char legacy_id[16];
    uint32_t domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};
static_assert(sizeof(struct ps_nvml_pci) == 68, "nvmlPciInfo_t");

struct ps_nvml_memory_v1 { /* nvmlMemory_t; used holds what is reserved, too */
    uint64_t total, free, used;
};
static_assert(sizeof(struct ps_nvml_memory_v1) == 24, "nvmlMemory_t");

struct ps_nvml_memory_v2 { /* nvmlMemory_v2_t */
    uint32_t version;
    uint64_t total, reserved, free, used;
};
static_assert(sizeof(struct ps_nvml_memory_v2) == 40, "nvmlMemory_v2_t");

struct ps_nvml_utilization { /* percent */
    uint32_t gpu, memory;
};
static_assert(sizeof(struct ps_nvml_utilization) == 8, "nvmlUtilization_t");

struct ps_nvml_temperature { /* nvmlTemperature_v1_t */
    uint32_t version;
    uint32_t sensor; /* 0: the chip */
    int32_t celsius;
};
static_assert(sizeof(struct ps_nvml_temperature) == 12, "nvmlTemperature_v1_t");

/* What running processes are told in. The function with _v3 has the second layout; from R530 to
 * early R535 it had the third. */
struct ps_nvml_process_v1 {
    uint32_t pid;
    uint64_t memory;
};
struct ps_nvml_process_v2 {
    uint32_t pid;
    uint64_t memory;
    uint32_t gpu_instance, compute_instance;
};
struct ps_nvml_process_v3 {
    uint32_t pid;
    uint64_t memory;
    uint32_t gpu_instance, compute_instance;
    uint64_t protected_memory;
};
static_assert(sizeof(struct ps_nvml_process_v1) == 16, "nvmlProcessInfo_v1_t");
static_assert(sizeof(struct ps_nvml_process_v2) == 24, "nvmlProcessInfo_v2_t");
static_assert(sizeof(struct ps_nvml_process_v3) == 32, "nvmlProcessInfo_t of R530");

enum ps_nvml_value_type {
    PS_NVML_DOUBLE,
    PS_NVML_UINT,
    PS_NVML_ULONG,
    PS_NVML_ULONGLONG,
    PS_NVML_LONGLONG,
    PS_NVML_INT
};

union ps_nvml_value {
    double real;
    uint32_t uint;
    uint64_t ulong; /* of 64-bit Linux; ULONGLONG too */
    int64_t longlong;
    int32_t sint;
};

struct ps_nvml_field { /* nvmlFieldValue_t */
    uint32_t id;
    uint32_t scope;
    int64_t timestamp; /* microseconds since 1970 */
    int64_t latency;   /* microseconds that this one took */
    int32_t type;      /* enum ps_nvml_value_type */
    int32_t code;      /* enum ps_nvml_code: each field has its own */
    union ps_nvml_value value;
};
static_assert(sizeof(struct ps_nvml_field) == 40, "nvmlFieldValue_t");

struct ps_nvml_event { /* nvmlEventData_t */
    ps_nvml_device device;
    uint64_t type;
    uint64_t data; /* of an Xid: its number */
    uint32_t gpu_instance, compute_instance;
};
static_assert(sizeof(struct ps_nvml_event) == 32, "nvmlEventData_t");

#define PS_NVML_EVENT_XID UINT64_C(8)

struct ps_nvml_gpm_metric { /* nvmlGpmMetric_t */
    uint32_t id;
    int32_t code;
    double value;
    const char *short_name, *long_name, *unit;
};
static_assert(sizeof(struct ps_nvml_gpm_metric) == 40, "nvmlGpmMetric_t");

#define PS_NVML_GPM_METRICS 333 /* as many as the library may look at */

struct ps_nvml_gpm_query { /* nvmlGpmMetricsGet_t */
    uint32_t version;      /* 1, without a size */
    uint32_t count;
    ps_nvml_gpm_sample older, newer;
    struct ps_nvml_gpm_metric metrics[PS_NVML_GPM_METRICS];
};
static_assert(sizeof(struct ps_nvml_gpm_query) == 13344, "nvmlGpmMetricsGet_t");

struct ps_nvml_gpm_support { /* nvmlGpmSupport_t */
    uint32_t version;        /* 1 */
    uint32_t supported;
};
static_assert(sizeof(struct ps_nvml_gpm_support) == 8, "nvmlGpmSupport_t");

#endif
