/* nvml - a libnvidia-ml.so.1 without GPUs: every number is made up, and every mishap can be asked
 * for.
 *
 * Its structures are declared here once more, from the published ABI, so that a mistake in those of
 * src/gpu shows. FAKE_ABI is the age of the driver that it imitates:
 *
 *      0 bare     init, count and handle, and nothing else
 *      1 old      functions without versions; processes of 16 bytes
 *      2 r470     with FAKE_LISTS_V2: processes of 24 bytes under names that end in _v2
 *      2 r530     processes of 32 bytes under the names that have 24 before and after
 *      3 new      all
 *
 * Processes are made up, unless they are named: own_pid=17 own_card=1 own_mib=2048 is one of them,
 * and more may follow; own_mib=-1 is a size that nobody knows, own_pid=0 forgets them all.
 *
 * What it does is set by knobs: in the environment, FAKE_NVML="gpus=8 memory_us=12"; in the file
 * that FAKE_NVML_FILE names, read again whenever it changes; or, in the same process, by calling
 * penstock_simulated_nvml(name, value). That symbol is also how a program knows what it has before
 * it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define GPUS      64
#define INSTANCES 8
#define EVENTS    4096
#define OWNS      64
#define MIB       (UINT64_C(1) << 20)
#define BLANK     UINT64_MAX
#define EXPORT    __attribute__((visibility("default")))

/* Declares and begins an exported function: FN(int, name, parameters). */
#define FN(name, ...)             \
    EXPORT int name(__VA_ARGS__); \
    EXPORT int name(__VA_ARGS__)

enum { OK, UNINITIALIZED, INVALID, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND = 6, TOO_SMALL = 7 };
enum { TIMEOUT = 10, LOST = 15, WRONG_VERSION = 25, UNKNOWN = 999 };

/* X(knob, value after a reset, what it does) */
/* clang-format off */
#define KNOBS(X)                                                                                    \
    X(gpus, 1, "cards, as the library finds them when it is initialised")                           \
    X(init_code, 0, "what nvmlInit answers")                                                        \
    X(memory_us, 0, "time of a call for memory")                                                    \
    X(processes_us, 0, "time of a call for processes")                                              \
    X(pcie_us, 0, "time of a call for PCIe throughput")                                             \
    X(other_us, 0, "time of any other call")                                                        \
    X(hang_init, 0, "init does not return while it is 1")                                           \
    X(hang_memory, 0, "nor does memory")                                                            \
    X(hang_processes, 0, "nor do processes")                                                        \
    X(hang_events, 0, "nor does waiting for events, whatever its time")                             \
    X(lost, -1, "this card fell off the bus")                                                       \
    X(failing, 0, "every reading answers 999")                                                      \
    X(blank, 0, "every reading is blank")                                                           \
    X(denied, 0, "processes need rights")                                                           \
    X(total_mib, 24576, "memory")                                                                   \
    X(used_mib, 8192, "of it in use, without what is reserved")                                     \
    X(reserved_mib, 512, "of it reserved")                                                          \
    X(memory_form, 0, "0 used without reserved, 1 with it, 2 v2 is of a wrong version, 3 total 0, " \
                      "4 not supported, 5 used over total")                                         \
    X(busy, 40, "utilization, percent")                                                             \
    X(millijoules, 5000000, "energy")                                                               \
    X(fields, 1, "field values are supported")                                                      \
    X(narrow, 0, "PCIe counters have 32 bits")                                                      \
    X(pcie_bytes, 0, "PCIe counter")                                                                \
    X(clock_us, 0, "time stamps of fields; 0: the clock's")                                         \
    X(ecc, 0, "errors counted")                                                                     \
    X(processes, 2, "processes on each card")                                                       \
    X(process_mib, 3072, "memory of each")                                                          \
    X(rest_mib, 0, "memory that nobody named by own_pid has; then used_mib counts no more")         \
    X(pid, 1000, "id of the first")                                                                 \
    X(mps, 0, "of them, so many are clients of MPS, too")                                           \
    X(growing, 0, "so many more each time the room was too small")                                  \
    X(gpm, 1, "GPM is supported")                                                                   \
    X(tensor, 25, "what GPM says, percent")                                                         \
    X(mig, 0, "instances on card 0")                                                                \
    X(no_events, 0, "cards tell no events")
