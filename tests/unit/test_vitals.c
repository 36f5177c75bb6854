/* test_vitals - pages of inference servers, as simulated ones show them and as their documents do.
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

#include <cmocka.h>

#include "gpu/exposition.h"
#include "gpu/leaf.h"
#include "gpu/vitals.h"

#define GIB 1073741824.0

static struct ps_vitals vitals;
static char page[65536];

static struct ps_str fixture(const char *name)
{
    char path[512];
    const char *dir = getenv("PS_FIXTURES");
    snprintf(path, sizeof path, "%s/vitals/%s", dir == NULL ? "tests/fixtures" : dir, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t len = fread(page, 1, sizeof page, file);
    fclose(file);
    assert_true(len > 0 && len < sizeof page);
    return (struct ps_str){page, len};
}

static void add(enum ps_vitals_page kind, struct ps_str text)
{
    char why[PS_VITALS_WHY] = "";
    int err = ps_vitals_read(&vitals, kind, text, why);
    if (err != PS_OK) {
        print_message("# %s\n", why);
    }
    assert_int_equal(err, PS_OK);
}

static void read_one(enum ps_vitals_page kind, struct ps_str text)
{
    ps_vitals_init(&vitals);
    add(kind, text);
    ps_vitals_finish(&vitals);
}

static void refuse(enum ps_vitals_page kind, const char *text, const char *sentence)
{
    char why[PS_VITALS_WHY] = "";
    ps_vitals_init(&vitals);
    assert_int_not_equal(ps_vitals_read(&vitals, kind, ps_str_from(text), why), PS_OK);
    assert_string_equal(why, sentence);
}

#define assert_reading(field, number)                                                         \
    do {                                                                                      \
        assert_true(vitals.readings[PS_VITALS_##field].known);                                \
        assert_float_equal(vitals.readings[PS_VITALS_##field].value, (float)(number), 1e-4f); \
    } while (0)
#define assert_unknown(field) assert_false(vitals.readings[PS_VITALS_##field].known)

static double device(size_t at, enum ps_device_field field)
{
    assert_true(at < vitals.device_count);
    assert_true(vitals.devices[at].readings[field].known);
    return vitals.devices[at].readings[field].value;
}

/* --- each engine ------------------------------------------------------------------------------ */

static void vllm_tells_queue_cache_and_model(void **state)
{
    (void)state;
    read_one(PS_VITALS_PAGE_VLLM, fixture("vllm.txt"));
    assert_reading(RUNNING, 3);
    assert_reading(WAITING, 0);
    assert_reading(KV_BLOCKS_TOTAL, 2667);
    assert_true(vitals.readings[PS_VITALS_KV_USE].value > 0);
    assert_reading(PREEMPTIONS, 0);
    assert_int_equal(vitals.state, PS_VITALS_AWAKE);
    assert_int_equal(vitals.model_count, 1);
    assert_string_equal(vitals.models[0].name, "sim");
    assert_true(vitals.simulated);
    assert_int_equal(vitals.device_count, 0);
    assert_unknown(HELD);
}

static void vllm_says_how_deeply_it_sleeps(void **state)
{
    (void)state;
    ps_vitals_init(&vitals);
    add(PS_VITALS_PAGE_VLLM, fixture("vllm_asleep.txt"));
    assert_int_equal(vitals.state, PS_VITALS_EMPTY);
    add(PS_VITALS_PAGE_VLLM_SLEEP, fixture("vllm_is_sleeping.json"));
    assert_int_equal(vitals.state, PS_VITALS_EMPTY); /* the second page knows less */
    read_one(PS_VITALS_PAGE_VLLM_SLEEP, PS_STR("{\"is_sleeping\": true}"));
    assert_int_equal(vitals.state, PS_VITALS_ASLEEP);
}

