/* test_nvml - drivers of all ages, awkward cards and cards in trouble, read on a clock that we
 * move.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../helpers/nvml_fake.h"
#include "../helpers/tree.h"
#include "gpu/nvml.h"

#define MIB        1048576.0
#define STEPS_MOST 10000

static struct nvml_fake fake;
static struct ps_clock the_clock;
static struct ps_nvml *nvml;
static struct ps_device_snapshot *now; /* the latest */
static struct tree tree;

/* --- scaffolding ------------------------------------------------------------------------------ */

static int make_root(void **state)
{
    (void)state;
    tree_open(&tree);
    tree_put(&tree, "proc/meminfo",
             "MemTotal:       16777216 kB\nMemFree:         1048576 kB\n"
             "MemAvailable:    4194304 kB\n");
    tree_put(&tree, "proc/1000/stat",
             "1000 (VLLM::Engine (0)) S 1 1 1 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 9 0 "
             "4711 1000 200 18446744073709551615 1 1 0\n");
    tree_put(&tree, "proc/1000/cgroup",
             "0::/system.slice/docker-0123456789abcdef0123456789abcdef"
             "0123456789abcdef0123456789abcdef.scope\n");
    return 0;
}

static int drop_root(void **state)
{
    (void)state;
    tree_close(&tree);
    return 0;
}

static void open_driver(const char *name)
{
    nvml_fake_open(&fake, name);
    ps_clock_init_manual(&the_clock, PS_SECOND, PS_SECOND);
}

/* Opens our side; what it says when it can't start is in `why`. */
static int begin(char why[PS_SAMPLER_WHY])
{
    struct ps_nvml_opts opts;
    ps_nvml_opts_init(&opts);
    opts.library = fake.path;
    opts.root = tree.root;
    opts.clock = &the_clock;
    assert_int_equal(ps_nvml_open(&nvml, &opts, why), PS_OK);
    return ps_nvml_source.start(nvml, ps_clock_now(&the_clock), why);
}

/* Reads all that is due now; returns when more is. */
static ps_time step(void)
{
    struct ps_device_snapshot *next = NULL;
    ps_time due = ps_nvml_source.step(nvml, &next);
    assert_non_null(next);
    ps_device_snapshot_unref(now);
    now = next;
    return due;
}

static void start(void)
{
    char why[PS_SAMPLER_WHY] = "";
    assert_int_equal(begin(why), PS_OK);
    (void)step();
}

static void pass(ps_span span)
{
    ps_clock_advance(&the_clock, span);
    (void)step();
}

static int finish(void **state)
{
    (void)state;
    if (nvml != NULL) {
        ps_nvml_source.close(nvml);
    }
    ps_device_snapshot_unref(now);
    nvml = NULL;
    now = NULL;
    nvml_fake_close(&fake);
    return 0;
}

static void assert_reading(const struct ps_device *device, enum ps_device_field field, double value)
{
    if (!device->readings[field].known) {
        fail_msg("%s is unknown", ps_device_rows[field].name);
    }
    assert_float_equal(device->readings[field].value, value, 1e-9 * value);
}

static void assert_unknown(const struct ps_device *device, enum ps_device_field field)
{
    if (device->readings[field].known) {
        fail_msg("%s is known", ps_device_rows[field].name);
    }
}

static void assert_nothing_known(const struct ps_device *device)
{
    for (size_t field = 0; field < PS_DEVICE_FIELDS; field++) {
        if (field != PS_DEVICE_XIDS_TOTAL) {
            assert_unknown(device, (enum ps_device_field)field);
        }
    }
}

static uint64_t calls_of(const char *name)
{
    const struct ps_toll_book *book = ps_nvml_source.book(nvml);
    for (size_t i = 0; i < book->count; i++) {
        struct ps_toll toll;
        ps_toll_read(book, i, &toll);
        if (strcmp(toll.name, name) == 0) {
            return toll.calls;
        }
    }
    fail_msg("no call %s", name);
    return 0;
}

/* The thread that listens has a time of its own: look until it has all, at most for ten seconds. */
static void wait_for_xids(size_t device, uint64_t total)
{
    for (int i = 0; i < STEPS_MOST && now->devices[device].xids.total < total; i++) {
        (void)usleep(1000);
        (void)step();
    }
    assert_int_equal(now->devices[device].xids.total, total);
}