/* clang-format on */

enum knob {
#define KNOB_ENUM(name, value, text) K_##name,
    KNOBS(KNOB_ENUM)
#undef KNOB_ENUM
        KNOB_COUNT
};

static const struct {
    const char *name;
    long value;
} knob_rows[KNOB_COUNT] = {
#define KNOB_ROW(name, value, text) {#name, value},
    KNOBS(KNOB_ROW)
#undef KNOB_ROW
};

struct card {
    int index;
    int instance; /* -1: a whole one */
};

struct event {
    struct card *card;
    uint64_t type, data;
    uint32_t gpu_instance, compute_instance;
};
static_assert(sizeof(struct event) == 32, "nvmlEventData_t");

static _Atomic long knobs[KNOB_COUNT] = {
#define KNOB_VALUE(name, value, text) value,
    KNOBS(KNOB_VALUE)
#undef KNOB_VALUE
};
static struct card cards[GPUS];
static struct card instances[GPUS][INSTANCES];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of what follows */
static pthread_cond_t event_put = PTHREAD_COND_INITIALIZER;
static struct event events[EVENTS];
static size_t events_put, events_taken;
static struct own {
    long pid, card, mib;
} owns[OWNS];
static _Atomic size_t own_count;
static long users, found_gpus; /* of the library, and the cards that it knows */
static struct timespec file_changed;

#define KNOB(name) atomic_load(&knobs[K_##name])

/* --- knobs ------------------------------------------------------------------------------------ */

static void put_xid(long number)
{
    pthread_mutex_lock(&mutex);
    if (events_put - events_taken < EVENTS) {
        events[events_put++ % EVENTS] = (struct event){
            &cards[number / 1000 % GPUS], 8, (uint64_t)(number % 1000), UINT32_MAX, UINT32_MAX};
        pthread_cond_signal(&event_put);
    }
    pthread_mutex_unlock(&mutex);
}

/* own_pid begins another; the other two are about the latest. */
static int put_own(const char *what, long value)
{
    pthread_mutex_lock(&mutex);
    if (strcmp(what, "pid") == 0) {
        own_count = value == 0 ? 0 : own_count < OWNS ? own_count + 1 : OWNS;
        owns[own_count > 0 ? own_count - 1 : 0] = (struct own){.pid = value};
    } else {
        struct own *own = &owns[own_count > 0 ? own_count - 1 : 0];
        *(strcmp(what, "card") == 0 ? &own->card : &own->mib) = value;
    }
    pthread_mutex_unlock(&mutex);
    return 0;
}

static void reset(void)
{
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        atomic_store(&knobs[i], knob_rows[i].value);
    }
    pthread_mutex_lock(&mutex);
    events_taken = events_put;
    own_count = 0;
    users = 0;
    pthread_mutex_unlock(&mutex);
}

/* Sets a knob; "reset" sets all, "xid" with 1000 * card + number lets that event happen. Returns 0,
 * or -1 when there is no such knob. */
FN(penstock_simulated_nvml, const char *name, long value)
{
    if (strcmp(name, "reset") == 0) {
        reset();
        return 0;
    }
    if (strcmp(name, "xid") == 0) {
        put_xid(value);
        return 0;
    }
    if (strcmp(name, "own_pid") == 0 || strcmp(name, "own_card") == 0 ||
        strcmp(name, "own_mib") == 0) {
        return put_own(name + 4, value);
    }
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        if (strcmp(knob_rows[i].name, name) == 0) {
            atomic_store(&knobs[i], value);
            return 0;
        }
    }
    return -1;
}