/* Names of version 0; and of a later one beside the older, which it replaces. */
static void vllm_is_understood_in_all_its_versions(void **state)
{
    (void)state;
    read_one(PS_VITALS_PAGE_VLLM, PS_STR("vllm:num_requests_running{model_name=\"m\"} 2.0\n"
                                         "vllm:num_requests_waiting{model_name=\"m\"} 7\n"
                                         "vllm:gpu_cache_usage_perc{model_name=\"m\"} 0.25\n"
                                         "vllm:gpu_prefix_cache_hit_rate{model_name=\"m\"} -1.0\n"
                                         "vllm:num_preemptions_total{model_name=\"m\"} 5\n"));
    assert_reading(WAITING, 7);
    assert_reading(KV_USE, 0.25);
    assert_reading(PREEMPTIONS, 5);
    assert_unknown(PREFIX_HIT_RATE); /* -1 is how it says that there is none */
    assert_int_equal(vitals.state, PS_VITALS_STATE_UNKNOWN);
    read_one(PS_VITALS_PAGE_VLLM,
             PS_STR("vllm:num_requests_waiting_by_reason{reason=\"capacity\"} 1\n"
                    "vllm:num_requests_waiting_by_reason{reason=\"deferred\"} 6\n"
                    "vllm:num_requests_waiting 7\n"
                    "vllm:kv_cache_usage_perc{engine=\"0\"} 0.5\n"
                    "vllm:kv_cache_usage_perc{engine=\"1\"} 0.75\n"
                    "vllm:gpu_cache_usage_perc 0.99\n"
                    "vllm:prefix_cache_queries_total 400\nvllm:prefix_cache_hits_total 100\n"));
    assert_reading(WAITING, 1);
    assert_reading(KV_USE, 0.75);
    assert_reading(PREFIX_HIT_RATE, 0.25);
    assert_unknown(RUNNING);
}

static void sglang_and_trtllm_tell_their_caches(void **state)
{
    (void)state;
    read_one(PS_VITALS_PAGE_SGLANG, fixture("sglang.txt"));
    assert_reading(RUNNING, 3);
    assert_reading(WAITING, 0);
    assert_true(vitals.readings[PS_VITALS_KV_USE].value > 0.01);
    assert_true(vitals.readings[PS_VITALS_KV_TOKENS_USED].value > 0);
    assert_unknown(PREEMPTIONS);
    read_one(PS_VITALS_PAGE_TRTLLM, fixture("trtllm.txt"));
    assert_reading(RUNNING, 3);
    assert_reading(KV_BLOCKS_TOTAL, 2667);
    assert_reading(HELD, 23192403968.0);
    read_one(PS_VITALS_PAGE_TRTLLM_STATUS, fixture("trtllm_status.json"));
    assert_int_equal(vitals.state, PS_VITALS_AWAKE);
    read_one(PS_VITALS_PAGE_TRTLLM_STATUS, PS_STR("{\"state\":\"parking\",\"parked_tags\":[]}"));
    assert_int_equal(vitals.state, PS_VITALS_CHANGING);
    read_one(PS_VITALS_PAGE_TRTLLM_STATUS, PS_STR("{\"state\":\"a new word\"}"));
    assert_int_equal(vitals.state, PS_VITALS_STATE_UNKNOWN);
}

static void triton_tells_devices_and_the_size_of_models(void **state)
{
    (void)state;
    ps_vitals_init(&vitals);
    add(PS_VITALS_PAGE_TRITON, fixture("triton.txt"));
    add(PS_VITALS_PAGE_TRITON_STATS, fixture("triton_stats.json"));
    ps_vitals_finish(&vitals);
    assert_reading(WAITING, 0);
    assert_unknown(RUNNING);
    assert_int_equal(vitals.device_count, 1);
    assert_float_equal(device(0, PS_DEVICE_MEMORY_TOTAL), 25769803776.0, 1);
    assert_float_equal(device(0, PS_DEVICE_MEMORY_USED), 3103784960.0, 1);
    assert_true(strncmp(vitals.devices[0].uuid, "GPU-0000", 8) == 0);
    assert_int_equal(vitals.model_count, 2);
    assert_string_equal(vitals.models[1].name, "bert");
    assert_true(vitals.models[1].loaded && vitals.models[1].listed);
    assert_float_equal(vitals.models[1].bytes.value, 1342177280.0, 1);
}