static void read_memory_as(double used_mib, double reserved_mib)
{
    assert_reading(&now->devices[0], PS_DEVICE_MEMORY_TOTAL, 24576 * MIB);
    assert_reading(&now->devices[0], PS_DEVICE_MEMORY_USED, used_mib * MIB);
    if (reserved_mib > 0) {
        assert_reading(&now->devices[0], PS_DEVICE_MEMORY_RESERVED, reserved_mib * MIB);
    } else {
        assert_unknown(&now->devices[0], PS_DEVICE_MEMORY_RESERVED);
    }
}

/* --- ages ------------------------------------------------------------------------------------- */

static void reads_everything_from_a_new_driver(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "gpus", 3);
    start();
    assert_string_equal(now->source, "nvml");
    assert_true(now->simulated);
    assert_true(now->complete);
    assert_string_equal(now->driver, "580.65.06");
    assert_int_equal(now->device_count, 3);
    const struct ps_device *device = &now->devices[2];
    assert_int_equal(device->index, 2);
    assert_string_equal(device->uuid, "GPU-00000000-0000-0000-0000-000000000002");
    assert_string_equal(device->name, "Simulated GPU");
    assert_string_equal(device->bus, "00000000:03:00.0");
    assert_int_equal(device->parent, PS_DEVICE_NONE);
    assert_reading(device, PS_DEVICE_MEMORY_FREE, 15872 * MIB);
    assert_reading(device, PS_DEVICE_BUSY, 40);
    assert_reading(device, PS_DEVICE_MEMORY_BUSY, 20);
    assert_reading(device, PS_DEVICE_POWER, 215.5);
    assert_reading(device, PS_DEVICE_POWER_LIMIT, 400);
    assert_reading(device, PS_DEVICE_ENERGY, 5000);
    assert_reading(device, PS_DEVICE_TEMPERATURE, 62);
    assert_reading(device, PS_DEVICE_MEMORY_TEMPERATURE, 74);
    assert_reading(device, PS_DEVICE_FAN, 35);
    assert_reading(device, PS_DEVICE_CLOCK, 1410);
    assert_reading(device, PS_DEVICE_MEMORY_CLOCK, 1215);
    assert_reading(device, PS_DEVICE_SLOWDOWN, 4);
    assert_reading(device, PS_DEVICE_ECC_UNCORRECTED, 1);
    assert_reading(device, PS_DEVICE_ROWS_CORRECTED, 1);
    assert_reading(device, PS_DEVICE_RECOVERY, 0);
    assert_unknown(device, PS_DEVICE_FRAGMENTATION); /* no driver knows it */
    assert_unknown(device, PS_DEVICE_NVLINK_TX);     /* this card has none */
    read_memory_as(8192, 512);
}

static void names_processes_and_their_containers(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    start();
    assert_true(now->devices[0].processes_known);
    assert_int_equal(now->process_count, 2);
    const struct ps_device_process *process = &now->processes[0];
    assert_int_equal(process->pid, 1000);
    assert_int_equal(process->use, PS_DEVICE_COMPUTE | PS_DEVICE_GRAPHICS);
    assert_string_equal(process->name, "VLLM::Engine (0)");
    assert_int_equal(process->started, 4711);
    assert_string_equal(process->container,
                        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    assert_string_equal(now->processes[1].name, ""); /* gone before we looked */
    assert_int_equal(now->processes[1].use, PS_DEVICE_COMPUTE);
    assert_float_equal(now->processes[1].memory.value, 3072 * MIB, 1);
    struct ps_device_reading rest = ps_device_unexplained(now, 0);
    assert_true(rest.known);
    assert_float_equal(rest.value, (8192 - 2 * 3072) * MIB, 1);
}

static void understands_the_long_processes_of_r530(void **state)
{
    (void)state;
    open_driver("nvidia-ml-r530");
    nvml_fake_set(&fake, "processes", 5);
    start();
    assert_string_equal(now->driver, "530.41.03");
    assert_int_equal(now->process_count, 5);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(now->processes[i].pid, 1000 + i);
        assert_float_equal(now->processes[i].memory.value, 3072 * MIB, 1);
    }
    read_memory_as(8192, 512);
    assert_unknown(&now->devices[0], PS_DEVICE_RECOVERY); /* a field it does not know */
    assert_reading(&now->devices[0], PS_DEVICE_TEMPERATURE, 61);
}