static void read_words(char *text)
{
    char *rest = NULL;
    for (char *word = strtok_r(text, " \n", &rest); word != NULL;
         word = strtok_r(NULL, " \n", &rest)) {
        char *value = strchr(word, '=');
        if (value != NULL) {
            *value = '\0';
            if (penstock_simulated_nvml(word, strtol(value + 1, NULL, 10)) != 0) {
                fprintf(stderr, "fake nvml: no knob '%s'\n", word);
                abort();
            }
        }
    }
}

static void read_environment(void)
{
    const char *text = getenv("FAKE_NVML");
    char copy[1024];
    if (text != NULL) {
        (void)snprintf(copy, sizeof copy, "%s", text);
        read_words(copy);
    }
}

static void read_file(void)
{
    const char *path = getenv("FAKE_NVML_FILE");
    struct stat now;
    if (path == NULL || stat(path, &now) != 0) {
        return;
    }
    pthread_mutex_lock(&mutex);
    bool same = memcmp(&now.st_mtim, &file_changed, sizeof file_changed) == 0;
    file_changed = now.st_mtim;
    pthread_mutex_unlock(&mutex);
    FILE *file = same ? NULL : fopen(path, "re");
    if (file != NULL) {
        char text[1024];
        size_t len = fread(text, 1, sizeof text - 1, file);
        text[len] = '\0';
        fclose(file);
        read_words(text);
    }
}

/* --- time ------------------------------------------------------------------------------------- */

static void pass(long us)
{
    struct timespec span = {us / 1000000, us % 1000000 * 1000};
    if (us > 0) {
        (void)nanosleep(&span, NULL);
    }
}

static void hang_while(enum knob knob)
{
    while (atomic_load(&knobs[knob]) != 0) {
        pass(1000);
        read_file();
    }
}

/* --- init, count, handle ---------------------------------------------------------------------- */

static void make_cards(void)
{
    for (int i = 0; i < GPUS; i++) {
        cards[i] = (struct card){i, -1};
        for (int j = 0; j < INSTANCES; j++) {
            instances[i][j] = (struct card){i, j};
        }
    }
}

static int init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    read_environment();
    read_file();
    hang_while(K_hang_init);
    (void)pthread_once(&once, make_cards);
    if (KNOB(init_code) == OK) {
        pthread_mutex_lock(&mutex);
        found_gpus = users++ == 0 ? KNOB(gpus) : found_gpus;
        pthread_mutex_unlock(&mutex);
    }
    return (int)KNOB(init_code);
}

static long known_gpus(void)
{
    pthread_mutex_lock(&mutex);
    long many = found_gpus;
    pthread_mutex_unlock(&mutex);
    return many;
}

static int handle(uint32_t i, struct card **out)
{
    if (i >= (uint32_t)known_gpus()) {
        return INVALID;
    }
    if ((long)i == KNOB(lost)) {
        return LOST;
    }
    *out = &cards[i];
    return OK;
}

static int count(uint32_t *out)
{
    *out = (uint32_t)known_gpus();
    return OK;
}

#if FAKE_ABI <= 1
FN(nvmlInit, void)
{
    return init();
}
FN(nvmlDeviceGetCount, uint32_t *out)
{
    return count(out);
}
FN(nvmlDeviceGetHandleByIndex, uint32_t i, struct card **out)
{
    return handle(i, out);
}
#else
FN(nvmlInit_v2, void)
{
    return init();
}
FN(nvmlDeviceGetCount_v2, uint32_t *out)
{
    return count(out);
}
FN(nvmlDeviceGetHandleByIndex_v2, uint32_t i, struct card **out)
{
    return handle(i, out);
}
#endif

#if FAKE_ABI >= 1

/* --- what every reading does ------------------------------------------------------------------ */

