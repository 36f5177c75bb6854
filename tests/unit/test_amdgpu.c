/* test_amdgpu - cards made of files.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "../helpers/tree.h"
#include "gpu/amdgpu.h"

static struct tree tree;
static struct ps_clock the_clock;
static struct ps_amdgpu *amdgpu;
static struct ps_device_snapshot *now;

#define CARD "sys/class/drm/card1/device/"

static int prepare(void **state)
{
    (void)state;
    tree_open(&tree);
    ps_clock_init_manual(&the_clock, PS_SECOND, PS_SECOND);
    tree_put(&tree, CARD "vendor", "0x1002\n");
    tree_put(&tree, CARD "mem_info_vram_total", "17163091968\n");
    tree_put(&tree, CARD "mem_info_vram_used", "8589934592\n");
    tree_put(&tree, CARD "gpu_busy_percent", "37\n");
    tree_put(&tree, CARD "unique_id", "9a8b7c6d5e4f3021\n");
    tree_put(&tree, CARD "product_name", "\n");
    tree_put(&tree, CARD "uevent", "DRIVER=amdgpu\nPCI_CLASS=30000\nPCI_SLOT_NAME=0000:03:00.0\n");
    tree_put(&tree, CARD "pcie_replay_count", "4\n");
    tree_put(&tree, CARD "ras/umc_err_count", "ue: 1\nce: 12\n");
    tree_put(&tree, CARD "hwmon/hwmon5/power1_average", "120000000\n");
    tree_put(&tree, CARD "hwmon/hwmon5/power1_cap", "300000000\n");
    tree_put(&tree, CARD "hwmon/hwmon5/temp1_input", "61000\n");
    tree_put(&tree, CARD "hwmon/hwmon5/temp1_label", "edge\n");
    tree_put(&tree, CARD "hwmon/hwmon5/temp3_input", "84000\n");
    tree_put(&tree, CARD "hwmon/hwmon5/temp3_label", "mem\n");
    tree_put(&tree, CARD "hwmon/hwmon5/freq1_input", "2400000000\n");
    tree_put(&tree, CARD "hwmon/hwmon5/fan1_input", "1000\n");
    tree_put(&tree, CARD "hwmon/hwmon5/fan1_max", "4000\n");
    tree_put(&tree, "sys/class/drm/card1-DP-1/status", "connected\n");
    tree_put(&tree, "sys/class/drm/card0/device/vendor", "0x8086\n");
    tree_put(&tree, "proc/70/stat",
             "70 (llama-server) S 1 1 1 0 -1 1 1 0 0 0 5 6 0 0 20 0 9 0 99 1 2\n");
    tree_put(&tree, "proc/70/fdinfo/0", "pos:\t0\nflags:\t02\n");
    return 0;
}

static int finish(void **state)
{
    (void)state;
    if (amdgpu != NULL) {
        ps_amdgpu_source.close(amdgpu);
    }
    ps_device_snapshot_unref(now);
    amdgpu = NULL;
    now = NULL;
    tree_close(&tree);
    return 0;
}

static void put_client(const char *path, const char *id, const char *memory)
{
    char text[256];
    (void)snprintf(text, sizeof text,
                   "pos:\t0\ndrm-driver:\tamdgpu\ndrm-client-id:\t%s\ndrm-pdev:\t0000:03:00.0\n"
                   "drm-memory-vram:\t%s\ndrm-memory-gtt: \t2048 KiB\n",
                   id, memory);
    tree_put(&tree, path, text);
}

static int begin(char why[PS_SAMPLER_WHY])
{
    struct ps_amdgpu_opts opts;
    ps_amdgpu_opts_init(&opts);
    opts.root = tree.root;
    opts.clock = &the_clock;
    return ps_amdgpu_open(&amdgpu, &opts, why);
}

static void step(void)
{
    ps_device_snapshot_unref(now);
    now = NULL;
    (void)ps_amdgpu_source.step(amdgpu, &now);
    assert_non_null(now);
}

static void start(void)
{
    char why[PS_SAMPLER_WHY] = "";
    assert_int_equal(begin(why), PS_OK);
    assert_int_equal(ps_amdgpu_source.start(amdgpu, ps_clock_now(&the_clock), why), PS_OK);
    step();
}

static void pass(ps_span span)
{
    ps_clock_advance(&the_clock, span);
    step();
}

static void assert_reading(enum ps_device_field field, double value)
{
    assert_true(now->devices[0].readings[field].known);
    assert_float_equal(now->devices[0].readings[field].value, value, 1e-9 * value);
}

static void reads_all_that_the_files_say(void **state)
{
    (void)state;
    start();
    assert_string_equal(now->source, "amdgpu");
    assert_false(now->simulated);
    assert_int_equal(now->device_count, 1);
    assert_int_equal(now->devices[0].index, 1);
    assert_string_equal(now->devices[0].uuid, "9a8b7c6d5e4f3021");
    assert_string_equal(now->devices[0].name, "");
    assert_string_equal(now->devices[0].bus, "0000:03:00.0");
    assert_reading(PS_DEVICE_MEMORY_TOTAL, 17163091968.0);
    assert_reading(PS_DEVICE_MEMORY_USED, 8589934592.0);
    assert_reading(PS_DEVICE_MEMORY_FREE, 8573157376.0);
    assert_reading(PS_DEVICE_BUSY, 37);
    assert_reading(PS_DEVICE_POWER, 120);
    assert_reading(PS_DEVICE_POWER_LIMIT, 300);
    assert_reading(PS_DEVICE_TEMPERATURE, 61);
    assert_reading(PS_DEVICE_MEMORY_TEMPERATURE, 84);
    assert_reading(PS_DEVICE_CLOCK, 2400);
    assert_reading(PS_DEVICE_FAN, 25);
    assert_reading(PS_DEVICE_PCIE_REPLAYS, 4);
    assert_reading(PS_DEVICE_ECC_UNCORRECTED, 1);
    assert_reading(PS_DEVICE_ECC_CORRECTED, 12);
    assert_false(now->devices[0].readings[PS_DEVICE_MEMORY_CLOCK].known);
    assert_false(now->devices[0].readings[PS_DEVICE_MEMORY_RESERVED].known);
    assert_false(now->devices[0].readings[PS_DEVICE_ENERGY].known);
}

static void knows_nothing_from_files_that_make_no_sense(void **state)
{
    (void)state;
    start();
    tree_put(&tree, CARD "mem_info_vram_used", "99999999999999\n");
    tree_put(&tree, CARD "gpu_busy_percent", "101\n");
    tree_put(&tree, CARD "hwmon/hwmon5/power1_average", "much\n");
    tree_put(&tree, CARD "ras/umc_err_count", "ce: -1\nue\n");
    tree_put(&tree, CARD "hwmon/hwmon5/fan1_max", "0\n");
    pass(PS_SECOND);
    static const enum ps_device_field fields[] = {
        PS_DEVICE_MEMORY_TOTAL,  PS_DEVICE_MEMORY_USED,     PS_DEVICE_BUSY, PS_DEVICE_POWER,
        PS_DEVICE_ECC_CORRECTED, PS_DEVICE_ECC_UNCORRECTED, PS_DEVICE_FAN,
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        assert_false(now->devices[0].readings[fields[i]].known);
    }
    tree_put(&tree, CARD "hwmon/hwmon5/power1_input", "99000000\n");
    pass(PS_SECOND);
    assert_reading(PS_DEVICE_POWER, 99);
}

static void counts_the_memory_of_a_client_once(void **state)
{
    (void)state;
    put_client("proc/70/fdinfo/4", "8", "3145728 KiB");
    put_client("proc/70/fdinfo/5", "8", "3145728 KiB");
    put_client("proc/70/fdinfo/6", "9", "16 MiB");
    put_client("proc/80/fdinfo/3", "10", "0 KiB");
    start();
    assert_true(now->devices[0].processes_known);
    assert_int_equal(now->process_count, 2);
    size_t first = now->processes[0].pid == 70 ? 0 : 1;
    assert_int_equal(now->processes[first].device, 0);
    assert_string_equal(now->processes[first].name, "llama-server");
    assert_int_equal(now->processes[first].started, 99);
    assert_float_equal(now->processes[first].memory.value, (3072 + 16) * 1048576.0, 1);
    assert_int_equal(now->processes[1 - first].pid, 80);
    assert_string_equal(now->processes[1 - first].name, "");
    assert_float_equal(ps_device_unexplained(now, 0).value, 8589934592.0 - (3072 + 16) * 1048576.0,
                       1);
    pass(PS_SECOND); /* who uses it is looked up every five seconds */
    assert_int_equal(now->process_count, 2);
    tree_drop(&tree, "proc/80");
    pass(4 * PS_SECOND);
    assert_int_equal(now->process_count, 1);
}