static void understands_the_second_lists_of_r470(void **state)
{
    (void)state;
    open_driver("nvidia-ml-r470");
    nvml_fake_set(&fake, "processes", 5);
    start();
    assert_string_equal(now->driver, "470.57.02");
    assert_int_equal(now->process_count, 5);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(now->processes[i].pid, 1000 + i);
        assert_float_equal(now->processes[i].memory.value, 3072 * MIB, 1);
    }
    assert_int_equal(calls_of("nvmlDeviceGetComputeRunningProcesses_v2"), 1);
}

static void understands_functions_without_versions(void **state)
{
    (void)state;
    open_driver("nvidia-ml-old");
    nvml_fake_set(&fake, "processes", 5);
    start();
    assert_string_equal(now->driver, "304.137");
    assert_string_equal(now->devices[0].bus, "0000:01:00.0");
    assert_int_equal(now->process_count, 5);
    assert_int_equal(now->processes[4].pid, 1004);
    assert_float_equal(now->processes[4].memory.value, 3072 * MIB, 1);
    read_memory_as(8192 + 512, 0); /* what is reserved can't be told from the rest */
    assert_reading(&now->devices[0], PS_DEVICE_ECC_UNCORRECTED, 1);
    assert_unknown(&now->devices[0], PS_DEVICE_ENERGY);
    assert_unknown(&now->devices[0], PS_DEVICE_TENSOR);
    assert_unknown(&now->devices[0], PS_DEVICE_XIDS_TOTAL);
    assert_false(now->devices[0].partitioned);
}

static void lives_with_a_library_that_has_nothing_more_than_it_needs(void **state)
{
    (void)state;
    open_driver("nvidia-ml-bare");
    nvml_fake_set(&fake, "gpus", 2);
    start();
    assert_int_equal(now->device_count, 2);
    assert_string_equal(now->devices[0].uuid, "");
    assert_nothing_known(&now->devices[1]);
    assert_false(now->devices[1].unified); /* no answer is no evidence */
    assert_false(now->devices[1].processes_known);
    assert_int_equal(now->process_count, 0);
    assert_false(ps_device_utilization(&now->devices[0]).known);
}

static void says_why_a_driver_does_not_start(void **state)
{
    (void)state;
    char why[PS_SAMPLER_WHY] = "";
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "init_code", 18);
    assert_int_equal(begin(why), PS_ENOTFOUND);
    assert_non_null(strstr(why, "differ in version"));
    nvml_fake_set(&fake, "init_code", 0);
    nvml_fake_set(&fake, "gpus", 0);
    assert_int_equal(ps_nvml_source.start(nvml, 0, why), PS_ENOTFOUND);
    assert_non_null(strstr(why, "no GPU"));
    nvml_fake_set(&fake, "gpus", 1);
    assert_int_equal(ps_nvml_source.start(nvml, ps_clock_now(&the_clock), why), PS_OK);
}

static void says_that_there_is_no_library(void **state)
{
    (void)state;
    struct ps_nvml_opts opts;
    char why[PS_SAMPLER_WHY] = "";
    open_driver("nvidia-ml");
    ps_nvml_opts_init(&opts);
    opts.library = "/nowhere/libnvidia-ml.so.1";
    assert_int_equal(ps_nvml_open(&nvml, &opts, why), PS_ENOTFOUND);
    assert_non_null(strstr(why, "/nowhere/libnvidia-ml.so.1"));
    opts.library = "libm.so.6";
    assert_int_equal(ps_nvml_open(&nvml, &opts, why), PS_EINVAL);
    assert_non_null(strstr(why, "nvmlInit"));
}

/* --- memory ----------------------------------------------------------------------------------- */

static void takes_reserved_memory_out_of_used_whoever_put_it_there(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "memory_form", 1);
    start();
    read_memory_as(8192, 512);
    nvml_fake_set(&fake, "memory_form", 0);
    pass(PS_SECOND);
    read_memory_as(8192, 512);
    assert_float_equal(ps_device_utilization(&now->devices[0]).value, 100.0 / 3, 1e-9);
}

static void falls_back_when_the_version_of_memory_is_refused(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "memory_form", 2);
    start();
    read_memory_as(8192 + 512, 0);
    pass(PS_SECOND);
    assert_int_equal(calls_of("nvmlDeviceGetMemoryInfo_v2"), 1); /* not asked again */
    assert_int_equal(calls_of("nvmlDeviceGetMemoryInfo"), 2);
}