static int enter(const struct card *card, long us)
{
    read_file();
    pass(us);
    if (card == NULL) {
        return INVALID;
    }
    if (card->index == KNOB(lost)) {
        return LOST;
    }
    return KNOB(failing) != 0 ? UNKNOWN : OK;
}

#define ENTER(us)                      \
    do {                               \
        int code_ = enter(card, (us)); \
        if (code_ != OK) {             \
            return code_;              \
        }                              \
    } while (0)

static int give(uint32_t value, uint32_t *out)
{
    *out = KNOB(blank) != 0 ? UINT32_MAX : value;
    return OK;
}

FN(nvmlShutdown, void)
{
    pthread_mutex_lock(&mutex);
    users = users > 0 ? users - 1 : 0;
    pthread_mutex_unlock(&mutex);
    return OK;
}

FN(nvmlSystemGetDriverVersion, char *out, uint32_t size)
{
#ifdef FAKE_LISTS_V2
    (void)snprintf(out, size, "470.57.02");
#else
    static const char *const versions[] = {"", "304.137", "530.41.03", "580.65.06"};
    (void)snprintf(out, size, "%s", versions[FAKE_ABI]);
#endif
    return OK;
}

/* --- identity --------------------------------------------------------------------------------- */

FN(nvmlDeviceGetName, const struct card *card, char *out, uint32_t size)
{
    ENTER(KNOB(other_us));
    (void)snprintf(out, size, card->instance < 0 ? "Simulated GPU" : "Simulated GPU MIG 1g.3gb");
    return OK;
}

FN(nvmlDeviceGetUUID, const struct card *card, char *out, uint32_t size)
{
    ENTER(KNOB(other_us));
    if (card->instance < 0) {
        (void)snprintf(out, size, "GPU-00000000-0000-0000-0000-%012d", card->index);
    } else {
        (void)snprintf(out, size, "MIG-00000000-0000-0000-%04d-%012d", card->instance, card->index);
    }
    return OK;
}

struct pci {
    char legacy[16];
    uint32_t numbers[5];
    char id[32];
};
static_assert(sizeof(struct pci) == 68, "nvmlPciInfo_t");

#if FAKE_ABI == 1
FN(nvmlDeviceGetPciInfo, const struct card *card, struct pci *out)
{
    ENTER(KNOB(other_us));
    (void)snprintf(out->legacy, sizeof out->legacy, "0000:%02X:00.0", card->index + 1);
    return OK;
}
#else
FN(nvmlDeviceGetPciInfo_v3, const struct card *card, struct pci *out)
{
    ENTER(KNOB(other_us));
    (void)snprintf(out->legacy, sizeof out->legacy, "0000:%02X:00.0", card->index + 1);
    (void)snprintf(out->id, sizeof out->id, "00000000:%02X:00.0", card->index + 1);
    return OK;
}
#endif

/* --- memory ----------------------------------------------------------------------------------- */

struct memory {
    uint64_t total, reserved, free, used;
};

static uint64_t used_mib(const struct card *card)
{
    pthread_mutex_lock(&mutex);
    long used = own_count > 0 ? KNOB(rest_mib) : KNOB(used_mib);
    for (size_t i = 0; i < own_count; i++) {
        used += owns[i].card == card->index && owns[i].mib > 0 ? owns[i].mib : 0;
    }
    pthread_mutex_unlock(&mutex);
    return (uint64_t)used;
}

/* An instance has an eighth of its card. */
static struct memory memory_of(const struct card *card)
{
    uint64_t part = card->instance < 0 ? 1 : INSTANCES;
    struct memory memory = {(uint64_t)KNOB(total_mib) * MIB / part,
                            (uint64_t)KNOB(reserved_mib) * MIB / part, 0,
                            used_mib(card) * MIB / part};
    memory.free = memory.total - memory.reserved - memory.used;
    if (KNOB(memory_form) == 1) {
        memory.used += memory.reserved;
    }
    if (KNOB(memory_form) == 3) {
        memory = (struct memory){0};
    }
    if (KNOB(memory_form) == 5) {
        memory.used = memory.total + MIB;
    }
    if (KNOB(blank) != 0) {
        memory = (struct memory){BLANK, BLANK, BLANK, BLANK};
    }
    return memory;
}

