/* test_device - snapshots, and what is computed from readings that may be unknown.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gpu/device.h"
#include "gpu/profile.h"

#define GIB 1073741824.0

static struct ps_device_snapshot *snapshot;
static struct ps_buf out;

static int prepare(void **state)
{
    (void)state;
    out = ps_buf_make(65536);
    return ps_device_snapshot_new(&snapshot, 2, 2);
}

static int finish(void **state)
{
    (void)state;
    ps_device_snapshot_unref(snapshot);
    ps_buf_fini(&out);
    return 0;
}

static void put(size_t device, double total, double used)
{
    snapshot->devices[device].readings[PS_DEVICE_MEMORY_TOTAL] = ps_device_known(total);
    snapshot->devices[device].readings[PS_DEVICE_MEMORY_USED] = ps_device_known(used);
}

static void knows_nothing_at_first(void **state)
{
    (void)state;
    for (size_t field = 0; field < PS_DEVICE_FIELDS; field++) {
        assert_false(snapshot->devices[1].readings[field].known);
    }
    assert_false(ps_device_utilization(&snapshot->devices[0]).known);
    assert_false(ps_device_unexplained(snapshot, 0).known);
}

static void bounds_what_a_snapshot_may_hold(void **state)
{
    (void)state;
    struct ps_device_snapshot *large = NULL;
    assert_int_equal(ps_device_snapshot_new(&large, PS_DEVICES_MAX + 1, 0), PS_ELIMIT);
    assert_int_equal(ps_device_snapshot_new(&large, 0, PS_DEVICE_PROCESSES_MAX + 1), PS_ELIMIT);
    assert_null(large);
}

static void computes_a_share_only_of_something(void **state)
{
    (void)state;
    put(0, 8 * GIB, 2 * GIB);
    assert_float_equal(ps_device_utilization(&snapshot->devices[0]).value, 25, 1e-12);
    put(0, 0, 0);
    assert_false(ps_device_utilization(&snapshot->devices[0]).known);
}

static void names_the_rest_that_no_process_explains(void **state)
{
    (void)state;
    put(0, 8 * GIB, 4 * GIB);
    snapshot->devices[0].processes_known = true;
    snapshot->processes[0].memory = ps_device_known(3 * GIB);
    snapshot->processes[1].device = 1; /* of another card, and of unknown size */
    assert_float_equal(ps_device_unexplained(snapshot, 0).value, GIB, 1);
    snapshot->processes[1] = (struct ps_device_process){.memory = ps_device_known(2 * GIB)};
    assert_float_equal(ps_device_unexplained(snapshot, 0).value, 0, 1e-9); /* never below nothing */
    snapshot->processes[1].memory.known = false;
    assert_false(ps_device_unexplained(snapshot, 0).known);
    snapshot->processes[1].memory.known = true;
    snapshot->processes_left_out = 1;
    assert_false(ps_device_unexplained(snapshot, 0).known);
}

static void has_a_name_for_every_reading_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < PS_DEVICE_FIELDS; i++) {
        assert_true(ps_device_rows[i].name[0] != '\0' && ps_device_rows[i].unit[0] != '\0');
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(ps_device_rows[i].name, ps_device_rows[j].name);
        }
    }
}

/* --- as JSON ---------------------------------------------------------------------------------- */

static const char *write_profile(void)
{
    struct ps_profile_source source = {.name = "nvml",
                                       .view = {.state = PS_SAMPLER_FRESH, .snapshot = snapshot}};
    snapshot->source = "nvml";
    ps_buf_clear(&out);
    assert_int_equal(ps_profile_write(&source, 1, &out), PS_OK);
    assert_int_equal(ps_buf_append(&out, "", 1), PS_OK);
    return out.data;
}

static void writes_what_is_known_and_nothing_else(void **state)
{
    (void)state;
    put(0, 8 * GIB, 2 * GIB);
    snapshot->devices[0].index = 3;
    snapshot->devices[0].parent = PS_DEVICE_NONE;
    snapshot->devices[0].readings[PS_DEVICE_POWER] = ps_device_known(0);
    snapshot->device_count = 1;
    snapshot->process_count = 0;
    assert_string_equal(
        write_profile(),
        "{\"profile\":{\"total_mb\":8192,\"used_mb\":2048,\"utilization_percent\":25,\"source\":"
        "\"nvml\","
        "\"simulated\":false,\"index\":3},"
        "\"devices\":[{\"source\":\"nvml\",\"simulated\":false,\"index\":3,\"lost\":false,"
        "\"unified\":false,"
        "\"partitioned\":false,\"total_mb\":8192,\"used_mb\":2048,\"utilization_percent\":25,"
        "\"power_watts\":0}],"
        "\"processes\":[],"
        "\"sources\":[{\"name\":\"nvml\",\"state\":\"fresh\",\"age_seconds\":0,\"processes_left_"
        "out\":0}]}");
}

static void chooses_the_device_with_the_largest_share_in_use(void **state)
{
    (void)state;
    const struct ps_device_snapshot *chosen;
    struct ps_profile_source source = {.view = {.snapshot = snapshot}};
    put(1, 8 * GIB, 0);
    assert_int_equal(ps_profile_choose(&source, 1, &chosen), 1); /* known before unknown */
    put(0, 8 * GIB, GIB);
    assert_int_equal(ps_profile_choose(&source, 1, &chosen), 0);
    assert_ptr_equal(chosen, snapshot);
    source.view.snapshot = NULL;
    (void)ps_profile_choose(&source, 1, &chosen);
    assert_null(chosen);
}

static void escapes_what_others_have_named(void **state)
{
    (void)state;
    memcpy(snapshot->processes[0].name, "a\"\\\n\xff", 6);
    assert_non_null(strstr(write_profile(), "\"name\":\"a\\\"\\\\\\n\xef\xbf\xbd\""));
}

static void says_when_there_is_no_room(void **state)
{
    (void)state;
    struct ps_buf small = ps_buf_make(64);
    struct ps_profile_source source = {.name = "nvml", .view = {.snapshot = snapshot}};
    snapshot->source = "nvml";
    assert_int_equal(ps_profile_write(&source, 1, &small), PS_ELIMIT);
    ps_buf_fini(&small);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, prepare, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(knows_nothing_at_first),
        CASE(bounds_what_a_snapshot_may_hold),
        CASE(computes_a_share_only_of_something),
        CASE(names_the_rest_that_no_process_explains),
        CASE(has_a_name_for_every_reading_once),
        CASE(writes_what_is_known_and_nothing_else),
        CASE(chooses_the_device_with_the_largest_share_in_use),
        CASE(escapes_what_others_have_named),
        CASE(says_when_there_is_no_room),
    };
    return cmocka_run_group_tests_name("device", tests, NULL, NULL);
}