static void reads_unified_memory_from_the_host(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    for (long form = 3; form <= 4; form++) {
        nvml_fake_set(&fake, "memory_form", form);
        if (nvml == NULL) {
            start();
        }
        pass(PS_SECOND);
        assert_true(now->devices[0].unified);
        assert_reading(&now->devices[0], PS_DEVICE_MEMORY_TOTAL, 16384 * MIB);
        assert_reading(&now->devices[0], PS_DEVICE_MEMORY_USED, 12288 * MIB);
        assert_reading(&now->devices[0], PS_DEVICE_MEMORY_FREE, 4096 * MIB);
        assert_unknown(&now->devices[0], PS_DEVICE_MEMORY_RESERVED);
        assert_int_equal(now->process_count, 2); /* these have sizes all the same */
    }
}

static void believes_no_impossible_memory(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "memory_form", 5);
    start();
    assert_unknown(&now->devices[0], PS_DEVICE_MEMORY_USED);
    assert_unknown(&now->devices[0], PS_DEVICE_MEMORY_TOTAL);
    assert_false(now->devices[0].unified);
}

static void knows_nothing_from_blanks(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    start();
    nvml_fake_set(&fake, "blank", 1);
    for (int i = 0; i < 120; i++) {
        pass(PS_SECOND);
    }
    struct ps_device device = now->devices[0];
    device.readings[PS_DEVICE_TENSOR].known = false; /* GPM has no blanks, but codes */
    device.readings[PS_DEVICE_DRAM].known = false;
    device.readings[PS_DEVICE_SM].known = false;
    assert_nothing_known(&device);
    assert_int_equal(now->process_count, 2);
    assert_false(now->processes[0].memory.known);
    assert_false(ps_device_unexplained(now, 0).known);
}

static void knows_nothing_when_calls_fail(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    start();
    nvml_fake_set(&fake, "failing", 1);
    for (int i = 0; i < 120; i++) {
        pass(PS_SECOND);
    }
    assert_nothing_known(&now->devices[0]);
    assert_false(now->devices[0].lost);
    assert_false(now->devices[0].processes_known);
    nvml_fake_set(&fake, "failing", 0);
    pass(PS_SECOND);
    read_memory_as(8192, 512);
}

/* --- processes -------------------------------------------------------------------------------- */

static void asks_again_with_more_room_for_processes(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "processes", 300);
    nvml_fake_set(&fake, "growing", 3);
    start();
    assert_int_equal(now->process_count, 303);
    assert_int_equal(now->processes[302].pid, 1302);
}

static void gives_up_on_a_list_that_always_grows(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "processes", 300);
    nvml_fake_set(&fake, "growing", 1000);
    start();
    assert_int_equal(calls_of("nvmlDeviceGetComputeRunningProcesses_v3"), 4);
    assert_true(now->devices[0].processes_known); /* the other list was told */
    assert_int_equal(now->process_count, 1);
}

static void tells_no_processes_from_none_that_may_be_seen(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "processes", 0);
    start();
    assert_true(now->devices[0].processes_known);
    assert_int_equal(now->process_count, 0);
    nvml_fake_set(&fake, "denied", 1);
    pass(5 * PS_SECOND);
    assert_false(now->devices[0].processes_known);
    assert_false(ps_device_unexplained(now, 0).known);
}

/* A client of MPS stands in two lists; the server of MPS in one. */
static void knows_clients_of_mps_and_counts_them_once(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "mps", 1);
    start();
    assert_int_equal(now->process_count, 2);
    assert_int_equal(now->processes[0].use, PS_DEVICE_COMPUTE | PS_DEVICE_GRAPHICS | PS_DEVICE_MPS);
    assert_int_equal(now->processes[1].use, PS_DEVICE_COMPUTE);
    assert_float_equal(ps_device_unexplained(now, 0).value, (8192 - 2 * 3072) * MIB, 1);
}

/* In containers, under WSL and with MIG a driver may list a process and not say what it has. */
static void takes_a_size_that_is_not_told_for_unknown(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "rest_mib", 1000);
    nvml_fake_set(&fake, "own_pid", 1000);
    nvml_fake_set(&fake, "own_mib", 2000);
    nvml_fake_set(&fake, "own_pid", 1001);
    nvml_fake_set(&fake, "own_mib", -1);
    start();
    assert_int_equal(now->process_count, 2);
    assert_true(now->processes[0].memory.known);
    assert_false(now->processes[1].memory.known);
    struct ps_device_account account = ps_device_account(now, 0);
    assert_true(account.known);
    assert_int_equal(account.without_size, 1);
    assert_float_equal(account.held, 2000 * MIB, 1);
    assert_float_equal(account.unexplained, 1000 * MIB, 1); /* at most */
    assert_false(ps_device_unexplained(now, 0).known);
}