struct memory_v1 {
    uint64_t total, free, used;
};
static_assert(sizeof(struct memory_v1) == 24, "nvmlMemory_t");

FN(nvmlDeviceGetMemoryInfo, const struct card *card, struct memory_v1 *out)
{
    hang_while(K_hang_memory);
    ENTER(KNOB(memory_us));
    if (KNOB(memory_form) == 4) {
        return NOT_SUPPORTED;
    }
    struct memory memory = memory_of(card);
    uint64_t reserved = KNOB(memory_form) == 1 || KNOB(blank) != 0 ? 0 : memory.reserved;
    *out = (struct memory_v1){memory.total, memory.free, memory.used + reserved};
    return OK;
}

#if FAKE_ABI >= 2
struct memory_v2 {
    uint32_t version;
    uint64_t total, reserved, free, used;
};
static_assert(sizeof(struct memory_v2) == 40, "nvmlMemory_v2_t");

FN(nvmlDeviceGetMemoryInfo_v2, const struct card *card, struct memory_v2 *out)
{
    hang_while(K_hang_memory);
    ENTER(KNOB(memory_us));
    if (KNOB(memory_form) == 4) {
        return NOT_SUPPORTED;
    }
    if (out->version != 0x02000028 || KNOB(memory_form) == 2) {
        return WRONG_VERSION;
    }
    struct memory memory = memory_of(card);
    *out = (struct memory_v2){0x02000028, memory.total, memory.reserved, memory.free, memory.used};
    return OK;
}
#endif

/* --- state ------------------------------------------------------------------------------------ */

struct utilization {
    uint32_t gpu, memory;
};

FN(nvmlDeviceGetUtilizationRates, const struct card *card, struct utilization *out)
{
    ENTER(KNOB(other_us));
    if (card->instance >= 0 || (card->index == 0 && KNOB(mig) > 0)) {
        return NOT_SUPPORTED;
    }
    (void)give((uint32_t)KNOB(busy), &out->gpu);
    return give((uint32_t)KNOB(busy) / 2, &out->memory);
}

FN(nvmlDeviceGetTemperature, const struct card *card, uint32_t sensor, uint32_t *out)
{
    ENTER(KNOB(other_us));
    return sensor == 0 ? give(61, out) : INVALID;
}

FN(nvmlDeviceGetPowerUsage, const struct card *card, uint32_t *out)
{
    ENTER(KNOB(other_us));
    return give(215500, out);
}

FN(nvmlDeviceGetClockInfo, const struct card *card, uint32_t which, uint32_t *out)
{
    ENTER(KNOB(other_us));
    return which == 1 ? give(1410, out) : which == 2 ? give(1215, out) : INVALID;
}

FN(nvmlDeviceGetTotalEccErrors, const struct card *card, uint32_t kind, uint32_t counter,
   uint64_t *out)
{
    ENTER(KNOB(other_us));
    *out = KNOB(blank) != 0 ? BLANK : (uint64_t)KNOB(ecc) + kind + counter;
    return OK;
}

/* --- processes -------------------------------------------------------------------------------- */

#if FAKE_ABI == 1
#define PROCESS_BYTES 16
#define LISTS(name)   name
#elif defined FAKE_LISTS_V2
#define PROCESS_BYTES 24
#define LISTS(name)   name##_v2
#elif FAKE_ABI == 2
#define PROCESS_BYTES 32
#define LISTS(name)   name##_v3
#else
#define PROCESS_BYTES 24
#define LISTS(name)   name##_v3
#endif