static void sees_cards_that_come_and_go(void **state)
{
    (void)state;
    start();
    tree_put(&tree, "sys/class/drm/card2/device/vendor", "0x1002\n");
    tree_put(&tree, "sys/class/drm/card2/device/mem_info_vram_total", "8589934592\n");
    tree_put(&tree, "sys/class/drm/card2/device/uevent", "PCI_SLOT_NAME=0000:04:00.0\n");
    pass(PS_SECOND);
    assert_int_equal(now->device_count, 1);
    pass(PS_MINUTE);
    assert_int_equal(now->device_count, 2);
    assert_string_equal(now->devices[1].bus, "0000:04:00.0");
    assert_reading(PS_DEVICE_MEMORY_TOTAL, 17163091968.0);
    tree_drop(&tree, "sys/class/drm/card2");
    pass(PS_MINUTE);
    assert_int_equal(now->device_count, 1);
}

static void waits_for_a_card_that_comes_later(void **state)
{
    (void)state;
    struct ps_amdgpu_opts opts;
    char why[PS_SAMPLER_WHY] = "";
    tree_put(&tree, CARD "vendor", "0x10de\n");
    ps_amdgpu_opts_init(&opts);
    opts.root = tree.root;
    opts.clock = &the_clock;
    opts.wait = true;
    assert_int_equal(ps_amdgpu_open(&amdgpu, &opts, why), PS_OK);
    assert_int_equal(ps_amdgpu_source.start(amdgpu, ps_clock_now(&the_clock), why), PS_ENOTFOUND);
    assert_non_null(strstr(why, "amdgpu"));
    tree_put(&tree, CARD "vendor", "0x1002\n");
    assert_int_equal(ps_amdgpu_source.start(amdgpu, ps_clock_now(&the_clock), why), PS_OK);
    step();
    assert_int_equal(now->device_count, 1);
}