static void says_that_processes_of_another_pid_namespace_are_unseen(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    tree_link(&tree, "proc/self/ns/pid", "pid:[4026532836]");
    start();
    assert_int_equal(now->process_count, 2);
    assert_int_equal(now->processes[0].sight, PS_DEVICE_FOREIGN);
    assert_string_equal(now->processes[0].name, ""); /* 1000 is somebody else here */
    assert_null(now->attribution);
    tree_drop(&tree, "proc/self");
    pass(5 * PS_SECOND);
    assert_int_equal(now->processes[0].sight, PS_DEVICE_SEEN);
    assert_int_equal(now->processes[1].sight, PS_DEVICE_GONE);
    assert_non_null(now->attribution);
}

static void lists_processes_early_when_memory_moves(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    start();
    uint64_t before = calls_of("nvmlDeviceGetComputeRunningProcesses_v3");
    pass(PS_SECOND);
    assert_int_equal(calls_of("nvmlDeviceGetComputeRunningProcesses_v3"), before);
    nvml_fake_set(&fake, "used_mib", 12000);
    nvml_fake_set(&fake, "processes", 3);
    pass(100 * PS_MILLISECOND);
    assert_int_equal(now->process_count, 3);
    nvml_fake_set(&fake, "used_mib", 16000);
    pass(100 * PS_MILLISECOND); /* but not twice within a second */
    assert_int_equal(calls_of("nvmlDeviceGetComputeRunningProcesses_v3"), before + 1);
    pass(900 * PS_MILLISECOND);
    assert_int_equal(calls_of("nvmlDeviceGetComputeRunningProcesses_v3"), before + 2);
}

/* --- tiers ------------------------------------------------------------------------------------ */

static void asks_no_more_often_than_the_tiers_say(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    start();
    for (int i = 0; i < 600; i++) {
        pass(100 * PS_MILLISECOND);
    }
    assert_int_equal(calls_of("nvmlDeviceGetMemoryInfo_v2"), 601);
    assert_int_equal(calls_of("nvmlDeviceGetFieldValues"), 61);
    assert_int_equal(calls_of("nvmlGpmMetricsGet"), 60);
    assert_int_equal(calls_of("nvmlDeviceGetComputeRunningProcesses_v3"), 13);
    assert_int_equal(calls_of("nvmlDeviceGetPcieThroughput"), 0); /* there are counters */
    assert_int_equal(calls_of("nvmlDeviceGetTotalEnergyConsumption"), 0);
}

static void makes_rates_of_counters(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "clock_us", 1000000);
    nvml_fake_set(&fake, "pcie_bytes", 5000000);
    start();
    assert_unknown(&now->devices[0], PS_DEVICE_PCIE_TX);
    nvml_fake_set(&fake, "clock_us", 3000000);
    nvml_fake_set(&fake, "pcie_bytes", 9000000);
    pass(PS_SECOND);
    assert_reading(&now->devices[0], PS_DEVICE_PCIE_TX, 2e6);
    assert_reading(&now->devices[0], PS_DEVICE_PCIE_RX, 4e6);
    nvml_fake_set(&fake, "pcie_bytes", 1000); /* it began anew */
    nvml_fake_set(&fake, "clock_us", 4000000);
    pass(PS_SECOND);
    assert_unknown(&now->devices[0], PS_DEVICE_PCIE_TX);
}

static void measures_pcie_where_counters_are_too_narrow(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "narrow", 1);
    start();
    assert_reading(&now->devices[0], PS_DEVICE_PCIE_TX, 2048 * 1024);
    assert_reading(&now->devices[0], PS_DEVICE_PCIE_RX, 4096 * 1024);
    pass(PS_SECOND);
    assert_reading(&now->devices[0], PS_DEVICE_PCIE_TX, 2048 * 1024);
    assert_int_equal(calls_of("nvmlDeviceGetPcieThroughput"), 2);
}

static void falls_back_where_there_are_no_fields(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "fields", 0);
    start();
    assert_reading(&now->devices[0], PS_DEVICE_ENERGY, 5000);
    assert_reading(&now->devices[0], PS_DEVICE_ECC_UNCORRECTED, 1);
    assert_reading(&now->devices[0], PS_DEVICE_PCIE_TX, 2048 * 1024);
    pass(PS_SECOND);
    assert_int_equal(calls_of("nvmlDeviceGetFieldValues"), 1);
    assert_reading(&now->devices[0], PS_DEVICE_ENERGY, 5000);
}

