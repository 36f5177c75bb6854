/* nvml_library - NVIDIA's management library, opened at run time: what it has, newest name first.
 *
 * Only init, count and handle are needed. Whatever else is missing is a function that answers
 * FUNCTION_NOT_FOUND, and the reading that came from it is unknown.
 *
 * Each call goes through PS_NVML_CALL(), which writes it into the book of tolls: what it took, what
 * it said, and that it runs now.
 *
 *      PS_NVML_CALL(nvml, POWER, device, &milliwatts)      -> enum ps_nvml_code
 *
 * Thread: opened and closed by the owner; the library's functions may be called from any thread,
 * the macro only from the one that is watched.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PS_GPU_NVML_LIBRARY_H
#define PS_GPU_NVML_LIBRARY_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/err.h"
#include "gpu/nvml_abi.h"
#include "gpu/toll.h"

#define PS_NVML_NAMES 3 /* of one function, over the years */
#define PS_NVML_CALL_BUDGET                                              \
    PS_MILLISECOND /* a call that takes longer is counted as over budget \
                    */

/* X(NAME, parameters, names from the newest on) */
/* clang-format off */
#define PS_NVML_TABLE(X)                                                                                              \
    X(INIT, (void), "nvmlInit_v2", "nvmlInit")                                                                        \
    X(SHUTDOWN, (void), "nvmlShutdown")                                                                               \
    X(DRIVER, (char *, uint32_t), "nvmlSystemGetDriverVersion")                                                       \
    X(COUNT, (uint32_t *), "nvmlDeviceGetCount_v2", "nvmlDeviceGetCount")                                             \
    X(HANDLE, (uint32_t, ps_nvml_device *), "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex")            \
    X(NAME, (ps_nvml_device, char *, uint32_t), "nvmlDeviceGetName")                                                  \
    X(UUID, (ps_nvml_device, char *, uint32_t), "nvmlDeviceGetUUID")                                                  \
    X(PCI, (ps_nvml_device, struct ps_nvml_pci *),                                                                    \
      "nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo_v2", "nvmlDeviceGetPciInfo")                                   \
    X(MEMORY_V2, (ps_nvml_device, struct ps_nvml_memory_v2 *), "nvmlDeviceGetMemoryInfo_v2")                          \
    X(MEMORY_V1, (ps_nvml_device, struct ps_nvml_memory_v1 *), "nvmlDeviceGetMemoryInfo")                             \
    X(UTILIZATION, (ps_nvml_device, struct ps_nvml_utilization *), "nvmlDeviceGetUtilizationRates")                   \
    X(TEMPERATURE_V, (ps_nvml_device, struct ps_nvml_temperature *), "nvmlDeviceGetTemperatureV")                     \
    X(TEMPERATURE, (ps_nvml_device, uint32_t, uint32_t *), "nvmlDeviceGetTemperature")                                \
    X(POWER, (ps_nvml_device, uint32_t *), "nvmlDeviceGetPowerUsage")                                                 \
    X(POWER_LIMIT, (ps_nvml_device, uint32_t *),                                                                      \
      "nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetPowerManagementLimit")                                         \
    X(ENERGY, (ps_nvml_device, uint64_t *), "nvmlDeviceGetTotalEnergyConsumption")                                    \
    X(CLOCK, (ps_nvml_device, uint32_t, uint32_t *), "nvmlDeviceGetClockInfo")                                        \
    X(FAN, (ps_nvml_device, uint32_t *), "nvmlDeviceGetFanSpeed")                                                     \
    X(SLOWDOWN, (ps_nvml_device, uint64_t *),                                                                         \
      "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")                          \
    X(PCIE, (ps_nvml_device, uint32_t, uint32_t *), "nvmlDeviceGetPcieThroughput")                                    \
    X(FIELDS, (ps_nvml_device, int, struct ps_nvml_field *), "nvmlDeviceGetFieldValues")                              \
    X(ECC, (ps_nvml_device, uint32_t, uint32_t, uint64_t *), "nvmlDeviceGetTotalEccErrors")                           \
    X(COMPUTE, (ps_nvml_device, uint32_t *, void *), "nvmlDeviceGetComputeRunningProcesses_v3",                       \
      "nvmlDeviceGetComputeRunningProcesses_v2", "nvmlDeviceGetComputeRunningProcesses")                              \
    X(GRAPHICS, (ps_nvml_device, uint32_t *, void *), "nvmlDeviceGetGraphicsRunningProcesses_v3",                     \
      "nvmlDeviceGetGraphicsRunningProcesses_v2", "nvmlDeviceGetGraphicsRunningProcesses")                            \
    X(MPS, (ps_nvml_device, uint32_t *, void *), "nvmlDeviceGetMPSComputeRunningProcesses_v3",                        \
      "nvmlDeviceGetMPSComputeRunningProcesses_v2", "nvmlDeviceGetMPSComputeRunningProcesses")                        \
    X(DETAIL_LIST, (ps_nvml_device, void *), "nvmlDeviceGetRunningProcessDetailList")                                 \
    X(CONFIDENTIAL, (ps_nvml_device, void *), "nvmlDeviceGetConfComputeMemSizeInfo")                                  \
    X(MIG_MODE, (ps_nvml_device, uint32_t *, uint32_t *), "nvmlDeviceGetMigMode")                                     \
    X(MIG_COUNT, (ps_nvml_device, uint32_t *), "nvmlDeviceGetMaxMigDeviceCount")                                      \
    X(MIG_HANDLE, (ps_nvml_device, uint32_t, ps_nvml_device *), "nvmlDeviceGetMigDeviceHandleByIndex")                \
    X(GPU_INSTANCE, (ps_nvml_device, uint32_t *), "nvmlDeviceGetGpuInstanceId")                                       \
    X(EVENT_CREATE, (ps_nvml_event_set *), "nvmlEventSetCreate")                                                      \
    X(EVENT_SUPPORTED, (ps_nvml_device, uint64_t *), "nvmlDeviceGetSupportedEventTypes")                              \
    X(EVENT_REGISTER, (ps_nvml_device, uint64_t, ps_nvml_event_set), "nvmlDeviceRegisterEvents")                      \
    X(EVENT_WAIT, (ps_nvml_event_set, struct ps_nvml_event *, uint32_t),                                              \
      "nvmlEventSetWait_v2", "nvmlEventSetWait")                                                                      \
    X(EVENT_FREE, (ps_nvml_event_set), "nvmlEventSetFree")                                                            \
    X(GPM_SUPPORT, (ps_nvml_device, struct ps_nvml_gpm_support *), "nvmlGpmQueryDeviceSupport")                       \
    X(GPM_ALLOC, (ps_nvml_gpm_sample *), "nvmlGpmSampleAlloc")                                                        \
    X(GPM_FREE, (ps_nvml_gpm_sample), "nvmlGpmSampleFree")                                                            \
    X(GPM_SAMPLE, (ps_nvml_device, ps_nvml_gpm_sample), "nvmlGpmSampleGet")                                           \
    X(GPM_MIG_SAMPLE, (ps_nvml_device, uint32_t, ps_nvml_gpm_sample), "nvmlGpmMigSampleGet")                          \
    X(GPM_METRICS, (struct ps_nvml_gpm_query *), "nvmlGpmMetricsGet")