/* Writes one entry byte by byte, so that the layout is what it says. */
static void put_process(char *at, uint32_t pid, uint64_t bytes, const struct card *card)
{
    uint32_t instance[2] = {card->instance < 0 ? UINT32_MAX : (uint32_t)card->instance, UINT32_MAX};
    memset(at, 0xee, PROCESS_BYTES);
    memcpy(at, &pid, sizeof pid);
    memcpy(at + 8, &bytes, sizeof bytes);
    if (PROCESS_BYTES > 16) {
        memcpy(at + 16, instance, sizeof instance);
    }
}

/* Those that were named, as far as there is room; returns how many. */
static uint32_t list_own(const struct card *card, long many, uint32_t room, char *out)
{
    uint32_t count = 0;
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < own_count && count < room && count < many; i++) {
        if (owns[i].card == card->index) {
            put_process(out + count++ * PROCESS_BYTES, (uint32_t)owns[i].pid,
                        owns[i].mib < 0 ? BLANK : (uint64_t)owns[i].mib * MIB, card);
        }
    }
    pthread_mutex_unlock(&mutex);
    return count;
}

static int list(const struct card *card, long many, uint32_t *room, char *out)
{
    hang_while(K_hang_processes);
    ENTER(KNOB(processes_us));
    if (KNOB(denied) != 0) {
        return NO_PERMISSION;
    }
    if (own_count > 0) {
        *room = list_own(card, many, *room, out);
        return OK;
    }
    if (*room < (uint32_t)many) {
        *room = (uint32_t)many;
        atomic_fetch_add(&knobs[K_processes], KNOB(growing));
        return TOO_SMALL;
    }
    for (long i = 0; i < many; i++) {
        uint32_t pid = (uint32_t)(KNOB(pid) + 100L * card->index + i);
        uint64_t bytes = KNOB(blank) != 0 ? BLANK : (uint64_t)KNOB(process_mib) * MIB;
        put_process(out + i * PROCESS_BYTES, pid, bytes, card);
    }
    *room = (uint32_t)many;
    return OK;
}

/* All compute; the first of them draws, too. */
FN(LISTS(nvmlDeviceGetComputeRunningProcesses), const struct card *card, uint32_t *room, void *out)
{
    return list(card, own_count > 0 ? OWNS : KNOB(processes), room, out);
}

FN(LISTS(nvmlDeviceGetGraphicsRunningProcesses), const struct card *card, uint32_t *room, void *out)
{
    return list(card, own_count > 0 ? 0 : KNOB(processes) > 0 ? 1 : 0, room, out);
}

#endif /* FAKE_ABI >= 1 */

#if FAKE_ABI >= 2

#ifndef FAKE_LISTS_V2
FN(nvmlDeviceGetConfComputeMemSizeInfo, const struct card *card, void *out)
{
    (void)card;
    (void)out;
    return NOT_SUPPORTED;
}
#endif

FN(nvmlDeviceGetCurrentClocksThrottleReasons, const struct card *card, uint64_t *out)
{
    ENTER(KNOB(other_us));
    *out = KNOB(blank) != 0 ? BLANK : 4;
    return OK;
}

FN(nvmlDeviceGetPowerManagementLimit, const struct card *card, uint32_t *out)
{
    ENTER(KNOB(other_us));
    return give(400000, out);
}

FN(nvmlDeviceGetFanSpeed, const struct card *card, uint32_t *out)
{
    ENTER(KNOB(other_us));
    return give(35, out);
}

FN(nvmlDeviceGetTotalEnergyConsumption, const struct card *card, uint64_t *out)
{
    ENTER(KNOB(other_us));
    *out = KNOB(blank) != 0 ? BLANK : (uint64_t)KNOB(millijoules);
    return OK;
}

FN(nvmlDeviceGetPcieThroughput, const struct card *card, uint32_t which, uint32_t *out)
{
    ENTER(KNOB(pcie_us));
    return give(which == 0 ? 2048 : 4096, out);
}