static void reads_gpm_from_the_second_sample_on(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    start();
    assert_unknown(&now->devices[0], PS_DEVICE_TENSOR);
    pass(PS_SECOND);
    assert_reading(&now->devices[0], PS_DEVICE_TENSOR, 25);
    assert_reading(&now->devices[0], PS_DEVICE_DRAM, 10);
    assert_unknown(&now->devices[0], PS_DEVICE_SM_OCCUPANCY); /* its own code said so */
    nvml_fake_set(&fake, "tensor", 101);
    pass(PS_SECOND);
    assert_unknown(&now->devices[0], PS_DEVICE_TENSOR);
}

static void asks_for_no_gpm_where_there_is_none(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "gpm", 0);
    start();
    pass(PS_SECOND);
    assert_unknown(&now->devices[0], PS_DEVICE_TENSOR);
    assert_int_equal(calls_of("nvmlGpmSampleGet"), 0);
}

/* --- trouble ---------------------------------------------------------------------------------- */

static void goes_on_without_a_card_that_is_lost_and_takes_it_back(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "gpus", 2);
    start();
    nvml_fake_set(&fake, "lost", 1);
    pass(100 * PS_MILLISECOND);
    assert_int_equal(now->device_count, 2);
    assert_true(now->devices[1].lost);
    assert_nothing_known(&now->devices[1]);
    assert_string_equal(now->devices[1].uuid, "GPU-00000000-0000-0000-0000-000000000001");
    assert_false(now->devices[0].lost);
    assert_reading(&now->devices[0], PS_DEVICE_POWER, 215.5);
    assert_int_equal(now->process_count, 2);
    nvml_fake_set(&fake, "lost", -1);
    pass(PS_SECOND);
    assert_true(now->devices[1].lost); /* it is asked every 30 seconds */
    pass(30 * PS_SECOND);
    assert_false(now->devices[1].lost);
    assert_reading(&now->devices[1], PS_DEVICE_POWER, 215.5);
    assert_int_equal(now->process_count, 4);
}

/* --- cards that come ----------------------------------------------------------------------------
 */

static void finds_cards_that_come_when_the_kernel_lists_them(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    tree_put(&tree, "proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: Simulated\n");
    start();
    nvml_fake_set(&fake, "xid", 31);
    wait_for_xids(0, 1);
    nvml_fake_set(&fake, "gpus", 2);
    pass(PS_MINUTE); /* the library knows those that were there when it began */
    assert_int_equal(now->device_count, 1);
    assert_int_equal(calls_of("nvmlInit_v2"), 1);
    tree_put(&tree, "proc/driver/nvidia/gpus/0000:02:00.0/information", "Model: Simulated\n");
    pass(PS_MINUTE);
    assert_int_equal(calls_of("nvmlInit_v2"), 2);
    assert_int_equal(calls_of("nvmlShutdown"), 1);
    assert_int_equal(now->device_count, 2);
    assert_reading(&now->devices[1], PS_DEVICE_POWER, 215.5);
    assert_int_equal(now->process_count, 4);
    assert_reading(&now->devices[0], PS_DEVICE_XIDS_TOTAL, 1); /* they stay counted */
    nvml_fake_set(&fake, "xid", 1031);
    wait_for_xids(1, 1); /* and it is listened to */
    tree_drop(&tree, "proc/driver/nvidia/gpus/0000:02:00.0");
    nvml_fake_set(&fake, "gpus", 1);
    pass(PS_MINUTE);
    assert_int_equal(now->device_count, 1); /* gone for good */
    tree_drop(&tree, "proc/driver");
}

static void keeps_the_place_of_a_card_that_is_lost_while_it_begins_anew(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "gpus", 2);
    start();
    nvml_fake_set(&fake, "lost", 0);
    for (int i = 0; i < 6 * 60; i++) {
        pass(PS_SECOND);
    }
    assert_int_equal(calls_of("nvmlInit_v2"), 2); /* it may need that to come back */
    assert_int_equal(now->device_count, 2);
    assert_true(now->devices[0].lost);
    assert_string_equal(now->devices[0].uuid, "GPU-00000000-0000-0000-0000-000000000000");
    assert_nothing_known(&now->devices[0]);
    assert_false(now->devices[1].lost);
    nvml_fake_set(&fake, "lost", -1);
    for (int i = 0; i < 31; i++) {
        pass(PS_SECOND);
    }
    assert_false(now->devices[0].lost);
    assert_reading(&now->devices[0], PS_DEVICE_POWER, 215.5);
}