/* clang-format on */

enum ps_nvml_kind {
#define PS_NVML_KIND_ENUM(NAME, parameters, ...) PS_NVML_KIND_##NAME,
    PS_NVML_TABLE(PS_NVML_KIND_ENUM)
#undef PS_NVML_KIND_ENUM
        PS_NVML_KINDS
};
static_assert(PS_NVML_KINDS <= PS_TOLL_KINDS, "one bit and one toll for each");

struct ps_nvml_library {
    void *handle; /* of dlopen(); NULL: not open */
    const struct ps_clock *clock;
    bool simulated;                    /* it says of itself that it is a fake */
    bool long_processes;               /* its _v3 lists of processes have the layout of R530 */
    unsigned found[PS_NVML_KINDS];     /* which of its names a function has: 0 is the newest */
    const char *called[PS_NVML_KINDS]; /* that name, or the newest where it has none */
    struct ps_toll_book book;
#define PS_NVML_MEMBER(NAME, parameters, ...) int(*NAME) parameters;
    PS_NVML_TABLE(PS_NVML_MEMBER)
#undef PS_NVML_MEMBER
};

/* Nothing is open, and no call was counted. */
void ps_nvml_library_init(struct ps_nvml_library *library, const struct ps_clock *clock);

/* Opens the library: `path`, or where that is NULL what the system knows as libnvidia-ml.so.1.
 * PS_OK; PS_ENOTFOUND where there is none, PS_EINVAL where it has not got what is needed, and a
 * sentence in `why`. Nothing of it is called yet. */
PS_MUST_CHECK int ps_nvml_library_load(struct ps_nvml_library *library, const char *path, char *why,
                                       size_t size);

/* Both. */
PS_MUST_CHECK int ps_nvml_library_open(struct ps_nvml_library *library, const char *path,
                                       const struct ps_clock *clock, char *why, size_t size);
void ps_nvml_library_close(struct ps_nvml_library *library);

/* The sentence for a code of the library; static. */
const char *ps_nvml_code_text(int code);

/* Around each call; use PS_NVML_CALL(). */
void ps_nvml_enter(struct ps_nvml_library *library, enum ps_nvml_kind kind);
int ps_nvml_leave(struct ps_nvml_library *library, enum ps_nvml_kind kind, int code);

#define PS_NVML_CALL(library, NAME, ...)                   \
    ((library)->NAME == NULL                               \
         ? (int)PS_NVML_FUNCTION_NOT_FOUND                 \
         : (ps_nvml_enter((library), PS_NVML_KIND_##NAME), \
            ps_nvml_leave((library), PS_NVML_KIND_##NAME, (library)->NAME(__VA_ARGS__))))

#endif