/* --- fields ----------------------------------------------------------------------------------- */

struct field {
    uint32_t id, scope;
    int64_t timestamp, latency;
    int32_t type, code;
    union {
        double real;
        uint32_t uint;
        uint64_t ulong;
    } value;
};
static_assert(sizeof(struct field) == 40, "nvmlFieldValue_t");

static int64_t clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return KNOB(clock_us) != 0 ? KNOB(clock_us)
                               : now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static void put_long(struct field *field, uint64_t value)
{
    field->type = 3;
    field->value.ulong = KNOB(blank) != 0 ? UINT64_C(0x7ffffffffffffff2) : value;
}

static void put_uint(struct field *field, uint32_t value)
{
    field->type = 1;
    (void)give(value, &field->value.uint);
}

static void put_field(const struct card *card, struct field *field)
{
    field->timestamp = clock_us();
    field->latency = 3;
    field->code = OK;
    switch (field->id) {
    case 3:
    case 4:
        put_long(field, (uint64_t)KNOB(ecc) + field->id - 3);
        break;
    case 82:
        put_uint(field, 74);
        break;
    case 83:
        put_long(field, (uint64_t)KNOB(millijoules));
        break;
    case 94:
        put_uint(field, 2);
        break;
    case 142:
    case 143:
    case 144:
    case 145:
        put_uint(field, field->id == 142 ? 1 : 0);
        break;
    case 197:
    case 198:
        if (KNOB(narrow) != 0) {
            put_uint(field, (uint32_t)KNOB(pcie_bytes));
        } else {
            put_long(field, (uint64_t)KNOB(pcie_bytes) * (field->id - 196));
        }
        break;
    case 230:
        field->code = FAKE_ABI >= 3 ? OK : INVALID;
        put_uint(field, 0);
        break;
    default:
        field->code = NOT_SUPPORTED; /* 138 and 139: it has no NVLink */
    }
    field->code = card->instance >= 0 ? NOT_SUPPORTED : field->code;
}

FN(nvmlDeviceGetFieldValues, const struct card *card, int many, struct field *fields)
{
    ENTER(KNOB(other_us));
    if (KNOB(fields) == 0) {
        return NOT_SUPPORTED;
    }
    for (int i = 0; i < many; i++) {
        put_field(card, &fields[i]);
    }
    return OK;
}

/* --- MIG -------------------------------------------------------------------------------------- */

FN(nvmlDeviceGetMigMode, const struct card *card, uint32_t *mode, uint32_t *pending)
{
    ENTER(KNOB(other_us));
    *mode = card->index == 0 && KNOB(mig) > 0 ? 1 : 0;
    *pending = *mode;
    return OK;
}

FN(nvmlDeviceGetMaxMigDeviceCount, const struct card *card, uint32_t *out)
{
    ENTER(KNOB(other_us));
    *out = INSTANCES - 1;
    return OK;
}

/* The first place is empty. */
FN(nvmlDeviceGetMigDeviceHandleByIndex, const struct card *card, uint32_t i, struct card **out)
{
    ENTER(KNOB(other_us));
    if (i == 0 || (long)i > KNOB(mig) || i >= INSTANCES) {
        return NOT_FOUND;
    }
    *out = &instances[card->index][i];
    return OK;
}

FN(nvmlDeviceGetGpuInstanceId, const struct card *card, uint32_t *out)
{
    ENTER(KNOB(other_us));
    *out = (uint32_t)card->instance;
    return card->instance < 0 ? NOT_SUPPORTED : OK;
}

/* --- events ----------------------------------------------------------------------------------- */

FN(nvmlEventSetCreate, void **out)
{
    *out = malloc(1);
    return OK;
}

FN(nvmlEventSetFree, void *set)
{
    free(set);
    return OK;
}

FN(nvmlDeviceGetSupportedEventTypes, const struct card *card, uint64_t *out)
{
    ENTER(KNOB(other_us));
    *out = KNOB(no_events) != 0 ? 0 : 0x1f;
    return OK;
}