static void shows_a_card_that_was_lost_before_it_began(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "gpus", 2);
    nvml_fake_set(&fake, "lost", 1);
    start();
    assert_int_equal(now->device_count, 2);
    assert_true(now->devices[1].lost);
    assert_nothing_known(&now->devices[1]);
    assert_reading(&now->devices[0], PS_DEVICE_POWER, 215.5);
}

/* The driver goes away underneath and comes back, as in an update. */
static void loses_all_cards_with_their_driver_and_takes_them_back(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    start();
    nvml_fake_set(&fake, "init_code", 9);
    nvml_fake_set(&fake, "lost", 0);
    for (int i = 0; i < 6 * 60; i++) {
        pass(PS_SECOND);
    }
    assert_int_equal(now->device_count, 1);
    assert_true(now->devices[0].lost);
    assert_int_equal(now->process_count, 0);
    nvml_fake_set(&fake, "init_code", 0);
    nvml_fake_set(&fake, "lost", -1);
    for (int i = 0; i < 61; i++) {
        pass(PS_SECOND);
    }
    assert_false(now->devices[0].lost);
    read_memory_as(8192, 512);
    assert_int_equal(now->process_count, 2);
}

static void waits_for_a_library_that_comes_later(void **state)
{
    (void)state;
    struct ps_nvml_opts opts;
    char why[PS_SAMPLER_WHY] = "";
    char path[128];
    open_driver("nvidia-ml");
    (void)snprintf(path, sizeof path, "%s/libnvidia-ml.so.1", tree.root);
    ps_nvml_opts_init(&opts);
    opts.library = path;
    opts.root = tree.root;
    opts.clock = &the_clock;
    opts.wait = true;
    assert_int_equal(ps_nvml_open(&nvml, &opts, why), PS_OK);
    assert_int_equal(ps_nvml_source.book(nvml)->count, 0);
    assert_int_equal(ps_nvml_source.start(nvml, ps_clock_now(&the_clock), why), PS_ENOTFOUND);
    assert_non_null(strstr(why, path));
    tree_link(&tree, "libnvidia-ml.so.1", fake.path);
    assert_int_equal(ps_nvml_source.start(nvml, ps_clock_now(&the_clock), why), PS_OK);
    (void)step();
    read_memory_as(8192, 512);
    assert_int_equal(calls_of("nvmlInit_v2"), 1);
    tree_drop(&tree, "libnvidia-ml.so.1");
}

static void reads_instances_as_devices_of_their_own(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "gpus", 2);
    nvml_fake_set(&fake, "mig", 3);
    start();
    pass(PS_SECOND);
    assert_int_equal(now->device_count, 5);
    assert_true(now->devices[0].partitioned);
    assert_false(now->devices[1].partitioned);
    assert_unknown(&now->devices[0], PS_DEVICE_BUSY);
    assert_false(now->devices[0].processes_known); /* its own list needs rights */
    const struct ps_device *instance = &now->devices[4];
    assert_int_equal(instance->parent, 0);
    assert_int_equal(instance->instance, 3);
    assert_int_equal(instance->index, 0);
    assert_string_equal(instance->uuid, "MIG-00000000-0000-0000-0003-000000000000");
    assert_reading(instance, PS_DEVICE_MEMORY_TOTAL, 3072 * MIB);
    assert_reading(instance, PS_DEVICE_TENSOR, 25);
    assert_true(instance->processes_known);
    assert_int_equal(now->process_count, 8);
    assert_int_equal(now->processes[7].device, 4);
}

static void notices_instances_that_come_and_go(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    start();
    assert_int_equal(now->device_count, 1);
    assert_reading(&now->devices[0], PS_DEVICE_BUSY, 40);
    nvml_fake_set(&fake, "mig", 2);
    pass(30 * PS_SECOND);
    assert_int_equal(now->device_count, 3);
    assert_unknown(&now->devices[0], PS_DEVICE_BUSY);
    assert_false(now->devices[0].processes_known);
    assert_int_equal(now->process_count, 4);
    nvml_fake_set(&fake, "mig", 0);
    pass(30 * PS_SECOND);
    assert_int_equal(now->device_count, 1);
    assert_false(now->devices[0].partitioned);
    assert_true(now->devices[0].processes_known);
    assert_reading(&now->devices[0], PS_DEVICE_BUSY, 40); /* asked again */
}