static void triton_tells_what_batches_of_each_size_took(void **state)
{
    (void)state;
    read_one(PS_VITALS_PAGE_TRITON_STATS,
             PS_STR("{\"model_stats\":[{\"name\":\"a\",\"batch_stats\":[]},{\"name\":\"b\",\"batch_stats\":["
                    "{\"batch_size\":1,\"compute_input\":{\"count\":2,\"ns\":1000000},\"compute_infer\":"
                    "{\"count\":2,\"ns\":18000000},\"compute_output\":{\"count\":2,\"ns\":1000000}},"
                    "{\"compute_infer\":{\"count\":5,\"ns\":100000000},\"batch_size\":8}]}]}"));
    assert_int_equal(vitals.batch_count, 2);
    assert_string_equal(vitals.models[vitals.batches[0].model].name, "b");
    assert_float_equal(vitals.batches[0].size, 1, 0);
    assert_float_equal(vitals.batches[0].count, 2, 0);
    assert_float_equal(vitals.batches[0].seconds, 0.02, 1e-9);
    assert_float_equal(vitals.batches[1].size, 8, 0);
    assert_float_equal(vitals.batches[1].seconds, 0.1, 1e-9);
    assert_int_equal(vitals.model_count, 2);
}

static void llamacpp_tells_slots_and_what_is_loaded(void **state)
{
    (void)state;
    read_one(PS_VITALS_PAGE_LLAMACPP, fixture("llamacpp.txt"));
    assert_reading(RUNNING, 3);
    assert_reading(WAITING, 0);
    assert_unknown(KV_USE);
    read_one(PS_VITALS_PAGE_LLAMACPP_SLOTS, fixture("llamacpp_slots.json"));
    assert_reading(RUNNING, 3);
    read_one(PS_VITALS_PAGE_LLAMACPP_PROPS, fixture("llamacpp_props.json"));
    assert_int_equal(vitals.state, PS_VITALS_AWAKE);
    read_one(PS_VITALS_PAGE_LLAMACPP_MODELS, fixture("llamacpp_models.json"));
    assert_int_equal(vitals.model_count, 2);
    assert_string_equal(vitals.models[1].name, "phi");
    assert_false(vitals.models[1].loaded);
}

static void ollama_tells_what_each_model_holds(void **state)
{
    (void)state;
    read_one(PS_VITALS_PAGE_OLLAMA, fixture("ollama.json"));
    assert_reading(HELD, 6979321856.0);
    assert_int_equal(vitals.model_count, 1);
    assert_string_equal(vitals.models[0].name, "llama:latest");
    assert_float_equal(vitals.models[0].bytes.value, 6979321856.0, 1);
    read_one(PS_VITALS_PAGE_OLLAMA, PS_STR("{\"models\":[]}"));
    assert_reading(HELD, 0);
    assert_int_equal(vitals.model_count, 0);
    assert_unknown(RUNNING);
}

static void what_moves_a_models_mark_is_a_use_of_it(void **state)
{
    (void)state;
    static struct ps_vitals before;
    read_one(PS_VITALS_PAGE_OLLAMA,
             PS_STR("{\"models\":[{\"name\":\"a\",\"expires_at\":\"2026-11-28T22:15:39.5Z\"},"
                    "{\"name\":\"b\",\"expires_at\":\"2026-11-28T22:15:39+01:00\"},"
                    "{\"name\":\"c\",\"expires_at\":\"soon\"}]}"));
    assert_true(vitals.models[0].mark.known && vitals.models[1].mark.known);
    double apart = vitals.models[0].mark.value - vitals.models[1].mark.value;
    assert_float_equal(apart, 0.5, 1e-3);
    assert_false(vitals.models[2].mark.known);
    ps_vitals_watch(&vitals, NULL, 100);
    before = vitals;
    read_one(PS_VITALS_PAGE_OLLAMA,
             PS_STR("{\"models\":[{\"name\":\"b\",\"expires_at\":\"2026-11-28T22:15:39.01+01:00\"},"
                    "{\"name\":\"a\",\"expires_at\":\"2026-11-28T22:15:41Z\"},"
                    "{\"name\":\"c\",\"expires_at\":\"later\"},"
                    "{\"name\":\"d\",\"expires_at\":\"2026-11-28T22:15:41Z\"}]}"));
    ps_vitals_watch(&vitals, &before, 200);
    assert_int_equal(vitals.models[0].used, 100); /* b: the same but for rounding */
    assert_int_equal(vitals.models[1].used, 200);
    assert_int_equal(vitals.models[2].used, 0); /* nobody can tell */
    assert_int_equal(vitals.models[3].used, 200);
}