FN(nvmlDeviceRegisterEvents, const struct card *card, uint64_t types, void *set)
{
    ENTER(KNOB(other_us));
    return set != NULL && types == 8 ? OK : INVALID;
}

/* Waits until there is one, at most for so long; the mutex is held. */
static bool await_event(uint32_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += ms % 1000 * 1000000L;
    until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    int error = 0;
    while (events_taken == events_put && error == 0) {
        error = pthread_cond_timedwait(&event_put, &mutex, &until);
    }
    return events_taken != events_put;
}

FN(nvmlEventSetWait_v2, void *set, struct event *out, uint32_t ms)
{
    (void)set;
    hang_while(K_hang_events);
    read_file();
    pthread_mutex_lock(&mutex);
    bool any = await_event(ms);
    if (any) {
        *out = events[events_taken++ % EVENTS];
    }
    pthread_mutex_unlock(&mutex);
    return any ? OK : TIMEOUT;
}

#endif /* FAKE_ABI >= 2 */

#if FAKE_ABI >= 3

FN(nvmlDeviceGetMPSComputeRunningProcesses_v3, const struct card *card, uint32_t *room, void *out)
{
    return list(card, KNOB(mps), room, out);
}

FN(nvmlDeviceGetRunningProcessDetailList, const struct card *card, void *out)
{
    (void)card;
    (void)out;
    return NOT_SUPPORTED;
}

struct temperature {
    uint32_t version, sensor;
    int32_t celsius;
};
static_assert(sizeof(struct temperature) == 12, "nvmlTemperature_v1_t");

FN(nvmlDeviceGetTemperatureV, const struct card *card, struct temperature *out)
{
    ENTER(KNOB(other_us));
    if (out->version != 0x0100000c) {
        return WRONG_VERSION;
    }
    out->celsius = KNOB(blank) != 0 ? -1 : 62;
    return OK;
}

/* --- GPM -------------------------------------------------------------------------------------- */

struct support {
    uint32_t version, supported;
};

FN(nvmlGpmQueryDeviceSupport, const struct card *card, struct support *out)
{
    ENTER(KNOB(other_us));
    if (out->version != 1) {
        return WRONG_VERSION;
    }
    out->supported = KNOB(gpm) != 0;
    return OK;
}

FN(nvmlGpmSampleAlloc, int **out)
{
    *out = calloc(1, sizeof **out);
    return OK;
}

FN(nvmlGpmSampleFree, int *sample)
{
    free(sample);
    return OK;
}

FN(nvmlGpmSampleGet, const struct card *card, int *sample)
{
    ENTER(KNOB(other_us));
    *sample = 1;
    return OK;
}

FN(nvmlGpmMigSampleGet, const struct card *card, uint32_t instance, int *sample)
{
    ENTER(KNOB(other_us));
    *sample = 1;
    return card->instance < 0 && instance < INSTANCES ? OK : INVALID;
}

struct gpm {
    uint32_t version, count;
    int *older, *newer;
    struct {
        uint32_t id;
        int32_t code;
        double value;
        const char *names[3];
    } metrics[333];
};
static_assert(sizeof(struct gpm) == 13344, "nvmlGpmMetricsGet_t");

FN(nvmlGpmMetricsGet, struct gpm *query)
{
    if (query->version != 1 || query->older == NULL || query->newer == NULL || *query->older == 0 ||
        *query->newer == 0 || query->older == query->newer) {
        return INVALID;
    }
    for (uint32_t i = 0; i < query->count; i++) {
        query->metrics[i].code = query->metrics[i].id == 3 ? NOT_SUPPORTED : OK;
        query->metrics[i].value =
            query->metrics[i].id == 5 ? (double)KNOB(tensor) : query->metrics[i].id;
    }
    return OK;
}

#endif /* FAKE_ABI >= 3 */