static void says_that_there_is_no_card(void **state)
{
    (void)state;
    char why[PS_SAMPLER_WHY] = "";
    tree_put(&tree, CARD "vendor", "0x10de\n");
    assert_int_equal(begin(why), PS_ENOTFOUND);
    assert_non_null(strstr(why, "amdgpu"));
}

static void takes_only_whole_descriptions(void **state)
{
    (void)state;
    struct ps_amdgpu_client client = {.id = 7};
    static const char *const texts[] = {
        "",
        "drm-driver:\tamdgpu\n",
        "drm-driver:\ti915\ndrm-client-id:\t1\ndrm-pdev:\t0000:03:00.0\ndrm-memory-vram:\t1 KiB\n",
        "drm-driver:\tamdgpu\ndrm-client-id:\t-1\ndrm-pdev:\t0000:03:00.0\ndrm-memory-vram:\t1 "
        "KiB\n",
        "drm-driver:\tamdgpu\ndrm-client-id:\t1\ndrm-pdev:\t0000:03:00.0\ndrm-memory-vram:\t1 "
        "parsec\n",
        "drm-driver:\tamdgpu\ndrm-client-id:\t1\ndrm-pdev:\t0000:03:00.0\ndrm-memory-vram:"
        "\t99999999999999999999 KiB\n",
        "drm-driver:\tamdgpu\ndrm-client-id:\t1\ndrm-pdev:\t0000:03:00.0\ndrm-memory-vram:"
        "\t18446744073709551615 KiB\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_false(ps_amdgpu_parse_client(ps_str_from(texts[i]), &client));
        assert_int_equal(client.id, 7);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, prepare, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(reads_all_that_the_files_say),       CASE(knows_nothing_from_files_that_make_no_sense),
        CASE(counts_the_memory_of_a_client_once), CASE(sees_cards_that_come_and_go),
        CASE(waits_for_a_card_that_comes_later),  CASE(says_that_there_is_no_card),
        CASE(takes_only_whole_descriptions),
    };
    return cmocka_run_group_tests_name("amdgpu", tests, NULL, NULL);
}