static void comfyui_and_a1111_tell_their_allocators(void **state)
{
    (void)state;
    ps_vitals_init(&vitals);
    add(PS_VITALS_PAGE_COMFYUI, fixture("comfyui.json"));
    add(PS_VITALS_PAGE_COMFYUI_QUEUE, fixture("comfyui_queue.json"));
    ps_vitals_finish(&vitals);
    assert_reading(RUNNING, 1);
    assert_reading(WAITING, 1);
    assert_float_equal(device(0, PS_DEVICE_MEMORY_USED), 25769803776.0 - 16924016640.0, 1);
    assert_reading(ALLOCATOR_ACTIVE, 8426356736.0);
    read_one(PS_VITALS_PAGE_COMFYUI_QUEUE, PS_STR("{\"queue_running\":[],\"queue_pending\":[]}"));
    assert_reading(RUNNING, 0);
    assert_reading(WAITING, 0);
    read_one(PS_VITALS_PAGE_A1111, fixture("a1111.json"));
    assert_float_equal(device(0, PS_DEVICE_MEMORY_FREE), 20250099712.0, 1);
    assert_float_equal(device(0, PS_DEVICE_FRAGMENTATION),
                       100 * (5100273664.0 - 4831838208.0) / 5100273664.0, 1e-3);
    assert_reading(OUT_OF_MEMORY, 0);
    read_one(PS_VITALS_PAGE_A1111_PROGRESS,
             PS_STR("{\"progress\":0.5,\"state\":{\"job\":\"x\",\"job_count\":2}}"));
    assert_reading(RUNNING, 2);
}

static void the_rest_tell_their_queues(void **state)
{
    (void)state;
    read_one(PS_VITALS_PAGE_TGI, fixture("tgi.txt"));
    assert_reading(RUNNING, 3);
    assert_reading(WAITING, 0);
    read_one(PS_VITALS_PAGE_TEI, fixture("tei.txt"));
    assert_reading(WAITING, 0);
    assert_unknown(RUNNING);
    read_one(
        PS_VITALS_PAGE_LMSTUDIO,
        PS_STR(
            "{\"models\":[{\"key\":\"a\",\"loaded_instances\":[{\"id\":\"a\"},{\"id\":\"a:2\"}]},"
            "{\"key\":\"b\",\"loaded_instances\":[]}]}"));
    assert_int_equal(vitals.model_count, 2);
    assert_string_equal(vitals.models[1].name, "a:2");
    read_one(PS_VITALS_PAGE_LLAMASWAP,
             PS_STR("{\"running\":[{\"model\":\"m\",\"state\":\"ready\"}]}"));
    assert_string_equal(vitals.models[0].name, "m");
}

static void a_simulated_server_tells_what_a_driver_would(void **state)
{
    (void)state;
    read_one(PS_VITALS_PAGE_SIM, fixture("sim.json"));
    assert_true(vitals.simulated);
    assert_float_equal(device(0, PS_DEVICE_MEMORY_USED), 7398752256.0, 1);
    assert_float_equal(ps_vitals_device_total(&vitals).value, 24 * GIB, 1);
    assert_int_equal(vitals.model_count, 0);
}

/* --- devices from elsewhere ------------------------------------------------------------------- */