static void keeps_instances_that_stay(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "mig", 2);
    start();
    for (int i = 0; i < 35; i++) {
        pass(PS_SECOND);
        assert_int_equal(now->device_count, 3);
        assert_true(now->complete);
        assert_reading(&now->devices[2], PS_DEVICE_TENSOR, 25); /* two samples, without a gap */
    }
}

static void counts_every_xid_of_a_burst(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "gpus", 2);
    start();
    assert_reading(&now->devices[1], PS_DEVICE_XIDS_TOTAL, 0);
    for (int i = 0; i < 500; i++) {
        nvml_fake_set(&fake, "xid", 1000 + (i % 5 == 0 ? 79 : 31));
    }
    wait_for_xids(1, 500);
    const struct ps_device_xids *xids = &now->devices[1].xids;
    assert_int_equal(xids->count, 2);
    assert_int_equal(xids->kinds[0].code, 79);
    assert_int_equal(xids->kinds[0].count, 100);
    assert_int_equal(xids->kinds[1].code, 31);
    assert_int_equal(xids->kinds[1].count, 400);
    assert_reading(&now->devices[1], PS_DEVICE_XIDS_TOTAL, 500);
    assert_reading(&now->devices[0], PS_DEVICE_XIDS_TOTAL, 0);
}

static void keeps_the_total_of_more_kinds_than_it_tells_apart(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    start();
    for (int i = 0; i < 100; i++) {
        nvml_fake_set(&fake, "xid", 1 + i);
    }
    wait_for_xids(0, 100);
    assert_int_equal(now->devices[0].xids.count, PS_DEVICE_XID_KINDS);
}

static void knows_no_xids_of_cards_that_tell_none(void **state)
{
    (void)state;
    open_driver("nvidia-ml");
    nvml_fake_set(&fake, "no_events", 1);
    start();
    assert_unknown(&now->devices[0], PS_DEVICE_XIDS_TOTAL);
}

#define CASE(name) cmocka_unit_test_teardown(name, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(reads_everything_from_a_new_driver),
        CASE(names_processes_and_their_containers),
        CASE(understands_the_long_processes_of_r530),
        CASE(understands_the_second_lists_of_r470),
        CASE(understands_functions_without_versions),
        CASE(lives_with_a_library_that_has_nothing_more_than_it_needs),
        CASE(says_why_a_driver_does_not_start),
        CASE(says_that_there_is_no_library),
        CASE(takes_reserved_memory_out_of_used_whoever_put_it_there),
        CASE(falls_back_when_the_version_of_memory_is_refused),
        CASE(reads_unified_memory_from_the_host),
        CASE(believes_no_impossible_memory),
        CASE(knows_nothing_from_blanks),
        CASE(knows_nothing_when_calls_fail),
        CASE(asks_again_with_more_room_for_processes),
        CASE(gives_up_on_a_list_that_always_grows),
        CASE(tells_no_processes_from_none_that_may_be_seen),
        CASE(knows_clients_of_mps_and_counts_them_once),
        CASE(takes_a_size_that_is_not_told_for_unknown),
        CASE(says_that_processes_of_another_pid_namespace_are_unseen),
        CASE(lists_processes_early_when_memory_moves),
        CASE(asks_no_more_often_than_the_tiers_say),
        CASE(makes_rates_of_counters),
        CASE(measures_pcie_where_counters_are_too_narrow),
        CASE(falls_back_where_there_are_no_fields),
        CASE(reads_gpm_from_the_second_sample_on),
        CASE(asks_for_no_gpm_where_there_is_none),
        CASE(goes_on_without_a_card_that_is_lost_and_takes_it_back),
        CASE(finds_cards_that_come_when_the_kernel_lists_them),
        CASE(keeps_the_place_of_a_card_that_is_lost_while_it_begins_anew),
        CASE(shows_a_card_that_was_lost_before_it_began),
        CASE(loses_all_cards_with_their_driver_and_takes_them_back),
        CASE(waits_for_a_library_that_comes_later),
        CASE(reads_instances_as_devices_of_their_own),
        CASE(notices_instances_that_come_and_go),
        CASE(keeps_instances_that_stay),
        CASE(counts_every_xid_of_a_burst),
        CASE(keeps_the_total_of_more_kinds_than_it_tells_apart),
        CASE(knows_no_xids_of_cards_that_tell_none),
    };
    return cmocka_run_group_tests_name("nvml", tests, make_root, drop_root);
}