static const char dcgm_page[] =
    "# TYPE DCGM_FI_DEV_FB_USED gauge\n"
    "DCGM_FI_DEV_FB_USED{gpu=\"1\",UUID=\"GPU-b\",device=\"nvidia1\",modelName=\"NVIDIA H100\"} "
    "1000\n"
    "DCGM_FI_DEV_FB_FREE{gpu=\"1\",UUID=\"GPU-b\"} 3000\n"
    "DCGM_FI_DEV_FB_RESERVED{gpu=\"1\",UUID=\"GPU-b\"} 96\n"
    "DCGM_FI_DEV_FB_USED{gpu=\"0\",UUID=\"GPU-a\",modelName=\"NVIDIA H100\"} 10\n"
    "DCGM_FI_DEV_MEMORY_TEMP{gpu=\"0\",UUID=\"GPU-a\"} 9223372036854775794\n"
    "DCGM_FI_DEV_POWER_USAGE{gpu=\"0\",UUID=\"GPU-a\"} 140737488355328.000000\n"
    "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\",UUID=\"GPU-a\"} 40\n"
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE{gpu=\"0\",UUID=\"GPU-a\"} 0.375\n"
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu=\"0\",UUID=\"GPU-a\"} 5000\n"
    "DCGM_FI_DEV_FB_USED{gpu=\"2\",UUID=\"GPU-c\",GPU_I_PROFILE=\"1g\",GPU_I_ID=\"7\"} 1\n"
    "DCGM_FI_DEV_FB_USED{gpu=\"2\",UUID=\"GPU-c\",GPU_I_PROFILE=\"1g\",GPU_I_ID=\"8\"} 2\n";

static void dcgm_gives_a_snapshot_without_blank_numbers(void **state)
{
    (void)state;
    struct ps_device_snapshot *snapshot = NULL;
    read_one(PS_VITALS_PAGE_DCGM, ps_str_from(dcgm_page));
    assert_int_equal(vitals.device_count, 4);
    assert_float_equal(device(0, PS_DEVICE_MEMORY_TOTAL), 4096 * 1048576.0, 1);
    assert_int_equal(ps_vitals_snapshot(&vitals, "dcgm", 7, &snapshot), PS_OK);
    const struct ps_device *one = &snapshot->devices[1];
    assert_string_equal(snapshot->source, "dcgm");
    assert_string_equal(one->uuid, "GPU-a");
    assert_string_equal(one->name, "NVIDIA H100");
    assert_int_equal(one->index, 0);
    assert_false(one->readings[PS_DEVICE_MEMORY_TEMPERATURE].known);
    assert_false(one->readings[PS_DEVICE_POWER].known);
    assert_false(one->readings[PS_DEVICE_MEMORY_TOTAL].known);
    assert_float_equal(one->readings[PS_DEVICE_BUSY].value, 37.5, 1e-6);
    assert_float_equal(one->readings[PS_DEVICE_ENERGY].value, 5, 1e-6);
    assert_string_equal(snapshot->devices[3].uuid, "GPU-c/8");
    ps_device_snapshot_unref(snapshot);
}

static void a_remote_profile_gives_a_snapshot(void **state)
{
    (void)state;
    read_one(
        PS_VITALS_PAGE_REMOTE,
        PS_STR(
            "{\"profile\":{\"used_mb\":1},\"devices\":[{\"source\":\"nvml\",\"simulated\":false,"
            "\"index\":3,\"uuid\":\"GPU-x\",\"name\":\"L4\",\"total_mb\":24576,\"used_mb\":12288,"
            "\"power_watts\":71.5,\"nonsense_percent\":4},{\"index\":4,\"simulated\":true}],"
            "\"processes\":[{\"pid\":1,\"used_mb\":5}]}"));
    assert_int_equal(vitals.device_count, 2);
    assert_int_equal(vitals.devices[0].index, 3);
    assert_string_equal(vitals.devices[0].uuid, "GPU-x");
    assert_float_equal(device(0, PS_DEVICE_MEMORY_FREE), 12 * GIB, 1);
    assert_float_equal(device(0, PS_DEVICE_POWER), 71.5, 1e-6);
    assert_int_equal(vitals.devices[1].index, 4);
    assert_true(vitals.simulated);
}

/* --- hostile pages ---------------------------------------------------------------------------- */

static void malformed_pages_are_refused_with_their_place(void **state)
{
    (void)state;
    refuse(PS_VITALS_PAGE_TGI, "# ok\ntgi_queue_size{a=\"b} 3\n",
           "TGI's metrics: line 2: not a sample");
    refuse(PS_VITALS_PAGE_TGI, "tgi_queue_size three\n", "TGI's metrics: line 1: not a sample");
    refuse(PS_VITALS_PAGE_TGI, "tgi_queue_size 3 4 5\n", "TGI's metrics: line 1: not a sample");
    refuse(PS_VITALS_PAGE_TGI, "tgi_queue_size{a=\"b\"c=\"d\"} 3\n",
           "TGI's metrics: line 1: not a sample");
    refuse(PS_VITALS_PAGE_TGI, "<html>\n", "TGI's metrics: line 1: not a sample");
    refuse(PS_VITALS_PAGE_OLLAMA, "{\"models\":[}", "Ollama's ps: byte 11: not JSON");
    refuse(PS_VITALS_PAGE_OLLAMA, "{\"models\":[]} x", "Ollama's ps: byte 14: not JSON");
    refuse(PS_VITALS_PAGE_OLLAMA, "", "Ollama's ps: byte 0: not JSON");
    refuse(PS_VITALS_PAGE_OLLAMA, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
           "Ollama's ps: byte 24: nested too deeply");
}

static void numbers_that_are_none_are_unknown(void **state)
{
    (void)state;
    read_one(PS_VITALS_PAGE_TGI,
             PS_STR("tgi_queue_size NaN\ntgi_batch_current_size +Inf\nother{=} broken\n"));
    assert_unknown(WAITING);
    assert_unknown(RUNNING);
    read_one(PS_VITALS_PAGE_TGI, PS_STR("tgi_queue_size -3\ntgi_batch_current_size 9.3e18\n"));
    assert_unknown(WAITING);
    assert_unknown(RUNNING);
    read_one(PS_VITALS_PAGE_TGI,
             PS_STR("tgi_queue_size{a=\"\\\"}\"} 1e+00 1234 # {x=\"y\"} 1\r\n"));
    assert_reading(WAITING, 1);
    read_one(PS_VITALS_PAGE_SGLANG, PS_STR("sglang:token_usage 1.5\n"));
    assert_unknown(KV_USE);
}

static void what_finds_no_room_is_counted(void **state)
{
    (void)state;
    size_t len = 0;
    for (int i = 0; i < PS_VITALS_DEVICES_MAX + 5; i++) {
        len += (size_t)snprintf(page + len, sizeof page - len,
                                "nv_gpu_memory_used_bytes{gpu_uuid=\"%d\"} %d\n", i, i);
    }
    read_one(PS_VITALS_PAGE_TRITON, (struct ps_str){page, len});
    assert_int_equal(vitals.device_count, PS_VITALS_DEVICES_MAX);
    assert_int_equal(vitals.devices_left_out, 5);
    len = (size_t)snprintf(page, sizeof page, "{\"models\":[");
    for (int i = 0; i < PS_VITALS_MODELS_MAX + 2; i++) {
        len += (size_t)snprintf(page + len, sizeof page - len, "%s{\"name\":\"m%d\\n\x7f\"}",
                                i > 0 ? "," : "", i);
    }
    len += (size_t)snprintf(page + len, sizeof page - len, "]}");
    read_one(PS_VITALS_PAGE_OLLAMA, (struct ps_str){page, len});
    assert_int_equal(vitals.model_count, PS_VITALS_MODELS_MAX);
    assert_int_equal(vitals.models_left_out, 2);
    assert_string_equal(vitals.models[0].name, "m0\\n?");
}

static void busy_is_known_only_where_it_is_told(void **state)
{
    (void)state;
    bool known;
    read_one(PS_VITALS_PAGE_OLLAMA, PS_STR("{\"models\":[]}"));
    assert_false(ps_vitals_is_busy(&vitals, &known));
    assert_false(known);
    read_one(PS_VITALS_PAGE_TEI, PS_STR("te_queue_size 2\n"));
    assert_true(ps_vitals_is_busy(&vitals, &known));
    assert_true(known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vllm_tells_queue_cache_and_model),
        cmocka_unit_test(vllm_says_how_deeply_it_sleeps),
        cmocka_unit_test(vllm_is_understood_in_all_its_versions),
        cmocka_unit_test(sglang_and_trtllm_tell_their_caches),
        cmocka_unit_test(triton_tells_devices_and_the_size_of_models),
        cmocka_unit_test(triton_tells_what_batches_of_each_size_took),
        cmocka_unit_test(llamacpp_tells_slots_and_what_is_loaded),
        cmocka_unit_test(ollama_tells_what_each_model_holds),
        cmocka_unit_test(what_moves_a_models_mark_is_a_use_of_it),
        cmocka_unit_test(comfyui_and_a1111_tell_their_allocators),
        cmocka_unit_test(the_rest_tell_their_queues),
        cmocka_unit_test(a_simulated_server_tells_what_a_driver_would),
        cmocka_unit_test(dcgm_gives_a_snapshot_without_blank_numbers),
        cmocka_unit_test(a_remote_profile_gives_a_snapshot),
        cmocka_unit_test(malformed_pages_are_refused_with_their_place),
        cmocka_unit_test(numbers_that_are_none_are_unknown),
        cmocka_unit_test(what_finds_no_room_is_counted),
        cmocka_unit_test(busy_is_known_only_where_it_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
